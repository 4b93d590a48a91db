"""The command line: the same words as the library and the notebooks.

Each module holds the commands of one noun. A command parses its words, calls one function of
the library and prints what came back; heavy libraries are imported inside the commands, so
that ``billing --help`` is quick.

Exit status: 0 done; 1 a check found a difference; 2 the user's mistake, said in one sentence.
"""

import sys
from importlib import import_module

from billing_lib.cli.app import app
from billing_lib.errors import BillingError
from billing_lib.settings import spare_iri_parsers

NOUNS = ("office", "charges", "runs", "invoices", "statements", "exports", "delivery")
"""The modules with commands, in the order in which help lists them."""

for _noun in NOUNS:
    import_module(f"billing_lib.cli.{_noun}")


def main() -> None:
    """Run the command line; a mistake ends with one sentence and status 2."""
    spare_iri_parsers()
    try:
        app()
    except BillingError as error:
        sys.stdout.flush()
        sys.stderr.write(f"billing: {error}\n")
        sys.exit(2)
