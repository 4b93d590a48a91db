"""The columns in which charges are listed, and the list of charges that staff may change.

    pending_charges(desk, chosen=["RC/57"], on_tick=show)   RC/57 first and ticked, then the others

A charge that a billing run holds is listed, but "all that match" leaves it out.
"""

from collections.abc import Callable, Sequence

import polars as pl

from billing_lib.panels.office import Desk
from billing_lib.panels.table import DATE, MONEY, NUMBER, OPENING, Column, PagedTable
from billing_lib.pricing.charge import as_text
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.adjust import read_pending


def with_names(charges: pl.DataFrame, book: PriceBook) -> pl.DataFrame:
    """Projects and items with their names, ``p1, Flow solver``, where these say more.

    ``project_code`` and ``item_code`` keep the codes, which filters offer.
    """
    names: dict[str, dict[str, str | None]] = {
        "project": {project.code: project.name for project in book.projects},
        "item": {item.code: item.name for item in book.items},
    }
    codes = (pl.col(column).alias(f"{column}_code") for column in names)
    return charges.with_columns(*codes).with_columns(
        pl.col(column).replace(
            {
                code: f"{code}, {name}"
                for code, name in known.items()
                if name and name.casefold() != code.casefold()
            }
        )
        for column, known in names.items()
    )


def charge_columns(places: int) -> tuple[Column, ...]:
    """The columns of a table of charges; ``places`` are the currency's decimals."""
    return (
        Column("charge", "Charge"),
        Column("project", "Project", offers="project_code", listed=True),
        Column("item", "Item", offers="item_code", listed=True),
        Column("user", "User", offers="user"),
        Column("date", "Date", DATE),
        Column("description", "Description"),
        Column("quantity", "Quantity", NUMBER),
        Column("price", "Price", NUMBER),
        Column("total", "Total", MONEY, places),
        Column("state", "State", offers="state"),
    )


def pending_charges(desk: Desk, chosen: Sequence[str], on_tick: Callable[[], None]) -> PagedTable:
    """A month's pending charges, each with a box; ``chosen`` (``RC/57``) come first and ticked."""

    def read(first: int | None = None) -> pl.DataFrame:
        found = read_pending(desk.engine, desk.book, desk.period, first)
        ahead = ~pl.col("charge").is_in(pl.Series(chosen, dtype=pl.String).implode())
        return (
            with_names(as_text(found, only=("quantity", "price")), desk.book)
            .sort(ahead, maintain_order=True)
            .with_columns(
                pl.concat_str("item", "description", separator=", ", ignore_nulls=True).alias("use")
            )
        )

    return PagedTable(
        "pending charges",
        (
            Column("charge", "Charge"),
            Column("project", "Project", offers="project_code", listed=True),
            Column("use", "Item, description", offers="item_code", listed=True, wide=2),
            Column("user", "User", offers="user"),
            Column("date", "Date", DATE),
            Column("quantity", "Quantity", NUMBER),
            Column("price", "Price", NUMBER),
            Column("total", "Total", MONEY, desk.places),
            Column("expense_codes", "Expense codes", offers="expense_codes", listed=True, wide=2),
            Column("draft", "On the draft", offers="draft", listed=True),
            Column("changes", "Changes", wide=2),
        ),
        read,
        read(OPENING),
        sum_of="total",
        currency=desk.currency,
        places=desk.places,
        key="charge",
        ticked=chosen,
        tickable=pl.col("run").is_null(),
        on_tick=on_tick,
    )
