"""Permissions: roles per facility and per lab, the tree of teams, and the auditors' trail.

    billing grant RC ann administrator
    billing grant RC li lab_administrator --team bio

    require(connection, "RC", ISSUER)             # or NotPermitted
    require_team(connection, "RC", "bio")         # staff, or a lab administrator of bio
    invoices = seen(connection, invoices)         # only the rows that the user may see

The current user is the login that the ledger records. Whoever uses a facility first makes it and
is its administrator, and a facility keeps at least one. Grants and revocations are events.

A user who may see a team may see the teams below it. The price book states this tree, and the
ledger notes each change, since permissions must not depend on files on a lab's own machine:

    event 4  teams  tree  after {"crystals":"bio","membranes":"bio"}       team: the one above it
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidPermission, NotPermitted, NotReady, UnknownFacility
from billing_lib.ledger import acts, logins, people
from billing_lib.ledger.acts import FIRST_SEEN, OUTSIDE, PRICE_BOOK
from billing_lib.ledger.database import Ledger, reading, trying, writing
from billing_lib.ledger.events import BEGINNING, check_chain, read_events, record_event
from billing_lib.ledger.people import current_login
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.pricebook import PriceBook

KIND, TREE = "teams", "tree"
"""Kind and subject of the events that note the tree of teams."""


def with_below(connection: Connection, facility: str, teams: set[str]) -> set[str]:
    """Add the teams below these teams."""
    above = _noted(connection, facility)
    tree = set(teams)
    while below := {team for team, parent in above.items() if parent in tree} - tree:
        tree |= below
    return tree


def _noted(connection: Connection, facility: str) -> dict[str, str]:
    noted = read_events(connection, facility, kinds=[KIND], subjects=[TREE])
    above: dict[str, str] = json.loads(noted["after"][-1]) if noted.height else {}
    return above


VIEWER, REVIEWER, ISSUER = acts.VIEWER, acts.REVIEWER, acts.ISSUER
ADMINISTRATOR, AUDITOR, LAB_ADMINISTRATOR = acts.ADMINISTRATOR, acts.AUDITOR, acts.LAB_ADMINISTRATOR

ROLES = {
    VIEWER: "reads charges, invoices and reports",
    REVIEWER: "reads, loads, rates, changes charges, submits, approves and rejects",
    ISSUER: "reviews, issues, reissues, voids, delivers, takes payments, deposits, posts journals",
    ADMINISTRATOR: "does all of this, edits price book and texts, gives permissions, reads events",
    AUDITOR: "reads everything, the events too, and changes nothing",
    LAB_ADMINISTRATOR: "reads the invoices, listings and statements of a team and those below it",
}
"""The roles and their descriptions."""

_REMEDY = "an administrator of the facility gives it with 'billing grant'"


def roles_of(connection: Connection, facility: str) -> set[str] | None:
    """The current user's facility-wide roles; None if the ledger does not know the facility yet.

    Whoever uses a facility first makes it and becomes its administrator.
    """
    if facility not in people.read_facilities(connection)["code"]:
        return None
    own = people.read_permissions(connection, facility, current_login(connection))
    return set(own["role"]) - {LAB_ADMINISTRATOR}


def may(connection: Connection, facility: str, role: str) -> bool:
    """Whether the current user has this role in the facility, or one that includes it."""
    roles = roles_of(connection, facility)
    return roles is None or not roles.isdisjoint(acts.ENOUGH[role])


def labs_of(connection: Connection, facility: str) -> set[str]:
    """The teams whose lab administrator the current user is, and the teams below them."""
    own = people.read_permissions(connection, facility, current_login(connection))
    teams = set(own.filter(pl.col("role") == LAB_ADMINISTRATOR)["team"])
    return with_below(connection, facility, teams) if teams else teams


def may_team(connection: Connection, facility: str, team: str) -> bool:
    """Whether the current user may see a team: as staff, or as its or a higher team's lab
    administrator."""
    return may(connection, facility, VIEWER) or team in labs_of(connection, facility)


def require(connection: Connection, facility: str, role: str) -> None:
    """Raise NotPermitted unless the current user has this role, or one that includes it."""
    if not may(connection, facility, role):
        raise NotPermitted(
            f"{current_login(connection)} may not do this in {facility}: it takes the role {role}",
            remedy=_REMEDY,
        )


def require_team(connection: Connection, facility: str, team: str) -> None:
    """Raise NotPermitted unless the current user may see the team."""
    if not may_team(connection, facility, team):
        raise NotPermitted(
            f"{current_login(connection)} may not see the team {team} in {facility}: it takes the "
            f"role {VIEWER}, or {LAB_ADMINISTRATOR} of the team",
            remedy=_REMEDY,
        )


def require_some(connection: Connection, facility: str) -> None:
    """Raise NotPermitted unless the current user has any role in the facility."""
    if not may(connection, facility, VIEWER) and not labs_of(connection, facility):
        require(connection, facility, VIEWER)


def readable(connection: Connection, facilities: Iterable[str]) -> list[str]:
    """The facilities whose every row the current user may read, sorted."""
    return [code for code in sorted(set(facilities)) if may(connection, code, VIEWER)]


def visible(connection: Connection, rows: pl.DataFrame) -> pl.DataFrame:
    """Keep the invoices that the current user may see, in their order.

    Staff see every invoice of their facilities; a lab administrator sees the issued invoices of
    the lab, without ``cost``. The columns ``facility``, ``team`` and ``number`` are required.
    """
    facilities = rows["facility"].unique().sort().to_list()
    whole = readable(connection, facilities)
    pairs = [(code, team) for code in facilities for team in sorted(labs_of(connection, code))]
    schema = {"facility": pl.String, "team": pl.String, "of_lab": pl.Boolean}
    labs = pl.DataFrame([(*pair, True) for pair in pairs], schema=schema, orient="row")
    staff = pl.col("facility").is_in(whole)
    lab = pl.col("of_lab").fill_null(value=False) & pl.col("number").is_not_null()
    visible = rows.join(labs, on=["facility", "team"], how="left", maintain_order="left").filter(
        staff | lab
    )
    if "cost" in visible.columns:
        visible = visible.with_columns(pl.when(staff).then("cost"))
    return visible.drop("of_lab")


@contextmanager
def changing(
    engine: Ledger, book: PriceBook, role: str, *, preview: bool = False
) -> Iterator[Connection]:
    """Open a facility for writing: the transaction asks for the role and notes the price book.

    A version that nobody saved in the office, such as one from git, becomes an event here: the
    login that first works with it has not written it. A preview is rolled back.
    """
    if not preview:
        opened = writing(engine)
    elif isinstance(engine, Engine):
        opened = trying(engine)
    else:
        raise TypeError("a preview is a transaction of its own")
    with opened as connection:
        require(connection, book.facility.code, role)
        note_facility(connection, book)
        yield connection


def note_facility(connection: Connection, book: PriceBook, reason: str = OUTSIDE) -> None:
    """Note the price book's facility, its version, its tree of teams and its approval.

    Currency and time zone cannot change. ``reason`` is that of a new version.
    """
    facility = book.facility
    people.know_facility(
        connection, facility.code, facility.name, facility.currency, facility.timezone
    )
    note_book(connection, book, reason)
    above = {team.code: team.parent for team in book.teams if team.parent is not None}
    before = _noted(connection, facility.code)
    if above != before:
        record_event(
            connection,
            facility.code,
            kind=KIND,
            subject=TREE,
            reason="",
            before=canonical_json(before),
            after=canonical_json(above),
        )
    _note_approval(connection, book)


def _note_approval(connection: Connection, book: PriceBook) -> None:
    """Note who approves, for the database to ask. It takes the role administrator: until one
    comes, what was noted before stands."""
    before, now = _noted_approval(connection, book.facility.code), _approval_of(book)
    if now != before and may(connection, book.facility.code, ADMINISTRATOR):
        record_event(
            connection,
            book.facility.code,
            kind=acts.APPROVAL,
            subject=acts.RULE,
            reason="",
            before=before,
            after=now,
        )


def _noted_approval(connection: Connection, facility: str) -> str:
    noted = read_events(connection, facility, kinds=[acts.APPROVAL], subjects=[acts.RULE])
    return str(noted["after"][-1]) if noted.height else canonical_json({})


def _approval_of(book: PriceBook) -> str:
    approval = book.facility.approval
    if approval is None:
        return canonical_json({})
    return canonical_json({"reviewers": approval.reviewers, "two_persons": approval.two_persons})


def require_noted_approval(connection: Connection, book: PriceBook) -> None:
    """Raise NotReady if the price book names other reviewers than an administrator has noted."""
    if _noted_approval(connection, book.facility.code) != _approval_of(book):
        raise NotReady(
            f"the price book of {book.facility.code} states another approval than its "
            "administrators have confirmed",
            remedy="an administrator of the facility confirms it by rating a month or by any "
            "other change",
        )


def note_book(
    connection: Connection,
    book: PriceBook,
    reason: str = OUTSIDE,
    before: dict[str, str | None] | None = None,
    after: dict[str, str | None] | None = None,
) -> None:
    """Note the version of the price book by its sha256, if it is not the last one noted.

    ``before`` and ``after`` are the values that a change in the office made, by their keys.
    """
    facility, sha256 = book.facility.code, book.sha256
    noted = read_events(connection, facility, kinds=[PRICE_BOOK])
    last = json.loads(noted["after"][-1])["sha256"] if noted.height else None
    if sha256 is None or sha256 == last:
        return
    record_event(
        connection,
        facility,
        kind=PRICE_BOOK,
        subject=facility,
        reason=FIRST_SEEN if last is None and reason == OUTSIDE else reason,
        before=canonical_json({"sha256": last, **(before or {})}),
        after=canonical_json({"sha256": sha256, **(after or {})}),
    )


def grant(
    engine: Ledger,
    book: PriceBook,
    login: str,
    role: str,
    team: str | None = None,
    reason: str = "",
) -> str:
    """Give a login a role; return a sentence.

    The login is PostgreSQL's, or the operating system's for SQLite. Only lab administrators have a
    team.
    """
    facility = book.facility.code
    lab = _checked(login, role, team)
    if lab and lab not in {known.code for known in book.teams}:
        raise InvalidPermission(f"the price book has no team '{lab}'", where="team")
    with changing(engine, book, ADMINISTRATOR) as connection:
        permissions = people.lock_permissions(connection, facility)
        if _holds(permissions, login, role, lab):
            return f"{facility}: {_words(login, role, lab)} already, nothing changed"
        people.insert_permission(connection, facility, login, role, lab, reason)
    return f"{facility}: {_words(login, role, lab)}, who {ROLES[role]}"


def revoke(
    engine: Ledger,
    book: PriceBook,
    login: str,
    role: str,
    team: str | None = None,
    reason: str = "",
) -> str:
    """Take a role from a login; return a sentence."""
    facility = book.facility.code
    lab = _checked(login, role, team)
    with changing(engine, book, ADMINISTRATOR) as connection:
        permissions = people.lock_permissions(connection, facility)
        if not _holds(permissions, login, role, lab):
            return f"{facility}: {_words(login, role, lab, no=True)}, nothing changed"
        others = permissions.filter((pl.col("role") == ADMINISTRATOR) & (pl.col("login") != login))
        if role == ADMINISTRATOR and others.height == 0:
            raise NotReady(
                f"{login} is the last administrator of {facility}",
                remedy=f"make another one first with 'billing grant {facility} LOGIN {role}'",
            )
        people.delete_permission(connection, facility, login, role, lab, reason)
    return f"{facility}: {_words(login, role, lab, no=True)} any more"


def list_permissions(engine: Engine, facility: str | None = None) -> pl.DataFrame:
    """List permissions: all of the facilities that the current user may read, and the user's own.

    Columns: ``facility``, ``login``, ``role``, ``team``, ``may`` (the role's description).
    """
    with reading(engine) as connection:
        permissions = people.read_permissions(connection, facility)
        whole = readable(connection, permissions["facility"])
        own = pl.col("login") == current_login(connection)
    return permissions.filter(pl.col("facility").is_in(whole) | own).with_columns(
        may=pl.col("role").replace_strict(ROLES, default=None, return_dtype=pl.String)
    )


LET_IN = {
    "staff": (logins.STAFF, "reads and writes"),
    "reader": (logins.READER, "reads"),
    "lab": (logins.LAB, "reads, without costs,"),
}
"""For each kind of people the role of the server, and what it does."""


def let_in(engine: Engine, login: str, kind: str) -> str:
    """Let a login of a PostgreSQL server use its ledgers; return a sentence.

    ``kind`` is one of LET_IN. The server asks whether the user may do this.
    """
    if kind not in LET_IN:
        raise InvalidPermission(
            f"there are no people of the kind '{kind}'", remedy=f"name one of {', '.join(LET_IN)}"
        )
    _require_logins(engine)
    group, does = LET_IN[kind]
    with writing(engine) as connection:
        made = logins.add(connection, login, group)
    new = ", a new login of the server," if made else ""
    return f"{login}{new} {does} what its permissions in each facility allow"


def keep_out(engine: Engine, login: str) -> str:
    """Keep a login of a PostgreSQL server from its ledgers; return a sentence.

    The login and its permissions stay, since its acts are recorded under its name.
    """
    _require_logins(engine)
    with writing(engine) as connection:
        logins.remove(connection, login)
    return f"{login} uses the ledgers of this server no more; the login stays, without a right here"


def list_people(engine: Engine) -> pl.DataFrame:
    """The logins that may use the server's ledgers: ``login``, ``kind`` (one of LET_IN)."""
    _require_logins(engine)
    kinds = {group: kind for kind, (group, _) in LET_IN.items()}
    with reading(engine) as connection:
        rows = [(login, kinds[group]) for login, group in logins.read_logins(connection)]
    return pl.DataFrame(rows, {"login": pl.String(), "kind": pl.String()}, orient="row")


def _require_logins(engine: Engine) -> None:
    if engine.dialect.name != "postgresql":
        raise NotReady(
            "a SQLite ledger has no logins: who may write the file may write all of it",
            remedy="the manual's page 'PostgreSQL' sets up a ledger that guards itself",
        )


def _checked(login: str, role: str, team: str | None) -> str:
    """Check a permission; return the team as the ledger stores it, '' for none."""
    if role not in ROLES:
        roles = ", ".join(ROLES)
        raise InvalidPermission(f"there is no role '{role}'", remedy=f"name one of {roles}")
    if not login.strip() or login != login.strip():
        raise InvalidPermission(f"'{login}' is not a login")
    if role == LAB_ADMINISTRATOR and not team:
        raise InvalidPermission("a lab_administrator needs a team", remedy="name the team")
    if role != LAB_ADMINISTRATOR and team:
        raise InvalidPermission(f"the role {role} has no team", remedy="leave the team out")
    return team or ""


def _holds(permissions: pl.DataFrame, login: str, role: str, team: str) -> bool:
    return (login, role, team) in permissions.select("login", "role", "team").rows()


def _words(login: str, role: str, team: str, *, no: bool = False) -> str:
    article = "no" if no else "an" if role[0] in "aeiou" else "a"
    return f"{login} is {article} {role}" + (f" of {team}" if team else "")


@dataclass(frozen=True)
class Trail:
    """A facility's events, and a sentence on each break of the whole chain.

    The events have ``sequence``, ``at``, ``login``, ``kind``, ``subject``, ``team``, ``group``,
    ``reason``, ``before``, ``after``, ``hash``. ``length`` counts the whole chain and ``last`` is
    its last hash: copies kept elsewhere reveal whether events were cut off the end.
    """

    events: pl.DataFrame
    length: int
    last: str
    breaks: list[str]


def read_trail(
    engine: Engine,
    facility: str,
    subjects: list[str] | None = None,
    kinds: list[str] | None = None,
) -> Trail:
    """Read a facility's events, all or some subjects or kinds, and check the whole chain."""
    with reading(engine) as connection:
        if facility not in people.read_facilities(connection)["code"]:
            raise UnknownFacility(f"the ledger knows no facility '{facility}'")
        require(connection, facility, AUDITOR)
        hashes = read_events(connection, facility)["hash"]
        selected = read_events(connection, facility, kinds=kinds, subjects=subjects)
        breaks = check_chain(connection, facility)
    columns = ("sequence", "at", "login", "kind", "subject", "team", "group", "reason")
    shown = selected.rename({"group_id": "group"}).with_columns(
        pl.col("at").dt.to_string("%Y-%m-%dT%H:%M:%SZ")
    )
    last = hashes[-1] if hashes.len() else BEGINNING
    return Trail(shown.select(*columns, "before", "after", "hash"), hashes.len(), last, breaks)
