"""Commands about charges: ``rate``, ``charges``, ``explain``, ``adjust``, ``delete``."""

from typing import TYPE_CHECKING, Annotated

import typer

from billing_lib.cli.app import (
    FacilityCode,
    PeriodText,
    app,
    ledger,
    parse_changes,
    price_book,
    progress,
    say,
)
from billing_lib.cli.finding import Shown, books_for, narrowed, takes_filter, takes_page
from billing_lib.errors import InvalidAdjustment

if TYPE_CHECKING:
    from billing_lib.workflow.filters import Filter


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
    for sentence in rated.told:
        say(sentence)


@app.command(epilog="Example: billing charges RC 1993-10 --project u4 --sort -total --csv")
@takes_page
@takes_filter
def charges(
    wanted: "Filter",
    shown: Shown,
    facility: Annotated[
        str | None, typer.Argument(metavar="FACILITY", help="The facility's code.")
    ] = None,
    period: Annotated[
        str | None, typer.Argument(metavar="PERIOD", help="A month, YYYY-MM.")
    ] = None,
) -> None:
    """Find charges by what is asked for: of a period or any, with their totals and state."""
    from billing_lib.workflow.finding import find_charges

    if facility is not None:
        price_book(facility)  # a facility that there is none of is said
    wanted = narrowed(wanted, facility, period)
    found = find_charges(ledger(), wanted, books_for(wanted), shown.of())
    shown.say(
        found,
        "charges",
        " ".join(["Charges", *(word for word in (facility, period) if word is not None)]),
        spared=(
            *("currency", "cost", "item", "raw_total", "adjustment", "user", "price", "state"),
            *("invoice", "project"),
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
            help="Add a line without usage: with --facility, --project or --reference, --date, "
            "--description and --amount.",
        ),
    ] = False,
    facility: Annotated[str | None, typer.Option(help="Of an added line.")] = None,
    project: Annotated[
        str | None, typer.Option(help="Of an added line: on this project's invoice of the month.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Of an added line: on the ad hoc invoice with this one.")
    ] = None,
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
    from billing_lib.workflow.adjust import adjust_charge, split_code
    from billing_lib.workflow.lines import NewLine, add_charge_line

    if add_line:
        stated = {
            "facility": facility,
            "project": project or reference,
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
        rest = {"project": project, "reference": reference, "expense_code": expense_code}
        line = NewLine.parse(stated | rest, book)
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
