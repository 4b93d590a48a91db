"""Transformations: a facility's templates rendered for invoices, runs and statements, and kept.

    transform(engine, settings, books, "ap-upload.csv", Export(Filter.parse({"run": …})))
    RC-1993-11-1 ap-upload.csv: made, 2,113 bytes

What is made is kept in the store with the hashes of its template and of what it was made from. The
next time it is taken from there; made again on demand, it is kept anew where it came out
otherwise. It is nothing issued: it may be deleted.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.documents.facility_templates import (
    read_templates,
)
from billing_lib.documents.sandbox import Step, render
from billing_lib.documents.store import Store
from billing_lib.errors import InvalidTemplate, UnknownExport
from billing_lib.ledger import transformations as ledger_transformations
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.events import record_event
from billing_lib.pricing.fields import canonical_json
from billing_lib.settings import Settings
from billing_lib.sweeping import sweep
from billing_lib.transforming import Books, Task, changes, tasks_of, with_page
from billing_lib.workflow.exporting import Export, choose
from billing_lib.workflow.permissions import REVIEWER, VIEWER, readable, require
from billing_lib.workflow.price_books import templates_folder


@dataclass(frozen=True)
class Transformed:
    """One result.

    Attributes
    ----------
    file
        A name for it: ``RC-1993-11-1-ap-upload.csv``.
    said
        What was done, in words.
    """

    id: str
    file: str
    content: bytes
    said: str


def list_templates(settings: Settings, facility: str) -> pl.DataFrame:
    """A facility's templates: ``template``, ``purpose``, ``file``, ``sha256``, by name."""
    templates = read_templates(templates_folder(settings.parameters, facility))
    rows = [
        {
            "template": it.name,
            "for": it.purpose,
            "file": templates.shown(it.file),
            "sha256": templates.sha256(it.name),
        }
        for it in templates.all()
    ]
    return pl.DataFrame(rows)


def transform(
    engine: Engine,
    settings: Settings,
    books: Books,
    name: str,
    export: Export,
    *,
    pdf: bool = False,
    again: bool = False,
    step: Step = lambda done, total, what: None,
) -> list[Transformed]:
    """Render a template for what is selected, or take what is kept; all of it or nothing.

    Parameters
    ----------
    name
        ``ap-upload.csv``; each facility's own where the selection is of several.
    export
        A template for invoices is rendered for each, one for runs for each run that has any of
        them, with all of the run, and one for statements for each statement.
    pdf
        Make a PDF of the HTML.
    again
        Render it though it is kept.

    Raises
    ------
    InvalidTemplate
        There is no such template, or it cannot be rendered; by template and line.
    NotPermitted
        It takes the role viewer in the facility whose template it is.
    InvalidFilter, NotReady, UnknownStatement
        Nothing is selected; nothing of it is issued; there is no such statement.
    InvalidRecord, UnwritableFile
        What is archived is not as it was sealed; the store cannot be written.
    """
    with reading(engine) as connection:
        chosen = choose(connection, export, books)
        wanted = export.wanted.facility
        tasks = tasks_of(engine, connection, settings, books, name, chosen, wanted, pdf)
        kept = ledger_transformations.read_transformations(
            connection, subjects=[task.subject for task in tasks]
        )
    tasks = [replace(task, last=_last(kept, task)) for task in tasks]
    store = Store(settings.store)
    with store.locked():
        sweep(engine, store)
        stale = [task for task in tasks if again or not _is_kept(store, task)]
        contents = dict(zip([id(task) for task in stale], _render(stale, pdf, step), strict=True))
        done = [_done(store, task, contents.get(id(task))) for task in tasks]
        fresh = [row for _, row in done if row is not None]
        if fresh:
            with writing(engine) as connection:
                ledger_transformations.insert_transformations(connection, pl.DataFrame(fresh))
    return [transformed for transformed, _ in done]


def list_transformations(engine: Engine, search: str = "") -> pl.DataFrame:
    """The results that are kept in facilities that who is asking may read, the last made last.

    ``id``, ``made_at``, ``login``, ``facility``, ``for``, ``subject``, ``template``, ``format``,
    ``bytes``, ``template_sha256`` and ``sha256``.

    Parameters
    ----------
    search
        Part of any of these, whatever its case.
    """
    with reading(engine) as connection:
        found = ledger_transformations.read_transformations(connection)
        seen = readable(connection, found["facility"].unique())
    listed = found.filter(pl.col("facility").is_in(seen)).select(
        "id",
        pl.col("made_at").dt.strftime("%Y-%m-%d %H:%M"),
        "login",
        "facility",
        pl.col("purpose").alias("for"),
        *("subject", "template", "format", "bytes", "template_sha256", "sha256"),
    )
    words = pl.concat_str(pl.all().cast(pl.String), separator="\n").str.to_lowercase()
    return listed.filter(words.str.contains(search.lower(), literal=True))


def read_transformation(engine: Engine, settings: Settings, result: str) -> Transformed:
    """A result that is kept.

    Raises
    ------
    UnknownExport
        There is none with this id, or its file is gone.
    NotPermitted
        It takes the role viewer.
    """
    with reading(engine) as connection:
        row = _require(connection, result, VIEWER)
    stem = row["template"].rpartition(".")[0]
    file = f"{row['subject']}-{stem}.{row['format']}".replace("/", "_")
    content = Store(settings.store).read(row["sha256"])
    return Transformed(result, file, content, f"{result}: as it was made")


def delete_transformation(engine: Engine, settings: Settings, result: str, reason: str = "") -> str:
    """Delete a result that is kept, and its file where nothing else refers to it; what was done.

    Raises
    ------
    UnknownExport
        There is none with this id.
    NotPermitted
        It takes the role reviewer.
    """
    store = Store(settings.store)
    with store.locked():
        with writing(engine) as connection:
            row = _require(connection, result, REVIEWER)
            if not ledger_transformations.delete_transformation(connection, result):
                raise _unknown(result)
            told = ("subject", "template", "format", "template_sha256", "sha256")
            record_event(
                connection,
                row["facility"],
                kind="delete_transformation",
                subject=result,
                reason=reason,
                before=canonical_json({name: row[name] for name in told}),
            )
        sweep(engine, store)
    return f"{result}: {row['subject']} {row['template']} deleted"


def _last(kept: pl.DataFrame, task: Task) -> dict[str, Any] | None:
    same = kept.filter(
        (pl.col("facility") == task.facility)
        & (pl.col("subject") == task.subject)
        & (pl.col("template") == task.template.name)
        & (pl.col("format") == task.format)
    )
    return same.row(-1, named=True) if same.height else None


def _is_kept(store: Store, task: Task) -> bool:
    return task.last is not None and store.has(task.last["sha256"])


def _render(tasks: Sequence[Task], pdf: bool, step: Step) -> list[bytes]:
    """The results in the order of the tasks, each facility's with its own templates."""
    made: list[bytes] = []
    for code in dict.fromkeys(task.facility for task in tasks):
        part = [task for task in tasks if task.facility == code]
        contexts = [with_page(task) for task in part]
        made += render(part[0].templates, part[0].template.name, contexts, pdf=pdf, step=step)
    return made


def _done(
    store: Store, task: Task, content: bytes | None
) -> tuple[Transformed, dict[str, Any] | None]:
    """A result with what is said of it, and its row where it is kept anew."""
    last = task.last
    changed = [] if last is None else changes(last, task)
    if content is None:
        if last is None:
            raise InvalidTemplate(f"{task.name} was neither kept nor made")
        since = f"; {' and '.join(changed)} since, --again makes it anew" if changed else ""
        said = f"{task.name}: made before, nothing changed{since}"
        return Transformed(last["id"], task.file, store.read(last["sha256"]), said), None
    sha256 = store.put(content)
    if last is not None and last["sha256"] == sha256 and not changed:
        said = f"{task.name}: made again, nothing changed"
        return Transformed(last["id"], task.file, content, said), None
    made = uuid.uuid4().hex[:12]
    row: dict[str, Any] = {
        "id": made,
        "facility": task.facility,
        "purpose": task.template.purpose,
        "subject": task.subject,
        "template": task.template.name,
        "format": task.format,
        "template_sha256": task.template_sha256,
        "input_sha256": task.input_sha256,
        "sha256": sha256,
        "bytes": len(content),
    }
    why = f" again: {' and '.join(changed)}" if changed else ""
    said = f"{task.name}: made{why}, {len(content):,} bytes"
    return Transformed(made, task.file, content, said), row


def _require(connection: Connection, result: str, role: str) -> dict[str, Any]:
    found = ledger_transformations.read_transformations(connection, ids=[result])
    if found.height == 0:
        raise _unknown(result)
    row = found.row(0, named=True)
    require(connection, row["facility"], role)
    return row


def _unknown(result: str) -> UnknownExport:
    return UnknownExport(
        f"there is no transformation {result}", remedy="'billing transformations' lists them"
    )
