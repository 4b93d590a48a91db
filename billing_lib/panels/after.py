"""The page "After issue": statements, funds, packages, journals, texts, mail, and roles.

    page = AfterPanel()
    page.part.value = "Statements"       a table of that part, and its actions below
    page.form.action.value = "pay"       on the ticked rows: a form, a look at what it touches, go

PARTS is the page: for each part its table, and its actions, each a function of what is ticked and
stated. Actions on the ledger are tried and undone before they can be carried out. The page of
invoices pays, voids, reissues and credits single invoices.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ipywidgets as widgets
import polars as pl
from sqlalchemy import Engine

from billing_lib import Site, open_site
from billing_lib.delivery.queue import preview_statements, queue_statements
from billing_lib.delivery.send import send_waiting
from billing_lib.documents.journal import render_journal
from billing_lib.errors import BillingError, InvalidAdjustment, count_of
from billing_lib.exports.documents import statement_documents
from billing_lib.exports.packages import delete_package, list_packages, read_package
from billing_lib.exports.templates import (
    delete_transformation,
    list_transformations,
    read_transformation,
)
from billing_lib.ledger.database import Ledger, trying, writing
from billing_lib.ledger.states import WAITING
from billing_lib.panels.forms import (
    Displayed,
    choice,
    date_entry,
    downloads,
    long_text_entry,
    steps,
    text_entry,
    zipped,
)
from billing_lib.panels.html import label_of
from billing_lib.panels.office import ActionForm, follow
from billing_lib.panels.table import NUMBER, Column, PagedTable
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.after_issue import deposit, list_funds
from billing_lib.workflow.journal import list_journals, post_journal, read_journal
from billing_lib.workflow.load import read_price_books
from billing_lib.workflow.notes import TEXT_NAMES, text_versions, write_text
from billing_lib.workflow.outbox import (
    WISHES,
    list_outbox,
    list_preferences,
    prefer,
    settle_message,
)
from billing_lib.workflow.permissions import ROLES, grant, list_permissions, revoke
from billing_lib.workflow.statements import (
    generate_statements,
    list_statements,
    pay_statement,
    unpay_statement,
)
from billing_lib.workflow.steps import Progress


@dataclass(frozen=True)
class Job:
    """An action at work: the ticked rows' names, the form's values, and where it writes.

    ``ledger`` is a transaction that a trial rolls back; ``trial`` tells actions on files to make
    nothing. ``files`` takes files to keep.
    """

    office: Site
    books: dict[str, PriceBook]
    facility: str
    month: str
    chosen: list[str]
    stated: Mapping[str, Any]
    ledger: Ledger
    trial: bool
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def book(self) -> PriceBook:
        """The facility's price book."""
        return self.books[self.facility]

    @property
    def period(self) -> Period:
        """The month."""
        return Period.parse(self.month)

    @property
    def engine(self) -> Engine:
        """The ledger, for actions on files."""
        return self.office.engine


@dataclass(frozen=True)
class PartAction:
    """An action of a part; ``ticked`` says that it is for ticked rows, ``ledger`` that it changes
    only the ledger."""

    label: str
    do: Callable[[Job], list[str]]
    entries: tuple[str, ...] = ()
    ticked: bool = True
    ledger: bool = True
    optional: tuple[str, ...] = ()
    """Entries that may stay empty."""


@dataclass(frozen=True)
class Part:
    """A part of the page: the rows of its table, the column that names them, its actions."""

    read: Callable[[Site, dict[str, PriceBook], str, str], pl.DataFrame]
    key: str
    actions: dict[str, PartAction]
    of: tuple[str, ...] = ("facility",)
    """The choices above the table: the facility, the month."""


def _files_of_statements(job: Job) -> list[str]:
    if not job.trial:
        for statement in job.chosen:
            job.files.update(
                statement_documents(
                    *(job.engine, job.office.settings.runs, job.books, statement),
                    ["pdf", "xlsx", "json"],
                )
            )
    return [f"PDF, XLSX and JSON of {statement}" for statement in job.chosen]


def _deliver_statements(job: Job) -> list[str]:
    stated = (job.engine, job.office.settings, job.books, job.period)
    if not job.trial:
        queued = queue_statements(*stated)
        return [*queued.sentences, *queued.problems]
    with TemporaryDirectory(prefix="billing-") as folder:
        queued = preview_statements(*stated, None, Path(folder))
        job.files["messages.zip"] = zipped(Path(folder))
    return [
        f"{count_of(queued.messages, 'message')}, new or waiting, in messages.zip",
        *queued.problems,
    ]


def _kept_package(job: Job) -> list[str]:
    for package in job.chosen:
        content = read_package(job.engine, job.office.settings, package)
        job.files[f"package-{package}.zip"] = content
    return [f"package {package}" for package in job.chosen]


def _deleted_packages(job: Job) -> list[str]:
    settings, reason = job.office.settings, job.stated["reason"]
    if job.trial:
        return [f"package {package} would be deleted" for package in job.chosen]
    return [delete_package(job.engine, settings, each, reason) for each in job.chosen]


def _kept_results(job: Job) -> list[str]:
    for result in job.chosen:
        kept = read_transformation(job.engine, job.office.settings, result)
        job.files[kept.file] = kept.content
    return [f"result {result}" for result in job.chosen]


def _deleted_results(job: Job) -> list[str]:
    settings, reason = job.office.settings, job.stated["reason"]
    if job.trial:
        return [f"result {result} would be deleted" for result in job.chosen]
    return [delete_transformation(job.engine, settings, each, reason) for each in job.chosen]


_SUFFIX = {"csv": "csv", "hledger": "journal", "beancount": "beancount"}


def _kept_journals(job: Job) -> list[str]:
    kind, said = job.stated["ledger"], []
    for number in job.chosen:
        made = read_journal(job.engine, job.book, int(number))
        name = f"{job.facility}-journal-{number}.{_SUFFIX[kind]}"
        job.files[name] = render_journal(made, kind).encode()
        said.append(f"journal {number}: {made.sentence}")
    return said


def _posted(job: Job) -> list[str]:
    kind = job.stated["ledger"]
    made = read_journal(job.engine, job.book) if job.trial else post_journal(job.engine, job.book)
    if made is None or made.postings.height == 0:
        return ["there is nothing to post"]
    number = "not-posted" if made.number is None else f"journal-{made.number}"
    job.files[f"{job.facility}-{number}.{_SUFFIX[kind]}"] = render_journal(made, kind).encode()
    return [f"{number.replace('-', ' ')}: {made.sentence}"]


def _sent(job: Job) -> list[str]:
    if job.trial:
        waiting = list_outbox(job.engine, job.facility, [WAITING]).height
        return [f"{count_of(waiting, 'message')} of {job.facility} waiting; what is due is sent"]
    sent = send_waiting(job.engine, job.office.settings)
    return [f"{count_of(sent.sent, 'message')} sent", *sent.sentences]


def _settled(action: str) -> Callable[[Job], list[str]]:
    return lambda job: [
        settle_message(job.ledger, message, action, job.stated["reason"]) for message in job.chosen
    ]


def _granted(job: Job) -> list[str]:
    stated = job.stated
    team = stated["team"] or None
    return [grant(job.ledger, job.book, stated["login"], stated["role"], team, stated["reason"])]


def _revoked(job: Job) -> list[str]:
    held = (each.rsplit(" ", 2) for each in job.chosen)  # login, role, team
    return [
        revoke(job.ledger, job.book, login, role, team or None, job.stated["reason"])
        for login, role, team in held
    ]


def _texts(office: Site, books: dict[str, PriceBook], facility: str, _: str) -> pl.DataFrame:
    return pl.concat(
        text_versions(office.engine, books[facility], name).select(
            pl.lit(name).alias("name"),
            pl.format("{} {}", pl.lit(name), "version").alias("key"),
            *("version", "text", "by", "at", "reason"),
        )
        for name in TEXT_NAMES
    )


PARTS = {
    "Statements": Part(
        lambda office, books, facility, month: list_statements(office.engine, month),
        "statement",
        {
            "update": PartAction(
                "Update the month's statements",
                lambda job: generate_statements(job.ledger, job.books, job.period).sentences,
                ticked=False,
            ),
            "pay": PartAction(
                "Record a payment",
                lambda job: [
                    pay_statement(job.ledger, each, job.stated["date"], job.stated["reference"])
                    for each in job.chosen
                ],
                ("date", "reference"),
            ),
            "unpay": PartAction(
                "Undo a payment",
                lambda job: [
                    unpay_statement(job.ledger, each, job.stated["reason"]) for each in job.chosen
                ],
                ("reason",),
            ),
            "write": PartAction("Write files", _files_of_statements, ledger=False),
            "deliver": PartAction(
                "Queue the month's messages", _deliver_statements, ticked=False, ledger=False
            ),
        },
        of=("month",),
    ),
    "Prepaid funds": Part(
        lambda office, books, facility, month: list_funds(office.engine, books[facility]),
        "project",
        {
            "deposit": PartAction(
                "Pay in, or take out a negative amount",
                lambda job: [
                    deposit(
                        *(job.ledger, job.book, job.stated["project"]),
                        *(job.stated["amount"], job.stated["reason"]),
                    )
                ],
                ("project", "amount", "reason"),
                ticked=False,
            )
        },
    ),
    "Packages": Part(
        lambda office, books, facility, month: list_packages(office.engine),
        "package",
        {
            "get": PartAction("Get the zip", _kept_package, ledger=False),
            "delete": PartAction("Delete", _deleted_packages, ("reason",), ledger=False),
        },
        of=(),
    ),
    "Transformations": Part(
        lambda office, books, facility, month: list_transformations(office.engine),
        "id",
        {
            "get": PartAction("Get the file", _kept_results, ledger=False),
            "delete": PartAction("Delete", _deleted_results, ("reason",), ledger=False),
        },
        of=(),
    ),
    "Journals": Part(
        lambda office, books, facility, month: list_journals(office.engine, books[facility]),
        "journal",
        {
            "post": PartAction(
                "Post all that is not posted", _posted, ("ledger",), ticked=False, ledger=False
            ),
            "get": PartAction("Get posted journals", _kept_journals, ("ledger",), ledger=False),
        },
    ),
    "Instructions and contacts": Part(
        _texts,
        "key",
        {
            "write": PartAction(
                "Write a new version",
                lambda job: [
                    write_text(
                        *(job.ledger, job.book, job.stated["name"]),
                        *(job.stated["text"], job.stated["reason"]),
                    )
                ],
                ("name", "text", "reason"),
                ticked=False,
            )
        },
    ),
    "Mail preferences": Part(
        lambda office, books, facility, month: list_preferences(
            office.engine, books[facility]
        ).with_columns(key=pl.format("{} {}", "team", "address")),
        "key",
        {
            "prefer": PartAction(
                "Set for the ticked addresses",
                lambda job: [
                    prefer(job.ledger, job.book, each.partition(" ")[2], job.stated["invoices"])
                    for each in job.chosen
                ],
                ("invoices",),
            )
        },
    ),
    "Messages": Part(
        lambda office, books, facility, month: list_outbox(office.engine, facility),
        "message",
        {
            "deliver": PartAction("Send what waits", _sent, ticked=False, ledger=False),
            "send": PartAction("Say that it arrived", _settled("send"), ("reason",)),
            "again": PartAction("Send once more", _settled("again"), ("reason",)),
            "withdraw": PartAction("Do not send any more", _settled("withdraw"), ("reason",)),
        },
    ),
    "Roles": Part(
        lambda office, books, facility, month: (
            list_permissions(office.engine, facility)
            .with_columns(key=pl.format("{} {} {}", "login", "role", pl.col("team").fill_null("")))
            .drop("facility")
        ),
        "key",
        {
            "grant": PartAction(
                "Give a role",
                _granted,
                ("login", "role", "team", "reason"),
                ticked=False,
                optional=("team",),
            ),
            "revoke": PartAction("Take ticked roles", _revoked, ("reason",)),
        },
    ),
}
"""The parts of the page."""


class PartForm(ActionForm):
    """The actions of the chosen part."""

    def __init__(self, panel: "AfterPanel") -> None:
        self.panel = panel
        super().__init__(
            {
                "project": text_entry("Project"),
                "amount": text_entry("Amount", "such as 1000.00"),
                "name": choice("Text", [(name.capitalize(), name) for name in TEXT_NAMES]),
                "text": long_text_entry("New version"),
                "date": date_entry("Date"),
                "reference": text_entry("Reference", "by which the payment is found"),
                "reason": text_entry("Reason", "why; kept in the history"),
                "ledger": choice("Format", [(kind, kind) for kind in _SUFFIX]),
                "invoices": choice("Invoices by mail", [(wish, wish) for wish in WISHES]),
                "login": text_entry("Login"),
                "role": choice("Role", [(f"{role}: {may}", role) for role, may in ROLES.items()]),
                "team": text_entry("Team", "of a lab administrator alone"),
            }
        )

    def actions(self) -> dict[str, PartAction]:
        """The actions of the part."""
        return PARTS[self.panel.part.value].actions

    def names(self, key: str) -> Sequence[str]:
        """The names of an action's entries."""
        return self.actions()[key].entries

    def target(self, key: str, stated: dict[str, Any]) -> list[str]:
        """The ticked rows' names."""
        for name in self.names(key):
            if not stated[name] and name not in self.actions()[key].optional:
                label = self.entries[name].description
                raise InvalidAdjustment(f"'{label}' has no entry", remedy="fill it in")
        chosen = self.panel.table.ticked if self.actions()[key].ticked else []
        if self.actions()[key].ticked and not chosen:
            raise InvalidAdjustment("no row is ticked", remedy="tick some in the table")
        return chosen

    def work(
        self, key: str, target: list[str], stated: dict[str, Any], step: Progress, *, trial: bool
    ) -> Job:
        """Carry an action out, or try it; the job has its sentences and files."""
        panel, action = self.panel, self.actions()[key]
        step(0, 1, action.label)
        panel.books = read_price_books(panel.office.settings.parameters)
        job = Job(
            *(panel.office, panel.books, panel.facility.value or "", panel.month.value.strip()),
            *(target, stated, panel.office.engine, trial),
        )
        if action.ledger:
            with (trying if trial else writing)(panel.office.engine) as connection:
                self.said = action.do(replace(job, ledger=connection))
        else:
            self.said = action.do(job)
        return job

    def show(self, key: str, outcome: Job) -> tuple[str, list[str]]:
        """Show the result of the trial."""
        self.message.say(f"Nothing is done yet: {'; '.join(self.said[:3]) or 'nothing to do'}.")
        self._list(outcome)
        return self.actions()[key].label, outcome.chosen

    def finish(self, key: str, outcome: Job) -> None:
        """Show the result of the action."""
        self.panel.refresh()
        self.message.say(f"Done: {'; '.join(self.said[:3])}")
        self._list(outcome)

    def _list(self, job: Job) -> None:
        parts = []
        if job.files:
            parts.append(widgets.HTML(downloads(self.panel.office.settings.office, job.files)))
        if len(self.said) > 3:
            parts.append(widgets.HTML(steps(self.said)))
        self.result.children = parts


class AfterPanel(Displayed):
    """The page of the notebook ``after``."""

    def __init__(self, part: str = "", month: str = "", office: Site | None = None) -> None:
        self.office = office or open_site()
        self.books = read_price_books(self.office.settings.parameters)
        self.part = choice("Part", [(name, name) for name in PARTS])
        self.part.value = part or "Statements"
        facilities = [(f"{it.facility.name} ({code})", code) for code, it in self.books.items()]
        self.facility = choice("Facility", facilities)
        self.month = text_entry("Month", "2026-03")
        self.month.value = month or str(Period.parse(f"{dt.datetime.now(dt.UTC):%Y-%m}").previous)
        self.form = PartForm(self)
        self.message = self.form.message
        self.rows = pl.DataFrame()
        self.table = self._make_table(self.rows)
        self.above = widgets.VBox()
        self.shown = widgets.Box([self.table.widget], layout={"display": "block"})
        for entry in (self.part, self.facility, self.month):
            entry.observe(lambda _: self.open(), names="value")
        self.open()
        self.widget = widgets.VBox([self.part, self.above, self.shown, self.form.widget])
        self._following = follow(self.office.engine, self.follow_others)

    def html(self) -> str:
        """The table of the part."""
        return str(self.message.widget.value) + self.table.html()

    def open(self) -> None:
        """Show the chosen part, with its table and actions."""
        part = PARTS[self.part.value]
        self.above.children = [getattr(self, name) for name in part.of]
        self.form.result.children = []
        self.message.say("")
        self.refresh()
        self.form.offer([(it.label, key) for key, it in part.actions.items()])
        self.form.choose()

    def refresh(self) -> None:
        """Read the table again."""
        with self.message.sentences():
            self.rows = self._read()
            self.table = self._make_table(self.rows)
            self.shown.children = [self.table.widget]

    def follow_others(self) -> None:
        """Show other people's work; a look at an action holds while the ticked rows are unchanged.

        Nothing is said of a part that cannot be read, which is said already.
        """
        with suppress(BillingError):
            rows, ticked = self._read(), set(self.table.ticked)
            if rows.equals(self.rows):
                return
            named = pl.col(PARTS[self.part.value].key).is_in(ticked)
            before, now = self.rows.filter(named), rows.filter(named)
            self.rows = rows
            self.table.replace(rows.clone)
            if not now.equals(before):
                self.table.tick(now[PARTS[self.part.value].key].to_list())

    def _read(self) -> pl.DataFrame:
        """The rows of the part; their key is text."""
        part = PARTS[self.part.value]
        month = str(Period.parse(self.month.value.strip()))
        if "facility" in part.of and not self.facility.value:
            raise InvalidAdjustment("there is no facility yet", remedy="make a price book")
        rows = part.read(self.office, self.books, self.facility.value or "", month)
        return rows.with_columns(pl.col(part.key).cast(pl.String))

    def _make_table(self, rows: pl.DataFrame) -> PagedTable:
        part = PARTS[self.part.value]
        columns = [
            Column(
                name,
                label_of(name),
                NUMBER if dtype.is_numeric() or name in _AMOUNTS else "text",
                wide=3 if name in ("text", "selection", "reason", "address") else 1,
            )
            for name, dtype in rows.schema.items()
            if name not in ("key", "sha256", "template_sha256")
        ]
        return PagedTable(
            self.part.value.lower(),
            columns,
            rows.clone,
            key=part.key if rows.width else "",
            on_tick=self.form.forget,
            visible=max(1, min(12, rows.height)),
        )


_AMOUNTS = ("raw_total", "adjustment", "total", "paid_in", "drawn", "balance")
