"""Commands about statements and their payment; ``listing``, a lab's month."""

from pathlib import Path
from typing import Annotated

import typer

from billing_lib.cli.app import AsJson, PeriodText, app, ledger, progress, say, say_frame, say_json
from billing_lib.errors import UnknownFormat, count_of

StatementId = Annotated[
    str, typer.Argument(metavar="ID", help="A statement's id, such as smith-lab-1993-10.")
]


@app.command(epilog="Example: billing statements 1993-10 --team bio --format pdf --into october")
def statements(
    period: PeriodText,
    team: Annotated[
        list[str] | None, typer.Option(help="Only this team's; can be given again.")
    ] = None,
    suffix: Annotated[
        str | None, typer.Option("--format", help="Write each of them as pdf, xlsx or json.")
    ] = None,
    into: Annotated[
        Path, typer.Option(metavar="FOLDER", help="The folder to write into.")
    ] = Path(),
    as_json: AsJson = False,
) -> None:
    """Update a month's statements to the issued invoices, and list or write them."""
    from billing_lib.documents.statement import require_statement_format
    from billing_lib.exports.documents import write_statements
    from billing_lib.pricing.clock import Period
    from billing_lib.settings import settings
    from billing_lib.workflow.load import read_price_books
    from billing_lib.workflow.statements import generate_statements, list_statements

    engine, month = ledger(), Period.parse(period)
    if suffix is not None:
        require_statement_format(suffix)
    elif into != Path():
        raise UnknownFormat("say in which format", remedy="add --format pdf, xlsx or json")
    books = read_price_books(settings().parameters)
    generated = generate_statements(engine, books, month, team)
    if not as_json:
        for sentence in generated.sentences:
            say(sentence)
    say_frame(
        list_statements(engine, str(month), team),
        title=f"Statements of {month}",
        as_json=as_json,
        spared=("period", "payment_reference", "paid_on", "raw_total", "adjustment", "facilities"),
    )
    if suffix is not None:
        with progress(suffix) as step:
            written = write_statements(
                engine, settings().runs, books, month, suffix, into, team, step
            )
        said = (
            f"{count_of(len(written), 'file')} written to {into}" if written else "nothing changed"
        )
        typer.echo(f"documents of {month}: {said}", err=as_json)


@app.command(epilog="Example: billing statement bio-1993-10 --to bio-1993-10.pdf")
def statement(
    statement_id: StatementId,
    to: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Write it: a .pdf, .xlsx or .json file; can be given again."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a statement: its invoices per facility, adjustments by rules, and the amount due."""
    from billing_lib.cli.tables import say_statement
    from billing_lib.documents.statement import suffix_of
    from billing_lib.exports.documents import write_statement
    from billing_lib.settings import settings
    from billing_lib.workflow.load import read_price_books
    from billing_lib.workflow.statements import read_statement, statement_json

    for path in to or ():
        suffix_of(path)
    engine, books = ledger(), read_price_books(settings().parameters)
    if as_json or not to:
        shown = read_statement(engine, books, statement_id)
        if as_json:
            say(statement_json(shown).rstrip())
        else:
            say_statement(shown)
    for path in to or ():
        written = write_statement(engine, settings().runs, books, statement_id, path)
        # Beside JSON the sentence goes to standard error.
        typer.echo(
            f"{path}: {'written' if written else 'is so already, nothing changed'}", err=as_json
        )


@app.command(
    epilog="Example: billing pay-statement bio-1993-10 --date 1993-12-20 --reference 'WIRE 4711'"
)
def pay_statement(
    statement_id: StatementId,
    date: Annotated[str, typer.Option(help="When it was paid, YYYY-MM-DD.")],
    reference: Annotated[str, typer.Option(help="The payer's reference.")],
) -> None:
    """Record that a statement is paid, with its invoices and their charges."""
    from billing_lib.workflow.statements import pay_statement

    say(pay_statement(ledger(), statement_id, date, reference))


@app.command(
    epilog="Example: billing unpay-statement bio-1993-10 --reason 'it was for another team'"
)
def unpay_statement(
    statement_id: StatementId,
    reason: Annotated[str, typer.Option(help="Why; it is kept.")],
) -> None:
    """Undo the payment of a statement and of the invoices that were paid with it."""
    from billing_lib.workflow.statements import unpay_statement

    say(unpay_statement(ledger(), statement_id, reason))


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
    from billing_lib.cli.tables import say_listing
    from billing_lib.documents.html import listing_view, write_listing
    from billing_lib.settings import settings
    from billing_lib.workflow.listing import read_listing
    from billing_lib.workflow.load import read_price_books

    books = read_price_books(settings().parameters)
    read = read_listing(ledger(), books, team, period, facility)
    if html is not None:
        written = write_listing(read, html)
        say(f"{html}: {'written' if written else 'is so already, nothing changed'}")
    elif as_json:
        say_json(read)
    else:
        say_listing(listing_view(read))
