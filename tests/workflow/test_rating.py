"""Rating a period: records = charges + unbilled, and each charge keeps its rate."""

import datetime as dt
import json
from pathlib import Path

import pytest
from sample_facility import BOOK, HEADER, nothing, price_book, usage_file
from sample_issuing import issue_here
from sqlalchemy import Engine

from billing_lib.errors import ChangedMeanwhile
from billing_lib.ledger import events
from billing_lib.ledger.database import reading
from billing_lib.pricing.clock import Period
from billing_lib.workflow.adjust import adjust_charge, delete_charge
from billing_lib.workflow.bulk import BulkResult, preview_new_rates, take_new_rates
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period, read_unbilled, unbilled_by_reason
from billing_lib.workflow.search import Filter, find_charges

APRIL = Period(2020, 4)


def totals(ledger: Engine) -> dict[str, int]:
    return totals_of(ledger, "2020-04")


def totals_of(ledger: Engine, month: str) -> dict[str, int]:
    wanted = Filter(facility="MIC", period_from=month, period_to=month)
    found = find_charges(ledger, wanted).rows
    return {f"MIC/{charge}": total for charge, total in found.select("charge", "total").iter_rows()}


@pytest.fixture
def loaded(ledger: Engine, tmp_path: Path) -> Engine:
    load_files(ledger, price_book(), [usage_file(tmp_path)], nothing)
    return ledger


def test_records_are_charges_and_unbilled(loaded: Engine) -> None:
    rated = rate_period(loaded, price_book(), APRIL)
    assert (rated.records, rated.charges) == (5, 3)
    assert rated.unbilled == {"invalid_quantity": 1, "unknown_project": 1}
    # 3 h 20 min x 40.00 = 133.33; 12 x 1.25 = 15.00; 10 x 1.25 = 12.50
    assert totals(loaded) == {"MIC/u1": 13333, "MIC/u2": 1500, "MIC/u3": 1250}
    unbilled = read_unbilled(loaded, "MIC", "2020-04")
    assert unbilled.select("record", "reason").rows() == [
        ("u4", "unknown_project"),
        ("u5", "invalid_quantity"),
    ]
    assert "many" in unbilled["detail"][1]
    assert unbilled_by_reason(loaded, "MIC", "2020-04")["records"].to_list() == [1, 1]


def test_rating_twice_is_rating_once(loaded: Engine) -> None:
    rate_period(loaded, price_book(), APRIL)
    again = rate_period(loaded, price_book(), APRIL)
    assert (again.records, again.charges, again.new, again.changed) == (5, 3, 0, 0)
    assert totals(loaded) == {"MIC/u1": 13333, "MIC/u2": 1500, "MIC/u3": 1250}


def test_a_charge_keeps_its_rate_until_it_is_deleted(loaded: Engine) -> None:
    rate_period(loaded, price_book(), APRIL)
    dearer = price_book(BOOK.replace('"1.25"', '"2.00"'))
    assert rate_period(loaded, dearer, APRIL).changed == 0
    assert totals(loaded)["MIC/u2"] == 1500
    delete_charge(loaded, price_book(), "MIC/u2", "rated by last year's price")
    assert rate_period(loaded, dearer, APRIL).new == 1
    assert totals(loaded) == {"MIC/u1": 13333, "MIC/u2": 2400, "MIC/u3": 1250}  # 12 x 2.00


def test_changes_to_a_deleted_charge_are_gone_with_it(loaded: Engine) -> None:
    rate_period(loaded, price_book(), APRIL)
    adjust_charge(loaded, price_book(), "MIC/u2", {"quantity": "1"}, "one slide")
    delete_charge(loaded, price_book(), "MIC/u2", "afresh")
    rate_period(loaded, price_book(), APRIL)
    assert totals(loaded)["MIC/u2"] == 1500


def test_a_new_split_reaches_pending_charges_when_they_are_rated_again(loaded: Engine) -> None:
    rate_period(loaded, price_book(), APRIL)
    moved = price_book(
        BOOK.replace('{expense_code: C, percent: "100"}', '{expense_code: D, percent: "100"}')
    )
    assert rate_period(loaded, moved, APRIL).changed == 1


def test_a_project_that_becomes_known_is_billed(loaded: Engine) -> None:
    rate_period(loaded, price_book(), APRIL)
    known = (
        BOOK + "  - {code: nobody, team: smith, type: faculty, "
        'split: [{expense_code: N, percent: "100"}]}\n'
    )
    rated = rate_period(loaded, price_book(known), APRIL)
    assert (rated.new, rated.charges) == (1, 4)
    assert rated.unbilled == {"invalid_quantity": 1}


def test_a_second_row_of_an_id_is_a_duplicate(ledger: Engine, tmp_path: Path) -> None:
    rows = HEADER + "u1,slide,p1,bob,,,2020-04-07,1\n" * 3
    load_files(ledger, price_book(), [usage_file(tmp_path, rows)], nothing)
    rated = rate_period(ledger, price_book(), APRIL)
    assert (rated.records, rated.charges, rated.unbilled) == (3, 1, {"duplicate": 2})


def test_rating_in_two_halves_equals_rating_at_once(ledger: Engine, tmp_path: Path) -> None:
    half = "".join(f"a{n},slide,p1,bob,,,2020-04-07,{n}\n" for n in range(1, 20))
    rest = "".join(f"b{n},slide,p2,bob,,,2020-04-07,{n}\n" for n in range(1, 20))
    load_files(ledger, price_book(), [usage_file(tmp_path, HEADER + half, "a.csv")], nothing)
    rate_period(ledger, price_book(), APRIL)
    load_files(ledger, price_book(), [usage_file(tmp_path, HEADER + rest, "b.csv")], nothing)
    rated = rate_period(ledger, price_book(), APRIL)
    assert (rated.records, rated.charges, rated.new) == (38, 38, 19)
    cents = sum(round(n * 125) for n in range(1, 20))
    assert sum(totals(ledger).values()) == 2 * cents


def test_rating_again_keeps_the_rates(loaded: Engine) -> None:
    rate_period(loaded, price_book(), APRIL)
    dearer = price_book(BOOK.replace('"1.25"', '"2.00"'))
    before = totals(loaded)
    assert rate_period(loaded, dearer, APRIL, again=True).changes == []
    assert totals(loaded) == before


def values(done: BulkResult) -> list[tuple[str, ...]]:
    return done.values.rows()


def test_new_rates_are_taken_by_the_chosen_charges_and_changes_by_staff_stay(
    loaded: Engine,
) -> None:
    rate_period(loaded, price_book(), APRIL)
    adjust_charge(loaded, price_book(), "MIC/u3", {"amount": "9.00"}, "agreed")
    dearer = price_book(BOOK.replace('"1.25"', '"2.00"').replace('"40.00"', '"60.00"'))

    shown = preview_new_rates(loaded, dearer, "2020-04", Filter(item="slide"))
    assert totals(loaded) == {"MIC/u1": 13333, "MIC/u2": 1500, "MIC/u3": 900}
    done = take_new_rates(loaded, dearer, "2020-04", Filter(item="slide"), seen=shown.seen)

    assert (
        values(done)
        == values(shown)
        == [
            ("u2", "rate", "1.25", "2"),
            ("u3", "rate", "1.25", "2"),
        ]
    )
    assert done.effect.rows() == [("u2", "p1", 1500, 2400)]
    assert totals(loaded) == {"MIC/u1": 13333, "MIC/u2": 2400, "MIC/u3": 900}
    assert values(take_new_rates(loaded, dearer, "2020-04", Filter(item="slide"))) == []
    with reading(loaded) as connection:
        told = events.read_events(connection, "MIC", kinds=["new_rate"])
    assert told["subject"].to_list() == ["u2", "u3"]
    assert json.loads(told["after"][0])["total"] == "24.00"


def test_new_rates_are_refused_where_they_would_differ_from_the_preview(loaded: Engine) -> None:
    rate_period(loaded, price_book(), APRIL)
    dearer = price_book(BOOK.replace('"1.25"', '"2.00"'))
    shown = preview_new_rates(loaded, dearer, "2020-04", Filter())
    dearest = price_book(BOOK.replace('"1.25"', '"3.00"'))
    with pytest.raises(ChangedMeanwhile, match="price book was changed"):
        take_new_rates(loaded, dearest, "2020-04", Filter(), seen=shown.seen)
    adjust_charge(loaded, dearer, "MIC/u2", {"quantity": "9"}, "three broke")
    with pytest.raises(ChangedMeanwhile, match="changed the charge MIC/u2"):
        take_new_rates(loaded, dearer, "2020-04", Filter(), seen=shown.seen)


def test_a_charge_without_a_rate_today_keeps_its_own(loaded: Engine) -> None:
    rate_period(loaded, price_book(), APRIL)
    gone = price_book(
        BOOK.replace('  - {item: slide, group: internal, price: "1.25"}\n', "").replace(
            '"40.00"', '"60.00"'
        )
    )
    done = take_new_rates(loaded, gone, "2020-04", Filter())
    assert values(done) == [("u1", "rate", "40", "60")]
    assert totals(loaded) == {"MIC/u1": 20000, "MIC/u2": 1500, "MIC/u3": 1250}


RULED = (
    BOOK + 'rules: [{name: pilot, scope: charge, kind: scale, factor: "0.50", items: [slide]}]\n'
)


def test_a_changed_rule_reaches_a_rated_month_only_when_it_is_rated_again(loaded: Engine) -> None:
    rate_period(loaded, price_book(), APRIL)
    before = totals(loaded)

    kept = rate_period(loaded, price_book(RULED), APRIL)
    assert totals(loaded) == before
    assert kept.changed == 0
    assert "rating MIC 2020-04 with 'again' takes them" in kept.sentence
    adjust_charge(loaded, price_book(RULED), "MIC/u2", {"quantity": "10"}, "two broke")
    assert totals(loaded)["MIC/u2"] == 1250

    taken = rate_period(loaded, price_book(RULED), APRIL, again=True)
    assert taken.changes == [
        "MIC/u2: total 12.50 → 6.25",
        "MIC/u3: total 12.50 → 6.25",
    ]
    assert not taken.kept_rules
    again = rate_period(loaded, price_book(RULED), APRIL, again=True)
    assert (again.changes, again.kept_rules) == ([], False)
    # A rule that goes does not go from what was rated, either.
    assert rate_period(loaded, price_book(), APRIL).changed == 0
    assert totals(loaded)["MIC/u3"] == 625


def test_a_deleted_rate_falls_back_to_the_copy_that_the_charge_kept(loaded: Engine) -> None:
    rate_period(loaded, price_book(), APRIL)
    gone = price_book(BOOK.replace('  - {item: slide, group: internal, price: "1.25"}\n', ""))

    assert rate_period(loaded, gone, APRIL, again=True).changes == []
    assert totals(loaded) == {"MIC/u1": 13333, "MIC/u2": 1500, "MIC/u3": 1250}


TIERED = BOOK.replace(
    '{item: slide, group: internal, price: "1.25"}',
    "{item: slide, group: internal, tiers: {mode: graduated, per: project, "
    'steps: [{up_to: "10", price: "1.00"}, {up_to: null, price: "0.50"}]}}',
)


def test_charges_that_share_tiers_are_priced_together(ledger: Engine, tmp_path: Path) -> None:
    book = price_book(TIERED)
    first = HEADER + "u2,slide,p1,bob,,,2020-04-07,8\n"
    load_files(ledger, book, [usage_file(tmp_path, first, "first.csv")], nothing)
    rate_period(ledger, book, APRIL)
    assert totals(ledger) == {"MIC/u2": 800}
    second = HEADER + "u1,slide,p1,bob,,,2020-04-06,6\n"
    load_files(ledger, book, [usage_file(tmp_path, second, "second.csv")], nothing)

    rated = rate_period(ledger, book, APRIL)

    # u1 comes first: 6 x 1.00; of u2 4 x 1.00 + 4 x 0.50
    assert (rated.new, rated.changed) == (1, 1)
    assert totals(ledger) == {"MIC/u1": 600, "MIC/u2": 600}
    adjust_charge(ledger, book, "MIC/u1", {"quantity": "10"}, "four more")
    assert totals(ledger) == {"MIC/u1": 1000, "MIC/u2": 400}  # 8 x 0.50
    delete_charge(ledger, book, "MIC/u1", "of another project")
    assert totals(ledger) == {"MIC/u2": 800}


def test_usage_across_a_month_is_cut_at_intake_where_the_facility_says_so(
    ledger: Engine, tmp_path: Path
) -> None:
    book = price_book(BOOK.replace("fiscal_year_start: 7", "crossing: split"))
    night = "u1,scope,p1,ann,2020-04-30T22:00:00-04:00,2020-05-01T03:00:00-04:00,,\n"
    load_files(ledger, book, [usage_file(tmp_path, HEADER + night)], nothing)

    rate_period(ledger, book, APRIL)
    rate_period(ledger, book, Period(2020, 5))

    assert totals(ledger) == {"MIC/u1@2020-04": 8000}  # 2 h x 40.00
    assert totals_of(ledger, "2020-05") == {"MIC/u1": 12000}


STORED = (
    BOOK.replace("items:", "items:\n  - {code: disk, name: Disk, unit: TB}")
    .replace("rates:", "rates:\n  - {item: disk, group: internal, price: '4.00', per: PER}")
)  # fmt: skip
SNAPSHOTS = HEADER + "s1,disk,p1,,,,2020-04-01,1\ns2,disk,p1,,,,2020-04-02,2\n"


@pytest.mark.parametrize(
    ("per", "first", "both", "set_to", "left"),
    [
        # the mean of 1 and 2 TB; of 1, 2 and 6 TB; 5.00 a TB for s1: 12.33 over 5, 8 and 24 parts,
        # the cents left over go to s3 and s1; without s1 the mean of 2 and 6 TB
        ("snapshot", [200, 400], [133, 267, 800], [167, 266, 800], [400, 1200]),
        # over 30 days: 3/30 TB; 9/30 TB; 5.00 a TB for s1: 1.23 over 5, 8 and 24 parts; 8/30 TB
        ("daily_snapshot", [13, 27], [13, 27, 80], [17, 26, 80], [27, 80]),
    ],
)
def test_later_snapshots_change_the_mean_of_the_month(
    ledger: Engine,
    tmp_path: Path,
    per: str,
    first: list[int],
    both: list[int],
    set_to: list[int],
    left: list[int],
) -> None:
    book = price_book(STORED.replace("PER", per))
    load_files(ledger, book, [usage_file(tmp_path, SNAPSHOTS)], nothing)
    rate_period(ledger, book, APRIL)
    assert list(totals(ledger).values()) == first

    more = usage_file(tmp_path, HEADER + "s3,disk,p1,,,,2020-04-30,6\n", "more.csv")
    load_files(ledger, book, [more], nothing)
    assert rate_period(ledger, book, APRIL).new == 1
    assert list(totals(ledger).values()) == both

    adjust_charge(ledger, book, "MIC/s1", {"rate": "5.00"}, "agreed")
    assert list(totals(ledger).values()) == set_to

    delete_charge(ledger, book, "MIC/s1", "twice")
    assert list(totals(ledger).values()) == left


def test_a_late_snapshot_is_a_share_of_all_of_its_month(ledger: Engine, tmp_path: Path) -> None:
    book, may = price_book(STORED.replace("PER", "snapshot")), Period(2020, 5)
    load_files(ledger, book, [usage_file(tmp_path, SNAPSHOTS)], nothing)
    rate_period(ledger, book, APRIL)
    issue_here(ledger, book, APRIL, tmp_path / "april", date=dt.date(2020, 6, 1))

    late = HEADER + "s3,disk,p1,,,,2020-04-30,6\nm1,disk,p1,,,,2020-05-01,5\n"
    load_files(ledger, book, [usage_file(tmp_path, late, "late.csv")], nothing)
    rate_period(ledger, book, APRIL)
    # One of three of April, not 6 TB for a whole month
    assert totals(ledger) == {"MIC/s1": 200, "MIC/s2": 400, "MIC/s3": 800}
    rate_period(ledger, book, may)
    assert totals_of(ledger, "2020-05") == {"MIC/m1": 2000, "MIC/s3": 800}

    (invoice,) = issue_here(ledger, book, may, tmp_path / "may", date=dt.date(2020, 6, 1)).values()
    assert [(line["charge"], line["total"]) for line in invoice["lines"]] == [
        ("MIC/s3", "8.00"),
        ("MIC/m1", "20.00"),
    ]
    assert invoice["lines"][0]["steps"][0]["step"] == "snapshot of 6, one of the 3 of its month"


def test_a_snapshot_that_moves_leaves_one_mean_for_another(ledger: Engine, tmp_path: Path) -> None:
    book = price_book(STORED.replace("PER", "snapshot"))
    more = SNAPSHOTS + "t1,disk,p2,,,,2020-04-01,3\n"
    load_files(ledger, book, [usage_file(tmp_path, more)], nothing)
    rate_period(ledger, book, APRIL)
    assert totals(ledger) == {"MIC/s1": 200, "MIC/s2": 400, "MIC/t1": 1200}

    adjust_charge(ledger, book, "MIC/s2", {"project": "p2"}, "of the other project")

    # 1 TB alone; 2 and 3 TB: 10.00
    assert totals(ledger) == {"MIC/s1": 400, "MIC/s2": 400, "MIC/t1": 600}
