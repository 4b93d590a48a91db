"""Commands about the office: ``init``, ``lab``, ``portal``, ``demo``."""

import typer

from billing_lib.cli.app import app, say


@app.command(epilog="Example: BILLING_DATABASE=sqlite:///billing.db billing init")
def init() -> None:
    """Set up the ledger, or bring it to this version; doing it again changes nothing."""
    from billing_lib.ledger.database import initialise, open_ledger
    from billing_lib.settings import settings

    engine = open_ledger(settings().database)
    shown = engine.url.render_as_string(hide_password=True)
    say(f"{shown}: set up" if initialise(engine) else f"{shown}: set up before, nothing changed")


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Example: billing lab --no-browser",
)
def lab(context: typer.Context) -> None:
    """Open JupyterLab on the overview of all months; further words go to JupyterLab."""
    import os
    import sys

    from billing_lib.settings import settings
    from billing_lib.workflow.notebooks import JUPYTER, lab_environment, open_home

    office = settings().office.absolute()
    words = [
        "jupyter",
        "lab",
        f"--notebook-dir={office}",
        f"--LabApp.default_url=/lab/tree/{open_home(office)}",
        f"--LabApp.workspaces_dir={office / '.workspaces'}",
        f"--LabApp.extra_labextensions_path={JUPYTER / 'labextensions'}",
        *context.args,
    ]
    os.execve(  # noqa: S606 - the words are the user's own
        sys.executable,
        [sys.executable, "-m", *words],
        {**os.environ, **lab_environment()},
    )


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Example: billing portal --port 8866",
)
def portal(context: typer.Context) -> None:
    """Serve listings, invoices and statements to read, by Voilà; further words go to it."""
    from billing_lib.portal import serve

    serve(context.args)


@app.command(epilog="Example: billing demo")
def demo() -> None:
    """The whole way on real usage: load, rate, adjust, issue, verify, reproduce."""
    from billing_lib.cli.demonstration import demonstrate

    demonstrate()
