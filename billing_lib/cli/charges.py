"""Commands about charges: ``rate``, ``charges``, ``explain``, ``adjust``, ``delete``."""

from typing import Annotated

import typer

from billing_lib.cli.app import (
    AsJson,
    FacilityCode,
    PeriodText,
    app,
    ledger,
    parse_changes,
    price_book,
    progress,
    say,
    say_frame,
)
from billing_lib.errors import InvalidAdjustment


@app.command(epilog="Example: billing rate RC 1993-10")
def rate(
    facility: FacilityCode,
    period: PeriodText,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Look up the rates of pending charges anew, and list what changes."
        ),
    ] = False,
) -> None:
    """Turn a period's usage into charges; a charge keeps its rate unless told --again."""
    from billing_lib.pricing.period import Period
    from billing_lib.workflow.rating import rate_period

    book = price_book(facility)
    with progress("rate"):
        rated = rate_period(ledger(), book, Period.parse(period), again=again)
    for sentence in rated.changes:
        say(sentence)
    say(rated.sentence)


@app.command(epilog="Example: billing charges RC 1993-10 --project u4 --json")
def charges(
    facility: FacilityCode,
    period: PeriodText,
    project: Annotated[str | None, typer.Option(help="Only this project's.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the charges of a period with their totals and state."""
    from billing_lib.pricing.money import minor_places
    from billing_lib.pricing.period import Period
    from billing_lib.workflow.rating import list_charges

    book = price_book(facility)
    month = str(Period.parse(period))
    say_frame(
        list_charges(ledger(), facility, month, project),
        title=f"Charges {facility} {month}",
        as_json=as_json,
        places=minor_places(book.facility.currency),
        money=("raw_total", "adjustment", "total", "cost"),
        spared=(
            "cost",
            "item",
            "raw_total",
            "adjustment",
            "user",
            "price",
            "state",
            "invoice",
            "project",
        ),
    )


@app.command(epilog="Example: billing explain RC/57")
def explain(
    charge: Annotated[str, typer.Argument(metavar="CHARGE", help="A charge, such as RC/57.")],
) -> None:
    """Say how a charge comes to its total, step by step."""
    from billing_lib.workflow.adjust import split_code
    from billing_lib.workflow.explain import explain as explained

    book = price_book(split_code(charge)[0])
    for sentence in explained(ledger(), book, charge):
        say(sentence)


@app.command(epilog="Example: billing adjust RC/57 --set quantity=10 --reason 'two nodes failed'")
def adjust(
    charge: Annotated[
        str | None, typer.Argument(metavar="[CHARGE]", help="A charge, such as RC/57.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="quantity, rate, amount, expense_code, split=CODE=60,CODE=40, project, "
            "waived=yes or note.",
        ),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; kept with the change.")] = "",
    add_line: Annotated[
        bool,
        typer.Option(
            "--add-line",
            help="Add a line without usage: with --facility, --project, --date, --description "
            "and --amount.",
        ),
    ] = False,
    facility: Annotated[str | None, typer.Option(help="Of an added line.")] = None,
    project: Annotated[str | None, typer.Option(help="Of an added line.")] = None,
    date: Annotated[str | None, typer.Option(help="Of an added line, YYYY-MM-DD.")] = None,
    description: Annotated[str | None, typer.Option(help="Of an added line.")] = None,
    amount: Annotated[str | None, typer.Option(help="Of an added line.")] = None,
    expense_code: Annotated[
        str | None, typer.Option(help="Of an added line; the project's split unless told.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Add a line although the same one is there already.")
    ] = False,
) -> None:
    """Change a charge before it is issued, or add a line; who, when and why are kept."""
    from billing_lib.workflow.adjust import NewLine, add_charge_line, adjust_charge, split_code

    if add_line:
        stated = {
            "facility": facility,
            "project": project,
            "date": date,
            "description": description,
            "amount": amount,
        }
        missing = [f"--{name}" for name, value in stated.items() if value is None]
        if missing or charge or changes:
            raise InvalidAdjustment(
                f"an added line needs {', '.join(missing)}"
                if missing
                else "an added line has no charge and no --set yet",
                remedy="see billing adjust --help",
            )
        book = price_book(str(facility))
        line = NewLine.parse(stated | {"expense_code": expense_code}, book)
        say(add_charge_line(ledger(), book, line, reason, again=again))
        return
    if charge is None or not changes:
        raise InvalidAdjustment(
            "say which charge and what to set", remedy="see billing adjust --help"
        )
    book = price_book(split_code(charge)[0])
    for sentence in adjust_charge(ledger(), book, charge, parse_changes(changes), reason):
        say(sentence)


@app.command(epilog="Example: billing delete RC/57 --reason 'rated by a wrong price'")
def delete(
    charge: Annotated[str, typer.Argument(metavar="CHARGE", help="A charge, such as RC/57.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the deletion.")] = "",
) -> None:
    """Delete a pending charge, so that the next rating makes it anew at today's rate."""
    from billing_lib.workflow.adjust import delete_charge, split_code

    book = price_book(split_code(charge)[0])
    say(delete_charge(ledger(), book, charge, reason))
