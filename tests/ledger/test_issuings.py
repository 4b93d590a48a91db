"""Issuings and their numbers: frozen, then issued or failed, and no number lost."""

import sqlite3
from collections.abc import Callable
from datetime import date
from typing import Any

import polars as pl
import psycopg
import pytest
from april import (
    P1,
    P2,
    RECORD,
    RUN,
    bill,
    freeze,
    issue,
    issued_frames,
    read_numbers,
    submit,
)
from polars.testing import assert_frame_equal
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from billing_lib.errors import NotReady
from billing_lib.ledger import invoices, runs
from billing_lib.ledger.database import reading, writing

Raw = Callable[[str], list[tuple[Any, ...]]]
REFUSED = (sqlite3.IntegrityError, psycopg.IntegrityError)


def test_the_numbers_of_a_failed_issuing_go_to_its_next_try(rated: Engine) -> None:
    with writing(rated) as connection:
        codes = submit(connection)
        assert freeze(connection, codes)["number"].to_list() == ["RC-2020-0001", "RC-2020-0002"]
    with writing(rated) as connection:
        runs.fail(connection, RUN, "the disk was full")
        assert read_numbers(connection, RUN).height == 0
    with writing(rated) as connection:
        issue(connection, freeze(connection, codes))
        bills = invoices.read_issued(connection, facility="RC")
        tries = runs.read_issuings(connection, "RC")
    assert bills["number"].to_list() == ["RC-2020-0001", "RC-2020-0002"]
    assert bills["issuing"].unique().to_list() == [f"{RUN}.2"]
    assert tries.select("id", "state", "failure").rows() == [
        (RUN, "FAILED", "the disk was full"),
        (f"{RUN}.2", "ISSUED", None),
    ]
    assert tries["ended_at"].null_count() == 0


def test_numbers_begin_anew_with_each_fiscal_year(rated: Engine) -> None:
    with writing(rated) as connection:
        codes = submit(connection)
        for year in (2020, 2021):
            begun = runs.freeze(
                connection,
                facility="RC",
                run=RUN,
                period="2020-04",
                invoice_date=date(2020, 8, 1),
                fiscal_year=year,
            )
            reserved = runs.reserve_numbers(
                connection, begun.id, "RC", year, codes, lambda n, year=year: f"RC-{year}-{n:04}"
            )
            assert_frame_equal(read_numbers(connection, begun.id), reserved)
            assert reserved.rows() == [
                (P1, 1, f"RC-{year}-0001"),
                (P2, 2, f"RC-{year}-0002"),
            ]
            runs.fail(connection, begun.id, "tried only")


def test_the_next_numbers_go_on_from_what_is_issued(issued: Engine) -> None:
    with writing(issued) as connection:
        may = runs.make_run(connection, "RC", "2020-05", "", "")
        draft = invoices.read_invoices(connection, "RC", codes=[P2])
        kept = ("facility", "kind", "project", "team", "covers_from", "covers_to", "description")
        invoices.insert_invoices(
            connection,
            draft.select(
                *kept, code=pl.lit(f"{may}/p2"), run=pl.lit(may), period=pl.lit("2020-05")
            ),
        )
        invoices.move_invoices(connection, "RC", [f"{may}/p2"], "submit")
        begun = runs.freeze(
            connection,
            facility="RC",
            run=may,
            period="2020-05",
            invoice_date=date(2020, 6, 1),
            fiscal_year=2020,
        )
        reserved = runs.reserve_numbers(
            connection, begun.id, "RC", 2020, [f"{may}/p2"], lambda n: f"RC-2020-{n:04}"
        )
    assert reserved["number"].to_list() == ["RC-2020-0003"]


def test_one_issuing_of_a_facility_is_frozen_at_a_time(rated: Engine, raw: Raw) -> None:
    with writing(rated) as connection:
        codes = submit(connection)
        freeze(connection, codes)
    with pytest.raises(NotReady, match=RUN), writing(rated) as connection:
        freeze(connection, codes)
    with pytest.raises(REFUSED):
        raw(_issuing("'second'"))


def _issuing(code: str, run: str = RUN, period: str = "2020-04", state: str = "FROZEN") -> str:
    return (
        "INSERT INTO issuing (id, facility, run, period, state, invoice_date, fiscal_year, login,"
        f" frozen_at) VALUES ({code}, 'RC', '{run}', '{period}', '{state}', '2020-05-04', 2020,"
        " 'me', '2020-05-04T00:00:00.000000Z')"
    )


def test_an_issuing_begins_frozen_and_of_an_open_run(submitted: Engine, raw: Raw) -> None:
    for state in ("ISSUED", "FAILED"):
        with pytest.raises(REFUSED, match="begins FROZEN"):
            raw(_issuing("'x'", state=state))
    with pytest.raises(REFUSED):
        raw(_issuing("'x'", run="RC-2020-04-9"))
    with pytest.raises(REFUSED, match="of its facility and month"):
        raw(_issuing("'x'", period="2020-05"))
    raw(f"UPDATE billing_run SET state = 'DISABLED' WHERE id = '{RUN}'")
    with pytest.raises(REFUSED, match="of an open run"):
        raw(_issuing("'x'"))


@pytest.mark.parametrize("end", [runs.finish, lambda *known: runs.fail(*known, "late")])
def test_an_issuing_ends_once(issued: Engine, end: Callable[..., None]) -> None:
    with pytest.raises((NotReady, IntegrityError)), writing(issued) as connection:
        end(connection, RUN)


def test_an_issuing_names_its_snapshot_and_record_once_it_is_issued(submitted: Engine) -> None:
    with writing(submitted) as connection:
        numbers = freeze(connection, [P1, P2])
        assert runs.read_issuing(connection, RUN).record is None
        issue(connection, numbers)
        issued = runs.read_issuing(connection, RUN)
    assert (issued.snapshot_sha256, issued.record) == ("ab" * 32, RECORD)


def test_what_has_a_record_is_issued_with_its_place_in_the_log(submitted: Engine, raw: Raw) -> None:
    entry = "INSERT INTO log_entry VALUES ({}, '{}', 'RC', 'ab', 'a head', NULL)"
    with pytest.raises(REFUSED):
        raw(entry.format(1, RUN))
    with writing(submitted) as connection:
        numbers = freeze(connection, [P1, P2])
    for position in (0, 2):
        with pytest.raises(REFUSED, match="without a gap"):
            raw(entry.format(position, RUN))
    with pytest.raises(IntegrityError, match="when the log has its record"):  # noqa: SIM117
        with writing(submitted) as connection:
            invoices.insert_issued(connection, *issued_frames(RUN, numbers))
            bill(connection, numbers)
            runs.finish(connection, RUN, "ab" * 32, RECORD)
    with writing(submitted) as connection:
        issue(connection, numbers)
    assert raw("SELECT position, issuing FROM log_entry") == [(1, RUN)]
    with pytest.raises(REFUSED, match=r"exists|of what is frozen"):
        raw(entry.format(2, RUN))


def test_a_number_is_reserved_in_sequence_for_what_is_being_approved(
    submitted: Engine, raw: Raw
) -> None:
    with writing(submitted) as connection:
        freeze(connection, [P1])
    number = "INSERT INTO invoice_number VALUES ('RC', 2020, {}, 'RC-2020-000{}', '{}', '{}')"
    for sequence in (0, 3):
        with pytest.raises(REFUSED, match="without a gap"):
            raw(number.format(sequence, sequence, RUN, P2))
    with pytest.raises(REFUSED):
        raw(number.format(2, 2, "another", P2))
    raw(f"UPDATE invoice SET state = 'QUARANTINED' WHERE code = '{P2}'")
    with pytest.raises(REFUSED, match="that all have approved"):
        raw(number.format(2, 2, RUN, P2))


def test_a_number_that_is_taken_away_meanwhile_leaves_no_gap(submitted: Engine, raw: Raw) -> None:
    with writing(submitted) as connection:
        numbers = freeze(connection, [P1, P2])
    raw("DELETE FROM invoice_number WHERE sequence = 1")
    with pytest.raises(IntegrityError, match="have no gap"), writing(submitted) as connection:
        second = numbers.tail(1)
        bills, lines, splits = issued_frames(RUN, numbers)
        only = pl.col("number") == "RC-2020-0002"
        invoices.insert_issued(
            connection, bills.filter(only), lines.filter(only), splits.filter(only)
        )
        bill(connection, second)
        runs.finish(connection, RUN)


_MOVED = (
    pl.when(pl.col("position") == 1).then(1).when(pl.col("position") == 2).then(-1).otherwise(0)
)
"""A minor unit from an invoice's second line to its first; its total stays."""


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        (1, pl.col("total") + 1, "a total is the raw total and the adjustment"),
        (1, pl.col("charge") + "x", "a line for each BILLED charge"),
        (1, pl.col("raw_total", "total") + _MOVED, "a line for each BILLED charge"),
        (1, pl.lit("u1").alias("charge"), "charge"),  # twice
        (1, pl.col("position") + 5, "no further line"),
        (2, pl.col("amount") + 1, "expense codes"),
        (0, pl.lit("RC-2020-0009").alias("number"), "number"),
        (0, pl.col("sequence") + 7, "number that what is frozen reserved"),
        (0, pl.lit("p9").alias("project"), "as it was approved"),
        (0, pl.lit("2020-05").alias("period"), "as it was approved"),
        (0, pl.col("charges") + 1, "as it was approved"),
        (0, pl.lit("other-lab").alias("team"), "as it was approved"),
        (0, pl.lit(date(2020, 5, 5)).alias("invoice_date"), "number that what is frozen reserved"),
        (0, pl.lit(250, pl.Int64).alias("prepaid"), "expense codes|is drawn"),
    ],
)
def test_what_does_not_fit_is_not_issued(
    rated: Engine, part: int, change: pl.Expr, said: str
) -> None:
    with pytest.raises(IntegrityError, match=said), writing(rated) as connection:
        numbers = freeze(connection)
        parts = list(issued_frames(RUN, numbers))
        parts[part] = parts[part].with_columns(change)
        invoices.insert_issued(connection, *parts)
        bill(connection, numbers)
        runs.finish(connection, RUN)
    with reading(rated) as connection:
        assert invoices.read_issued(connection).height == 0
        assert runs.frozen(connection, "RC") is None


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        ("line", "a line for each"),
        ("split", "expense codes"),
        ("bill", "are APPROVED|BILLED charge"),
        ("charges", "BILLED charge"),
    ],
)
def test_what_lacks_a_part_is_not_issued(rated: Engine, left_out: str, said: str) -> None:
    with pytest.raises(IntegrityError, match=said), writing(rated) as connection:
        numbers = freeze(connection)
        bills, lines, splits = issued_frames(RUN, numbers)
        fewer = {"line": lines.head(2), "split": splits.head(2)}
        invoices.insert_issued(
            connection, bills, fewer.get("line" * (left_out == "line"), lines),
            fewer.get("split" * (left_out == "split"), splits),
        )  # fmt: skip
        if left_out == "charges":
            given = dict(numbers.select("invoice", "number").iter_rows())
            invoices.move_invoices(connection, "RC", list(given), "issue", numbers=given)
        elif left_out != "bill":
            bill(connection, numbers)
        runs.finish(connection, RUN)


def test_a_number_without_invoice_is_not_issued(submitted: Engine, raw: Raw) -> None:
    with writing(submitted) as connection:
        freeze(connection, [P1, P2])
    with pytest.raises(REFUSED, match="an invoice for every number"):
        raw("UPDATE issuing SET state = 'ISSUED'")
    with pytest.raises(REFUSED, match="holds no numbers"):
        raw("UPDATE issuing SET state = 'FAILED'")


@pytest.mark.parametrize(
    "forged",
    [
        "INSERT INTO invoice_line (number, position, facility, team, charge, raw_total,"
        " adjustment, total) VALUES ('RC-2020-0001', 3, 'RC', 'smith-lab', 'x', 1, 0, 1)",
        "INSERT INTO invoice_split VALUES ('RC-2020-0001', '999', 'RC', 'smith-lab', 1)",
        "INSERT INTO invoice_adjustment"
        " VALUES ('RC-2020-0001', 2, 'RC', 'smith-lab', 'fee', 'fee', '', NULL, NULL, 1)",
        "INSERT INTO charge_split VALUES ('RC', 'u1', 2, '370-9', '0', 0)",
        f"INSERT INTO invoice_number VALUES ('RC', 2020, 3, 'RC-2020-0003', '{RUN}', '{P1}')",
    ],
)
def test_nothing_is_added_to_what_is_issued(issued: Engine, raw: Raw, forged: str) -> None:
    with pytest.raises(REFUSED):
        raw(forged)
