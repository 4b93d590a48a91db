"""The usage frame: what every source gives and all pricing reads.

One row is one usage record, whatever meter wrote it. A row that could not be read is a row
all the same: it carries the reason in ``defect``, the sentence in ``detail`` and what stood in
the file in ``raw``, and ends in the unbilled report.

    record  item        project  user  start                 end                   units
    57      core-hour   u4       u4    1993-10-01 14:06:17Z  1993-10-01 14:06:27Z  1

Quantities are decimals with nine places; times are UTC in microseconds. ``start`` and ``end``
stand for timed usage; ``date`` (local to the facility) for usage that has only a day.
``quantity`` is what the source states itself; where it is null, timed usage counts
hours × ``units``.
"""

import polars as pl

DECIMAL = pl.Decimal(38, 9)
"""Quantities and units: exact, nine places, at most 29 digits before the point."""

INSTANT = pl.Datetime("us", "UTC")
"""An instant in UTC, microseconds."""

USAGE = pl.Schema(
    {
        "record": pl.String(),  # the record's id, unique in the facility
        "occurrence": pl.Int32(),  # 1 for the first row of an id; the rest are duplicates
        "item": pl.String(),
        "project": pl.String(),
        "user": pl.String(),
        "start": INSTANT,
        "end": INSTANT,
        "date": pl.Date(),
        "units": DECIMAL,  # what hours are multiplied by (processors); 1 unless told
        "quantity": DECIMAL,
        "description": pl.String(),
        "reference": pl.String(),  # of the ad hoc invoice that it goes to; null: the month's
        "file": pl.String(),  # the source file's name, without its folder
        "row": pl.Int64(),  # the line or sheet row it stands on, from 1
        "defect": pl.String(),  # invalid_time or invalid_quantity, found while reading
        "detail": pl.String(),  # one sentence on the defect
        "raw": pl.String(),  # the row as it stood, for rows with a defect
    }
)
"""Columns of the usage frame, in order."""

REASONS = (
    "duplicate",
    "invalid_time",
    "invalid_quantity",
    "unknown_item",
    "unknown_reference",
    "unknown_project",
    "outside_period",
    "no_rate",
)
"""Why usage is unbilled: one reason per record, the first that applies in this order."""
