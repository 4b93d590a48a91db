"""Commands about invoices: ``issue``, ``invoices``, ``show``."""

from typing import TYPE_CHECKING, Annotated

import typer

from billing_lib.cli.app import (
    AsJson,
    FacilityCode,
    PeriodText,
    app,
    ledger,
    price_book,
    progress,
    say,
)
from billing_lib.cli.finding import Shown, books_for, takes_filter, takes_page

if TYPE_CHECKING:
    from billing_lib.workflow.filters import Filter


@app.command(epilog="Example: billing issue RC 1993-10 --project u4")
def issue(
    facility: FacilityCode,
    period: PeriodText,
    project: Annotated[str | None, typer.Option(help="Only this project's invoice.")] = None,
    reference: Annotated[
        str | None, typer.Option(help="Only the ad hoc invoice with this reference.")
    ] = None,
    date: Annotated[
        str | None, typer.Option(help="The invoice date, YYYY-MM-DD; today unless told.")
    ] = None,
    allow_dirty: Annotated[
        bool,
        typer.Option(
            "--allow-dirty", help="Issue from changed files; the record says so and keeps the diff."
        ),
    ] = False,
) -> None:
    """Issue a period's invoices: freeze, compute by papermill, archive, number."""
    from billing_lib.batch import issue_month
    from billing_lib.errors import NotReady
    from billing_lib.issuer import Terms
    from billing_lib.pricing.period import Period
    from billing_lib.settings import settings
    from billing_lib.workflow.selection import RunSelection

    if project is not None and reference is not None:
        raise NotReady(
            "--project and --reference name different invoices", remedy="issue one after the other"
        )
    chosen = RunSelection(() if project is None else (project,), reference=reference)
    book = price_book(facility)
    month = Period.parse(period)
    with progress("issue") as step:
        issued = issue_month(
            ledger(),
            settings(),
            book,
            month,
            chosen,
            terms=Terms(date, allow_dirty),
            step=step,
        )
    for sentence in issued.sentences:
        say(sentence)


@app.command(epilog="Example: billing note RC 1993-10 --project u4 --text 'Down on 12 October.'")
def note(
    facility: FacilityCode,
    period: PeriodText,
    project: Annotated[str, typer.Option(help="Whose invoice.")],
    text: Annotated[str, typer.Option(help="The note; an empty one takes it away.")],
) -> None:
    """Write a note on a project's next invoice of a month."""
    from billing_lib.pricing.period import Period
    from billing_lib.workflow.notes import write_note

    month = str(Period.parse(period))
    say(write_note(ledger(), price_book(facility), month, project, text))


@app.command(epilog="Example: billing invoices --facility RC --view live --sort -total")
@takes_page
@takes_filter
def invoices(wanted: "Filter", shown: Shown) -> None:
    """Find invoices by what is asked for, drafts too: their state and totals, page by page."""
    from billing_lib.workflow.finding import find_invoices

    found = find_invoices(ledger(), wanted, books_for(wanted), shown.of())
    shown.say(
        found,
        "invoices",
        "Invoices",
        spared=(
            *("cost", "raw_total", "adjustment", "tax", "reference", "kind", "facility", "team"),
            *("invoice_date", "charges", "reason", "period", "invoice"),
        ),
    )


@app.command(epilog="Example: billing show RC-1994-00001")
def show(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="An invoice's number.")],
    as_json: AsJson = False,
) -> None:
    """Show an invoice: its totals, its lines, what it comes to by expense code."""
    from billing_lib.audit.archive import find_record
    from billing_lib.cli.invoice_view import say_invoice
    from billing_lib.settings import settings
    from billing_lib.workflow.canonical import read_invoice

    record = find_record(number, settings().runs)
    text = (record / "data" / "invoices" / f"{number}.json").read_text(encoding="utf-8")
    if as_json:
        say(text.rstrip())
    else:
        say_invoice(read_invoice(text))
