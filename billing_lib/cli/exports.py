"""Commands that export issued invoices and statements.

templates   ``templates``, ``transform``, ``transformations``
packages    ``package``, ``packages``
accounts    ``journal``, ``journals`` for the general ledger; ``focus`` for cost tools
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    takes_filter,
)
from billing_lib.errors import InvalidFilter, count_of

if TYPE_CHECKING:
    from billing_lib.workflow.search import Filter


Statements = Annotated[
    list[str] | None,
    typer.Option("--statement", help="This statement, bio-1993-11; can be given again."),
]
Everything = Annotated[bool, typer.Option("--all", help="All invoices that are issued.")]
Into = Annotated[Path, typer.Option(metavar="FOLDER", help="The folder to write into.")]
Reason = Annotated[str, typer.Option(help="Why it is deleted; it is kept.")]


@app.command(epilog="Example: billing templates RC")
def templates(facility: FacilityCode, as_json: AsJson = False) -> None:
    """List a facility's templates with their purposes and hashes."""
    from billing_lib.exports.templates import list_templates
    from billing_lib.settings import settings

    listed = list_templates(settings(), facility)
    say_frame(listed, title=f"Templates {facility}", as_json=as_json, spared=("sha256",))


@app.command(epilog="Example: billing transform ap-upload.csv --run RC-1993-11-1 --into upload")
@takes_filter
def transform(
    template: Annotated[str, typer.Argument(metavar="TEMPLATE", help="Such as ap-upload.csv.")],
    wanted: "Filter",
    statement: Statements = None,
    everything: Everything = False,
    pdf: Annotated[bool, typer.Option("--pdf", help="Make PDF of its HTML.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Render it though it is kept.")] = False,
    into: Into = Path(),
) -> None:
    """Render a facility's template for issued invoices, their runs, or statements."""
    from billing_lib.documents.writing import make_folder, write_file
    from billing_lib.exports.templates import transform as transformed
    from billing_lib.settings import settings
    from billing_lib.workflow.load import read_price_books
    from billing_lib.workflow.search import ExportSelection

    export = ExportSelection(wanted, tuple(statement or ()), everything=everything)
    here = settings()
    books = read_price_books(here.parameters)
    with progress("transform") as step:
        done = transformed(ledger(), here, books, template, export, pdf=pdf, again=again, step=step)
    make_folder(into)
    for it in done:
        write_file(into / it.file, it.content)
        say(f"{it.said}; {into / it.file}")


@app.command(epilog="Example: billing transformations --search ap-upload")
def transformations(
    search: Annotated[
        str, typer.Option(metavar="TEXT", help="Only with this in any column, as a number.")
    ] = "",
    write: Annotated[
        str | None, typer.Option(metavar="ID", help="Write this result into the folder.")
    ] = None,
    into: Into = Path(),
    delete: Annotated[str | None, typer.Option(metavar="ID", help="Delete this result.")] = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """List the stored results of templates; write a result again, or delete it."""
    from billing_lib.exports.templates import (
        delete_transformation,
        list_transformations,
        read_transformation,
    )
    from billing_lib.settings import settings

    _one_of(write, delete)
    if delete is not None:
        say(delete_transformation(ledger(), settings(), delete, reason))
    elif write is not None:
        kept = read_transformation(ledger(), settings(), write)
        _write(into / kept.file, kept.content)
    else:
        say_frame(
            list_transformations(ledger(), search),
            title="Transformations",
            as_json=as_json,
            spared=("sha256", "template_sha256", "login", "for", "bytes"),
        )


@app.command(epilog="Example: billing package --run RC-1993-11-1 --formats pdf,xlsx --into nov")
@takes_filter
def package(
    wanted: "Filter",
    formats: Annotated[
        str, typer.Option(help="pdf, xlsx, xml, html, json: which, with commas between.")
    ] = "pdf",
    statement: Statements = None,
    statements: Annotated[
        bool, typer.Option("--statements", help="The statements too that the invoices are on.")
    ] = False,
    everything: Everything = False,
    into: Into = Path(),
) -> None:
    """Put documents of issued invoices and statements into one zip, with a summary."""
    from billing_lib.exports.packages import make_package, read_package
    from billing_lib.settings import settings
    from billing_lib.workflow.load import read_price_books
    from billing_lib.workflow.search import ExportSelection

    here, engine = settings(), ledger()
    export = ExportSelection(wanted, tuple(statement or ()), statements, everything)
    words = tuple(word.strip().lower() for word in formats.split(",") if word.strip())
    books = read_price_books(here.parameters)
    with progress("package") as step:
        made = make_package(engine, here, books, export, words, step=step)
    for sentence in made.sentences:
        say(sentence)
    _write(into / f"package-{made.id}.zip", read_package(engine, here, made.id))


@app.command(epilog="Example: billing packages --delete 3f9c1a2b4d5e --reason 'wrong lab'")
def packages(
    write: Annotated[
        str | None, typer.Option(metavar="ID", help="Write this package into the folder.")
    ] = None,
    into: Into = Path(),
    delete: Annotated[str | None, typer.Option(metavar="ID", help="Delete this package.")] = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """List packages and their last valid days; write one again, or delete it."""
    from billing_lib.exports.packages import delete_package, list_packages, read_package
    from billing_lib.settings import settings

    _one_of(write, delete)
    if delete is not None:
        say(delete_package(ledger(), settings(), delete, reason))
    elif write is not None:
        _write(into / f"package-{write}.zip", read_package(ledger(), settings(), write))
    else:
        say_frame(
            list_packages(ledger()),
            title="Packages",
            as_json=as_json,
            spared=("sha256", "login", "bytes", "files"),
        )


def _one_of(write: str | None, delete: str | None) -> None:
    if write is not None and delete is not None:
        raise InvalidFilter("--write and --delete are two things", remedy="say one of them")


def _write(path: Path, content: bytes) -> None:
    from billing_lib.documents.writing import make_folder, write_file

    make_folder(path.parent)
    written = write_file(path, content)
    say(f"{path}: {'written' if written else 'is so already, nothing changed'}")


@app.command(epilog="Example: billing journal RC --run RC-1993-11-1 --post --to rc-1.csv")
def journal(
    facility: FacilityCode,
    number: Annotated[
        int | None, typer.Argument(metavar="NUMBER", help="A posted journal, to have it again.")
    ] = None,
    run: Annotated[str | None, typer.Option(help="Only what this billing run moved.")] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Only what is dated until this day, YYYY-MM-DD."),
    ] = None,
    post: Annotated[
        bool, typer.Option("--post", help="Post it: it gets a number, and is in no later journal.")
    ] = False,
    posted: Annotated[
        bool, typer.Option("--posted", help="All that is posted, as one journal.")
    ] = False,
    kind: Annotated[str, typer.Option("--format", help="csv, hledger or beancount.")] = "csv",
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it into this file.")
    ] = None,
) -> None:
    """Show the entries not yet posted to the general ledger, post them, or show a journal again."""
    from billing_lib.documents.journal import render_journal, require_journal_format
    from billing_lib.documents.writing import write_file
    from billing_lib.errors import InvalidFilter
    from billing_lib.workflow.journal import (
        Selection,
        list_journals,
        post_journal,
        read_journal,
    )
    from billing_lib.workflow.lines import parse_date

    if sum((number is not None, post, posted)) > 1:
        raise InvalidFilter(
            "a journal is one by its number, what is --posted, or what is to be posted",
            remedy="say one of them",
        )
    require_journal_format(kind)
    engine, book = ledger(), price_book(facility)
    selection = Selection(run, None if until is None else parse_date(until))
    if post:
        made = post_journal(engine, book, selection)
        if made is None:
            last = max(list_journals(engine, book)["journal"], default=None)
            shown = f"; 'billing journal {facility} {last}' shows the last one again"
            typer.echo(
                f"{facility}: there is nothing to post, nothing changed{shown if last else ''}"
            )
            return
        typer.echo(f"{facility}: journal {made.number} is posted, {made.sentence}", err=to is None)
    else:
        made = read_journal(engine, book, number, selection, posted=posted)
    text = render_journal(made, kind).encode()
    if to is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(text)
        return
    written = write_file(to, text)
    typer.echo(f"{to}: {'written' if written else 'is so already, nothing changed'}")


@app.command(epilog="Example: billing journals RC --json")
def journals(facility: FacilityCode, as_json: AsJson = False) -> None:
    """List the posted journals."""
    from billing_lib.workflow.journal import list_journals

    book = price_book(facility)
    frame = list_journals(ledger(), book)
    say_frame(frame, title=f"{facility}: posted journals", as_json=as_json)


@app.command(epilog="Example: billing focus RC 1993-11 --to rc-1993-11.parquet")
def focus(
    facility: Annotated[
        str, typer.Argument(metavar="FACILITY", help="The facility's code; 'all' for every one.")
    ],
    period: PeriodText,
    to: Annotated[Path, typer.Option(metavar="FILE", help="Written as .csv or .parquet.")],
) -> None:
    """Write a month's charges as a FOCUS 1.2 dataset, which tools for cloud costs read."""
    from billing_lib.documents.focus import VERSION, focus_rows, write_focus
    from billing_lib.pricing.clock import Period
    from billing_lib.settings import settings
    from billing_lib.workflow.journal import read_costs
    from billing_lib.workflow.load import read_price_books

    books = read_price_books(settings().parameters)
    chosen = None if facility == "all" and facility not in books else facility
    rows = focus_rows(read_costs(ledger(), books, Period.parse(period), chosen))
    written = write_focus(rows, to)
    pending = rows["InvoiceId"].null_count()
    say(
        f"{to}: {'written' if written else 'is so already, nothing changed'}; FOCUS {VERSION}, "
        f"{count_of(rows.height, 'row')}, {pending:,} of them on no issued invoice yet"
    )
