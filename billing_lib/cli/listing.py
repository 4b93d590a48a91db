"""``billing listing``: a lab's month, the same for staff and for the lab."""

from pathlib import Path
from typing import Annotated

import typer

from billing_lib.cli.app import AsJson, PeriodText, app, ledger, say, say_json


@app.command(epilog="Example: billing listing bio 1993-10 --facility RC --html bio-1993-10.html")
def listing(
    team: Annotated[str, typer.Argument(metavar="TEAM", help="The team's code.")],
    period: PeriodText,
    facility: Annotated[
        str | None, typer.Option(help="Only this facility's; else all that may be seen.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it as an HTML page.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a lab's month: issued invoices, and pending charges marked as a preview."""
    from billing_lib.cli.listing_view import say_listing
    from billing_lib.documents.listing import listing_view, write_listing
    from billing_lib.settings import settings
    from billing_lib.workflow.listing import read_listing
    from billing_lib.workflow.price_books import read_price_books

    books = read_price_books(settings().parameters)
    read = read_listing(ledger(), books, team, period, facility)
    if html is not None:
        written = write_listing(read, html)
        say(f"{html}: {'written' if written else 'is so already, nothing changed'}")
    elif as_json:
        say_json(read)
    else:
        say_listing(listing_view(read))
