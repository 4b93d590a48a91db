"""Tables of the guards, and preferences by team.

A new ledger has them from its first revision on.
"""

from typing import NoReturn

from alembic import op
from sqlalchemy import inspect, select, text

from billing_lib.ledger.acts import ADMINISTRATOR
from billing_lib.ledger.people import current_login
from billing_lib.ledger.schema import facility, metadata, permission, preference

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Create the tables that are not there, and give preferences a team.

    A facility without an administrator, which was open to all, becomes that of the upgrading user.
    """
    connection = op.get_bind()
    columns = {each["name"] for each in inspect(connection).get_columns("preference")}
    if "team" not in columns:
        rows = connection.execute(text("SELECT facility, address, invoices FROM preference"))
        standing = [{**row, "team": ""} for row in rows.mappings()]
        op.drop_table("preference")
        preference.create(connection)
        if standing:
            connection.execute(preference.insert(), standing)
    metadata.create_all(connection)
    led = select(permission.c.facility).where(permission.c.role == ADMINISTRATOR)
    me = {"login": current_login(connection), "role": ADMINISTRATOR, "team": ""}
    for code in list(
        connection.scalars(select(facility.c.code).where(facility.c.code.not_in(led)))
    ):
        connection.execute(permission.insert().values(facility=code, **me))


def downgrade() -> NoReturn:
    """Refuse: issued invoices are never dropped."""
    raise NotImplementedError("a ledger is not taken back to an earlier version")
