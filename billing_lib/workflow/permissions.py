"""Permissions: who may read, review, issue and administer, per facility and per lab.

    require(connection, "RC", ISSUER)             # or NotPermitted, in one sentence
    require_team(connection, "RC", "bio")         # staff, or a lab administrator of bio
    rows = seen(connection, rows)                 # what of a list may be seen

As long as a facility has no administrator everybody may do everything, so that one person can
begin; the first grant makes an administrator (granting.py). What the ledger records as the login
is what is asked here. Nothing here writes, so all of it may run in a transaction that only reads.
"""

from collections.abc import Iterable

import polars as pl
from sqlalchemy import Connection

from billing_lib.errors import NotPermitted
from billing_lib.ledger.permissions import current_login, read_permissions
from billing_lib.workflow.teams import with_below

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
    """Pass if who is asking has this role in the facility, or one that includes it.

    Raises
    ------
    NotPermitted
        They have not.
    """
    if not may(connection, facility, role):
        raise NotPermitted(
            f"{current_login(connection)} may not do this in {facility}: it takes the role {role}",
            remedy=_REMEDY,
        )


def require_team(connection: Connection, facility: str, team: str) -> None:
    """Pass if who is asking reads the facility, or is lab administrator of the team or of one
    above it.

    Raises
    ------
    NotPermitted
        They are neither.
    """
    if not may_team(connection, facility, team):
        raise NotPermitted(
            f"{current_login(connection)} may not see the team {team} in {facility}: it takes the "
            f"role {VIEWER}, or {LAB_ADMINISTRATOR} of the team",
            remedy=_REMEDY,
        )


def require_some(connection: Connection, facility: str) -> None:
    """Pass if who is asking may see anything of the facility.

    Raises
    ------
    NotPermitted
        They may not.
    """
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
