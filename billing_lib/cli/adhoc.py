"""Commands about ad hoc invoices: ``adhoc``."""

from typing import Annotated

import typer

from billing_lib.cli.app import FacilityCode, app, ledger, price_book, say


@app.command(
    epilog="Example: billing adhoc RC PO-12 --project u4 --start 1993-10-04 --end 1993-10-08"
)
def adhoc(
    facility: FacilityCode,
    reference: Annotated[
        str, typer.Argument(metavar="REFERENCE", help="What names it, such as PO-12.")
    ],
    project: Annotated[str | None, typer.Option(help="Whose invoice it is.")] = None,
    start: Annotated[str | None, typer.Option(help="The first day it covers, YYYY-MM-DD.")] = None,
    end: Annotated[
        str | None, typer.Option(help="The last day; the first unless told. Its month bills it.")
    ] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    edit: Annotated[
        bool, typer.Option("--edit", help="Change the dates or the description it has.")
    ] = False,
) -> None:
    """Create an invoice of anything, apart from the month's; lines and usage name its reference."""
    from billing_lib.workflow.adhoc import Words, create_ad_hoc, edit_ad_hoc

    words = Words(project, start, end, description)
    do = edit_ad_hoc if edit else create_ad_hoc
    say(do(ledger(), price_book(facility), reference, words))
