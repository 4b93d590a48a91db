"""Finding invoices and charges: each filter, and filters together, as a search row by row finds."""

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_invoices import BOOKS, Rows, fill
from sample_logins import hand_over
from sqlalchemy import Engine

from billing_lib.errors import InvalidFilter, NotPermitted
from billing_lib.ledger.database import open_ledger, reading
from billing_lib.ledger.search import CHARGE_ROWS, INVOICE_ROWS
from billing_lib.ledger.states import INVOICE, states
from billing_lib.workflow.search import (
    KINDS,
    STATES_OF_ROWS,
    VIEWS,
    Filter,
    Page,
    find_charges,
    find_codes,
    find_invoices,
)

# One worker makes the ledger of each kind, and tests all of it.
pytestmark = pytest.mark.xdist_group("finding")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """Invoices in every state, on each database; nobody writes into it."""
    folder = tmp_path_factory.mktemp("filled")
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("sqlite_template"), folder / "billing.db")
        url = f"sqlite:///{folder / 'billing.db'}"
    else:
        new: Callable[[str], str] = request.getfixturevalue("new_postgresql")
        url = new(request.getfixturevalue("postgresql_template"))
    engine = open_ledger(url)
    fill(engine, folder)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def rows(filled: Engine) -> Rows:
    """All that the ledger holds."""
    return Rows.read(filled)


VALUES: dict[str, tuple[Any, ...]] = {
    "facility": ("MIC", "YEN", "RC"),
    "team": ("bio", "smith", "lee", "chem", "kim", "nobody"),
    "project": ("open", "superseded", "other", "tokyo", "none"),
    "run": ("MIC-2020-04-1", "MIC-2020-04-2", "MIC-2020-05-1", "YEN-2020-04-1", "none"),
    "number": ("MIC-2021-00002", "2021", "00003", "po-1", "/OPEN", "superseded-1~", "-", "_"),
    "reference": ("PO-12", "PO-13", "po-12"),
    "states": (*((state,) for state in STATES_OF_ROWS), ("OPEN", "PAID"), ("BILLED", "VOID")),
    "kinds": (*((kind,) for kind in KINDS), ("ad hoc", "reissue")),
    "empty": (True, False),
    "total_from": ("-20.00", "-19.999", "0", "10.00", "11.25", "11.255", "20", "150.000001"),
    "total_to": ("-20.001", "0.00", "6.245", "6.25", "11.25", "19.99", "20.5", "99999999999999"),
    "period_from": ("2020-01", "2020-04", "2020-05", "2021-01"),
    "period_to": ("2020-03", "2020-04", "2020-05"),
    "user": ("ann", "bob", "Ann", "nobody"),
    "item": ("scope", "slide", "none"),
    "date_from": ("2020-01-01", "2020-04-08", "2020-05-02", "2021-01-01"),
    "date_to": ("2020-01-01", "2020-04-07", "2020-04-08", "2020-12-31"),
    "expense_code": ("370-2", "open-1", "paid-1", "T-9", "none"),
    "text": (
        *("laser", "LASER", "müller", "MÜLLER", "übergabe", "TRAINING, two", "supersede", "a"),
        *('sagt "GUT"', "line\\one", "ne\\O", "50% of", "50_", "[erl", "]", "note", "why_n", "(by"),
    ),
    "view": tuple(VIEWS),
}
"""Values of each filter: such as are there, some that are not, and what a pattern could mistake."""


def of_invoices(stated: dict[str, Any]) -> bool:
    return all(state in states(INVOICE) for state in stated.get("states", ()))


def check(filled: Engine, rows: Rows, stated: dict[str, Any]) -> bool:
    """Compare with the search row by row; whether anything matches."""
    wanted = Filter.parse(stated)
    charges = find_charges(filled, wanted, BOOKS)
    expected = rows.matching_charges(wanted)
    assert sorted(charges.texts()["charge"]) == expected
    assert charges.count == len(expected)
    if not of_invoices(stated):
        with pytest.raises(InvalidFilter, match="no invoice is ever"):
            find_invoices(filled, wanted, BOOKS)
        return bool(expected)
    with reading(filled) as connection:
        codes = find_codes(connection, wanted, BOOKS)
    assert codes == rows.matching_invoices(wanted)
    invoices = find_invoices(filled, wanted, BOOKS)
    assert sorted(invoices.rows.select("facility", "invoice").iter_rows()) == codes
    assert invoices.count == len(codes)
    sums: dict[str, int] = {}
    uncounted = 0
    for row in rows.invoices:
        if (row["facility"], row["code"]) in codes:
            currency = rows.currencies[row["facility"]]
            counts = row["state"] not in ("CLOSED", "VOID", "SUPERSEDED")
            counts = counts and (row["number"] or not row["replaces"])  # a draft that repeats one
            uncounted += not counts
            sums[currency] = sums.get(currency, 0) + (row["total"] if counts else 0)
    assert invoices.totals == sums
    assert invoices.uncounted == uncounted
    return bool(codes or expected)


def test_the_ledger_holds_an_invoice_in_every_state(rows: Rows) -> None:
    assert {row["state"] for row in rows.invoices} == set(states(INVOICE))
    assert {row["kind"] for row in rows.invoices} == {"periodic", "ad hoc"}
    assert any(row["replaces"] for row in rows.invoices)
    assert {row["state"] for row in rows.charges} == {"PENDING", "BILLED", "PAID", "CANCELLED"}
    assert {row["charges"] == 0 for row in rows.invoices} == {True, False}
    assert min(row["total"] for row in rows.invoices) < 0


@pytest.mark.parametrize("name", VALUES)
def test_each_filter_alone(filled: Engine, rows: Rows, name: str) -> None:
    found = [check(filled, rows, {name: value}) for value in VALUES[name]]
    assert any(found)


def in_order(stated: dict[str, Any]) -> bool:
    try:
        Filter.parse(stated)
    except InvalidFilter:
        return False
    return True


FILTERS = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(values) for name, values in VALUES.items()}
).filter(in_order)


def test_filters_together(filled: Engine, rows: Rows) -> None:
    matched = 0

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(FILTERS, st.data())
    def some_together(stated: dict[str, Any], data: st.DataObject) -> None:
        nonlocal matched
        keep = data.draw(
            st.sets(st.sampled_from(sorted(stated)), max_size=3) if stated else st.just(set())
        )
        matched += check(filled, rows, {name: stated[name] for name in keep})

    some_together()
    assert matched > 10


def test_the_views_say_of_each_invoice_whether_it_is_finished(filled: Engine, rows: Rows) -> None:
    assert sorted(VIEWS["live"].states + VIEWS["complete"].states) == sorted(states(INVOICE))
    found = {
        name: find_invoices(filled, Filter(view=name)).rows["project"].to_list() for name in VIEWS
    }
    assert len(found["live"]) + len(found["complete"]) == len(rows.invoices)
    assert found["ready"] == ["approving", "kyoto"]
    # in error, sent back, kept out; PO-13 is empty and PO-14 below zero
    assert sorted(found["problems"]) == ["error", "other", "other", "quarantined", "rejected"]


SORTS = [(INVOICE_ROWS, name) for name in INVOICE_ROWS.sorts] + [
    (CHARGE_ROWS, name) for name in CHARGE_ROWS.sorts
]


@pytest.mark.parametrize("falling", ["", "-"])
def test_pages_cover_all_once_whatever_the_order(filled: Engine, falling: str) -> None:
    """Those that follow a row, with nulls and ties; by number too, from either end."""
    for listing, name in SORTS:
        find, key = (
            (find_invoices, ("facility", "invoice"))
            if listing is INVOICE_ROWS
            else (find_charges, ("facility", "charge"))
        )
        sort = (f"{falling}{name}", "-total")
        whole = find(filled, Filter(), page=Page(sort=sort))
        pages = [find(filled, Filter(), page=Page(1, 4, sort))]
        while pages[-1].last is not None:
            pages.append(find(filled, Filter(), page=Page(1, 4, sort, after=pages[-1].last)))
        turned = list(chain.from_iterable(page.rows.to_dicts() for page in pages))
        assert turned == whole.rows.to_dicts()
        keys = [tuple(row[column] for column in key) for row in turned]
        assert len(set(keys)) == len(keys) == whole.count
        for number in (2, -(-whole.count // 4) - 1, -(-whole.count // 4)):
            page = find(filled, Filter(), page=Page(number, 4, sort))
            assert page.rows.to_dicts() == turned[4 * number - 4 : 4 * number]
            assert (page.totals, page.pages) == (whole.totals, pages[0].pages)


def test_a_page_follows_a_row_in_a_narrowed_search_too(filled: Engine) -> None:
    wanted = Filter.parse({"facility": "MIC", "period_from": "2020-04", "period_to": "2020-04"})
    for sort in (("project", "date"), ("-date",), ("-total", "charge")):
        whole = find_charges(filled, wanted, page=Page(sort=sort)).texts()["charge"].to_list()
        for at, row in enumerate(whole):
            after = (row.partition("/")[0], row.partition("/")[2])
            page = find_charges(filled, wanted, page=Page(1, 3, sort, after))
            assert page.texts()["charge"].to_list() == whole[at + 1 : at + 4]
            assert page.count == page.pages == 0
    assert page.sentence("charge") == "0 further charges on this page"


def test_rows_are_in_order_what_is_missing_last_ties_by_facility_and_code(
    filled: Engine, rows: Rows
) -> None:
    def sorted_by(*sort: str) -> list[tuple[str, str]]:
        found = find_invoices(filled, Filter(), page=Page(sort=sort)).rows
        return list(found.select("facility", "invoice").iter_rows())

    by_key = sorted(rows.invoices, key=lambda row: (row["facility"], row["code"]))
    keys = lambda ordered: [(row["facility"], row["code"]) for row in ordered]  # noqa: E731
    assert sorted_by() == keys(sorted(by_key, key=lambda row: row["number"] or "~"))
    assert sorted_by("-total") == keys(sorted(by_key, key=lambda row: -row["total"]))
    assert sorted_by("state", "-project") == keys(
        sorted(
            sorted(by_key, key=lambda row: row["project"], reverse=True),
            key=lambda row: row["state"],
        )
    )
    issued = [row for row in by_key if row["number"]]
    dated = {
        row["invoice"]: row["invoice_date"]
        for row in find_invoices(filled, Filter()).rows.to_dicts()
    }
    assert len({dated[row["code"]] for row in issued}) == 1
    drafts = [row for row in by_key if not row["number"]]
    assert sorted_by("-date") == sorted_by("date") == keys([*issued, *drafts])


def test_it_is_said_how_much_there_is(filled: Engine) -> None:
    lee = Filter.parse({"team": "lee", "kinds": ["periodic"]})
    # approved 3 and 11 slides, rejected 6 and 14, paid 10 and 18 at 1.25; tokyo 8, kyoto 16 at 1
    found = find_invoices(filled, lee, BOOKS)
    assert found.sentence("invoice") == "5 invoices, total 30 JPY, 77.50 USD"
    assert find_invoices(filled, lee, BOOKS, Page(2, 3)).sentence("invoice") == (
        "page 2 of 2, 5 invoices, total 30 JPY, 77.50 USD"
    )
    assert find_invoices(filled, Filter(project="none")).sentence("invoice") == "no invoices"
    amounts = found.texts().filter(pl.col("facility") == "YEN")
    assert amounts.select("total", "currency").rows() == [("20", "JPY"), ("10", "JPY")]
    gone = find_invoices(filled, Filter.parse({"states": ["VOID", "CLOSED"]}))
    assert gone.sentence("invoice") == (
        "2 invoices, total 0.00 USD; 2 of them closed, void, replaced or repeated, not in the total"
    )
    of_them = [find_charges(filled, Filter.parse({"states": [it]})) for it in ("VOID", "CLOSED")]
    assert [(it.count, it.uncounted, it.totals) for it in of_them] == [(2, 2, {"USD": 0})] * 2


def test_the_teams_below_are_left_out_when_asked(filled: Engine) -> None:
    both = find_invoices(filled, Filter.parse({"team": "bio"}), BOOKS).rows["team"].unique()
    assert both.len() > 1
    alone = find_invoices(filled, Filter.parse({"team": "bio", "only_team": True}), BOOKS)
    assert alone.rows["team"].unique().to_list() in ([], ["bio"])


def test_csv_says_what_json_says(filled: Engine, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    from billing_lib.cli.app import Shown  # noqa: PLC0415

    for find, noun in ((find_invoices, "invoices"), (find_charges, "charges")):
        found = find(filled, Filter())
        said = {}
        for kind in ("json", "csv"):
            shown = Shown(None, None, (), as_json=kind == "json", as_csv=kind == "csv")
            shown.say(found, noun, noun, ())
            said[kind] = capfdbinary.readouterr().out.decode()
        assert said["csv"].count("\r\n") == said["csv"].count("\n") == found.count + 1
        read = list(csv.DictReader(io.StringIO(said["csv"], newline="")))
        assert read == [
            {name: "" if value is None else str(value) for name, value in row.items()}
            for row in json.loads(said["json"])
        ]


MISTAKES = {
    "a word for a state": ({"states": ["LOST"]}, "states: 'LOST' is no state; it is one of OPEN,"),
    "a word for a kind": ({"kinds": ["weekly"]}, "'weekly' is no kind of invoice"),
    "a word for a view": ({"view": "mine"}, "view: 'mine' is no view; it is one of live, ready"),
    "a word for an amount": ({"total_from": "ten"}, "total from: 'ten' is no amount"),
    "a month that is none": ({"period_to": "2020-13"}, "'2020-13' is not a period"),
    "nothing between": ({"total_from": "2", "total_to": "1.5"}, "the total is from 2 to 1.5, so"),
    "an empty text": ({"text": ""}, "text: an empty text finds nothing"),
    "a byte that is no text": ({"text": "a\udcff"}, "control character"),
    "what nothing has": ({"colour": "red"}, "colour"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_filter_that_cannot_be(case: str) -> None:
    stated, sentence = MISTAKES[case]
    with pytest.raises(InvalidFilter) as said:
        Filter.parse(stated)
    assert sentence in str(said.value)


def test_pages_and_orders_that_there_are_not(filled: Engine) -> None:
    for page, sentence in (
        (Page(9, 4), "there is no page 9; the last one is"),
        (Page(0, 4), "counted from 1"),
        (Page(1, 0), "counted from 1"),
        (Page(sort=("-colour",)), "the list cannot be sorted by 'colour'"),
        (Page(1, 4, after=("MIC", "none")), "there is no row MIC/none to continue after"),
        (Page(after=("MIC", "none")), "a page that follows a row has a size, and no number"),
    ):
        with pytest.raises(InvalidFilter, match=sentence):
            find_invoices(filled, Filter(), page=page)
    assert find_invoices(filled, Filter(project="none"), page=Page(1, 4)).pages == 1


def test_a_lab_sees_what_was_issued_to_it_and_no_cost(ledger: Engine, tmp_path: Path) -> None:
    fill(ledger, tmp_path)
    everything = find_invoices(ledger, Filter()).rows
    hand_over(ledger, "MIC", ("lab_administrator", "lee"))
    found = find_invoices(ledger, Filter()).rows
    assert found["project"].to_list() == ["approved", "paid", "kyoto", "tokyo"]
    mine = found.filter(found["facility"] == "MIC")
    assert everything.filter(everything["project"] == "paid")["reason"].to_list() == ["paid"]
    assert mine["reason"].null_count() == mine["cost"].null_count() == mine.height
    assert set(find_charges(ledger, Filter()).texts()["charge"]) == {"YEN/y1", "YEN/y2"}
    hand_over(ledger, "YEN")
    assert find_invoices(ledger, Filter(facility="MIC")).count == 2
    with pytest.raises(NotPermitted, match="may not do this in YEN: it takes the role viewer"):
        find_invoices(ledger, Filter(facility="YEN"))
