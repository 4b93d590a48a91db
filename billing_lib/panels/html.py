"""HTML tables without pandas, for the issuing notebook.

    plain_table(invoices, "Invoices", places=2, total=("total",))   1080 -> 10.80, to the right

Money columns become decimal text; nothing is computed here. The same frame gives the same HTML,
so that a notebook run again is the same byte for byte. panels/forms.py styles the same texts with
pandas.
"""

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from html import escape

import polars as pl
from IPython.display import HTML

from billing_lib.documents.text import value_of
from billing_lib.pricing.money import money_text, money_text_column

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
"""Columns of amounts: minor units, or decimal text."""

_STYLES = (
    "#{id} th, #{id} td {padding: 2px 10px; line-height: 1.4;}",
    "#{id} caption {text-align: left; font-weight: bold; padding: 6px 10px; caption-side: top;}",
    "#{id} .number {text-align: right; font-variant-numeric: tabular-nums;}",
    "#{id} .text {text-align: left;}",
)


def plain_table(
    frame: pl.DataFrame, caption: str, *, places: int = 2, total: Sequence[str] = ()
) -> HTML:
    """A frame as an HTML table; the parameters are as in ``forms.table``."""
    texts, numbers = shown_texts(frame, places, total)
    name = table_name(caption)
    kinds = ["number" if heading in numbers else "text" for heading in texts.columns]
    head = "".join(
        f'<th class="{kind}">{escape(heading)}</th>'
        for kind, heading in zip(kinds, texts.columns, strict=True)
    )
    rows = (
        "".join(
            f'<td class="{kind}">{"" if value is None else escape(str(value))}</td>'
            for kind, value in zip(kinds, row, strict=True)
        )
        for row in texts.iter_rows()
    )
    styles = " ".join(style.replace("{id}", name) for style in _STYLES)
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return HTML(
        f'<style>{styles}</style>\n<table id="{name}">\n<caption>{escape(caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    )


def shown_texts(
    frame: pl.DataFrame, places: int, total: Sequence[str]
) -> tuple[pl.DataFrame, set[str]]:
    """The cells under their headings, amounts as text, with the headings of number columns."""
    rows = pl.concat([frame, _total_row(frame, total)]) if total and frame.height else frame
    counted = {name for name, dtype in rows.schema.items() if dtype.is_numeric()}
    texts = rows.select(
        (
            grouped(money_text_column(pl.col(name), places))
            if name in counted & {*MONEY}
            else grouped(pl.col(name).cast(pl.String))
            if name in counted
            else pl.col(name)
        ).alias(label_of(name))
        for name in rows.columns
    )
    return texts, {label_of(name) for name in rows.columns if name in MONEY or name in counted}


def grouped(text: pl.Expr) -> pl.Expr:
    """Numbers as text with their thousands in groups, as in documents: ``1,234.50``."""
    for _ in range(6):  # a group each; amounts have at most 18 digits
        text = text.str.replace(r"^(-?\d+)(\d{3})([,.]|$)", "${1},${2}${3}")
    return text


def amount(minor: int, places: int) -> str:
    """An amount in minor units as pages write it: ``1,234.50``."""
    return f"{Decimal(money_text(minor, places)):,}"


def table_name(caption: str) -> str:
    """The HTML id of the table with this caption."""
    return "T_" + "".join(letter for letter in caption.lower() if letter.isalnum())


def label_of(name: str) -> str:
    """The label of a column or field: ``Total after`` for ``total_after``."""
    return name.replace("_", " ").capitalize()


def _total_row(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    first = frame.columns[0]
    return frame.select(
        pl.col(name).sum().cast(dtype)
        if name in columns
        else pl.lit("Total" if name == first else None, dtype=dtype).alias(name)
        for name, dtype in frame.schema.items()
    )


_KINDS = {
    "add_line": "line added",
    "delete": "deleted",
    "undo": "group undone",
    "correct": "usage corrected",
}
_CHANGED = ("charge", "what", "before", "after", "by", "at", "reason")


def changed_fields(changes: pl.DataFrame) -> pl.DataFrame:
    """Changes (``read_history`` of workflow/adjust.py), one row per changed field."""
    rows = [row for change in changes.iter_rows() for row in _fields(*change)]
    return pl.DataFrame(rows, schema=dict.fromkeys(_CHANGED, pl.String), orient="row")


def _fields(
    charge: str, what: str, before: str | None, after: str | None, by: str, at: str, reason: str
) -> Iterator[tuple[str | None, ...]]:
    was, now = json.loads(before or "{}"), json.loads(after or "{}")
    if what == "adjust":
        for field in now:
            values = (value_of(field, was[field]), value_of(field, now[field]))
            yield charge, field.replace("_", " "), *values, by, at, reason
    else:
        said = {
            "add_line": "line added",
            "delete": "deleted",
            "undo": "group undone",
            "correct": "usage corrected",
        }
        yield charge, said[what], _listed(was), _listed(now), by, at, reason


def _listed(values: dict[str, str | None]) -> str:
    return ", ".join(str(value) for value in values.values() if value is not None)
