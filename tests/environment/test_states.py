"""The document on states says what the table says."""

import subprocess
import sys
from pathlib import Path

from billing_lib.ledger.states import MOVES

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = ROOT / "docs" / "states.md"


def test_the_document_is_what_the_table_draws() -> None:
    drawn = subprocess.run(
        [sys.executable, ROOT / "scripts" / "states.py"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    assert DOCUMENT.read_bytes() == drawn.stdout, "run `python scripts/states.py >docs/states.md`"


def test_every_move_is_drawn_once() -> None:
    """By reading the document, whatever the script does."""
    lines = DOCUMENT.read_text().splitlines()
    for move in MOVES:
        arrow = f"    {move.before} --> {move.after}: {move.action}"
        assert arrow in lines
        assert any(line.endswith(f"| {move.after} | {move.means} |") for line in lines)
    assert sum("-->" in line and "[*]" not in line for line in lines) == len(MOVES)
