"""The lab notebooks: issued invoices, statements and the listing of a lab's month.

    InvoicePanel("bio", "1993-10")     each invoice as it was sent, with its files
    StatementPanel("bio", "1993-10")   the lab's statements of the month, with their files
    ListingPanel("bio", "1993-10")     the page that ``billing listing --html`` writes

Two lists offer the labs and months that the user may see; team and period may be empty at first.
The pages link to each other, and the listing to all that the user may see; a link in the portal
names team and month: ``invoice.ipynb?team=bio&period=1993-10``.
An invoice's files come from its audit record byte for byte, never rendered anew.
"""

import os
from collections.abc import Callable, Sequence
from html import escape
from typing import Any
from urllib.parse import parse_qs, urlencode

import ipywidgets as widgets
import polars as pl
from IPython.display import HTML

from billing_lib import Site, open_site
from billing_lib.audit.verify import issued_files
from billing_lib.documents.html import render_listing
from billing_lib.errors import count_of
from billing_lib.exports.documents import statement_documents
from billing_lib.exports.packages import list_packages, read_package
from billing_lib.panels.forms import (
    Displayed,
    button,
    framed,
    heading,
    in_portal,
    keep,
    table,
    zipped,
)
from billing_lib.panels.home import NoticePanel
from billing_lib.panels.office import Message
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.detail import detail_names
from billing_lib.workflow.invoice import read_invoice
from billing_lib.workflow.listing import read_listing
from billing_lib.workflow.load import read_price_books
from billing_lib.workflow.outbox import DIGEST, EACH, NONE, list_own_preferences, prefer
from billing_lib.workflow.overview import read_lab_months
from billing_lib.workflow.search import Filter, find_invoices
from billing_lib.workflow.statements import Statement, list_statements, read_statement

_WIDE = {"width": "26em"}
_LOOKED_AT = 12  # months


PAGES = {"listing": "Listing", "invoice": "Invoices", "statement": "Statements"}
"""The pages of a lab, with their names in links."""


def _asked(name: str) -> str:
    """A value from the address by which the portal's page was opened; else empty."""
    return parse_qs(os.environ.get("QUERY_STRING", "")).get(name, [""])[0]


def _link(page: str, team: str, period: str, text: str) -> str:
    """A link in the portal; in the office, whose pages take no lab from an address, the text."""
    if not in_portal():
        return escape(text)
    address = f"{page}.ipynb?{urlencode({'team': team, 'period': period})}"
    return f'<a href="{escape(address)}">{escape(text)}</a>'


def page_links(team: str, period: str) -> str:
    """Links to the pages of a lab's month; none in the office, whose bar has them."""
    if not in_portal():
        return ""
    links = " · ".join(_link(page, team, period, name) for page, name in PAGES.items())
    return f'<nav aria-label="Pages of the lab">{links}</nav>'


class LabChooser:
    """Two lists: the labs, and the months of the chosen lab.

    Each choice calls ``show`` with team and month, and shows its mistakes in ``message``. Empty
    ``team`` and ``period`` choose the first lab and, of its last twelve months, the newest for
    which ``has`` is true; if it is true for none, the newest.
    """

    def __init__(
        self,
        office: Site,
        team: str,
        period: str,
        show: Callable[[str, str], None],
        message: Message,
        has: Callable[[str, str], bool] = lambda team, period: True,
    ) -> None:
        books = read_price_books(office.settings.parameters)
        team, period = team or _asked("team"), period or _asked("period")
        self.months = read_lab_months(office.engine, books)
        labs = self.months.unique("team", keep="first", maintain_order=True)
        self.team = widgets.Dropdown(
            description="Lab",
            options=[
                (f"{name} ({code})", code) for code, name in labs.select("team", "name").iter_rows()
            ],
            layout=_WIDE,
        )
        self.period = widgets.Dropdown(description="Month", layout={"width": "16em"})
        self.links = widgets.HTML()
        self.widget = widgets.VBox([self.links, widgets.HBox([self.team, self.period])])
        self._show, self._message, self._has = show, message, has
        self._listing = False
        if team in labs["team"]:
            self.team.value = team
        self.team.observe(lambda _: self._list_months(self.period.value or ""), names="value")
        self.period.observe(lambda _: self._tell(), names="value")
        self._list_months(period)

    def _list_months(self, wanted: str) -> None:
        of_team = self.months.filter(pl.col("team") == pl.lit(self.team.value, pl.String))
        months = of_team["period"].to_list()
        self._listing = True  # one call of show, not one for each list
        self.period.options = months
        self.period.value = wanted if wanted in months else self._newest(months)
        self._listing = False
        self._tell()

    def _newest(self, months: list[str]) -> str | None:
        having = (it for it in months[:_LOOKED_AT] if self._has(self.team.value, it))
        return next(having, next(iter(months), None))

    def _tell(self) -> None:
        if self._listing:
            return
        with self._message.sentences():
            if self.team.value is None or self.period.value is None:
                self._message.say("There is no lab's month that you may see.")
                return
            self.links.value = page_links(self.team.value, self.period.value)
            self._show(self.team.value, self.period.value)

    def overview(self, office: Site) -> str:
        """All labs and months that the user may see, with links to their pages."""
        rows = []
        of_month = ["team", "period"]
        found = find_invoices(office.engine, Filter()).rows.drop_nulls("number")
        papers = (
            self.months.join(found.group_by(of_month).len("issued"), of_month, "left")
            .join(
                list_statements(office.engine, None).group_by(of_month).len("statements"),
                *(of_month, "left"),
                maintain_order="left",
            )
            .fill_null(0)
        )
        for team, name, period, issued, statements in papers.iter_rows():
            rows.append(
                f"<tr><td>{escape(f'{name} ({team})')}</td>"
                f"<td>{_link('listing', team, period, period)}</td>"
                f"<td>{_link('invoice', team, period, count_of(issued, 'invoice'))}</td>"
                f"<td>{_link('statement', team, period, count_of(statements, 'statement'))}"
                "</td></tr>"
            )
        heads = "".join(f'<th scope="col">{it}</th>' for it in ("Lab", "Month", *_PAPERS))
        return (
            f"<details><summary>All that you may see: {count_of(len(rows), 'month')}</summary>"
            f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></details>"
        )


_PAPERS = ("Invoices", "Statements")


def _of_month(team: str, period: str) -> Filter:
    return Filter.parse({"team": team, "period_from": period, "period_to": period})


INVOICE_FILES = ("pdf", "xlsx", "xml", "html")
"""The formats of an invoice that are offered, in order."""


class InvoicePanel(Displayed):
    """The page of the invoice notebook: a lab, a month, and its issued invoices."""

    def __init__(self, team: str = "", period: str = "", office: Site | None = None) -> None:
        self.office = office or open_site()
        self.books = read_price_books(self.office.settings.parameters)
        self.message = Message()
        self.number = widgets.Dropdown(description="Invoice", layout={"width": "26em"})
        self.files = widgets.HTML()
        self.page = widgets.HTML(layout={"width": "auto"})
        self.number.observe(lambda _: self._show_invoice(), names="value")
        self.chooser = LabChooser(self.office, team, period, self._list, self.message, self._has)
        self.widget = widgets.VBox(
            [
                *(self.chooser.widget, self.number, self.message.widget, self.files, self.page),
            ]
        )

    def html(self) -> str:
        """The message and the page, without the lists."""
        return str(self.message.widget.value) + str(self.page.value)

    def _issued(self, team: str, period: str) -> pl.DataFrame:
        wanted = _of_month(team, period)
        return find_invoices(self.office.engine, wanted, self.books).texts().drop_nulls("number")

    def _has(self, team: str, period: str) -> bool:
        return self._issued(team, period).height > 0

    def _list(self, team: str, period: str) -> None:
        rows = self._issued(team, period)
        self.number.options = [
            (f"{number}  ·  {project}  ·  {total} {currency}  ·  {state}", number)
            for number, project, total, currency, state in rows.select(
                "number", "project", "total", "currency", "state"
            ).iter_rows()
        ]
        shown = self.number.value
        self.number.index = 0 if self.number.options else None
        if self.number.value == shown:  # otherwise its observer has shown it
            self._show_invoice()

    def _show_invoice(self) -> None:
        self.files.value = self.page.value = ""
        if self.number.value is None:
            self.message.say("Nothing of this month is issued yet.")
            return
        with self.message.sentences():
            number = str(self.number.value)
            held = issued_files(self.office.engine, self.office.settings.runs, number)
            files = {
                name: held[name] for kind in INVOICE_FILES if (name := f"{number}.{kind}") in held
            }
            if names := detail_names(read_invoice(held[f"{number}.json"].decode())):
                files[f"{number}.charges.zip"] = zipped({name: held[name] for name in names})
            self.files.value = keep(files)
            self.page.value = framed(held[f"{number}.html"].decode(), f"Invoice {number}")
            self.message.say(f"Invoice {number}, as it was sent.")


_AMOUNTS = ("sum", "before_rules", "by_rules")

STATEMENT_FILES = ("pdf", "xlsx", "json")
"""The formats of a statement that are offered, in order."""


class StatementPanel(Displayed):
    """The page of the statement notebook: a lab, a month, and its statements."""

    def __init__(self, team: str = "", period: str = "", office: Site | None = None) -> None:
        self.office = office or open_site()
        self.books = read_price_books(self.office.settings.parameters)
        self.message = Message()
        self.statements: list[Statement] = []
        self.files = widgets.HTML()
        self.page = widgets.HTML()
        self.chooser = LabChooser(self.office, team, period, self._show, self.message, self._has)
        self.widget = widgets.VBox(
            [self.chooser.widget, self.message.widget, self.files, self.page]
        )

    def html(self) -> str:
        """The message and the page, without the lists."""
        return str(self.message.widget.value) + str(self.page.value)

    def _show(self, team: str, period: str) -> None:
        self.page.value = self.files.value = ""
        ids = self._listed(team, period)
        self.statements = [read_statement(self.office.engine, self.books, each) for each in ids]
        if not self.statements:
            self.message.say(f"There is no statement of {period} for the lab {team} yet.")
            return
        self.message.say("")
        ruled = any(part["adjustments"] for it in self.statements for part in it["facilities"])
        tables = [self.totals(), self.invoices(), *([self.adjustments()] if ruled else [])]
        parts = [*(_heading(statement) for statement in self.statements)]
        self.page.value = "".join([*parts, *(str(part.data) for part in tables)])
        with self.message.sentences():
            self.files.value = "".join(keep(self._documents(each)) for each in ids)

    def _listed(self, team: str, period: str) -> list[str]:
        return list_statements(self.office.engine, period, [team])["statement"].to_list()

    def _has(self, team: str, period: str) -> bool:
        return bool(self._listed(team, period))

    def _documents(self, statement_id: str) -> dict[str, bytes]:
        archive = self.office.settings.runs
        return statement_documents(
            self.office.engine, archive, self.books, statement_id, STATEMENT_FILES
        )

    def totals(self) -> HTML:
        """The total of each facility's part of each statement."""
        rows = [
            (
                statement["id"],
                part["facility"]["name"],
                part["raw_total"],
                part["adjustment"],
                part["total"],
            )
            for statement in self.statements
            for part in statement["facilities"]
        ]
        return _table(rows, ("statement", "facility", "before_rules", "by_rules", "sum"), "Totals")

    def invoices(self) -> HTML:
        """The invoices on the statements."""
        names = ("number", "project", "kind", "invoice_date", "state")
        rows = [
            (statement["id"], *(it[name] for name in names), it["total"])
            for statement in self.statements
            for part in statement["facilities"]
            for it in part["invoices"]
        ]
        return _table(rows, ("statement", *names, "sum"), "Invoices")

    def adjustments(self) -> HTML:
        """The adjustments by each facility's rules."""
        rows = [
            (statement["id"], part["facility"]["name"], it["rule"], it["kind"], it["amount"])
            for statement in self.statements
            for part in statement["facilities"]
            for it in part["adjustments"]
        ]
        return _table(rows, ("statement", "facility", "rule", "kind", "sum"), "Adjustments")


def _heading(statement: Statement) -> str:
    totals, paid = statement["totals"], statement["payment"]
    state = statement["state"]
    if paid is not None:
        state = f"{state} on {paid['date']}, reference {escape(paid['reference'])}"
    return (
        f"<h2>{escape(statement['team']['name'])} · {statement['period']}</h2>"
        f"<p>Statement <b>{statement['id']}</b>, {state}: <b>{totals['invoices']}</b> invoices, "
        f"{totals['raw_total']} and by rules {totals['adjustment']}, "
        f"total <b>{totals['total']} {statement['currency']}</b>, due {totals['due']}.</p>"
    )


def _table(rows: Sequence[tuple[str, ...]], names: tuple[str, ...], caption: str) -> HTML:
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
    return table(frame, caption, right=_AMOUNTS)


class LabPackages:
    """The valid packages of which the user may see every document, each with its link and expiry.

    A link holds the file, so a package is read when its button is clicked.
    """

    def __init__(self, office: Site) -> None:
        self.office = office
        self.message = Message()
        self.link = widgets.HTML()
        valid = list_packages(office.engine).filter(state="valid").reverse()
        self.rows = widgets.VBox([self._row(row) for row in valid.iter_rows(named=True)])
        title = count_of(valid.height, "package of documents")
        parts = [heading(title), self.rows, self.link, self.message.widget]
        self.widget = widgets.VBox(parts if valid.height else [])

    def _row(self, package: dict[str, Any]) -> widgets.HBox:
        getting = button(f"Get {package['package']}")
        getting.on_click(lambda _: self.get(package["package"]))
        text = (
            f"{package['selection']}: {count_of(package['files'], 'file')}, {package['formats']}, "
            f"valid until {package['valid_until']}"
        )
        return widgets.HBox([getting, widgets.HTML(escape(text))])

    def get(self, package: str) -> None:
        """Show the link to a package."""
        with self.message.sentences():
            content = read_package(self.office.engine, self.office.settings, package)
            self.link.value = keep({f"package-{package}.zip": content})
            self.message.say("")


_AS_SET = "as the facility has set it"
_WISHES = {
    EACH: "each invoice in a message",
    DIGEST: "all invoices in one message",
    NONE: "no invoice",
}


class LabPreferences:
    """How the administrators of the user's labs receive invoices; each choice is kept at once."""

    def __init__(self, office: Site, books: dict[str, PriceBook]) -> None:
        self.office, self.books = office, books
        self.message = Message()
        own = list_own_preferences(office.engine, books)
        self.rows = widgets.VBox([self._row(row) for row in own.iter_rows(named=True)])
        parts = [heading("Invoices by mail"), self.rows, self.message.widget]
        self.widget = widgets.VBox(parts if own.height else [])

    def _row(self, row: dict[str, Any]) -> widgets.HBox:
        unset = [] if row["invoices"] else [(_AS_SET, "")]
        choice = widgets.Dropdown(
            description=row["address"],
            options=[*unset, *((words, wish) for wish, words in _WISHES.items())],
            value=row["invoices"] or "",
            layout={"width": "auto"},
            style={"description_width": "initial"},
        )
        choice.observe(lambda change: self._prefer(row, change["new"]), names="value")
        return widgets.HBox([choice, widgets.HTML(escape(f"{row['team']} at {row['facility']}"))])

    def _prefer(self, row: dict[str, Any], wish: str) -> None:
        if not wish:
            return
        with self.message.sentences():
            book = self.books[row["facility"]]
            said = prefer(self.office.engine, book, row["address"], wish, row["team"])
            self.message.say(said)


class ListingPanel(Displayed):
    """The page of the listing notebook: a lab, a month, and one facility or all visible ones."""

    def __init__(
        self, team: str = "", period: str = "", facility: str = "", office: Site | None = None
    ) -> None:
        self.office = office or open_site()
        self.books = read_price_books(self.office.settings.parameters)
        self.facility = facility or None
        self.message = Message()
        self.page = widgets.HTML(layout={"width": "auto"})
        self.chooser = LabChooser(self.office, team, period, self._show, self.message)
        self.all = widgets.HTML(self.chooser.overview(self.office))
        self.packages, self.notices = LabPackages(self.office), NoticePanel(self.office)
        self.preferences = LabPreferences(self.office, self.books)
        self.widget = widgets.VBox(
            [
                *(self.chooser.widget, self.message.widget, self.page, self.all),
                *(self.packages.widget, self.notices.widget, self.preferences.widget),
            ]
        )

    def html(self) -> str:
        """The message and the page, without the lists."""
        return str(self.message.widget.value) + str(self.page.value)

    def _show(self, team: str, period: str) -> None:
        self.page.value = ""
        found = read_listing(self.office.engine, self.books, team, period, self.facility)
        self.page.value = framed(render_listing(found), f"Listing of {team}, {period}")
