"""Commands about changes to many charges: ``bulk``, ``undo``."""

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


@app.command(
    epilog="Example: billing bulk RC 1993-11 --project u4 --set rate=0.10 --reason agreed --preview"
)
def bulk(
    facility: FacilityCode,
    period: PeriodText,
    changes: Annotated[
        list[str],
        typer.Option("--set", metavar="FIELD=VALUE", help="As of billing adjust, on each charge."),
    ],
    reason: Annotated[str, typer.Option(help="Why; kept with every change.")] = "",
    project: Annotated[str | None, typer.Option(help="Only this project's charges.")] = None,
    team: Annotated[str | None, typer.Option(help="Only this team's.")] = None,
    item: Annotated[str | None, typer.Option(help="Only this item's.")] = None,
    user: Annotated[str | None, typer.Option(help="Only this user's.")] = None,
    text: Annotated[str | None, typer.Option(help="Only with this in the description.")] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show what would change, and change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make the same change to all pending charges that match, as one group; undo takes it back."""
    import polars as pl

    from billing_lib.pricing.money import minor_places
    from billing_lib.pricing.period import Period
    from billing_lib.workflow import bulk as changing

    book = price_book(facility)
    month = str(Period.parse(period))
    selection = changing.Selection(project, team, item, user, text)
    values = parse_changes(changes)
    with progress("bulk"):
        if preview:
            done = changing.preview(ledger(), book, month, selection, values)
        else:
            done = changing.adjust_many(ledger(), book, month, selection, values, reason)
    if not preview and not done.selected:
        say(f"{facility} {month}: what is selected was set so before, nothing changed")
        return
    say_frame(
        done.effect.with_columns(pl.format("{}/{}", pl.lit(facility), "charge").alias("charge")),
        title=f"{'Would change' if preview else 'Changed'} {facility} {month}",
        as_json=as_json,
        places=minor_places(book.facility.currency),
        money=("before", "after"),
    )
    if not as_json:
        say(
            f"{done.selected:,} charges selected, nothing changed"
            if preview
            else f"{done.selected:,} charges changed, group {done.group}; take it back with "
            f"billing undo {facility} {done.group}"
        )


@app.command(epilog="Example: billing undo RC 3f9c1a2b4d5e --reason 'the agreement fell through'")
def undo(
    facility: FacilityCode,
    group: Annotated[str, typer.Argument(metavar="GROUP", help="As billing bulk named it.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the undoing.")] = "",
) -> None:
    """Take back a group of changes, as long as its charges are pending."""
    from billing_lib.workflow.bulk import undo_group

    with progress("undo"):
        undone = undo_group(ledger(), price_book(facility), group, reason)
    say(f"{facility}: group {group} undone, {undone.selected:,} charges are as before it")
