"""Commands about audit records: ``verify``, ``reproduce``."""

from typing import Annotated

import typer

from billing_lib.cli.app import app, progress, say

Targets = Annotated[
    list[str], typer.Argument(metavar="RECORD|NUMBER…", help="Record folders or invoice numbers.")
]


@app.command(epilog="Example: billing verify RC-1994-00001")
def verify(targets: Targets) -> None:
    """Check that records are intact, byte for byte; a difference ends with status 1."""
    from billing_lib.audit.archive import find_record
    from billing_lib.audit.verify import verify
    from billing_lib.settings import settings
    from billing_lib.workflow.issue import known_fingerprints

    records = [(target, find_record(target, settings().runs)) for target in targets]
    fingerprints = known_fingerprints(settings().database)
    broken = False
    for target, record in records:
        findings = verify(record, fingerprints=fingerprints)
        broken = broken or bool(findings)
        for finding in findings:
            say(f"{target}: {finding.file}: {finding.what}")
        if not findings:
            say(f"{target}: verified, {record}")
    raise typer.Exit(1 if broken else 0)


@app.command(epilog="Example: billing reproduce runs/RC/1993-10/RC-1993-10-1")
def reproduce(targets: Targets) -> None:
    """Run archived records again and compare every result; a difference ends with status 1."""
    from billing_lib.audit.archive import find_record
    from billing_lib.audit.reproduce import reproduce
    from billing_lib.settings import settings

    records = [(target, find_record(target, settings().runs)) for target in targets]
    different = False
    for target, record in records:
        with progress(f"reproduce {target}") as step:
            reproduction = reproduce(record, step=step)
        different = different or bool(reproduction.differences)
        say(f"{target}: {reproduction.environment}")
        for difference in reproduction.differences:
            say(f"{target}: {difference}")
        if not reproduction.differences:
            say(f"{target}: reproduced, every result is the same byte for byte")
    raise typer.Exit(1 if different else 0)
