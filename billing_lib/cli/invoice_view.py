"""An invoice in the terminal: totals first, then lines and expense codes."""

from typing import Any

from rich.panel import Panel

from billing_lib.cli.tables import Texts, print_texts, table_console


def say_invoice(invoice: dict[str, Any]) -> None:
    """Print a canonical invoice."""
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
    table_console().print(Panel(heading, expand=False))
    print_texts(_lines(invoice))
    codes = [
        [part["expense_code"], part["total"]] for part in invoice["summaries"]["by_expense_code"]
    ]
    print_texts(Texts("By expense code", ["expense code", currency], codes, right=[currency]))


def _lines(invoice: dict[str, Any]) -> Texts:
    rows = []
    for line in invoice["lines"]:
        codes = ", ".join(
            f"{part['expense_code']} {part['percent']} %" for part in line["expense_codes"]
        )
        rows.append(
            [
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
            ]
        )
    amounts = ["quantity", "rate", "raw total", "adjustment", "total"]
    return Texts(
        f"{len(rows)} lines",
        ["charge", "date", "user", "item", *amounts, "expense codes"],
        rows,
        right=amounts,
        broken=["item", "expense codes"],
        spared=["raw total", "adjustment", "user", "expense codes", "rate"],
    )
