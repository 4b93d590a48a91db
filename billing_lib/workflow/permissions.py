"""Permissions: who may read, review, issue and administer, per facility and per lab.

    require(connection, "RC", ISSUER)     # or NotPermitted, in one sentence

As long as a facility has no administrator everybody may do everything, so that one person can
begin; the first grant makes an administrator. What the ledger records as the login is what is
asked here.
"""

from collections.abc import Iterable

import polars as pl
from sqlalchemy import Connection

from billing_lib.errors import NotPermitted
from billing_lib.ledger.permissions import current_login, read_permissions

VIEWER, REVIEWER, ISSUER, ADMINISTRATOR = "viewer", "reviewer", "issuer", "administrator"
AUDITOR, LAB_ADMINISTRATOR = "auditor", "lab_administrator"

ROLES = {
    VIEWER: "reads charges, invoices and reports",
    REVIEWER: "reads, changes charges, submits, approves and rejects",
    ISSUER: "reviews, and issues, reissues, voids and marks as paid",
    ADMINISTRATOR: "does all of this, edits the facility's texts and gives permissions",
    AUDITOR: "reads everything, the events too",
    LAB_ADMINISTRATOR: "reads the invoices and statements of one team",
}
"""The roles, and what each may do."""

_ENOUGH = {
    VIEWER: (VIEWER, REVIEWER, ISSUER, ADMINISTRATOR, AUDITOR),
    REVIEWER: (REVIEWER, ISSUER, ADMINISTRATOR),
    ISSUER: (ISSUER, ADMINISTRATOR),
    ADMINISTRATOR: (ADMINISTRATOR,),
}
"""Which roles are enough where one is needed."""


def roles_of(connection: Connection, facility: str) -> set[str] | None:
    """The facility-wide roles of who is asking; None where everybody may do everything."""
    given = read_permissions(connection, facility)
    if ADMINISTRATOR not in given["role"]:
        return None
    login = current_login(connection)
    return {
        role
        for who, role in given.select("login", "role").iter_rows()
        if who == login and role != LAB_ADMINISTRATOR
    }


def labs_of(connection: Connection, facility: str) -> set[str]:
    """The teams whose lab administrator is asking."""
    given = read_permissions(connection, facility, current_login(connection))
    return set(given.filter(pl.col("role") == LAB_ADMINISTRATOR)["team"])


def readable(connection: Connection, facilities: Iterable[str]) -> list[str]:
    """Those of the facilities whose every row who is asking may read, in order."""
    roles = {code: roles_of(connection, code) for code in sorted(set(facilities))}
    return [
        code
        for code, given in roles.items()
        if given is None or not given.isdisjoint(_ENOUGH[VIEWER])
    ]


def require(connection: Connection, facility: str, role: str) -> None:
    """Pass if who is asking has this role in the facility, or one that includes it.

    Raises
    ------
    NotPermitted
        They have not.
    """
    roles = roles_of(connection, facility)
    if roles is not None and roles.isdisjoint(_ENOUGH[role]):
        raise NotPermitted(
            f"{current_login(connection)} may not do this in {facility}: it takes the role {role}",
            remedy="an administrator of the facility gives it with 'billing grant'",
        )
