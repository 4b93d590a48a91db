"""A command that takes long: its output kept, and ended where somebody stops it."""

import sys
import time
from pathlib import Path

import pytest

from billing_lib.audit.sandbox import run_watched
from billing_lib.errors import BillingError

LONG = "import time, pathlib; pathlib.Path('begun').touch(); time.sleep(60)"


def test_status_and_output_are_the_commands(tmp_path: Path) -> None:
    both = "import sys; print('x' * 200_000); print('told', file=sys.stderr); sys.exit(3)"
    done = run_watched([sys.executable, "-c", both], lambda: None, cwd=tmp_path, env={})
    assert (done.returncode, len(done.stdout), done.stderr) == (3, 200_001, "told\n")


def test_it_is_ended_where_the_beat_raises(tmp_path: Path) -> None:
    def beat() -> None:
        if (tmp_path / "begun").exists():
            raise BillingError("stopped")

    started = time.monotonic()
    with pytest.raises(BillingError, match="stopped"):
        run_watched([sys.executable, "-c", LONG], beat, cwd=tmp_path)
    assert time.monotonic() - started < 50
