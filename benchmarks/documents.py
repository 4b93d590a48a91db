"""A month's documents: 400 invoices as PDF, XLSX and XML by one command, beside WeasyPrint.

    .venv/bin/python benchmarks/documents.py            400 invoices of 60 charges
    .venv/bin/python benchmarks/documents.py --quick    40; writes no results

The month is loaded, rated and issued first, which is not counted.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from common.results import Results
from weasyprint import HTML

from billing_lib.batch.issuing import IssuingTerms, issue_month
from billing_lib.ledger.database import initialise, open_ledger
from billing_lib.pricing.clock import Period
from billing_lib.settings import Settings
from billing_lib.workflow.load import load_files, read_price_book
from billing_lib.workflow.rate import rate_period

CACHE = Path(__file__).parent.parent / "build" / "bench"
APRIL = Period(2020, 4)
CHARGES = 60
SAMPLE = 20
"""How many of the pages the peer sets."""


def main(arguments: list[str]) -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--invoices", type=int, default=400)
    parser.add_argument("--quick", action="store_true", help="a tenth, and no results written")
    chosen = parser.parse_args(arguments)
    count = 40 if chosen.quick else chosen.invoices
    found = Results("documents")
    with tempfile.TemporaryDirectory(prefix="billing-bench-") as folder:
        office = Path(folder)
        run = issued_month(office, count)
        seconds = by_command(office, run, count)
        found.row("PDF, XLSX and XML, one command", count, seconds, 0)
        pages = sorted((office / "runs").glob("*/*/*/data/documents/*.html"))[:SAMPLE]
        peer = by_weasyprint(pages)
        found.row(f"WeasyPrint, PDF alone, {len(pages)} of them", len(pages), peer, 0)
        found.bar(f"{count} invoices, seconds", seconds, "≤", 30)
    found.finish(CACHE, written_down=not chosen.quick)


def issued_month(office: Path, count: int) -> str:
    """A ledger with a month of this many projects, issued; the billing run."""
    (office / "parameters").mkdir()
    projects = "".join(
        f"  - {{code: p{at}, team: lab, type: faculty, split: "
        f'[{{expense_code: "370-{at:04d}", percent: "100"}}]}}\n'
        for at in range(count)
    )
    (office / "parameters" / "mic.yml").write_text(
        "facility: {code: MIC, name: Microscopy, currency: USD, timezone: UTC, country: US,"
        " issue: scheduled}\n"
        "items: [{code: scope, name: Microscope, unit: hour}]\n"
        'rates: [{item: scope, group: internal, price: "40.00"}]\n'
        "project_types: [{code: faculty, rate_group: internal}]\n"
        f"teams: [{{code: lab, name: Lab}}]\nprojects:\n{projects}"
    )
    rows = "".join(
        f"{project}-{at},scope,p{project},user{at % 7},"
        f"2020-04-{at % 28 + 1:02d}T{at % 20:02d}:00:00Z,"
        f"2020-04-{at % 28 + 1:02d}T{at % 20 + 1:02d}:{at % 60:02d}:00Z\n"
        for project in range(count)
        for at in range(CHARGES)
    )
    usage = office / "usage.csv"
    usage.write_text("id,item,project,user,start,end\n" + rows)
    book = read_price_book(office / "parameters", "MIC")
    engine = open_ledger(f"sqlite:///{office / 'billing.db'}")
    initialise(engine)
    load_files(engine, book, [usage], lambda *_: None)
    rate_period(engine, book, APRIL)
    settings = Settings(runs=office / "runs", parameters=office / "parameters")
    issued = issue_month(engine, settings, book, APRIL, terms=IssuingTerms(allow_dirty=True))
    if len(issued.numbers) != count:
        raise SystemExit(f"{len(issued.numbers)} invoices were issued, not {count}")
    return issued.issuing


def by_command(office: Path, run: str, count: int) -> float:
    """Write all documents by the command; the seconds it takes."""
    settings = {
        "BILLING_DATABASE": f"sqlite:///{office / 'billing.db'}",
        "BILLING_RUNS": str(office / "runs"),
        "BILLING_PARAMETERS": str(office / "parameters"),
    }
    # As installed: with what Python compiles once kept, which some environments forbid.
    kept = {"PYTHONPYCACHEPREFIX": str(CACHE / "bytecode")}
    environment = os.environ | settings | kept
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [Path(sys.executable).with_name("billing"), "run", "documents", run]
    subprocess.run(
        [*command, "--formats", "xml", "--to", office / "xml"], env=environment, check=True
    )
    begun = time.perf_counter()
    subprocess.run([*command, "--to", office / "all"], env=environment, check=True)
    seconds = time.perf_counter() - begun
    for suffix in ("pdf", "xlsx", "xml"):
        written = len(list((office / "all").glob(f"*.{suffix}")))
        if written != count:
            raise SystemExit(f"{written} .{suffix} files were written, not {count}")
    return seconds


def by_weasyprint(pages: list[Path]) -> float:
    """Set these pages by WeasyPrint, in as many processes as there are processors."""
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        list(pool.map(_set_page, pages[:2]))  # imports are not counted here
        begun = time.perf_counter()
        list(pool.map(_set_page, pages))
        return time.perf_counter() - begun


def _set_page(page: Path) -> int:
    return len(HTML(filename=str(page)).write_pdf())


if __name__ == "__main__":
    main(sys.argv[1:])
