"""Commands about who is told what, beside the mail: ``notices``, ``preferences``."""

from typing import Annotated

import typer

from billing_lib.cli.app import AsJson, FacilityCode, app, ledger, price_book, say, say_frame
from billing_lib.errors import InvalidAdjustment


@app.command(epilog="Example: billing notices --read")
def notices(
    team: Annotated[
        str | None, typer.Option(help="What this team's lab administrators are shown.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Those that are read, too.")] = False,
    read: Annotated[bool, typer.Option("--read", help="Put all of them away.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the notices that the notebooks show you."""
    import polars as pl

    from billing_lib.workflow.inbox import list_notices, read_all

    engine = ledger()
    if read:
        say(f"{read_all(engine):,} notices put away")
        return
    found = list_notices(engine, team=team, everything=everything)
    moment = pl.col("made_at", "seen_at").dt.to_string("%Y-%m-%d %H:%MZ")
    say_frame(
        found.with_columns(moment).select("made_at", "facility", "team", "text", "link", "seen_at"),
        title="Notices",
        as_json=as_json,
        spared=("link", "seen_at", "team"),
    )


@app.command(epilog="Example: billing preferences RC ann@example.edu --invoices digest")
def preferences(
    facility: FacilityCode,
    address: Annotated[
        str | None, typer.Argument(metavar="ADDRESS", help="Whose preference to set.")
    ] = None,
    invoices: Annotated[
        str | None,
        typer.Option(help="each: a message for each invoice; digest: one for all; none."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List who is told of invoices and statements, or set how one is told of invoices."""
    from billing_lib.workflow.preferences import list_preferences, prefer

    if (address is None) != (invoices is None):
        raise InvalidAdjustment(
            "a preference is set of an address", remedy="name it, and say --invoices"
        )
    engine, book = ledger(), price_book(facility)
    if address is not None and invoices is not None:
        say(prefer(engine, book, address, invoices))
    else:
        say_frame(list_preferences(engine, book), title=f"Preferences {facility}", as_json=as_json)
