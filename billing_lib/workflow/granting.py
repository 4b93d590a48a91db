"""Granting: giving permissions and taking them back, each an event with who, when and why.

    billing grant RC ann administrator
    billing grant RC li lab_administrator --team bio

The first permission of a facility makes an administrator, whoever gives it; from then on only
administrators give and take. A facility keeps at least one.
"""

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidPermission, NotReady
from billing_lib.ledger import permissions as given
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.events import record_event
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.facility import note_facility
from billing_lib.workflow.permissions import (
    ADMINISTRATOR,
    LAB_ADMINISTRATOR,
    ROLES,
    readable,
    require,
)


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

    Raises
    ------
    InvalidPermission
        There is no such role or team, or no login.
    NotReady
        The facility has no administrator yet, and this would make none.
    NotPermitted
        Only an administrator does this.
    """
    facility = book.facility.code
    lab = _checked(login, role, team)
    if lab and lab not in {known.code for known in book.teams}:
        raise InvalidPermission(f"the price book has no team '{lab}'", where="team")
    with writing(engine) as connection:
        require(connection, facility, ADMINISTRATOR)
        note_facility(connection, book)
        standing = given.lock_permissions(connection, facility)
        if _holds(standing, login, role, lab):
            return f"{facility}: {_words(login, role, lab)} already, nothing changed"
        if role != ADMINISTRATOR and ADMINISTRATOR not in standing["role"]:
            raise NotReady(
                f"{facility} has no administrator yet, so everybody may do everything",
                remedy=f"run 'billing grant {facility} LOGIN {ADMINISTRATOR}' first",
            )
        given.insert_permission(connection, facility, login, role, lab)
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
    """Take a role from a login; what was done, in words.

    Raises
    ------
    InvalidPermission
        There is no such role, or the team is missing or too much.
    NotReady
        It is the facility's last administrator.
    NotPermitted
        Only an administrator does this.
    """
    facility = book.facility.code
    lab = _checked(login, role, team)
    with writing(engine) as connection:
        require(connection, facility, ADMINISTRATOR)
        standing = given.lock_permissions(connection, facility)
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
        given.delete_permission(connection, facility, login, role, lab)
    return f"{facility}: {_words(login, role, lab, no=True)} any more"


def list_permissions(engine: Engine, facility: str | None = None) -> pl.DataFrame:
    """``facility``, ``login``, ``role``, ``team``, ``may``: who may do what, of the facilities
    that who is asking may read, and their own anywhere."""
    with reading(engine) as connection:
        standing = given.read_permissions(connection, facility)
        whole = readable(connection, standing["facility"])
        own = pl.col("login") == given.current_login(connection)
    return standing.filter(pl.col("facility").is_in(whole) | own).with_columns(
        may=pl.col("role").replace_strict(ROLES, default=None, return_dtype=pl.String)
    )


def has_administrator(engine: Engine, facility: str) -> bool:
    """Whether a facility has an administrator; until then everybody may do everything."""
    with reading(engine) as connection:
        return ADMINISTRATOR in given.read_permissions(connection, facility)["role"]


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
