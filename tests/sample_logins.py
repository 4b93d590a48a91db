"""Several people on one ledger: PostgreSQL logins, let in as ``billing people add`` does."""

from sqlalchemy import Engine, make_url

from billing_lib.ledger import logins
from billing_lib.ledger.database import initialise, open_ledger, writing
from billing_lib.ledger.people import current_login, delete_permission, insert_permission

PEOPLE = {
    "vic": "viewer",
    "rev": "reviewer",
    "iss": "issuer",
    "boss": "administrator",
    "aud": "auditor",
    "lab": "lab_administrator",
    "nob": "none",
}
"""A login for each role, and one without any."""

READERS = ("vic", "aud", "nob")
LABS = ("lab", "other", "head")
"""Who is let in to read only; others may write, as far as their roles let them."""


def let_in(url: str, people: tuple[str, ...]) -> None:
    """Let logins use a ledger."""
    engine = open_ledger(url)
    initialise(engine)  # a copied database does not have the rights of the one that was copied
    with writing(engine) as connection:
        for login in people:
            group = logins.READER if login in READERS else logins.STAFF
            logins.add(connection, login, logins.LAB if login in LABS else group)
    engine.dispose()


def hand_over(engine: Engine, facility: str, *own: tuple[str, str]) -> None:
    """Make somebody else a facility's administrator; the user keeps these roles and teams alone."""
    with writing(engine) as connection:
        me = current_login(connection)
        insert_permission(connection, facility, "somebody else", "administrator", "")
        for role, team in own:
            insert_permission(connection, facility, me, role, team)
        delete_permission(connection, facility, me, "administrator", "")


def url_as(url: str, login: str) -> str:
    """The ledger's URL for this login."""
    return make_url(url).set(username=login).render_as_string(hide_password=False)
