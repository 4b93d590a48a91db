"""Backups: a copy of ledger, archive and site that is a site by itself, and restoring it.

    backup/
      billing.toml               the settings, with all paths in this folder and without a database
      billing.db                 the ledger as SQLite, whatever it was
      parameters/  runs/  keys/  usage_files/  office/  …
      backup.json                when, by which version, of which database, and rows by table
      manifest-sha256.txt        sha256sum -c checks it

No facility issues while its backup is made, so each invoice of the ledger has its record in the
archive. The store is left out, since it is made anew; so is the file that the log is exported to,
which is kept elsewhere by its nature.
"""

import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from billing_lib import program
from billing_lib.audit.bag import MANIFEST, manifest_bytes
from billing_lib.documents.writing import unwritable
from billing_lib.errors import InvalidRecord, UnwritableFile
from billing_lib.folders import Folder
from billing_lib.ledger.database import initialise, issuing, open_ledger, reading
from billing_lib.ledger.people import read_facilities
from billing_lib.ledger.transfer import copy_ledger
from billing_lib.settings import PATHS, SITE_FILE, Settings, read_site_file

LEDGER = "billing.db"
ABOUT = "backup.json"
_OF_READERS = (f"{LEDGER}-shm", f"{LEDGER}-wal")
"""Files that SQLite makes where somebody reads the backup's ledger; they are no part of it."""

_LEFT_OUT = shutil.ignore_patterns(".*.partial", "hub", ".workspaces", ".ipynb_checkpoints")


def back_up(engine: Engine, settings: Settings, folder: Path) -> str:
    """Make a backup in a new folder; a sentence on its rows and files.

    Raises
    ------
    UnwritableFile
        The folder exists already, or there is no room.
    IssuingElsewhere
        A facility issues at this moment.
    """
    partial = _new(folder)
    try:
        partial.mkdir(mode=0o700)
        with ExitStack() as held:
            with reading(engine) as connection:
                codes = read_facilities(connection)["code"].to_list()
            for code in codes:
                held.enter_context(issuing(engine, code))
            copy = open_ledger(f"sqlite:///{partial / LEDGER}")
            rows = copy_ledger(engine, copy)
            copy.dispose()
            stated = _copy_files(settings, partial)
        (partial / SITE_FILE).write_text(_toml(stated), encoding="utf-8")
        about = {
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "program": f"{program.NAME} {program.version()}",
            "ledger": engine.url.render_as_string(hide_password=True),
            "rows": rows,
        }
        (partial / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        files = _files(partial)
        (partial / MANIFEST).write_bytes(manifest_bytes(partial, files))
        partial.rename(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return f"{folder}: {sum(rows.values()):,} rows of the ledger and {len(files):,} files"


def restore(backup: Path, folder: Path, database: str | None = None) -> int:
    """Make a site of a backup in a new folder, and verify it all; the exit status of verifying.

    Parameters
    ----------
    database
        An empty ledger to copy the rows to; without it the site has the backup's own, SQLite.

    Raises
    ------
    InvalidRecord
        The folder is no backup, or a file of it changed.
    """
    _require_whole(backup)
    partial = _new(folder)
    try:
        without = shutil.ignore_patterns(*_OF_READERS)
        shutil.copytree(backup, partial, symlinks=True, ignore=without)
        (partial / ABOUT).unlink()
        (partial / MANIFEST).unlink()
        own = open_ledger(f"sqlite:///{partial / LEDGER}")
        initialise(own)  # an earlier version may have made it
        if database is not None:
            target = open_ledger(database)
            copy_ledger(own, target)
            target.dispose()
        own.dispose()
        if database is not None:
            (partial / LEDGER).unlink()
        partial.rename(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BILLING_")}
    stated = {"BILLING_SITE": str(folder)} | ({"BILLING_DATABASE": database} if database else {})
    words = [sys.executable, "-c", "from billing_lib.cli import main; main()", "verify", "--all"]
    done = subprocess.run(words, env=kept | stated, cwd=folder, check=False)  # noqa: S603 - our own
    return done.returncode


def _new(folder: Path) -> Path:
    """The folder in which a new folder is made before it is whole."""
    if folder.exists():
        raise UnwritableFile("it exists already", where=str(folder), remedy="name a new folder")
    return folder.with_name(f".{folder.name}.partial")


def _require_whole(backup: Path) -> None:
    if not (backup / ABOUT).is_file() or not (backup / MANIFEST).is_file():
        raise InvalidRecord("the folder is no whole backup", where=str(backup))
    stated = (backup / MANIFEST).read_bytes()
    now = manifest_bytes(backup, _files(backup)).splitlines()
    changed = set(stated.splitlines()) ^ set(now)
    if changed:
        first = min(line.partition(b"  ")[2] for line in changed).decode(errors="replace")
        raise InvalidRecord(
            f"it was changed since it was made, or was not copied whole: {first}",
            where=str(backup),
            remedy="take another backup",
        )


def _files(folder: Path) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    apart = {folder / name for name in (MANIFEST, *_OF_READERS)}
    return sorted(set(files) - apart)


def _copy_files(settings: Settings, target: Path) -> dict[str, Any]:
    """Copy the files that the settings name into the target; the settings that name the copies."""
    site = settings.site
    stated = read_site_file(site / SITE_FILE) if site else {}
    stated = {name: value for name, value in stated.items() if name not in ("database", *PATHS)}
    for name in PATHS:
        path: Folder | None = getattr(settings, name)
        if path is None or name == "store":
            continue
        if not isinstance(path, Path):
            path.download("", target / name)
            stated[name] = name
            continue
        if not path.exists():
            continue
        there = Path(name) if path.is_dir() else Path(name) / path.name
        path = path.absolute()
        if site is not None and path.is_relative_to(site.absolute()):
            there = path.relative_to(site.absolute())
        (target / there).parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target / there, ignore=_LEFT_OUT, symlinks=True)
        else:
            shutil.copy2(path, target / there)
        stated[name] = there.as_posix()
    return {"log_name": settings.log_named} | stated


def _toml(stated: dict[str, Any]) -> str:
    """Settings as TOML: texts, numbers and truths are written as in JSON."""
    return "".join(
        f"{name} = {json.dumps(value, ensure_ascii=False)}\n"
        for name, value in sorted(stated.items())
    )
