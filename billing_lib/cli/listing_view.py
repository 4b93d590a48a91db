"""A listing in the terminal: the tables of its page, one below the other."""

from collections.abc import Iterable, Sequence

from rich.panel import Panel
from rich.text import Text

from billing_lib.cli.tables import Texts, print_texts, table_console
from billing_lib.documents.listing import FacilityView, ListingView
from billing_lib.documents.tables import Table


def say_listing(view: ListingView) -> None:
    """Print a listing."""
    console = table_console()
    told = [view.title, *(f"{label}: {value}" for label, value in view.facts)]
    console.print(Panel(Text("\n".join(told)), expand=False))
    for part in view.facilities:
        _say_facility(part, view.preview)


def _say_facility(part: FacilityView, preview: str) -> None:
    console = table_console()
    facts = [f"{label}: {value}" for label, value in part.facts]
    totals = [f"{step.label}: {step.amount} {part.currency}" for step in part.totals]
    console.print(Panel(Text("\n".join([part.name, *facts, *totals])), expand=False))
    if part.invoices.rows:
        _say_tables([part.invoices])
    else:
        console.print("No invoice was issued for this month.", highlight=False)
    _say_tables([*part.summaries, *part.lines])
    if part.pending:
        console.print(Text(f"PREVIEW. {preview}"))
        _say_tables(part.pending)


def _say_tables(tables: Iterable[Table]) -> None:
    for table in tables:
        rows = [*table.rows, *([table.footer] if table.footer else [])]
        labels = [column.label for column in table.columns]
        print_texts(
            Texts(
                table.title,
                labels,
                [_cells(row) for row in rows],
                right=[column.label for column in table.columns if column.numeric],
                broken=[column.label for column in table.columns if column.notes],
                spared=[name for name in _SPARED if name in labels],
            )
        )
        if table.remark:
            table_console().print(Text(table.remark))


_SPARED = ("Unit", "Rate", "Amount", "Adjustment", "User", "Expense code", "Team", "Of it prepaid")


def _cells(row: Sequence[str]) -> list[str]:
    return [cell.replace("\n", "; ") for cell in row]
