"""Triggers: the guards on SQLite and PostgreSQL, and the refusals that only one of them needs.

    UPDATE event SET reason = ''   →  SQLite: RAISE(ABORT, 'events are append-only')
                                      PostgreSQL: RAISE EXCEPTION with the same message

SQLite     REPLACE overwrites rows without DELETE triggers: a row whose key exists is refused on
           guarded tables. An event must continue the chain.
PostgreSQL TRUNCATE is refused. The database sets login and time, and numbers and hashes events
           under a lock per facility (events.py has the rendering). Once a facility has an
           administrator, only administrators give and take permissions. A change of state waits
           for sessions that refer to the row. Lookups must see committed rows: writing is refused
           under any isolation but READ COMMITTED.

PostgreSQL's functions run with their owner's rights and a fixed search path, so neither row-level
security nor a temporary table hides rows from them; ``session_user`` stays the connected login.
"""

import re
from collections.abc import Iterator

from sqlalchemy import (
    BigInteger,
    Connection,
    Index,
    Table,
    Text,
    UniqueConstraint,
    column,
    func,
    select,
    table,
)

from billing_lib.ledger.events import BEGINNING, FIELDS
from billing_lib.ledger.guards import DELETE, GUARDS, INSERT, UPDATE, Guard
from billing_lib.ledger.schema import metadata, package, transformation

_PREFIX = "billing_guard_"
_ROW_SETS = {
    INSERT: "NEW TABLE AS fresh",
    UPDATE: "NEW TABLE AS fresh",
    DELETE: "OLD TABLE AS gone",
}
_FREE_OF_REPLACE = {
    "unbilled",
    "charge_split",
    "statement_adjustment",
}  # rows come and go, or a guard asks their charge


_BY_COLUMN = {"charge"}
"""Tables with large updates, whose guards refuse an update only for a column of NEW in their
condition; SQLite then asks just the guards of the columns that a statement sets."""

_NEW = re.compile(r'NEW\."?(\w+)"?')


def install(connection: Connection) -> None:
    """Install all guards; none may exist yet."""
    on_postgresql = connection.dialect.name == "postgresql"
    for statement in _postgresql(connection) if on_postgresql else _sqlite():
        connection.exec_driver_sql(statement)


def remove(connection: Connection) -> None:
    """Drop all guards, as a migration must before it changes tables."""
    if connection.dialect.name == "postgresql":
        names = column("proname", Text)
        here = select(column("oid", BigInteger)).select_from(table("pg_namespace"))
        functions = (
            select(names)
            .select_from(table("pg_proc"))
            .where(
                names.startswith(_PREFIX, autoescape=True),
                column("pronamespace").in_(here.where(column("nspname") == func.current_schema())),
            )
        )
        for name in list(connection.scalars(functions)):
            connection.exec_driver_sql(f"DROP FUNCTION {name} CASCADE")  # with its triggers
        return
    names = column("name", Text)
    triggers = (
        select(names)
        .select_from(table("sqlite_master"))
        .where(column("type") == "trigger", names.startswith(_PREFIX, autoescape=True))
    )
    for name in list(connection.scalars(triggers)):
        connection.exec_driver_sql(f"DROP TRIGGER {name}")


def guarded_tables() -> list[str]:
    """The tables that have guards."""
    return sorted({guard.table for guard in GUARDS})


def _named() -> Iterator[tuple[str, Guard, str]]:
    """The name of each trigger, with its guard and operation."""
    for number, guard in enumerate(GUARDS):
        for operation in guard.operations:
            yield f"{_PREFIX}{guard.table}_{operation.lower()}_{number:02}", guard, operation


def _sqlite() -> Iterator[str]:
    for name, guard, operation in _named():
        moment = "AFTER" if guard.lookup else "BEFORE"
        event = operation
        if operation == UPDATE and guard.table in _BY_COLUMN:
            event = f"{UPDATE} OF {', '.join(sorted(set(_NEW.findall(guard.when))))}"
        yield _sqlite_trigger(name, moment, event, guard.table, guard.when, guard.says)
    for guarded in guarded_tables():
        if guarded not in _FREE_OF_REPLACE:
            for number, (keys, only) in enumerate(_unique_keys(metadata.tables[guarded])):
                same = " AND ".join(f'kept."{key}" = NEW."{key}"' for key in keys)
                found = f'EXISTS (SELECT 1 FROM "{guarded}" kept WHERE {same}{only})'
                name = f"{_PREFIX}{guarded}_replace_{number}"
                says = f"a row of {guarded} with this key exists"
                yield _sqlite_trigger(name, "BEFORE", INSERT, guarded, found, says)
    last = "FROM event e WHERE e.facility = NEW.facility ORDER BY e.sequence DESC LIMIT 1"
    follows = (
        f"NEW.sequence = coalesce((SELECT e.sequence {last}), 0) + 1"
        f" AND NEW.previous_hash = coalesce((SELECT e.hash {last}), '{BEGINNING}')"
    )
    yield _sqlite_trigger(
        f"{_PREFIX}event_chain",
        "BEFORE",
        INSERT,
        "event",
        f"NOT ({follows})",
        "an event follows the last one of its facility",
    )


def _sqlite_trigger(name: str, moment: str, operation: str, on: str, when: str, says: str) -> str:
    condition = when.replace("IS DISTINCT FROM", "IS NOT")
    only = f"WHEN {condition} " if condition else ""
    return (
        f'CREATE TRIGGER {name} {moment} {operation} ON "{on}" FOR EACH ROW {only}'
        f"BEGIN SELECT RAISE(ABORT, {_literal(says)}); END"
    )


def _unique_keys(guarded: Table) -> Iterator[tuple[list[str], str]]:
    """The columns of each unique key, and the condition of a partial index."""
    yield [key.name for key in guarded.primary_key], ""
    for constraint in sorted(guarded.constraints, key=lambda found: str(found.name)):
        if isinstance(constraint, UniqueConstraint):
            yield [key.name for key in constraint.columns], ""
    for index in sorted(guarded.indexes, key=lambda found: str(found.name)):
        if index.unique:
            yield [key.name for key in index.columns], _partial(index)


def _partial(index: Index) -> str:
    only = index.dialect_options["sqlite"]["where"]
    return "" if only is None else f" AND kept.{only} AND NEW.{only}"


def _postgresql(connection: Connection) -> Iterator[str]:
    schema = connection.dialect.identifier_preparer.quote(
        connection.scalars(select(func.current_schema())).one()
    )
    path = f"SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp"
    yield _function(f"{_PREFIX}refuse", path, _raised("TG_ARGV[0]"))
    for name, guard, operation in _named():
        if guard.lookup:
            # One query for all rows of the statement; row by row, bulk writes would be slow.
            condition = guard.when.replace("NEW.", "fresh.").replace("OLD.", "gone.")
            rows = "gone" if operation == DELETE else "fresh"
            found = f"EXISTS (SELECT 1 FROM {rows} WHERE {condition})"
            refused = f"IF {found} THEN {_raised(_literal(guard.says))} END IF; RETURN NULL;"
            yield _function(name, path, f"{_AS_COMMITTED} {refused}")
            moment = f"AFTER {operation}"
            every = f"REFERENCING {_ROW_SETS[operation]} FOR EACH STATEMENT"
            yield from _trigger(name, moment, guard.table, every, f"{name}()")
        else:
            every = f"FOR EACH ROW WHEN ({guard.when})" if guard.when else "FOR EACH ROW"
            call = f"{_PREFIX}refuse({_literal(guard.says)})"
            yield from _trigger(name, f"BEFORE {operation}", guard.table, every, call)
    for guarded in guarded_tables():
        name = f"{_PREFIX}{guarded}_truncate"
        call = f"{_PREFIX}refuse({_literal(f'the table {guarded} is not emptied')})"
        yield from _trigger(name, "BEFORE TRUNCATE", guarded, "FOR EACH STATEMENT", call)
    for stamped, moment, body in (
        ("event", "BEFORE INSERT", _event_link()),
        ("source_file", "BEFORE INSERT", f"{_WHO} NEW.loaded_at := clock_timestamp();"),
        ("billing_run", "BEFORE INSERT", f"{_WHO} NEW.made_at := clock_timestamp();"),
        *(
            (made.name, "BEFORE INSERT", f"{_WHO} NEW.made_at := clock_timestamp();")
            for made in (transformation, package)
        ),
        ("issuing", "BEFORE INSERT OR UPDATE", _pass_stamp("frozen_at")),
        ("job", "BEFORE INSERT OR UPDATE", _pass_stamp("started_at")),
        ("fund_entry", "BEFORE INSERT", f"{_WHO} NEW.at := clock_timestamp();"),
        ("message", "BEFORE INSERT OR UPDATE", _pass_stamp("queued_at", "moved_at")),
        ("notice", "BEFORE INSERT", "NEW.made_at := clock_timestamp();"),
        ("notice_seen", "BEFORE INSERT", f"{_WHO} NEW.at := clock_timestamp();"),
        ("journal", "BEFORE INSERT", f"{_WHO} NEW.posted_at := clock_timestamp();"),
    ):
        name = f"{_PREFIX}{stamped}_stamp"
        yield _function(name, path, f"{body} RETURN NEW;")
        yield from _trigger(name, moment, stamped, "FOR EACH ROW", f"{name}()")
    name = f"{_PREFIX}permission_giver"
    yield _function(name, path, _by_an_administrator())
    moment = "BEFORE INSERT OR DELETE"
    yield from _trigger(name, moment, "permission", "FOR EACH ROW", f"{name}()")
    for moving, keys in _MOVING.items():
        name = f"{_PREFIX}{moving}_lock"
        same = " AND ".join(f"kept.{key} = OLD.{key}" for key in keys)
        locked = f"PERFORM 1 FROM {moving} kept WHERE {same} FOR UPDATE; RETURN NEW;"
        yield _function(name, path, locked)
        every = "FOR EACH ROW WHEN (NEW.state <> OLD.state)"
        yield from _trigger(name, "BEFORE UPDATE", moving, every, f"{name}()")


_MOVING = {
    "invoice": ("facility", "code"),
    "billing_run": ("id",),
    "issuing": ("id",),
    "statement": ("id",),
}
"""Tables with a state that other rows depend on, and their keys. A session that refers to a row
shares a lock on its key until its transaction ends; a change of state would not wait for that."""

_AS_COMMITTED = (
    "IF current_setting('transaction_isolation') <> 'read committed' THEN RAISE EXCEPTION USING"
    " MESSAGE = 'the ledger is written under READ COMMITTED only',"
    " ERRCODE = 'integrity_constraint_violation'; END IF;"
)
"""Under another isolation a guard would look up outdated rows."""

_WHO = "NEW.login := session_user;"


def _pass_stamp(began: str, ended: str = "ended_at") -> str:
    """Set login and time at the beginning, and the time of the end at a change of state."""
    return f"""
    IF TG_OP = 'INSERT' THEN
        {_WHO} NEW.{began} := clock_timestamp(); NEW.{ended} := NULL;
    ELSIF NEW.state <> OLD.state THEN
        NEW.{ended} := clock_timestamp();
    ELSE
        NEW.{ended} := OLD.{ended};
    END IF;"""


def _event_link() -> str:
    """Set login, time, number and hashes of an event, one writer per facility at a time."""
    texts = {
        "sequence": "NEW.sequence::text",
        "at": """to_char(NEW.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""",
    }
    rendering = " || ".join(
        f"coalesce(octet_length(convert_to({text}, 'UTF8')) || ':' || {text} || ',', '-,')"
        for text in (texts.get(name, f'NEW."{name}"') for name in FIELDS)
    )
    last = "FROM event e WHERE e.facility = NEW.facility ORDER BY e.sequence DESC LIMIT 1"
    return f"""
    PERFORM pg_advisory_xact_lock(hashtextextended('billing.event:' || NEW.facility, 0));
    {_WHO}
    NEW.at := clock_timestamp();
    NEW.sequence := coalesce((SELECT e.sequence {last}), 0) + 1;
    NEW.previous_hash := coalesce((SELECT e.hash {last}), '{BEGINNING}');
    NEW.hash := encode(sha256(convert_to({rendering}, 'UTF8')), 'hex');"""


def _by_an_administrator() -> str:
    """Refuse a change of permissions by a login that is no administrator."""
    given = (
        "SELECT 1 FROM permission p WHERE p.facility = coalesce(NEW.facility, OLD.facility)"
        " AND p.role = 'administrator'"
    )
    says = _raised(_literal("an administrator of the facility gives and takes permissions"))
    return f"""
    IF EXISTS ({given}) AND NOT EXISTS ({given} AND p.login = session_user) THEN {says} END IF;
    RETURN coalesce(NEW, OLD);"""


def _raised(message: str) -> str:
    return f"RAISE EXCEPTION USING MESSAGE = {message}, ERRCODE = 'integrity_constraint_violation';"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _function(name: str, path: str, body: str) -> str:
    return (
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql {path}"
        f" AS $body$ BEGIN {body} END $body$"
    )


def _trigger(name: str, moment: str, on: str, every: str, call: str) -> Iterator[str]:
    yield f"CREATE TRIGGER {name} {moment} ON {on} {every} EXECUTE FUNCTION {call}"
    # Otherwise a session could declare itself a replica, where triggers do not run.
    yield f"ALTER TABLE {on} ENABLE ALWAYS TRIGGER {name}"
