"""Commands about usage: ``load``, ``unbilled``."""

from pathlib import Path
from typing import Annotated

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
)


@app.command(epilog="Example: billing load RC data/NASA-iPSC-1993-3.1-cln.swf.gz")
def load(
    facility: FacilityCode,
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Usage files.")],
) -> None:
    """Load usage files: CSV, Excel, Parquet, Slurm sacct, SWF. Loading twice changes nothing."""
    from billing_lib.workflow.intake import load_files

    book = price_book(facility)
    with progress("load") as step:
        loaded = load_files(ledger(), book, files, step)
    for file in loaded:
        say(file.sentence)


@app.command(epilog="Example: billing unbilled RC 1993-10")
def unbilled(
    facility: FacilityCode,
    period: PeriodText,
    summary: Annotated[bool, typer.Option(help="Count by reason instead of listing.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the usage of a period that is not billed, each record with its reason."""
    from billing_lib.pricing.period import Period
    from billing_lib.workflow.rating import read_unbilled, unbilled_by_reason

    price_book(facility)
    month = str(Period.parse(period))
    read = unbilled_by_reason if summary else read_unbilled
    say_frame(
        read(ledger(), facility, month),
        title=f"Unbilled {facility} {month}",
        as_json=as_json,
        spared=("period", "occurrence", "raw", "start", "end", "date", "file", "item", "user"),
    )
