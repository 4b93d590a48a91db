"""Acts: who may write and read which rows of a ledger on PostgreSQL, whatever client asks.

    UPDATE invoice SET state = 'VOID' …   by a reviewer   →  this takes the role issuer
    INSERT INTO event (kind, …) VALUES ('void', …)        →  the database records this itself
    SELECT * FROM charge                  by a viewer     →  the rows of the viewer's facilities

ACTS is the one table of writing: triggers.py makes of it a trigger per table and operation, which
asks for the login's role in each row's facility, and logins.py the grants. Each such statement is
a row of ``written``, with login and time. EVENTS says which role an event takes; those of RECORDED
are written by the database alone, in the statement that moves the row, and EVENTED tables are
written after an event only. READS are the policies of row-level security. SQLite knows no logins
and has none of this but the tables.
"""

from dataclasses import dataclass

from billing_lib.ledger.guards import DELETE, INSERT, UPDATE, named
from billing_lib.ledger.schema import metadata
from billing_lib.ledger.states import INVOICE, MESSAGE, NUMBERED, RUN, STATEMENT, moves

APPROVAL, RULE = "approval", "rule"
"""Kind and subject of the events that note who approves a facility's invoices: ``{"reviewers":
[["ann"],["bob","carl"]],"two_persons":true}``, or nothing."""

PRICE_BOOK = "price_book"
"""Kind of the events that note each version of the price book; their subject is the facility."""

OUTSIDE, FIRST_SEEN = "changed outside the office", "first seen"
"""The reasons of such an event for a version that nobody saved by the program. Its author is
unknown: login and time of the event tell who first worked with it, and when."""

VIEWER, REVIEWER, ISSUER, ADMINISTRATOR = "viewer", "reviewer", "issuer", "administrator"
AUDITOR, LAB_ADMINISTRATOR = "auditor", "lab_administrator"

ENOUGH = {
    VIEWER: (VIEWER, REVIEWER, ISSUER, ADMINISTRATOR, AUDITOR),
    REVIEWER: (REVIEWER, ISSUER, ADMINISTRATOR),
    ISSUER: (ISSUER, ADMINISTRATOR),
    ADMINISTRATOR: (ADMINISTRATOR,),
    AUDITOR: (AUDITOR, ADMINISTRATOR),
}
"""For each role, the roles that include it."""

SOMEBODY = (*ENOUGH[VIEWER], LAB_ADMINISTRATOR)
"""Every role."""


def has(roles: tuple[str, ...], facility: str | None) -> str:
    """The SQL condition that the login has one of these roles in a facility; in any if None."""
    here = "" if facility is None else f" AND p.facility = {facility}"
    return (
        "EXISTS (SELECT 1 FROM permission p WHERE p.login = session_user::text"
        f" AND p.role IN {named(roles)}{here})"
    )


@dataclass(frozen=True)
class Act:
    """Operations on a table that take a role in the row's facility.

    ``changes`` are the columns that UPDATE may set. ``when`` limits the act to some rows, and
    ``lacking`` is the condition that the login may not do it, in place of the role's; ``says`` is
    then said of the login. The conditions name the row ROW.
    """

    table: str
    operations: tuple[str, ...]
    role: str
    changes: tuple[str, ...] = ()
    when: str = ""
    lacking: str = ""
    says: str = ""

    @property
    def sentence(self) -> str:
        """The refusal's message, an SQL expression in which {} stands for the login."""
        words = self.says or f"may not write this in {self.table}: it takes the role {self.role}"
        return f"'{{}} {words}'"

    @property
    def refusal(self) -> str:
        """The condition that refuses a row ROW."""
        lacking = self.lacking or f"NOT {has(ENOUGH[self.role], 'ROW.facility')}"
        return f"({self.when}) AND ({lacking})" if self.when else lacking


def _but(table: str, *kept: str) -> tuple[str, ...]:
    """The columns of a table but its key, its facility and these."""
    columns = metadata.tables[table].columns
    return tuple(
        each.name
        for each in columns
        if not each.primary_key and each.name not in ("facility", *kept)
    )


def _lacks_in_any(role: str, holding: str) -> str:
    """The condition that the login lacks a role in a facility of rows of another table, or in
    every facility if there are none."""
    of_row = f"SELECT h.facility FROM {holding}"
    return (
        f"EXISTS (SELECT 1 FROM ({of_row}) h WHERE NOT {has(ENOUGH[role], 'h.facility')})"
        f" OR NOT {has(ENOUGH[role], None)}"
    )


_NOW = "{0}.login = session_user::text AND {0}.{1} >= transaction_timestamp()"
_NOT_LOADED_NOW = (
    "NOT EXISTS (SELECT 1 FROM source_file s WHERE s.facility = ROW.facility"
    f" AND s.sha256 = ROW.file_sha256 AND {_NOW.format('s', 'loaded_at')})"
)
_NO_EVENT_NOW = (
    "NOT EXISTS (SELECT 1 FROM event e WHERE e.facility = ROW.facility"
    f" AND e.kind IN ('load', 'unload', 'undo', 'mend') AND {_NOW.format('e', 'at')})"
)
_NOT_BY_ALL = "may not issue what its reviewers have not all approved"
_NOT_APPROVED = (
    "EXISTS (SELECT 1 FROM invoice i WHERE i.facility = ROW.facility AND i.code = ROW.invoice"
    " AND i.step < jsonb_array_length(billing_guard_approval(ROW.facility) -> 'reviewers'))"
)
_NOWHERE_ISSUER = f"NOT {has(ENOUGH[ISSUER], None)}"
_ADDED = "may not add to what was made before"
_MADE_NOW = (
    f"NOT EXISTS (SELECT 1 FROM {{0}} m WHERE m.id = ROW.{{1}} AND {_NOW.format('m', '{2}')})"
)
_MADE_NOW_PACKAGE = _MADE_NOW.format("package", "package", "made_at")
_MADE_NOW_MESSAGE = _MADE_NOW.format("message", "message", "queued_at")
_NO_LAB = (
    f"NOT {has(ENOUGH[VIEWER], 'ROW.facility')} AND NOT EXISTS (SELECT 1"
    " FROM billing_guard_labs() l WHERE l.facility = ROW.facility AND l.team = ROW.team)"
)
_NO_LAB_OF_OWN = _NO_LAB.replace(
    has(ENOUGH[VIEWER], "ROW.facility"), has(ENOUGH[REVIEWER], "ROW.facility")
)
_NOT_MINE = (
    f"NOT {has(ENOUGH[ISSUER], 'ROW.facility')} AND NOT ({has(SOMEBODY, 'ROW.facility')}"
    " AND ROW.team = '@' || session_user::text)"
)

ACTS: tuple[Act, ...] = (
    Act(
        "facility",
        (UPDATE,),
        REVIEWER,
        ("name",),
        lacking=f"NOT {has(ENOUGH[REVIEWER], 'ROW.code')}",
    ),
    Act("permission", (INSERT, DELETE), ADMINISTRATOR),
    Act("source_file", (INSERT,), REVIEWER),
    Act("usage_record", (INSERT, UPDATE), REVIEWER, _but("usage_record")),
    Act(
        "usage_record",
        (INSERT,),
        REVIEWER,
        lacking=f"({_NOT_LOADED_NOW}) AND ({_NO_EVENT_NOW})",
        says="may not add to a file that was loaded before",
    ),
    Act(
        "usage_record",
        (UPDATE,),
        REVIEWER,
        lacking=_NO_EVENT_NOW,
        says="may not change usage without an event",
    ),
    Act("usage_version", (INSERT,), REVIEWER),
    Act("unbilled", (INSERT, DELETE), REVIEWER),
    Act("rate", (INSERT,), REVIEWER),
    Act(
        "charge",
        (INSERT, UPDATE, DELETE),
        REVIEWER,
        _but("charge", "kind", "record", "occurrence", "original"),
    ),
    Act("charge", (UPDATE,), ISSUER, when="ROW.state IN ('BILLED', 'PAID')"),
    Act("charge_split", (INSERT, UPDATE, DELETE), REVIEWER, _but("charge_split")),
    Act("billing_run", (INSERT, UPDATE), REVIEWER, ("state", "description")),
    Act("job", (INSERT, UPDATE), REVIEWER, ("state", "ended_at", "log")),
    Act(
        "invoice",
        (INSERT, UPDATE),
        REVIEWER,
        _but("invoice", "kind", "project", "reference", "replaces"),
    ),
    Act("invoice", (UPDATE,), ISSUER, when=f"ROW.state IN {named(NUMBERED)}"),
    Act(
        "issuing",
        (INSERT, UPDATE),
        ISSUER,
        ("state", "snapshot_sha256", "commit_hash", "container", "record", "ended_at", "failure"),
    ),
    Act("log_entry", (INSERT,), ISSUER),
    Act("invoice_number", (INSERT, DELETE), ISSUER),
    Act("invoice_number", (INSERT,), ISSUER, lacking=_NOT_APPROVED, says=_NOT_BY_ALL),
    *(
        Act(table, (INSERT,), ISSUER)
        for table in ("issued_invoice", "invoice_line", "invoice_split", "invoice_adjustment")
    ),
    Act("statement", (INSERT,), ISSUER, lacking=_NOWHERE_ISSUER),
    Act(
        "statement",
        (UPDATE,),
        ISSUER,
        ("state", "invoices", "raw_total", "adjustment", "total", "paid_on", "payment_reference"),
        lacking=_lacks_in_any(ISSUER, "statement_invoice h WHERE h.statement = ROW.id"),
    ),
    Act("statement_invoice", (INSERT, DELETE), ISSUER),
    Act("statement_adjustment", (INSERT, DELETE), ISSUER),
    Act("fund_entry", (INSERT,), ISSUER),
    Act("journal", (INSERT,), ISSUER),
    Act("journal_entry", (INSERT,), ISSUER),
    Act("transformation", (INSERT,), VIEWER),
    Act("transformation", (DELETE,), REVIEWER),
    Act("package", (INSERT,), VIEWER, lacking=f"NOT {has(SOMEBODY, None)}"),
    Act("package", (DELETE,), REVIEWER, lacking=f"NOT {has(ENOUGH[REVIEWER], None)}"),
    Act("package_file", (INSERT,), VIEWER, lacking=_NO_LAB),
    Act("package_file", (INSERT,), VIEWER, lacking=_MADE_NOW_PACKAGE, says=_ADDED),
    Act("package_file", (DELETE,), REVIEWER),
    Act("message", (INSERT,), ISSUER, lacking=_NOWHERE_ISSUER),
    Act(
        "message",
        (UPDATE,),
        ISSUER,
        ("state", "attempts", "next_try", "said", "moved_at"),
        lacking=_lacks_in_any(ISSUER, "told h WHERE h.message = ROW.id"),
    ),
    Act("told", (INSERT,), ISSUER),
    Act("told", (INSERT,), ISSUER, lacking=_MADE_NOW_MESSAGE, says=_ADDED),
    Act("attachment", (INSERT,), ISSUER, lacking=_MADE_NOW_MESSAGE, says=_ADDED),
    Act("notice", (INSERT,), VIEWER, lacking=_NOT_MINE),
    Act("notice_seen", (INSERT,), VIEWER, lacking=f"NOT {has(SOMEBODY, 'ROW.facility')}"),
    Act("preference", (INSERT, UPDATE), REVIEWER, ("invoices",), lacking=_NO_LAB_OF_OWN),
)
"""Every act. A facility's maker becomes its administrator, so making one takes no role."""

LOCKS = ("sending", "statements", "outbox", "log")
"""The locks that an issuer may hold, beside ``issuing:RC``, which a reviewer of RC may."""

OPEN_TO_READERS = (
    *("notice", "notice_seen", "transformation", "package", "package_file", "preference"),
)
"""Tables to which viewers and labs write too."""

WRITTEN = ("usage_record", "usage_version", "rate", "charge", "charge_split")
"""Tables of which each statement is a row of ``written``: what makes an amount, and has neither
login nor event of its own."""

EVENTED = ("source_file", "usage_record", "usage_version", "rate", "charge", "charge_split")
"""Tables that a transaction writes to only after an event of the facility, which says why."""

AMOUNTS = ("period", "project", "team", "rate", "quantity", "raw_total", "adjustment", "total")
"""The columns of a charge that change with an event; runs and invoices take the others along."""

UNRECORDED = ("claim", "defer")
"""Attempts to send a message, which are no events."""


def _named_moves(table: str, prefix: str = "") -> list[str]:
    actions = (move.action for move in moves(table) if move.action not in UNRECORDED)
    return [f"{prefix}{action}" for action in dict.fromkeys(actions)]


RECORDED = (
    *_named_moves(INVOICE),
    *("approve", "send_back", "run_describe", "grant", "revoke", "prefer"),
    *_named_moves(RUN, "run_"),
    *_named_moves(STATEMENT, "statement_"),
    *_named_moves(MESSAGE, "message_"),
)
"""Kinds of events that the database writes itself, in the statement that they are of."""

_READ = "ROW.facility = ANY ((SELECT billing_guard_reads())::text[])"
_OF_LAB = "(ROW.facility, ROW.team) IN (SELECT l.facility, l.team FROM billing_guard_labs() l)"
_OF_LABS_FACILITY = "ROW.facility IN (SELECT l.facility FROM billing_guard_labs() l)"


def _seen_with(key: str, table: str, column: str) -> str:
    """The condition that a row of another table, which the login may read, names this one."""
    return f"ROW.{key} IN (SELECT o.{column} FROM {table} o)"


READS = {
    **dict.fromkeys(
        (
            *("source_file", "usage_version", "unbilled", "billing_run", "job", "invoice_number"),
            *("fund_entry", "journal", "journal_entry", "transformation", "told"),
            "written",
        ),
        _READ,
    ),
    **dict.fromkeys(
        (
            *("charge", "issued_invoice", "invoice_line", "invoice_split", "invoice_adjustment"),
            *("statement_invoice", "statement_adjustment", "preference"),
        ),
        f"{_READ} OR {_OF_LAB}",
    ),
    "facility": "true",
    "log_entry": "true",
    "permission": f"{_READ} OR ROW.login = session_user::text",
    "event": f"{_READ} OR {_OF_LAB} OR (ROW.kind = 'teams' AND {_OF_LABS_FACILITY})",
    "usage_record": f"{_READ} OR EXISTS (SELECT 1 FROM charge c"
    " WHERE c.facility = ROW.facility AND c.charge = ROW.record)",
    "charge_split": f"{_READ} OR EXISTS (SELECT 1 FROM charge c"
    " WHERE c.facility = ROW.facility AND c.charge = ROW.charge)",
    "rate": f"{_READ} OR (ROW.facility, ROW.fingerprint) IN"
    " (SELECT c.facility, c.rate FROM charge c)",
    "invoice": f"{_READ} OR (ROW.number IS NOT NULL AND {_OF_LAB})",
    "issuing": f"{_READ} OR {_seen_with('id', 'issued_invoice', 'issuing')}",
    "statement": f"(ROW.invoices = 0 AND {has(ENOUGH[VIEWER], None)})"
    f" OR {_seen_with('id', 'statement_invoice', 'statement')}",
    "package": "ROW.id IN (SELECT billing_guard_packages())",
    "package_file": "ROW.package IN (SELECT billing_guard_packages())",
    "message": "ROW.id IN (SELECT billing_guard_messages())",
    "attachment": "ROW.message IN (SELECT billing_guard_messages())",
    "notice": f"(left(ROW.team, 1) <> '@' AND ({_READ} OR {_OF_LAB}))"
    " OR ROW.team = '@' || session_user::text",
    "notice_seen": f"{_READ} OR ROW.login = session_user::text",
}
"""For each table the condition that the login may read a row ROW."""

HOLDS = {"facility": "ROW.code = ANY ((SELECT billing_guard_reads())::text[])"}
"""For a table the condition that the login may lock a row; else it is that of reading."""

EVENTS = {
    **dict.fromkeys(
        (
            *("adjust", "add_line", "delete", "undo", "new_rate", "mend", "correct"),
            *("load", "unload"),
            *("rules", "teams", "price_book", "ready", "dismiss", "restore", "invoice_note"),
            *("rate", "create_invoice", "edit_invoice"),
            *("delete_package", "delete_transformation"),
        ),
        REVIEWER,
    ),
    **dict.fromkeys(
        (*("deposit", "reissue", "statement_make", "statement_change", "journal", "deliver"),),
        ISSUER,
    ),
    "text": ADMINISTRATOR,
    APPROVAL: ADMINISTRATOR,
}
"""The role that each other kind of event takes in its facility."""
