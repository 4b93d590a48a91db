"""Rows that cannot be billed as they are, mended or dismissed one by one.

    usage.csv, row 6   u5  slide  quantity many      invalid_quantity
    mend_record(…, "u5", 1, {"quantity": "12"}, "said eve by phone")
                       u5  slide  quantity 12        version 2, charged when the month is rated
    dismiss_row(…, "u4", 1, "a test of the vendor")  stays unbilled, and nobody is asked again

A mended record is a new version (workflow/correct.py) with an event of its own: who, when, why,
and the fields before and after. It is read and checked as a row of a file is. The same file loaded
again changes nothing; a file that states the record otherwise than before is a correction.

A dismissal is an event, too. It holds for the record as long as the reason why it is unbilled is
the same, and it can be taken back. The record stays in the unbilled report.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidAdjustment
from billing_lib.ledger import events, usage
from billing_lib.ledger.database import reading
from billing_lib.ledger.usage import RECORD
from billing_lib.pricing.clock import with_period
from billing_lib.pricing.fields import USAGE, Template, canonical_json
from billing_lib.pricing.money import plain_text
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.pricing.rating import Catalogue, rate_usage
from billing_lib.sources.files import SourceTable
from billing_lib.sources.quantities import Numbers
from billing_lib.sources.records import Writing, usage_frame
from billing_lib.workflow.adhoc import known_references
from billing_lib.workflow.adjust import require_reason
from billing_lib.workflow.correct import (
    Replacement,
    changed_columns,
    report_undated,
    taken_back,
)
from billing_lib.workflow.findings import DISMISS, RESTORE, row_subject
from billing_lib.workflow.permissions import REVIEWER, VIEWER, changing, require
from billing_lib.workflow.unplaced import month_rows

MENDED = (
    *("item", "project", "user", "start", "end", "date", "elapsed", "booked_start", "booked_end"),
    *("units", "quantity", "description", "reference"),
)
"""The fields of a record that staff may mend."""

_OF_DEFECT = {
    "invalid_time": ("start", "end", "date", "elapsed", "booked_start", "booked_end"),
    "invalid_quantity": ("quantity", "units", "elapsed"),
}
"""The fields of which one must be mended for a defect to go."""

_WRITTEN = {
    "invalid_time": "write a time as 2020-04-06 17:00, a day as 2020-04-06, an elapsed time as "
    "2:30:00, and an end after its start",
    "invalid_quantity": "write a number as 12 or 0.25",
}

MEND = "mend"
"""The kind of event of a mended record; its subject is the record's id."""


@dataclass(frozen=True)
class Mended:
    """The result of mending a record.

    Attributes
    ----------
    changes
        Field by field, ``quantity none → 12``.
    reason
        Why the record can still not be billed, '' if it can.
    sentence
        The result in words.
    """

    record: str
    changes: str
    reason: str
    sentence: str


def record_texts(book: PriceBook, row: Mapping[str, Any]) -> dict[str, str]:
    """The fields MENDED of a record as text, times in the facility's time zone; '' for none."""
    zone = ZoneInfo(book.facility.timezone)
    texts = {}
    for name in MENDED:
        value = row[name]
        if value is None:
            text = ""
        elif name == "elapsed":
            text = _elapsed_text(value)
        elif isinstance(value, dt.datetime):
            text = value.astimezone(zone).isoformat(sep=" ")
        else:
            text = plain_text(value) if isinstance(value, Decimal) else str(value)
        texts[name] = text
    return texts


def _elapsed_text(micros: int) -> str:
    seconds, rest = divmod(micros, 1_000_000)
    text = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{rest:06}" if rest else text


def read_record(engine: Engine, book: PriceBook, record: str, occurrence: int) -> dict[str, Any]:
    """A standing record (schema STANDING of ledger/usage.py).

    Raises
    ------
    InvalidAdjustment
        No such record stands.
    """
    with reading(engine) as connection:
        require(connection, book.facility.code, VIEWER)
        return _standing(connection, book, record, occurrence).row(0, named=True)


def _standing(
    connection: Connection, book: PriceBook, record: str, occurrence: int
) -> pl.DataFrame:
    facility = book.facility.code
    standing = usage.read_standing(connection, facility, [record]).filter(
        pl.col("withdrawn").is_null(), occurrence=occurrence
    )
    if standing.height == 0:
        raise InvalidAdjustment(
            f"no record '{record}' stands in {facility} any more", remedy="refresh the page"
        )
    return standing


def mend_record(
    engine: Engine,
    book: PriceBook,
    record: str,
    occurrence: int,
    fields: Mapping[str, str],
    reason: str,
    *,
    own_id: str = "",
    preview: bool = False,
) -> Mended:
    """Replace a record by a version with other fields; the file's own version is kept.

    The file loaded again does not take the mended version away; one that states the record
    otherwise than before does.

    Parameters
    ----------
    fields
        Texts by field (MENDED), as in ``record_texts``; fields that are left out stay.
    own_id
        An id for a duplicate, which is a record of its own then.

    Raises
    ------
    InvalidAdjustment
        There is no reason, nothing changes, a text cannot be read, or the defect stays.
    """
    if not preview:
        require_reason(reason)
    facility = book.facility.code
    with changing(engine, book, REVIEWER, preview=preview) as connection:
        standing = _standing(connection, book, record, occurrence)
        was = standing.row(0, named=True)
        before = record_texts(book, was)
        after = before | {name: text.strip() for name, text in fields.items()}
        changed = [name for name in MENDED if after[name] != before[name]]
        own_id = "" if own_id.strip() == record else own_id.strip()
        if not changed and not own_id:
            raise InvalidAdjustment("no field was changed", where=record)
        _require_mended(book, was, changed)
        now = _mended(book, was, after)
        if own_id:
            now = now.with_columns(record=pl.lit(own_id), occurrence=pl.lit(1, USAGE["occurrence"]))
            if usage.read_standing(connection, facility, [own_id]).height:
                raise InvalidAdjustment(
                    f"a record '{own_id}' stands already",
                    where="id",
                    remedy="choose another id",
                )
        changes = [
            f"{name.replace('_', ' ')} {before[name] or 'none'} → {after[name] or 'none'}"
            for name in changed
        ]
        changes += [f"id {record} → {own_id}"] if own_id else []
        event = events.record_event(
            connection,
            facility,
            kind=MEND,
            subject=record,
            reason=reason.strip(),
            before=canonical_json({name: before[name] for name in changed} | {"id": record}),
            after=canonical_json(
                {name: after[name] for name in changed} | {"id": own_id or record}
            ),
        )
        replacement = Replacement.of(
            connection, book, standing, taken_back(standing) if own_id else now
        )
        if replacement.refused.height:
            raise InvalidAdjustment(
                f"the record stays as it is, {replacement.refused['note'][0]}", where=record
            )
        outcomes = replacement.carry_out(connection, book, event)
        if own_id:
            usage.insert_usage(connection, facility, was["file_sha256"], now)
            report_undated(connection, book, now)
        left = _still_unbilled(connection, book, now, charged=outcomes["before"].count() > 0)
    told = f"{own_id or record}: {', '.join(changes)}"
    return Mended(
        own_id or record,
        ", ".join(changes),
        left,
        f"{told}; {left or 'it can be billed'}",
    )


def _require_mended(book: PriceBook, was: Mapping[str, Any], changed: list[str]) -> None:
    wanted = _OF_DEFECT.get(was["defect"] or "", ())
    if wanted and not {*wanted} & {*changed}:
        raise InvalidAdjustment(
            f"the row would still be one that cannot be read: {was['detail']}",
            remedy=f"state one of its fields {', '.join(wanted).replace('_', ' ')}",
        )


def _mended(book: PriceBook, was: Mapping[str, Any], texts: Mapping[str, str]) -> pl.DataFrame:
    """The record with these texts as its fields, read as those of a file are."""
    given = {name: text for name, text in texts.items() if text}
    table = SourceTable(
        name=was["file"],
        fields=pl.DataFrame({"id": [was["record"]], **{k: [text] for k, text in given.items()}}),
        rows=pl.Series([was["row"]], dtype=pl.Int64),
        raw=lambda at: pl.Series([was["raw"]] * at.len(), dtype=pl.String),
    )
    read = usage_frame(
        table,
        {name: Template.parse(f"{{{name}}}") for name in ("id", *given)},
        book.facility.timezone,
        Writing(numbers=Numbers.declared("1234.5"), measure="[h]:mm:ss"),
        frozenset(),
    )
    row = read.row(0, named=True)
    if row["defect"]:
        detail = str(row["detail"]).rpartition("column ")[2].partition("; ")[0]
        raise InvalidAdjustment(
            f"this cannot be read: {detail}", where=was["record"], remedy=_WRITTEN[row["defect"]]
        )
    kept = {
        name: pl.lit(was[name], dtype)
        for name, dtype in usage.STANDING.items()
        if name in ("occurrence", "costs_before", "withdrawn", "file_sha256", "version")
    }
    return with_period(read.with_columns(**kept), book.facility.timezone).select(
        usage.STANDING.names()
    )


def _still_unbilled(
    connection: Connection, book: PriceBook, now: pl.DataFrame, *, charged: bool
) -> str:
    """Why a mended record without a charge cannot be billed; it is in the unbilled report then."""
    facility, undated = book.facility.code, now["period"][0] is None
    rating = rate_usage(
        now.select(USAGE.names()),
        Catalogue.of(book),
        references=known_references(connection, facility),
    )
    if charged or rating.unbilled.height == 0:
        return ""
    if not undated:  # those are there already
        usage.insert_unbilled(
            connection, facility, rating.unbilled.with_columns(period=now["period"])
        )
    reason, detail = rating.unbilled.select("reason", "detail").row(0)
    return f"it is not billed yet, {reason.replace('_', ' ')}: {detail}"


def stated_as_before(connection: Connection, facility: str, other: pl.DataFrame) -> pl.DataFrame:
    """The keys of mended records that a file states just as it did before they were mended.

    ``other`` are records as a file states them.
    """
    mends = events.read_events(connection, facility, kinds=[MEND])["sequence"]
    if mends.is_empty() or other.is_empty():
        return other.select(RECORD).clear()
    mended = pl.col("event").is_in(mends.implode())
    versions = usage.read_versions(connection, facility, other["record"].unique())
    # The mends since the last version that ended otherwise: the first of them ended a file's.
    since = pl.col("version").filter(~mended).max().over(RECORD).fill_null(0)
    stated = versions.filter(mended & (pl.col("version") > since)).unique(
        RECORD, keep="first", maintain_order=True
    )
    both = other.select(USAGE.names()).join(stated, on=RECORD, suffix="_stated")
    return both.filter(~changed_columns("_stated")).select(RECORD)


def read_rows(engine: Engine, book: PriceBook, month: str) -> pl.DataFrame:
    """A month's unbilled rows with ``dismissed`` (see ``month_rows`` of workflow/unplaced.py)."""
    facility = book.facility.code
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        return month_rows(connection, facility, month)


def dismiss_row(
    engine: Engine, book: PriceBook, month: str, record: str, occurrence: int, reason: str
) -> str:
    """Dismiss a row of a month's unbilled report; return a sentence."""
    return _judge(engine, book, month, record, occurrence, reason, DISMISS)


def restore_row(
    engine: Engine, book: PriceBook, month: str, record: str, occurrence: int, reason: str
) -> str:
    """Take back the dismissal of a row; return a sentence."""
    return _judge(engine, book, month, record, occurrence, reason, RESTORE)


def _judge(
    engine: Engine,
    book: PriceBook,
    month: str,
    record: str,
    occurrence: int,
    reason: str,
    kind: str,
) -> str:
    require_reason(reason)
    facility = book.facility.code
    with changing(engine, book, REVIEWER) as connection:
        row = month_rows(connection, facility, month).filter(record=record, occurrence=occurrence)
        if row.height == 0:
            raise InvalidAdjustment(
                f"no row '{record}' is unbilled in {facility} {month}", remedy="refresh the page"
            )
        if (row["dismissed"][0] != "") == (kind == DISMISS):
            state = "dismissed" if kind == DISMISS else "not dismissed"
            return f"{record}: is {state} already, nothing changed"
        subject = row.select(row_subject()).item()
        events.record_event(connection, facility, kind=kind, subject=subject, reason=reason.strip())
    return f"{record}: {'dismissed' if kind == DISMISS else 'waits again'}"
