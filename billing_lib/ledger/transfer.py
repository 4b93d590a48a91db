"""Copying a ledger into another, on the same or the other kind of database.

    copy_ledger(postgresql, sqlite)      a backup; facility 3, usage_record 1204, charge 1200, …
    copy_ledger(sqlite, postgresql)      restored

Rows are copied as they are, with the logins and times of the day and the chain of events, so the
guards are off in the copy until it is whole.
"""

from sqlalchemy import Connection, Engine, func, insert, select

from billing_lib.errors import NotPermitted, NotReady
from billing_lib.ledger import triggers
from billing_lib.ledger.database import initialise, reading, writing
from billing_lib.ledger.schema import facility, metadata

_CHUNK = 10_000


def copy_ledger(source: Engine, target: Engine) -> dict[str, int]:
    """Copy all rows, as they are at one moment, into a new ledger; the number of rows by table.

    Raises
    ------
    NotPermitted
        The login does not see every row of the source.
    NotReady
        The target has rows already.
    """
    initialise(target)
    counts = {}
    with reading(source) as read, writing(target) as write:
        _require_every_row(read)
        if write.scalar(select(func.count()).select_from(facility)):
            raise NotReady("the ledger to copy to is not empty", remedy="name a new one")
        triggers.remove(write)
        if write.dialect.name == "sqlite":
            write.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        for table in metadata.sorted_tables:
            rows = read.execution_options(yield_per=_CHUNK).execute(select(table)).mappings()
            counts[table.name] = 0
            for part in rows.partitions():
                write.execute(insert(table), [dict(row) for row in part])
                counts[table.name] += len(part)
        triggers.install(write)
    initialise(target)  # what the roles may do with the new guards
    return counts


def _require_every_row(connection: Connection) -> None:
    if connection.dialect.name != "postgresql":
        return
    if connection.scalar(select(func.row_security_active(facility.name))):
        raise NotPermitted(
            "this login does not see every row of the ledger",
            remedy="make the backup as the operator, who owns the ledger",
        )
