"""How alembic runs here: in the caller's transaction, with the guards put anew at the end.

Guards come off first, since a migration may have to touch what they keep, and are then those of
this version of the program. All of it commits at once or not at all.
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
