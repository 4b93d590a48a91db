"""Commands about changes to many charges: ``bulk``, ``groups``, ``undo``."""

from typing import TYPE_CHECKING, Annotated

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
    say_json,
)
from billing_lib.cli.finding import narrowed, takes_filter

if TYPE_CHECKING:
    from billing_lib.pricing.pricebook import PriceBook
    from billing_lib.workflow.effect import Changed
    from billing_lib.workflow.filters import Filter

Preview = Annotated[
    bool, typer.Option("--preview", help="Show what would change, and change nothing.")
]
AsSeen = Annotated[
    str | None,
    typer.Option("--seen", metavar="MARK", help="Only as --preview showed it under this mark."),
]


@app.command(
    epilog="Example: billing bulk RC 1993-11 --project u4 --set rate=0.10 --reason agreed --preview"
)
@takes_filter
def bulk(
    wanted: "Filter",
    facility: FacilityCode,
    period: PeriodText,
    changes: Annotated[
        list[str],
        typer.Option("--set", metavar="FIELD=VALUE", help="As of billing adjust, on each charge."),
    ],
    reason: Annotated[str, typer.Option(help="Why; kept with every change.")] = "",
    preview: Preview = False,
    seen: AsSeen = None,
    as_json: AsJson = False,
) -> None:
    """Make the same change to all pending charges that match, as one group; undo takes it back."""
    from billing_lib.pricing.period import Period
    from billing_lib.workflow import bulk as changing

    book = price_book(facility)
    month = str(Period.parse(period))
    wanted = narrowed(wanted, facility, month)
    values = parse_changes(changes)
    with progress("bulk") as step:
        if preview:
            done = changing.preview(ledger(), book, month, wanted, values, step)
        else:
            done = changing.adjust_many(
                ledger(), book, month, wanted, values, reason, seen=seen, step=step
            )
    if not done.selected:
        say(f"{facility} {month}: what is selected was set so before, nothing changed")
        return
    _say_changed(done, book, f"{'Would change' if preview else 'Changed'} {month}", as_json=as_json)
    if not as_json:
        say(
            f"{done.selected:,} charges selected, nothing changed; make it just so with "
            f"--seen {done.seen}"
            if preview
            else f"{done.selected:,} charges changed, group {done.group}; take it back with "
            f"billing undo {facility} {done.group}"
        )


@app.command(epilog="Example: billing groups RC 1993-11")
def groups(facility: FacilityCode, period: PeriodText, as_json: AsJson = False) -> None:
    """List the groups of changes to a month's charges: who, when, what and why, undone or not."""
    import polars as pl

    from billing_lib.workflow.changes import list_groups

    found = list_groups(ledger(), price_book(facility), period)
    told = found.with_columns(pl.col("after").list.join(", ")).rename({"after": "set"})
    say_frame(told, title=f"Groups {facility} {period}", as_json=as_json, spared=("at",))


@app.command(epilog="Example: billing undo RC 3f9c1a2b4d5e --reason 'the agreement fell through'")
def undo(
    facility: FacilityCode,
    group: Annotated[str, typer.Argument(metavar="GROUP", help="As billing groups lists it.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the undoing.")] = "",
    preview: Preview = False,
    seen: AsSeen = None,
    as_json: AsJson = False,
) -> None:
    """Take back a group of changes, as long as its charges are pending."""
    from billing_lib.workflow.bulk import preview_undo, undo_group

    book = price_book(facility)
    with progress("undo") as step:
        if preview:
            done = preview_undo(ledger(), book, group, step)
        else:
            done = undo_group(ledger(), book, group, reason, seen=seen, step=step)
    if preview or as_json:
        title = f"Undoing {group} {'would change' if preview else 'changed'}"
        _say_changed(done, book, title, as_json=as_json)
    if preview and not as_json:
        say(f"{done.selected:,} charges, nothing changed; undo it just so with --seen {done.seen}")
    if not preview and not as_json:
        say(f"{facility}: group {group} undone, {done.selected:,} charges are as before it")


def _say_changed(changed: "Changed", book: "PriceBook", title: str, *, as_json: bool) -> None:
    """Print what a change comes to: charge by charge, and what each invoice comes to."""
    import polars as pl

    from billing_lib.pricing.money import minor_places, money_text_column

    facility, places = book.facility.code, minor_places(book.facility.currency)
    effect = changed.effect.with_columns(
        pl.format("{}/{}", pl.lit(facility), "charge").alias("charge")
    )
    if as_json:
        parts = {"charges": effect, "invoices": changed.invoices}
        texts = {
            name: part.with_columns(
                money_text_column(pl.col(amount), places) for amount in ("before", "after")
            )
            for name, part in parts.items()
        }
        say_json(
            {"group": changed.group, "selected": changed.selected, "seen": changed.seen}
            | {name: text.to_dicts() for name, text in texts.items()}
        )
        return
    for part, about in ((effect, title), (changed.invoices, "Invoices")):
        money = ("before", "after")
        say_frame(part, title=f"{about}, {facility}", as_json=False, places=places, money=money)
