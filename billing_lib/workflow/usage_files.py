"""Usage files before they are loaded: where they wait, and their mapping, tried and saved.

    waiting_files(settings, "RC")       inbox/november.csv, inbox/RC/jobs.txt, uploads of the office
    shown = look_at(engine, opened, path)
    shown.recognised                    csv, its columns and first rows, the field of each column
    shown.trouble                       why it cannot be read, if so
    shown.loaded                        what loading would do, row by row
    look_at(engine, opened, path, trial=("csv", {"item": "{tool}"}))    the same with this mapping
    save_mapping(engine, opened, "csv", {"item": "{tool}"}, "the new export")

A mapping is written into the price book's ``sources`` (workflow/price_book.py), after it was tried
on the file in a transaction that is rolled back.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import Engine

from billing_lib.errors import UnreadableFile
from billing_lib.pricing.clock import local_date
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.settings import Settings
from billing_lib.sources import Recognised, mappings, read_file, recognise
from billing_lib.sources.registry import presets, registered
from billing_lib.workflow.load import Loaded, load_files, with_lookups
from billing_lib.workflow.price_book import OpenedBook, save_book
from billing_lib.workflow.steps import Progress, unheard

MappingTrial = tuple[str, dict[str, Any]]
"""The name of a mapping, and its keys as in the price book."""


@dataclass(frozen=True)
class LookedAt:
    """A usage file as a mapping reads it, and the effect of loading it.

    Attributes
    ----------
    recognised
        None if not even its kind could be told.
    trouble
        The sentence on why it cannot be read; ''.
    usage
        Its usage frame; None if it cannot be read.
    loaded
        The result of loading it, without anything written.
    """

    path: Path
    recognised: Recognised | None
    trouble: str
    usage: pl.DataFrame | None
    loaded: Loaded | None


def uploads(settings: Settings, facility: str) -> Path:
    """The folder of the files that staff have uploaded for a facility."""
    return settings.office / facility / "uploads"


def waiting_files(settings: Settings, facility: str) -> list[Path]:
    """The files in the inbox, in the facility's folder of it, and among its uploads; the newest
    first. Links are passed over, for who puts one there chooses a file that the staff can read."""
    folders = (settings.inbox, settings.inbox / facility, uploads(settings, facility))
    files = [
        path
        for folder in folders
        if folder.is_dir()
        for path in folder.iterdir()
        if path.is_file() and not path.is_symlink() and not path.name.startswith(".")
    ]
    return sorted(files, key=lambda path: (-path.stat().st_mtime_ns, path.name))


def look_at(
    engine: Engine,
    opened: OpenedBook,
    path: Path,
    kind: str | None = None,
    trial: MappingTrial | None = None,
    step: Progress = unheard,
) -> LookedAt:
    """Recognise a file, read it, and load it in a transaction that is rolled back.

    ``trial`` is a mapping to be tried instead of the price book's.
    """
    book = opened.book if trial is None else _with_mapping(opened, *trial)
    if trial is not None and trial[0] not in registered():
        kind = trial[0]
    recognised, read, loaded, trouble = None, None, None, ""
    try:
        step(0, 3, f"recognising {path.name}")
        listed = mappings(book.sources)
        recognised = recognise(path, listed, kind)
        step(1, 3, "reading")
        facility = book.facility
        read = read_file(path, listed, facility.timezone, kind, facility.currency).usage
        step(2, 3, "comparing with the ledger")
        (loaded,) = load_files(engine, book, [path], unheard, kind, preview=True)
        step(3, 3, "done")
    except UnreadableFile as error:
        trouble = str(error)
    return LookedAt(path, recognised, trouble, read, loaded)


def stated_mapping(opened: OpenedBook, name: str) -> dict[str, Any]:
    """A mapping's keys as they stand in the price book, or its preset's."""
    stated = (opened.content.get("sources") or {}).get(name) or {}
    return {**presets().get(name, {}), **stated}


def own_mapping(recognised: Recognised, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping of this name; one of no kind of file is for files with this file's header."""
    if name in registered() or "header" in fields:
        return dict(fields)
    return {"kind": recognised.kind, "header": list(recognised.first.columns), **fields}


def columns_shown(recognised: Recognised) -> pl.DataFrame:
    """A file's columns, each with its first values and the fields that it ``becomes``."""
    first = recognised.first
    rows = [
        {"column": column}
        | {f"row {at}": value and value[:_LONGEST] for at, value in enumerate(first[column], 1)}
        | {
            "becomes": ", ".join(
                field.replace("_", " ")
                for field, template in recognised.templates.items()
                if f"{{{column}}}" in template or f"{{{column}[" in template
            )
        }
        for column in first.columns
    ]
    return pl.DataFrame(rows, infer_schema_length=None).cast(pl.String)


_LONGEST = 40
"""Letters of a cell that are shown."""


def save_mapping(
    engine: Engine, opened: OpenedBook, name: str, stated: dict[str, Any], reason: str
) -> OpenedBook:
    """Write a mapping into the price book; return the book as it is then.

    Raises
    ------
    InvalidPriceBook
        The mapping has a mistake.
    """
    mappings(_with_mapping(opened, name, stated).sources)
    return save_book(engine, opened, _content(opened, name, stated), reason)


def summarise(book: PriceBook, looked: LookedAt) -> list[tuple[str, str]]:
    """The things that were recognised in a file, each with a sentence: its kind, records, items,
    projects, times, quantities and notices."""
    found: list[tuple[str, str]] = []
    if looked.recognised is not None:
        known = looked.recognised
        kind = f"{known.kind}, {len(known.first.columns):,} columns"
        own = f", by the mapping {known.name}" if known.name != known.kind else ""
        found.append(("Kind", kind + own))
    usage = looked.usage
    if usage is None:
        return found
    found.append(("Records", f"{usage.height:,}, {usage['defect'].count():,} with a defect"))
    for noun, codes in (
        ("item", {item.code for item in book.items}),
        ("project", {project.code for project in book.projects}),
    ):
        stated = usage[noun].drop_nulls().unique().sort()
        unknown = [code for code in stated if code not in codes]
        words = _some(stated.to_list())
        if unknown:
            words += f"; the price book does not have {_some(unknown)}"
        found.append((f"{noun.capitalize()}s", words))
    zone = book.facility.timezone
    days = usage.select(
        first=pl.min_horizontal(local_date(pl.col("start"), zone).min(), pl.col("date").min()),
        last=pl.max_horizontal(local_date(pl.col("end"), zone).max(), pl.col("date").max()),
    ).row(0)
    found.append(("Days", f"{days[0]} to {days[1]} in {zone}" if days[0] else "none"))
    counted = usage["quantity"].drop_nulls()
    if counted.len():
        least, most = (f"{value.normalize():f}" for value in (counted.min(), counted.max()))  # type: ignore[union-attr]
        found.append(("Quantities", f"{counted.len():,}, from {least} to {most}"))
    notices = looked.loaded.notices if looked.loaded else ()
    return [*found, *(("Note", notice) for notice in notices)]


def _some(codes: list[str], most: int = 8) -> str:
    """``3: a, b, c``"""
    more = f" and {len(codes) - most:,} more" if len(codes) > most else ""
    return f"{len(codes):,}: {', '.join(codes[:most])}{more}" if codes else "none"


def _with_mapping(opened: OpenedBook, name: str, stated: dict[str, Any]) -> PriceBook:
    content = _content(opened, name, stated)
    book = opened.book.model_copy(update={"sources": content["sources"]})
    return with_lookups(book, opened.path.parent)


def _content(opened: OpenedBook, name: str, stated: dict[str, Any]) -> dict[str, Any]:
    content, preset = deepcopy(opened.content), presets().get(name, {})
    before = (content.get("sources") or {}).get(name) or {}
    stated = {
        key: value
        for key, value in stated.items()
        if key in before or key not in preset or preset[key] != value
    }
    content["sources"] = {**(content.get("sources") or {}), name: stated or None}
    return content
