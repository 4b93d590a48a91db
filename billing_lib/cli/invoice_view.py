"""An invoice in the terminal: totals first, then lines and expense codes."""

from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table


def say_invoice(invoice: dict[str, Any]) -> None:
    """Print a canonical invoice."""
    console = Console()
    totals, currency = invoice["totals"], invoice["currency"]
    covered = invoice["dates_covered"]
    heading = (
        f"[bold]Invoice {invoice['number']}[/bold] of {invoice['invoice_date']}\n"
        f"{invoice['facility']['name']}, {covered['from']} to {covered['to']}\n"
        f"to {invoice['team']['name']}, project {invoice['project']['code']}\n\n"
        f"charges {totals['charges_raw_total']} + adjustments {totals['charges_adjustment']}"
        f" + invoice adjustment {totals['adjustment']}\n"
        f"[bold]total {totals['total']} {currency}[/bold]"
    )
    console.print(Panel(heading, expand=False))
    console.print(_lines(invoice))
    codes = Table(title="By expense code", title_justify="left")
    codes.add_column("expense code")
    codes.add_column(currency, justify="right")
    for part in invoice["summaries"]["by_expense_code"]:
        codes.add_row(part["expense_code"], part["total"])
    console.print(codes)


def _lines(invoice: dict[str, Any]) -> Table:
    table = Table(title=f"{len(invoice['lines'])} lines", title_justify="left")
    for name, right in (
        ("charge", False),
        ("date", False),
        ("user", False),
        ("item", False),
        ("quantity", True),
        ("rate", True),
        ("raw total", True),
        ("adjustment", True),
        ("total", True),
        ("expense codes", False),
    ):
        table.add_column(name, justify="right" if right else "left")
    for line in invoice["lines"]:
        codes = ", ".join(
            f"{part['expense_code']} {part['percent']} %" for part in line["expense_codes"]
        )
        table.add_row(
            line["charge"],
            line["date"],
            line["user"] or "",
            line["item"]["name"] if line["item"] else line["description"],
            line["quantity"] or "",
            line["rate"] or "",
            line["raw_total"],
            line["adjustment"],
            line["total"],
            codes,
        )
    return table
