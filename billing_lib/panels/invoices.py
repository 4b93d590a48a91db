"""The invoices notebook: one table over months and facilities, actions on it, and a viewer.

    panel = InvoicesPanel()
    panel.view.value = "past"        past months still open
    panel.table.tick_matching()      all that match the filter
    panel.actions.action.value = "submit"
    panel.actions.look.click()       22 invoices, 6,104.20 USD would be submitted; 2 cannot: …
    panel.actions.go.click()         the same, for good
    panel.viewer.open(row)           its page, lines, price, history and files below

Actions that change the ledger are those of workflow/invoice_actions.py; EXPORTS makes files,
messages and journals of issued invoices. Only invoices that were shown can be acted on.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ipywidgets as widgets
import polars as pl

from billing_lib import Site, open_site
from billing_lib.audit.verify import issued_files
from billing_lib.delivery.queue import preview_invoices, queue_invoices
from billing_lib.delivery.send import send_waiting
from billing_lib.documents.html import render_html
from billing_lib.documents.journal import render_journal
from billing_lib.documents.registry import FOR_DRAFTS, write_documents_of
from billing_lib.documents.text import Invoice
from billing_lib.documents.view import derivation, item_name, line_name, shared, summed
from billing_lib.documents.workbook import render_list
from billing_lib.errors import BillingError, InvalidAdjustment, NotReady, count_of
from billing_lib.exports.documents import read_documents
from billing_lib.exports.packages import make_package, read_package
from billing_lib.exports.templates import list_templates, transform
from billing_lib.ledger.database import change_mark
from billing_lib.ledger.states import ACTIVE, NUMBERED
from billing_lib.panels.forms import (
    FORMATS,
    Displayed,
    Fold,
    Place,
    button,
    buttons,
    choice,
    date_entry,
    downloads,
    framed,
    on_page,
    steps,
    suggestion,
    table,
    text_entry,
    tick,
    zipped,
)
from billing_lib.panels.office import ActionForm, Message, ProgressBar, follow
from billing_lib.panels.table import DATE, MONEY, NUMBER, OPENING, Column, PagedTable
from billing_lib.pricing.charge import as_decimals, as_text
from billing_lib.pricing.clock import Period
from billing_lib.pricing.money import minor_places
from billing_lib.workflow.approve import read_invoice_history
from billing_lib.workflow.detail import detail_names, read_detail
from billing_lib.workflow.invoice import read_invoice
from billing_lib.workflow.invoice_actions import (
    ACTIONS,
    CHANGED,
    Action,
    Entries,
    Outcome,
    act,
    require_entries,
    split_by_state,
    sums,
)
from billing_lib.workflow.journal import Selection, post_journal, read_journal
from billing_lib.workflow.load import read_price_books
from billing_lib.workflow.search import ALL, VIEWS, Books, ExportSelection, Filter, Page
from billing_lib.workflow.search import find_invoices as find
from billing_lib.workflow.steps import Progress

# --- actions that make files, messages and journals -----------------------------------------------

Make = Callable[[Site, Books, pl.DataFrame, Entries, Progress, bool], Outcome]
"""Makes files, messages or postings of invoices; with True it only names them."""

_WRITABLE = ("OPEN", "APPROVING", "REJECTED", "QUARANTINED", *NUMBERED)


def _write(
    office: Site, books: Books, rows: pl.DataFrame, entries: Entries, step: Progress, trial: bool
) -> Outcome:
    """A zip of documents: issued ones from their records, drafts as they would be issued now."""
    suffixes = entries["formats"].split(",")
    draft = pl.col("number").is_null()
    formats = pl.lit(value=not set(suffixes).isdisjoint(FOR_DRAFTS))
    writable = ~draft | (formats & (pl.col("charges") > 0))
    left_out = rows.filter(~writable)
    refused = [
        (name, "it has no charges" if not charges else "drafts are written as PDF, XLSX or HTML")
        for name, charges in left_out.select("name", "charges").iter_rows()
    ]
    outcome = Outcome(rows.filter(writable), refused=refused)
    if trial or outcome.done.height == 0:
        return outcome
    with TemporaryDirectory(prefix="billing-") as folder:
        for (facility,), part in outcome.done.group_by("facility", maintain_order=True):
            step(0, part.height, f"reading invoices of {facility}")
            codes = part["invoice"].to_list()
            book = books[str(facility)]
            documents = read_documents(office.engine, office.settings, book, codes, suffixes)
            write_documents_of(documents, suffixes, Path(folder) / str(facility), step)
        outcome.files[f"invoices-{_now()}.zip"] = zipped(Path(folder))
    return outcome


def _package(
    office: Site, books: Books, rows: pl.DataFrame, entries: Entries, step: Progress, trial: bool
) -> Outcome:
    """A package, which is kept for some days and listed."""
    outcome = Outcome(rows)
    if not trial:
        export = ExportSelection(
            numbers=tuple(rows["number"]), with_statements=entries["statements"]
        )
        formats = entries["formats"].split(",")
        made = make_package(office.engine, office.settings, books, export, formats, step=step)
        content = read_package(office.engine, office.settings, made.id)
        outcome.files[f"package-{made.id}.zip"] = content
        outcome.sentences += made.sentences
    return outcome


def _transform(
    office: Site, books: Books, rows: pl.DataFrame, entries: Entries, step: Progress, trial: bool
) -> Outcome:
    """The results of a facility's template; one for runs takes the whole runs."""
    outcome = Outcome(rows)
    if not trial:
        export = ExportSelection(numbers=tuple(rows["number"]))
        name = entries["template"]
        made = transform(office.engine, office.settings, dict(books), name, export, step=step)
        outcome.files |= {each.file: each.content for each in made}
        outcome.sentences += [each.said for each in made]
    return outcome


def _deliver(
    office: Site, books: Books, rows: pl.DataFrame, entries: Entries, step: Progress, trial: bool
) -> Outcome:
    """Messages to the teams' administrators; a trial makes them as files to look at."""
    outcome = Outcome(rows.clear())
    with TemporaryDirectory(prefix="billing-") as folder:
        for facility, month, part in _months(rows):
            step(outcome.done.height, rows.height, f"messages of {facility} {month}")
            numbers, book, period = list(part["number"]), books[facility], Period.parse(month)
            stated = (office.engine, office.settings, book, period)
            try:
                queued = (
                    preview_invoices(*stated, Path(folder) / f"{facility}-{month}", numbers)
                    if trial
                    else queue_invoices(*stated, numbers)
                )
            except BillingError as error:
                outcome.refused += [(name, str(error)) for name in part["name"]]
                continue
            outcome.done = pl.concat([outcome.done, part])
            said = f"{facility} {month}: {count_of(queued.messages, 'message')}, new or waiting"
            outcome.sentences += [said] if trial else queued.sentences
            outcome.sentences += queued.problems
        if trial and any(Path(folder).rglob("*.eml")):
            outcome.files["messages.zip"] = zipped(Path(folder))
    if not trial and entries["send"]:
        sent = send_waiting(office.engine, office.settings, step)
        outcome.sentences += [*sent.sentences, f"{count_of(sent.sent, 'message')} sent"]
    return outcome


def _months(rows: pl.DataFrame) -> Iterator[tuple[str, str, pl.DataFrame]]:
    for (facility, month), part in rows.group_by("facility", "period", maintain_order=True):
        yield str(facility), str(month), part


def _journal(
    office: Site, books: Books, rows: pl.DataFrame, entries: Entries, step: Progress, trial: bool
) -> Outcome:
    """A journal of each facility: the entries of these invoices that are not posted yet."""
    outcome = Outcome(rows.clear())
    for (facility,), part in rows.group_by("facility", maintain_order=True):
        step(outcome.done.height, rows.height, f"journal of {facility}")
        book, selection = books[str(facility)], Selection(numbers=tuple(part["number"]))
        try:
            made = (
                read_journal(office.engine, book, None, selection)
                if trial
                else post_journal(office.engine, book, selection)
            )
        except BillingError as error:
            outcome.refused += [(name, str(error)) for name in part["name"]]
            continue
        fresh = [] if made is None else made.postings["invoice"].unique().to_list()
        unposted = part.filter(pl.col("number").is_in(fresh))
        outcome.done = pl.concat([outcome.done, unposted])
        outcome.refused += [
            (name, "all its entries are posted")
            for name in part.filter(~pl.col("number").is_in(fresh))["name"]
        ]
        if made is not None and unposted.height:
            number = "not posted" if made.number is None else f"journal {made.number}"
            outcome.sentences.append(f"{facility}, {number}: {made.sentence}")
            suffix = {"csv": "csv", "hledger": "journal", "beancount": "beancount"}
            kind = entries["ledger"]
            name = f"{facility}-{number.replace(' ', '-')}.{suffix[kind]}"
            outcome.files[name] = render_journal(made, kind).encode()
    return outcome


EXPORTS: dict[str, tuple[Action, Make]] = {
    "write": (Action("Write files", "written", _WRITABLE, ("formats",)), _write),
    "package": (Action("Package", "packaged", NUMBERED, ("formats", "statements")), _package),
    "transform": (
        Action("Transform by a template", "transformed", NUMBERED, ("template",), ("template",)),
        _transform,
    ),
    "deliver": (Action("Deliver by mail", "told to their labs", ACTIVE, ("send",)), _deliver),
    "journal": (
        Action("Post to the general ledger", "posted", NUMBERED, ("ledger",)),
        _journal,
    ),
}
"""The actions that make something of invoices."""

_ALL_ACTIONS = {**ACTIONS, **{name: action for name, (action, _) in EXPORTS.items()}}


def _now() -> str:
    return f"{dt.datetime.now(dt.UTC):%Y%m%d-%H%M%S}"


class InvoiceActions(ActionForm):
    """The actions on the selected invoices.

    ``selected`` gives the selected invoices; ``changed`` is called after an action.
    """

    def __init__(
        self,
        office: Site,
        books: Books,
        selected: Callable[[], pl.DataFrame],
        changed: Callable[[], None],
    ) -> None:
        self.office, self.books = office, books
        self._selected, self._changed = selected, changed
        super().__init__(self._make_entries())
        self.offer([(it.label, key) for key, it in _ALL_ACTIONS.items()])

    def names(self, key: str) -> Sequence[str]:
        """The names of an action's entries."""
        return _ALL_ACTIONS[key].entries

    def target(self, key: str, stated: dict[str, Any]) -> pl.DataFrame:
        """The selected invoices."""
        rows = self._selected()
        if rows.height == 0:
            raise InvalidAdjustment("no invoice is selected", remedy="tick some in the table")
        require_entries(_ALL_ACTIONS[key], stated)
        return rows

    def _make_entries(self) -> dict[str, Any]:
        templates = {
            name
            for code in self.books
            for row in list_templates(self.office.settings, code).iter_rows(named=True)
            for name in [str(row["template"])]
        }
        frees = tick("its charges are free for another invoice")
        frees.value = True
        return {
            "comment": text_entry("Comment", "kept in the history"),
            "amount": text_entry("Amount", "to give back for each, before tax, such as 20.00"),
            "reason": text_entry("Reason", "why; kept in the history"),
            "date": date_entry("Date"),
            "reference": text_entry("Reference", "by which the payment is found"),
            "expense_code": text_entry("Expense code", "the project's split unless told"),
            "frees": frees,
            "again": tick("also if the same was given that day already"),
            "formats": choice("Formats", FORMATS),
            "statements": tick("with the statements that they are on"),
            "template": choice("Template", [(name, name) for name in sorted(templates)]),
            "send": tick("send at once, with all messages that wait"),
            "ledger": choice(
                "Format", [("CSV", "csv"), ("hledger", "hledger"), ("Beancount", "beancount")]
            ),
        }

    def work(
        self,
        key: str,
        target: pl.DataFrame,
        stated: dict[str, Any],
        step: Progress,
        *,
        trial: bool,
    ) -> Outcome:
        """Carry an action out on the invoices that can, or try it."""
        books = read_price_books(self.office.settings.parameters)  # they may have changed since
        if key in ACTIONS:
            return act(
                *(self.office.engine, books, ACTIONS[key], target, stated, step), trial=trial
            )
        action, make = EXPORTS[key]
        fitting, refused = split_by_state(action, target)
        outcome = Outcome(fitting)
        if fitting.height:
            outcome = make(self.office, books, fitting, stated, step, trial)
        outcome.refused = refused + outcome.refused
        return outcome

    def show(self, key: str, outcome: Outcome) -> tuple[str, pl.DataFrame] | None:
        """Show the result of the trial on the selected invoices."""
        action = _ALL_ACTIONS[key]
        if any(CHANGED in reason for _, reason in outcome.refused):
            self._changed()
        self._list(outcome)
        cannot = f"; {len(outcome.refused):,} cannot, listed below" if outcome.refused else ""
        if outcome.done.height == 0:
            self.message.refuse(f"None of them can be {action.done}{cannot}")
            return None
        touched = sums(outcome.done)
        self.message.say(f"Nothing is done yet. {touched} would be {action.done}{cannot}.")
        return f"{action.label}: {touched}", outcome.done.drop("name", strict=False)

    def failed(self) -> None:
        """Read the invoices again."""
        self._changed()

    def finish(self, key: str, outcome: Outcome) -> None:
        """Show the result of the action."""
        self._changed()
        self._list(outcome)
        cannot = f"; {len(outcome.refused):,} were refused" if outcome.refused else ""
        self.message.say(f"Done. {sums(outcome.done)} {_ALL_ACTIONS[key].done}{cannot}.")

    def _list(self, outcome: Outcome) -> None:
        """List the files, the refused invoices and the sentences."""
        parts: list[widgets.Widget] = []
        if outcome.files:
            parts.append(widgets.HTML(downloads(self.office.settings.office, outcome.files)))
        if outcome.refused:
            schema = {"Invoice": pl.String, "Reason": pl.String}
            told = [(name, on_page(reason)) for name, reason in outcome.refused]
            frame = pl.DataFrame(told, schema=schema, orient="row")
            columns = [Column("Invoice", "Invoice", wide=2), Column("Reason", "Reason", wide=9)]
            visible = min(frame.height, 8)
            listed = PagedTable("refused invoices", columns, frame.clone, visible=visible)
            parts.append(listed.widget)
        if outcome.sentences:
            parts.append(widgets.HTML(steps(outcome.sentences)))
        self.result.children = parts


# --- one invoice ----------------------------------------------------------------------------------

_LINE_COLUMNS = (
    Column("line", "Line", NUMBER),
    Column("charge", "Charge"),
    Column("date", "Date", DATE),
    Column("item", "Item", offers="item", wide=2),
    Column("description", "Description", wide=2),
    Column("user", "User", offers="user"),
    Column("quantity", "Quantity", NUMBER),
    Column("unit", "Unit"),
    Column("price", "Price", NUMBER),
    Column("raw_total", "Amount", NUMBER),
    Column("adjustment", "Adjustment", NUMBER),
    Column("total", "Total", NUMBER),
)

VIEWED = ("Page", "Lines and prices", "History", "Files")

FILES = ("pdf", "xlsx", "xml", "html", "json")

_LISTED = 200
"""The most charges of a line that are listed below it."""

_DETAIL = ("charge", "date", "item_name", "user", "quantity", "unit", "price", "total", "steps")
"""The columns of a charge below its line."""


class InvoiceViewer:
    """An invoice or draft: its page, its lines with the derivation of each, history and files."""

    def __init__(self, office: Site, books: Books) -> None:
        self.office, self.books = office, books
        self.message = Message()
        self.place = Place()
        self.heading = widgets.HTML()
        self.page = widgets.HTML(layout={"width": "auto"})
        self.lines = widgets.VBox()
        self.price = widgets.HTML()
        self.history = widgets.HTML()
        self.files = widgets.VBox()
        self.invoice: Invoice | None = None
        self.detail: dict[str, bytes] = {}
        self.shown = ""
        self.write = button("Write PDF and XLSX of the draft")
        self.write.on_click(lambda _: self._write_draft())
        self.tabs = widgets.Tab(
            [self.page, widgets.VBox([self.lines, self.price]), self.history, self.files]
        )
        for at, title in enumerate(VIEWED):
            self.tabs.set_title(at, title)
        self.widget = widgets.VBox([self.place, self.heading, self.message.widget, self.tabs])
        self.widget.layout.display = "none"

    def open(self, row: Mapping[str, Any]) -> None:
        """Show an invoice, a row of the table."""
        self.widget.layout.display = ""
        self.row = row
        self.shown = row["number"] or row["invoice"]
        self.heading.value = (
            f'<h2 style="margin: 12px 0 4px">{escape(self.shown)} · {escape(row["project"])} · '
            f"{escape(row['state'])}</h2>"
        )
        self.invoice, self.detail = None, {}
        self.page.value = self.price.value = self.history.value = ""
        self.lines.children = self.files.children = []
        self.message.say("")
        with self.message.sentences():
            self._show_history()
            if row["number"] is None:
                self._show_draft()
            else:
                self._show_issued(row["number"])

    def _show_issued(self, number: str) -> None:
        settings = self.office.settings
        held = issued_files(self.office.engine, settings.runs, number)
        names = [name for kind in FILES if (name := f"{number}.{kind}") in held]
        invoice = read_invoice(held[f"{number}.json"].decode())
        self.detail = {name: held[name] for name in detail_names(invoice)}
        contents = {name: held[name] for name in names} | self.detail
        self.files.children = [widgets.HTML(downloads(settings.office, contents))]
        self.page.value = framed(contents[f"{number}.html"].decode(), f"Invoice {number}")
        documents = read_documents(
            *(self.office.engine, settings, self.books[self.row["facility"]]),
            *([self.row["invoice"]], ["html"]),
        )
        self._show_lines(documents[number])

    def _show_draft(self) -> None:
        code, book = self.row["invoice"], self.books[self.row["facility"]]
        documents = read_documents(self.office.engine, self.office.settings, book, [code], ["html"])
        if code not in documents:
            raise NotReady(
                f"{code} has no page: it has no charges, is closed or in error",
                remedy=self.row["reason"] or None,
            )
        self.page.value = framed(render_html(documents[code]), f"Invoice {code} as it will be sent")
        self._show_lines(documents[code])
        self.files.children = [self.write]

    def _write_draft(self) -> None:
        with self.message.sentences(), TemporaryDirectory(prefix="billing-") as folder:
            if self.invoice is None:
                raise NotReady("this draft has no page")
            written = write_documents_of({self.shown: self.invoice}, ["pdf", "xlsx"], Path(folder))
            contents = {path.name: path.read_bytes() for path in written}
            links = downloads(self.office.settings.office, contents)
            self.files.children = [self.write, widgets.HTML(links)]

    def _show_lines(self, invoice: Invoice) -> None:
        self.invoice = invoice
        rows = [
            {
                **{name: line[name] for name in _TEXTS},
                "line": str(line["line"]),
                "unit": shared(line, "unit"),
                "charge": line_name(line),
                "user": shared(line, "user"),
                "item": item_name(line, ""),
                "date": dt.date.fromisoformat(line["date"]) if line["date"] else None,
            }
            for line in invoice["lines"]
        ]
        schema = {it.name: pl.Date if it.kind == DATE else pl.String for it in _LINE_COLUMNS}
        frame = pl.DataFrame(rows, schema=schema)
        listed = PagedTable(
            "lines",
            _LINE_COLUMNS,
            lambda: frame,
            key="line",
            action="Price",
            on_action=self.explain,
            visible=min(12, max(frame.height, 1)),
        )
        self.lines.children = [listed.widget]

    def explain(self, at: int) -> None:
        """Show how the total of the line at this place came about."""
        if self.invoice is None:
            return
        line = self.invoice["lines"][at]
        steps = "".join(f"<li>{escape(step)}</li>" for step in derivation(line))
        self.price.value = (
            f'<div style="line-height: 1.5"><b>{escape(line_name(line))}</b>: '
            f"{escape(line['total'])} {escape(self.invoice['currency'])}<ul>{steps}</ul></div>"
        )
        if summed(line) and self.detail:
            with self.message.sentences():
                charges = read_detail(self.detail, self.invoice, line["line"]).select(_DETAIL)
                first = f", the first {_LISTED}" if charges.height > _LISTED else ""
                caption = f"The {count_of(charges.height, 'charge')} of line {line['line']}{first}"
                self.price.value += str(table(charges.head(_LISTED), caption).data)

    def _show_history(self) -> None:
        book = self.books[self.row["facility"]]
        told = read_invoice_history(self.office.engine, book, self.row["invoice"])
        caption = f"History, times in {book.facility.timezone}"
        self.history.value = str(table(told, caption).data)


_TEXTS = tuple(column.name for column in _LINE_COLUMNS if column.name not in ("item", "date"))

# --- the table ------------------------------------------------------------------------------------

_MONEY = ("raw_total", "adjustment", "tax", "total", "cost")

COLUMNS = {
    "name": "Invoice",
    "facility": "Facility",
    "period": "Month",
    "project": "Project",
    "team": "Team",
    "state": "State",
    "waits": "Waits for",
    "kind": "Kind",
    "invoice_date": "Date",
    "charges": "Charges",
    "total": "Total",
    "reason": "Last reason",
    "invoice": "Code",
    "run": "Billing run",
    "reference": "Reference",
    "description": "Description",
    "replaces": "Replaces",
    "raw_total": "Before rules",
    "adjustment": "By rules",
    "tax": "Tax",
    "cost": "Cost",
    "currency": "Currency",
    "paid_on": "Paid on",
    "payment_reference": "Payment",
}
"""The columns of the table, in order, with their headings."""

SHOWN = (
    *("name", "facility", "period", "project", "team", "state", "waits", "kind", "invoice_date"),
    *("charges", "total", "reason"),
)
"""The columns that are shown unless others are chosen."""

_OFFERING = ("facility", "period", "project", "team", "state", "waits", "kind", "run", "currency")
_ORDER = ("-period", "facility", "project")


class InvoicesPanel(Displayed):
    """The page of the invoices notebook."""

    def __init__(self, view: str = "", office: Site | None = None) -> None:
        self.office = office or open_site()
        self.books = read_price_books(self.office.settings.parameters)
        self.message = Message()
        self.frame = pl.DataFrame()
        self.currencies = sorted({book.facility.currency for book in self.books.values()})
        self.view = choice("Show", [("All", ""), *((it.title, key) for key, it in VIEWS.items())])
        self.view.value = view
        self.filters = self._make_filters()
        self.clear = button("Clear these")
        self.clear.on_click(lambda _: self.clear_filters())
        self.columns = {
            name: widgets.Checkbox(
                value=name in self._usual(),
                description=label,
                indent=False,
                layout={"width": "11em"},
            )
            for name, label in COLUMNS.items()
        }
        self.save = {suffix: button(f"Save as {suffix.upper()}") for suffix in ("xlsx", "csv")}
        self.saved = widgets.HTML()
        self.progress = ProgressBar(self.message, *self.save.values())
        self.viewer = InvoiceViewer(self.office, self.books)
        since = change_mark(self.office.engine)
        self.table = self._make_table(self._read(Page(1, OPENING, _ORDER)))
        self.actions = InvoiceActions(self.office, self.books, self.selected, self._read_again)
        self._table = widgets.Box([self.table.widget], layout={"display": "block"})
        for entry in (self.view, *self.filters.values()):
            entry.observe(lambda _: self.refresh(), names="value")
        for box in self.columns.values():
            box.observe(lambda _: self._rebuild(), names="value")
        for suffix, saving in self.save.items():
            saving.on_click(lambda _, suffix=suffix: self.save_list(suffix))
        self.widget = widgets.VBox(
            [
                *(
                    self.view,
                    *(fold.widget for fold in self._folds()),
                    self.message.widget,
                    self._table,
                ),
                *(self.actions.widget, self.viewer.widget),
            ]
        )
        self._following = follow(self.office.engine, self.follow_others, since)

    def html(self) -> str:
        """The table without its controls."""
        return str(self.message.widget.value) + self.table.html()

    def _make_filters(self) -> dict[str, Any]:
        teams = sorted({team.code for book in self.books.values() for team in book.teams})
        items = sorted({item.code for book in self.books.values() for item in book.items})
        return {
            "period_from": text_entry("Months from", "2025-07"),
            "period_to": text_entry("Months until", "2026-06"),
            "team": suggestion("Team and below", teams),
            "user": text_entry("With charges of user"),
            "item": suggestion("With charges for item", items),
            "date_from": date_entry("With charges from"),
            "date_to": date_entry("With charges until"),
            "expense_code": text_entry("With expense code"),
            "text": text_entry("Text", "in a description, reason or note"),
        }

    def _folds(self) -> tuple[Fold, ...]:
        row = {"flex_flow": "row wrap"}
        further = widgets.VBox(
            [widgets.Box(list(self.filters.values()), layout=row), buttons(self.clear)]
        )
        chosen = widgets.Box(list(self.columns.values()), layout=row)
        kept = widgets.VBox(
            [widgets.HBox(list(self.save.values())), self.progress.widget, self.saved]
        )
        return (
            Fold("More filters", further),
            Fold("Columns", chosen),
            Fold("Save the list", kept),
        )

    def _usual(self) -> tuple[str, ...]:
        return (*SHOWN, "currency") if len(self.currencies) > 1 else SHOWN

    def selected(self) -> pl.DataFrame:
        """The selected invoices."""
        return self.table.ticked_rows()

    def wanted(self) -> Filter:
        """The filter that the form states."""
        stated: dict[str, Any] = {"view": self.view.value or None}
        for name, entry in self.filters.items():
            stated[name] = entry.value.strip() if isinstance(entry.value, str) else entry.value
        return Filter.parse({name: value or None for name, value in stated.items()})

    def _read(self, page: Page = ALL) -> pl.DataFrame:
        order = Page(page.number, page.size, _ORDER)
        rows = find(self.office.engine, self.wanted(), self.books, order).rows
        many = len(self.currencies) > 1
        texts = as_text(rows.select(*_MONEY, "currency")) if many else rows
        frame = rows.with_columns(
            pl.format("{} {}", "facility", "invoice").alias("key"),
            pl.coalesce("number", "invoice").alias("name"),
            self._waits().alias("waits"),
            *(texts[name].alias(f"{name} as text") for name in _MONEY if many),
        )
        if page is ALL:
            self.frame = frame
        return frame

    def _waits(self) -> pl.Expr:
        """The reviewers whose turn it is, and the issuer after the last of them."""
        waits = pl.lit(None, dtype=pl.String)
        for code, book in self.books.items():
            approval = book.facility.approval
            steps = approval.reviewers if approval is not None else ()
            names = {at: " or ".join(step) for at, step in enumerate(steps)}
            turn = pl.col("step").replace_strict(
                names, default="the issuer", return_dtype=pl.String
            )
            approving = (pl.col("facility") == code) & (pl.col("state") == "APPROVING")
            waits = pl.when(approving).then(turn).otherwise(waits)
        return waits

    def _column(self, name: str) -> Column:
        label = COLUMNS[name]
        if name in _MONEY:
            if len(self.currencies) > 1:
                return Column(f"{name} as text", label, NUMBER)
            return Column(name, label, MONEY, self._places())
        kind = {"invoice_date": DATE, "paid_on": DATE, "charges": NUMBER}.get(name, "text")
        wide = {"name": 2, "invoice": 2, "reason": 2, "description": 2}.get(name, 1)
        return Column(name, label, kind, wide=wide, offers=name if name in _OFFERING else "")

    def _places(self) -> int:
        return minor_places(self.currencies[0]) if self.currencies else 2

    def _make_table(self, opening: pl.DataFrame) -> PagedTable:
        one = len(self.currencies) == 1
        return PagedTable(
            "invoices",
            [self._column(name) for name, box in self.columns.items() if box.value],
            self._read,
            opening,
            sum_of="total" if one else None,
            currency=self.currencies[0] if one else "",
            places=self._places(),
            key="key",
            action="Open",
            on_action=self._open,
            on_tick=self._ticked,
            visible=14,
        )

    def _open(self, at: int) -> None:
        self.viewer.open(self.table.rows_at([at]).row(0, named=True))
        self.viewer.place.go()

    def _ticked(self) -> None:
        self.actions.forget()

    def refresh(self) -> None:
        """Read the invoices that the filters ask for; nothing is selected then."""
        self.message.say("")
        with self.message.sentences():
            self.wanted()
            self.table.tick(())
            self.table.read_again()

    def _read_again(self) -> None:
        """Read the invoices again after an action; those that are still listed stay selected."""
        self.follow_others()
        self._show_again()

    def follow_others(self) -> None:
        """Read the invoices again; a look at an action holds while the selected ones are unchanged,
        and the viewer while its invoice is."""
        with self.message.sentences():
            selected, ticked, before = self.selected(), self.table.ticked, self.frame
            self.table.read_again()
            self.table.rows_at([])  # waits for the reading
            if self.frame.equals(before):
                return
            if not self.selected().equals(selected):
                known = set(self.frame["key"])
                self.table.tick([key for key in ticked if key in known])
            if not self._shown_row(self.frame).equals(self._shown_row(before)):
                self._show_again()

    def _show_again(self) -> None:
        """Show the opened invoice as it is now."""
        shown = self._shown_row(self.frame)
        if shown.height:
            self.viewer.open(shown.row(0, named=True))

    def _shown_row(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The row of the opened invoice."""
        return frame.filter(pl.col("key") == self._shown_key()) if frame.height else frame

    def _shown_key(self) -> str:
        row = getattr(self.viewer, "row", None)
        return "" if row is None else str(row["key"])

    def _rebuild(self) -> None:
        """Show the chosen columns; the filters of the others are gone."""
        with self.message.sentences():
            if not any(box.value for box in self.columns.values()):
                raise InvalidAdjustment("a table needs a column", remedy="tick one")
            before = self.table
            self.table = self._make_table(before.rows_at(range(min(OPENING, self.frame.height))))
            names = {column.name for column in self.table.columns}
            question = before.question
            self.table.ask(
                question.search,
                {name: text for name, text in question.filters.items() if name in names},
                [each for each in question.sort if each[0] in names],
            )
            self.table.tick(before.ticked)
            self._table.children = [self.table.widget]

    def clear_filters(self) -> None:
        """Empty the further filters."""
        for entry in self.filters.values():
            entry.value = "" if isinstance(entry.value, str) else None

    def save_list(self, suffix: str) -> None:
        """Write the invoices that match, in the chosen columns, into a file to keep."""
        with self.message.sentences():
            labels = {name: COLUMNS[name] for name, box in self.columns.items() if box.value}
            rows = as_decimals(self.table.matching())
            self.progress.start(
                lambda step: render_list("Invoices", rows, labels, suffix, step),
                lambda content: self._keep(f"invoices-{_now()}.{suffix}", content),
            )

    def _keep(self, name: str, content: bytes) -> None:
        self.saved.value = downloads(self.office.settings.office, {name: content})
