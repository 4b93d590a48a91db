"""Commands after issue: ``reissue``, ``void``, ``pay``, ``unpay``, ``deposit``, ``funds``."""

from typing import Annotated

import typer

from billing_lib.cli.app import AsJson, FacilityCode, app, ledger, price_book, say, say_frame
from billing_lib.cli.runs import Reason

Number = Annotated[str, typer.Argument(metavar="NUMBER", help="An issued invoice's number.")]


@app.command(epilog="Example: billing reissue RC-1994-00003 --reason 'half of it was ours'")
def reissue(number: Number, reason: Reason = "") -> None:
    """Begin a new invoice that replaces an issued one; the old one counts until it is issued."""
    from billing_lib.cli.books import book_of_invoice
    from billing_lib.workflow.reissue import reissue as begin

    engine = ledger()
    for sentence in begin(engine, book_of_invoice(engine, number), number, reason):
        say(sentence)


@app.command(epilog="Example: billing void RC-1994-00003 --reason 'the project was not theirs'")
def void(
    number: Number,
    reason: Reason = "",
    reopen: Annotated[
        bool,
        typer.Option("--reopen-charges", help="Free its charges, to be billed by another run."),
    ] = False,
) -> None:
    """Void an issued invoice: it is kept, and no longer counts."""
    from billing_lib.cli.books import book_of_invoice
    from billing_lib.workflow.reissue import void as make_void

    engine = ledger()
    book = book_of_invoice(engine, number)
    for sentence in make_void(engine, book, number, reason, reopen=reopen):
        say(sentence)


@app.command(
    epilog="Example: billing pay RC-1994-00003 --date 1994-01-15 --reference 'transfer 8812'"
)
def pay(
    numbers: Annotated[list[str], typer.Argument(metavar="NUMBER...", help="Issued invoices.")],
    date: Annotated[str, typer.Option(help="When the payment came, YYYY-MM-DD.")],
    reference: Annotated[str, typer.Option(help="What the payment is found by.")],
) -> None:
    """Mark invoices as paid: they and their charges are read only from then on."""
    from billing_lib.cli.books import book_of_invoice
    from billing_lib.workflow import payments

    engine = ledger()
    book = book_of_invoice(engine, numbers[0])
    for sentence in payments.pay(engine, book, numbers, date, reference):
        say(sentence)


@app.command(epilog="Example: billing unpay RC-1994-00003 --reason 'the transfer was another one'")
def unpay(number: Number, reason: Reason = "") -> None:
    """Undo a payment that was a mistake."""
    from billing_lib.cli.books import book_of_invoice
    from billing_lib.workflow import payments

    engine = ledger()
    for sentence in payments.unpay(engine, book_of_invoice(engine, number), number, reason):
        say(sentence)


@app.command(epilog="Example: billing deposit RC u4 1000.00 --reason 'purchase order 4711'")
def deposit(
    facility: FacilityCode,
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="Whose funds.")],
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="What is paid in.")],
    reason: Reason = "",
) -> None:
    """Pay into a project's prepaid funds, from which its invoices draw first."""
    from billing_lib.workflow import funds as prepaid

    say(prepaid.deposit(ledger(), price_book(facility), project, amount, reason))


@app.command(epilog="Example: billing funds RC --json")
def funds(facility: FacilityCode, as_json: AsJson = False) -> None:
    """List prepaid funds: paid in, drawn, balance, and which are low."""
    from billing_lib.workflow.funds import list_funds

    say_frame(
        list_funds(ledger(), price_book(facility)),
        title=f"Prepaid funds {facility}",
        as_json=as_json,
    )
