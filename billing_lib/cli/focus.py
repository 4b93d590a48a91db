"""``billing focus``: the costs of a month for tools that read FOCUS."""

from pathlib import Path
from typing import Annotated

import typer

from billing_lib.cli.app import PeriodText, app, ledger, say


@app.command(epilog="Example: billing focus RC 1993-11 --to rc-1993-11.parquet")
def focus(
    facility: Annotated[
        str, typer.Argument(metavar="FACILITY", help="The facility's code; 'all' for every one.")
    ],
    period: PeriodText,
    to: Annotated[Path, typer.Option(metavar="FILE", help="Written as .csv or .parquet.")],
) -> None:
    """Write a month's charges as a FOCUS 1.2 dataset, which tools for cloud costs read."""
    from billing_lib.documents.focus import VERSION, focus_rows, write_focus
    from billing_lib.pricing.period import Period
    from billing_lib.settings import settings
    from billing_lib.workflow.costs import read_costs
    from billing_lib.workflow.price_books import read_price_books

    books = read_price_books(settings().parameters)
    chosen = None if facility == "all" and facility not in books else facility
    rows = focus_rows(read_costs(ledger(), books, Period.parse(period), chosen))
    written = write_focus(rows, to)
    pending = rows["InvoiceId"].null_count()
    say(
        f"{to}: {'written' if written else 'is so already, nothing changed'}; FOCUS {VERSION}, "
        f"{rows.height:,} rows, {pending:,} of them on no issued invoice yet"
    )
