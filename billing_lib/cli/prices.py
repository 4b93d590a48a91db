"""Commands about price books: ``prices``, ``facility new``."""

from pathlib import Path
from typing import Annotated

import typer

from billing_lib.cli.app import FacilityCode, Reason, app, ledger, progress, say, say_frame
from billing_lib.errors import InvalidPriceBook, UnwritableFile

facility = typer.Typer(
    help="Make facilities.",
    no_args_is_help=True,
    epilog="Example: billing facility new MIC --template microscopy",
)
app.add_typer(facility, name="facility")


@app.command(epilog="Example: billing prices RC --from book.xlsx --preview")
def prices(
    facility: FacilityCode,
    to: Annotated[Path | None, typer.Option(help="Write the price book as a workbook.")] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="Take a changed workbook into the price book.")
    ] = None,
    preview: Annotated[
        bool, typer.Option(help="Only show what the workbook changes; write nothing.")
    ] = False,
    reason: Reason = "",
) -> None:
    """Write a price book as an Excel workbook, or take a changed workbook in."""
    import polars as pl

    from billing_lib.documents.book_workbook import read_workbook, write_workbook
    from billing_lib.pricing.money import minor_places
    from billing_lib.pricing.pricebook import find_mistakes
    from billing_lib.settings import settings
    from billing_lib.workflow.price_book import (
        open_book,
        preview_book,
        save_book,
    )

    engine = ledger()
    opened = open_book(engine, settings().parameters, facility)
    version = str(opened.book.sha256)
    if to is not None:
        try:
            to.write_bytes(write_workbook(opened.content, version))
        except OSError as error:
            raise UnwritableFile(
                f"it cannot be written ({error.strerror})", where=str(to)
            ) from None
        say(f"{to}: the price book of {facility}")
    if source is None:
        if to is None:
            say(f"{opened.path}: the price book of {facility}, sha256 {version}")
        return
    workbook = read_workbook(source, opened.content, version)
    if workbook.content == opened.content:
        say(f"{source}: as the price book, nothing to change")
        return
    mistakes = find_mistakes(workbook.content)
    for mistake in mistakes[1:]:
        say(f"{source}, {workbook.where(mistake.place)}: {mistake.sentence}")
    if mistakes:
        first = mistakes[0]
        where = f"{source}, {workbook.where(first.place)}"
        raise InvalidPriceBook(first.sentence, where=where, remedy=first.remedy)
    if not preview:
        saved = save_book(engine, opened, workbook.content, reason)
        say(f"{saved.path}: saved")
        return
    with progress("price the open months") as step:
        shown = preview_book(engine, opened, workbook.content, step)
    rows = [(it.where, it.before, it.after) for it in shown.changes]
    schema = dict.fromkeys(("changed", "before", "after"), pl.String)
    say_frame(pl.DataFrame(rows, schema, orient="row"), title="Changed values", as_json=False)
    say(shown.sentence)
    if shown.effect.height:
        say_frame(
            shown.effect,
            title=f"Open months, now and rated again, {opened.book.facility.currency}",
            as_json=False,
            places=minor_places(opened.book.facility.currency),
            money=("before", "after"),
        )


@facility.command(epilog="Example: billing facility new MIC --template microscopy")
def new(
    code: Annotated[str, typer.Argument(metavar="CODE", help="The new facility's code.")],
    template: Annotated[
        str,
        typer.Option(help="clean-room, cluster, microscopy, sequencing or workshop."),
    ],
    name: Annotated[str, typer.Option(help="Its name; by default the template's.")] = "",
    currency: Annotated[str, typer.Option(help="Its currency (ISO 4217).")] = "",
    timezone: Annotated[str, typer.Option(help="Its time zone, America/New_York.")] = "",
    country: Annotated[str, typer.Option(help="Its country (ISO 3166-1 alpha-2).")] = "",
) -> None:
    """Make a facility from a template, with an example of its usage."""
    from billing_lib.settings import settings
    from billing_lib.workflow.price_book import new_facility

    made = new_facility(
        ledger(),
        settings().parameters,
        code,
        template,
        name=name,
        currency=currency,
        timezone=timezone,
        country=country,
    )
    say(f"{made.path}: the price book of {code}; an example of its usage is {made.example}")
