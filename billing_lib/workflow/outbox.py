"""Messages and notices as people see them, and the recipients' addresses and preferences.

    billing outbox                          the messages not sent yet
    billing outbox --sent RC-1994-00003-…   this one arrived after all
    billing outbox --again RC-1994-00003-…  send it once more
    billing preferences RC ann@example.edu --invoices digest

The price book states each team's addresses:

    administrators: [ann@example.edu, "Zoë Müller <zoe@example.edu>"]    receive invoices
    owners: [head@example.edu]                                           receive statements

Each address chooses to receive invoices in a message ``each``, in one ``digest``, or not at all
(``none``), and a lab's administrator may choose for the lab's invoices. Statements are always sent.
Notices appear inside the notebooks, beside e-mail: staff see their facility's notices, a lab
administrator those of the team and the teams below it, and each login marks its own as read.
"""

from dataclasses import dataclass
from email import policy
from email.errors import HeaderParseError
from email.headerregistry import Address

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidAddress, InvalidAdjustment, InvalidFilter, NotPermitted
from billing_lib.ledger import messages
from billing_lib.ledger.database import Ledger, reading, writing
from billing_lib.ledger.messages import INVOICE, KEYS, NOTICE, STAFF, read_preferences
from billing_lib.ledger.people import current_login, read_facilities
from billing_lib.ledger.states import CANCELLED, MESSAGE, SENT, WAITING, states
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.permissions import (
    ISSUER,
    LAB_ADMINISTRATOR,
    REVIEWER,
    VIEWER,
    changing,
    labs_of,
    may,
    may_team,
    require,
    require_team,
)

CLOSED = (SENT, CANCELLED)
"""The states of messages that need no attention."""

_SETTLING = {
    "send": (SENT, "a person reports that it arrived"),
    "again": (WAITING, "a person has it sent once more"),
    "withdraw": (CANCELLED, "a person has cancelled it"),
}
"""Per action: the state after it, and its reason in the ledger."""


def list_outbox(
    engine: Engine, facility: str | None = None, states_: list[str] | None = None
) -> pl.DataFrame:
    """List the messages that the current user may see, in the order of queueing.

    By default those in an open state, neither SENT nor CANCELLED. Columns: ``message``, ``state``,
    ``recipient``, ``subject``, ``attempts``, ``next_try``, ``said``, ``queued_at``.
    """
    known = states(MESSAGE)
    wanted = tuple(states_ or (state for state in known if state not in CLOSED))
    for state in wanted:
        if state not in known:
            raise InvalidFilter(
                f"a message has no state '{state}'", remedy=f"name one of {', '.join(known)}"
            )
    with reading(engine) as connection:
        if facility is not None:
            require(connection, facility, VIEWER)
        queued = messages.read_messages(connection, states=wanted)
        told = messages.read_told(connection, messages=queued["id"].to_list())
        of = told.filter(pl.col("facility") == facility) if facility is not None else told
        hidden = [code for code in told["facility"].unique() if not may(connection, code, VIEWER)]
    others = told.filter(pl.col("facility").is_in(hidden))["message"]
    chosen = pl.col("id").is_in(of["message"].implode()) & ~pl.col("id").is_in(others.implode())
    moment = pl.col("next_try", "queued_at").dt.to_string("%Y-%m-%d %H:%MZ")
    names = ("state", "recipient", "subject", "attempts", "next_try", "said", "queued_at")
    return queued.filter(chosen).with_columns(moment).select(pl.col("id").alias("message"), *names)


def settle_message(engine: Ledger, message_id: str, action: str, reason: str = "") -> str:
    """Record that a message arrived (``send``), is sent again (``again``) or never (``withdraw``).

    Returns a sentence.
    """
    with writing(engine) as connection:
        row = messages.read_message(connection, message_id)
        for facility in messages.facilities_of(connection, message_id):
            require(connection, facility, ISSUER)
        settled, why = _SETTLING[action]
        if row["state"] == settled:
            return f"message {message_id} is {settled} already, nothing changed"
        why = f"{why}: {reason}" if reason else why
        state = messages.move_message(connection, message_id, action, why)
    next_step = "; 'billing deliver' sends it" if state == WAITING else ""
    return f"message {message_id} to {row['recipient']} is {state}{next_step}"


def deliveries(connection: Connection, numbers: list[str]) -> pl.DataFrame:
    """List the messages about these invoices, without withdrawn ones.

    Columns: ``number``, ``recipient``, ``state``, ``attempts``, ``said``, ``message``.
    """
    told = messages.standing(messages.read_told(connection, kind=INVOICE, keys=numbers))
    sent = messages.read_messages(connection, ids=told["message"].unique().to_list())
    return (
        told.select("message", number="key")
        .join(sent.rename({"id": "message"}), on="message", maintain_order="left")
        .select("number", "recipient", "state", "attempts", "said", "message")
    )


def list_notices(
    engine: Engine, *, team: str | None = None, everything: bool = False
) -> pl.DataFrame:
    """List the current user's notices (schema NOTICE), the newest first.

    Staff may list those of a team's lab administrators. ``everything`` includes read ones.
    """
    with reading(engine) as connection:
        return _notices(connection, team, everything=everything)


def read_all(engine: Engine, keys: list[str] | None = None) -> int:
    """Mark the current user's notices as read, all or those with these keys; return the number."""
    with writing(engine) as connection:
        unread = _notices(connection, None, everything=False)
        if keys is not None:
            unread = unread.filter(pl.col("key").is_in(keys))
        messages.mark_read(connection, unread.select(KEYS))
    return unread.height


def _notices(connection: Connection, team: str | None, *, everything: bool) -> pl.DataFrame:
    facilities = read_facilities(connection)["code"].to_list()
    if team is not None and facilities:
        allowed = [code for code in facilities if may_team(connection, code, team)]
        if not allowed:
            require_team(connection, facilities[0], team)
        facilities = allowed
    parts = [NOTICE.to_frame()]
    for facility in facilities:
        staff = [STAFF] if may(connection, facility, VIEWER) else []
        me = messages.personal(current_login(connection))
        own = [*staff, me, *sorted(labs_of(connection, facility))]
        parts.append(messages.read_notices(connection, facility, own if team is None else [team]))
    notices = pl.concat(parts).sort("made_at", "key", descending=[True, False])
    return notices if everything else notices.filter(pl.col("seen_at").is_null())


EACH, DIGEST, NONE = "each", "digest", "none"
WISHES = (EACH, DIGEST, NONE)
"""The ways to receive invoices; the first is the default."""


@dataclass(frozen=True, order=True)
class Mailbox:
    """An e-mail address, with or without a name."""

    address: str
    name: str = ""

    def __str__(self) -> str:
        user, _, domain = self.address.rpartition("@")
        return str(Address(self.name, user, domain)) if self.name else self.address


def parse_mailbox(text: str) -> Mailbox:
    """Read an address such as ``ann@example.edu`` or ``Zoë Müller <zoe@example.edu>``.

    A domain with letters beyond ASCII is returned as DNS knows it (IDNA).

    Raises
    ------
    InvalidAddress
        The text is not one address, or has letters beyond ASCII before the ``@``.
    """
    refusal = InvalidAddress(
        f"'{text}' is not an e-mail address", remedy="write name@example.edu in the price book"
    )
    if not text.isprintable():
        raise refusal
    try:
        parsed = policy.default.header_factory("To", text)
        (mailbox,) = parsed.addresses
        domain = mailbox.domain.encode("idna").decode("ascii").lower()
        address = Address(username=mailbox.username, domain=domain)
    except (ValueError, IndexError, UnicodeError, HeaderParseError):
        raise refusal from None
    if parsed.defects or not (mailbox.username and domain and address.addr_spec.isascii()):
        raise refusal
    return Mailbox(address.addr_spec, mailbox.display_name)


def administrators_of(book: PriceBook, team: str) -> tuple[list[Mailbox], list[str]]:
    """The recipients of a team's invoices, and sentences on invalid addresses."""
    return _mailboxes(_listed(book, team, "administrators"), team)


def owners_of(books: list[PriceBook], team: str) -> tuple[list[Mailbox], list[str]]:
    """The recipients of a team's statements over these facilities, and sentences on invalid
    addresses: the owners, or the administrators if the price books name no owner."""
    owners = [text for book in books for text in _listed(book, team, "owners")]
    others = [text for book in books for text in _listed(book, team, "administrators")]
    return _mailboxes(owners or others, team)


@dataclass(frozen=True)
class Wishes:
    """The preferences set for a facility's invoices, by team and address; team '' is all teams."""

    chosen: dict[tuple[str, str], str]

    def of(self, team: str, address: str) -> str:
        """How an address receives a team's invoices: as the team chose, else as staff did."""
        return self.chosen.get((team, address)) or self.chosen.get(("", address), EACH)


def wishes(connection: Connection, facility: str) -> Wishes:
    """The preferences set for a facility's invoices."""
    rows = read_preferences(connection, facility).select("team", "address", "invoices")
    return Wishes({(team, address): invoices for team, address, invoices in rows.iter_rows()})


def _listed(book: PriceBook, team: str, key: str) -> list[str]:
    return [text for known in book.teams if known.code == team for text in getattr(known, key)]


def _mailboxes(texts: list[str], team: str) -> tuple[list[Mailbox], list[str]]:
    mailboxes: dict[str, Mailbox] = {}
    invalid = []
    for text in texts:
        try:
            mailbox = parse_mailbox(text)
        except InvalidAddress as error:
            invalid.append(f"team {team}: {error}")
        else:
            mailboxes.setdefault(mailbox.address, mailbox)
    return list(mailboxes.values()), invalid


def list_preferences(engine: Engine, book: PriceBook) -> pl.DataFrame:
    """List the addresses of a facility's teams, and how each receives invoices and statements.

    Columns: ``team``, ``address``, ``invoices``, ``statements``.
    """
    with reading(engine) as connection:
        require(connection, book.facility.code, VIEWER)
        preferences = wishes(connection, book.facility.code)
    rows = []
    for team in book.teams:
        owners = team.owners or team.administrators
        for text in dict.fromkeys((*team.administrators, *owners)):
            known = preferences.of(team.code, _address(text))
            chosen = known if text in team.administrators else "–"
            rows.append((team.code, text, chosen, "yes" if text in owners else "–"))
    schema = dict.fromkeys(("team", "address", "invoices", "statements"), pl.String)
    return pl.DataFrame(rows, schema=schema, orient="row")


def list_own_preferences(engine: Engine, books: dict[str, PriceBook]) -> pl.DataFrame:
    """List the addresses that receive the invoices of the user's labs.

    Columns: ``facility``, ``team``, ``address``, ``invoices`` (null until the lab chooses).
    """
    rows = []
    with reading(engine) as connection:
        for facility, book in sorted(books.items()):
            labs = labs_of(connection, facility)
            chosen = wishes(connection, facility).chosen if labs else {}
            for team in sorted(labs):
                for mailbox in administrators_of(book, team)[0]:
                    address = mailbox.address
                    rows.append((facility, team, address, chosen.get((team, address))))
    schema = dict.fromkeys(("facility", "team", "address", "invoices"), pl.String)
    return pl.DataFrame(rows, schema=schema, orient="row")


def prefer(
    engine: Ledger, book: PriceBook, address: str, invoices: str, team: str | None = None
) -> str:
    """Set how an address receives a facility's invoices; return a sentence.

    With a team only its invoices, which the lab's own administrator may set too.
    """
    facility, known = book.facility.code, parse_mailbox(address).address
    if invoices not in WISHES:
        raise InvalidAdjustment(
            f"there is no preference '{invoices}'",
            where="invoices",
            remedy=f"choose one of {', '.join(WISHES)}",
        )
    # A lab's login may not note a changed price book.
    with writing(engine) if team else changing(engine, book, REVIEWER) as connection:
        if team:
            _require_administered(connection, book, team, known)
        before = wishes(connection, facility).chosen.get((team or "", known), "" if team else EACH)
        of_team = f" of {team}" if team else ""
        told = f"{facility}: {known} receives {_words(invoices, of_team)}"
        if before == invoices:
            return f"{told} already, nothing changed"
        messages.set_preference(connection, facility, team or "", known, invoices)
    return f"{told}; statements are sent all the same"


def _require_administered(connection: Connection, book: PriceBook, team: str, known: str) -> None:
    """Check that the user may set preferences of a team, and that the address is the team's."""
    facility = book.facility.code
    if not may(connection, facility, REVIEWER) and team not in labs_of(connection, facility):
        raise NotPermitted(
            f"{current_login(connection)} may not set how the team {team} is told of invoices in "
            f"{facility}: it takes the role {REVIEWER}, or {LAB_ADMINISTRATOR} of the team",
        )
    if known not in {mailbox.address for mailbox in administrators_of(book, team)[0]}:
        raise InvalidAddress(
            f"the price book of {facility} names no administrator {known} of the team {team}"
        )


def _address(text: str) -> str:
    try:
        return parse_mailbox(text).address
    except InvalidAddress:
        return text


def _words(invoices: str, of_team: str) -> str:
    words = {
        EACH: f"each invoice{of_team} in a message",
        DIGEST: f"all invoices{of_team} in one message",
    }
    return words.get(invoices, f"no invoice{of_team}")
