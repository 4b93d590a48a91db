"""Commands about what is wrong with a month: ``check``, ``dismiss``."""

from typing import Annotated

import typer

from billing_lib.cli.app import (
    AsJson,
    FacilityCode,
    PeriodText,
    app,
    ledger,
    price_book,
    progress,
    say,
    say_frame,
    say_json,
)


@app.command(epilog="Example: billing check RC 1993-10")
def check(
    facility: FacilityCode,
    period: PeriodText,
    dismissed: Annotated[
        bool, typer.Option("--dismissed", help="List those that were dismissed instead.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List what the checks of a month find, the worst first; docs/checks.md describes them."""
    from billing_lib.pricing.money import minor_places, money_text
    from billing_lib.workflow.discrepancies import find_discrepancies

    book = price_book(facility)
    with progress("check") as step:
        month = find_discrepancies(ledger(), book, period, step)
    if dismissed:
        title = f"Dismissed, {facility} {period}"
        say_frame(month.dismissed, title=title, as_json=as_json, spared=("at", "by", "key"))
        return
    places = minor_places(book.facility.currency)
    if as_json:
        rows = month.findings.to_dicts()
        say_json([row | {"total": money_text(row["total"], places)} for row in rows])
        return
    shown = ("key", "severity", "check", "subject", "sentence", "total")
    say_frame(
        month.findings.select(shown),
        title=f"Findings, {facility} {period}",
        as_json=False,
        places=places,
        money=("total",),
        spared=("total", "severity", "subject"),
    )
    say(f"{month.findings.height:,} findings, {month.dismissed.height:,} dismissed before")


@app.command(epilog="Example: billing dismiss RC 1993-10 7c215e2c53 --reason 'a test of the meter'")
def dismiss(
    facility: FacilityCode,
    period: PeriodText,
    key: Annotated[str, typer.Argument(metavar="KEY", help="A finding, as 'check' lists it.")],
    reason: Annotated[str, typer.Option(help="Why it is right; kept with who and when.")] = "",
) -> None:
    """Dismiss a finding that was looked at and is right; it is not listed again."""
    from billing_lib.workflow.discrepancies import dismiss as dismiss_finding

    say(dismiss_finding(ledger(), price_book(facility), period, key, reason))
