"""An invoice, or a lab's month, as one HTML page that loads nothing: no script, font or network.

The pages are Jinja2 templates with autoescape over finished views, so a note such as
``<script>alert(1)</script>`` is shown as text; a content security policy in the page makes the
browser enforce the same. Pictures are inside the page, and it prints as it reads on screen.

A listing shows a lab's month (workflow/listing.py). Its page depends on the listing alone, not on
the reader's role, the clock or the locale, so it is the same page for every reader.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape

from billing_lib.documents.text import (
    NOTHING,
    Invoice,
    date_span,
    long_date,
    money,
    named,
    number,
    printable_invoice,
    share_text,
)
from billing_lib.documents.view import (
    Column,
    DocumentTable,
    InvoiceView,
    Total,
    numbers,
    texts,
    view,
)
from billing_lib.documents.writing import write_file
from billing_lib.pricing.fields import Logo


@cache
def page_template(name: str) -> Template:
    """One of the program's own templates; values in HTML are escaped."""
    environment = Environment(
        loader=PackageLoader("billing_lib.documents"),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name)


def render_html(invoice: Invoice, page: InvoiceView | None = None) -> str:
    """The invoice as a self-contained HTML5 page, UTF-8; the same invoice gives the same text.

    ``page`` is its view, if that is made already.
    """
    return page_template("invoice.html.j2").render(page=page_of(page or view(invoice)))


def page_of(shown: InvoiceView) -> dict[str, Any]:
    """The content of the page as JSON values: the view, and the logo as a ``data:`` address."""
    return shown.data() | {"logo": _address(shown.logo) if shown.logo else ""}


def _address(logo: Logo) -> str:
    """The logo as a ``data:`` address: a browser runs no script in such a picture."""
    kind = {"png": "image/png", "svg": "image/svg+xml"}[logo.suffix]
    return f"data:{kind};base64,{b64encode(logo.content).decode()}"


PREVIEW = (
    "These charges are on no issued invoice yet. They stand here as they are priced now, may still "
    "change, and are not to be paid; adjustments and taxes of the invoice come with it."
)
"""The notice over pending charges."""


_AMOUNTS = ("invoiced", "pending", "total")


@dataclass(frozen=True)
class FacilityView:
    """One facility's part of a listing, in reading order."""

    name: str
    currency: str
    facts: Sequence[tuple[str, str]]
    totals: Sequence[Total]
    invoices: DocumentTable
    summaries: Sequence[DocumentTable]
    lines: Sequence[DocumentTable]
    pending: Sequence[DocumentTable]


@dataclass(frozen=True)
class ListingView:
    """The content of a listing's page, every cell a finished text."""

    title: str
    team: str
    facts: Sequence[tuple[str, str]]
    facilities: Sequence[FacilityView]
    preview: str = PREVIEW


def render_listing(listing: Mapping[str, Any]) -> str:
    """The listing as a self-contained HTML5 page, UTF-8; the same listing gives the same text."""
    return page_template("listing.html.j2").render(listing=listing_view(listing))


def write_listing(listing: Mapping[str, Any], path: Path) -> bool:
    """Write the page; whether the file changed."""
    return write_file(path, render_listing(listing).encode())


def listing_view(listing: Mapping[str, Any]) -> ListingView:
    """The view of a listing, all texts printable."""
    shown = printable_invoice(listing)
    team, covers = shown["team"], shown["covers"]
    return ListingView(
        title=f"{team['name']}, {shown['period']}",
        team=team["name"],
        facts=[
            ("Team", named(team)),
            ("Dates covered", date_span(covers["from"], covers["to"])),
        ],
        facilities=[_facility(part) for part in shown["facilities"]],
    )


def _facility(part: dict[str, Any]) -> FacilityView:
    currency, totals = part["currency"], part["totals"]
    facts = []
    if part["teams"]:
        facts.append(("With the teams", "\n".join(named(team) for team in part["teams"])))
    if part["contacts"]:
        facts.append(("Contacts", part["contacts"]))
    return FacilityView(
        name=part["name"],
        currency=currency,
        facts=facts,
        totals=[
            Total("Invoiced", money(totals["invoiced"]), "part"),
            Total("Pending, as priced now", money(totals["pending"]), "part"),
            Total("Invoiced and pending", money(totals["total"]), "total"),
        ],
        invoices=_invoices(part["invoices"], currency, totals["invoiced"]),
        summaries=[table for table in _summaries(part) if table.rows],
        lines=[_invoice_lines(it, currency) for it in part["invoices"] if it["counts"]],
        pending=[_pending_lines(it, currency) for it in part["pending"]],
    )


def _invoices(invoices: list[dict[str, Any]], currency: str, invoiced: str) -> DocumentTable:
    columns = (
        *texts("Invoice", "Date", "Project", "Team", "State"),
        *numbers("Charges", f"Total ({currency})", "Of it prepaid", "Due"),
    )
    rows = [
        [
            it["number"],
            long_date(it["invoice_date"]),
            named({"code": it["project"], "name": it["name"]}),
            it["team"],
            it["became"],
            f"{it['charges']:,}",
            money(it["total"]),
            money(it["prepaid"]),
            money(it["due"]),
        ]
        for it in invoices
    ]
    others = any(not it["counts"] for it in invoices)
    remark = "Replaced and void invoices count in no total." if others else ""
    footer = ["Total", *[""] * 5, money(invoiced), "", ""]
    return DocumentTable("Invoices", columns, rows, footer, remark)


def _summaries(part: dict[str, Any]) -> list[DocumentTable]:
    totals, currency = part["totals"], part["currency"]
    rest = _aside("Adjustments and tax of invoices", part["beside_lines"])
    drawn = _aside("Prepaid funds", part["prepaid"])
    return [
        _summary("By project", "Project", part["by_project"], [], totals, currency),
        _summary("By user", "User", part["by_user"], rest, totals, currency),
        _summary(
            "By expense code", "Expense code", part["by_expense_code"], drawn, totals, currency
        ),
    ]


def _summary(
    title: str,
    label: str,
    rows: list[dict[str, Any]],
    more: list[list[str]],
    totals: dict[str, str],
    currency: str,
) -> DocumentTable:
    columns = (*texts(label), *numbers(f"Invoiced ({currency})", "Pending", "Total"))
    listed = [[row["key"] or NOTHING, *(money(row[name]) for name in _AMOUNTS)] for row in rows]
    footer = ["Total", *(money(totals[name]) for name in _AMOUNTS)]
    return DocumentTable(title, columns, [*listed, *more] if rows else [], footer)


def _aside(label: str, amounts: dict[str, str] | None) -> list[list[str]]:
    if amounts is None:
        return []
    return [[label, *(money(amounts[name]) for name in _AMOUNTS)]]


def _invoice_lines(invoice: dict[str, Any], currency: str) -> DocumentTable:
    changes = [
        f"{step['rule']} ({step['kind']}): {money(step['amount'])}"
        for step in invoice["adjustments"]
    ]
    if invoice["tax"] is not None:
        changes.append(f"tax: {money(invoice['tax'])}")
    remark = "; ".join([f"Amounts in {currency}", *changes, f"total {money(invoice['total'])}"])
    project = named({"code": invoice["project"], "name": invoice["name"]})
    return _lines(f"Invoice {invoice['number']}, project {project}", invoice["lines"], remark)


def _pending_lines(pending: dict[str, Any], currency: str) -> DocumentTable:
    project = named({"code": pending["project"], "name": pending["name"]})
    return _lines(
        f"Pending charges of project {project}", pending["lines"], f"Amounts in {currency}"
    )


def _lines(title: str, lines: list[dict[str, Any]], remark: str) -> DocumentTable:
    columns = (
        *texts("Charge", "Date"),
        Column("Item and description", notes=True),
        *texts("User", "Expense code"),
        *numbers("Quantity"),
        *texts("Unit"),
        *numbers("Rate", "Amount", "Adjustment", "Total"),
    )
    amounts = ("raw_total", "adjustment", "total")
    sums = [money(str(sum(Decimal(line[name]) for line in lines))) for name in amounts]
    footer = ["Total", *[""] * 7, *sums]
    return DocumentTable(title, columns, [_line(line) for line in lines], footer, remark)


def _line(line: dict[str, Any]) -> list[str]:
    name = line["item"] or "Added line"
    return [
        line["charge"],
        line["date"] or NOTHING,
        f"{name}\n{line['description']}" if line["description"] else name,
        line["user"] or NOTHING,
        share_text(line["expense_codes"] or []),
        number(line["quantity"]),
        line["unit"] or NOTHING,
        number(line["price"]),
        money(line["raw_total"]),
        money(line["adjustment"]),
        money(line["total"]),
    ]
