"""Tables, invoices, listings and statements in the terminal.

     charge   date         quantity   total
    ───────────────────────────────────────
     RC/4     1993-10-01     194.25   23.31
    not shown in this width: user, state; a wider terminal or --json has them

Codes and amounts are always whole. If a table is too wide, long texts are broken over lines and
less important columns are left out, with a note below the table. Files and pipes get the whole
table.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from billing_lib.documents.text import NOTHING, percent_text, printable
from billing_lib.errors import NotReady, UnknownInvoice, count_of

if TYPE_CHECKING:
    from billing_lib.documents.html import FacilityView, ListingView
    from billing_lib.documents.view import DocumentTable

_WHOLE = 100_000
"""The width of files and pipes, enough for any table."""

_BROKEN_WIDTH = 18
"""The least width of a column of long texts before other columns are left out."""


@dataclass(frozen=True)
class Texts:
    """A table of texts, ready to print.

    Attributes
    ----------
    names
        The columns' names.
    rows
        One text per column.
    right
        Columns aligned to the right: amounts and counts.
    broken
        Columns whose texts may be broken over lines.
    spared
        Columns that may be left out, in this order.
    """

    title: str
    names: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[str] = ()
    broken: Sequence[str] = ()
    spared: Sequence[str] = ()

    def without(self, name: str) -> "Texts":
        """The table without a column."""
        at = list(self.names).index(name)
        rows = [[*row[:at], *row[at + 1 :]] for row in self.rows]
        return replace(self, names=[other for other in self.names if other != name], rows=rows)


def table_console() -> Console:
    """The console of standard output: a terminal, or a file or pipe of any width."""
    return Console() if sys.stdout.isatty() else Console(width=_WHOLE, soft_wrap=True)


def print_texts(texts: Texts) -> None:
    """Print a table without as many ``spared`` columns as needed to make it fit."""
    console = table_console()
    left_out = []
    for name in texts.spared:
        if name in texts.names and _needed(texts) > console.width:
            texts = texts.without(name)
            left_out.append(name)
    console.print(_table(texts))
    if left_out:
        names = ", ".join(name.replace("_", " ") for name in left_out)
        sentence = f"not shown in this width: {names}; a wider terminal or --json has them"
        console.print(sentence, style="dim", highlight=False)


def _table(texts: Texts) -> Table:
    table = Table(title=texts.title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for name, least in zip(texts.names, _least_widths(texts), strict=True):
        table.add_column(
            name.replace("_", " "),
            justify="right" if name in texts.right else "left",
            overflow="fold",
            min_width=least,
        )
    for row in texts.rows:
        table.add_row(
            *(Text(printable(value)) for value in row)
        )  # literally: no markup, no highlighting
    return table


def _needed(texts: Texts) -> int:
    return sum(_least_widths(texts)) + 3 * len(texts.names) + 1  # padding and separators


def _least_widths(texts: Texts) -> list[int]:
    columns = zip(texts.names, *texts.rows, strict=True)
    wanted = [max(cell_len(value) for value in column) for column in columns]
    return [
        min(width, _BROKEN_WIDTH) if name in texts.broken else width
        for name, width in zip(texts.names, wanted, strict=True)
    ]


def say_invoice(invoice: dict[str, Any]) -> None:
    """Print a canonical invoice, or a draft of one."""
    table_console().print(Panel("\n".join(_heading(invoice)), expand=False))
    print_texts(_lines(invoice))
    currency = invoice["currency"]
    codes = [
        [part["expense_code"], part["total"]] for part in invoice["summaries"]["by_expense_code"]
    ]
    print_texts(Texts("By expense code", ["expense code", currency], codes, right=[currency]))


def say_detail(
    files: Mapping[str, bytes], invoice: dict[str, Any], number: int, *, as_json: bool
) -> None:
    """Print the charges that a line of an issued invoice sums.

    ``files`` are contents of the invoice's record by name.
    """
    lines = {line["line"]: line for line in invoice["lines"]}
    if number not in lines:
        raise UnknownInvoice(
            f"invoice {invoice['number']} has no line {number}; its lines are 1 to {len(lines)}"
        )
    charge = lines[number]["charge"]
    if charge is not None:
        raise NotReady(
            f"line {number} is the charge {charge}", remedy=f"see 'billing explain {charge}'"
        )
    from billing_lib.workflow.detail import read_detail

    charges = read_detail(files, invoice, number)
    if as_json:
        sys.stdout.write(charges.write_json() + "\n")
        return
    columns = ("charge", "date", "user", "item_name", "quantity", "price", "total")
    rows = charges.select(pl.col(columns).fill_null("")).rows()
    amounts = ["quantity", "rate", "total"]
    print_texts(
        Texts(
            f"{count_of(charges.height, 'charge')} on line {number}",
            ["charge", "date", "user", "item", *amounts, "expense codes"],
            [[*row, codes] for row, codes in zip(rows, charges["expense_codes"], strict=True)],
            right=amounts,
            broken=["item", "expense codes"],
        )
    )


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
    from billing_lib.documents.view import item_name, line_name, shared

    rows = []
    for line in invoice["lines"]:
        codes = ", ".join(
            f"{part['expense_code']} {percent_text(part, '')}".strip()
            for part in line["expense_codes"]
        )
        rows.append(
            [
                line_name(line),
                line["date"],
                shared(line, "user").replace(NOTHING, ""),
                item_name(line, line["description"] or ""),
                line["quantity"] or "",
                line["price"] or "",
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


def say_listing(view: "ListingView") -> None:
    """Print a listing."""
    console = table_console()
    told = [view.title, *(f"{label}: {value}" for label, value in view.facts)]
    console.print(Panel(Text("\n".join(told)), expand=False))
    for part in view.facilities:
        _say_facility(part, view.preview)


def _say_facility(part: "FacilityView", preview: str) -> None:
    console = table_console()
    facts = [f"{label}: {value}" for label, value in part.facts]
    totals = [f"{step.label}: {step.amount} {part.currency}" for step in part.totals]
    console.print(Panel(Text("\n".join([part.name, *facts, *totals])), expand=False))
    if part.invoices.rows:
        _say_tables([part.invoices])
    else:
        console.print("No invoice was issued for this month.", highlight=False)
    _say_tables([*part.summaries, *part.lines])
    if part.pending:
        console.print(Text(f"PREVIEW. {preview}"))
        _say_tables(part.pending)


def _say_tables(tables: "Iterable[DocumentTable]") -> None:
    for table in tables:
        rows = [*table.rows, *([table.footer] if table.footer else [])]
        labels = [column.label for column in table.columns]
        print_texts(
            Texts(
                table.title,
                labels,
                [_cells(row) for row in rows],
                right=[column.label for column in table.columns if column.numeric],
                broken=[column.label for column in table.columns if column.notes],
                spared=[name for name in _SPARED if name in labels],
            )
        )
        if table.remark:
            table_console().print(Text(table.remark))


_SPARED = ("Unit", "Rate", "Amount", "Adjustment", "User", "Expense code", "Team", "Of it prepaid")


def _cells(row: Sequence[str]) -> list[str]:
    return [cell.replace("\n", "; ") for cell in row]


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
        f"{count_of(len(rows), 'invoice')}",
        names,
        [*rows, *sums],
        right=["prepaid", "total"],
        broken=["facility"],
        spared=["prepaid", "kind", "date"],
    )
