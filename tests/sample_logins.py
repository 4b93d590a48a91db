"""Several people on one ledger: PostgreSQL logins, let in as docs/permissions.md says.

The SQL that an operator runs stands in that document alone; it is executed from there.
"""

import re
from pathlib import Path

import psycopg
from sqlalchemy import make_url

DOCUMENT = Path(__file__).parent.parent / "docs" / "permissions.md"

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

READERS = ("vic", "aud", "lab", "nob", "other", "head")
"""Who is let in to read only; others may write, as far as the program lets them."""


def let_in(url: str, logins: tuple[str, ...]) -> None:
    """Let logins use a ledger."""
    of_server, of_ledger, of_person = re.findall(
        r"^```sql\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    with psycopg.connect(url, autocommit=True) as operator:
        known = {name for (name,) in operator.execute("SELECT rolname FROM pg_roles").fetchall()}
        if "billing_staff" not in known:
            operator.execute(of_server.encode())
        operator.execute(of_ledger.encode())
        for login in logins:
            if login not in known:
                role = "billing_reader" if login in READERS else "billing_staff"
                person = of_person.replace("ann", login).replace("billing_staff", role)
                operator.execute(person.encode())


def url_as(url: str, login: str) -> str:
    """The ledger's URL for this login."""
    return make_url(url).set(username=login).render_as_string(hide_password=False)
