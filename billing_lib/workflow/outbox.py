"""The outbox as people see it: what waits, what failed, and what they say about the uncertain.

billing outbox                          what is not sent
billing outbox --sent RC-1994-00003-…   it arrived after all
billing outbox --again RC-1994-00003-…  send it once more

Notices inside the notebooks, beside e-mail: a lab's invoices, and what staff have to look at.

    2 new notices
    Invoice RC-1994-00003 of 1,204.11 USD for project u4, 1993-11, is ready      listing.ipynb

Staff of a facility see what is for its staff, a lab administrator what is for the team and those
below it; each login reads and puts away by itself.

Who is told: the addresses of a team in the price book, and what they wish.

    administrators: [ann@example.edu, "Zoë Müller <zoe@example.edu>"]    told of invoices
    owners: [head@example.edu]                                           sent statements

Statements go to the owners whatever they wish; how invoices are told is each address's own
preference: ``each`` in a message, a ``digest`` of all, or ``none``.

Preferences: how a recipient is told of a facility's invoices; statements ignore them.

billing preferences RC ann@example.edu --invoices digest
"""

from dataclasses import dataclass
from email import policy
from email.errors import HeaderParseError
from email.headerregistry import Address

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidAddress, InvalidAdjustment, InvalidFilter
from billing_lib.ledger import messages
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.events import record_event
from billing_lib.ledger.messages import INVOICE, KEYS, NOTICE, STAFF, read_preferences
from billing_lib.ledger.people import read_facilities
from billing_lib.ledger.states import CANCELLED, MESSAGE, SENT, WAITING, states
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.permissions import (
    ISSUER,
    REVIEWER,
    VIEWER,
    labs_of,
    may,
    may_team,
    note_facility,
    require,
    require_team,
)

CLOSED = (SENT, CANCELLED)
"""States of a message that nobody has to look at."""

_SAID = {
    "send": "a person says that it arrived",
    "again": "a person has it sent once more",
    "withdraw": "a person has it not sent any more",
}


def list_outbox(
    engine: Engine, facility: str | None = None, states_: list[str] | None = None
) -> pl.DataFrame:
    """Messages that may be seen, in the order in which they were queued: ``message``, ``state``,
    ``recipient``, ``subject``, ``attempts``, ``next_try``, ``said``, ``queued_at``.

    Parameters
    ----------
    states_
        Only of these; all that are not SENT or CANCELLED where there are none.
    """
    known = states(MESSAGE)
    wanted = tuple(states_ or (state for state in known if state not in CLOSED))
    for state in wanted:
        if state not in known:
            raise InvalidFilter(f"there is no state '{state}'", remedy=f"say {', '.join(known)}")
    with reading(engine) as connection:
        if facility is not None:
            require(connection, facility, VIEWER)
        found = messages.read_messages(connection, states=wanted)
        told = messages.read_told(connection, messages=found["id"].to_list())
        of = told.filter(pl.col("facility") == facility) if facility is not None else told
        hidden = [code for code in told["facility"].unique() if not may(connection, code, VIEWER)]
    theirs = told.filter(pl.col("facility").is_in(hidden))["message"]
    chosen = pl.col("id").is_in(of["message"].implode()) & ~pl.col("id").is_in(theirs.implode())
    moment = pl.col("next_try", "queued_at").dt.to_string("%Y-%m-%d %H:%MZ")
    names = ("state", "recipient", "subject", "attempts", "next_try", "said", "queued_at")
    return (
        found.filter(chosen)
        .with_columns(moment)
        .rename({"id": "message"})
        .select("message", *names)
    )


def settle_message(engine: Engine, message_id: str, action: str, reason: str = "") -> str:
    """What a person says of a message: that it arrived (``send``), is sent once more (``again``)
    or not any more (``withdraw``); what was done, in words.
    """
    with writing(engine) as connection:
        row = messages.read_message(connection, message_id)
        for facility in messages.facilities_of(connection, message_id):
            require(connection, facility, ISSUER)
        if row["state"] == _led_to(action):
            return f"message {message_id} is {row['state']} already, nothing changed"
        why = f"{_SAID[action]}: {reason}" if reason else _SAID[action]
        state = messages.move_message(connection, message_id, action, why)
    after_that = "; 'billing deliver' sends it" if state == WAITING else ""
    return f"message {message_id} to {row['recipient']} is {state}{after_that}"


def deliveries(connection: Connection, numbers: list[str]) -> pl.DataFrame:
    """What became of the messages on these invoices, withdrawn ones left out: ``number``,
    ``recipient``, ``state``, ``attempts``, ``said``, ``message``."""
    told = messages.standing(messages.read_told(connection, kind=INVOICE, keys=numbers))
    found = messages.read_messages(connection, ids=told["message"].unique().to_list())
    return (
        told.select("message", number="key")
        .join(found.rename({"id": "message"}), on="message", maintain_order="left")
        .select("number", "recipient", "state", "attempts", "said", "message")
    )


def _led_to(action: str) -> str:
    return {"send": SENT, "again": WAITING, "withdraw": CANCELLED}[action]


def list_notices(
    engine: Engine, *, team: str | None = None, everything: bool = False
) -> pl.DataFrame:
    """The notices for who is asking (schema NOTICE), the newest first.

    Parameters
    ----------
    team
        Those for this team's lab administrators, as staff see what a lab is told.
    everything
        Those that are read already, too.
    """
    with reading(engine) as connection:
        return _mine(connection, team, everything=everything)


def read_all(engine: Engine, keys: list[str] | None = None) -> int:
    """Put notices away for who is asking, all or those with these keys; how many were new."""
    with writing(engine) as connection:
        unread = _mine(connection, None, everything=False)
        if keys is not None:
            unread = unread.filter(pl.col("key").is_in(keys))
        messages.mark_read(connection, unread.select(KEYS))
    return unread.height


def _mine(connection: Connection, team: str | None, *, everything: bool) -> pl.DataFrame:
    facilities = read_facilities(connection)["code"].to_list()
    if team is not None and facilities:
        seen = [code for code in facilities if may_team(connection, code, team)]
        for facility in facilities if not seen else []:
            require_team(connection, facility, team)
        facilities = seen
    parts = [NOTICE.to_frame()]
    for facility in facilities:
        staff = [STAFF] if may(connection, facility, VIEWER) else []
        mine = [*staff, *sorted(labs_of(connection, facility))]
        teams = mine if team is None else [team]
        parts.append(messages.read_notices(connection, facility, teams))
    found = pl.concat(parts).sort("made_at", "key", descending=[True, False])
    return found if everything else found.filter(pl.col("seen_at").is_null())


EACH, DIGEST, NONE = "each", "digest", "none"
WISHES = (EACH, DIGEST, NONE)
"""How a recipient may be told of invoices, the first unless told otherwise."""


@dataclass(frozen=True, order=True)
class Mailbox:
    """An address, perhaps with the name of who reads it."""

    address: str
    name: str = ""

    def __str__(self) -> str:
        user, _, domain = self.address.rpartition("@")
        return str(Address(self.name, user, domain)) if self.name else self.address


def parse_mailbox(text: str) -> Mailbox:
    """An address as people write it: ``ann@example.edu``, ``Zoë Müller <zoe@example.edu>``.

    A domain with letters beyond ASCII is given as DNS knows it (IDNA).

    Raises
    ------
    InvalidAddress
        It is none, or several, or has such letters before the ``@``.
    """
    refusal = InvalidAddress(
        f"'{text}' is not an e-mail address", remedy="write name@example.edu in the price book"
    )
    if not text.isprintable():
        raise refusal
    try:
        parsed = policy.default.header_factory("To", text)
        (found,) = parsed.addresses
        domain = found.domain.encode("idna").decode("ascii").lower()
        whole = Address(username=found.username, domain=domain)
    except (ValueError, IndexError, UnicodeError, HeaderParseError):
        raise refusal from None
    if parsed.defects or not (found.username and domain and whole.addr_spec.isascii()):
        raise refusal
    return Mailbox(whole.addr_spec, found.display_name)


def administrators_of(book: PriceBook, team: str) -> tuple[list[Mailbox], list[str]]:
    """Who is told of a team's invoices; and sentences on addresses that are none."""
    return _mailboxes(_listed(book, team, "administrators"), team)


def owners_of(books: list[PriceBook], team: str) -> tuple[list[Mailbox], list[str]]:
    """Who gets a team's statements over these facilities: its owners, else its administrators;
    and sentences on addresses that are none."""
    owners = [text for book in books for text in _listed(book, team, "owners")]
    others = [text for book in books for text in _listed(book, team, "administrators")]
    return _mailboxes(owners or others, team)


def wishes(connection: Connection, facility: str) -> dict[str, str]:
    """How the recipients of a facility's invoices wish to be told, where not each by itself."""
    return dict(read_preferences(connection, facility).select("address", "invoices").iter_rows())


def _listed(book: PriceBook, team: str, key: str) -> list[str]:
    return [text for known in book.teams if known.code == team for text in getattr(known, key)]


def _mailboxes(texts: list[str], team: str) -> tuple[list[Mailbox], list[str]]:
    found: dict[str, Mailbox] = {}
    wrong = []
    for text in texts:
        try:
            mailbox = parse_mailbox(text)
        except InvalidAddress as error:
            wrong.append(f"team {team}: {error}")
        else:
            found.setdefault(mailbox.address, mailbox)
    return list(found.values()), wrong


def list_preferences(engine: Engine, book: PriceBook) -> pl.DataFrame:
    """``team``, ``address``, ``invoices``, ``statements``: who is told what of a facility, by the
    price book and by what they wish."""
    with reading(engine) as connection:
        require(connection, book.facility.code, VIEWER)
        wished = wishes(connection, book.facility.code)
    rows = []
    for team in book.teams:
        owners = team.owners or team.administrators
        for text in dict.fromkeys((*team.administrators, *owners)):
            told = wished.get(_address(text), EACH) if text in team.administrators else "–"
            rows.append((team.code, text, told, "yes" if text in owners else "–"))
    schema = dict.fromkeys(("team", "address", "invoices", "statements"), pl.String)
    return pl.DataFrame(rows, schema=schema, orient="row")


def prefer(engine: Engine, book: PriceBook, address: str, invoices: str) -> str:
    """Set how an address is told of invoices, an event; what was done, in words."""
    facility, known = book.facility.code, parse_mailbox(address).address
    if invoices not in WISHES:
        raise InvalidAdjustment(
            f"there is no preference '{invoices}'",
            where="invoices",
            remedy=f"say {', '.join(WISHES)}",
        )
    with writing(engine) as connection:
        require(connection, facility, REVIEWER)
        note_facility(connection, book)
        before = wishes(connection, facility).get(known, EACH)
        if before == invoices:
            return f"{facility}: {known} is told {_words(invoices)} already, nothing changed"
        messages.set_preference(connection, facility, known, invoices)
        record_event(
            connection,
            facility,
            kind="prefer",
            subject=known,
            reason="",
            before=canonical_json({"invoices": before}),
            after=canonical_json({"invoices": invoices}),
        )
    return f"{facility}: {known} is told {_words(invoices)}; statements come all the same"


def _address(text: str) -> str:
    try:
        return parse_mailbox(text).address
    except InvalidAddress:
        return text


def _words(invoices: str) -> str:
    told = {EACH: "of each invoice", "digest": "of all invoices in one message"}
    return told.get(invoices, "of no invoice")
