"""Usage, charges, kept rates and what is unbilled, as rating reads and writes them."""

import polars as pl
import pytest
from april import KEPT_RATE, freeze, three_charges, usage_records
from polars.testing import assert_frame_equal
from sqlalchemy import Engine, text

from billing_lib.errors import InvalidPriceBook, UnknownCharge
from billing_lib.ledger import charges, people, usage
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.events import record_event
from billing_lib.ledger.schema import KEPT


def test_charges_and_splits_are_read_as_they_were_written(rated: Engine) -> None:
    priced, splits = three_charges()
    with reading(rated) as connection:
        kept = charges.read_charges(connection, "RC")
        shares = charges.read_splits(connection, "RC")
    names = [name for name in KEPT.names() if name in priced.columns]
    assert_frame_equal(kept.select(names), priced.select(names), check_dtypes=False)
    assert_frame_equal(shares.select(splits.columns), splits)
    assert kept["state"].unique().to_list() == ["PENDING"]


@pytest.mark.parametrize(
    ("filters", "codes"),
    [
        ({"period": "2020-04"}, ["u1", "u2", "u3"]),
        ({"period": "2020-05"}, []),
        ({"project": "p1"}, ["u1", "u2"]),
        ({"state": "BILLED"}, []),
        ({"codes": ["u3", "u9"]}, ["u3"]),
        ({"codes": []}, []),
    ],
)
def test_charges_are_filtered(rated: Engine, filters: dict[str, object], codes: list[str]) -> None:
    with reading(rated) as connection:
        found = charges.read_charges(connection, "RC", **filters)  # type: ignore[arg-type]
        splits = charges.read_splits(connection, "RC", **filters)  # type: ignore[arg-type]
    assert found["charge"].to_list() == codes
    assert splits["charge"].unique(maintain_order=True).to_list() == codes


def test_pending_charges_take_their_new_price_and_splits(rated: Engine) -> None:
    priced, splits = three_charges()
    dearer = priced.filter(pl.col("charge") == "u1").with_columns(total=9500, adjustment=500)
    whole = splits.filter(pl.col("charge") == "u1").head(1).with_columns(percent=pl.lit(1_000_000))
    with writing(rated) as connection:
        charges.replace_charges(connection, "RC", dearer, whole.with_columns(amount=9500))
        kept = charges.read_charges(connection, "RC")
        shares = charges.read_splits(connection, "RC", codes=["u1"])
    assert kept["total"].to_list() == [9500, 1125, 250]
    assert shares.select("percent", "amount").rows() == [(1_000_000, 9500)]


def test_a_deleted_charge_takes_its_splits_with_it(rated: Engine) -> None:
    with writing(rated) as connection:
        charges.delete_charges(connection, "RC", pl.Series(["u1"]))
        assert charges.read_charges(connection, "RC")["charge"].to_list() == ["u2", "u3"]
        assert "u1" not in charges.read_splits(connection, "RC")["charge"]
        assert connection.scalar(text("SELECT count(*) FROM charge_split")) == 2


@pytest.mark.parametrize("fate", ["billed", "bound", "unknown"])
def test_a_charge_that_is_not_free_is_named(
    request: pytest.FixtureRequest, rated: Engine, fate: str
) -> None:
    if fate == "bound":
        with writing(rated) as connection:
            freeze(connection)
    elif fate == "billed":
        request.getfixturevalue("issued")
    code = "u9" if fate == "unknown" else "u1"
    priced, splits = three_charges()
    one = priced.filter(pl.col("charge") == "u1").with_columns(charge=pl.lit(code))
    with pytest.raises(UnknownCharge, match=f"'{code}'"), writing(rated) as connection:
        charges.replace_charges(connection, "RC", one, splits.clear())
    with pytest.raises(UnknownCharge, match=f"'{code}'"), writing(rated) as connection:
        charges.delete_charges(connection, "RC", pl.Series([code]))


def test_a_kept_rate_stays_as_it_was(rated: Engine) -> None:
    dear = KEPT_RATE.replace("1.25", "9.99")
    with writing(rated) as connection:
        charges.keep_rates(connection, "RC", [("3f0c", dear), ("77aa", dear), ("77aa", dear)])
        kept = charges.read_rates(connection, "RC").drop("kept_at")
        (one,) = charges.read_rates(connection, "RC", ["77aa"]).iter_rows()
        assert one[:2] == ("77aa", dear)
    assert kept.rows() == [("3f0c", KEPT_RATE), ("77aa", dear)]


def test_each_rating_replaces_what_is_unbilled(rated: Engine) -> None:
    def left_out(*reasons: tuple[str, str]) -> pl.DataFrame:
        return pl.DataFrame(
            [(record, 1, reason, f"because {reason}") for record, reason in reasons],
            schema=["record", "occurrence", "reason", "detail"],
            orient="row",
        )

    more = usage_records(("u4", "laser", "p1", "1"), ("u5", "laser", "p9", "1"))
    with writing(rated) as connection:
        usage.insert_file(connection, "RC", "5a", "more.csv", "csv", 2)
        usage.insert_usage(connection, "RC", "5a", more)
        usage.replace_unbilled(
            connection, "RC", "2020-04", left_out(("u4", "unknown_item"), ("u5", "unknown_item"))
        )
        assert usage.count_records(connection, "RC").rows() == [("2020-04", 5, 3, 0, 2)]
        usage.replace_unbilled(connection, "RC", "2020-04", left_out(("u5", "unknown_project")))
        report = usage.read_unbilled(connection, "RC", "2020-04")
        every = usage.read_unbilled(connection, "RC")
    assert every.select("period", "reason").rows() == [("2020-04", "unknown_project")]
    assert report.schema == usage.UNBILLED
    assert report.select("record", "reason", "project", "file", "row").rows() == [
        ("u5", "unknown_project", "p9", "april.csv", 3)
    ]


def test_usage_is_read_by_period_with_or_without_the_undated(rated: Engine) -> None:
    undated = usage_records(("u4", "laser", "p1", "1")).with_columns(
        period=pl.lit(None, dtype=pl.String)
    )
    with writing(rated) as connection:
        record_event(connection, "RC", "load", "april.csv", "")  # PostgreSQL asks for one
        usage.insert_usage(connection, "RC", "4f", undated)
        assert usage.read_usage(connection, "RC", "2020-04").height == 3
        assert usage.read_usage(connection, "RC", "2020-04", undated=True).height == 4
        assert usage.read_usage(connection, "RC", "2020-05").height == 0


def test_a_file_is_known_by_its_bytes(rated: Engine) -> None:
    with reading(rated) as connection:
        known = usage.known_file(connection, "RC", "4f")
        assert known is not None
        assert (known.name, known.records) == ("april.csv", 3)
        assert usage.known_file(connection, "RC", "50") is None


@pytest.mark.parametrize(
    ("currency", "zone", "what"),
    [("EUR", "America/New_York", "currency"), ("USD", "Europe/Berlin", "time zone")],
)
def test_a_facility_keeps_its_currency_and_time_zone(
    rated: Engine, currency: str, zone: str, what: str
) -> None:
    with pytest.raises(InvalidPriceBook, match=what), writing(rated) as connection:
        people.know_facility(connection, "RC", "Research Computing", currency, zone)


def test_a_facility_may_change_its_name(rated: Engine) -> None:
    with writing(rated) as connection:
        people.know_facility(connection, "RC", "Cluster", "USD", "America/New_York")
        assert people.read_facilities(connection)["name"].to_list() == ["Cluster"]


def test_added_lines_are_numbered(rated: Engine) -> None:
    with reading(rated) as connection:
        assert charges.next_line_code(connection, "RC", "2020-04") == "line-2020-04-1"
