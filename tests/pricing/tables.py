"""Frames written as tables: columns apart by two spaces or more, ``-`` for nothing.

usage('''
    record  item   project  date        quantity
    u1      slide  p        2020-04-06  12
''')
"""

import re

import polars as pl

from billing_lib.pricing.adjusting import ADJUSTMENTS, LINES
from billing_lib.pricing.fields import DECIMAL, INSTANT, USAGE


def usage(text: str) -> pl.DataFrame:
    """A usage frame; the row is the line in the table, the occurrence is counted."""
    frame = table(text, USAGE)
    counted = pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("record")
    rows = pl.int_range(1, pl.len() + 1, dtype=pl.Int64)
    return frame.with_columns(occurrence=counted, row=rows, file=pl.lit("april.csv"))


def changes(text: str) -> pl.DataFrame:
    """Adjustments by carol, in the order of the table unless it has an ``order``."""
    frame = table(text, ADJUSTMENTS)
    order = pl.coalesce("order", pl.int_range(pl.len(), dtype=pl.Int64))
    return frame.with_columns(order=order, by=pl.lit("carol"), reason=pl.lit("agreed"))


def lines(text: str) -> pl.DataFrame:
    """Added lines; amounts in minor units."""
    return table(text, LINES)


def rows(frame: pl.DataFrame, *columns: str) -> list[tuple]:
    """Some columns of a frame, row by row."""
    return frame.select(columns).rows()


def table(text: str, schema: pl.Schema) -> pl.DataFrame:
    """A frame of this schema from text; columns left out are empty."""
    header, *body = [re.split(r" {2,}", line.strip()) for line in text.strip().splitlines()]
    cells = [[None if cell == "-" else cell for cell in line] for line in body]
    strings = pl.DataFrame(cells, schema=dict.fromkeys(header, pl.String), orient="row")
    return strings.select(
        _cast(name, dtype) if name in header else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in schema.items()
    )


def _cast(name: str, dtype: pl.DataType) -> pl.Expr:
    if dtype == DECIMAL:
        return pl.col(name).str.to_decimal(scale=9).cast(DECIMAL)
    if dtype == INSTANT:
        return pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%S%z", time_unit="us").alias(name)
    if dtype == pl.Boolean:
        return pl.col(name) == "true"
    return pl.col(name).str.to_date() if dtype == pl.Date else pl.col(name).cast(dtype)
