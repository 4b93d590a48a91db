"""How alembic runs here: in the caller's transaction, all or nothing.

The guards come off first, since a migration may change guarded rows; at the end the guards of
this version of the program are installed.
"""

from alembic import context

from billing_lib.ledger import triggers
from billing_lib.ledger.schema import metadata

connection = context.config.attributes["connection"]
triggers.remove(connection)
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
triggers.install(connection)
