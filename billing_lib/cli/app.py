"""The application and the parts that its commands share.

    @app.command()
    @takes_filter
    @takes_page
    def invoices(wanted: "Filter", shown: Shown) -> None: ...

These are: opening the ledger and price books, printing tables and JSON, the progress bar, and the
options of commands that search. ``takes_filter`` gives a command an option for every field of a
filter (workflow/search.py), ``takes_page`` the options for sorting, paging, JSON and CSV.
"""

import inspect
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from billing_lib import open_site
from billing_lib.errors import InvalidAdjustment, InvalidFilter
from billing_lib.workflow.steps import Progress

if TYPE_CHECKING:
    import polars as pl
    from sqlalchemy import Engine

    from billing_lib.pricing.pricebook import PriceBook
    from billing_lib.workflow.search import Filter, Page, SearchResult


app = typer.Typer(
    name="billing",
    help="Internal billing for core facilities, reproducible to the cent.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from billing_lib import program
        from billing_lib.audit.provenance import program_source
        from billing_lib.settings import anywhere

        source, stated = program_source(program.ROOT), anywhere().commit
        commit = source.commit if source else stated or "unknown"
        differs = ", with changed files" if source and source.changed else ""
        say(f"{program.NAME} {program.version()}, commit {commit}{differs}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Version and commit."),
    ] = False,
) -> None:
    """Internal billing for core facilities, reproducible to the cent."""
    from billing_lib.program import spare_iri_parsers

    spare_iri_parsers()


FacilityCode = Annotated[str, typer.Argument(metavar="FACILITY", help="The facility's code.")]
PeriodText = Annotated[str, typer.Argument(metavar="PERIOD", help="A month, YYYY-MM.")]
Preview = Annotated[
    bool, typer.Option("--preview", help="Show what would change, and change nothing.")
]
Reason = Annotated[str, typer.Option(help="Why; kept with the event.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


AMOUNTS = (
    *("raw_total", "adjustment", "tax", "total", "cost"),
    *("quantity", "price", "before", "after"),
)
"""Columns of amounts and quantities as text, which tables align to the right."""

SENTENCES = ("description", "detail", "raw", "reason", "said", "sentence", "subject", "text")
"""Columns of long texts, which tables break over lines."""


def say(text: str) -> None:
    """Print a line, without characters that would command the terminal."""
    sys.stdout.write(shown(text) + "\n")


def shown(text: str) -> str:
    """The text as a terminal may show it, whoever wrote it."""
    if text.replace("\n", "").isprintable():  # nearly every text, and a quick test
        return text
    from billing_lib.documents.text import printable

    return printable(text)


def say_json(value: Any) -> None:
    """Print a value as JSON."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")


def ledger() -> "Engine":
    """Open the ledger that the settings name."""
    return open_site().engine


def price_book(facility: str) -> "PriceBook":
    """Read the facility's price book from the folder that the settings name."""
    from billing_lib.settings import settings
    from billing_lib.workflow.load import read_price_book

    return read_price_book(settings().parameters, facility)


def parse_changes(changes: Sequence[str]) -> dict[str, str]:
    """The values of ``--set FIELD=VALUE`` options, by field."""
    pairs = [change.partition("=") for change in changes]
    for field, equals, _ in pairs:
        if not equals:
            raise InvalidAdjustment(
                f"'--set {field}' has no value", remedy="write --set field=value"
            )
    return {field: value for field, _, value in pairs}


def say_frame(
    frame: "pl.DataFrame",
    *,
    title: str,
    as_json: bool,
    places: int = 2,
    money: Sequence[str] = (),
    spared: Sequence[str] = (),
) -> None:
    """Print a frame as a table, or as a JSON list of objects.

    Parameters
    ----------
    places
        The currency's decimal places.
    money
        Columns in minor units.
    spared
        Columns to leave out on a narrow terminal, in this order.
    """
    import polars as pl

    from billing_lib.pricing.money import money_text_column

    texts = frame.with_columns(money_text_column(pl.col(name), places) for name in money)
    if as_json:
        say_json(texts.to_dicts())
        return
    from billing_lib.cli.tables import Texts, print_texts

    numeric = [name for name, dtype in frame.schema.items() if dtype.is_numeric()]
    print_texts(
        Texts(
            title,
            texts.columns,
            [["" if it is None else str(it) for it in row] for row in texts.iter_rows()],
            right=[*numeric, *(name for name in AMOUNTS if name in texts.columns)],
            broken=[name for name in SENTENCES if name in texts.columns],
            spared=spared,
        )
    )


@contextmanager
def progress(title: str) -> Iterator[Progress]:
    """Show a progress bar on standard error, for actions of over a second."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(title, total=None)

        def step(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield step


def book_of_run(engine: "Engine", run: str) -> "PriceBook":
    """Read the price book of a run's facility."""
    from billing_lib.ledger import runs
    from billing_lib.ledger.database import reading

    with reading(engine) as connection:
        facility = runs.read_run(connection, run).facility
    return price_book(facility)


def book_of_invoice(engine: "Engine", number: str) -> "PriceBook":
    """Read the price book of an issued invoice's facility."""
    from billing_lib.ledger import invoices
    from billing_lib.ledger.database import reading

    with reading(engine) as connection:
        facility = invoices.require_invoice(connection, number)["facility"]
    return price_book(str(facility))


TERMINAL_ROWS = 50
"""The rows of a page on a terminal; files and pipes get all rows by default."""


@dataclass(frozen=True)
class Shown:
    """The page to print, its order, and its format: a table, JSON or CSV."""

    page: int | None
    per_page: int | None
    sort: tuple[str, ...]
    as_json: bool
    as_csv: bool
    raw: bool = False
    after: tuple[str, str] | None = None

    def of(self) -> "Page":
        """The page to search for."""
        from billing_lib.workflow.search import Page

        table = not self.as_json and not self.as_csv
        asked = self.page is not None or self.after is not None
        paged = asked or (table and sys.stdout.isatty())
        size = TERMINAL_ROWS if paged and self.per_page is None else self.per_page
        return Page(1 if self.page is None else self.page, size, self.sort, self.after)

    def say(
        self,
        found: "SearchResult",
        noun: str,
        title: str,
        spared: Sequence[str],
        columns: Sequence[str] | None = None,
    ) -> None:
        """Print the rows found, all columns or some; below a table their number and total."""
        rows = found.texts()
        rows = rows if columns is None else rows.select(columns)
        if self.as_csv:
            from billing_lib.pricing.charge import without_formulas

            sys.stdout.flush()
            rows = rows if self.raw else without_formulas(rows)
            sys.stdout.buffer.write(rows.write_csv(line_terminator="\r\n").encode())
            return
        say_frame(rows, title=title, as_json=self.as_json, spared=spared)
        if not self.as_json:
            say(found.sentence(noun))
            if found.last is not None:
                say(f"--after {'/'.join(found.last)} shows the next page")


def takes_filter(command: Callable[..., None]) -> Callable[..., None]:
    """Add the filter's options to a command, and pass it the filter as ``wanted``."""
    return _with_options(command, "wanted", _filter)


def takes_page(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of lists to a command, and pass it their values as ``shown``."""
    return _with_options(command, "shown", _shown)


def books_for(wanted: "Filter") -> "dict[str, PriceBook]":
    """The price books, if the filter names a team and so needs the teams below it; else none."""
    from billing_lib.settings import settings
    from billing_lib.workflow.load import read_price_books

    return {} if wanted.team is None else read_price_books(settings().parameters)


def narrowed(wanted: "Filter", facility: str | None, period: str | None) -> "Filter":
    """The filter restricted to a command's facility and month.

    InvalidFilter if the filter names another one.
    """
    from billing_lib.workflow.search import Filter

    stated = wanted.model_dump(exclude_none=True)
    for name, word in (("facility", facility), ("period_from", period), ("period_to", period)):
        if word is not None and stated.setdefault(name, word) != word:
            raise InvalidFilter(
                f"{name.partition('_')[0]} is {word} and {stated[name]}", remedy="say one of them"
            )
    return Filter.parse(stated)


def _filter(
    facility: Annotated[str | None, typer.Option(help="Only this facility's.")] = None,
    period: Annotated[str | None, typer.Option(help="Only this month's, YYYY-MM.")] = None,
    period_from: Annotated[
        str | None, typer.Option("--from", help="Only from this month on.")
    ] = None,
    period_to: Annotated[str | None, typer.Option("--to", help="Only until this month.")] = None,
    team: Annotated[
        str | None,
        typer.Option(
            "--team", "--customer", help="Only this team's and those of teams that belong to it."
        ),
    ] = None,
    only_team: Annotated[
        bool, typer.Option("--only-team", help="Leave out the teams below the team.")
    ] = False,
    project: Annotated[str | None, typer.Option(help="Only this project's.")] = None,
    number: Annotated[
        str | None, typer.Option(help="Only with this number or code, or a part of it.")
    ] = None,
    run: Annotated[str | None, typer.Option(help="Only of this billing run.")] = None,
    reference: Annotated[str | None, typer.Option(help="Only with this reference.")] = None,
    state: Annotated[
        list[str] | None, typer.Option(help="Only in this state; several are said one by one.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only periodic, ad hoc or reissue invoices.")
    ] = None,
    empty: Annotated[
        bool | None, typer.Option("--empty/--not-empty", help="Only what bills nothing, or not.")
    ] = None,
    total_from: Annotated[str | None, typer.Option(help="Only of at least this total.")] = None,
    total_to: Annotated[str | None, typer.Option(help="Only of at most this total.")] = None,
    user: Annotated[str | None, typer.Option(help="Only with charges of this user.")] = None,
    item: Annotated[str | None, typer.Option(help="Only with charges for this item.")] = None,
    date_from: Annotated[
        str | None, typer.Option(help="Only with charges of this day or later, YYYY-MM-DD.")
    ] = None,
    date_to: Annotated[
        str | None, typer.Option(help="Only with charges of this day or earlier.")
    ] = None,
    expense_code: Annotated[
        str | None, typer.Option(help="Only with charges to this expense code.")
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(help="Only with this in a description, or in a reason or note ever given."),
    ] = None,
    view: Annotated[
        str | None,
        typer.Option(
            help="Only live, ready (to approve), complete, problems, or past (open, month is over)."
        ),
    ] = None,
) -> "Filter":
    from billing_lib.workflow.search import Filter

    if period is not None and (period_from is not None or period_to is not None):
        raise InvalidFilter(
            "--period is one month, --from and --to are several", remedy="say either"
        )
    return Filter.parse(
        {
            "facility": facility,
            "period_from": period or period_from,
            "period_to": period or period_to,
            "team": team,
            "only_team": only_team,
            "project": project,
            "run": run,
            "number": number,
            "reference": reference,
            "states": state,
            "kinds": kind,
            "empty": empty,
            "total_from": total_from,
            "total_to": total_to,
            "user": user,
            "item": item,
            "date_from": date_from,
            "date_to": date_to,
            "expense_code": expense_code,
            "text": text,
            "view": view,
        }
    )


def _shown(
    sort: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Sort by this column, -COLUMN the largest first; may be repeated.",
        ),
    ] = None,
    page: Annotated[int | None, typer.Option(help="Which page.")] = None,
    after: Annotated[
        str | None,
        typer.Option(
            metavar="FACILITY/CODE", help="The page that follows this row; quick however deep."
        ),
    ] = None,
    per_page: Annotated[
        int | None, typer.Option(help="How many rows on a page; 50 on a terminal.")
    ] = None,
    as_json: AsJson = False,
    as_csv: Annotated[
        bool,
        typer.Option("--csv", help="Print CSV (RFC 4180); ' precedes a text like a formula."),
    ] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="For programs: --csv with all texts as they are.")
    ] = False,
) -> Shown:
    if raw and not as_csv:
        raise InvalidFilter("--raw is a way to print CSV", remedy="add --csv")
    if as_json and as_csv:
        raise InvalidFilter("the output is either --json or --csv", remedy="say one of them")
    row = None
    if after is not None:
        facility, _, code = after.partition("/")
        row = (facility, code)
        if page is not None:
            raise InvalidFilter("--after and --page both name a page", remedy="say one of them")
    return Shown(page, per_page, tuple(sort or ()), as_json, as_csv, raw, row)


def _with_options(
    command: Callable[..., None], name: str, made_by: Callable[..., Any]
) -> Callable[..., None]:
    """Replace a command's parameter by the options from which ``made_by`` makes its value."""
    own = inspect.signature(command)
    kept = [parameter for parameter in own.parameters.values() if parameter.name != name]
    taken = {parameter.name for parameter in kept}
    options = [
        parameter
        for parameter in inspect.signature(made_by).parameters.values()
        if parameter.name not in taken  # the command has an argument of this name itself
    ]

    @wraps(command)
    def run(**values: Any) -> None:
        stated = {option.name: values.pop(option.name) for option in options}
        command(**values, **{name: made_by(**stated)})

    parameters = [*kept, *options]
    run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
