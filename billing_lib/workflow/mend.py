"""Rows that cannot be billed as they are, mended one by one or many alike, or dismissed.

    usage.csv, row 6   u5  slide  quantity many      invalid_quantity
    mend_record(…, "u5", 1, {"quantity": "12"}, "said eve by phone")
                       u5  slide  quantity 12        version 2, charged when the month is rated
    mend_rows(…, "2020-04", "project", "p9", "p1", …)  all rows with this project, at once
    dismiss_row(…, "u4", 1, "a test of the vendor")  stays unbilled, and nobody is asked again

A mended record is a new version (workflow/correct.py) with an event of its own: who, when, why,
and the fields before and after. It is read and checked as a row of a file is. The same file loaded
again changes nothing; a file that states the record otherwise than before is a correction.

A dismissal is an event, too. It holds for the record as long as the reason why it is unbilled is
the same, and it can be taken back. The record stays in the unbilled report.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidAdjustment
from billing_lib.ledger import events, usage
from billing_lib.ledger.database import reading
from billing_lib.ledger.usage import RECORD
from billing_lib.pricing.clock import with_period
from billing_lib.pricing.fields import USAGE, Template, canonical_json
from billing_lib.pricing.money import plain_text_column
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


def record_texts(book: PriceBook, records: pl.DataFrame) -> pl.DataFrame:
    """The fields MENDED of records as text, times in the facility's time zone; '' for none."""
    zone = book.facility.timezone
    texts = []
    for name in MENDED:
        value, dtype = pl.col(name), records.schema[name]
        if name == "elapsed":
            text = _elapsed_text(value)
        elif isinstance(dtype, pl.Datetime):
            text = value.dt.convert_time_zone(zone).dt.to_string("%Y-%m-%d %H:%M:%S%.f%:z")
        elif isinstance(dtype, pl.Decimal):
            text = plain_text_column(value)
        else:
            text = value.cast(pl.String)
        texts.append(text.fill_null("").alias(name))
    return records.select(texts)


def _elapsed_text(micros: pl.Expr) -> pl.Expr:
    """A duration in microseconds as ``1:30:00`` or ``0:00:01.500000``."""
    seconds, rest = micros // 1_000_000, micros % 1_000_000
    parts = (seconds // 60 % 60, seconds % 60)
    padded = [part.cast(pl.String).str.zfill(2) for part in parts]
    text = pl.format("{}:{}:{}", seconds // 3600, *padded)
    fraction = pl.format("{}.{}", text, rest.cast(pl.String).str.zfill(6))
    return pl.when(rest > 0).then(fraction).otherwise(text)


def read_texts(engine: Engine, book: PriceBook, record: str, occurrence: int) -> dict[str, str]:
    """The fields (MENDED) of a standing record as text.

    Raises
    ------
    InvalidAdjustment
        No such record stands.
    """
    with reading(engine) as connection:
        require(connection, book.facility.code, VIEWER)
        standing = _standing(connection, book, record, occurrence)
    return record_texts(book, standing).row(0, named=True)


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
        before = record_texts(book, standing).row(0, named=True)
        after = before | {name: text.strip() for name, text in fields.items()}
        changed = [name for name in MENDED if after[name] != before[name]]
        own_id = "" if own_id.strip() == record else own_id.strip()
        if not changed and not own_id:
            raise InvalidAdjustment("no field was changed", where=record)
        _require_mended(book, was, changed)
        now, troubles = _mended(book, standing, pl.DataFrame([after]))
        if troubles.height:
            raise InvalidAdjustment(
                f"this cannot be read: {troubles['trouble'][0]}",
                where=record,
                remedy=_WRITTEN[troubles["defect"][0]],
            )
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
        unbilled = _still_unbilled(
            connection, book, now.clear() if outcomes["before"].count() else now
        )
        left = unbilled["why"][0] if unbilled.height else ""
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


def _mended(
    book: PriceBook, standing: pl.DataFrame, texts: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The records with these texts (MENDED) as their fields, read as those of a file are.

    Also returns the records whose texts cannot be read: the key, ``defect`` and ``trouble``.
    """
    stated = texts.select(
        pl.when(pl.col(name) != "").then(pl.col(name)).alias(name) for name in MENDED
    )
    given = [name for name in MENDED if stated[name].count()]
    table = SourceTable(
        name="usage",
        fields=stated.select(standing["record"].alias("id"), *given),
        rows=standing["row"],
        raw=standing["raw"].gather,
    )
    read = usage_frame(
        table,
        {name: Template.parse(f"{{{name}}}") for name in ("id", *given)},
        book.facility.timezone,
        Writing(numbers=Numbers.declared("1234.5"), measure="[h]:mm:ss"),
        frozenset(),
    )
    kept = ("file", "row", "raw", "occurrence", "costs_before", "withdrawn", "file_sha256")
    now = read.with_columns(standing.select(*kept, "version"))
    detail = pl.col("detail").str.split("column ").list.last()
    troubles = now.filter(pl.col("defect").is_not_null()).select(
        *RECORD, "defect", trouble=detail.str.split("; ").list.first()
    )
    return with_period(now, book.facility.timezone).select(usage.STANDING.names()), troubles


def _still_unbilled(connection: Connection, book: PriceBook, now: pl.DataFrame) -> pl.DataFrame:
    """The mended records without a charge that cannot be billed: the key, and ``why``.

    They are in the unbilled report then.
    """
    facility = book.facility.code
    rating = rate_usage(
        now.select(USAGE.names()),
        Catalogue.of(book),
        references=known_references(connection, facility),
    )
    unbilled = rating.unbilled.join(now.select(*RECORD, "period"), on=RECORD)
    # Those without a month are there already.
    usage.insert_unbilled(connection, facility, unbilled.filter(pl.col("period").is_not_null()))
    reason = pl.col("reason").str.replace_all("_", " ")
    return unbilled.select(*RECORD, why=pl.format("it is not billed yet, {}: {}", reason, "detail"))


@dataclass(frozen=True)
class MendedRows:
    """The result of mending many rows.

    Attributes
    ----------
    rows
        ``record``, ``occurrence``, ``file``, ``row``, and ``outcome``: '' for a record that can be
        billed now, or why it stays unbilled or unchanged.
    mended
        The number of records that get another version.
    billable
        The number of records that can be billed now.
    sentence
        The result in words.
    """

    rows: pl.DataFrame
    mended: int
    billable: int
    sentence: str


def waiting_values(engine: Engine, book: PriceBook, month: str) -> pl.DataFrame:
    """The fields (MENDED) of a month's rows that wait to be mended, as text, with their key."""
    with reading(engine) as connection:
        require(connection, book.facility.code, VIEWER)
        standing = _waiting(connection, book, month)
    return pl.concat([standing.select(RECORD), record_texts(book, standing)], how="horizontal")


def _waiting(connection: Connection, book: PriceBook, month: str) -> pl.DataFrame:
    facility = book.facility.code
    rows = month_rows(connection, facility, month).filter(pl.col("dismissed") == "")
    standing = usage.read_standing(connection, facility, rows["record"].unique())
    return standing.filter(pl.col("withdrawn").is_null()).join(rows, on=RECORD, how="semi")


def mend_rows(
    engine: Engine,
    book: PriceBook,
    month: str,
    field: str,
    old: str,
    new: str,
    reason: str,
    *,
    preview: bool = False,
) -> MendedRows:
    """Write another value into a field of all of a month's waiting rows that have the old one.

    It is one event. Rows that are dismissed, or would still not be readable, stay as they are.

    Raises
    ------
    InvalidAdjustment
        There is no reason, no row has the old value, or no row can be mended so.
    """
    if not preview:
        require_reason(reason)
    words, new = field.replace("_", " "), new.strip()
    if new == old:
        raise InvalidAdjustment("no field was changed", where=words)
    with changing(engine, book, REVIEWER, preview=preview) as connection:
        waiting = _waiting(connection, book, month)
        texts = record_texts(book, waiting)
        chosen = texts[field] == old
        standing, texts = waiting.filter(chosen), texts.filter(chosen)
        if standing.height == 0:
            raise InvalidAdjustment(
                f"no row of {month} has {words} '{old}' any more", remedy="refresh the page"
            )
        now, troubles = _mended(book, standing, texts.with_columns(pl.lit(new).alias(field)))
        now, troubles = _without_their_defect(standing, field, now, troubles)
        places = standing.select(*RECORD, "file", "row")
        standing = standing.join(troubles, on=RECORD, how="anti")
        if standing.height == 0:
            raise InvalidAdjustment(
                f"no row can be mended so: {troubles['trouble'][0]}",
                where=words,
                remedy=_WRITTEN[troubles["defect"][0]],
            )
        event = events.record_event(
            connection,
            book.facility.code,
            kind=MEND,
            subject=f"{month} {field}",
            reason=reason.strip(),
            before=canonical_json({field: old, "records": standing["record"].sort().to_list()}),
            after=canonical_json({field: new}),
        )
        replacement = Replacement.of(connection, book, standing, now)
        outcomes = replacement.carry_out(connection, book, event)
        charged = outcomes.filter(pl.col("before").is_not_null())
        mended = now.join(replacement.refused, on=RECORD, how="anti")
        left = _still_unbilled(connection, book, mended.join(charged, on=RECORD, how="anti"))
    outcome = pl.concat(
        [
            left.rename({"why": "outcome"}),
            replacement.refused.select(*RECORD, outcome="note"),
            troubles.select(*RECORD, outcome=pl.format("it stays as it is: {}", "trouble")),
        ]
    )
    rows = places.join(outcome, on=RECORD, how="left", maintain_order="left").with_columns(
        pl.col("outcome").fill_null("")
    )
    billable, count = rows.filter(outcome="").height, mended.height
    told = f"{words} {old or 'none'} → {new or 'none'} in {count:,} row{'' if count == 1 else 's'}"
    told += f"; {billable:,} of {rows.height:,} can be billed"
    return MendedRows(rows, count, billable, told)


def _without_their_defect(
    standing: pl.DataFrame, field: str, now: pl.DataFrame, troubles: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The records whose defect goes with the field, and those that stay (see ``_mended``)."""
    settled = [defect for defect, fields in _OF_DEFECT.items() if field in fields]
    defect = pl.col("defect")
    stay = standing.filter(defect.is_in(list(_OF_DEFECT)) & ~defect.is_in(settled)).select(
        *RECORD, "defect", trouble="detail"
    )
    troubles = pl.concat([troubles.join(stay, on=RECORD, how="anti"), stay])
    return now.join(troubles, on=RECORD, how="anti"), troubles


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
