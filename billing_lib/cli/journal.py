"""``billing journal`` and ``journals``: what goes to the general ledger, once."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from billing_lib.cli.app import AsJson, FacilityCode, app, ledger, price_book, say_frame


@app.command(epilog="Example: billing journal RC --run RC-1993-11-1 --post --to rc-1.csv")
def journal(
    facility: FacilityCode,
    number: Annotated[
        int | None, typer.Argument(metavar="NUMBER", help="A posted journal, to have it again.")
    ] = None,
    run: Annotated[str | None, typer.Option(help="Only what this billing run moved.")] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Only what is dated until this day, YYYY-MM-DD."),
    ] = None,
    post: Annotated[
        bool, typer.Option("--post", help="Post it: it gets a number, and is in no later journal.")
    ] = False,
    posted: Annotated[
        bool, typer.Option("--posted", help="All that is posted, as one journal.")
    ] = False,
    kind: Annotated[str, typer.Option("--format", help="csv, hledger or beancount.")] = "csv",
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it into this file.")
    ] = None,
) -> None:
    """Show what is not posted to the general ledger yet, or post it; or a posted journal again."""
    from billing_lib.documents.journal import render_journal, require_format
    from billing_lib.documents.writing import write_file
    from billing_lib.errors import InvalidFilter
    from billing_lib.workflow.journal import Selection, post_journal, read_journal
    from billing_lib.workflow.lines import parse_date

    if sum((number is not None, post, posted)) > 1:
        raise InvalidFilter(
            "a journal is one by its number, what is --posted, or what is to be posted",
            remedy="say one of them",
        )
    require_format(kind)
    engine, book = ledger(), price_book(facility)
    selection = Selection(run, None if until is None else parse_date(until))
    if post:
        made = post_journal(engine, book, selection)
        if made is None:
            typer.echo(f"{facility}: there is nothing to post, nothing changed")
            return
        typer.echo(f"{facility}: journal {made.number} is posted, {made.sentence}", err=to is None)
    else:
        made = read_journal(engine, book, number, selection, posted=posted)
    text = render_journal(made, kind).encode()
    if to is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(text)
        return
    written = write_file(to, text)
    typer.echo(f"{to}: {'written' if written else 'is so already, nothing changed'}")


@app.command(epilog="Example: billing journals RC --json")
def journals(facility: FacilityCode, as_json: AsJson = False) -> None:
    """List the posted journals."""
    from billing_lib.workflow.journal import list_journals

    book = price_book(facility)
    frame = list_journals(ledger(), book)
    say_frame(frame, title=f"{facility}: posted journals", as_json=as_json)
