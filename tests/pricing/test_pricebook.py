"""The price book: what is refused at the edge, so that nothing behind it need ask."""

import datetime as dt
import re
from decimal import Decimal
from pathlib import Path

import pytest

from billing_lib.errors import InvalidPriceBook
from billing_lib.pricing.fields import step_microseconds
from billing_lib.pricing.pricebook import Facility, PriceBook
from billing_lib.pricing.rates import Rate

from .small_book import text

SECOND = 1_000_000
BLOCK = """
  - {item: scope, group: internal, price: "40.00"}
  - {item: slide, group: internal, price: "1.25", minimum: "2.00"}"""


def book(**sections: str) -> PriceBook:
    return PriceBook.parse(text(period="", **sections), "book.yml")


def refusal(**sections: str) -> str:
    with pytest.raises(InvalidPriceBook) as refused:
        book(**sections)
    sentence = str(refused.value)
    assert "\n" not in sentence
    return sentence


def rate(**keys: str) -> Rate:
    return Rate.model_validate({"item": "slide", "group": "internal", "price": "1.25"} | keys)


def test_a_price_book_is_read_exactly() -> None:
    read = book(rates=BLOCK)

    assert [price.price for price in read.rates] == [Decimal("40.00"), Decimal("1.25")]
    assert read.rates[1].minimum == Decimal("2.00")
    assert [item.unit for item in read.items] == ["hour", "each"]
    assert [(s.expense_code, s.percent) for s in read.projects[0].split] == [
        ("A", Decimal(60)),
        ("B", Decimal(40)),
    ]


def test_the_price_book_that_ships_is_one() -> None:
    path = Path(__file__).parents[2] / "parameters" / "research-computing.yml"

    assert PriceBook.parse(path.read_text(encoding="utf-8"), path.name).facility.code == "RC"


def test_a_project_pays_by_its_own_group_before_its_types() -> None:
    split = 'split: [{expense_code: A, percent: "100"}]'
    read = book(
        projects=f"[{{code: p, team: smith, type: faculty, {split}}}, "
        f"{{code: q, team: smith, type: faculty, rate_group: industry, {split}}}]"
    )

    assert [read.rate_group(project) for project in read.projects] == ["internal", "industry"]


# one mistake each: section, what it says, and the sentence
MISTAKES = [
    (
        "rates",
        '\n  - {item: slide, group: internal, price: "1.00"}'
        '\n  - {item: scope, group: internal, price: "2.00"}'
        '\n  - {item: slide, group: internal, price: "3.00", valid_from: 2020-04-01}',
        "book.yml, line 6, rates[3]: two rates for item 'slide' and group 'internal' are both "
        "valid on 2020-04-01, this one and the one at book.yml, line 4, rates[1]; "
        "end one before the other starts",
    ),
    (
        "rates",
        '[{item: slide, group: g, price: "1", valid_from: 2020-01-01, valid_to: 2020-06-30}, '
        '{item: slide, group: g, price: "1", valid_from: 2020-06-30}]',
        "book.yml, line 3, rates[2]: two rates for item 'slide' and group 'g' are both valid on "
        "2020-06-30, this one and the one at book.yml, line 3, rates[1]; "
        "end one before the other starts",
    ),
    (
        "rates",
        '[{item: slide, group: g, price: "1", valid_from: 2020-06-30, valid_to: 2020-06-29}]',
        "book.yml, line 3, rates[1].valid_to: the rate ends before it starts",
    ),
    (
        "rates",
        '[{item: slide, group: g, price: "-0.01"}]',
        "book.yml, line 3, rates[1].price: the price '-0.01' is negative",
    ),
    (
        "rates",
        '[{item: slide, group: g, price: "0.0000001"}]',
        "book.yml, line 3, rates[1].price: the price '0.0000001' has more than 6 decimal places",
    ),
    (
        "rates",
        '[{item: slide, group: g, price: "1e3"}]',
        "book.yml, line 3, rates[1].price: "
        "'1e3' is no price; write it in digits, such as \"12.50\"",
    ),
    (
        "rates",
        '[{item: slide, group: g, price: "100000000000000"}]',
        "book.yml, line 3, rates[1].price: the price '100000000000000' has more than 14 digits",
    ),
    (
        "rates",
        '[{item: slide, group: g, price: "1", minimum: "0.001"}]',
        "book.yml, line 3, rates[1].minimum: the minimum '0.001' has more than 2 decimal places",
    ),
    (
        "rates",
        '[{item: slide, group: g, price: "1", minimum: "-1"}]',
        "book.yml, line 3, rates[1].minimum: the price '-1' is negative",
    ),
    (
        "rates",
        '[{item: slide, group: g, price: "1", rounding_step: 15 minutes}]',
        "book.yml, line 3, rates[1].rounding_step: "
        "'15 minutes' is not a step; write it as 30s, 15min or 1h",
    ),
    (
        "rates",
        '[{item: slide, group: g, price: "1", valid_from: 86400}]',
        "book.yml, line 3, rates[1].valid_from: '86400' is not a date; write it as YYYY-MM-DD",
    ),
    (
        "rates",
        '[{item: slide, group: g, price: "1", valid_from: 2020-02-30}]',
        "book.yml, line 3, rates[1].valid_from: '2020-02-30' is not a date; write it as YYYY-MM-DD",
    ),
    (
        "rates",
        '[{item: slides, group: g, price: "1"}]',
        "book.yml, line 3, rates[1].item: the item 'slides' is not defined; "
        "define it or correct its spelling",
    ),
    (
        "rates",
        "[{item: slide, group: g}]",
        "book.yml, line 3, rates[1].price: the key 'price' is missing; add it",
    ),
    (
        "rates",
        '[{item: "", group: g, price: "1"}]',
        "book.yml, line 3, rates[1].item: '' cannot be: string should have at least 1 character",
    ),
    (
        "items",
        "[{code: scope, name: A, unit: hour}, {code: scope, name: B, unit: each}]",
        "book.yml, line 2, items[2].code: the code 'scope' stands twice under 'items'; "
        "give each its own code",
    ),
    (
        "teams",
        "[{code: smith, name: A}, {code: smith, name: B}]",
        "book.yml, line 5, teams[2].code: the code 'smith' stands twice under 'teams'; "
        "give each its own code",
    ),
    (
        "project_types",
        "[{code: faculty, rate_group: a}, {code: faculty, rate_group: b}]",
        "book.yml, line 4, project_types[2].code: the code 'faculty' stands twice under "
        "'project_types'; give each its own code",
    ),
    (
        "projects",
        '\n  - {code: p, team: jones, type: faculty, split: [{expense_code: A, percent: "100"}]}',
        "book.yml, line 7, projects[1].team: the team 'jones' is not defined; "
        "define it or correct its spelling",
    ),
    (
        "projects",
        '[{code: p, team: smith, type: guest, split: [{expense_code: A, percent: "100"}]}]',
        "book.yml, line 6, projects[1].type: the project type 'guest' is not defined; "
        "define it or correct its spelling",
    ),
    (
        "projects",
        "\n  - code: p\n    team: smith\n    type: faculty\n    split:"
        '\n      - {expense_code: A, percent: "60"}\n      - {expense_code: B, percent: "39"}',
        "book.yml, line 10, projects[1].split: the split makes 99 %; its percentages must make 100",
    ),
    (
        "projects",
        "[{code: p, team: smith, type: faculty, split: []}]",
        "book.yml, line 6, projects[1].split: the split makes 0 %; its percentages must make 100",
    ),
    (
        "projects",
        "[{code: p, team: smith, type: faculty, split: "
        '[{expense_code: A, percent: "99.99999"}, {expense_code: B, percent: "0.00001"}]}]',
        "book.yml, line 6, projects[1].split[1].percent: "
        "the percentage '99.99999' has more than 4 decimal places (and 1 more)",
    ),
    (
        "projects",
        "[{code: p, team: smith, type: faculty, split: "
        '[{expense_code: A, percent: "110"}, {expense_code: B, percent: "-10"}]}]',
        "book.yml, line 6, projects[1].split: every percentage of a split must be above zero",
    ),
    (
        "projects",
        "[{code: p, team: smith, type: faculty, split: "
        '[{expense_code: A, percent: "50"}, {expense_code: A, percent: "50"}]}]',
        "book.yml, line 6, projects[1].split: the split names an expense code twice",
    ),
    (
        "facility",
        "{code: RC, name: Computing, currency: USD, timezone: America/Boston}",
        "book.yml, line 1, facility.timezone: the time zone 'America/Boston' is unknown; "
        "use a name such as America/New_York",
    ),
    (
        "facility",
        "{code: RC, name: Computing, currency: XYZ, timezone: UTC}",
        "book.yml, line 1, facility.currency: 'XYZ' is not a currency code of ISO 4217",
    ),
    (
        "facility",
        "{code: RC, name: Computing, currency: XAU, timezone: UTC}",
        "book.yml, line 1, facility.currency: "
        "'XAU' has no minor units, so nothing can be billed in it",
    ),
    (
        "facility",
        "{code: RC, name: Computing, currency: GBP, timezone: Europe/London, country: UK}",
        "book.yml, line 1, facility.country: "
        "'UK' is not a country code of ISO 3166-1, such as US or GB",
    ),
    (
        "facility",
        "{code: RC, name: Computing, currency: USD, timezone: UTC, "
        "approval: {reviewers: [[ann, amy], bob], two_persons: true}}",
        "book.yml, line 1, facility.approval.reviewers[2]: the price book asks for two persons, "
        "but only bob may approve step 2, and nobody could approve what bob changes; "
        "name a second reviewer for this step, or leave two_persons out",
    ),
    (
        "rates",
        '[{item: slide, group: g, price: "1"}, {item: slide, group: g, price: "1"}]',
        "book.yml, line 3, rates[2]: two rates for item 'slide' and group 'g' are both valid at "
        "the same time, without a valid_from, this one and the one at book.yml, line 3, rates[1]; "
        "end one before the other starts",
    ),
    (
        "facility",
        "{code: RC, name: Computing, currency: USD, timezone: UTC, fiscal_year_start: 13}",
        "book.yml, line 1, facility.fiscal_year_start: "
        "'13' cannot be: input should be less than or equal to 12",
    ),
    (
        "facility",
        "{code: ../RC, name: Computing, currency: USD, timezone: UTC}",
        "book.yml, line 1, facility.code: '../RC' cannot be: "
        "string should match pattern '^[A-Za-z0-9][A-Za-z0-9_.-]*$'",
    ),
]


@pytest.mark.parametrize(("section", "says", "sentence"), MISTAKES)
def test_a_mistake_is_refused_in_a_sentence_with_file_line_and_key(
    section: str, says: str, sentence: str
) -> None:
    assert refusal(**{section: says}) == sentence


@pytest.mark.parametrize(
    "zone", ["localtime", "Factory", "posix/UTC", "America", "", "../etc", "x" * 300]
)
def test_a_time_zone_that_only_one_machine_knows_is_unknown(zone: str) -> None:
    refused = refusal(facility=f'{{code: RC, name: Computing, currency: USD, timezone: "{zone}"}}')

    assert refused.startswith(f"book.yml, line 1, facility.timezone: the time zone '{zone}' is")


@pytest.mark.parametrize(
    ("section", "says", "key", "line"),
    [
        ("packages", "[{code: starter}]", "packages", 7),
        ("rules", "[{name: cap, scope: invoice, kind: cap, amount: '1', prio: '2'}]", "prio", 7),
        ("resources", "[{code: scope-1, capacity: '2'}]", "capacity", 7),
        ("rates", BLOCK.replace('"40.00"', '"40.00", surge: "25.00"'), "surge", 4),
        ("rates", BLOCK.replace('"2.00"', '"2.00", maximum: "5.00"'), "maximum", 5),
        ("rates", BLOCK.replace('price: "40.00"', "tires: {mode: volume}"), "tires", 4),
        ("items", "[{code: scope, name: M, unit: hour, room: scope-1}]", "room", 2),
        ("project_types", "[{code: faculty, rate_group: internal, vat: {}}]", "vat", 4),
        ("facility", "{code: RC, name: R, currency: USD, timezone: UTC, language: de}",
         "language", 1),
    ],
)  # fmt: skip
def test_a_key_that_is_not_supported_is_refused_by_name_never_ignored(
    section: str, says: str, key: str, line: int
) -> None:
    refused = refusal(**{section: says})

    assert re.match(rf"book\.yml, line {line}, [^:]*\b{key}: the key '{key}' is not supp", refused)


@pytest.mark.parametrize(
    "rates",
    [
        # next to each other, open on either side
        '[{item: slide, group: g, price: "1", valid_to: 2020-06-30}, '
        '{item: slide, group: g, price: "1", valid_from: 2020-07-01}]',
        '[{item: slide, group: g, price: "1", valid_from: 2020-07-01}, '
        '{item: slide, group: g, price: "1", valid_to: 2020-06-30}]',
        # one day long
        '[{item: slide, group: g, price: "1", valid_from: 2020-07-01, valid_to: 2020-07-01}]',
        # other items, other groups
        '[{item: slide, group: g, price: "1"}, {item: slide, group: h, price: "1"}, '
        '{item: scope, group: g, price: "1"}]',
    ],
)
def test_rates_that_never_meet_are_allowed(rates: str) -> None:
    assert len(book(rates=rates).rates) == rates.count("item:")


def test_an_overlap_is_found_whatever_stands_between() -> None:
    refused = refusal(
        rates='[{item: slide, group: g, price: "1"}, {item: scope, group: g, price: "1"}, '
        '{item: slide, group: h, price: "1"}, '
        '{item: slide, group: g, price: "1", valid_from: 2020-01-01, valid_to: 2020-01-31}]'
    )

    assert "two rates for item 'slide' and group 'g'" in refused


def test_a_minimum_in_yen_has_no_decimals() -> None:
    yen = "{code: TYO, name: Tokyo, currency: JPY, timezone: Asia/Tokyo}"
    rates = '[{{item: slide, group: g, price: "0.5", minimum: "{}"}}]'

    assert book(facility=yen, rates=rates.format("500.0")).rates[0].minimum == 500
    assert "the minimum '0.5' has more than 0 decimal places" in refusal(
        facility=yen, rates=rates.format("0.5")
    )


def test_the_fingerprint_names_what_a_rate_says_not_how_it_is_written() -> None:
    assert rate(price="1.250").fingerprint == rate(price="1.25").fingerprint
    assert rate().body == '{"group":"internal","item":"slide","price":"1.25"}'
    others = [
        rate(price="1.26"),
        rate(minimum="2.00"),
        rate(rounding_step="15min"),
        rate(valid_from="2020-01-01"),
        rate(valid_to="2020-01-01"),
        rate(group="industry"),
        rate(item="scope"),
    ]
    assert len({rate().fingerprint, *(other.fingerprint for other in others)}) == 8


@pytest.mark.parametrize(
    ("step", "seconds"), [("30s", 30), ("15min", 900), ("15 min", 900), ("1h", 3600), ("7s", 7)]
)
def test_a_step_is_a_whole_number_of_seconds_minutes_or_hours(step: str, seconds: int) -> None:
    assert step_microseconds(step) == seconds * SECOND


@pytest.mark.parametrize("step", ["0min", "15", "min", "1.5h", "-1h", "1d", "15min 30s", "１h"])
def test_anything_else_is_no_step(step: str) -> None:
    with pytest.raises(ValueError, match=f"'{re.escape(step)}' is not a step"):
        step_microseconds(step)


@pytest.mark.parametrize(
    ("starts", "day", "year"),
    [
        ("1", "2020-12-31", 2020),
        ("7", "2020-06-30", 2020),
        ("7", "2020-07-01", 2021),
        ("10", "1993-10-01", 1994),
        ("12", "2020-12-01", 2021),
    ],
)
def test_a_fiscal_year_is_named_by_the_month_it_ends_in(starts: str, day: str, year: int) -> None:
    facility = Facility.model_validate(
        {"code": "RC", "name": "R", "currency": "USD", "timezone": "UTC"}
        | {"fiscal_year_start": starts}
    )

    assert facility.fiscal_year(dt.date.fromisoformat(day)) == year
