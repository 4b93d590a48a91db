"""Logins of a PostgreSQL server, and the rights of each in a ledger.

    billing_lab      reads, as far as row-level security shows it, and no costs
    billing_reader   also reads costs: viewers and auditors
    billing_staff    also writes, as far as the acts let it: reviewers, issuers, administrators

Three roles of the server stand for all ledgers on it; the permissions in a ledger say who may do
what there. UPDATE is granted by columns, and nobody has DELETE, for with either on a whole table a
login could lock it (LOCK TABLE); rows are deleted by a function that asks the same acts. Nobody
else may make temporary tables, tables or functions, or take advisory locks.
"""

from sqlalchemy import Connection, Text, column, func, select, table, text

from billing_lib.errors import InvalidPermission, NotPermitted
from billing_lib.ledger.acts import ACTS, OPEN_TO_READERS, READS
from billing_lib.ledger.guards import INSERT, UPDATE
from billing_lib.ledger.schema import metadata

LAB, READER, STAFF = "billing_lab", "billing_reader", "billing_staff"
GROUPS = (LAB, READER, STAFF)
"""The roles of the server; each has also the rights of those before it."""

_EVENT = ("facility", "kind", "subject", "team", "group_id", "reason", "before", "after")


def set_up(connection: Connection) -> None:
    """Make the roles and grants; again changes nothing.

    Raises
    ------
    NotPermitted
        The roles do not exist, and the login may not make them.
    """
    server = _Server(connection)
    missing = [role for role in GROUPS if role not in server.roles]
    if missing and not server.makes_roles:
        raise NotPermitted(
            f"the server has no role {missing[0]}, and this login may not make it",
            remedy="the manual's page 'PostgreSQL' has the lines for the server's administrator",
        )
    for role in missing:
        connection.execute(text(f"CREATE ROLE {role} NOLOGIN"))
    if missing:
        connection.execute(text(f"GRANT {LAB} TO {READER}"))
        connection.execute(text(f"GRANT {READER} TO {STAFF}"))
    for statement in _grants(server):
        connection.execute(text(statement))
    if server.is_superuser:
        for lock in server.advisory_locks():
            connection.execute(text(f"REVOKE EXECUTE ON FUNCTION {lock} FROM PUBLIC"))
            connection.execute(text(f"GRANT EXECUTE ON FUNCTION {lock} TO {server.owner}"))


def missing(connection: Connection) -> list[str]:
    """The roles that the server does not have."""
    known = _Server(connection).roles
    return [role for role in GROUPS if role not in known]


class _Server:
    """The server as this login finds it; names are quoted."""

    def __init__(self, connection: Connection) -> None:
        quote = connection.dialect.identifier_preparer.quote
        self._connection = connection
        names = select(column("rolname", Text)).select_from(table("pg_roles"))
        self.roles = set(connection.scalars(names))
        database, schema, login = connection.execute(
            select(func.current_database(), func.current_schema(), func.session_user())
        ).one()
        self.database, self.schema = quote(database), quote(schema)
        owner = text(
            "SELECT pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c"
            " WHERE c.oid = to_regclass('facility')"
        )
        self.owner = quote(str(connection.scalar(owner)))
        rights = text("SELECT rolsuper, rolcreaterole FROM pg_catalog.pg_roles WHERE rolname = :me")
        self.is_superuser, makes_roles = connection.execute(rights, {"me": login}).one()
        self.makes_roles = bool(self.is_superuser or makes_roles)

    def advisory_locks(self) -> list[str]:
        """The functions that take advisory locks, with their arguments."""
        found = text(
            "SELECT p.oid::regprocedure::text FROM pg_catalog.pg_proc p"
            " WHERE p.pronamespace = 'pg_catalog'::regnamespace"
            " AND p.proname ~ '^pg_(try_)?advisory_(xact_)?(un)?lock'"
        )
        return list(self._connection.scalars(found))


def _grants(server: _Server) -> list[str]:
    every = ", ".join(GROUPS)
    schema = server.schema
    statements = [
        f"REVOKE ALL ON DATABASE {server.database} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {server.database} TO {LAB}",
        f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC",
        f"GRANT USAGE ON SCHEMA {schema} TO {LAB}",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {every}, PUBLIC",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {READER}",
        f"REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {schema} FROM PUBLIC",
    ]
    for name in sorted(READS):
        shown = ", ".join(
            f'"{each.name}"' for each in metadata.tables[name].columns if each.name != "cost"
        )
        statements.append(f'GRANT SELECT ({shown}) ON {schema}."{name}" TO {LAB}')
    statements.append(f"GRANT SELECT ON {schema}.alembic_version TO {LAB}")
    for name in (
        *("reads()", "labs()", "packages()", "messages()"),
        *("hold(text)", "free(text)", "wait(text)", "delete(text, tid[])", "stage(text)"),
    ):
        statements.append(f"GRANT EXECUTE ON FUNCTION {schema}.billing_guard_{name} TO {LAB}")
    inserted = {act.table for act in ACTS if INSERT in act.operations} | {"facility"}
    for name in sorted(inserted):
        to = LAB if name in OPEN_TO_READERS else STAFF
        statements.append(f'GRANT INSERT ON {schema}."{name}" TO {to}')
    statements.append(f"GRANT INSERT ({', '.join(_EVENT)}) ON {schema}.event TO {STAFF}")
    for act in ACTS:
        if UPDATE in act.operations and act.changes:
            columns = ", ".join(f'"{name}"' for name in act.changes)
            to = LAB if act.table in OPEN_TO_READERS else STAFF
            statements.append(f'GRANT UPDATE ({columns}) ON {schema}."{act.table}" TO {to}')
    return statements


def add(connection: Connection, login: str, group: str) -> bool:
    """Let a login use the server's ledgers, as one of GROUPS.

    Returns whether the server did not know the login, so that it was made.
    """
    server, quoted = _Server(connection), _quoted(connection, login)
    made = login not in server.roles
    if made:
        connection.execute(text(f"CREATE ROLE {quoted} LOGIN"))
    connection.execute(text(f"REVOKE {', '.join(GROUPS)} FROM {quoted}"))
    connection.execute(text(f"GRANT {group} TO {quoted}"))
    return made


def remove(connection: Connection, login: str) -> None:
    """Keep a login from the server's ledgers.

    The login stays, since its acts are recorded under its name.
    """
    if login not in _Server(connection).roles:
        raise InvalidPermission(f"the server has no login '{login}'")
    connection.execute(text(f"REVOKE {', '.join(GROUPS)} FROM {_quoted(connection, login)}"))


def read_logins(connection: Connection) -> list[tuple[str, str]]:
    """The logins that may use the server's ledgers, each with its role, by login."""
    members = text(
        "SELECT m.rolname, r.rolname FROM pg_catalog.pg_auth_members a"
        " JOIN pg_catalog.pg_roles m ON m.oid = a.member JOIN pg_catalog.pg_roles r"
        " ON r.oid = a.roleid WHERE r.rolname IN (:lab, :reader, :staff) AND m.rolcanlogin"
        " ORDER BY 1, 2"
    )
    rows = connection.execute(members, {"lab": LAB, "reader": READER, "staff": STAFF})
    return [(str(login), str(role)) for login, role in rows]


def _quoted(connection: Connection, login: str) -> str:
    if not login.strip() or login != login.strip() or "\0" in login or login.startswith("pg_"):
        raise InvalidPermission(f"'{login}' is not a login")
    if login in GROUPS:
        raise InvalidPermission(f"{login} is a role of the ledgers and not a login")
    return connection.dialect.identifier_preparer.quote_identifier(login)
