"""Commands about charges.

one charge     ``rate``, ``charges``, ``explain``, ``adjust``, ``delete``
many charges   ``bulk``, ``groups``, ``undo``
a month        ``check``, ``dismiss``
"""

from typing import TYPE_CHECKING, Annotated

import typer

from billing_lib.cli.app import (
    AsJson,
    FacilityCode,
    PeriodText,
    Preview,
    Shown,
    app,
    books_for,
    ledger,
    narrowed,
    parse_changes,
    price_book,
    progress,
    say,
    say_frame,
    say_json,
    takes_filter,
    takes_page,
)
from billing_lib.cli.office import say_taken_back
from billing_lib.errors import InvalidAdjustment, count_of

if TYPE_CHECKING:
    from billing_lib.pricing.pricebook import PriceBook
    from billing_lib.workflow.bulk import BulkResult
    from billing_lib.workflow.search import Filter


AsSeen = Annotated[
    str | None,
    typer.Option("--seen", metavar="MARK", help="Only as --preview showed it under this mark."),
]


@app.command(epilog="Example: billing rate RC 1993-10")
@takes_filter
def rate(
    wanted: "Filter",
    facility: FacilityCode,
    period: PeriodText,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Take today's rules for the month's pending charges, and list changes."
        ),
    ] = False,
    new_rates: Annotated[
        bool,
        typer.Option(
            "--new-rates",
            help="With --again: take today's rates, for the pending charges that match; staff's "
            "changes stay.",
        ),
    ] = False,
    reason: Annotated[str, typer.Option(help="With --new-rates: why; kept with them.")] = "",
    preview: Preview = False,
    seen: AsSeen = None,
    as_json: AsJson = False,
) -> None:
    """Turn a period's usage into charges. A charge keeps its rate; --new-rates replaces it."""
    from billing_lib.pricing.clock import Period
    from billing_lib.workflow.rate import rate_period
    from billing_lib.workflow.search import Filter

    book, month = price_book(facility), Period.parse(period)
    if new_rates and again:
        _rate_anew(book, str(month), wanted, reason, preview=preview, seen=seen, as_json=as_json)
        return
    given = wanted != Filter() or reason or preview or seen is not None or as_json
    if new_rates or given:
        raise InvalidAdjustment(
            "--new-rates goes with --again, since it is for charges that are rated already"
            if new_rates
            else "a filter, --reason, --preview, --seen and --json go with --again --new-rates",
            remedy="see billing rate --help",
        )
    with progress("rate"):
        rated = rate_period(ledger(), book, month, again=again)
    for sentence in rated.changes:
        say(sentence)
    say(rated.sentence)
    for sentence in rated.told:
        say(sentence)


def _rate_anew(
    book: "PriceBook",
    month: str,
    wanted: "Filter",
    reason: str,
    *,
    preview: bool,
    seen: str | None,
    as_json: bool,
) -> None:
    from billing_lib.pricing.money import minor_places, money_text
    from billing_lib.workflow.bulk import preview_new_rates, take_new_rates

    facility, places = book.facility.code, minor_places(book.facility.currency)
    wanted = narrowed(wanted, facility, month)
    with progress("rate") as step:
        done = (
            preview_new_rates(ledger(), book, month, wanted, step)
            if preview
            else take_new_rates(ledger(), book, month, wanted, reason, seen=seen, step=step)
        )
    if as_json:
        _say_changed(done, book, "", as_json=True)
        return
    totals = {code: (before, after) for code, _, before, after in done.effect.iter_rows()}
    for code, _, was, now in done.values.iter_rows():
        sentence = f"{facility}/{code}: rate {was or 'by tiers'} → {now or 'by tiers'}"
        said = [money_text(total, places) for total in totals.pop(code, ())]
        say(f"{sentence}, total {said[0]} → {said[1]}" if said else f"{sentence}, the same total")
    for code, (before, after) in totals.items():  # priced with them
        total = f"{money_text(before, places)} → {money_text(after, places)}"
        say(f"{facility}/{code}: total {total}")
    if done.selected and preview:
        say(
            f"{count_of(done.selected, 'charge')}, nothing changed; do it just so with "
            f"--seen {done.seen}"
        )
    else:
        say(
            f"{facility} {month}: {count_of(done.selected, 'charge')} with another rate than before"
        )


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
    """Find charges of a period or of all, with their totals and states."""
    from billing_lib.workflow.search import find_charges

    if facility is not None:
        price_book(facility)  # refuses an unknown facility
    wanted = narrowed(wanted, facility, period)
    found = find_charges(ledger(), wanted, books_for(wanted), shown.of())
    shown.say(
        found,
        "charge",
        " ".join(["Charges", *(word for word in (facility, period) if word is not None)]),
        spared=(
            *("currency", "cost", "item", "raw_total", "adjustment", "user", "price", "state"),
            *("invoice", "project"),
        ),
        columns=(
            *("charge", "project", "item", "user", "date", "description", "quantity", "price"),
            *("raw_total", "adjustment", "total", "cost", "state", "invoice", "currency"),
        ),
    )


@app.command(epilog="Example: billing explain RC/57")
def explain(
    charge: Annotated[str, typer.Argument(metavar="CHARGE", help="A charge, such as RC/57.")],
) -> None:
    """Explain a charge's total, step by step."""
    from billing_lib.workflow.adjust import split_code
    from billing_lib.workflow.review import explain as explained

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
    """Change a charge before it is issued, or add a line; login, time and reason are kept."""
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
    """Delete a pending charge; the next rating makes it again at the rate of then."""
    from billing_lib.workflow.adjust import delete_charge, split_code

    book = price_book(split_code(charge)[0])
    say(delete_charge(ledger(), book, charge, reason))


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
    """Make the same change to all matching pending charges, as a group that undo takes back."""
    from billing_lib.pricing.clock import Period
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
            f"{count_of(done.selected, 'charge')} selected, nothing changed; make it just so with "
            f"--seen {done.seen}"
            if preview
            else f"{count_of(done.selected, 'charge')} changed, group {done.group}; "
            "take it back with "
            f"billing undo {facility} {done.group}"
        )


@app.command(epilog="Example: billing groups RC 1993-11")
def groups(facility: FacilityCode, period: PeriodText, as_json: AsJson = False) -> None:
    """List the groups of changes to a month's charges: login, time, values, reason, state."""
    import polars as pl

    from billing_lib.workflow.adjust import list_groups

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
    """Take back a group of changes, or an unloading, as long as its charges are pending."""
    from billing_lib.workflow.bulk import preview_undo, undo_group
    from billing_lib.workflow.correct import is_unload, undo_unload

    book = price_book(facility)
    if is_unload(ledger(), book, group):
        back = undo_unload(ledger(), book, group, reason, preview=preview)
        say_taken_back(back, book, preview=preview, as_json=as_json)
        return
    with progress("undo") as step:
        if preview:
            done = preview_undo(ledger(), book, group, step)
        else:
            done = undo_group(ledger(), book, group, reason, seen=seen, step=step)
    if preview or as_json:
        title = f"Undoing {group} {'would change' if preview else 'changed'}"
        _say_changed(done, book, title, as_json=as_json)
    if preview and not as_json:
        say(
            f"{count_of(done.selected, 'charge')}, nothing changed; undo it just so "
            f"with --seen {done.seen}"
        )
    if not preview and not as_json:
        say(f"{facility}: group {group} undone, {count_of(done.selected, 'charge')} as before it")


def _say_changed(changed: "BulkResult", book: "PriceBook", title: str, *, as_json: bool) -> None:
    """Print the effect of a change on each charge and on each invoice's total."""
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


@app.command(epilog="Example: billing check RC 1993-10")
def check(
    facility: FacilityCode,
    period: PeriodText,
    dismissed: Annotated[
        bool, typer.Option("--dismissed", help="List those that were dismissed instead.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the findings of a month's checks, the worst first."""
    from billing_lib.pricing.money import minor_places, money_text
    from billing_lib.workflow.review import find_discrepancies

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
    say(
        f"{count_of(month.findings.height, 'finding')}, {month.dismissed.height:,} dismissed before"
    )


@app.command(epilog="Example: billing dismiss RC 1993-10 7c215e2c53 --reason 'a test of the meter'")
def dismiss(
    facility: FacilityCode,
    period: PeriodText,
    key: Annotated[str, typer.Argument(metavar="KEY", help="A finding, as 'check' lists it.")],
    reason: Annotated[str, typer.Option(help="Why it is right; kept with who and when.")] = "",
    back: Annotated[
        bool, typer.Option("--back", help="Take a dismissal back; the finding is listed again.")
    ] = False,
) -> None:
    """Dismiss a finding that turned out to be no mistake; it is not listed again."""
    from billing_lib.workflow import review

    decide = review.restore if back else review.dismiss
    say(decide(ledger(), price_book(facility), period, key, reason))
