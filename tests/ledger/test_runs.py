"""Runs, their numbers and their invoices."""

from datetime import date

import polars as pl
import pytest
from april import adjustments, freeze, issue, issued_frames
from polars.testing import assert_frame_equal
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from billing_lib.errors import NotReady, UnknownCharge
from billing_lib.ledger import charges, invoices, runs
from billing_lib.ledger.database import reading, writing


def test_the_numbers_of_a_failed_run_go_to_its_next_try(rated: Engine) -> None:
    with writing(rated) as connection:
        assert freeze(connection)["number"].to_list() == ["RC-2020-0001", "RC-2020-0002"]
    with writing(rated) as connection:
        charges.free_charges(connection, "RC", "RC-2020-04-1")
        runs.fail_run(connection, "RC-2020-04-1", "the disk was full")
    with writing(rated) as connection:
        issue(connection)
        bills = invoices.read_invoices(connection, facility="RC")
        tries = runs.read_runs(connection, "RC")
    assert bills["number"].to_list() == ["RC-2020-0001", "RC-2020-0002"]
    assert bills["run"].unique().to_list() == ["RC-2020-04-2"]
    assert tries.select("id", "state", "failure").rows() == [
        ("RC-2020-04-1", "FAILED", "the disk was full"),
        ("RC-2020-04-2", "ISSUED", None),
    ]
    assert tries["ended_at"].null_count() == 0


def test_the_next_run_continues_the_numbers_of_its_fiscal_year(issued: Engine) -> None:
    with writing(issued) as connection:
        for run, year in (("RC-2020-05-1", 2020), ("RC-2020-07-1", 2021)):
            runs.freeze_run(
                connection,
                run,
                facility="RC",
                period=run[3:10],
                selection="p1",
                invoice_date=date(2020, 8, 1),
                fiscal_year=year,
            )
            reserved = runs.reserve_numbers(
                connection, run, "RC", year, ["p1"], lambda n, year=year: f"RC-{year}-{n:04}"
            )
            assert_frame_equal(runs.read_numbers(connection, run), reserved)
            first = 3 if year == 2020 else 1
            assert reserved.rows() == [("p1", first, f"RC-{year}-{first:04}")]
            runs.fail_run(connection, run, "tried only")


def test_one_run_of_a_facility_is_frozen_at_a_time(rated: Engine) -> None:
    with writing(rated) as connection:
        freeze(connection)
    with pytest.raises(NotReady, match="RC-2020-04-1"), writing(rated) as connection:
        freeze(connection)


@pytest.mark.parametrize("end", ["issue", "fail"])
def test_a_run_ends_once(issued: Engine, end: str) -> None:
    with pytest.raises((NotReady, IntegrityError)), writing(issued) as connection:
        if end == "issue":
            runs.issue_run(connection, "RC-2020-04-1")
        else:
            runs.fail_run(connection, "RC-2020-04-1", "too late")


def test_issued_invoices_are_read_as_they_were_written(issued: Engine) -> None:
    with reading(issued) as connection:
        numbers = runs.read_numbers(connection, "RC-2020-04-1")
        bills, lines, splits = issued_frames("RC-2020-04-1", numbers)
        both = numbers["number"].to_list()
        assert_frame_equal(invoices.read_invoices(connection, period="2020-04"), bills)
        assert_frame_equal(invoices.read_lines(connection, both), lines)
        assert_frame_equal(invoices.read_splits(connection, both), splits)
        assert_frame_equal(invoices.read_adjustments(connection, both), adjustments())
        assert invoices.read_fingerprints(connection, "RC-2020-04-1") == dict.fromkeys(
            both, "ab" * 32
        )
        assert invoices.read_invoices(connection, project="p2")["number"].to_list() == both[1:]
        assert invoices.read_invoices(connection, number="RC-2020-0009").height == 0
        states = charges.read_charges(connection, "RC", state="BILLED")
    assert states.select("code", "run", "invoice").rows() == [
        ("u1", "RC-2020-04-1", "RC-2020-0001"),
        ("u2", "RC-2020-04-1", "RC-2020-0001"),
        ("u3", "RC-2020-04-1", "RC-2020-0002"),
    ]


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        (1, pl.col("total") + 1, "a total is the raw total and the adjustment"),
        (2, pl.col("amount").alias("amount") + 1, "expense codes"),
        (0, pl.lit("RC-2020-0009").alias("number"), "number"),
        (0, pl.col("sequence") + 7, "number that this run reserved"),
        (0, pl.lit("p9").alias("project"), "number that this run reserved"),
        (0, pl.lit("PAID").alias("state"), "issued APPROVED"),
        (1, pl.col("position") + 5, "no further line"),
    ],
)
def test_a_run_whose_parts_do_not_fit_is_not_issued(
    rated: Engine, part: int, change: pl.Expr, said: str
) -> None:
    with pytest.raises(IntegrityError, match=said), writing(rated) as connection:
        parts = list(issued_frames("RC-2020-04-1", freeze(connection)))
        billed = parts[1].select(pl.col("charge").alias("code"), "number")
        parts[part] = parts[part].with_columns(change)
        invoices.insert_invoices(connection, *parts)
        charges.bill_charges(connection, "RC", "RC-2020-04-1", billed)
        runs.issue_run(connection, "RC-2020-04-1")
    with reading(rated) as connection:
        assert invoices.read_invoices(connection).height == 0
        assert runs.frozen_run(connection, "RC") is None


def test_an_invoice_that_lacks_a_line_is_not_issued(rated: Engine) -> None:
    with pytest.raises(IntegrityError, match="all their lines"), writing(rated) as connection:
        bills, lines, splits = issued_frames("RC-2020-04-1", freeze(connection))
        invoices.insert_invoices(connection, bills, lines.head(2), splits)
        billed = lines.select(pl.col("charge").alias("code"), "number")
        charges.bill_charges(connection, "RC", "RC-2020-04-1", billed)
        runs.issue_run(connection, "RC-2020-04-1")


def test_a_charge_is_billed_once(issued: Engine) -> None:
    billed = pl.DataFrame({"code": ["u1"], "number": ["RC-2020-0002"]})
    with pytest.raises(UnknownCharge, match="'u1'"), writing(issued) as connection:
        charges.bill_charges(connection, "RC", "RC-2020-04-1", billed)
