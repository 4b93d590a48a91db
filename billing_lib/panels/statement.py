"""What the statement notebook shows: a lab's statements of a month."""

from collections.abc import Sequence
from html import escape

import ipywidgets as widgets
import polars as pl
from IPython.display import HTML

from billing_lib.panels.display import Displayed
from billing_lib.panels.files import keep
from billing_lib.panels.lab import LabChooser
from billing_lib.panels.office import Message, Office
from billing_lib.panels.tables import table
from billing_lib.stating import statement_documents
from billing_lib.workflow.price_books import read_price_books
from billing_lib.workflow.statement_view import Statement, list_statements, read_statement

_AMOUNTS = ("sum", "before_rules", "by_rules")

FILES = ("pdf", "xlsx", "json")
"""What a statement can be kept as, in the order in which it is offered."""


class StatementPanel(Displayed):
    """The page of the statement notebook: a lab and a month to choose, and what it owes.

    Parameters
    ----------
    team, period
        What is shown at first; the first lab that may be seen and its newest statement where empty.

    Attributes
    ----------
    widget
        What the notebook displays.
    """

    def __init__(self, team: str = "", period: str = "", office: Office | None = None) -> None:
        self.office = office or Office.open()
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
        """What it shows, without the means to change it."""
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
        return statement_documents(self.office.engine, archive, self.books, statement_id, FILES)

    def totals(self) -> HTML:
        """What each facility's part of each statement comes to."""
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
        """What each facility's rules changed."""
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
