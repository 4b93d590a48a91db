"""A statement in the terminal: totals first, then its invoices and what rules changed."""

from typing import Any

from rich.markup import escape
from rich.panel import Panel

from billing_lib.cli.tables import Texts, print_texts, table_console


def say_statement(statement: dict[str, Any]) -> None:
    """Print a canonical statement."""
    totals, currency, paid = statement["totals"], statement["currency"], statement["payment"]
    state = statement["state"]
    if paid is not None:
        state = f"{state} on {paid['date']}, reference {paid['reference']}"
    heading = (
        f"[bold]Statement {escape(statement['id'])}[/bold] of {statement['period']}\n"
        f"to {escape(statement['team']['name'])}, {escape(state)}\n\n"
        f"invoices {totals['raw_total']} + adjustments {totals['adjustment']}\n"
        f"[bold]total {totals['total']} {currency}[/bold], of which prepaid "
        f"{totals['prepaid']}, due {totals['due']}"
    )
    table_console().print(Panel(heading, expand=False))
    print_texts(_invoices(statement))
    changes = [
        [part["facility"]["name"], change["rule"], change["kind"], change["amount"]]
        for part in statement["facilities"]
        for change in part["adjustments"]
    ]
    if changes:
        names = ["facility", "rule", "kind", "amount"]
        print_texts(Texts("Adjustments", names, changes, right=["amount"]))


def _invoices(statement: dict[str, Any]) -> Texts:
    rows = [
        [
            part["facility"]["name"],
            *(it[name] for name in ("number", "project", "kind", "invoice_date")),
            *(it[name] for name in ("state", "prepaid", "total")),
        ]
        for part in statement["facilities"]
        for it in part["invoices"]
    ]
    sums = [
        [f"{part['facility']['name']}, together", *[""] * 6, part["raw_total"]]
        for part in statement["facilities"]
    ]
    names = ["facility", "number", "project", "kind", "date", "state", "prepaid", "total"]
    return Texts(
        f"{len(rows)} invoices",
        names,
        [*rows, *sums],
        right=["prepaid", "total"],
        broken=["facility"],
        spared=["prepaid", "kind", "date"],
    )
