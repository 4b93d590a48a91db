"""What a template is rendered for: each invoice, run or statement of a selection, and its values.

"cover-letter.html" for: invoice    RC-1994-00003   {"facility": …, "invoice": …, "page": …}
"ap-upload.csv"     for: run        RC-1993-11-1    {"facility": …, "run": …, "invoices": […]}
"dunning.html"      for: statement  bio-1993-11     {"facility": …, "statement": …, …}
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.audit.archive import sealed_invoices
from billing_lib.documents.facility_templates import (
    INVOICE,
    STATEMENT,
    Template,
    Templates,
    read_templates,
)
from billing_lib.documents.html import page_of
from billing_lib.documents.logo import with_logo
from billing_lib.errors import InvalidFilter
from billing_lib.ledger import issued as ledger_issued
from billing_lib.ledger.states import ACTIVE
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.settings import Settings
from billing_lib.workflow.exporting import Chosen
from billing_lib.workflow.permissions import VIEWER, require
from billing_lib.workflow.price_books import templates_folder
from billing_lib.workflow.snapshot import read_logo
from billing_lib.workflow.statement_view import read_statement

Books = dict[str, PriceBook]


@dataclass(frozen=True)
class Task:
    """One template for one subject: what it is given, and what is kept of it from before.

    ``record`` is the audit record of an invoice, which has the logo of its page.
    """

    facility: str
    templates: Templates
    template: Template
    subject: str
    context: dict[str, Any]
    format: str
    template_sha256: str
    input_sha256: str
    last: dict[str, Any] | None = None
    record: Path | None = None

    @property
    def name(self) -> str:
        return f"{self.subject} {self.template.name}" + (
            " as PDF" if self.format != self.template.format else ""
        )

    @property
    def file(self) -> str:
        stem = self.template.name.removesuffix(f".{self.template.format}")
        return f"{self.subject}-{stem}.{self.format}".replace("/", "_")


def tasks_of(
    engine: Engine,
    connection: Connection,
    settings: Settings,
    books: Books,
    name: str,
    chosen: Chosen,
    facility: str | None,
    pdf: bool,
) -> list[Task]:
    """What is to be rendered for whom, in order of facility and subject."""
    named = () if facility is None else (facility,)
    codes = sorted({*chosen.invoices["facility"], *chosen.stated["facility"], *named})
    read = {code: read_templates(templates_folder(settings.parameters, code)) for code in codes}
    if chosen.invoices.height == 0 and facility is None:  # of a statement's facilities, who has it
        codes = [code for code in codes if read[code].has(name)] or codes[:1]
        if len(codes) > 1:
            raise InvalidFilter(
                f"{' and '.join(codes)} have a template '{name}'",
                remedy="say whose with --facility",
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
        given = _given(engine, connection, settings, books, code, template, chosen)
        if not given:
            raise InvalidFilter(
                f"the template '{template.name}' of {code} is for a {template.purpose}, and none"
                " is selected",
                remedy="name statements with --statement, else invoices by a filter",
            )
        records = dict(chosen.invoices.select("number", "record").iter_rows())
        for subject, context in given:
            tasks.append(
                Task(
                    facility=code,
                    templates=templates,
                    template=template,
                    subject=subject,
                    context=context,
                    format="pdf" if pdf else template.format,
                    template_sha256=templates.sha256(name, pdf=pdf),
                    input_sha256=_sha256(canonical_json(context).encode()),
                    record=settings.runs / records[subject] if subject in records else None,
                )
            )
    return tasks


def _given(
    engine: Engine,
    connection: Connection,
    settings: Settings,
    books: Books,
    code: str,
    template: Template,
    chosen: Chosen,
) -> list[tuple[str, dict[str, Any]]]:
    """What the template is given for each subject, by names (docs/templates.md)."""
    archive, about = settings.runs, books[code].facility
    facility = {name: getattr(about, name) for name in ("code", "name", "currency", "timezone")}
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
    whole = ledger_issued.read_archived(connection, runs=runs)
    whole = whole.filter(pl.col("state").is_in(ACTIVE))  # what is void is posted nowhere
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


def with_page(task: Task) -> dict[str, Any]:
    """What the program's own page shows of an invoice is there for templates that change it."""
    if task.record is None:
        return task.context
    logo = read_logo(task.record / "data" / "snapshot")
    return task.context | {"page": page_of(with_logo(task.context["invoice"], logo))}


def changes(last: dict[str, Any], task: Task) -> list[str]:
    pairs = (
        ("template_sha256", task.template_sha256, "the template has changed"),
        ("input_sha256", task.input_sha256, "what it is made of has changed"),
    )
    return [said for column, now, said in pairs if last[column] != now]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
