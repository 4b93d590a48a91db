"""Triggers: the guards on SQLite and PostgreSQL, and the refusals that only one of them needs.

    UPDATE event SET reason = ''   →  SQLite: RAISE(ABORT, 'events are append-only')
                                      PostgreSQL: RAISE EXCEPTION with the same message

SQLite     REPLACE overwrites rows without DELETE triggers: a row whose key exists is refused on
           guarded tables. An event must continue the chain.
PostgreSQL TRUNCATE is refused. The database sets login and time, and numbers and hashes events
           under a lock per facility (events.py has the rendering). Once a facility has an
           administrator, only administrators give and take permissions. A change of state waits
           for sessions that refer to the row. Lookups must see committed rows: writing is refused
           under any isolation but READ COMMITTED. Rows that come by the million have their
           references checked once per statement in place of a foreign key.

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

from billing_lib.ledger.acts import (
    ACTS,
    ADMINISTRATOR,
    AMOUNTS,
    APPROVAL,
    ENOUGH,
    EVENTED,
    EVENTS,
    FIRST_SEEN,
    HOLDS,
    ISSUER,
    LAB_ADMINISTRATOR,
    LOCKS,
    OUTSIDE,
    PRICE_BOOK,
    READS,
    RECORDED,
    REVIEWER,
    RULE,
    UNRECORDED,
    VIEWER,
    WRITTEN,
    has,
)
from billing_lib.ledger.events import BEGINNING, FIELDS, TOLD
from billing_lib.ledger.frames import STAGED
from billing_lib.ledger.guards import DELETE, GUARDS, INSERT, UPDATE, Guard, named
from billing_lib.ledger.schema import BY_STATEMENT, metadata, package, transformation, usage_record
from billing_lib.ledger.states import moves

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
        policies = select(column("tablename", Text), column("policyname", Text)).select_from(
            table("pg_policies")
        )
        policies = policies.where(
            column("policyname").startswith(_PREFIX, autoescape=True),
            column("schemaname") == func.current_schema(),
        )
        for on, policy in list(connection.execute(policies)):
            connection.exec_driver_sql(f'DROP POLICY {policy} ON "{on}"')
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


def missing(connection: Connection) -> list[str]:
    """The triggers of this version's guards that the ledger lacks, or that are switched off."""
    on_postgresql = connection.dialect.name == "postgresql"
    statements = _postgresql(connection) if on_postgresql else _sqlite()
    wanted = {found[1] for each in statements if (found := _TRIGGER.match(each))}
    if on_postgresql:
        names = column("tgname", Text)
        there = select(names).select_from(table("pg_trigger")).where(column("tgenabled") == "A")
    else:
        names = column("name", Text)
        there = select(names).select_from(table("sqlite_master")).where(column("type") == "trigger")
    return sorted(wanted - set(connection.scalars(there)))


_TRIGGER = re.compile(r"CREATE (?:CONSTRAINT )?TRIGGER \"?(\w+)")


def guarded_tables() -> list[str]:
    """The tables that have guards."""
    return sorted({guard.table for guard in GUARDS})


def _named() -> Iterator[tuple[str, Guard, str]]:
    """The name of each trigger, with its guard and operation."""
    for number, guard in enumerate(GUARDS):
        for operation in guard.operations:
            yield f"{_PREFIX}{guard.table}_{operation.lower()}_{number:02}", guard, operation


def _sqlite() -> Iterator[str]:
    inserted: dict[str, list[tuple[str, str]]] = {}
    for name, guard, operation in _named():
        counts_itself = guard.lookup and re.search(rf"\b{guard.table}\b", guard.when)
        if operation == INSERT and not counts_itself:
            inserted.setdefault(guard.table, []).append((guard.when, guard.says))
            continue
        moment = "AFTER" if guard.lookup else "BEFORE"
        event = operation
        if operation == UPDATE and guard.table in _BY_COLUMN:
            columns = sorted(guard.of or set(_NEW.findall(guard.when)))
            event = f"{UPDATE} OF {', '.join(columns)}"
        refused = [(guard.when, guard.says)]
        yield _sqlite_trigger(name, moment, event, guard.table, refused)
    for guarded in guarded_tables():
        refused = inserted.get(guarded, [])
        if guarded not in _FREE_OF_REPLACE:
            for keys, only in _unique_keys(metadata.tables[guarded]):
                same = " AND ".join(f'kept."{key}" = NEW."{key}"' for key in keys)
                found = f'EXISTS (SELECT 1 FROM "{guarded}" kept WHERE {same}{only})'
                refused.append((found, f"a row of {guarded} with this key exists"))
        if refused:  # all in one trigger, since each takes time of every row
            yield _sqlite_trigger(f"{_PREFIX}{guarded}_insert", "BEFORE", INSERT, guarded, refused)
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
        [(f"NOT ({follows})", "an event follows the last one of its facility")],
    )


def _sqlite_trigger(
    name: str, moment: str, operation: str, on: str, refused: list[tuple[str, str]]
) -> str:
    """A trigger with conditions and the message of each; '' refuses always."""
    cases = [
        (_in_sqlite(when) or "true", f"RAISE(ABORT, {_literal(says)})") for when, says in refused
    ]
    only = " OR ".join(f"({when})" for when, _ in cases)
    raised = " ".join(f"WHEN {when} THEN {says}" for when, says in cases)
    return (
        f'CREATE TRIGGER {name} {moment} {operation} ON "{on}" FOR EACH ROW WHEN {only}'
        f" BEGIN SELECT CASE {raised} END; END"
    )


_LISTED = re.compile(r"([\w.]+) (NOT )?IN \(('\w+'(?:, '\w+')*)\)")


def _in_sqlite(condition: str) -> str:
    """Write a condition for SQLite, which would build a table of each list for every row."""

    def compared(found: re.Match[str]) -> str:
        column, negated, listed = found.groups()
        sign, word = ("<>", " AND ") if negated else ("=", " OR ")
        return f"({word.join(f'{column} {sign} {value}' for value in listed.split(', '))})"

    return _LISTED.sub(compared, condition.replace("IS DISTINCT FROM", "IS NOT"))


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
    for statement in _on_postgresql():
        yield qualified(statement, schema)


def qualified(statement: str, schema: str) -> str:
    """The statement with the schema before each of the ledger's tables and functions.

    So code that runs with its owner's rights finds them whatever the search path is.
    """
    return _OURS.sub(rf"\1{schema}.\2", statement)


_OURS = re.compile(
    r"(\b(?:FROM|JOIN|INTO|ON|FUNCTION|TABLE)\s+|(?<![\w.\"'])(?=billing_guard_\w+\())"
    rf"\"?({'|'.join(sorted(metadata.tables, key=len, reverse=True))}|billing_guard_\w+)\b\"?"
    r"(?!\.)"
)


def _on_postgresql() -> Iterator[str]:
    yield from _asked()
    yield _function(f"{_PREFIX}refuse", _raised("TG_ARGV[0]"))
    for name, guard, operation in _named():
        if guard.lookup:
            # One query for all rows of the statement; row by row, bulk writes would be slow.
            condition = guard.when.replace("NEW.", "fresh.").replace("OLD.", "gone.")
            rows = "gone" if operation == DELETE else "fresh"
            found = f"EXISTS (SELECT 1 FROM {rows} WHERE {condition})"
            refused = f"IF {found} THEN {_raised(_literal(guard.says))} END IF; RETURN NULL;"
            yield _function(name, f"{_AS_COMMITTED} {refused}")
            yield from _per_statement(name, operation, guard.table)
        else:
            every = f"FOR EACH ROW WHEN ({guard.when})" if guard.when else "FOR EACH ROW"
            call = f"{_PREFIX}refuse({_literal(guard.says)})"
            yield from _trigger(name, f"BEFORE {operation}", guard.table, every, call)
    for guarded in guarded_tables():
        name = f"{_PREFIX}{guarded}_truncate"
        call = f"{_PREFIX}refuse({_literal(f'the table {guarded} is not emptied')})"
        yield from _trigger(name, "BEFORE TRUNCATE", guarded, "FOR EACH STATEMENT", call)
    for stamped, moment, body in (
        ("event", "BEFORE INSERT", f"{_event_by_whom()} {_event_link()}"),
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
        ("rate", "BEFORE INSERT", "NEW.kept_at := clock_timestamp();"),
        ("notice", "BEFORE INSERT", "NEW.made_at := clock_timestamp();"),
        ("notice_seen", "BEFORE INSERT", f"{_WHO} NEW.at := clock_timestamp();"),
        ("journal", "BEFORE INSERT", f"{_WHO} NEW.posted_at := clock_timestamp();"),
    ):
        name = f"{_PREFIX}{stamped}_stamp"
        yield _function(name, f"{body} RETURN NEW;")
        yield from _trigger(name, moment, stamped, "FOR EACH ROW", f"{name}()")
    name = f"{_PREFIX}permission_giver"
    yield _function(name, _by_an_administrator())
    moment = "BEFORE INSERT OR DELETE"
    yield from _trigger(name, moment, "permission", "FOR EACH ROW", f"{name}()")
    name = f"{_PREFIX}facility_maker"
    yield _function(
        name,
        "INSERT INTO permission (facility, login, role, team)"
        f" VALUES (NEW.code, session_user::text, '{ADMINISTRATOR}', ''); RETURN NULL;",
    )
    yield from _trigger(name, "AFTER INSERT", "facility", "FOR EACH ROW", f"{name}()")
    for moving, keys in _MOVING.items():
        name = f"{_PREFIX}{moving}_lock"
        same = " AND ".join(f"kept.{key} = OLD.{key}" for key in keys)
        locked = f"PERFORM 1 FROM {moving} kept WHERE {same} FOR UPDATE; RETURN NEW;"
        yield _function(name, locked)
        every = "FOR EACH ROW WHEN (NEW.state <> OLD.state)"
        yield from _trigger(name, "BEFORE UPDATE", moving, every, f"{name}()")
    name = f"{_PREFIX}invoice_whose_turn"
    yield _function(name, _by_its_reviewer())
    every = "FOR EACH ROW WHEN (NEW.step > OLD.step)"
    yield from _trigger(name, "BEFORE UPDATE", "invoice", every, f"{name}()")
    yield from _references()
    yield from _acts()
    yield from _recorders()
    yield from _preferring()
    yield from _reads()


def _references() -> Iterator[str]:
    """Triggers in place of the foreign keys that schema.py marks BY_STATEMENT.

    Guards keep the rows that are referred to, all but pending charges, which are deleted with their
    splits. As with a foreign key, a session that adds a split shares a lock on the charge, unless
    the charge is of its own transaction, and so seen by no other.
    """
    for on in metadata.sorted_tables:
        for reference in on.foreign_key_constraints:
            if BY_STATEMENT not in reference.info:
                continue
            to, name = reference.referred_table.name, f"{_PREFIX}{on.name}_reference"
            pairs = [(key.parent.name, key.column.name) for key in reference.elements]
            same = " AND ".join(f"t.{theirs} = f.{own}" for own, theirs in pairs)
            stated = " AND ".join(f"f.{own} IS NOT NULL" for own, _ in pairs)
            missing = (
                f"SELECT EXISTS (SELECT 1 FROM {{}} f WHERE {stated}"
                f" AND NOT EXISTS (SELECT 1 FROM {to} t WHERE {same}))"
            )
            says = _raised(_literal(f"a row of {on.name} refers to a missing {to}"))
            # The rows that are there were checked by a foreign key, or are copied.
            yield f"DO $body$ BEGIN IF ({missing.format(on.name)}) THEN {says} END IF; END $body$"
            held = ""
            if reference.ondelete is not None:
                lock = (
                    f"SELECT 1 FROM {to} t WHERE t.xmin <> pg_current_xact_id()::xid"
                    f" AND EXISTS (SELECT 1 FROM fresh f WHERE {same}) FOR KEY SHARE OF t"
                )
                held = f"EXECUTE {_literal(lock)};"
                gone = f"DELETE FROM {on.name} f USING gone t WHERE {same};"
                body = f"{_AS_COMMITTED} EXECUTE {_literal(gone)}; RETURN NULL;"
                yield _function(f"{name}_gone", body)
                yield from _per_statement(f"{name}_gone", DELETE, to)
            # EXECUTE, since a plan that is kept from small tables would be slow in large ones.
            yield _function(
                name,
                f"DECLARE missing boolean; BEGIN {_AS_COMMITTED} {held}"
                f" EXECUTE {_literal(missing.format('fresh'))} INTO missing;"
                f" IF missing THEN {says} END IF; RETURN NULL; END;",
            )
            for operation in (INSERT, UPDATE) if on is usage_record else (INSERT,):
                trigger = f"{name}_{operation.lower()}"
                every = f"REFERENCING {_ROW_SETS[operation]} FOR EACH STATEMENT"
                yield from _trigger(trigger, f"AFTER {operation}", on.name, every, f"{name}()")


def _asked() -> Iterator[str]:
    """The functions that policies and the library call, for whoever may read the ledger."""
    own = "p.login = session_user::text"
    tree = (
        "SELECT DISTINCT ON (e.facility) e.facility, e.after::jsonb AS above FROM event e"
        " WHERE e.kind = 'teams' ORDER BY e.facility, e.sequence DESC"
    )
    readable = f"{has(ENOUGH[VIEWER], 'f.facility')}"
    for name, gives, body in (
        (
            "reads",
            "text[]",
            "SELECT array(SELECT DISTINCT p.facility FROM permission p"
            f" WHERE {own} AND p.role IN {named(ENOUGH[VIEWER])})",
        ),
        (
            "labs",
            "TABLE (facility text, team text)",
            f"WITH RECURSIVE lab(facility, team) AS (SELECT p.facility, p.team FROM permission p"
            f" WHERE {own} AND p.role = '{LAB_ADMINISTRATOR}' UNION SELECT t.facility, b.key"
            f" FROM lab JOIN ({tree}) t ON t.facility = lab.facility,"
            " jsonb_each_text(t.above) b WHERE b.value = lab.team) SELECT facility, team FROM lab",
        ),
        (
            "packages",
            "SETOF text",
            "SELECT k.id FROM package k WHERE NOT EXISTS (SELECT 1 FROM package_file f"
            f" WHERE f.package = k.id AND NOT {readable} AND (f.facility, f.team) NOT IN"
            " (SELECT l.facility, l.team FROM billing_guard_labs() l))",
        ),
        (
            "messages",
            "SETOF text",
            "SELECT k.id FROM message k WHERE NOT EXISTS (SELECT 1 FROM told f"
            f" WHERE f.message = k.id AND NOT {readable}) AND {has(ENOUGH[VIEWER], None)}",
        ),
    ):
        yield (
            f"CREATE FUNCTION {_PREFIX}{name}() RETURNS {gives} LANGUAGE sql STABLE {_SAFE}"
            f" AS $body$ {body} $body$"
        )
    yield (
        f"CREATE FUNCTION {_PREFIX}approval(of_facility text) RETURNS jsonb LANGUAGE sql STABLE"
        f" {_SAFE} AS $body$ SELECT coalesce((SELECT e.after::jsonb FROM event e"
        f" WHERE e.facility = of_facility AND e.kind = '{APPROVAL}' AND e.subject = '{RULE}'"
        " ORDER BY e.sequence DESC LIMIT 1), '{}') $body$"
    )
    lock = "hashtextextended('billing.' || held, 0)"
    refused = _refused(
        "of_facility := substring(held from '^issuing:(.*)$');"
        f" IF (of_facility IS NULL AND held NOT IN {named(LOCKS)})"
        " OR NOT (pg_has_role(session_user, current_user, 'MEMBER') OR"  # the operator, who owns it
        f" CASE WHEN of_facility IS NULL THEN {has(ENOUGH[ISSUER], None)}"
        f" ELSE {has(ENOUGH[REVIEWER], 'of_facility')} OR NOT EXISTS (SELECT 1 FROM facility f"
        " WHERE f.code = of_facility) END)",
        "'{} may not hold the lock ' || held",
    )
    for name, call in (
        ("hold", f"pg_try_advisory_lock({lock})"),
        ("free", f"pg_advisory_unlock({lock})"),
    ):
        yield (
            f"CREATE FUNCTION {_PREFIX}{name}(held text) RETURNS boolean LANGUAGE plpgsql {_SAFE}"
            f" AS $body$ DECLARE of_facility text; BEGIN {refused} RETURN {call}; END $body$"
        )
    yield (
        f"CREATE FUNCTION {_PREFIX}wait(held text) RETURNS void LANGUAGE plpgsql {_SAFE}"
        f" AS $body$ DECLARE of_facility text; BEGIN {refused}"
        f" PERFORM pg_advisory_xact_lock({lock}); END $body$"
    )
    cases = " ".join(
        f"WHEN '{each}' THEN CREATE TEMPORARY TABLE {STAGED} ON COMMIT DROP AS"
        f" SELECT * FROM {each} WITH NO DATA;"
        for each in sorted({act.table for act in ACTS})
    )
    # Logins may make no temporary tables, and COPY writes to none with row-level security.
    yield (
        f"CREATE FUNCTION {_PREFIX}stage(of_table text) RETURNS void LANGUAGE plpgsql {_SAFE}"
        f" AS $body$ BEGIN IF to_regclass('pg_temp.{STAGED}') IS NOT NULL THEN"
        f" DROP TABLE pg_temp.{STAGED}; END IF; CASE of_table {cases} END CASE;"
        f" EXECUTE 'GRANT SELECT, INSERT ON pg_temp.{STAGED} TO ' || quote_ident(session_user);"
        " END $body$"
    )
    deleted = sorted({act.table for act in ACTS if DELETE in act.operations})
    cases = " ".join(
        f"WHEN '{each}' THEN DELETE FROM {each} WHERE ctid = ANY (places);" for each in deleted
    )
    # With the right to DELETE a login could also lock the whole table.
    yield (
        f"CREATE FUNCTION {_PREFIX}delete(of_table text, places tid[]) RETURNS bigint"
        f" LANGUAGE plpgsql {_SAFE} AS $body$ DECLARE gone bigint; BEGIN"
        f" CASE of_table {cases} END CASE; GET DIAGNOSTICS gone = ROW_COUNT; RETURN gone;"
        " END $body$"
    )


def _acts() -> Iterator[str]:
    """A trigger per table and operation, once per statement: is the role there, and by whom is it?

    Most statements are of one facility, so the rows are first reduced to the columns asked for.
    """
    for on, operation in sorted({(act.table, each) for act in ACTS for each in act.operations}):
        if on == "permission":
            continue  # asked before the row is there, by permission_giver
        rows = "gone" if operation == DELETE else "fresh"
        checks = ""
        for act in ACTS:
            if act.table == on and operation in act.operations:
                columns = sorted(set(re.findall(r"ROW\.(\w+)", act.refusal))) or ["1"]
                named_columns = ", ".join(columns)
                refusal = act.refusal.replace("ROW.", "r.")
                found = f"IF EXISTS (SELECT 1 FROM (SELECT DISTINCT {named_columns} FROM {rows}) r"
                checks += _refused(f"{found} WHERE {refusal})", act.sentence)
        if on in EVENTED:
            checks += _after_an_event(on, operation, rows)
        if on in WRITTEN:
            checks += (
                'INSERT INTO written (facility, at, session, "table", operation, login, rows)'
                f" SELECT facility, clock_timestamp(), pg_backend_pid(), '{on}', '{operation}',"
                f" session_user::text, count(*) FROM {rows} GROUP BY facility;"
            )
        name = f"{_PREFIX}{on}_{operation.lower()}_act"
        yield _function(name, f"{checks} RETURN NULL;")
        both = operation == UPDATE and on == "charge"
        yield from _per_statement(name, operation, on, " OLD TABLE AS gone" if both else "")


def _after_an_event(on: str, operation: str, rows: str) -> str:
    """Refuse rows of a facility whose last event is not this transaction's.

    A transaction that records an event holds the facility's chain until its end.
    """
    last = "SELECT e.login, e.at FROM event e WHERE e.facility = r.facility"
    none = (
        f"NOT EXISTS (SELECT 1 FROM ({last} ORDER BY e.sequence DESC LIMIT 1) e"
        " WHERE e.login = session_user::text AND e.at >= transaction_timestamp())"
    )
    # The operator, who could take the guards off, is believed.
    condition = (
        "IF NOT pg_has_role(session_user, current_user, 'MEMBER') AND EXISTS"
        f" (SELECT 1 FROM (SELECT DISTINCT facility FROM {rows}) r WHERE {none})"
    )
    if operation == UPDATE and on == "charge":
        changed = ", ".join(f"f.{name}" for name in AMOUNTS)
        condition += (
            " AND EXISTS (SELECT 1 FROM fresh f JOIN gone g ON g.facility = f.facility"
            f" AND g.charge = f.charge WHERE ({changed}) IS DISTINCT FROM"
            f" ({changed.replace('f.', 'g.')}))"
        )
    return _refused(condition, f"'{{}} may not write this in {on} before an event says why'")


_NOTE = f"jsonb_each(nullif(current_setting('{TOLD}', true), '')::jsonb)"
_CLAIMS = named(("state", "step", "number", "paid_on", "payment_reference", "description"))


def _recorders() -> Iterator[str]:
    """Triggers that write an event in the statement that moves a row."""
    for on, subject, prefix, place in (
        ("invoice", "code", "", ""),
        ("billing_run", "id", "run_", ""),
        (
            *("statement", "id", "statement_"),
            "JOIN (SELECT DISTINCT a.facility, a.statement FROM statement_invoice a) w"
            " ON w.statement = f.id",
        ),
        (
            *("message", "id", "message_"),
            "JOIN (SELECT DISTINCT a.facility, a.message FROM told a) w ON w.message = f.id",
        ),
    ):
        known = ", ".join(
            f"('{move.before}', '{move.after}', '{prefix}{move.action}')"
            for move in moves(on)
            if move.action not in UNRECORDED
        )
        team = "NULL" if on == "billing_run" else "f.team"
        same = " AND ".join(
            f"g.{key.name} = f.{key.name}" for key in metadata.tables[on].primary_key
        )
        pair = f"fresh f JOIN gone g ON {same} {place}"
        facility = "w.facility" if place else "f.facility"
        others = {
            "invoice": [("step", "CASE WHEN f.step > g.step THEN 'approve' ELSE 'send_back' END")],
            "billing_run": [("description", "'run_describe'")],
        }
        changes = [
            (
                "state",
                "m.kind",
                f"JOIN (VALUES {known}) m (was, now, kind) ON m.was = g.state AND m.now = f.state",
                "",
            )
        ]
        changes += [
            (column, kind, "", f"WHERE f.{column} <> g.{column} AND f.state = g.state")
            for column, kind in others.get(on, [])
        ]
        body = (
            f"IF EXISTS (SELECT 1 FROM fresh f JOIN {_NOTE} n ON n.key = f.{subject},"
            " jsonb_each_text((n.value ->> 'after')::jsonb) c"
            f" WHERE c.key IN {_CLAIMS} AND c.value IS DISTINCT FROM (to_jsonb(f) ->> c.key))"
            f" THEN {_raised(_literal('an event says what its row says'))} END IF;"
        )
        for changed, kind, joined, only in changes:
            value = "'{{\"{0}\":' || to_jsonb({1}.{0}::text)::text || '}}'"
            before = value.format(changed, "g")
            after = (
                f"CASE WHEN (n.value ->> 'after')::jsonb ? '{changed}' THEN n.value ->> 'after'"
                f" ELSE {value.format(changed, 'f')} END"
            )
            body += (
                "INSERT INTO event"
                " (facility, kind, subject, team, group_id, reason, before, after)"
                f" SELECT {facility}, {kind}, f.{subject}, {team}, n.value ->> 'group_id',"
                f" coalesce(n.value ->> 'reason', ''), {before}, {after} FROM {pair} {joined}"
                f" LEFT JOIN {_NOTE} n ON n.key = f.{subject} {only}"
                f' ORDER BY {facility}, f.{subject} COLLATE "C";'
            )
        name = f"{_PREFIX}{on}_recorded"
        yield _function(name, f"{body} RETURN NULL;")
        both = "REFERENCING NEW TABLE AS fresh OLD TABLE AS gone FOR EACH STATEMENT"
        yield from _trigger(name, "AFTER UPDATE", on, both, f"{name}()")
    for operation, kind, row, holds in (
        (INSERT, "grant", "NEW", "after"),
        (DELETE, "revoke", "OLD", "before"),
    ):
        name = f"{_PREFIX}permission_{kind}"
        told = (
            f"'{{\"role\":\"' || {row}.role || '\"' || CASE WHEN {row}.team = '' THEN '' ELSE"
            f" ',\"team\":' || to_jsonb({row}.team)::text END || '}}'"
        )
        body = (
            f"INSERT INTO event (facility, kind, subject, team, reason, {holds}) VALUES"
            f" ({row}.facility, '{kind}', {row}.login, nullif({row}.team, ''),"
            f" coalesce((SELECT n.value ->> 'reason' FROM {_NOTE} n"
            f" WHERE n.key = {row}.login), ''),"
            f" {told});"
        )
        yield _function(name, f"{body} RETURN NULL;")
        yield from _trigger(name, f"AFTER {operation}", "permission", "FOR EACH ROW", f"{name}()")


def _preferring() -> Iterator[str]:
    """Triggers that write the event of a recipient's preference."""
    for operation, before in ((INSERT, "NULL"), (UPDATE, _json_of("OLD.invoices"))):
        name = f"{_PREFIX}preference_{operation.lower()}_recorded"
        yield _function(
            name,
            "INSERT INTO event (facility, kind, subject, team, reason, before, after) VALUES"
            " (NEW.facility, 'prefer', NEW.address, nullif(NEW.team, ''), '',"
            f" {before}, {_json_of('NEW.invoices')}); RETURN NULL;",
        )
        yield from _trigger(name, f"AFTER {operation}", "preference", "FOR EACH ROW", f"{name}()")


def _json_of(value: str) -> str:
    return f"'{{\"invoices\":\"' || {value} || '\"}}'"


def _reads() -> Iterator[str]:
    """Row-level security: which rows a login reads. Which it writes, the acts say."""
    for on, condition in READS.items():
        yield f"ALTER TABLE {on} ENABLE ROW LEVEL SECURITY"
        read = condition.replace("ROW.", f"{on}.")
        changed = HOLDS.get(on, condition).replace("ROW.", f"{on}.")
        for name, what in (
            ("read", f"FOR SELECT USING ({read})"),
            ("insert", "FOR INSERT WITH CHECK (true)"),
            ("update", f"FOR UPDATE USING ({changed}) WITH CHECK (true)"),
        ):
            yield f"CREATE POLICY {_PREFIX}{name} ON {on} {what}"


def _per_statement(name: str, operation: str, on: str, others: str = "") -> Iterator[str]:
    every = f"REFERENCING {_ROW_SETS[operation]}{others} FOR EACH STATEMENT"
    yield from _trigger(name, f"AFTER {operation}", on, every, f"{name}()")


def _event_by_whom() -> str:
    """Refuse an event that the login may not record, or that the database records itself."""
    body = (
        f"IF NEW.kind IN {named(RECORDED)} THEN IF pg_trigger_depth() < 2 THEN "
        + _raised("'the database itself records an event of the kind ' || NEW.kind")
        + f" END IF; ELSIF NEW.kind NOT IN {named(EVENTS)} THEN "
        + _raised("'there is no event of the kind ' || coalesce(NEW.kind, 'null')")
        + " ELSE "
    )
    for role in sorted(set(EVENTS.values())):
        kinds = named(kind for kind, takes in EVENTS.items() if takes == role)
        condition = f"IF NEW.kind IN {kinds} AND NOT {has(ENOUGH[role], 'NEW.facility')}"
        says = f"'{{}} may not record this in ' || NEW.facility || ': it takes the role {role}'"
        body += _refused(condition, says)
    of_charge = (
        "SELECT 1 FROM charge c WHERE c.facility = NEW.facility AND c.charge = NEW.subject"
        " AND (c.state <> 'PENDING' OR c.run IS NOT NULL)"
    )
    body += (
        f"IF NEW.kind IN ('adjust', 'delete', 'new_rate') AND EXISTS ({of_charge}) THEN "
        + _raised("'a charge that is billed or bound to a run does not change'")
        + " END IF;"
    )
    return f"{body} END IF;"


def _refused(condition: str, says: str) -> str:
    """Raise, where the condition holds, that the login (``{}``) may not do this."""
    sentence = says.replace("{}", "' || session_user::text || '")
    return (
        f"{condition} THEN RAISE EXCEPTION USING MESSAGE = {sentence},"
        " ERRCODE = 'insufficient_privilege'; END IF; "
    )


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

_WHO = "NEW.login := session_user::text;"


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
    """Refuse a change of permissions by a login that is no administrator.

    A facility's first administrator is its maker, by the trigger of the facility's row.
    """
    given = has((ADMINISTRATOR,), "coalesce(NEW.facility, OLD.facility)")
    says = _raised(_literal("an administrator of the facility gives and takes permissions"))
    return f"""
    IF pg_trigger_depth() < 2 AND NOT {given} THEN {says} END IF;
    RETURN coalesce(NEW, OLD);"""


_OF_PROJECT = "{0}.facility = NEW.facility AND {0}.project = NEW.project"


def _by_its_reviewer() -> str:
    """Refuse an approval by a login whose turn it is not, or who changed an amount where two
    persons are asked for."""
    of_invoice = "c.facility = NEW.facility AND c.invoice = NEW.code"
    unsaved = named((OUTSIDE, FIRST_SEEN))
    changed = (
        "SELECT 1 FROM charge c JOIN event e ON e.facility = c.facility"
        f" WHERE {of_invoice} AND e.login = session_user::text AND (e.subject = c.charge"
        " AND e.kind IN ('adjust', 'add_line', 'delete', 'new_rate')"
        " OR e.subject = c.record AND e.kind = 'mend')"
    )
    loaded = (
        "SELECT 1 FROM charge c JOIN usage_record u ON u.facility = c.facility"
        " AND u.record = c.record AND u.occurrence = c.occurrence"
        " JOIN source_file s ON s.facility = u.facility AND s.sha256 = u.file_sha256"
        f" WHERE {of_invoice} AND s.login = session_user::text"
    )
    paid_in = (
        f"SELECT 1 FROM fund_entry d WHERE {_OF_PROJECT.format('d')} AND d.kind = 'deposit'"
        " AND d.login = session_user::text AND d.sequence > coalesce((SELECT max(f.sequence)"
        f" FROM fund_entry f WHERE {_OF_PROJECT.format('f')} AND f.kind = 'draw'), 0)"
    )
    saved = f"e.facility = NEW.facility AND e.kind = '{PRICE_BOOK}' AND e.reason NOT IN {unsaved}"
    priced = (
        f"SELECT 1 FROM event e WHERE {saved} AND e.login = session_user::text"
        f" AND e.sequence = (SELECT max(e.sequence) FROM event e WHERE {saved})"
    )
    own = " OR ".join(f"EXISTS ({each})" for each in (changed, loaded, paid_in, priced))
    return (
        f"DECLARE rule jsonb := {_PREFIX}approval(NEW.facility);"
        " turn jsonb := coalesce(rule -> 'reviewers' -> OLD.step, '[]'); BEGIN "
        + _refused(
            "IF rule ? 'reviewers' AND NOT turn ? session_user::text",
            "'{} may not approve this invoice: it is the turn of ' || coalesce((SELECT"
            " string_agg(r.value, ' or ') FROM jsonb_array_elements_text(turn) r), 'nobody')",
        )
        + _refused(
            f"IF (rule ->> 'two_persons')::boolean AND ({own})",
            "'{} may not approve this invoice: {} changed an amount of it, and two persons are"
            " asked for'",
        )
        + "RETURN NEW; END;"
    )


def _raised(message: str) -> str:
    return f"RAISE EXCEPTION USING MESSAGE = {message}, ERRCODE = 'integrity_constraint_violation';"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_SAFE = "SECURITY DEFINER SET search_path = pg_catalog, pg_temp"


def _function(name: str, body: str) -> str:
    return (
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql {_SAFE}"
        f" AS $body$ BEGIN {body} END $body$"
    )


def _trigger(name: str, moment: str, on: str, every: str, call: str) -> Iterator[str]:
    yield f"CREATE TRIGGER {name} {moment} ON {on} {every} EXECUTE FUNCTION {call}"
    # Otherwise a session could declare itself a replica, where triggers do not run.
    yield f"ALTER TABLE {on} ENABLE ALWAYS TRIGGER {name}"
