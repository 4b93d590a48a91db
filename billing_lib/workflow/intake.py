"""Intake: usage files into the ledger, each record once.

A file that was loaded before, by its hash, changes nothing. A record that was loaded before,
by its id, is passed over when it says the same, and refused by name when it says something
else. A row that cannot be read is kept with its reason. Several files load whole or not at all.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import ChangedRecord
from billing_lib.ledger import events, usage
from billing_lib.ledger.database import writing
from billing_lib.pricing.crossing import cut_with_ids
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.period import closing_date, period_of
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.pricing.usage import USAGE
from billing_lib.sources import file_hash, file_kind, mappings, read_usage
from billing_lib.workflow.facility import note_facility
from billing_lib.workflow.permissions import REVIEWER, require
from billing_lib.workflow.steps import Step

COMPARED = [
    name for name in USAGE.names() if name not in ("record", "occurrence", "file", "row", "detail")
]
"""What makes a record that comes again a changed one."""


@dataclass(frozen=True)
class Loaded:
    """What became of one file."""

    file: str
    records: int
    new: int
    known: int
    defects: int
    loaded_before: bool = False

    @property
    def sentence(self) -> str:
        """The same in words."""
        if self.loaded_before:
            return f"{self.file}: loaded before, nothing changed ({self.records:,} records)"
        again = f", {self.known:,} known already" if self.known else ""
        odd = f", {self.defects:,} that cannot be billed as they are" if self.defects else ""
        return f"{self.file}: {self.records:,} records read, {self.new:,} new{again}{odd}"


def load_files(engine: Engine, book: PriceBook, files: Sequence[Path], step: Step) -> list[Loaded]:
    """Load usage files for a facility, all or none.

    Raises
    ------
    UnreadableFile
        A file is missing, empty, of an unknown kind or has a wrong header.
    ChangedRecord
        A record comes again with other content.
    NotPermitted
        Only a reviewer does this.
    """
    with writing(engine) as connection:
        require(connection, book.facility.code, REVIEWER)
        note_facility(connection, book)
        loaded = []
        for done, path in enumerate(files):
            step(done, len(files), path.name)
            loaded.append(_load_file(connection, book, path))
        step(len(files), len(files), "loaded")
        return loaded


def _load_file(connection: Connection, book: PriceBook, path: Path) -> Loaded:
    facility, timezone = book.facility.code, book.facility.timezone
    read = read_usage(path, mappings(book.sources), timezone)
    if book.facility.crossing == "split":
        read = cut_with_ids(read, timezone)
    sha256 = file_hash(path)
    before = usage.known_file(connection, facility, sha256)
    if before is not None:
        return Loaded(
            path.name, before.records, new=0, known=before.records, defects=0, loaded_before=True
        )
    known = usage.read_usage(connection, facility, records=read["record"].unique())
    both = ["record", "occurrence"]
    _refuse_changed(read.join(known, on=both, how="inner", suffix="_before"), path, facility)
    new = _in_period(read.join(known, on=both, how="anti", maintain_order="left"), timezone)
    usage.insert_file(
        connection, facility, sha256, name=path.name, kind=file_kind(path), records=read.height
    )
    usage.insert_usage(connection, facility, sha256, new)
    defects = new["defect"].count()
    events.record_event(
        connection,
        facility,
        kind="load",
        subject=path.name,
        reason="",
        after=canonical_json({"sha256": sha256, "records": read.height, "new": new.height}),
    )
    return Loaded(path.name, read.height, new.height, read.height - new.height, defects)


def _refuse_changed(again: pl.DataFrame, path: Path, facility: str) -> None:
    for name in COMPARED:
        changed = again.filter(pl.col(name).ne_missing(pl.col(f"{name}_before")))
        if changed.height:
            row = changed.row(0, named=True)
            raise ChangedRecord(
                f"the record '{row['record']}' was loaded before from {row['file_before']}, row "
                f"{row['row_before']}, with {name} {row[f'{name}_before']}, and now says "
                f"{row[name]}",
                where=f"{path.name}, row {row['row']}",
                remedy=f"load corrected usage under a new id, or adjust the charge "
                f"{facility}/{row['record']}",
            )


def _in_period(usage_frame: pl.DataFrame, timezone: str) -> pl.DataFrame:
    """The usage with its ``period``; a row whose time cannot be read goes with its file.

    That is the month in which the file's latest usage ends, so that the row is found in one
    unbilled report, and in no other; the month of loading when no row has a time.
    """
    placed = usage_frame.with_columns(
        period=period_of(closing_date(pl.col("end"), pl.col("date"), timezone))
    )
    latest = placed["period"].max()
    month = latest or dt.datetime.now(ZoneInfo(timezone)).strftime("%Y-%m")
    return placed.with_columns(pl.col("period").fill_null(month))
