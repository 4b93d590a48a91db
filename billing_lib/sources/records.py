"""Usage records from a source's table: the mapping applied, every value checked.

    booking  tool     begin             finish                record  item     start   end
    57       scope-1  2020-04-06T17:00  2020-04-06T20:00   →  57      scope-1  21:00Z  00:00Z
    58       scope-1  43831             2020-04-06T20:00   →  58      scope-1  null    00:00Z
      invalid_time: usage.csv, row 3, column 'begin': '43831' is a number where a time belongs

No row is lost: each gives one record. A record with several defects names the first one in the
order of pricing/fields.py. The id of a malformed row, or one without an id, is its place,
``usage.csv:3``; so the corrected file's row is a new record, not a changed one.
"""

from collections.abc import Mapping

import polars as pl

from billing_lib.pricing.fields import REASONS, USAGE, Template, as_text
from billing_lib.sources.files import SourceTable, fault
from billing_lib.sources.times import read_dates, read_quantities, read_times, settle

_TEXTS = ("id", "item", "project", "user", "description", "reference")
_TIMES = ("start", "end")
_COUNTS = ("units", "quantity")


def usage_frame(
    table: SourceTable, templates: Mapping[str, Template], timezone: str
) -> pl.DataFrame:
    """The usage frame (schema USAGE) of a table, one record per row, in file order.

    Parameters
    ----------
    templates
        By usage field; every column that they name is in the table.
    timezone
        The facility's, for times without an offset.
    """
    values = _values(table, templates)
    faults = [table.faults]
    places = pl.DataFrame({"position": pl.int_range(values.height, dtype=pl.Int64, eager=True)})

    def note(field: str, trouble: pl.Series, defect: str) -> None:
        frame = places.with_columns(trouble=trouble)
        troubled = pl.col("trouble").is_not_null()
        faults.append(fault(frame, troubled, defect, pl.col("trouble"), templates[field].shown))

    times = {}
    for field in _TIMES:
        times[field] = read_times(values[field], timezone, epoch=table.epoch)
        if field in templates:
            note(field, times[field].trouble, "invalid_time")
    dates, trouble = read_dates(values["date"], timezone)
    if "date" in templates:
        note("date", trouble, "invalid_time")
    counts = {}
    for field in _COUNTS:
        counts[field], trouble = read_quantities(values[field])
        if field in templates:
            note(field, trouble, "invalid_quantity")
    start, end = settle(times["start"], times["end"], table.elapsed)
    records = values.select(pl.col(_TEXTS)).with_columns(
        start=start, end=end, date=dates, units=counts["units"], quantity=counts["quantity"]
    )
    faults += _missing(table, templates, values, places)
    faults.append(_backwards(records, places))
    return _assembled(table, records, pl.concat(faults))


def _values(table: SourceTable, templates: Mapping[str, Template]) -> pl.DataFrame:
    """The fields of usage as the templates give them: texts as text, the others with their type."""
    fields = table.fields
    given = {
        name: templates[name].of(fields) if name in templates else pl.lit(None, pl.String)
        for name in (*_TEXTS, *_TIMES, "date", *_COUNTS)
    }
    values = fields.with_columns(**given).select(*given)
    return values.with_columns(
        as_text(values, name)
        for name in given
        if name in _TEXTS or values.schema[name] == pl.String
    )


def _missing(
    table: SourceTable,
    templates: Mapping[str, Template],
    values: pl.DataFrame,
    places: pl.DataFrame,
) -> list[pl.DataFrame]:
    """The faults of records without a time, with half of one, or (in a log) without a count."""
    frame = places.with_columns(values.select(pl.col(*_TIMES, "date", *_COUNTS).is_null()))
    no_start, no_end = pl.col("start"), pl.col("end")
    no_time = no_start & no_end & pl.col("date")
    faults = [
        fault(frame, no_time, "invalid_time", pl.lit("it has no time")),
        fault(frame, no_start & ~no_end, "invalid_time", pl.lit("it has no start")),
        fault(frame, no_end & ~no_start, "invalid_time", pl.lit("it has no end")),
    ]
    if table.counted:
        sentence = pl.lit("nothing stands where a number belongs")
        faults += [
            fault(frame, pl.col(name), "invalid_quantity", sentence, templates[name].shown)
            for name in _COUNTS
            if name in templates
        ]
    return faults


def _backwards(records: pl.DataFrame, places: pl.DataFrame) -> pl.DataFrame:
    frame = pl.concat([places, records.select("start", "end")], how="horizontal")
    shown = [pl.col(name).dt.strftime("%Y-%m-%d %H:%M:%SZ") for name in _TIMES]
    sentence = pl.format("it starts at {} and ends before that, at {}", *shown)
    return fault(frame, pl.col("end") < pl.col("start"), "invalid_time", sentence)


def _assembled(table: SourceTable, records: pl.DataFrame, faults: pl.DataFrame) -> pl.DataFrame:
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
    return (
        records.with_columns(row=table.rows, position=pl.int_range(pl.len(), dtype=pl.Int64))
        .join(first, on="position", how="left", maintain_order="left")
        .with_columns(
            record=pl.coalesce("id", place),
            units=pl.col("units").fill_null(1),
            file=pl.lit(table.name),
            detail=pl.when(pl.col("detail").is_not_null()).then(where),
        )
        .with_columns(occurrence=pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("record"))
        .select(pl.col(name).cast(dtype) for name, dtype in USAGE.items())
    )


def _literal(text: str) -> str:
    """A text with its braces doubled, for use inside a format string."""
    return text.replace("{", "{{").replace("}", "}}")
