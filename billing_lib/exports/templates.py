"""Templates of a facility, and transformations: their results for invoices, runs and statements.

A facility's templates are Jinja2 files in the folder of its price book's name:

    parameters/research-computing.yml
    parameters/research-computing/templates/ap-upload.csv.j2     one file of all invoices of a run
                                            cover-letter.html.j2  one page for each invoice
                                            logo.svg              beside it, for its PDF

The first line may state the purpose and the line ends; the default is ``invoice`` and ``lf``:

    {# for: run, lines: crlf #}

A template may extend, include and import its neighbours and the program's own templates. A
neighbour replaces the program's template of its name, which stays available as ``builtin/…``. It is
rendered for each invoice, run or statement of a selection, with these values:

    "cover-letter.html" for: invoice    RC-1994-00003   {"facility": …, "invoice": …, "page": …}
    "ap-upload.csv"     for: run        RC-1993-11-1    {"facility": …, "run": …, "invoices": […]}
    "dunning.html"      for: statement  bio-1993-11     {"facility": …, "statement": …, …}

Templates are programs by others and not trusted. They run in Jinja's sandbox (template_worker.py)
within processes without settings, ledger and network, with limits. The same template and values
give the same bytes.

    transform(engine, settings, books, "ap-upload.csv", ExportSelection(Filter.parse({"run": …})))
    RC-1993-11-1 ap-upload.csv: made, 2,113 bytes

The store keeps a result with the hashes of its template and its values, and the next request gets
it from there. Rendered again on demand, a different result is kept anew. A result is not an issued
document: it may be deleted.
"""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import Environment, TemplateSyntaxError
from jinja2.meta import find_referenced_templates
from sqlalchemy import Connection, Engine

from billing_lib.audit.archive import open_record
from billing_lib.audit.verify import sealed_invoices
from billing_lib.documents.html import page_of
from billing_lib.documents.pictures import with_logo
from billing_lib.documents.view import view
from billing_lib.errors import InvalidFilter, InvalidTemplate, UnknownExport
from billing_lib.exports.packages import RemoteStore, Store, open_store, sweep
from billing_lib.ledger import exports, invoices
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.events import record_event
from billing_lib.ledger.states import ACTIVE
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.settings import Settings, require_extra
from billing_lib.sources.files import read_plain, read_text
from billing_lib.workflow.load import templates_folder
from billing_lib.workflow.permissions import REVIEWER, VIEWER, readable, require
from billing_lib.workflow.search import Chosen, ExportSelection, choose
from billing_lib.workflow.snapshot import read_logo
from billing_lib.workflow.statements import read_statement
from billing_lib.workflow.steps import Progress, unheard

INVOICE, RUN, STATEMENT = "invoice", "run", "statement"
PURPOSES = (INVOICE, RUN, STATEMENT)
"""The purposes of templates."""

_BUILT_IN = Path(__file__).parent.parent / "documents" / "templates"
_BUILT_IN_PREFIX = "builtin/"
_PAGES = ("invoice.html.j2",)
"""The program's own templates that can be rendered by themselves."""

_SUFFIX = ".j2"
_TAKEN_IN = (_SUFFIX, ".css")
_LINES = {"lf": "\n", "crlf": "\r\n"}
_HEAD = re.compile(r"\A\s*\{#-?\s*((?:for|lines)\s*:[^#]*?)\s*-?#\}\n?")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*\.([A-Za-z0-9]+)")


@dataclass(frozen=True)
class FacilityTemplate:
    """A template that can be rendered."""

    name: str  # ``ap-upload.csv``
    file: str  # ``ap-upload.csv.j2``
    purpose: str  # one of PURPOSES
    newline: str  # its line ends

    @property
    def format(self) -> str:
        """The suffix of its results: ``csv``."""
        return self.name.rpartition(".")[2].lower()


@dataclass(frozen=True)
class Templates:
    """The contents of a facility's folder of templates."""

    folder: Path  # it need not exist
    sources: Mapping[str, str]  # the text of each template by file name, also the program's own
    own: frozenset[str]  # the names of the facility's own templates
    beside: Mapping[str, str]  # the sha256 of the folder's other files (pictures, fonts) by name

    def all(self) -> list[FacilityTemplate]:
        """The templates that can be rendered, by name."""
        files = {*_PAGES, *(file for file in self.own if file.endswith(_SUFFIX))}
        names = (file.removesuffix(_SUFFIX) for file in files)
        return [self.require(name) for name in sorted(names) if _NAME.fullmatch(name)]

    def has(self, name: str) -> bool:
        """Whether the facility has its own template of this name."""
        return _file(name) in self.own

    def require(self, name: str) -> FacilityTemplate:
        """The template of this name."""
        file = _file(name)
        plain = file.removesuffix(_SUFFIX)
        if (file not in self.own and file not in _PAGES) or _NAME.fullmatch(plain) is None:
            files = {*_PAGES, *self.own}
            known = sorted(file.removesuffix(_SUFFIX) for file in files if _SUFFIX in file)
            raise InvalidTemplate(
                f"there is no template '{plain}'",
                where=str(self.folder),
                remedy=f"it is one of {', '.join(known)}",
            )
        head = _HEAD.match(self.sources[file])
        stated = {"for": INVOICE, "lines": "lf"} | _stated(head[1] if head else "")
        for key, known_values in (("for", PURPOSES), ("lines", tuple(_LINES))):
            if stated[key] not in known_values or len(stated) > 2:
                raise InvalidTemplate(
                    f"its first line says '{head[1] if head else ''}'",
                    where=f"{self.shown(file)}, line 1",
                    remedy="write {# for: invoice, run or statement, lines: lf or crlf #}",
                )
        return FacilityTemplate(plain, file, stated["for"], _LINES[stated["lines"]])

    def require_page(self, name: str) -> None:
        """Refuse a template that does not make HTML, the only source of a PDF."""
        template = self.require(name)
        if template.format != "html":
            raise InvalidTemplate(
                f"it makes {template.format}, and a PDF is made of HTML",
                where=self.shown(template.file),
                remedy="ask for no PDF",
            )

    def sha256(self, name: str, *, pdf: bool = False) -> str:
        """The sha256 of the template's file, or of a list by sha256sum of all files it depends on.

        The list includes templates that it takes in and, for a PDF, the files beside it.
        """
        first = self.require(name).file
        hashes = {file: _sha256(self.sources[file].encode()) for file in self._taken_in(first)}
        if pdf:
            hashes |= self.beside
        if len(hashes) == 1:
            return hashes[first]
        lines = "".join(f"{hashes[file]}  {file}\n" for file in sorted(hashes))
        return _sha256(lines.encode())

    def shown(self, file: str) -> str:
        """A template's file as messages name it."""
        return str(self.folder / file) if file in self.own else f"{file} of the program"

    def _taken_in(self, first: str) -> set[str]:
        """The template and all that it takes in; all templates if a value names one."""
        files, waiting = {first}, [first]
        while waiting:
            file = waiting.pop()
            try:
                named = list(find_referenced_templates(Environment().parse(self.sources[file])))  # noqa: S701 - parsed, not rendered
            except TemplateSyntaxError as error:
                place = f"{self.shown(file)}, line {error.lineno}"
                raise InvalidTemplate(str(error.message), where=place) from None
            if None in named:
                return set(self.sources)
            more = {name for name in named if name is not None and name in self.sources} - files
            files |= more
            waiting += more
        return files


def read_templates(folder: Path) -> Templates:
    """Read a facility's folder of templates, which need not exist."""
    built_in = {
        path.name: path.read_text(encoding="utf-8")
        for path in sorted(_BUILT_IN.iterdir())
        if path.name.endswith(_TAKEN_IN)
    }
    paths = [path for path in sorted(folder.glob("*")) if path.is_file()] if folder.exists() else []
    own: dict[str, str] = {}
    beside: dict[str, str] = {}
    for path in paths:
        if path.name.endswith(_TAKEN_IN):
            own[path.name] = read_text(path, within=folder)
        else:
            beside[path.name] = _sha256(read_plain(path, within=folder))
    named = {f"{_BUILT_IN_PREFIX}{name}": text for name, text in built_in.items()}
    return Templates(folder, built_in | named | own, frozenset(own), beside)


def _file(name: str) -> str:
    return name if name.endswith(_SUFFIX) else name + _SUFFIX


def _stated(head: str) -> dict[str, str]:
    pairs = (part.partition(":") for part in re.split("[,;]", head) if part.strip())
    return {key.strip(): value.strip().lower() for key, _, value in pairs}


Books = dict[str, PriceBook]


@dataclass(frozen=True)
class _Task:
    """One template to render for one subject."""

    facility: str
    templates: Templates
    template: FacilityTemplate
    subject: str
    context: dict[str, Any]  # the template's values, by name
    format: str
    template_sha256: str
    input_sha256: str
    last: dict[str, Any] | None = None  # the row of the newest kept result
    record: Path | None = None  # an invoice's audit record, which has the logo of its page

    @property
    def name(self) -> str:
        pdf = " as PDF" if self.format != self.template.format else ""
        return f"{self.subject} {self.template.name}{pdf}"

    @property
    def file(self) -> str:
        return _result_file(self.subject, self.template.name, self.format)


def _result_file(subject: str, template: str, format_: str) -> str:
    return f"{subject}-{template.rpartition('.')[0]}.{format_}".replace("/", "_")


def _tasks(
    engine: Engine,
    connection: Connection,
    settings: Settings,
    books: Books,
    name: str,
    chosen: Chosen,
    facility: str | None,
    pdf: bool,
) -> list[_Task]:
    """The tasks of a selection, by facility and subject."""
    named = () if facility is None else (facility,)
    codes = sorted({*chosen.invoices["facility"], *chosen.stated["facility"], *named})
    read = {code: read_templates(templates_folder(settings.parameters, code)) for code in codes}
    if chosen.invoices.height == 0 and facility is None:  # statements: any facility with it
        codes = [code for code in codes if read[code].has(name)] or codes[:1]
        if len(codes) > 1:
            raise InvalidFilter(
                f"{' and '.join(codes)} have a template '{name}'",
                remedy="say which facility",
            )
    elif facility is not None:
        codes = [facility]
    tasks = []
    for code in codes:
        require(connection, code, VIEWER)
        templates = read[code]
        template = templates.require(name)
        if pdf:
            templates.require_page(name)
        contexts = _contexts(engine, connection, settings, books, code, template, chosen)
        if not contexts:
            raise InvalidFilter(
                f"the template '{template.name}' of {code} is for a {template.purpose}, and none"
                " is selected",
                remedy="name statements, or choose invoices by a filter",
            )
        records = dict(chosen.invoices.select("number", "record").iter_rows())
        for subject, context in contexts:
            tasks.append(
                _Task(
                    facility=code,
                    templates=templates,
                    template=template,
                    subject=subject,
                    context=context,
                    format="pdf" if pdf else template.format,
                    template_sha256=templates.sha256(name, pdf=pdf),
                    input_sha256=_sha256(canonical_json(context).encode()),
                    record=open_record(settings.runs, records[subject])
                    if subject in records
                    else None,
                )
            )
    return tasks


def _contexts(
    engine: Engine,
    connection: Connection,
    settings: Settings,
    books: Books,
    code: str,
    template: FacilityTemplate,
    chosen: Chosen,
) -> list[tuple[str, dict[str, Any]]]:
    """The values of the template for each subject, by name (docs/templates.md)."""
    archive, stated = settings.runs, books[code].facility
    facility = {name: getattr(stated, name) for name in ("code", "name", "currency", "timezone")}
    own = chosen.invoices.filter(pl.col("facility") == code)
    if template.purpose == STATEMENT:
        return [
            (
                statement,
                {
                    "facility": facility,
                    "statement": read_statement(engine, books, statement),
                    "invoices": sealed_invoices(archive, chosen.on(statement)),
                },
            )
            for statement in chosen.statements
        ]
    if template.purpose == INVOICE:
        return [
            (invoice["number"], {"facility": facility, "invoice": invoice})
            for invoice in sealed_invoices(archive, own)
        ]
    runs = own["run"].unique().sort().to_list()
    whole = invoices.read_archived(connection, runs=runs)
    whole = whole.filter(pl.col("state").is_in(ACTIVE))  # void invoices are posted nowhere
    return [
        (
            run,
            {
                "facility": facility,
                "run": {"id": run, "period": part["period"][0]},
                "invoices": sealed_invoices(archive, part),
            },
        )
        for run in runs
        for part in [whole.filter(pl.col("run") == run)]
        if part.height
    ]


def _with_page(task: _Task) -> dict[str, Any]:
    """The values with the content of the program's own page, for templates that extend it."""
    if task.record is None:
        return task.context
    logo = read_logo(task.record / "data" / "snapshot")
    return task.context | {"page": page_of(view(with_logo(task.context["invoice"], logo)))}


def _changes(last: dict[str, Any], task: _Task) -> list[str]:
    """The changes since the last result, in words."""
    sentences = []
    if last["template_sha256"] != task.template_sha256:
        sentences.append("the template has changed")
    if last["input_sha256"] != task.input_sha256:
        sentences.append("its values have changed")
    return sentences


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


WORKER = Path(__file__).with_name("template_worker.py")
"""The script that renders."""

_AT_ONCE = 8  # documents of one process
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": "315532800"}  # fonts in a PDF have a date


@dataclass(frozen=True)
class Limits:
    """Limits of one document: processor seconds, characters of its text, bytes of memory."""

    seconds: float = 10
    length: int = 20_000_000
    memory: int = 1 << 30


def render(
    templates: Templates,
    name: str,
    contexts: Sequence[dict[str, Any]],
    *,
    pdf: bool = False,
    limits: Limits | None = None,
    step: Progress = unheard,
) -> list[bytes]:
    """Render a template once for each context, in that order; all or none.

    Parameters
    ----------
    contexts
        JSON values by their names in the template.
    pdf
        Make a PDF of each HTML page.
    """
    template = templates.require(name)
    if pdf:
        require_extra("templates", "a PDF of a template")
        templates.require_page(name)
    most = limits or Limits()
    job = {
        "name": template.file,
        "sources": dict(templates.sources),
        "newline": template.newline,
        "pdf": pdf,
        "folder": str(templates.folder),
        "seconds": most.seconds,
        "bytes": most.length,
        "memory": most.memory,
    }
    parts = [contexts[at : at + _AT_ONCE] for at in range(0, len(contexts), _AT_ONCE)]
    documents: list[bytes] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(_run, templates, job | {"contexts": part}) for part in parts]
        try:
            for running in jobs:
                documents += running.result()
                step(len(documents), len(contexts), name)
        finally:
            pool.shutdown(cancel_futures=True)
    return documents


def _run(templates: Templates, job: dict[str, Any]) -> list[bytes]:
    worker = subprocess.run(  # noqa: S603 - this Python, this program's own file
        [sys.executable, "-I", str(WORKER)],
        input=json.dumps(job).encode(),
        capture_output=True,
        env=_ENVIRONMENT,
        check=False,
    )
    if worker.returncode < 0:
        raise InvalidTemplate(
            "it takes longer, or needs more memory, than it may",
            where=templates.shown(job["name"]),
        )
    if worker.returncode:
        raise RuntimeError(worker.stderr.decode(errors="replace"))
    answer = json.loads(worker.stdout)
    problem = answer.get("problem")
    if problem is None:
        return [base64.b64decode(result) for result in answer["results"]]
    place = templates.shown(problem["template"])
    line = "" if problem["line"] is None else f", line {problem['line']}"
    raise InvalidTemplate(problem["what"], where=f"{place}{line}")


@dataclass(frozen=True)
class Transformed:
    """A result of a template."""

    id: str
    file: str  # a name for it: ``RC-1993-11-1-ap-upload.csv``
    content: bytes
    said: str  # a sentence about its making


def list_templates(settings: Settings, facility: str) -> pl.DataFrame:
    """A facility's templates: ``template``, ``purpose``, ``file``, ``sha256``, by name."""
    templates = read_templates(templates_folder(settings.parameters, facility))
    rows = [
        {
            "template": template.name,
            "for": template.purpose,
            "file": templates.shown(template.file),
            "sha256": templates.sha256(template.name),
        }
        for template in templates.all()
    ]
    return pl.DataFrame(rows)


def transform(
    engine: Engine,
    settings: Settings,
    books: Books,
    name: str,
    export: ExportSelection,
    *,
    pdf: bool = False,
    again: bool = False,
    step: Progress = unheard,
) -> list[Transformed]:
    """Render a template for a selection, or take the kept results; all or none.

    Parameters
    ----------
    name
        ``ap-upload.csv``; each selected facility's own template of that name.
    export
        The selection. A template for runs gets every run of a selected invoice, whole.
    pdf
        Make a PDF of the HTML.
    again
        Render also where a result is kept.
    """
    with reading(engine) as connection:
        chosen = choose(connection, export, books)
        wanted = export.wanted.facility
        tasks = _tasks(engine, connection, settings, books, name, chosen, wanted, pdf)
        kept = exports.read_transformations(connection, subjects=[task.subject for task in tasks])
    tasks = [replace(task, last=_last(kept, task)) for task in tasks]
    store = open_store(settings.store)
    with store.locked():
        sweep(engine, store)
        stale = [
            task
            for task in tasks
            if again or task.last is None or not store.has(task.last["sha256"])
        ]
        contents = dict(zip([id(task) for task in stale], _render(stale, pdf, step), strict=True))
        results = [_result(store, task, contents.get(id(task))) for task in tasks]
        rows = [row for _, row in results if row is not None]
        if rows:
            with writing(engine) as connection:
                exports.insert_transformations(connection, pl.DataFrame(rows))
    return [transformed for transformed, _ in results]


def list_transformations(engine: Engine, search: str = "") -> pl.DataFrame:
    """The kept results of facilities that the user may read, the newest last.

    ``id``, ``made_at``, ``login``, ``facility``, ``for``, ``subject``, ``template``, ``format``,
    ``bytes``, ``template_sha256`` and ``sha256``; ``search`` is part of any of these, in any case.
    """
    with reading(engine) as connection:
        results = exports.read_transformations(connection)
        visible = readable(connection, results["facility"].unique())
    listed = results.filter(pl.col("facility").is_in(visible)).select(
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
    """A kept result."""
    with reading(engine) as connection:
        row = _require(connection, result, VIEWER)
    file = _result_file(row["subject"], row["template"], row["format"])
    content = open_store(settings.store).read(row["sha256"])
    return Transformed(result, file, content, f"{result}: as it was made")


def delete_transformation(engine: Engine, settings: Settings, result: str, reason: str = "") -> str:
    """Delete a kept result, and its file if nothing else refers to it; returns a sentence."""
    store = open_store(settings.store)
    with store.locked():
        with writing(engine) as connection:
            row = _require(connection, result, REVIEWER)
            if not exports.delete_transformation(connection, result):
                raise _unknown(result)
            columns = ("subject", "template", "format", "template_sha256", "sha256")
            record_event(
                connection,
                row["facility"],
                kind="delete_transformation",
                subject=result,
                reason=reason,
                before=canonical_json({name: row[name] for name in columns}),
            )
        sweep(engine, store)
    return f"{result}: {row['subject']} {row['template']} deleted"


def _last(kept: pl.DataFrame, task: _Task) -> dict[str, Any] | None:
    same = kept.filter(
        (pl.col("facility") == task.facility)
        & (pl.col("subject") == task.subject)
        & (pl.col("template") == task.template.name)
        & (pl.col("format") == task.format)
    )
    return same.row(-1, named=True) if same.height else None


def _render(tasks: Sequence[_Task], pdf: bool, step: Progress) -> list[bytes]:
    """The results in the order of the tasks, rendered by each facility's own template."""
    contents: list[bytes] = []
    for code in dict.fromkeys(task.facility for task in tasks):
        part = [task for task in tasks if task.facility == code]
        contexts = [_with_page(task) for task in part]
        contents += render(part[0].templates, part[0].template.name, contexts, pdf=pdf, step=step)
    return contents


def _result(
    store: Store | RemoteStore, task: _Task, content: bytes | None
) -> tuple[Transformed, dict[str, Any] | None]:
    """A result, and its row for the ledger if it is new."""
    last = task.last
    changed = [] if last is None else _changes(last, task)
    if content is None:
        if last is None:
            raise InvalidTemplate(f"{task.name} was neither kept nor made")
        since = f"; {' and '.join(changed)} since; it can be made anew" if changed else ""
        sentence = f"{task.name}: made before, nothing changed{since}"
        return Transformed(last["id"], task.file, store.read(last["sha256"]), sentence), None
    sha256 = store.put(content)
    if last is not None and last["sha256"] == sha256 and not changed:
        sentence = f"{task.name}: made again, nothing changed"
        return Transformed(last["id"], task.file, content, sentence), None
    key = uuid.uuid4().hex[:12]
    row: dict[str, Any] = {
        "id": key,
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
    reason = f" again: {' and '.join(changed)}" if changed else ""
    sentence = f"{task.name}: made{reason}, {len(content):,} bytes"
    return Transformed(key, task.file, content, sentence), row


def _require(connection: Connection, result: str, role: str) -> dict[str, Any]:
    rows = exports.read_transformations(connection, ids=[result])
    if rows.height == 0:
        raise _unknown(result)
    row = rows.row(0, named=True)
    require(connection, row["facility"], role)
    return row


def _unknown(result: str) -> UnknownExport:
    return UnknownExport(
        f"there is no transformation {result}", remedy="'billing transformations' lists them"
    )
