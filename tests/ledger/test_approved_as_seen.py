"""What is approved is what was seen: from APPROVING on a raw connection changes nothing of it."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from april import P1, P2, RUN, draft, late_charge
from dialects import ON_POSTGRESQL
from sqlalchemy import Engine, text

from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import invoices
from billing_lib.ledger.database import reading, writing

Raw = Callable[[str], list[tuple[Any, ...]]]
REFUSED = (sqlite3.IntegrityError, psycopg.IntegrityError)

CHANGES = (
    ("charge", "total = 1, raw_total = 1", "charge = 'u1'"),
    ("charge", "description = 'other'", "charge = 'u1'"),
    ("charge", "team = 'other-lab'", "charge = 'u1'"),
    ("charge", "project = 'p2'", "charge = 'u1'"),
    ("charge", "period = '2020-05'", "charge = 'u1'"),
    ("charge", "run = NULL, invoice = NULL", "charge = 'u1'"),
    ("charge", "run = NULL", "charge = 'u1'"),
    ("charge", "invoice = NULL", "charge = 'u1'"),
    ("charge", f"invoice = '{P2}'", "charge = 'u1'"),
    ("charge", f"run = NULL, invoice = '{P2}'", "charge = 'u1'"),
    ("charge", f"invoice = '{P1}'", "charge = 'late'"),
    ("charge", f"run = '{RUN}', invoice = '{P1}'", "charge = 'late'"),
    ("charge_split", "amount = 1", "charge = 'u1' AND position = 0"),
    ("charge_split", "charge = 'u1', position = 7", "charge = 'u3'"),
    ("invoice", "total = 1, raw_total = 1", f"code = '{P1}'"),
    ("invoice", "charges = 1", f"code = '{P1}'"),
    ("invoice", "team = 'other-lab'", f"code = '{P1}'"),
    ("invoice", "description = 'other'", f"code = '{P1}'"),
    ("invoice", "covers_to = '2020-05-31'", f"code = '{P1}'"),
    ("invoice", "project = 'p2'", f"code = '{P1}'"),
    ("invoice", "run = NULL", f"code = '{P1}'"),
    ("invoice", "step = 2", f"code = '{P1}'"),
    ("invoice", "number = 'RC-2020-0001'", f"code = '{P1}'"),
    ("invoice", "state = 'APPROVED', number = 'RC-2020-0001'", f"code = '{P1}'"),
    ("invoice", "statement = 'smith-lab-2020-04'", f"code = '{P1}'"),
    ("invoice", "payment_reference = 'transfer 8812'", f"code = '{P1}'"),
    ("billing_run", "state = 'CANCELLED'", f"id = '{RUN}'"),
    ("billing_run", "state = 'FINISHED'", f"id = '{RUN}'"),
)


def _close(ledger: Engine) -> None:
    with writing(ledger) as connection:
        invoices.move_invoices(connection, "RC", [P1, P2], "close", "not to be sent")


@pytest.mark.parametrize("closed", [False, True])
def test_what_is_being_approved_or_closed_stays_as_it_is(
    submitted: Engine, raw: Raw, closed: bool
) -> None:
    with writing(submitted) as connection:
        late_charge(connection)
    if closed:
        _close(submitted)
    rows = ("charge", "charge_split", "invoice", "billing_run")
    before = {table: raw(f"SELECT * FROM {table}") for table in rows}
    for table, change, row in CHANGES:
        if closed and table == "billing_run":
            continue  # nothing keeps it open
        with pytest.raises(REFUSED):
            raw(f"UPDATE {table} SET {change} WHERE {row}")
    for statement in (
        "DELETE FROM charge WHERE charge = 'u1'",
        "DELETE FROM charge_split WHERE charge = 'u1'",
        "INSERT INTO charge_split VALUES ('RC', 'u1', 7, '370-1', '0', 0)",
    ):
        with pytest.raises(REFUSED):
            raw(statement)
    assert {table: raw(f"SELECT * FROM {table}") for table in rows} == before


@pytest.mark.parametrize(
    ("slip", "said"),
    [
        ("UPDATE charge SET run = NULL WHERE invoice = '{P1}'", "are bound|come to"),
        ("UPDATE charge SET run = NULL, total = 8999, raw_total = 8999 WHERE charge = 'u1'", None),
        ("UPDATE invoice SET raw_total = 1, total = 1 WHERE code = '{P1}'", "come to"),
        ("UPDATE invoice SET adjustment = 1 WHERE code = '{P1}'", "come to"),
        ("UPDATE invoice SET total = 1 WHERE code = '{P1}'", "come to"),
        ("UPDATE invoice SET charges = 1 WHERE code = '{P1}'", "come to"),
        ("UPDATE invoice SET team = 'other-lab' WHERE code = '{P1}'", "come to"),
    ],
)
def test_only_what_comes_to_its_charges_is_submitted(
    rated: Engine, raw: Raw, slip: str, said: str | None
) -> None:
    with writing(rated) as connection:
        codes = draft(connection)
        ledger_charges.bind_charges(connection, "RC", codes, RUN)
    if said is None:
        with pytest.raises(REFUSED, match="bound to a run does not change"):
            raw(slip)
        return
    raw(slip.replace("{P1}", P1))
    with pytest.raises(REFUSED, match=said):
        raw(f"UPDATE invoice SET state = 'APPROVING' WHERE code = '{P1}'")


def test_an_invoice_in_no_run_is_not_approved(rated: Engine, raw: Raw) -> None:
    raw(_ad_hoc("0"))
    with pytest.raises(REFUSED, match="come to"):
        raw("UPDATE invoice SET state = 'APPROVING' WHERE code = 'PO-12'")


def test_an_invoice_begins_with_nothing(rated: Engine, raw: Raw) -> None:
    with pytest.raises(REFUSED, match="begins with"):
        raw(_ad_hoc("1"))


def _ad_hoc(charges: str) -> str:
    return (
        "INSERT INTO invoice (facility, code, kind, period, project, team, reference, covers_from,"
        " covers_to, state, step, charges, raw_total, adjustment, total, description) VALUES"
        " ('RC', 'PO-12', 'ad hoc', '2020-04', 'p1', 'smith-lab', 'PO-12', '2020-04-01',"
        f" '2020-04-30', 'OPEN', 0, {charges}, 0, 0, 0, '')"
    )


def test_an_invoice_is_in_a_run_of_its_facility_and_month_that_goes_on(
    submitted: Engine, raw: Raw
) -> None:
    raw("INSERT INTO facility VALUES ('NF', 'Nanofab', 'USD', 'UTC')")
    run = "INSERT INTO billing_run VALUES ('{}', '{}', '{}', '', 'OPEN', '', 'me', {})"
    moment = "'2020-05-01T00:00:00.000000Z'"
    for at in (("NF-1", "NF", "2020-04"), ("RC-5", "RC", "2020-05"), ("RC-4", "RC", "2020-04")):
        raw(run.format(*at, moment))
    raw(_ad_hoc("0"))
    for strange in ("NF-1", "RC-5", "nothing"):
        with pytest.raises(REFUSED):
            raw(f"UPDATE invoice SET run = '{strange}' WHERE code = 'PO-12'")
    raw("UPDATE billing_run SET state = 'CANCELLED' WHERE id = 'RC-4'")
    with pytest.raises(REFUSED, match="in a run of its facility and month"):
        raw("UPDATE invoice SET run = 'RC-4' WHERE code = 'PO-12'")
    raw(f"UPDATE invoice SET run = '{RUN}' WHERE code = 'PO-12'")
    for code in ("PO-12", P1):  # an editable ad hoc invoice leaves its run, for no other one
        change = "NULL" if code == P1 else "'RC-4'"
        with pytest.raises(
            REFUSED, match=r"stays what it is of|in a run of its facility and month"
        ):
            raw(f"UPDATE invoice SET run = {change} WHERE code = '{code}'")
    raw("UPDATE invoice SET run = NULL WHERE code = 'PO-12'")


def test_charges_are_freed_by_a_rejection_and_taken_off_then(submitted: Engine) -> None:
    with writing(submitted) as connection:
        invoices.move_invoices(connection, "RC", [P1], "reject", "look again")
        ledger_charges.free_charges(connection, "RC", [P1])
        late_charge(connection)
    with writing(submitted) as connection:
        connection.execute(text(f"UPDATE charge SET invoice = '{P1}' WHERE charge = 'late'"))
        connection.execute(text("UPDATE charge SET invoice = NULL WHERE charge = 'u1'"))


@ON_POSTGRESQL  # SQLite has one writer at a time
@pytest.mark.parametrize("bound", ["", f", run = '{RUN}'"])
def test_a_charge_that_is_put_on_meanwhile_keeps_an_invoice_from_approval(
    rated: Engine, ledger_url: str, bound: str
) -> None:
    """Both write without this library's locks; neither sees the other's row while it waits."""
    with writing(rated) as connection:
        codes = draft(connection)
        ledger_charges.bind_charges(connection, "RC", codes, RUN)
        late_charge(connection)
    submit = f"UPDATE invoice SET state = 'APPROVING' WHERE code = '{P1}'"
    attach = f"UPDATE charge SET invoice = '{P1}'{bound} WHERE charge = 'late'"
    for first, second in ((attach, submit), (submit, attach)):
        with psycopg.connect(ledger_url) as one, psycopg.connect(ledger_url) as two:
            with ThreadPoolExecutor(1) as pool:
                one.execute(first.encode())
                waiting = pool.submit(two.execute, second.encode())
                _wait_until_blocked(rated)
                one.commit()
                with pytest.raises(psycopg.IntegrityError):
                    waiting.result(timeout=30)
            two.rollback()
            one.execute(b"UPDATE charge SET run = NULL WHERE charge = 'late'")
            one.execute(b"UPDATE charge SET invoice = NULL WHERE charge = 'late'")
            one.commit()
    with reading(rated) as connection:
        states = invoices.read_invoices(connection, "RC", codes=[P1])
    assert states["state"].to_list() == ["APPROVING"]


def _wait_until_blocked(ledger: Engine) -> None:
    blocked = text(
        "SELECT count(*) FROM pg_stat_activity, pg_sleep(0.05)"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    for _ in range(200):
        with reading(ledger) as connection:
            if connection.scalar(blocked):
                return
    pytest.fail("the second writer does not wait for the first")
