"""The application and what its commands share: settings, tables, JSON, the progress bar."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from billing_lib.errors import InvalidAdjustment
from billing_lib.workflow.steps import Step

if TYPE_CHECKING:
    import polars as pl
    from sqlalchemy import Engine

    from billing_lib.pricing.pricebook import PriceBook

app = typer.Typer(
    name="billing",
    help="Internal billing for core facilities, reproducible to the cent.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

FacilityCode = Annotated[str, typer.Argument(metavar="FACILITY", help="The facility's code.")]
PeriodText = Annotated[str, typer.Argument(metavar="PERIOD", help="A month, YYYY-MM.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


AMOUNTS = (
    *("raw_total", "adjustment", "tax", "total", "cost"),
    *("quantity", "price", "before", "after"),
)
"""Columns of amounts and quantities as text, which tables set to the right."""

SENTENCES = ("description", "detail", "raw", "reason", "said", "sentence", "subject", "text")
"""Columns of texts as long as people write them, which tables break over lines."""


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(text + "\n")


def say_json(value: Any) -> None:
    """Print a value as JSON."""
    say(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def ledger() -> "Engine":
    """The ledger that the settings name, ready for use."""
    from billing_lib.ledger.database import open_ledger, require_initialised
    from billing_lib.settings import settings

    engine = open_ledger(settings().database)
    require_initialised(engine)
    return engine


def price_book(facility: str) -> "PriceBook":
    """The facility's price book from the folder that the settings name."""
    from billing_lib.settings import settings
    from billing_lib.workflow.price_books import read_price_book

    return read_price_book(settings().parameters, facility)


def parse_changes(changes: Sequence[str]) -> dict[str, str]:
    """The words of ``--set`` as values by field.

    Raises
    ------
    InvalidAdjustment
        One has no value.
    """
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
        Of the currency.
    money
        Columns in minor units.
    spared
        Columns that a narrow terminal does without, the first to go first.
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
def progress(title: str) -> Iterator[Step]:
    """A progress bar on standard error, for what takes over a second."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)

        def step(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield step
