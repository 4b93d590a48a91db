"""Parquet files: columns with types of their own.

    id: int64   begin: timestamp[us, tz=UTC]   finish: timestamp[us, tz=UTC]   hours: decimal(9, 2)

A timestamp with a zone is an instant, one without is the wall clock of the facility. A row is
the record's number in the file, from 1. Files have no malformed rows, but their columns can be
of the wrong type: that is a defect of each row, or of the file where a column holds lists,
structures or bytes.
"""

from pathlib import Path

import polars as pl

from billing_lib.errors import UnreadableFile
from billing_lib.sources.files import empty, unopened
from billing_lib.sources.table import SourceTable, cells_by_tab


def read_parquet(path: Path) -> SourceTable:
    """Read all columns, with their types; categories as text.

    Raises
    ------
    UnreadableFile
        The file is missing, no Parquet file, has no columns, or one that holds lists,
        structures or bytes.
    """
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise empty(path)
        frame = pl.read_parquet(path, glob=False, hive_partitioning=False)
    except OSError as error:
        raise unopened(path, error) from error
    except pl.exceptions.PolarsError as error:
        raise UnreadableFile(
            "it is no Parquet file, or a broken one", where=path.name, remedy="write it again"
        ) from error
    if not frame.columns:
        raise empty(path)
    for name, dtype in frame.schema.items():
        if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
            raise UnreadableFile(
                f"the column '{name}' is of type {dtype}, which no usage field can be",
                where=path.name,
                remedy="leave it out, or write it as text, number or timestamp",
            )
    texts = frame.with_columns(pl.selectors.by_dtype(pl.Categorical, pl.Enum).cast(pl.String))
    return SourceTable(
        name=path.name,
        fields=texts,
        rows=pl.int_range(1, texts.height + 1, dtype=pl.Int64, eager=True).alias("row"),
        raw=cells_by_tab(texts),
    )
