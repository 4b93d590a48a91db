"""The checks of a month: each on a small month that has it and on one that has it not."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_facility import BOOK, price_book

from billing_lib.pricing.clock import Period
from billing_lib.pricing.fields import REASONS
from billing_lib.pricing.month_checks import (
    CHECKED,
    CHECKS,
    FOUND,
    INVALID_CODES,
    REMEDIES,
    SHARES,
    SPEND,
    STATED,
    UNBILLED,
    Reviewed,
    duplicates,
    elapsed_times_longer_than_from_start_to_end,
    find,
    implausibly_long_sessions,
    invalid_expense_codes,
    items_frame,
    name_of,
    new_users,
    overlapping_sessions_of_a_user,
    overlapping_sessions_of_an_instrument,
    projects_frame,
    projects_without_usage,
    rates_changed_within_the_month,
    sessions_of_no_length,
    splits_that_do_not_make_100,
    stated_quantities_that_are_not_the_hours,
    told,
    unbilled_usage,
    unusual_spend,
    usage_outside_project_dates,
)
from billing_lib.pricing.pricebook import PriceBook

from .tables import table

DOCS = Path(__file__).parent.parent.parent / "docs"
DATED = BOOK.replace(
    "items:",
    "resources: [{code: room}]\nitems:\n"
    "  - {code: laser, name: Laser, unit: hour, longest_session: 4h}\n"
    "  - {code: cluster, name: Cluster, unit: hour, shared: true}\n"
    "  - {code: night, name: Room at night, unit: hour, resource: room}\n"
    "  - {code: day, name: Room by day, unit: hour, resource: room}",
).replace("code: p2, team", "code: p2, valid_from: 2020-04-02, valid_to: 2020-04-20, team")


def month(
    charges: str = "charge  total",
    shares: str = "charge",
    unbilled: str = "record",
    invalid_codes: str = "charge",
    spend: str = "period",
    book: PriceBook | None = None,
    stated: str = "charge",
) -> Reviewed:
    """April 2020 with these charges; what is left out is an ordinary one's."""
    book = book or price_book(DATED)
    frame = table(charges, CHECKED).with_columns(
        pl.col("kind").fill_null("usage"),
        pl.col("project").fill_null("p1"),
        pl.col("item").fill_null("scope"),
        pl.col("date").fill_null(pl.lit("2020-04-06").str.to_date()),
        pl.col("total").fill_null(100),
        pl.col("judged").fill_null(value=False),
        pl.col("rate_group").fill_null("internal"),
    )
    return Reviewed(
        facility=book.facility,
        period=Period(2020, 4),
        charges=frame,
        stated=table(stated, STATED),
        shares=table(shares, SHARES),
        unbilled=table(unbilled, UNBILLED),
        invalid_codes=table(invalid_codes, INVALID_CODES),
        spend=table(spend, SPEND),
        items=items_frame(book),
        projects=projects_frame(book),
    )


def said(found: pl.DataFrame) -> list[tuple[str, str, list[str]]]:
    """What a check found: about what, its sentence, which charges."""
    return found.select("subject", "sentence", "charges").rows()


OVERLAPPING = """
    charge  item     user  start                      end
    c1      scope    ann   2020-04-06T10:00:00-04:00  2020-04-06T12:00:00-04:00
    c2      scope    bob   2020-04-06T11:30:00-04:00  2020-04-06T13:00:00-04:00
    c3      scope    eve   2020-04-06T13:00:00-04:00  2020-04-06T14:00:00-04:00
    c4      laser    eve   2020-04-06T13:30:00-04:00  2020-04-06T13:40:00-04:00
    c5      cluster  eve   2020-04-06T13:00:00-04:00  2020-04-06T20:00:00-04:00
    c6      cluster  bob   2020-04-06T13:00:00-04:00  2020-04-06T20:00:00-04:00
    c7      night    joe   2020-04-07T05:00:00-04:00  2020-04-07T09:00:00-04:00
    c8      day      sue   2020-04-07T08:00:00-04:00  2020-04-07T10:00:00-04:00
"""


def test_sessions_of_one_instrument_overlap_unless_it_is_shared() -> None:
    found = overlapping_sessions_of_an_instrument(month(OVERLAPPING))
    assert said(found) == [
        (
            "room",  # by day and by night it is one room
            "2 sessions overlap between 2020-04-07 05:00 and 2020-04-07 10:00: joe, sue",
            ["c7", "c8"],
        ),
        (
            "scope",
            "2 sessions overlap between 2020-04-06 10:00 and 2020-04-06 13:00: ann, bob",
            ["c1", "c2"],
        ),
    ]
    assert found["to_change"].to_list() == [["c8"], ["c2"]]
    judged = month(OVERLAPPING)
    judged = replace(judged, charges=judged.charges.with_columns(judged=pl.lit(value=True)))
    assert overlapping_sessions_of_an_instrument(judged).height == 0


def test_a_user_is_at_several_instruments_at_once() -> None:
    found = overlapping_sessions_of_a_user(month(OVERLAPPING))
    assert said(found) == [
        (
            "eve",
            "2 sessions overlap between 2020-04-06 13:00 and 2020-04-06 14:00: laser, scope",
            ["c3", "c4"],
        )
    ]


SESSIONS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 12), st.integers(0, 4)))


@given(SESSIONS)
def test_overlaps_are_those_that_comparing_each_with_each_finds(
    drawn: list[tuple[str, int, int]],
) -> None:
    sessions = [
        (f"c{at:02}", user, first, first + hours) for at, (user, first, hours) in enumerate(drawn)
    ]
    together: dict[str, set[str]] = {}
    for code, _, start, end in sessions:
        others = [
            other
            for other, _, first, last in sessions
            if other != code and start < last and first < end and start < end and first < last
        ]
        for other in others:
            group = together.setdefault(code, {code}) | together.setdefault(other, {other})
            together |= dict.fromkeys(group, group)
    wanted = {frozenset(group) for group in together.values() if len(group) > 1}
    at = "2020-04-06T{:02}:00:00-04:00"
    rows = [f"{code}  {user}  {at.format(a)}  {at.format(b)}" for code, user, a, b in sessions]
    it = month("\n".join(["charge  user  start  end", *rows]))
    found = overlapping_sessions_of_an_instrument(it)
    assert {frozenset(charges) for charges in found["charges"].to_list()} == wanted


def test_long_sessions_are_so_by_their_item_or_the_facility() -> None:
    found = implausibly_long_sessions(
        month("""
        charge  item   user  start                      end
        c1      laser  ann   2020-04-06T10:00:00-04:00  2020-04-06T14:00:00-04:00
        c2      laser  ann   2020-04-07T10:00:00-04:00  2020-04-07T14:30:00-04:00
        c3      scope  bob   2020-04-07T10:00:00-04:00  2020-04-09T10:00:00-04:00
        c4      scope  -     2020-04-10T10:00:00-04:00  2020-04-12T10:00:01-04:00
        """)
    )
    assert said(found) == [
        ("laser", "a session of 4.5 hours from 2020-04-07 10:00 by ann", ["c2"]),
        ("scope", "a session of 48.0 hours from 2020-04-10 10:00 by nobody", ["c4"]),
    ]


def test_sessions_of_no_length_are_told_by_item_and_user() -> None:
    found = sessions_of_no_length(
        month("""
        charge  item   user  start                      end                        judged
        c1      scope  ann   2020-04-06T10:00:00-04:00  2020-04-06T10:00:00-04:00  -
        c2      scope  ann   2020-04-07T10:00:00-04:00  2020-04-07T10:00:00-04:00  -
        c3      scope  ann   2020-04-08T10:00:00-04:00  2020-04-08T10:00:01-04:00  -
        c4      scope  bob   2020-04-08T10:00:00-04:00  2020-04-08T10:00:00-04:00  true
        c5      slide  ann   2020-04-06T10:00:00-04:00  2020-04-06T10:00:00-04:00  -
        """)
    )
    sentence = "2 sessions of no length by ann, the first at 2020-04-06 10:00"
    assert said(found) == [("scope", sentence, ["c1", "c2"])]


MINUTES = """
    charge  item   start                      end                        hours    judged
    c1      scope  2020-04-06T13:00:00-04:00  2020-04-06T14:00:00-04:00  1000000  -
    c2      scope  2020-04-07T13:00:00-04:00  2020-04-07T14:30:00-04:00  1500000  -
    c3      scope  2020-04-08T13:00:00-04:00  2020-04-08T13:20:00-04:00  333333   -
    c4      laser  2020-04-08T13:00:00-04:00  2020-04-08T14:00:00-04:00  1000000  -
    c5      laser  2020-04-08T13:00:00-04:00  2020-04-08T13:00:00-04:00  0        -
    c6      scope  2020-04-08T13:00:00-04:00  2020-04-08T14:00:00-04:00  1000000  true
"""


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        # case 09: minutes as the quantity of an item by the hour
        (
            "c1  60  1\n c2  90  1\n c3  20  1",
            [("scope", "3 charges", "c1: 60 instead of 1", "measure: minutes")],
        ),
        ("c4  3600  1", [("laser", "1 charge", "c4: 3600 instead of 1", "measure: seconds")]),
        ("c4  2  1", [("laser", "1 charge", "c4: 2 instead of 1", "measure in the")]),
        ("c4  0  1", [("laser", "1 charge", "c4: 0 instead of 1", "measure in the")]),
        ("c1  1  1\n c2  1.5  1\n c3  0.33  1", []),  # hours, to hundredths
        ("c1  1  8\n c2  12  8", []),  # hours, and hours × units
        ("c3  0.3  1", [("scope", "1 charge", "c3: 0.3 instead of 0.333333", "measure in the")]),
        ("c5  60  1", []),  # of no length: only the quantity says how long it was
        ("c6  60  1", []),  # staff have judged it
    ],
)
def test_a_stated_quantity_of_usage_by_the_hour_is_its_hours(
    stated: str, found: list[tuple[str, str, str, str]]
) -> None:
    it = month(MINUTES, stated=f"charge  stated  units\n {stated}")
    result = stated_quantities_that_are_not_the_hours(it)
    assert result["subject"].to_list() == [subject for subject, *_ in found]
    for row, (_, count, example, remedy) in zip(result.iter_rows(named=True), found, strict=True):
        assert row["severity"] == "error"
        assert row["sentence"] == (
            f"{count} with another quantity than the hours, for example {example}"
        )
        assert remedy in row["remedy"]


def test_an_elapsed_time_is_not_longer_than_from_start_to_end() -> None:
    found = elapsed_times_longer_than_from_start_to_end(
        month("""
        charge  item   start                      end                        hours
        c1      scope  2020-04-06T13:00:00-04:00  2020-04-06T14:00:00-04:00  1000000
        c2      scope  2020-04-06T13:00:00-04:00  2020-04-06T14:00:00-04:00  1000250
        c3      scope  2020-04-06T13:00:00-04:00  2020-04-06T14:00:00-04:00  16000000
        c4      scope  2020-04-06T13:00:00-04:00  2020-04-06T14:00:00-04:00  200000
        """)
    )
    sentence = (
        "1 charge with an elapsed time, of 16 hours at most, longer than from start to end, "
        "for example c3"
    )
    assert said(found) == [("scope", sentence, ["c3"])]
    assert found["severity"].to_list() == ["warning"]


def test_duplicates_differ_in_nothing_but_their_id() -> None:
    found = duplicates(
        month("""
        charge  item   user  date        quantity  description
        c1      slide  ann   2020-04-06  12        blue
        c2      slide  ann   2020-04-06  12        blue
        c3      slide  ann   2020-04-06  12        red
        c4      slide  ann   2020-04-07  12        blue
        c5      slide  bob   2020-04-06  12        blue
        """)
    )
    (one,) = said(found)
    assert one[2] == ["c1", "c2"]
    assert "2 charges by ann on 2020-04-06 for p1" in one[1]
    assert found.select("to_change", "field", "value", "total").row(0) == (
        ["c2"], "waived", "yes", 200,
    )  # fmt: skip


def test_usage_outside_a_projects_dates() -> None:
    found = usage_outside_project_dates(
        month("""
        charge  project  date
        c1      p2       2020-04-01
        c2      p2       2020-04-02
        c3      p2       2020-04-20
        c4      p2       2020-04-21
        c5      p1       2020-04-30
        """)
    )
    sentence = (
        "2 charges from 2020-04-01 to 2020-04-21, "
        "and the project lasts from 2020-04-02 to 2020-04-20"
    )
    assert said(found) == [("p2", sentence, ["c1", "c4"])]


def test_codes_that_may_not_be_charged_are_told_with_what_would_set_them_right() -> None:
    it = month(
        "charge  total\n c1  500\n c2  700\n c3  900",
        shares="""charge  expense_code  percent
            c1  A  1000000
            c2  A  600000
            c2  B  400000
            c3  C  1000000""",
        invalid_codes="charge  expense_code  problem\n c1  A  expired\n c2  B  unknown",
    )
    found = invalid_expense_codes(it)
    assert said(found) == [
        ("B", "1 charge of p1: unknown", ["c2"]),
        ("A", "1 charge of p1: expired", ["c1"]),
    ]
    assert found["field"].to_list() == ["split", "expense_code"]
    assert set(found["severity"]) == {"error"}


def test_splits_must_make_100() -> None:
    found = splits_that_do_not_make_100(
        month(
            "charge  total\n c1  1\n c2  1\n c3  1",
            shares="""charge  expense_code  percent
            c1  A  333333
            c1  B  666667
            c2  A  333333
            c2  B  666666""",
        )
    )
    assert [(sentence, charges) for _, sentence, charges in said(found)] == [
        ("1 charge whose split makes 0 %", ["c3"]),
        ("1 charge whose split makes 99.9999 %", ["c2"]),
    ]


def test_a_rate_that_changed_within_the_month() -> None:
    found = rates_changed_within_the_month(
        month("""
        charge  item   rate  price  date        rate_group
        c1      slide  f1    1.25   2020-04-02  internal
        c2      slide  f2    1.30   2020-04-16  internal
        c3      slide  f1    1.25   2020-04-15  internal
        c4      slide  f3    2      2020-04-15  partner
        c5      scope  f4    40     2020-04-15  internal
        """)
    )
    sentence = "for internal the price is 1.25 from 2020-04-02, 1.3 from 2020-04-16"
    assert said(found) == [("slide", sentence, ["c1", "c2", "c3"])]
    assert found.select("to_change", "field", "value").row(0) == (["c1", "c3"], "rate", "1.3")


def before(*totals: int, project: str = "p1", user: str = "ann") -> str:
    rows = [
        f"{2019 if at > 3 else 2020}-{(3 - at) % 12 + 1:02}  {project}  {user}  {total}"
        for at, total in enumerate(totals, start=1)
    ]
    return "\n".join(["period  project  user  total", *rows])


@pytest.mark.parametrize(
    ("now", "history", "score"),
    [
        # the median is 100, the distances 10, 0, 10, 20, 0: their median 10, 0.6745 × 53 ÷ 10
        (153, (110, 100, 90, 120, 100), "3.6"),
        (151, (110, 100, 90, 120, 100), None),  # 3.44, less than 3.5
        (47, (110, 100, 90, 120, 100), "-3.6"),
        (999, (110, 100, 90), None),  # three months tell nothing
        # half of the months are equal: the mean distance 4 takes over, 25 ÷ (1.253314 × 4)
        (125, (100, 100, 100, 100, 120), "5.0"),
        (101, (100, 100, 100, 100), "inf"),  # was always the same
        (100, (100, 100, 100, 100), None),
    ],
)
def test_spend_is_unusual_by_a_robust_z_score(
    now: int, history: tuple[int, ...], score: str | None
) -> None:
    found = unusual_spend(month(f"charge  total\n c1  {now}", spend=before(*history)))
    if score is None:
        assert found.height == 0
    else:
        assert f"(robust z-score {score})" in found["sentence"].item()


def test_a_month_without_usage_counts_as_nothing_for_a_project_that_others_outlived() -> None:
    spend = before(100, 100, 100, 100, 100, project="p2") + "\n2019-11  p1  ann  400"
    found = unusual_spend(month("charge  total\n c1  400", spend=spend))
    assert "median of 5 months before is 0.00 USD" in found["sentence"].item()


def test_new_users_and_projects_that_fell_silent() -> None:
    it = month(
        "charge  user  project\n c1  ann  p1\n c2  new  p1\n c3  -  p1",
        spend=before(100, 200) + "\n2020-03  p2  eve  50\n2020-02  p3  eve  50",
    )
    assert said(new_users(it)) == [("new", "1 charge, 1.00 USD, for p1", ["c2"])]
    assert said(projects_without_usage(it)) == [("p2", "0.50 USD in 2020-03, nothing now", [])]
    assert new_users(month("charge  user\n c1  ann")).height == 0  # the ledger's first month


def test_unbilled_usage_is_told_by_reason_with_its_remedy() -> None:
    found = unbilled_usage(
        month(unbilled="record  reason  detail\n r1  no_rate  no rate for x\n r2  no_rate  -")
    )
    assert found.select("subject", "sentence", "records").row(0) == (
        "no_rate",
        "2 records, for example: no rate for x",
        ["r1", "r2"],
    )
    assert set(REMEDIES) == set(REASONS)


def test_a_finding_keeps_its_key_as_long_as_it_is_the_same() -> None:
    once, again = find(month(OVERLAPPING)), find(month(OVERLAPPING))
    assert once.schema == FOUND
    assert once["key"].is_unique().all()
    assert once.equals(again)
    more = OVERLAPPING + "    c9  scope  joe  2020-04-06T11:00:00-04:00  2020-04-06T11:10:00-04:00"
    other = find(month(more))
    changed = other.join(once, on="key", how="anti").filter(pl.col("severity") == "warning")
    assert changed["subject"].to_list() == ["scope"]


def test_an_ordinary_month_and_an_empty_one_have_no_findings() -> None:
    ordinary = month(
        """
        charge  item   user  start                      end                        rate
        c1      scope  ann   2020-04-06T10:00:00-04:00  2020-04-06T12:00:00-04:00  f1
        c2      scope  bob   2020-04-06T12:00:00-04:00  2020-04-06T13:00:00-04:00  f1
        """,
        shares="charge  expense_code  percent\n c1  A  1000000\n c2  A  1000000",
        spend=before(100, 200, 100, 200) + "\n2020-03  p1  bob  50",
    )
    assert said(find(ordinary)) == []
    assert find(month()).height == 0


def test_every_check_is_documented_as_staff_read_it() -> None:
    documented = (DOCS / "checks.md").read_text()
    for check in CHECKS:
        assert f"| {name_of(check)} | {told(check)} |" in documented
    for reason, remedy in REMEDIES.items():
        assert f"| `{reason}` | {remedy} |" in documented


def test_no_check_compares_each_with_each() -> None:
    """A hundred thousand charges of one instrument: ten thousand million pairs take for ever."""
    count = 100_000
    starts = pl.int_range(count, eager=True).shuffle(7) * 20_000_000
    first = month("charge  start\n c1  2020-04-01T00:00:00-04:00").charges
    at = first["start"][0]
    numbers = pl.int_range(count, eager=True)
    charges = first.drop("charge", "start", "end", "user", "item").join(
        pl.DataFrame(
            {
                "charge": pl.select(pl.format("RC/{}", numbers)).to_series(),
                "user": pl.select(pl.format("u{}", numbers % 500)).to_series(),
                "start": pl.select(pl.lit(at) + starts.cast(pl.Duration("us"))).to_series(),
            }
        ).with_columns(end=pl.col("start") + pl.duration(minutes=5), item=pl.lit("scope")),
        how="cross",
    )
    it = replace(month(), charges=charges.select(CHECKED.names()))
    found = find(it)
    assert (
        found.filter(pl.col("check") == "overlapping sessions of an instrument")["charges"]
        .list.len()
        .sum()
        > 0.9 * count
    )
