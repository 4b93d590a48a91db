"""Notes on invoices: what staff write to a lab on its next invoice of a month.

    billing note RC 1993-10 --project u4 --text "The machine was down on 12 October."

One note per project and month, kept as events; the last one stands, an empty one takes it away.
An issued invoice keeps the note it was issued with.
"""

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidAdjustment
from billing_lib.ledger import events
from billing_lib.ledger.database import reading, writing
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.facility import note_facility
from billing_lib.workflow.permissions import REVIEWER, VIEWER, require

KIND = "invoice_note"
"""The kind of these events; their subject is ``<month>/<project>``."""

NOTES = pl.Schema({"project": pl.String(), "note": pl.String()})


def write_note(engine: Engine, book: PriceBook, month: str, project: str, text: str) -> str:
    """Write the note of a project's invoice; what was done, in words.

    Raises
    ------
    InvalidAdjustment
        The price book has no such project.
    """
    facility = book.facility.code
    teams = {known.code: known.team for known in book.projects}
    if project not in teams:
        raise InvalidAdjustment(f"the price book has no project '{project}'", where="project")
    note = text.strip()
    with writing(engine) as connection:
        require(connection, facility, REVIEWER)
        standing = notes_in_force(connection, facility, month)
        if note == dict(standing.iter_rows()).get(project, ""):
            return f"{facility} {month}, project {project}: the note is so already, nothing changed"
        note_facility(connection, book)
        events.record_event(
            connection,
            facility,
            kind=KIND,
            subject=f"{month}/{project}",
            reason="",
            after=canonical_json(note),
            team=teams[project],
        )
    done = "the note is written" if note else "the note is taken away"
    return f"{facility} {month}, project {project}: {done}"


def read_notes(engine: Engine, book: PriceBook, month: str) -> dict[str, str]:
    """The notes of a month's invoices that stand, by project."""
    facility = book.facility.code
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        return dict(notes_in_force(connection, facility, month).iter_rows())


def notes_in_force(connection: Connection, facility: str, month: str) -> pl.DataFrame:
    """The notes of a month's invoices (schema NOTES), by project."""
    written = events.read_events(connection, facility, kinds=[KIND])
    of_month = written.filter(pl.col("subject").str.starts_with(f"{month}/"))
    last = of_month.group_by(pl.col("subject").str.strip_prefix(f"{month}/").alias("project")).agg(
        pl.col("after").last().str.json_decode(pl.String).alias("note")
    )
    return last.filter(pl.col("note") != "").sort("project").select(NOTES.names())
