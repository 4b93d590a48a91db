"""Commands about what is made of invoices and statements: ``templates``, ``transform``,
``transformations``, ``package``, ``packages``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from billing_lib.cli.app import AsJson, FacilityCode, app, ledger, progress, say, say_frame
from billing_lib.cli.finding import takes_filter
from billing_lib.errors import InvalidFilter

if TYPE_CHECKING:
    from billing_lib.workflow.filters import Filter

Statements = Annotated[
    list[str] | None,
    typer.Option("--statement", help="This statement, bio-1993-11; can be given again."),
]
Everything = Annotated[bool, typer.Option("--all", help="All invoices that are issued.")]
Into = Annotated[Path, typer.Option(metavar="FOLDER", help="The folder to write into.")]
Reason = Annotated[str, typer.Option(help="Why it is deleted; it is kept.")]


@app.command(epilog="Example: billing templates RC")
def templates(facility: FacilityCode, as_json: AsJson = False) -> None:
    """List a facility's templates, what each is for, and its hash."""
    from billing_lib.settings import settings
    from billing_lib.transformations import list_templates

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
    from billing_lib.settings import settings
    from billing_lib.transformations import transform as transformed
    from billing_lib.workflow.exporting import Export
    from billing_lib.workflow.price_books import read_price_books

    export = Export(wanted, tuple(statement or ()), everything=everything)
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
    """List what templates have made and is kept; write a result again, or delete it."""
    from billing_lib.settings import settings
    from billing_lib.transformations import (
        delete_transformation,
        list_transformations,
        read_transformation,
    )

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
    """Put documents of issued invoices and statements into one zip, with a summary over them."""
    from billing_lib.packages import make_package, read_package
    from billing_lib.settings import settings
    from billing_lib.workflow.exporting import Export
    from billing_lib.workflow.price_books import read_price_books

    here, engine = settings(), ledger()
    export = Export(wanted, tuple(statement or ()), statements, everything)
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
    """List packages and until when they are valid; write one again, or delete it."""
    from billing_lib.packages import delete_package, list_packages, read_package
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
