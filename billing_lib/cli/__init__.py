"""The command line, by the same functions as the front door and the notebooks.

    billing rate RC 1993-10        status 0: done
    billing verify RC-1994-00001   status 1: a check found a difference
    billing rate RC 1993-13        status 2: the user's mistake, with one sentence

Each module holds the commands of one chapter of the manual. A command parses its words, calls one
function of the library and prints the result. Heavy libraries are imported inside the commands, so
``billing --help`` is quick.
"""

import atexit
import gc
import sys
from importlib import import_module

from billing_lib.cli.app import app, shown
from billing_lib.cli.unattended import told
from billing_lib.errors import BillingError

NOUNS = (
    *("office", "prices", "charges", "runs", "invoices", "statements", "exports", "delivery"),
    *("log", "keeping"),
)
"""The modules with commands, in the order of the help."""

for _noun in NOUNS:
    import_module(f"billing_lib.cli.{_noun}")


def main() -> None:
    """Run the command line; print a mistake as one sentence and exit with status 2."""
    # Most commands end before there is garbage to collect: looking for it while modules load, and
    # once more as the interpreter ends, would take a third of their time.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    try:
        app()
    except BillingError as error:
        sys.stdout.flush()
        if not told(str(error), failed=True):
            sys.stderr.write(f"billing: {shown(str(error))}\n")
        sys.exit(2)
