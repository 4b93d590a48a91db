"""Staff, labs and strangers with psql and their own logins: what PostgreSQL says to each statement.

hostile.yml is the table of who, the statement, and the beginning of the sentence that refuses it.
SECURITY.md names its groups. The ledger is that of april.py, made by boss, with a second facility
NF made by far. Each statement runs in a transaction that is rolled back.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import psycopg
import pytest
import yaml
from april import all_there_is, april_drafts, late_charge, load_and_rate
from sample_logins import let_in, url_as
from sqlalchemy import make_url

from billing_lib.ledger import charges, invoices, people, runs
from billing_lib.ledger.database import open_ledger, writing
from billing_lib.ledger.events import record_event

pytestmark = pytest.mark.xdist_group("hostile")

ROLES = {
    "vic": ("viewer", ""),
    "rev": ("reviewer", ""),
    "iss": ("issuer", ""),
    "aud": ("auditor", ""),
    "lab": ("lab_administrator", "smith-lab"),
    "other": ("lab_administrator", "jones-lab"),
}
RUN2, RUN3 = "RC-2020-04-2", "RC-2020-04-3"
TRIED: dict[str, list[list[str]]] = yaml.safe_load(
    (Path(__file__).parent / "hostile.yml").read_text(encoding="utf-8")
)


@contextmanager
def _as(url: str, login: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(url_as(url, login), autocommit=True) as session:
        yield session


@pytest.fixture(scope="module")
def url(new_postgresql: Callable[[str], str], postgresql_template: str) -> str:
    """A ledger with issued, submitted and open invoices, and a second facility."""
    made = new_postgresql(postgresql_template)
    let_in(made, ("boss", "far", "non", *ROLES))
    with psycopg.connect(made, autocommit=True) as operator:
        operator.execute("CREATE ROLE nobody LOGIN")
        operator.execute(f"GRANT CONNECT ON DATABASE {make_url(made).database} TO nobody".encode())
    engine = open_ledger(url_as(made, "boss"))
    with writing(engine) as connection:
        load_and_rate(connection)
        all_there_is(connection)
        for login, (role, team) in ROLES.items():
            people.insert_permission(connection, "RC", login, role, team)
        late_charge(connection, project="p2")
        late_charge(connection, "waits", project="p3")
        for run, project, code in ((RUN2, "p2", "late"), (RUN3, "p3", "waits")):
            assert runs.make_run(connection, "RC", "2020-04", f"projects: {project}", "") == run
            april_drafts(connection, run, project)
            placed = {"charge": [code], "invoice": [f"{run}/{project}"]}
            charges.attach_charges(connection, "RC", pl.DataFrame(placed))
        waiting = [f"{RUN3}/p3"]
        charges.bind_charges(connection, "RC", waiting, RUN3)
        total = {"code": waiting, "team": ["smith-lab"], "charges": [1], "raw_total": [100]}
        none = {"adjustment": [0], "tax": [None], "total": [100], "cost": [None]}
        invoices.set_totals(connection, "RC", pl.DataFrame(total | none))
        invoices.move_invoices(connection, "RC", waiting, "submit")
        reviewers = '{"reviewers":[["iss"],["boss"]],"two_persons":true}'
        record_event(connection, "RC", "approval", "rule", "", after=reviewers)
    engine.dispose()
    engine = open_ledger(url_as(made, "far"))
    with writing(engine) as connection:
        people.know_facility(connection, "NF", "Nanofab", "USD", "America/New_York")
        record_event(connection, "NF", "rules", "2020-04", "")
    engine.dispose()
    return made


def test_the_table_is_long_enough() -> None:
    assert sum(map(len, TRIED.values())) >= 100


@pytest.mark.parametrize("group", TRIED)
def test_each_statement_is_refused_in_a_sentence(url: str, group: str) -> None:
    wrong = []
    for who in dict.fromkeys(who for who, _, _ in TRIED[group]):
        with _as(url, who) as session:
            for _, statement, says in filter(lambda row: row[0] == who, TRIED[group]):
                said = _tried(session, statement)
                if not (said == "" if says == "" else said.startswith(says)):
                    wrong.append((who, statement, said))
    assert not wrong, "\n".join(map(str, wrong))


def _tried(session: psycopg.Connection[tuple[object, ...]], statement: str) -> str:
    """The database's sentence, '' where no row was found, and else the number of rows."""
    steps = [statement] if statement.startswith("DO") else statement.split("; ")
    if not steps[0].startswith("BEGIN"):
        steps.insert(0, "BEGIN")
    try:
        for each in steps:
            cursor = session.execute(each.encode())
    except psycopg.Error as error:
        said = error.diag.message_primary or str(error)
        assert "\n" not in said
        return said
    else:
        return f"THROUGH: {cursor.rowcount} rows" if cursor.rowcount else ""
    finally:
        session.execute(b"ROLLBACK")
        session.execute(b"RESET ALL")


def test_an_act_that_the_role_allows_is_recorded_in_the_same_statement(url: str) -> None:
    void = "UPDATE invoice SET state = 'VOID' WHERE number = 'RC-2020-0001'"
    told = "SELECT kind, subject, login, before, after FROM event ORDER BY sequence DESC LIMIT 1"
    with _as(url, "iss") as session, session.transaction(force_rollback=True):
        session.execute(void.encode())
        assert session.execute(told.encode()).fetchall() == [
            ("void", "RC-2020-04-1/p1", "iss", '{"state":"APPROVED"}', '{"state":"VOID"}')
        ]
    why = "INSERT INTO event (facility, kind, subject, reason) VALUES ('RC', 'rate', 'late', 'I')"
    cheaper = "UPDATE charge SET total = 2, raw_total = 2 WHERE charge = 'late'"
    told = 'SELECT login, "table", operation, rows FROM written ORDER BY at DESC LIMIT 1'
    with _as(url, "rev") as session, session.transaction(force_rollback=True):
        session.execute(why.encode())
        session.execute(cheaper.encode())
        assert session.execute(told.encode()).fetchall() == [("rev", "charge", "UPDATE", 1)]
    own = "INSERT INTO preference VALUES ('RC', 'smith-lab', 'lab@example.edu', 'none')"
    told = "SELECT kind, subject, team, login FROM event ORDER BY sequence DESC LIMIT 1"
    with _as(url, "lab") as session, session.transaction(force_rollback=True):
        session.execute(own.encode())
        assert session.execute(told.encode()).fetchall() == [
            ("prefer", "lab@example.edu", "smith-lab", "lab")
        ]
    with _as(url, "non") as session, session.transaction(force_rollback=True):
        session.execute(b"INSERT INTO facility VALUES ('XY', 'Mine', 'USD', 'UTC')")
        own = "SELECT login, role FROM permission WHERE facility = 'XY'"
        assert session.execute(own.encode()).fetchall() == [("non", "administrator")]
