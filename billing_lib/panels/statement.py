"""What the statement notebook shows: a team's statements of a month."""

from collections.abc import Sequence
from html import escape

import polars as pl
from IPython.display import HTML

from billing_lib.panels.office import Office
from billing_lib.panels.tables import table
from billing_lib.workflow.price_books import read_price_books
from billing_lib.workflow.statement_view import Statement, list_statements, read_statement

_AMOUNTS = ("sum", "before_rules", "by_rules")


class StatementPanel:
    """The statements of a team and month, mostly one, read once.

    Parameters
    ----------
    team
        The team's code.
    period
        The month, ``YYYY-MM``.
    office
        By default the one that the environment names.
    """

    def __init__(self, team: str, period: str, office: Office | None = None) -> None:
        self.team, self.period = team, period
        here = office or Office.open()
        books = read_price_books(here.settings.parameters)
        ids = list_statements(here.engine, period, [team])["statement"]
        self.statements = [read_statement(here.engine, books, each) for each in ids]

    def heading(self) -> str:
        """Each statement in a few lines of Markdown."""
        if not self.statements:
            return (
                f"There is no statement of {self.period} for the team {self.team}; "
                f"`billing statements {self.period}` makes them from what is issued."
            )
        return "\n\n".join(_heading(statement) for statement in self.statements)

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
        f"## {statement['team']['name']} · {statement['period']}\n\n"
        f"Statement **{statement['id']}**, {state}: **{totals['invoices']}** invoices, "
        f"{totals['raw_total']} and by rules {totals['adjustment']}, "
        f"total **{totals['total']} {statement['currency']}**, due {totals['due']}."
    )


def _table(rows: Sequence[tuple[str, ...]], names: tuple[str, ...], caption: str) -> HTML:
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
    return table(frame, caption, right=_AMOUNTS)
