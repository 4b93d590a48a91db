"""Permissions: who may read, review, issue and administer, per facility and per lab.

    require(connection, "RC", ISSUER)             # or NotPermitted, in one sentence
    require_team(connection, "RC", "bio")         # staff, or a lab administrator of bio
    rows = seen(connection, rows)                 # what of a list may be seen

As long as a facility has no administrator everybody may do everything, so that one person can
begin; the first grant makes an administrator (granting.py). What the ledger records as the login
is what is asked here. Nothing here writes, so all of it may run in a transaction that only reads.

The tree of teams as the ledger knows it: who sees a team sees the teams below it.

    event 4  teams  tree  after {"crystals":"bio","membranes":"bio"}       team: the one above it

The price book states the tree; it is noted whenever staff use a changed one, so that what a lab
may see is told by the ledger and not by the files on the lab's own machine.

A facility in the ledger: noted at its first use; currency and time zone stay.

Its tree of teams is noted with it, since that says which teams a lab administrator may see.

Granting: giving permissions and taking them back, each an event with who, when and why.

    billing grant RC ann administrator
    billing grant RC li lab_administrator --team bio

The first permission of a facility makes an administrator, whoever gives it; from then on only
administrators give and take. A facility keeps at least one.

The trail: a facility's chain of events as auditors read it, and whether it is whole.

7  1993-11-02T17:04:11Z  carol  adjust  57  half of the nodes failed
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidPermission, NotPermitted, NotReady, UnknownFacility
from billing_lib.ledger import events, people
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.events import BEGINNING, check_chain, read_events, record_event
from billing_lib.ledger.people import (
    current_login,
    know_facility,
    read_facilities,
    read_permissions,
)
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.pricebook import PriceBook

KIND, TREE = "teams", "tree"
"""The kind of these events, and their subject."""


def note_teams(connection: Connection, book: PriceBook) -> None:
    """Note the price book's tree of teams where it is another than before."""
    above = {team.code: team.parent for team in book.teams if team.parent is not None}
    before = _noted(connection, book.facility.code)
    if above != before:
        events.record_event(
            connection,
            book.facility.code,
            kind=KIND,
            subject=TREE,
            reason="",
            before=canonical_json(before),
            after=canonical_json(above),
        )


def with_below(connection: Connection, facility: str, teams: set[str]) -> set[str]:
    """These teams and all that are below them."""
    above = _noted(connection, facility)
    found = set(teams)
    while below := {team for team, parent in above.items() if parent in found} - found:
        found |= below
    return found


def _noted(connection: Connection, facility: str) -> dict[str, str]:
    noted = events.read_events(connection, facility, kinds=[KIND], subjects=[TREE])
    above: dict[str, str] = json.loads(noted["after"][-1]) if noted.height else {}
    return above


VIEWER, REVIEWER, ISSUER, ADMINISTRATOR = "viewer", "reviewer", "issuer", "administrator"
AUDITOR, LAB_ADMINISTRATOR = "auditor", "lab_administrator"

ROLES = {
    VIEWER: "reads charges, invoices and reports",
    REVIEWER: "reads, loads, rates, changes charges, submits, approves and rejects",
    ISSUER: "reviews, issues, reissues, voids, delivers, takes payments, deposits, posts journals",
    ADMINISTRATOR: "does all of this, edits the facility's texts, gives permissions, reads events",
    AUDITOR: "reads everything, the events too, and changes nothing",
    LAB_ADMINISTRATOR: "reads the invoices, listings and statements of a team and those below it",
}
"""The roles, and what each may do."""

_ENOUGH = {
    VIEWER: (VIEWER, REVIEWER, ISSUER, ADMINISTRATOR, AUDITOR),
    REVIEWER: (REVIEWER, ISSUER, ADMINISTRATOR),
    ISSUER: (ISSUER, ADMINISTRATOR),
    ADMINISTRATOR: (ADMINISTRATOR,),
    AUDITOR: (AUDITOR, ADMINISTRATOR),
}
"""Which roles are enough where one is needed."""

_REMEDY = "an administrator of the facility gives it with 'billing grant'"


def roles_of(connection: Connection, facility: str) -> set[str] | None:
    """The facility-wide roles of who is asking; None where everybody may do everything."""
    given = read_permissions(connection, facility)
    if ADMINISTRATOR not in given["role"]:
        return None
    mine = given.filter(pl.col("login") == current_login(connection))
    return set(mine["role"]) - {LAB_ADMINISTRATOR}


def may(connection: Connection, facility: str, role: str) -> bool:
    """Whether who is asking has this role in the facility, or one that includes it."""
    roles = roles_of(connection, facility)
    return roles is None or not roles.isdisjoint(_ENOUGH[role])


def labs_of(connection: Connection, facility: str) -> set[str]:
    """The teams whose lab administrator is asking, and those below them."""
    given = read_permissions(connection, facility, current_login(connection))
    teams = set(given.filter(pl.col("role") == LAB_ADMINISTRATOR)["team"])
    return with_below(connection, facility, teams) if teams else teams


def may_team(connection: Connection, facility: str, team: str) -> bool:
    """Whether who is asking reads the facility, or is lab administrator of the team or of one
    above it."""
    return may(connection, facility, VIEWER) or team in labs_of(connection, facility)


def require(connection: Connection, facility: str, role: str) -> None:
    """Pass if who is asking has this role in the facility, or one that includes it."""
    if not may(connection, facility, role):
        raise NotPermitted(
            f"{current_login(connection)} may not do this in {facility}: it takes the role {role}",
            remedy=_REMEDY,
        )


def require_team(connection: Connection, facility: str, team: str) -> None:
    """Pass if who is asking reads the facility, or is lab administrator of the team or of one
    above it.
    """
    if not may_team(connection, facility, team):
        raise NotPermitted(
            f"{current_login(connection)} may not see the team {team} in {facility}: it takes the "
            f"role {VIEWER}, or {LAB_ADMINISTRATOR} of the team",
            remedy=_REMEDY,
        )


def require_some(connection: Connection, facility: str) -> None:
    """Pass if who is asking may see anything of the facility."""
    if not may(connection, facility, VIEWER) and not labs_of(connection, facility):
        require(connection, facility, VIEWER)


def readable(connection: Connection, facilities: Iterable[str]) -> list[str]:
    """Those of the facilities whose every row who is asking may read, in order."""
    return [code for code in sorted(set(facilities)) if may(connection, code, VIEWER)]


def seen(connection: Connection, rows: pl.DataFrame) -> pl.DataFrame:
    """What of a list of invoices who is asking may see, in its order.

    Parameters
    ----------
    rows
        ``facility``, ``team``, ``number`` and others. Staff see all of their facilities; a lab
        what was issued to it, and no ``cost``.
    """
    facilities = rows["facility"].unique().sort().to_list()
    whole = readable(connection, facilities)
    pairs = [(code, team) for code in facilities for team in sorted(labs_of(connection, code))]
    schema = {"facility": pl.String, "team": pl.String, "of_lab": pl.Boolean}
    labs = pl.DataFrame([(*pair, True) for pair in pairs], schema=schema, orient="row")
    staff = pl.col("facility").is_in(whole)
    lab = pl.col("of_lab").fill_null(value=False) & pl.col("number").is_not_null()
    found = rows.join(labs, on=["facility", "team"], how="left", maintain_order="left").filter(
        staff | lab
    )
    if "cost" in found.columns:
        found = found.with_columns(pl.when(staff).then("cost"))
    return found.drop("of_lab")


def note_facility(connection: Connection, book: PriceBook) -> None:
    """Note the price book's facility and its tree of teams."""
    facility = book.facility
    know_facility(connection, facility.code, facility.name, facility.currency, facility.timezone)
    note_teams(connection, book)


def grant(
    engine: Engine,
    book: PriceBook,
    login: str,
    role: str,
    team: str | None = None,
    reason: str = "",
) -> str:
    """Give a login a role; what was done, in words.

    Parameters
    ----------
    login
        As the ledger records it: of PostgreSQL, or of the operating system with SQLite.
    team
        Of a lab administrator, and of no other.
    """
    facility = book.facility.code
    lab = _checked(login, role, team)
    if lab and lab not in {known.code for known in book.teams}:
        raise InvalidPermission(f"the price book has no team '{lab}'", where="team")
    with writing(engine) as connection:
        require(connection, facility, ADMINISTRATOR)
        note_facility(connection, book)
        standing = people.lock_permissions(connection, facility)
        if _holds(standing, login, role, lab):
            return f"{facility}: {_words(login, role, lab)} already, nothing changed"
        if role != ADMINISTRATOR and ADMINISTRATOR not in standing["role"]:
            raise NotReady(
                f"{facility} has no administrator yet, so everybody may do everything",
                remedy=f"run 'billing grant {facility} LOGIN {ADMINISTRATOR}' first",
            )
        people.insert_permission(connection, facility, login, role, lab)
        _record(connection, facility, "grant", login, role, lab, reason)
    return f"{facility}: {_words(login, role, lab)}, who {ROLES[role]}"


def revoke(
    engine: Engine,
    book: PriceBook,
    login: str,
    role: str,
    team: str | None = None,
    reason: str = "",
) -> str:
    """Take a role from a login; what was done, in words."""
    facility = book.facility.code
    lab = _checked(login, role, team)
    with writing(engine) as connection:
        require(connection, facility, ADMINISTRATOR)
        standing = people.lock_permissions(connection, facility)
        if not _holds(standing, login, role, lab):
            return f"{facility}: {_words(login, role, lab, no=True)}, nothing changed"
        others = standing.filter((pl.col("role") == ADMINISTRATOR) & (pl.col("login") != login))
        if role == ADMINISTRATOR and others.height == 0:
            raise NotReady(
                f"{login} is the last administrator of {facility}",
                remedy=f"make another one first with 'billing grant {facility} LOGIN {role}'",
            )
        # Before the deletion, after which who is asking may be an administrator no more.
        _record(connection, facility, "revoke", login, role, lab, reason)
        people.delete_permission(connection, facility, login, role, lab)
    return f"{facility}: {_words(login, role, lab, no=True)} any more"


def list_permissions(engine: Engine, facility: str | None = None) -> pl.DataFrame:
    """``facility``, ``login``, ``role``, ``team``, ``may``: who may do what, of the facilities
    that who is asking may read, and their own anywhere."""
    with reading(engine) as connection:
        standing = people.read_permissions(connection, facility)
        whole = readable(connection, standing["facility"])
        own = pl.col("login") == people.current_login(connection)
    return standing.filter(pl.col("facility").is_in(whole) | own).with_columns(
        may=pl.col("role").replace_strict(ROLES, default=None, return_dtype=pl.String)
    )


def has_administrator(engine: Engine, facility: str) -> bool:
    """Whether a facility has an administrator; until then everybody may do everything."""
    with reading(engine) as connection:
        return ADMINISTRATOR in people.read_permissions(connection, facility)["role"]


def _checked(login: str, role: str, team: str | None) -> str:
    """The team as the ledger keeps it, '' for none."""
    if role not in ROLES:
        raise InvalidPermission(f"there is no role '{role}'", remedy=f"say {', '.join(ROLES)}")
    if not login.strip() or login != login.strip():
        raise InvalidPermission(f"'{login}' is no login")
    if (role == LAB_ADMINISTRATOR) != bool(team):
        raise InvalidPermission(
            f"a {role} is one of a team" if not team else f"a {role} is not one of a team",
            remedy="say which with --team" if not team else "leave --team out",
        )
    return team or ""


def _holds(standing: pl.DataFrame, login: str, role: str, team: str) -> bool:
    return (login, role, team) in standing.select("login", "role", "team").rows()


def _words(login: str, role: str, team: str, *, no: bool = False) -> str:
    article = "no" if no else "an" if role[0] in "aeiou" else "a"
    return f"{login} is {article} {role}" + (f" of {team}" if team else "")


def _record(
    connection: Connection, facility: str, kind: str, login: str, role: str, team: str, reason: str
) -> None:
    what = canonical_json({"role": role} | ({"team": team} if team else {}))
    record_event(
        connection,
        facility,
        kind=kind,
        subject=login,
        reason=reason,
        before=what if kind == "revoke" else None,
        after=what if kind == "grant" else None,
        team=team or None,
    )


@dataclass(frozen=True)
class Trail:
    """A facility's events.

    Attributes
    ----------
    events
        ``sequence``, ``at``, ``login``, ``kind``, ``subject``, ``team``, ``group``, ``reason``,
        ``before``, ``after``, ``hash``: those that were asked for, in order.
    length, last
        How many there are in all, and the hash of the last one; kept elsewhere it shows whether
        some were cut off the end.
    breaks
        One sentence per break of the whole chain; none if it is whole.
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
    """Read a facility's events, of some subjects or kinds, and check the whole chain."""
    with reading(engine) as connection:
        if facility not in read_facilities(connection)["code"]:
            raise UnknownFacility(f"the ledger knows no facility '{facility}'")
        require(connection, facility, AUDITOR)
        every = read_events(connection, facility)
        found = read_events(connection, facility, kinds=kinds, subjects=subjects)
        breaks = check_chain(connection, facility)
    columns = ("sequence", "at", "login", "kind", "subject", "team", "group", "reason")
    told = found.rename({"group_id": "group"}).with_columns(
        pl.col("at").dt.to_string("%Y-%m-%dT%H:%M:%SZ")
    )
    last = every["hash"][-1] if every.height else BEGINNING
    return Trail(told.select(*columns, "before", "after", "hash"), every.height, last, breaks)
