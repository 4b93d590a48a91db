"""Commands that keep a site for years.

its health     ``doctor``
copies         ``backup``, ``restore``
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from billing_lib import open_site
from billing_lib.cli.app import AsJson, app, say_json
from billing_lib.cli.unattended import tell, told


@app.command(epilog="Example: billing doctor --json")
def doctor(as_json: AsJson = False) -> None:
    """Look at database, guards, roles, archive, signing key, fonts, mail and space.

    The exit status is 1 if something is wrong; what a site can do without is only said.
    """
    from dataclasses import asdict

    from billing_lib.batch.doctor import diagnose
    from billing_lib.settings import settings

    found = list(diagnose(settings()))
    if as_json:
        say_json([asdict(each) for each in found])
    else:
        for each in found:
            line = f"{each.subject:<12} {each.state:<8} {each.sentence}"
            tell(line, failed=each.state == "wrong")
    raise typer.Exit(1 if any(each.state == "wrong" for each in found) else 0)


@app.command(epilog="Example: billing backup /backup/2026-11-29")
def backup(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder for the copy.")],
) -> None:
    """Copy ledger, archive, price books and settings; nobody issues meanwhile.

    The copy is a site by itself, with the ledger as SQLite; it holds the signing key.
    """
    from billing_lib.batch.backup import back_up

    site = open_site()
    tell(back_up(site.engine, site.settings, folder.absolute()))


@app.command(epilog="Example: billing restore /backup/2026-11-29 --drill")
def restore(
    backup: Annotated[Path, typer.Argument(metavar="BACKUP", help="The folder of a backup.")],
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="A new folder for the site.")
    ] = None,
    drill: Annotated[
        bool, typer.Option("--drill", help="Into a folder that is deleted afterwards.")
    ] = False,
) -> None:
    """Make a site of a backup and verify all of it; the exit status is that of 'verify --all'.

    With BILLING_DATABASE the rows go into that ledger, which must be empty.
    """
    import os

    from billing_lib.batch.backup import restore

    if drill == (folder is not None):
        raise typer.BadParameter("name a folder, or --drill")
    if folder is not None:
        database = os.environ.get("BILLING_DATABASE")
        raise typer.Exit(restore(backup.absolute(), folder.absolute(), database))
    with TemporaryDirectory(prefix="billing-drill-") as place:
        status = restore(backup.absolute(), Path(place) / "site")
    told(f"{backup}: the drill ended with status {status}", failed=status != 0)
    raise typer.Exit(status)
