"""Verifying every record of an archive by one command, beside sha256sum over the same bytes.

    .venv/bin/python benchmarks/verify.py            12 records, 3 GiB
    .venv/bin/python benchmarks/verify.py --quick    a tenth; writes no results

A record has the files that a large month has: documents of many megabytes, and results of which
the schema is checked. Both read from the page cache, in turn, the fastest of three.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common.results import Results

from billing_lib.audit.bag import write_bag
from billing_lib.audit.verify import FAULTY, verify_all

CACHE = Path(__file__).parent.parent / "build" / "bench"
TIMES = 3
MIB = 1 << 20


def main(arguments: list[str]) -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth, and no results written")
    chosen = parser.parse_args(arguments)
    found = Results("verify")
    with tempfile.TemporaryDirectory(prefix="billing-bench-") as folder:
        archive = Path(folder)
        records, size = (12, 256 * MIB) if not chosen.quick else (4, 64 * MIB)
        for number in range(1, records + 1):
            make_record(archive / "RC" / "2026-03" / f"RC-2026-03-{number}", size)
        ours, peer = [], []
        for _ in range(TIMES):
            peer.append(seconds(lambda: sha256sum(archive)))
            ours.append(seconds(lambda: verified(archive, records)))
        found.row("verify --all", records, min(ours), 0)
        found.row("sha256sum, the same bytes", records, min(peer), 0)
        found.bar("verify --all ÷ sha256sum", min(ours) / min(peer), "≤", 1.5)
    found.finish(CACHE, written_down=not chosen.quick)


def make_record(record: Path, size: int) -> None:
    """A record of so many bytes: eight documents, and a manifest."""
    documents = record / "data" / "documents"
    documents.mkdir(parents=True)
    (record / "data" / "invoices").mkdir()
    for number in range(8):
        (documents / f"RC-{number}.pdf").write_bytes(os.urandom(size // 8))
        result = json.dumps({"number": f"RC-{number}", "lines": [number] * 1000})
        (record / "data" / "invoices" / f"RC-{number}.json").write_text(result)
    write_bag(record, {})


def seconds(act: Callable[[], None]) -> float:
    """How long it takes."""
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def sha256sum(archive: Path) -> None:
    """The peer: one process over all files."""
    files = sorted(str(path) for path in archive.rglob("*") if path.is_file())
    subprocess.run(["sha256sum", *files], stdout=subprocess.DEVNULL, check=True)


def verified(archive: Path, records: int) -> None:
    """Ours. The records are no real ones: bytes are right, and other checks say what is wrong."""
    checked = list(verify_all(archive))
    assert len(checked) == records
    for each in checked:
        assert each.status == FAULTY
        assert each.checks[0].findings == (), each.lines


if __name__ == "__main__":
    main(sys.argv[1:])
