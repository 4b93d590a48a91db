"""How many processors a machine has changes no amount and no order: polars shares out its work."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

DIGESTS = """
import hashlib, sys
from pathlib import Path
import polars as pl
from billing_lib.pricing.rating import Catalogue
from billing_lib.pricing.charging import charge_usage
from billing_lib.pricing.invoicing import invoice_charges, statements
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.pricing.rating import rate_usage
from billing_lib.sources.registry import mappings
from billing_lib.sources.read import read_usage

book = PriceBook.parse(Path(sys.argv[1]).read_text(), "book.yml")
usage = read_usage(Path(sys.argv[2]), mappings(book.sources), book.facility.timezone)
catalogue = Catalogue.of(book)
rating = rate_usage(usage, catalogue, None)
priced = charge_usage(rating.rated, catalogue)
invoices = invoice_charges(priced, catalogue)
stated, lines = statements(invoices, catalogue)
frames = [rating.unbilled, priced.charges, priced.splits, priced.rule_lines, invoices.invoices]
print(pl.thread_pool_size(), usage.height, file=sys.stderr)
for frame in [*frames, invoices.by_expense_code, invoices.rule_lines, stated, lines]:
    print(hashlib.sha256(frame.write_json().encode()).hexdigest(), frame.height)
"""


def digests(threads: int) -> list[str]:
    """What the demonstration's log comes to, frame by frame, and how many rows each has."""
    book = ROOT / "parameters" / "research-computing.yml"
    log = ROOT / "data" / "NASA-iPSC-1993-3.1-cln.swf.gz"
    done = subprocess.run(
        [sys.executable, "-c", DIGESTS, book, log],
        env=os.environ | {"POLARS_MAX_THREADS": str(threads)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.split()[0] == str(threads)
    return done.stdout.splitlines()


def test_one_thread_and_four_come_to_the_same_in_the_same_order() -> None:
    alone = digests(1)
    assert int(alone[1].split()[1]) > 10_000
    assert digests(4) == alone
