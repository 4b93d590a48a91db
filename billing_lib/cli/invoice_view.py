"""An invoice in the terminal: totals first, then lines and expense codes."""

from typing import Any

from rich.markup import escape
from rich.panel import Panel

from billing_lib.cli.tables import Texts, print_texts, table_console


def say_invoice(invoice: dict[str, Any]) -> None:
    """Print a canonical invoice, or a draft of one."""
    table_console().print(Panel("\n".join(_heading(invoice)), expand=False))
    print_texts(_lines(invoice))
    currency = invoice["currency"]
    codes = [
        [part["expense_code"], part["total"]] for part in invoice["summaries"]["by_expense_code"]
    ]
    print_texts(Texts("By expense code", ["expense code", currency], codes, right=[currency]))


def _heading(invoice: dict[str, Any]) -> list[str]:
    covered, number = invoice["dates_covered"], invoice["number"]
    named = (
        f"[bold]Invoice {number}[/bold] of {invoice['invoice_date']}"
        if number
        else f"[bold]DRAFT {escape(invoice['draft'])}[/bold], not issued"
    )
    about = [
        "" if invoice["kind"] == "periodic" else invoice["kind"],
        f"reference {invoice['reference']}" if invoice["reference"] else "",
        f"replaces invoice {invoice['replaces']}" if invoice["replaces"] else "",
        invoice["description"],
    ]
    said = ", ".join(text for text in about if text)
    return [
        named,
        *([escape(said)] if said else []),
        escape(f"{invoice['facility']['name']}, {covered['from']} to {covered['to']}"),
        escape(f"to {invoice['team']['name']}, project {invoice['project']['code']}"),
        "",
        *_totals(invoice),
    ]


def _totals(invoice: dict[str, Any]) -> list[str]:
    totals, prepaid, currency = invoice["totals"], invoice["prepaid"], invoice["currency"]
    steps = (
        f"charges {totals['charges_raw_total']} + adjustments {totals['charges_adjustment']}"
        f" + invoice adjustment {totals['adjustment']}"
    )
    credit = " (credit)" if totals["total"].startswith("-") else ""
    said = [steps, f"[bold]total {totals['total']} {currency}[/bold]{credit}"]
    if prepaid is not None:
        said += [
            f"drawn from prepaid funds {prepaid['drawn']}",
            f"[bold]left to pay {totals['due']} {currency}[/bold]",
            f"prepaid balance after this invoice {prepaid['left']}",
        ]
    return said


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
                _marks(line),
            ]
        )
    amounts = ["quantity", "rate", "raw total", "adjustment", "total"]
    texts = Texts(
        f"{len(rows)} {'line' if len(rows) == 1 else 'lines'}",
        ["charge", "date", "user", "item", *amounts, "expense codes", "remarks"],
        rows,
        right=amounts,
        broken=["item", "expense codes", "remarks"],
        spared=["raw total", "adjustment", "user", "expense codes", "rate"],
    )
    return texts if any(row[-1] for row in rows) else texts.without("remarks")


def _marks(line: dict[str, Any]) -> str:
    marks = [
        f"late, of {line['late']}" if line["late"] else "",
        "waived" if line["waived"] else "",
        line["note"] or "",
    ]
    return "; ".join(mark for mark in marks if mark)
