"""Files made from documents and kept in the store: packages and transformations.

    7d1e…  "run RC-1993-11-1"  pdf, json   72 files  valid until 1994-03-06
      RC/RC-1994-00003.pdf   RC  bio   made of 41…   is e0…

    3f9c1a2b4d5e  RC  ap-upload.csv  RC-1993-11-1   template 9c…  input 41…  result e0…

A package is a zip of documents, with a row for each file in it. A transformation is the result of
a facility's template, with the hashes of template, input and result. Frames have the tables'
column names (schemas PACKAGE, PACKAGE_FILE, TRANSFORMATION).
"""

import datetime as dt

import polars as pl
from sqlalchemy import Connection, insert, select, union

from billing_lib.ledger import frames
from billing_lib.ledger.database import stamp
from billing_lib.ledger.frames import frame_schema
from billing_lib.ledger.schema import package, package_file, transformation

PACKAGE = frame_schema(package.columns)
"""Columns: id, selection, formats, files, sha256, bytes, valid_until, login and made_at."""

PACKAGE_FILE = frame_schema(package_file.columns)
"""Columns: package, path, facility, team, subject, format, source_sha256, sha256 and bytes."""


def insert_package(connection: Connection, values: dict[str, object], files: pl.DataFrame) -> None:
    """Add a package with its files; the ledger adds login and time.

    ``values`` are columns of PACKAGE without ``login`` and ``made_at``; ``files`` has PACKAGE_FILE
    without ``package``.
    """
    stamped = stamp(connection, who="login", when="made_at")
    connection.execute(insert(package).values(values | stamped))
    frames.insert_frame(connection, package_file, files, package=values["id"])


def read_packages(connection: Connection, ids: list[str] | None = None) -> pl.DataFrame:
    """Packages (schema PACKAGE), oldest first."""
    chosen = select(package)
    if ids is not None:
        listed = frames.listed(connection, ids)
        chosen = chosen.where(package.c.id.in_(select(listed.c.value)))
    return frames.read_frame(connection, chosen, PACKAGE).sort("made_at", "id")


def read_files(
    connection: Connection, ids: list[str] | None = None, subjects: list[str] | None = None
) -> pl.DataFrame:
    """Files of packages (schema PACKAGE_FILE), by package, path and facility."""
    chosen = select(package_file)
    for column, values in (("package", ids), ("subject", subjects)):
        if values is not None:
            listed = frames.listed(connection, values)
            chosen = chosen.where(package_file.c[column].in_(select(listed.c.value)))
    found = frames.read_frame(connection, chosen, PACKAGE_FILE)
    return found.sort("package", "path", "facility")


def read_owners(connection: Connection) -> pl.DataFrame:
    """The facilities and teams with files in each package: ``package``, ``facility``, ``team``."""
    columns = (package_file.c.package, package_file.c.facility, package_file.c.team)
    return frames.read_frame(connection, select(*columns).distinct())


def delete_package(connection: Connection, package_id: str) -> bool:
    """Delete a package and the rows of its files; False if it was already gone."""
    frames.delete_rows(connection, package_file, package_file.c.package == package_id)
    return frames.delete_rows(connection, package, package.c.id == package_id) == 1


def read_referred(connection: Connection, today: dt.date) -> set[str]:
    """The sha256 of every zip and file of the packages that are still valid."""
    valid = package.c.valid_until >= today
    zips = select(package.c.sha256).where(valid)
    files = (
        select(package_file.c.sha256)
        .join(package, package.c.id == package_file.c.package)
        .where(valid)
    )
    return set(connection.scalars(union(zips, files)))


TRANSFORMATION = frame_schema(transformation.columns)
"""Columns: id, facility, purpose, subject, template, format, the hashes of template, input and
result, bytes, login and made_at."""


def insert_transformations(connection: Connection, made: pl.DataFrame) -> None:
    """Add transformations (schema TRANSFORMATION without ``login`` and ``made_at``)."""
    stamped = stamp(connection, who="login", when="made_at")
    frames.insert_frame(connection, transformation, made, **stamped)


def read_transformations(
    connection: Connection, *, ids: list[str] | None = None, subjects: list[str] | None = None
) -> pl.DataFrame:
    """Transformations (schema TRANSFORMATION), oldest first."""
    chosen = select(transformation)
    for column, values in (("id", ids), ("subject", subjects)):
        if values is not None:
            listed = frames.listed(connection, values)
            chosen = chosen.where(transformation.c[column].in_(select(listed.c.value)))
    found = frames.read_frame(connection, chosen, TRANSFORMATION)
    return found.sort("made_at", "subject", "id")


def delete_transformation(connection: Connection, transformation_id: str) -> bool:
    """Delete a transformation; False if it was already gone."""
    return (
        frames.delete_rows(connection, transformation, transformation.c.id == transformation_id)
        == 1
    )


def read_kept_results(connection: Connection) -> set[str]:
    """The sha256 of every transformation's result."""
    return set(connection.scalars(select(transformation.c.sha256).distinct()))
