"""Usage records from a source's table: the mapping applied, every value checked.

    booking  tool     begin             finish                record  item     start   end
    57       scope-1  2020-04-06T17:00  2020-04-06T20:00   →  57      scope-1  21:00Z  00:00Z
    58       scope-1  43831             2020-04-06T20:00   →  58      scope-1  null    00:00Z
      invalid_time: usage.csv, row 3, column 'begin': '43831' is a number where a time belongs

No row is lost: each gives one record. A record with several defects names the first one in the
order of pricing/fields.py. The id of a malformed row, or one without an id, is its place,
``usage.csv:3``; so the corrected file's row is a new record, not a changed one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import polars as pl

from billing_lib.pricing.fields import DECIMAL, INSTANT, REASONS, USAGE, Template, as_text
from billing_lib.pricing.money import decimals
from billing_lib.sources.files import TYPED, SourceTable, fault
from billing_lib.sources.quantities import (
    COST,
    Numbers,
    find_numbers,
    is_numeric,
    read_costs,
    read_durations,
    read_quantities,
)
from billing_lib.sources.times import Times, past_midnight, read_dates, read_times, settle

_TEXTS = ("id", "item", "project", "user", "description", "reference")
_TIMES = ("start", "end")
_BOOKED = ("booked_start", "booked_end")
_COUNTS = ("units", "quantity")
_NUMBERS = (*_COUNTS, "elapsed", "cost")
_AMOUNTS = (*_NUMBERS, "currency")
_COMBINED_CLOCK = r"^(\d{4}-\d{2}-\d{2})T00:00:00(?:\.0+)?[T ]+(\d)"
"""A day of its own type before a clock, both from one template."""


@dataclass(frozen=True)
class Writing:
    """How a file writes its values, as the mapping declares it.

    Parameters
    ----------
    numbers
        None: found from all number columns.
    times, dates
        The patterns of ``start`` and ``end``, and of ``date``; None: ISO 8601.
    measure
        The writing of ``elapsed`` (quantities.py).
    defaults
        By usage field the value of an empty cell; "" leaves the field out.
    overnight
        Whether an end before its start on the same day is on the next one.
    """

    numbers: Numbers | None = None
    times: str | None = None
    dates: str | None = None
    measure: str | None = None
    defaults: Mapping[str, str] = field(default_factory=dict)
    overnight: bool = False


def usage_frame(
    table: SourceTable,
    templates: Mapping[str, Template],
    timezone: str,
    writing: Writing,
    strict: frozenset[str],
    *,
    lookup: Mapping[str, Mapping[str, str]] | None = None,
    currency: str | None = None,
    named_by_item: bool = False,
) -> pl.DataFrame:
    """The usage frame (schema USAGE) of a table, one record per row, in file order.

    Parameters
    ----------
    templates
        By usage field; every column that they name is in the table.
    timezone
        The facility's, for times without an offset.
    strict
        The fields that the mapping or the format gives, so that each record needs them; in other
        columns, named as the fields, empty cells may be those of another kind of record.
    lookup
        By field the codes that replace its values.
    currency
        The facility's; a record in another one is held back.
    named_by_item
        Whether the item is a part of the id: the records of a row's further items.

    Raises
    ------
    UnreadableFile
        It cannot be told how numbers or durations are written.
    """
    values = _values(table, templates, lookup or {})
    typed = {name: table.typed(template.fields) for name, template in templates.items()}
    numbers = writing.numbers or _found(table, templates, values, typed, writing.measure)
    faults = [table.faults]
    places = pl.DataFrame({"position": pl.int_range(values.height, dtype=pl.Int64, eager=True)})

    def note(name: str, trouble: pl.Series) -> None:
        frame = places.with_columns(trouble=trouble)
        troubled = pl.col("trouble").is_not_null()
        defect = "invalid_quantity" if name in _AMOUNTS else "invalid_time"
        faults.append(fault(frame, troubled, defect, pl.col("trouble"), templates[name].shown))

    for name, trouble in _unknown_cells(table, templates):
        note(name, trouble)
    times = {}
    for name in (*_TIMES, *(name for name in _BOOKED if name in templates)):
        times[name] = read_times(
            values[name],
            timezone,
            epoch=table.epoch,
            pattern=writing.times,
            typed=typed.get(name),
        )
        if name in templates:
            note(name, times[name].trouble)
    dates, trouble = read_dates(values["date"], timezone, writing.dates, typed.get("date"))
    if "date" in templates:
        note("date", trouble)
    counts = {}
    for name in _COUNTS:
        counts[name], trouble = read_quantities(values[name], numbers, typed.get(name))
        if name in templates:
            note(name, trouble)
    elapsed = pl.repeat(None, values.height, dtype=pl.Int64, eager=True)
    if "elapsed" in templates:
        where = f"{table.name}, {templates['elapsed'].shown}"
        elapsed, trouble = read_durations(
            values["elapsed"], writing.measure, where, numbers, typed["elapsed"]
        )
        note("elapsed", trouble)
    start, end = settle(times["start"], times["end"], elapsed)
    if writing.overnight:
        end = past_midnight(start, end, timezone)
    records = values.select(pl.col(_TEXTS)).with_columns(
        start=start, end=end, date=dates, elapsed=elapsed, **_bookings(times), **counts
    )
    if "cost" in templates:
        costs, trouble = read_costs(values["cost"], numbers, typed["cost"])
        note("cost", trouble)
        records = records.with_columns(cost=costs)
    if "currency" in templates and currency is not None:
        note("currency", _other_currency(values, currency))
    faults += _without_time(values, places)
    faults += _holes(values, places, templates, strict, writing.defaults)
    faults.append(_backwards(records, places, *_TIMES))
    if set(_BOOKED) <= templates.keys():
        faults.append(_backwards(records, places, *_BOOKED))
    records = _with_defaults(records, writing.defaults)
    usage = _assembled(table, records, pl.concat(faults), named_by_item=named_by_item)
    return usage if "cost" not in templates else _with_costs(usage, records["cost"])


def _unknown_cells(
    table: SourceTable, templates: Mapping[str, Template]
) -> Iterator[tuple[str, pl.Series]]:
    """The fields made of cells without a value that can be known, with sentences on them."""
    for name, template in templates.items():
        for column in template.fields:
            if column in table.marks.columns:
                mark = table.marks[column]
                unknown = mark.is_not_null() & (mark != TYPED)
                if unknown.any():
                    yield name, pl.select(pl.when(unknown).then(mark)).to_series()


def _other_currency(values: pl.DataFrame, currency: str) -> pl.Series:
    """Sentences on the records of another currency than the facility's, null for its own."""
    other = pl.format(f"'{{}}' is not the facility's currency, {currency}", "currency")
    differs = pl.col("currency").ne_missing(pl.lit(currency))
    sentence = pl.when(differs).then(pl.coalesce(other, pl.lit("it names no currency")))
    return values.select(sentence).to_series()


def _bookings(times: Mapping[str, Times]) -> dict[str, pl.Series | pl.Expr]:
    """The times of bookings, as far as the mapping gives them."""
    if set(_BOOKED) <= times.keys():
        start, end = settle(times["booked_start"], times["booked_end"], None)
        return {"booked_start": start, "booked_end": end}
    nothing = pl.lit(None, INSTANT)
    return {field: times[field].earlier if field in times else nothing for field in _BOOKED}


def _values(
    table: SourceTable,
    templates: Mapping[str, Template],
    lookup: Mapping[str, Mapping[str, str]],
) -> pl.DataFrame:
    """The fields of usage as the templates give them: texts as text, the others with their type."""
    fields = table.fields
    given = {
        name: templates[name].of(fields) if name in templates else pl.lit(None, pl.String)
        for name in (*_TEXTS, *_TIMES, *_BOOKED, "date", *_NUMBERS, "currency")
    }
    values = fields.with_columns(**given).select(*given)
    times = (name for name in (*_TIMES, *_BOOKED) if name in templates)
    composed = [name for name in times if templates[name].alone is None]
    values = values.with_columns(
        as_text(values, name)
        for name in given
        if name in _TEXTS or values.schema[name] == pl.String
    )
    return values.with_columns(
        *(pl.col(name).str.replace(_COMBINED_CLOCK, "${1}T${2}") for name in composed),
        *(
            pl.col(name).replace(list(codes), list(codes.values()))
            for name, codes in lookup.items()
        ),
    )


def _with_costs(usage: pl.DataFrame, costs: pl.Series) -> pl.DataFrame:
    """The costs as quantities, and before each the sum of those that stand before it.

    They are summed with all their decimals, project by project, so that the cents of a project's
    rows make those of its own sum; what is held back does not count. Cutting each sum after nine
    decimals does not change the cents to which it is rounded.
    """
    billed = pl.col("defect").is_null() & (pl.col("occurrence") == 1)
    frame = usage.with_row_index("at").with_columns(cost=costs)
    frame = frame.with_columns(cost=pl.when(billed).then("cost"))
    summed = frame.sort("item", "project", "at", nulls_last=True).with_columns(
        upto=_cut_to_nine(pl.col("cost").fill_null(0).cum_sum())
    )
    before = pl.col("upto").shift(1).fill_null(0)
    return (
        summed.with_columns(
            quantity=pl.when(pl.col("cost").is_not_null()).then(pl.col("upto") - before),
            costs_before=pl.when(pl.col("cost").is_not_null()).then(before),
        )
        .sort("at")
        .select(pl.col(name).cast(dtype) for name, dtype in USAGE.items())
    )


def _cut_to_nine(amount: pl.Expr) -> pl.Expr:
    """A COST without its decimals after the ninth, whatever its sign."""
    digits = amount.cast(COST).to_physical()
    by = pl.lit(pl.Series([10 ** (COST.scale - DECIMAL.scale)], dtype=pl.Int128)).first()
    whole = digits.abs() // by * digits.sign()
    return decimals(whole, DECIMAL.scale).cast(DECIMAL)


def _found(
    table: SourceTable,
    templates: Mapping[str, Template],
    values: pl.DataFrame,
    typed: Mapping[str, pl.Series | None],
    measure: str | None,
) -> Numbers:
    """The writing of the file's numbers, from all texts that stand for some."""
    names = [name for name in _NUMBERS if name in templates and templates[name].fields]
    texts = {}
    for name in names:
        if values.schema[name] != pl.String or (name == "elapsed" and not is_numeric(measure)):
            continue
        mask = typed[name]
        texts[templates[name].shown] = values[name] if mask is None else values[name].filter(~mask)
    return find_numbers(texts, table.name)


def _without_time(values: pl.DataFrame, places: pl.DataFrame) -> list[pl.DataFrame]:
    """The faults of records without a time, or with half of one."""
    frame = places.with_columns(values.select(pl.col(*_TIMES, *_BOOKED, "date").is_null()))
    no_start, no_end = pl.col("start"), pl.col("end")
    no_booking = pl.col("booked_start") & pl.col("booked_end")
    half_booked = pl.col("booked_start") != pl.col("booked_end")
    no_time = no_start & no_end & pl.col("date") & no_booking
    return [
        fault(frame, no_time, "invalid_time", pl.lit("it has no time")),
        fault(frame, half_booked, "invalid_time", pl.lit("its booking has one of start and end")),
        fault(frame, no_start & ~no_end, "invalid_time", pl.lit("it has no start")),
        fault(frame, no_end & ~no_start, "invalid_time", pl.lit("it has no end")),
    ]


def _holes(
    values: pl.DataFrame,
    places: pl.DataFrame,
    templates: Mapping[str, Template],
    strict: frozenset[str],
    defaults: Mapping[str, str],
) -> list[pl.DataFrame]:
    """The faults of records in which a number is missing.

    Units are needed with a time, and they and the elapsed time not with a stated quantity. Other
    fields than strict ones are needed by a record with start and end if its item states them for
    another such record of the file: all others may be of a kind that has no such number.
    """
    timed = pl.col("start").is_not_null() | pl.col("end").is_not_null()
    has_time = timed | pl.col("elapsed").is_not_null()
    uncounted = pl.col("quantity").is_null()
    needed = {
        "units": has_time & uncounted,
        "quantity": pl.lit(value=True),
        "elapsed": timed & uncounted,
    }
    faults = []
    for name, needs in needed.items():
        missing = values[name].null_count() if name in templates else 0
        hole = pl.col(name).is_null() & needs
        if name not in strict:
            kind_states = (timed & pl.col(name).is_not_null()).any().over("item")
            hole &= timed & kind_states & pl.col("elapsed").is_null()
        if not missing or name in defaults or (missing == values.height and name not in strict):
            continue
        frame = places.with_columns(hole=values.select(hole).to_series())
        sentence = pl.lit("nothing stands where a number belongs")
        shown = templates[name].shown
        faults.append(fault(frame, pl.col("hole"), "invalid_quantity", sentence, shown))
    return faults


def _with_defaults(records: pl.DataFrame, defaults: Mapping[str, str]) -> pl.DataFrame:
    return records.with_columns(
        pl.col(name).fill_null(pl.lit(value).cast(records.schema[name]))
        for name, value in defaults.items()
        if value
    )


def _backwards(records: pl.DataFrame, places: pl.DataFrame, start: str, end: str) -> pl.DataFrame:
    frame = pl.concat([places, records.select(start, end)], how="horizontal")
    shown = [pl.col(name).dt.strftime("%Y-%m-%d %H:%M:%SZ") for name in (start, end)]
    noun = "it" if start in _TIMES else "its booking"
    sentence = pl.format(f"{noun} starts at {{}} and ends before that, at {{}}", *shown)
    return fault(frame, pl.col(end) < pl.col(start), "invalid_time", sentence)


def _assembled(
    table: SourceTable, records: pl.DataFrame, faults: pl.DataFrame, *, named_by_item: bool
) -> pl.DataFrame:
    first = (
        faults.with_columns(
            order=pl.col("defect").replace_strict({r: i for i, r in enumerate(REASONS)})
        )
        .sort("position", "order", maintain_order=True)
        .unique("position", keep="first", maintain_order=True)
        .drop("order")
    )
    raw = pl.lit(None, pl.String) if first.is_empty() else table.raw(first["position"])
    first = first.with_columns(raw=raw)
    place = pl.format(f"{_literal(table.name)}:{{}}", "row")
    column = pl.format(", {}", "place").fill_null("")
    where = pl.format(f"{_literal(table.name)}, row {{}}{{}}: {{}}", "row", column, "detail")
    record = pl.coalesce("id", place)
    if named_by_item:
        record = pl.format("{}:{}", record, pl.col("item").fill_null("?"))
    return (
        records.with_columns(row=table.rows, position=pl.int_range(pl.len(), dtype=pl.Int64))
        .join(first, on="position", how="left", maintain_order="left")
        .with_columns(
            record=record,
            units=pl.col("units").fill_null(1),
            costs_before=pl.lit(None, USAGE["costs_before"]),
            file=pl.lit(table.name),
            detail=pl.when(pl.col("detail").is_not_null()).then(where),
        )
        .with_columns(occurrence=pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("record"))
        .select(pl.col(name).cast(dtype) for name, dtype in USAGE.items())
    )


def _literal(text: str) -> str:
    """A text with its braces doubled, for use inside a format string."""
    return text.replace("{", "{{").replace("}", "}}")
