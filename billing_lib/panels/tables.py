"""Tables where people look: a polars frame as a styled pandas table.

Money columns become decimal text aligned to the right; nothing is computed here. The same frame
gives the same HTML, so that a notebook run again shows byte for byte what it showed before.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
import polars as pl
from IPython.display import HTML

from billing_lib.pricing.money import money_text_column

if TYPE_CHECKING:
    from pandas.io.formats.style_render import CSSDict

MONEY = (
    "raw_total",
    "adjustment",
    "total",
    "total_after",
    "difference",
    "cost",
    "amount",
    "charges_raw_total",
    "charges_adjustment",
    "drawn",
    "due",
    "prepaid_left",
    "last_total",
)
"""Columns of amounts: minor units, or text as it is shown."""

_STYLES: list["CSSDict"] = [
    # ipywidgets would set each row 28 px high, which is twice what reading wants.
    {"selector": "th, td", "props": "padding: 2px 10px; line-height: 1.4;"},
    {
        "selector": "caption",
        "props": "text-align: left; font-weight: bold; padding: 6px 10px; caption-side: top;",
    },
]

_UNBROKEN = ("charge", "invoice", "number", "date", "at")
"""Columns of names and moments, which stay on one line."""

_LEFT = "text-align: left;"
_RIGHT = "text-align: right; font-variant-numeric: tabular-nums;"


def table(
    frame: pl.DataFrame,
    caption: str,
    *,
    places: int = 2,
    total: Sequence[str] = (),
    right: Sequence[str] = (),
) -> HTML:
    """A frame as people read it, as HTML that a notebook displays (``.data`` is its text).

    Parameters
    ----------
    frame
        Columns named in MONEY hold amounts, in minor units where they are numbers.
    caption
        The table's heading; also the seed of its HTML ids.
    places
        Of the currency.
    total
        Columns to sum in a last row.
    right
        Columns to set to the right, beside those of money and counts.
    """
    shown = pl.concat([frame, _total_row(frame, total)]) if total and frame.height else frame
    money = [name for name in shown.columns if name in MONEY and _counts(shown, name)]
    texts = shown.with_columns(money_text_column(pl.col(name), places) for name in money)
    pandas = pd.DataFrame(
        {_heading(name): texts[name].to_list() for name in texts.columns}, dtype=object
    )
    unbroken: list[CSSDict] = [
        {"selector": f"td.col{at}", "props": "white-space: nowrap;"}
        for at, name in enumerate(shown.columns)
        if name in _UNBROKEN
    ]
    aligned: list[CSSDict] = [
        {"selector": f"th.col{at}, td.col{at}", "props": _RIGHT if numbers else _LEFT}
        for at, numbers in enumerate(
            name in MONEY or name in right or _counts(shown, name) for name in shown.columns
        )
    ]
    styler = (
        pandas.style.hide(axis="index")
        .set_uuid("".join(letter for letter in caption.lower() if letter.isalnum()))
        .set_caption(caption)
        .format(na_rep="", escape="html")  # what people wrote is shown, never run
        .set_table_styles([*_STYLES, *aligned, *unbroken])
    )
    return HTML(styler.to_html())


def _counts(frame: pl.DataFrame, name: str) -> bool:
    return frame.schema[name].is_numeric()


def _heading(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _total_row(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    first = frame.columns[0]
    return frame.select(
        pl.col(name).sum().cast(dtype)
        if name in columns
        else pl.lit("Total" if name == first else None, dtype=dtype).alias(name)
        for name, dtype in frame.schema.items()
    )
