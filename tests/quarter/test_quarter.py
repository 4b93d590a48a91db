"""A quarter by the command line, on PostgreSQL, by people let in with logins of their own.

Three facilities and three months with adjustments, an ad hoc invoice, a quarantine, a rejection,
a two-person approval, a reissue, a void, late usage, prepaid funds, a credit, statements and
payments. Every command is given twice: the second time nothing in the ledger changes. What
everything comes to is held against a sum of the files that shares no code with the library.
"""

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from sample_logins import let_in
from sqlalchemy import URL, make_url

from billing_lib.cli import app
from billing_lib.errors import BillingError
from billing_lib.ledger.database import open_ledger, reading
from billing_lib.ledger.events import check_chain

from .facilities import LOG, MONTHS, row, write_offices, write_usage
from .independent import Cents, instruments, jobs, lane_cents, session_cents

OCTOBER, NOVEMBER, DECEMBER = MONTHS
PEOPLE = ("cora", "ann", "amy", "bob", "ida")


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit status."""

    status: int
    text: str


@dataclass
class Quarter:
    """The offices' ledger, and who works with it."""

    url: URL
    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def once(self, login: str, *words: str) -> Said:
        """Give a command as somebody."""
        own = self.url.set(username=login).render_as_string(hide_password=False)
        self.monkeypatch.setenv("BILLING_DATABASE", own)
        out, err, status = io.StringIO(), io.StringIO(), 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                app(list(words), prog_name="billing")
            except SystemExit as end:
                status = int(end.code or 0)
            except BillingError as error:
                status = 2
                err.write(str(error))
        return Said(status, out.getvalue() + err.getvalue())

    def twice(self, login: str, *words: str) -> str:
        """Give a command that does what it should, then again: nothing changes."""
        first = self.once(login, *words)
        assert first.status == 0, f"{words}: {first.text}"
        before = self.everything()
        again = self.once(login, *words)
        assert again.status in (0, 1, 2), f"{words}: {again.text}"
        assert self.everything() == before, f"{words} again changed something: {again.text}"
        return first.text

    def refused(self, login: str, said: str, *words: str) -> None:
        """Give a command that is refused, and changes nothing."""
        before = self.everything()
        answer = self.once(login, *words)
        assert answer.status == 2, f"{words}: {answer.text}"
        assert said in answer.text
        assert self.everything() == before

    def listed(self, *words: str) -> list[dict[str, Any]]:
        """What a list says as JSON."""
        said = self.once("cora", *words, "--json")
        assert said.status == 0, said.text
        rows: list[dict[str, Any]] = json.loads(said.text)
        return rows

    def everything(self) -> dict[str, str]:
        """The number of every table's rows, and the sum of their hashes."""
        with psycopg.connect(
            self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        ) as session:
            tables = session.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
            ).fetchall()
            return {
                name: str(
                    session.execute(
                        f"SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {name} t"
                    ).fetchone()
                )
                for (name,) in tables
            }


@pytest.fixture
def quarter(
    new_postgresql: Callable[[str], str],
    postgresql_template: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Quarter]:
    url = make_url(new_postgresql(postgresql_template))
    with psycopg.connect(
        url.set(drivername="postgresql").render_as_string(hide_password=False), autocommit=True
    ) as session:
        for login in PEOPLE:
            session.execute(f"DROP ROLE IF EXISTS {login}")
        let_in(url.render_as_string(hide_password=False), PEOPLE)
        yield_to = Quarter(url, tmp_path, monkeypatch)
        write_offices(tmp_path)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("BILLING_PARAMETERS", str(tmp_path / "parameters"))
        monkeypatch.setenv("BILLING_RUNS", str(tmp_path / "runs"))
        monkeypatch.setenv("COLUMNS", "200")
        yield yield_to
        for login in PEOPLE:
            session.execute(f"DROP ROLE {login}")


@pytest.mark.xdist_group("quarter")
def test_a_quarter_ties_to_the_cent_and_repeats_without_a_change(quarter: Quarter) -> None:
    expected = jobs() | instruments()
    _give_roles(quarter)
    _october(quarter, expected)
    _november(quarter, expected)
    _december(quarter, expected)
    _pay(quarter)
    _check(quarter, expected)


def _give_roles(quarter: Quarter) -> None:
    for facility in ("RC", "MIC", "SEQ"):
        assert quarter.once("cora", "load", facility, *_files(facility, OCTOBER)).status == 0
        quarter.twice("cora", "grant", facility, "cora", "administrator")
        for login in ("ann", "amy"):
            quarter.twice("cora", "grant", facility, login, "reviewer")
        for login in ("bob", "ida"):
            quarter.twice("cora", "grant", facility, login, "issuer")
    quarter.refused("ann", "may not do this", "grant", "RC", "ann", "administrator")


def _files(facility: str, month: str) -> list[str]:
    return [str(LOG)] if facility == "RC" else [f"{facility}-{month}.csv"]


def _load_and_rate(quarter: Quarter, month: str) -> None:
    for facility in ("RC", "MIC", "SEQ"):
        quarter.twice("ann", "load", facility, *_files(facility, month))
        quarter.twice("ann", "rate", facility, month)


def _october(quarter: Quarter, expected: Cents) -> None:
    _load_and_rate(quarter, OCTOBER)
    ready = ("ready", "RC", OCTOBER)
    # RC: a charge adjusted, a line added, prepaid funds, one project moved by bulk and back
    before = _charge(quarter, "RC", OCTOBER, "RC/4")
    quarter.twice("ann", "adjust", "RC/4", "--set", "amount=20.00", "--reason", "agreed")
    expected[before["project"], OCTOBER] += 2000 - _cents(before["total"])
    line = ("--facility", "RC", "--project", "u4", "--date", "1993-10-28", "--amount", "150.00")
    quarter.twice(
        "ann", "adjust", "--add-line", *line, "--description", "Training", "--reason", "agreed"
    )
    expected["u4", OCTOBER] += 15000
    bulk = ("bulk", "RC", OCTOBER, "--project", "u22", "--set", "waived=yes", "--reason", "outage")
    group = quarter.twice("ann", *bulk).split("group ")[1].split(";")[0]
    assert _sum(quarter.listed("charges", "RC", OCTOBER, "--project", "u22")) == 0
    quarter.twice("ann", "undo", "RC", group, "--reason", "it was not theirs")
    quarter.twice("ida", "deposit", "RC", "u4", "100.00", "--reason", "purchase order 4711")
    quarter.refused("ida", "is not signed off", "issue", "RC", OCTOBER, "--allow-dirty")
    quarter.twice("ann", *ready)
    submitted = quarter.once("ann", "issue", "RC", OCTOBER, "--allow-dirty")
    assert (submitted.status, "wait for an issuer" in submitted.text) == (0, True)
    quarter.twice("ida", "issue", "RC", OCTOBER, "--date", "1993-11-05", "--allow-dirty")
    # MIC: an ad hoc invoice that a line and usage fill, a quarantine, a rejection, two persons
    adhoc = ("--project", "m1", "--start", "1993-10-04", "--description", "Workshop")
    quarter.twice("ann", "adhoc", "MIC", "WS-1", *adhoc)
    quarter.twice(
        "ann", "adjust", "--add-line", "--facility", "MIC", "--reference", "WS-1", "--date",
        "1993-10-04", "--amount", "200.00", "--description", "Room", "--reason", "as ordered",
    )  # fmt: skip
    write_usage(quarter.folder / "ws.csv", [row("ws-1", "m1", OCTOBER, 5, 90, "WS-1")])
    quarter.twice("ann", "load", "MIC", "ws.csv")
    quarter.twice("ann", "rate", "MIC", OCTOBER)
    expected["m1", OCTOBER] += 20000 + session_cents(90)
    run = f"MIC-{OCTOBER}-1"
    quarter.twice("ann", "ready", "MIC", OCTOBER)
    quarter.twice("ann", "run", "make", "MIC", OCTOBER, "--description", "October")
    quarter.twice("ann", "quarantine", run, "--project", "m3", "--reason", "the lab disputes it")
    assert quarter.once("ida", "run", "process", run, "--allow-dirty").status == 0
    waiting = {it["project"]: it["state"] for it in quarter.listed("invoices", "--run", run)}
    assert waiting == {"m1": "APPROVING", "m2": "APPROVING", "m3": "QUARANTINED"}
    quarter.twice("ann", "reject", run, "--project", "m2", "--reason", "a wrong session")
    was = _charge(quarter, "MIC", OCTOBER, "MIC/m2-1-1")
    quarter.twice("ann", "adjust", "MIC/m2-1-1", "--set", "amount=1.00", "--reason", "broken")
    expected["m2", OCTOBER] += 100 - _cents(was["total"])
    quarter.twice("ann", "ready", "MIC", OCTOBER)
    assert quarter.once("ida", "run", "process", run, "--allow-dirty").status == 0
    quarter.refused("ann", "two persons", "approve", run, "--project", "m2")
    quarter.twice("amy", "approve", run, "--state", "APPROVING")
    quarter.refused("ann", "waits for bob", "approve", run, "--project", "m2")
    quarter.twice(
        "bob", "approve", run, "--state", "APPROVING", "--date", "1993-11-05", "--allow-dirty"
    )
    quarter.twice("ann", "release", run, "--project", "m3")
    assert quarter.once("ida", "run", "process", run, "--allow-dirty").status == 0
    quarter.twice("amy", "approve", run, "--project", "m3")
    quarter.twice("bob", "approve", run, "--project", "m3", "--date", "1993-11-08", "--allow-dirty")
    # SEQ: by schedule; then late usage, which the facility bills by a reissue
    quarter.twice("ida", "month", OCTOBER, "--date", "1993-11-05", "--allow-dirty")
    write_usage(quarter.folder / "late.csv", [row("s1-late", "s1", OCTOBER, 30, 2)])
    quarter.twice("ann", "load", "SEQ", "late.csv")
    quarter.twice("ann", "rate", "SEQ", OCTOBER)
    quarter.refused("ida", "billing reissue", "issue", "SEQ", OCTOBER, "--allow-dirty")
    number = _number(quarter, "SEQ", OCTOBER, "s1")
    quarter.twice("ida", "reissue", number, "--reason", "late usage")
    quarter.twice(
        "ida", "run", "process", f"SEQ-{OCTOBER}-2", "--date", "1993-11-12", "--allow-dirty"
    )
    record = quarter.folder / "runs" / "SEQ" / OCTOBER / f"SEQ-{OCTOBER}-2"
    journal = pl.read_csv(record / "data" / "evidence" / "journal.csv", infer_schema=False)
    replaced = journal.filter(kind="reversal")
    assert set(replaced["invoice"]) == {number}
    assert set(replaced["description"].str.extract("^(.*), project s1")) == {
        f"Invoice {number} replaced by {_number(quarter, 'SEQ', OCTOBER, 's1')}"
    }
    expected["s1", OCTOBER] += lane_cents(2)
    quarter.twice("ida", "statements", OCTOBER)


def _november(quarter: Quarter, expected: Cents) -> None:
    # MIC's October gets late usage, which the next run bills
    write_usage(quarter.folder / "late-m.csv", [row("m2-late", "m2", OCTOBER, 29, 60)])
    quarter.twice("ann", "load", "MIC", "late-m.csv")
    quarter.twice("ann", "rate", "MIC", OCTOBER)
    _load_and_rate(quarter, NOVEMBER)
    expected["m2", NOVEMBER] += session_cents(60)
    quarter.twice("ida", "credit", _number(quarter, "RC", OCTOBER, "u4"), "--amount", "25.00",
                  "--date", "1993-11-15", "--reason", "overcharged")  # fmt: skip
    expected["u4", NOVEMBER] = expected.get(("u4", NOVEMBER), 0) - 2500
    for facility in ("RC", "MIC"):
        quarter.twice("ann", "ready", facility, NOVEMBER)
    quarter.twice("ida", "month", NOVEMBER, "--date", "1993-12-06", "--allow-dirty")
    run = f"MIC-{NOVEMBER}-1"
    quarter.refused("ann", "two persons", "approve", run, "--all")  # who loaded the usage
    quarter.twice("amy", "approve", run, "--all")
    quarter.twice("bob", "approve", run, "--all", "--date", "1993-12-06", "--allow-dirty")
    quarter.twice("ida", "month", NOVEMBER, "--date", "1993-12-06", "--allow-dirty")
    # an invoice is void for good, and one is void and billed anew
    quarter.twice("ida", "void", _number(quarter, "SEQ", NOVEMBER, "s2"), "--reason", "a gift")
    expected["s2", NOVEMBER] = 0
    quarter.twice("ida", "void", _number(quarter, "MIC", NOVEMBER, "m1"), "--reopen-charges",
                  "--reason", "the wrong letterhead")  # fmt: skip
    quarter.once("ida", "month", NOVEMBER, "--date", "1993-12-07", "--allow-dirty")
    quarter.twice("amy", "approve", f"MIC-{NOVEMBER}-2", "--all")
    quarter.twice("bob", "approve", f"MIC-{NOVEMBER}-2", "--all", "--date", "1993-12-07",
                  "--allow-dirty")  # fmt: skip
    quarter.twice("ida", "statements", NOVEMBER)


def _december(quarter: Quarter, expected: Cents) -> None:
    _load_and_rate(quarter, DECEMBER)
    for facility in ("RC", "MIC"):
        quarter.twice("ann", "ready", facility, DECEMBER)
    quarter.twice("ida", "month", DECEMBER, "--date", "1994-01-05", "--allow-dirty")
    quarter.twice("amy", "approve", f"MIC-{DECEMBER}-1", "--all")
    quarter.twice("bob", "approve", f"MIC-{DECEMBER}-1", "--all", "--date", "1994-01-05",
                  "--allow-dirty")  # fmt: skip
    quarter.twice("ida", "statements", DECEMBER)


def _pay(quarter: Quarter) -> None:
    number = _number(quarter, "MIC", OCTOBER, "m2")
    quarter.twice("ida", "pay", number, "--date", "1993-12-01", "--reference", "transfer 1")
    quarter.twice("ida", "unpay", number, "--reason", "another's transfer")
    quarter.twice("ida", "pay-statement", f"chem-{OCTOBER}", "--date", "1993-12-02",
                  "--reference", "transfer 2")  # fmt: skip
    assert {
        it["state"] for it in quarter.listed("invoices", "--team", "chem", "--period", OCTOBER)
    } == {"PAID"}
    quarter.refused("ida", "PAID", "void", number, "--reason", "too late")


def _check(quarter: Quarter, expected: Cents) -> None:
    invoices = quarter.listed("invoices", "--state", "APPROVED", "--state", "PAID")
    found: Cents = {}
    for it in invoices:
        key = it["project"], it["period"]
        found[key] = found.get(key, 0) + _cents(it["total"])
    quarter_long = {key: cents for key, cents in expected.items() if key[1] in MONTHS}
    assert found == {key: cents for key, cents in quarter_long.items() if key in found}
    assert {key for key, cents in quarter_long.items() if cents} <= set(found)
    # the statements of all teams come to the same, but for SEQ's 10.00 on each it is on
    with psycopg.connect(
        quarter.url.set(drivername="postgresql").render_as_string(hide_password=False)
    ) as session:
        raw, adjusted = session.execute(
            "SELECT sum(raw_total), sum(adjustment) FROM statement"
        ).fetchone() or (0, 0)
        lines = session.execute(
            "SELECT count(*) FROM statement_adjustment WHERE rule = 'courtesy'"
        ).fetchone()
        numbers = session.execute(
            "SELECT facility, fiscal_year, count(*), max(sequence) FROM invoice_number"
            " GROUP BY facility, fiscal_year"
        ).fetchall()
    assert raw == sum(found.values())
    assert adjusted == -1000 * (lines or (0,))[0]
    assert all(count == last for _, _, count, last in numbers)
    engine = open_ledger(quarter.url.render_as_string(hide_password=False))
    with reading(engine) as connection:
        assert [check_chain(connection, code) for code in ("RC", "MIC", "SEQ")] == [[], [], []]
    engine.dispose()
    records = [*quarter.folder.glob("runs/*/*/*")]
    assert {quarter.once("cora", "verify", str(record)).status for record in records} == {3}


def _charge(quarter: Quarter, facility: str, month: str, name: str) -> dict[str, Any]:
    rows = quarter.listed("charges", facility, month)
    return next(it for it in rows if it["charge"] == name)


def _number(quarter: Quarter, facility: str, month: str, project: str) -> str:
    rows = quarter.listed(
        *("invoices", "--facility", facility, "--period", month, "--project", project),
        *("--state", "APPROVED", "--state", "PAID", "--kind", "periodic"),
    )
    return str(rows[-1]["number"])


def _sum(rows: list[dict[str, Any]]) -> int:
    return sum(_cents(it["total"]) for it in rows)


def _cents(text: str) -> int:
    return int(text.replace(".", ""))
