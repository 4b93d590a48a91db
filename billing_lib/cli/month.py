"""``billing month``: the scheduled job's command, all facilities at once."""

from typing import Annotated

import typer

from billing_lib.cli.app import PeriodText, app, ledger, progress, say


@app.command(epilog="Example: billing month 1993-10 --date 1993-11-05")
def month(
    period: PeriodText,
    date: Annotated[
        str | None, typer.Option(help="The invoice date, YYYY-MM-DD; today unless told.")
    ] = None,
    allow_dirty: Annotated[
        bool,
        typer.Option(
            "--allow-dirty", help="Issue from changed files; the records say so and keep the diff."
        ),
    ] = False,
) -> None:
    """Issue what is ready of every facility's month, then its statements; status 1 if some failed.

    Usage must be loaded and rated. What waits for a person is said, and is no failure.
    """
    from billing_lib.issuer import Terms
    from billing_lib.month import issue_all
    from billing_lib.pricing.period import Period
    from billing_lib.settings import settings

    with progress("month") as step:
        done = issue_all(
            ledger(), settings(), Period.parse(period), terms=Terms(date, allow_dirty), step=step
        )
    for outcome in done.facilities:
        for sentence in outcome.sentences:
            say(sentence)
    for sentence in [*done.statements, *done.delivered]:
        say(sentence)
    raise typer.Exit(1 if done.failed else 0)
