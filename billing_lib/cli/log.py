"""Commands for strangers: the log of records, and one invoice's extract.

the log        ``log head``, ``log prove``, ``log check``, ``log export``
an invoice     ``extract``

billing log check "billing-log core 17 1993-12-06T09:12:44Z d37e…"    status 0: goes on from it
billing log check head.txt --log log.txt                              status 1: was rewritten
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from billing_lib.cli.app import app, ledger, say, say_json
from billing_lib.cli.unattended import told
from billing_lib.errors import count_of

log = typer.Typer(
    help="The log of records: its signed head, proofs, and whether it was ever rewritten.",
    epilog="Example: billing log head",
    no_args_is_help=True,
)
app.add_typer(log, name="log")


@log.command(epilog="Example: billing log head >>heads-that-i-keep.txt")
def head() -> None:
    """Print the head of the log; whoever keeps it can later tell whether records were replaced."""
    from billing_lib.audit.log import ledger_log
    from billing_lib.errors import NotReady

    last = ledger_log(ledger()).head
    if last is None:
        raise NotReady("the log has no record yet", remedy="it begins with the first issuing")
    told(f"the head of {count_of(last.size, 'record')}, {last.at}")
    say(last.text)


@log.command(epilog="Example: billing log prove RC-1994-00001")
def prove(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="An issued invoice's number.")],
) -> None:
    """Print the proof, as JSON, that an invoice is in a sealed record of the log."""
    from billing_lib.audit.extract import prove_invoice
    from billing_lib.settings import settings

    say_json(prove_invoice(ledger(), settings(), number).model_dump())


@log.command(epilog="Example: billing log check head.txt")
def check(
    target: Annotated[
        str,
        typer.Argument(metavar="OLD_HEAD", help="A head, as text or in a file; - is typed in."),
    ],
    exported: Annotated[
        Path | None, typer.Option("--log", help="An exported log, instead of the ledger's.")
    ] = None,
) -> None:
    """Check that the log goes on from an old head; otherwise the status is 1."""
    from billing_lib.audit.log import (
        head_findings,
        head_in,
        ledger_log,
        log_findings,
        read_exported,
        read_head,
        signed_by,
    )
    from billing_lib.settings import anywhere

    old = read_head(sys.stdin.read()) if target == "-" else head_in(target)
    now = ledger_log(ledger()) if exported is None else read_exported(exported)
    signature = signed_by(old, anywhere().allowed_signers)
    findings = [*log_findings(now), *head_findings(old, now)]
    say(f"head of {count_of(old.size, 'record')}, {old.at}: {signature.sentence}")
    for finding in findings:
        say(finding)
    if not findings:
        say(
            f"the log of {count_of(len(now.entries), 'record')} begins with the "
            f"{old.size:,} of the head"
        )
    raise typer.Exit(0 if signature.holds and not findings else 1)


@log.command(epilog="Example: billing log export")
def export() -> None:
    """Append the entries that are missing to the exported log; each issuing does so too."""
    from billing_lib.audit.log import export as export_log
    from billing_lib.settings import settings

    say(export_log(ledger(), settings()))


@app.command(epilog="Example: billing extract RC-1994-00001 --to handed-over")
def extract(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="An issued invoice's number.")],
    to: Annotated[
        Path, typer.Option(help="The folder to put it into; this one by default.")
    ] = Path(),
) -> None:
    """Make a small record of one invoice, without other labs' data, that proves its origin."""
    from billing_lib.audit.extract import extract_invoice
    from billing_lib.settings import settings

    folder = extract_invoice(ledger(), settings(), number, to)
    say(f"{folder}: the extract of {number}; 'billing verify' and 'billing reproduce' take it")
