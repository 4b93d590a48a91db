"""The guards of journals: what is posted stays, and nothing is posted twice.

That an invoice is posted once, and taken back once, is the key of ``journal_entry``.
"""

from billing_lib.ledger.guard import INSERT, Guard, named, never
from billing_lib.ledger.states import SUPERSEDED, VOID

_COUNTED = (
    "SELECT count(*) FROM journal_entry e"
    " WHERE e.facility = NEW.facility AND e.journal = NEW.journal"
)

JOURNAL_GUARDS: tuple[Guard, ...] = (
    never("journal", "a posted journal does not change"),
    Guard(
        "journal",
        (INSERT,),
        "journals are numbered one after the other",
        "NEW.number <> (SELECT count(*) FROM journal j WHERE j.facility = NEW.facility)"
        " OR NEW.entries < 1",
        lookup=True,
    ),
    never("journal_entry", "what a journal has posted does not change"),
    Guard(
        "journal_entry",
        (INSERT,),
        "a posted journal gets no further entry",
        f"({_COUNTED}) > (SELECT j.entries FROM journal j"
        " WHERE j.facility = NEW.facility AND j.number = NEW.journal)",
        lookup=True,
    ),
    Guard(
        "journal_entry",
        (INSERT,),
        "an invoice is posted, and reversed once it no longer counts",
        "NEW.kind NOT IN ('issue', 'reversal') OR (NEW.kind = 'reversal' AND NOT EXISTS"
        " (SELECT 1 FROM invoice i WHERE i.facility = NEW.facility AND i.number = NEW.number"
        f" AND i.state IN {named((SUPERSEDED, VOID))}))",
        lookup=True,
    ),
)
