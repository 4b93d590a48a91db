"""Commands about credits: ``credit``."""

from typing import Annotated

import typer

from billing_lib.cli.app import app, ledger, price_book, say


@app.command(epilog="Example: billing credit RC-1994-00001 --amount 20.00 --reason 'overcharged'")
def credit(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="An issued invoice's number.")],
    amount: Annotated[str, typer.Option(help="What to give back, before tax.")],
    reason: Annotated[str, typer.Option(help="Why; it stands on the invoice.")],
    date: Annotated[
        str | None, typer.Option(help="Whose month gives it back, YYYY-MM-DD; today unless told.")
    ] = None,
    expense_code: Annotated[
        str | None, typer.Option(help="What gets it; the project's split unless told.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Give it although the same was given that day already.")
    ] = False,
) -> None:
    """Give back some of an issued invoice, on the project's next one."""
    from billing_lib.workflow.credit import credit_invoice, facility_of

    engine = ledger()
    book = price_book(facility_of(engine, number))
    say(
        credit_invoice(
            engine, book, number, amount, reason, date=date, expense_code=expense_code, again=again
        )
    )
