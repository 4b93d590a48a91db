"""A source's table: what a reader gives, before the mapping makes usage records of it.

A reader opens one kind of file and nothing else: it finds the fields, says where each row
stands and which rows are malformed. What is an item or a project, and whether a time can be a
time, is decided once for all kinds in records.py.

    job  wait  run  processors …   row   fault
    1    -1    1451 128            40
    2    -1    -1   128            41    invalid_time: the run time is unknown
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

FAULTS = pl.Schema(
    {"position": pl.Int64(), "defect": pl.String(), "place": pl.String(), "detail": pl.String()},
)
"""Defects found: the row's position in the table from 0, the reason, the column if it is one
column's, and what is wrong."""


@dataclass(frozen=True)
class SourceTable:
    """The fields of a usage file, row by row.

    Parameters
    ----------
    name
        The file's name, without its folder.
    fields
        The columns, text or typed, in file order.
    rows
        Int64: the line or sheet row of each row, from 1.
    raw
        From positions (0 is the first row) to the rows as they stood in the file.
    faults
        What the reader itself found, schema FAULTS.
    epoch
        Whether a bare number in a time is seconds since 1970, UTC.
    elapsed
        Duration of each row where the source states it; it settles times that the end of
        daylight saving makes ambiguous.
    counted
        Whether empty units or quantities are unknown (a defect), not merely left out.
    """

    name: str
    fields: pl.DataFrame
    rows: pl.Series
    raw: Callable[[pl.Series], pl.Series]
    faults: pl.DataFrame = field(default_factory=FAULTS.to_frame)
    epoch: bool = False
    elapsed: pl.Series | None = None
    counted: bool = False


def fault(
    frame: pl.DataFrame, where: pl.Expr, defect: str, detail: pl.Expr, place: str | None = None
) -> pl.DataFrame:
    """The rows of ``frame`` (with ``position``) where something is wrong, schema FAULTS."""
    found = frame.filter(where.fill_null(value=False))
    return found.select(
        pl.col("position").cast(pl.Int64),
        pl.lit(defect).alias("defect"),
        pl.lit(place, pl.String).alias("place"),
        detail.alias("detail"),
    )


def cells_by_tab(fields: pl.DataFrame) -> Callable[[pl.Series], pl.Series]:
    """For tables without lines: a row as its cells with tabs between, empty where null."""

    def raw(positions: pl.Series) -> pl.Series:
        cells = pl.all().cast(pl.String).fill_null("")
        return fields[positions].select(raw=pl.concat_str(cells, separator="\t"))["raw"]

    return raw
