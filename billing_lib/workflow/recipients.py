"""Who is told: the addresses of a team in the price book, and what they wish.

    administrators: [ann@example.edu, "Zoë Müller <zoe@example.edu>"]    told of invoices
    owners: [head@example.edu]                                           sent statements

Statements go to the owners whatever they wish; how invoices are told is each address's own
preference: ``each`` in a message, a ``digest`` of all, or ``none``.
"""

from dataclasses import dataclass
from email import policy
from email.errors import HeaderParseError
from email.headerregistry import Address

from sqlalchemy import Connection

from billing_lib.errors import InvalidAddress
from billing_lib.ledger.notices import read_preferences
from billing_lib.pricing.pricebook import PriceBook

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
