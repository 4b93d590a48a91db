"""Tables in the terminal: every code and amount whole, whatever the terminal's width.

Where a table is too wide, columns of texts break their lines and columns that can be spared are
left out, which is said below it; into a file or a pipe the whole table goes.

     charge   date         quantity   total
    ───────────────────────────────────────
     RC/4     1993-10-01     194.25   23.31
    not shown in this width: user, state; a wider terminal or --json has them
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WHOLE = 100_000
"""Terminal columns where there is no terminal: as many as a table wants."""

_BROKEN_WIDTH = 18
"""What a column of texts keeps before anything is left out."""


@dataclass(frozen=True)
class Texts:
    """A table of texts, ready to print.

    Attributes
    ----------
    names
        Of the columns.
    rows
        One text per column.
    right
        Columns set to the right: amounts and counts.
    broken
        Columns whose texts may break over lines.
    spared
        Columns that may be left out, the first to go first.
    """

    title: str
    names: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[str] = ()
    broken: Sequence[str] = ()
    spared: Sequence[str] = ()

    def without(self, name: str) -> "Texts":
        """The table without a column."""
        at = list(self.names).index(name)
        rows = [[*row[:at], *row[at + 1 :]] for row in self.rows]
        return replace(self, names=[other for other in self.names if other != name], rows=rows)


def table_console() -> Console:
    """The terminal, or a file or pipe, which takes any width."""
    return Console() if sys.stdout.isatty() else Console(width=_WHOLE, soft_wrap=True)


def print_texts(texts: Texts) -> None:
    """Print a table, leaving out what can be spared until it fits."""
    console = table_console()
    left_out = []
    for name in texts.spared:
        if name in texts.names and _needed(texts) > console.width:
            texts = texts.without(name)
            left_out.append(name)
    console.print(_table(texts))
    if left_out:
        names = ", ".join(name.replace("_", " ") for name in left_out)
        sentence = f"not shown in this width: {names}; a wider terminal or --json has them"
        console.print(sentence, style="dim", highlight=False)


def _table(texts: Texts) -> Table:
    table = Table(title=texts.title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for name, least in zip(texts.names, _least_widths(texts), strict=True):
        table.add_column(
            name.replace("_", " "),
            justify="right" if name in texts.right else "left",
            overflow="fold",
            min_width=least,
        )
    for row in texts.rows:
        table.add_row(*(Text(value) for value in row))  # as it is: no markup, no highlighting
    return table


def _needed(texts: Texts) -> int:
    return sum(_least_widths(texts)) + 3 * len(texts.names) + 1  # padding and separators


def _least_widths(texts: Texts) -> list[int]:
    columns = zip(texts.names, *texts.rows, strict=True)
    wanted = [max(cell_len(value) for value in column) for column in columns]
    return [
        min(width, _BROKEN_WIDTH) if name in texts.broken else width
        for name, width in zip(texts.names, wanted, strict=True)
    ]
