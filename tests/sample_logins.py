"""Several people on one ledger: PostgreSQL logins, let in as ``billing people add`` does."""

from sqlalchemy import make_url

from billing_lib.ledger import logins
from billing_lib.ledger.database import initialise, open_ledger, writing

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


def url_as(url: str, login: str) -> str:
    """The ledger's URL for this login."""
    return make_url(url).set(username=login).render_as_string(hide_password=False)
