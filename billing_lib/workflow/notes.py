"""Notes on single invoices, and the texts on all invoices of a facility.

    billing note RC 1993-10 --project u4 --text "The machine was down on 12 October."
    billing text RC instructions --set "Please check within 30 days."

Both are events, so every version is kept; the last one is in force, and an issued invoice keeps
the version it was issued with. A project has one note per month, and an empty note removes it. The
price book states the first version of the instructions and contacts.
"""

import json

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidAdjustment
from billing_lib.ledger import events
from billing_lib.ledger.database import Ledger, reading
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.permissions import (
    ADMINISTRATOR,
    REVIEWER,
    VIEWER,
    changing,
    note_facility,
    require,
)

NOTE_KIND = "invoice_note"
"""The kind of these events; their subject is ``<month>/<project>``."""

NOTES = pl.Schema({"project": pl.String(), "note": pl.String()})


def write_note(engine: Engine, book: PriceBook, month: str, project: str, text: str) -> str:
    """Write the note on a project's invoice of a month; return a sentence."""
    facility = book.facility.code
    teams = {known.code: known.team for known in book.projects}
    if project not in teams:
        raise InvalidAdjustment(f"the price book has no project '{project}'", where="project")
    note = text.strip()
    with changing(engine, book, REVIEWER) as connection:
        notes = dict(notes_in_force(connection, facility, month).iter_rows())
        if note == notes.get(project, ""):
            return f"{facility} {month}, project {project}: the note is the same, nothing changed"
        note_facility(connection, book)
        events.record_event(
            connection,
            facility,
            kind=NOTE_KIND,
            subject=f"{month}/{project}",
            reason="",
            after=canonical_json(note),
            team=teams[project],
        )
    done = "the note is written" if note else "the note is removed"
    return f"{facility} {month}, project {project}: {done}"


def read_notes(engine: Engine, book: PriceBook, month: str) -> dict[str, str]:
    """Read the notes on a month's invoices, by project."""
    facility = book.facility.code
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        return dict(notes_in_force(connection, facility, month).iter_rows())


def notes_in_force(connection: Connection, facility: str, month: str) -> pl.DataFrame:
    """Read the notes on a month's invoices (schema NOTES)."""
    written = events.read_events(connection, facility, kinds=[NOTE_KIND])
    of_month = written.filter(pl.col("subject").str.starts_with(f"{month}/"))
    last = of_month.group_by(pl.col("subject").str.strip_prefix(f"{month}/").alias("project")).agg(
        pl.col("after").last().str.json_decode(pl.String).alias("note")
    )
    return last.filter(pl.col("note") != "").sort("project").select(NOTES.names())


TEXT_KIND = "text"
"""The kind of these events; their subject is the text's name."""

TEXT_NAMES = ("instructions", "contacts")


def write_text(engine: Ledger, book: PriceBook, name: str, text: str, reason: str) -> str:
    """Write a new version of a facility's text; return a sentence."""
    _require_name(name)
    facility = book.facility.code
    with changing(engine, book, ADMINISTRATOR) as connection:
        before = texts_in_force(connection, book)[name]
        if before == text.strip():
            return f"{facility}: the {name} are the same, nothing changed"
        events.record_event(
            connection,
            facility,
            kind=TEXT_KIND,
            subject=name,
            reason=reason,
            before=canonical_json(before),
            after=canonical_json(text.strip()),
        )
        version = _versions(connection, facility, name).height + 1
    return f"{facility}: invoices issued from now on have version {version} of the {name}"


def texts_in_force(connection: Connection, book: PriceBook) -> dict[str, str]:
    """The present texts, by name."""
    first = {name: str(getattr(book.facility, name)).strip() for name in TEXT_NAMES}
    written = events.read_events(connection, book.facility.code, kinds=[TEXT_KIND])
    later = {name: json.loads(text) for name, text in written.select("subject", "after").rows()}
    return first | later


def text_versions(engine: Engine, book: PriceBook, name: str) -> pl.DataFrame:
    """List the versions of a text, the price book's first.

    Columns: ``version``, ``text``, ``by``, ``at``, ``reason``.
    """
    _require_name(name)
    with reading(engine) as connection:
        require(connection, book.facility.code, VIEWER)
        written = _versions(connection, book.facility.code, name)
    first = str(getattr(book.facility, name)).strip()
    rows = [(first, "price book", "", "")] + [
        (json.loads(after), by, at.isoformat(timespec="seconds"), reason)
        for after, by, at, reason in written.select("after", "login", "at", "reason").iter_rows()
    ]
    frame = pl.DataFrame(rows, schema=["text", "by", "at", "reason"], orient="row")
    return frame.with_row_index("version", 1).cast({"version": pl.Int64})


def _versions(connection: Connection, facility: str, name: str) -> pl.DataFrame:
    return events.read_events(connection, facility, kinds=[TEXT_KIND], subjects=[name])


def _require_name(name: str) -> None:
    if name not in TEXT_NAMES:
        raise InvalidAdjustment(
            f"a facility has no text '{name}'", remedy=f"name one of {', '.join(TEXT_NAMES)}"
        )
