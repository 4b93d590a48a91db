"""Change a price book: its mistakes, its effect on open months, and saving it with an event.

    opened = open_book(engine, folder, "RC")
    content["rates"][0]["price"] = "0.15"                    a copy of opened.content
    shown = preview_book(engine, opened, content)
    shown.effect     period   project  charges  before  charges_after  after
    save_book(engine, opened, content, "prices of the new year")
    read_versions(engine, opened)    each version's date, login, reason, changes and text

The file stays the truth: only the changed values are written (pricing/yaml_edit.py), and a file
that somebody else has changed meanwhile is not overwritten. An event of the kind ``price_book``
holds who, when, why, the values before and after, and the sha256 of the file. A version that was
not saved here, such as one from git, is an event, too, once it is used. The texts of versions that
were saved or opened here are kept in a folder ``versions`` beside the price book.

Saving changes no charge. A month keeps its rates and rules until it is rated again and takes new
rates; the effect is the total of the month's invoices, drafts included, after that. It is computed
in a transaction that is rolled back.
"""

import hashlib
import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import (
    ChangedMeanwhile,
    InvalidPriceBook,
    NotReady,
    UnwritableFile,
    count_of,
)
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.acts import PRICE_BOOK
from billing_lib.ledger.database import reading, trying, writing
from billing_lib.ledger.events import read_events
from billing_lib.ledger.overview import open_months
from billing_lib.ledger.states import EDITABLE
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.pricing.yaml_edit import Change, changes, edited
from billing_lib.pricing.yaml_text import Document
from billing_lib.sources.files import read_text
from billing_lib.workflow.adjust import require_reason
from billing_lib.workflow.bulk import change_rates
from billing_lib.workflow.load import (
    NoLogo,
    check_logo,
    find_book,
    read_price_books,
    with_parts,
)
from billing_lib.workflow.permissions import (
    ADMINISTRATOR,
    REVIEWER,
    VIEWER,
    may,
    note_book,
    note_facility,
    require,
)
from billing_lib.workflow.price import changeable_charges
from billing_lib.workflow.rate import rate_month
from billing_lib.workflow.runs import RunScope, calculate, closed_projects, open_run, take_in
from billing_lib.workflow.search import Filter
from billing_lib.workflow.steps import Progress, unheard

EFFECT = pl.Schema(
    {
        "period": pl.String(),
        "project": pl.String(),
        "charges": pl.Int64(),
        "before": pl.Int64(),
        "charges_after": pl.Int64(),
        "after": pl.Int64(),
    }
)
"""Charges and total of each project's invoices of an open month, now and after rating again; in
minor units."""


@dataclass(frozen=True)
class OpenedBook:
    """A price book's file as it was opened."""

    path: Path
    text: str
    book: PriceBook

    @cached_property
    def document(self) -> Document:
        """The text by its keys."""
        return Document(self.text, self.path.name)

    @property
    def content(self) -> dict[str, Any]:
        """Its content with scalars as text; change a copy."""
        return self.document.content


@dataclass(frozen=True)
class BookPreview:
    """The result of a change of a price book, before it is saved.

    Attributes
    ----------
    changes
        The values that differ.
    effect
        The totals of open months that differ (schema EFFECT), by month and project.
    months
        The open months that were looked at.
    """

    changes: list[Change]
    effect: pl.DataFrame
    months: list[str]

    @property
    def sentence(self) -> str:
        """The effect of saving in words, and the charges that it leaves alone."""
        saved = f"Saving writes {count_of(len(self.changes), 'changed value')}"
        if not self.months:
            return f"{saved}. No month is open, so no total changes."
        moved = self.effect["period"].n_unique()
        months = ", ".join(self.months)
        return (
            f"{saved} and changes no charge by itself: {months} "
            f"{'keeps' if len(self.months) == 1 else 'keep'} the rates and rules of the last "
            "rating until they are taken anew. "
            + (
                f"Rated again at the new rates, {count_of(moved, 'month')} would have other "
                "totals, as below; "
                "earlier changes of the price book that the month has not taken count there, too. "
                if moved
                else "Rated again at the new rates, no total would differ. "
            )
            + "Issued invoices never change."
        )


def open_book(engine: Engine, folder: Path, facility: str) -> OpenedBook:
    """Open a facility's price book; a version that was not saved here is noted."""
    path, book = find_book(folder, facility)
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        noting = may(connection, facility, REVIEWER)
    if noting:
        with writing(engine) as connection:
            note_facility(connection, book)
    opened = OpenedBook(path, read_text(path), book)
    if noting:
        _keep(path, opened.text)
    return opened


def preview_book(
    engine: Engine, opened: OpenedBook, content: dict[str, Any], step: Progress = unheard
) -> BookPreview:
    """Compute the effect of a change on the open months, and roll it back.

    Raises
    ------
    InvalidPriceBook
        The content has a mistake.
    NotReady
        A month could not be rated any more.
    """
    _, book = _changed(opened, content)
    facility = book.facility.code
    with reading(engine) as connection:
        require(connection, facility, ADMINISTRATOR)
        months = [
            month
            for month, pending in open_months(connection, facility)
            if pending or closed_projects(connection, facility, month).len() == 0
        ]
    done, parts = 0, []
    for month in months:
        sums = []
        for version, again in ((opened.book, False), (book, True)):
            step(done, 2 * len(months), month)
            done += 1
            with trying(engine) as connection:
                sums.append(_sums(connection, version, month, again=again))
        now, after = sums
        compared = now.join(after, on="project", how="full", coalesce=True, suffix="_after")
        parts.append(
            compared.select(
                pl.lit(month).alias("period"),
                "project",
                *(pl.col(name).fill_null(0) for name in ("charges", "total")),
                *(pl.col(name).fill_null(0) for name in ("charges_after", "total_after")),
            ).rename({"total": "before", "total_after": "after"})
        )
    step(2 * len(months), 2 * len(months), "done")
    effect = pl.concat([EFFECT.to_frame(), *parts]).filter(
        (pl.col("before") != pl.col("after")) | (pl.col("charges") != pl.col("charges_after"))
    )
    differences = list(changes(opened.content, content))
    return BookPreview(differences, effect.sort("period", "project"), months)


def _sums(connection: Connection, book: PriceBook, month: str, *, again: bool) -> pl.DataFrame:
    """Sum a month's drafts by project, with drafts of the charges that are on none yet."""
    facility = book.facility.code
    try:
        note_facility(connection, book)
        if again:
            rate_month(connection, book, month, again=True)
            charges = ledger_charges.read_charges(connection, facility, period=month)
            if changeable_charges(charges).filter(pl.col("kind") == "usage").height:
                change_rates(connection, book, month, Filter())
        take_in(connection, book, open_run(connection, book, Period.parse(month), RunScope()))
        drafts = ledger_invoices.read_invoices(connection, facility, period=month, states=EDITABLE)
        calculate(connection, book, drafts["code"].to_list())
    except NotReady as error:
        raise NotReady(error.what, where=f"{facility} {month}", remedy=error.remedy) from error
    drafts = ledger_invoices.read_invoices(connection, facility, period=month, states=EDITABLE)
    return (
        drafts.group_by("project")
        .agg(pl.col("charges").sum(), pl.col("total").sum())
        .filter(pl.col("charges") > 0)
    )


def save_book(
    engine: Engine, opened: OpenedBook, content: dict[str, Any], reason: str
) -> OpenedBook:
    """Write a change into the file, with an event; return the book as it is then.

    Raises
    ------
    InvalidPriceBook
        The content has a mistake.
    ChangedMeanwhile
        The file was changed since it was opened.
    """
    require_reason(reason)
    text, book = _changed(opened, content)
    with writing(engine) as connection:
        require(connection, book.facility.code, ADMINISTRATOR)
        differences = list(changes(opened.content, content))
        before = {change.where: change.before for change in differences}
        after = {change.where: change.after for change in differences}
        # The event first: it holds the facility's chain of events until the file is written.
        note_book(connection, book, reason, before, after)
        note_facility(connection, book)
        if read_text(opened.path) != opened.text:
            raise ChangedMeanwhile(
                "the price book was changed since it was opened here",
                where=opened.path.name,
                remedy="open it again and repeat the change",
            )
        write_whole(opened.path, text)
    _keep(opened.path, text)
    return OpenedBook(opened.path, text, book)


@dataclass(frozen=True)
class BookVersion:
    """A version of a price book as the ledger noted it.

    Attributes
    ----------
    text
        None if it is not kept.
    before
        The version before it; None for the first.
    saved
        The values that differ from it, if the version was saved in the office.
    """

    at: datetime
    login: str
    reason: str
    text: str | None
    before: "BookVersion | None"
    saved: tuple[Change, ...]

    @cached_property
    def changes(self) -> list[Change] | None:
        """The values that differ from the version before; None if they are not known."""
        if self.before is None or self.saved:
            return list(self.saved)
        if self.text is None or self.before.text is None:
            return None
        return list(changes(self.before._content, self._content))

    @cached_property
    def _content(self) -> dict[str, Any]:
        return Document(self.text or "", "price book").content


def read_versions(engine: Engine, opened: OpenedBook) -> list[BookVersion]:
    """The versions of a price book, the last one first."""
    facility = opened.book.facility.code
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        noted = read_events(connection, facility, kinds=[PRICE_BOOK])
    versions: list[BookVersion] = []
    for event in noted.iter_rows(named=True):
        before, after = json.loads(event["before"]), json.loads(event["after"])
        sha256 = after["sha256"]
        saved = [
            Change(key, before.get(key), after.get(key))
            for key in dict.fromkeys([*before, *after])
            if key != "sha256"
        ]
        text = opened.text if sha256 == opened.book.sha256 else _kept(opened.path, sha256)
        last = versions[-1] if versions else None
        said = (event["at"], event["login"], event["reason"])
        versions.append(BookVersion(*said, text, last, tuple(saved)))
    return versions[::-1]


def _version_path(path: Path, sha256: str) -> Path:
    return path.with_suffix("") / "versions" / f"{sha256}.yml"


def _keep(path: Path, text: str) -> None:
    """Keep a version's text, where the folder may be written."""
    kept = _version_path(path, hashlib.sha256(text.encode()).hexdigest())
    if not kept.exists():
        with suppress(OSError, UnwritableFile):
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_whole(kept, text)


def _kept(path: Path, sha256: str) -> str | None:
    """A version's text; None if it is not kept, or is another by now."""
    kept = _version_path(path, sha256)
    text = read_text(kept) if kept.is_file() else ""
    return text if hashlib.sha256(text.encode()).hexdigest() == sha256 else None


def put_logo(engine: Engine, opened: OpenedBook, name: str, content: bytes) -> str:
    """Lay a logo beside the price book; return the file's name, for the key ``logo``.

    The name holds a part of the content's sha256, so that no logo in use is overwritten, and the
    file has no effect until the price book names it.

    Raises
    ------
    InvalidPriceBook
        The file is no PNG or SVG that documents can show.
    """
    with reading(engine) as connection:
        require(connection, opened.book.facility.code, ADMINISTRATOR)
    suffix = name.rpartition(".")[2].lower()
    try:
        check_logo(suffix, content)
    except NoLogo as error:
        raise InvalidPriceBook(str(error), where=name, remedy=error.remedy) from None
    mark = hashlib.sha256(content).hexdigest()[:8]
    path = opened.path.with_name(f"{opened.path.stem}-logo-{mark}.{suffix}")
    write_whole(path, content)
    return path.name


TEMPLATES = Path(__file__).parent / "new_facility"
"""A folder for each template: a price book, and an example of usage."""


def templates() -> list[str]:
    """The names of the templates for new facilities."""
    return sorted(path.parent.name for path in TEMPLATES.glob("*/price-book.yml"))


@dataclass(frozen=True)
class NewFacility:
    """A facility made from a template: its price book, and the example of its usage."""

    path: Path
    example: Path


def new_facility(
    engine: Engine, folder: Path, code: str, template: str, **keys: str
) -> NewFacility:
    """Make a facility from a template; ``keys`` are keys of the facility, such as ``name``.

    Raises
    ------
    InvalidPriceBook
        There is no such template, a key has a mistake, or the facility exists.
    """
    if template not in templates():
        raise InvalidPriceBook(
            f"there is no template '{template}'", remedy=f"name one of {', '.join(templates())}"
        )
    if code in read_price_books(folder):
        raise InvalidPriceBook(
            f"the facility '{code}' already has a price book", remedy="choose another code"
        )
    source = TEMPLATES / template
    original = Document(read_text(source / "price-book.yml"), template)
    facility = {"code": code} | {key: it for key, it in keys.items() if it}
    content = original.content | {"facility": original.content["facility"] | facility}
    text = edited(original, content).text
    book = PriceBook.parse(text, f"the new facility {code}")
    path = folder / f"{code.lower()}.yml"
    example = folder / code.lower() / next(source.glob("usage.*")).name
    with writing(engine) as connection:
        require(connection, code, ADMINISTRATOR)
        note_facility(connection, book, f"made from the template {template}")
        if path.exists():
            raise InvalidPriceBook("there is such a file already", where=path.name)
        write_whole(path, text)
        example.parent.mkdir(exist_ok=True)
        shutil.copyfile(source / example.name, example)
    return NewFacility(path, example)


def _changed(opened: OpenedBook, content: dict[str, Any]) -> tuple[str, PriceBook]:
    """The changed text, checked as a whole, and its price book."""
    if content == opened.content:
        raise NotReady("nothing was changed", where=opened.path.name)
    document = edited(opened.document, content)
    book = with_parts(PriceBook.of(document), opened.path.parent)
    was, code = opened.book.facility.code, book.facility.code
    if code != was:
        raise InvalidPriceBook(
            f"the facility's code cannot become '{code}'",
            where=f"{opened.path.name}, facility.code",
            remedy=f"set it back to '{was}', or make a new facility",
        )
    return document.text, book


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that it is the old or the new one at every moment."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with unfinished.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, unfinished)
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise UnwritableFile(
            f"the file cannot be written ({error.strerror})", where=path.name
        ) from None
