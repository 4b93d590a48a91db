"""Transformations that are kept: which template, of which hash, made what of what.

    3f9c1a2b4d5e  RC  ap-upload.csv  RC-1993-11-1   template 9c…  input 41…  result e0…

Frames have the table's column names (schema TRANSFORMATION).
"""

import polars as pl
from sqlalchemy import Connection, delete, select

from billing_lib.ledger import frames
from billing_lib.ledger.document_tables import transformation
from billing_lib.ledger.identity import stamp
from billing_lib.ledger.types import frame_schema

TRANSFORMATION = frame_schema(transformation.columns)
"""Columns of a transformation: id, facility, purpose, subject, template, format, the hashes of
template, input and result, bytes, login and made_at."""


def insert_transformations(connection: Connection, made: pl.DataFrame) -> None:
    """Add what was made; who and when come from the database.

    Parameters
    ----------
    made
        Schema TRANSFORMATION without ``login`` and ``made_at``.
    """
    stamped = stamp(connection, who="login", when="made_at")
    frames.insert_frame(connection, transformation, made, **stamped)


def read_transformations(
    connection: Connection, *, ids: list[str] | None = None, subjects: list[str] | None = None
) -> pl.DataFrame:
    """Transformations (schema TRANSFORMATION), the last made last."""
    chosen = select(transformation)
    for column, values in (("id", ids), ("subject", subjects)):
        if values is not None:
            listed = frames.listed(connection, values)
            chosen = chosen.where(transformation.c[column].in_(select(listed.c.value)))
    found = frames.read_frame(connection, chosen, TRANSFORMATION)
    return found.sort("made_at", "subject", "id")


def delete_transformation(connection: Connection, transformation_id: str) -> bool:
    """Delete one; whether it was still there."""
    gone = connection.execute(
        delete(transformation).where(transformation.c.id == transformation_id)
    )
    return gone.rowcount == 1


def read_kept_results(connection: Connection) -> set[str]:
    """The sha256 of every result that is kept."""
    return set(connection.scalars(select(transformation.c.sha256).distinct()))
