"""The health of a site: each part is set up, missing or wrong, in a sentence.

    database   ok       PostgreSQL 16.2, tables 0011
    guards     wrong    2 of 391 are missing: billing_guard_rate_update_10, …
    signing    missing  records are not signed; 'billing init' makes a key
    space      ok       41.2 GB free for the archive

``missing`` is something that a site can do without; ``wrong`` is not.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import Engine, func, select

from billing_lib import program
from billing_lib.audit.signing import RECORDS, check, sign
from billing_lib.delivery.send import MailServer
from billing_lib.errors import BillingError
from billing_lib.ledger import logins, triggers
from billing_lib.ledger.acts import ADMINISTRATOR
from billing_lib.ledger.database import HEAD, open_ledger, reading, require_initialised
from billing_lib.ledger.people import read_facilities, read_permissions
from billing_lib.settings import EXTRAS, Settings, missing_packages
from billing_lib.workflow.load import read_price_books

State = Literal["ok", "missing", "wrong"]

LEAST_SPACE = 2_000_000_000
"""Bytes that are free where the archive is: a month of a large facility takes about one."""

OLDEST_SERVER = 15
"""The oldest PostgreSQL that is supported."""


@dataclass(frozen=True)
class Diagnosis:
    """The state of one thing, and a sentence."""

    subject: str
    state: State
    sentence: str


def diagnose(settings: Settings) -> Iterator[Diagnosis]:
    """Look at everything that billing needs; a mistake in one thing hides no other."""
    engine = None
    try:
        engine = open_ledger(settings.database)
        require_initialised(engine)
    except BillingError as error:
        engine = None
        yield Diagnosis("database", "wrong", str(error))
    looks: list[tuple[str, Callable[[], Iterator[tuple[State, str]]]]] = [
        ("price books", lambda: _price_books(settings)),
        ("archive", lambda: _archive(settings)),
        ("space", lambda: _space(settings)),
        ("signing", lambda: _signing(settings)),
        ("fonts", _fonts),
        ("mail", lambda: _mail(settings)),
        ("extras", _extras),
    ]
    if engine is not None:
        known = engine
        looks[:0] = [
            ("database", lambda: _database(known)),
            ("guards", lambda: _guards(known)),
            ("roles", lambda: _roles(known)),
        ]
    for subject, look in looks:
        try:
            for state, sentence in look():
                yield Diagnosis(subject, state, sentence)
        except BillingError as error:
            yield Diagnosis(subject, "wrong", str(error))
    if engine is not None:
        engine.dispose()


def _database(engine: Engine) -> Iterator[tuple[State, str]]:
    if engine.dialect.name != "postgresql":
        yield (
            "ok",
            f"SQLite, tables {HEAD}; it knows no logins, so it forces no roles",
        )
        return
    with reading(engine) as connection:
        version = int(connection.scalar(select(func.current_setting("server_version_num"))) or 0)
    state: State = "ok" if version // 10_000 >= OLDEST_SERVER else "wrong"
    oldest = "" if state == "ok" else f"; {OLDEST_SERVER} is the oldest that is supported"
    yield state, f"PostgreSQL {version // 10_000}.{version % 10_000}, tables {HEAD}{oldest}"


def _guards(engine: Engine) -> Iterator[tuple[State, str]]:
    with reading(engine) as connection:
        absent = triggers.missing(connection)
    if absent:
        named = ", ".join(absent[:3]) + (", …" if len(absent) > 3 else "")
        yield "wrong", f"{len(absent):,} are missing or off: {named}; restore a backup"
    else:
        yield "ok", "all are in force"


def _roles(engine: Engine) -> Iterator[tuple[State, str]]:
    with reading(engine) as connection:
        if engine.dialect.name == "postgresql":
            absent = logins.missing(connection)
            if absent:
                yield "wrong", f"the server has no role {absent[0]}; 'billing init' makes it"
        granted = read_permissions(connection)
        leaderless = set(read_facilities(connection)["code"]) - set(
            granted.filter(role=ADMINISTRATOR)["facility"]
        )
    for code in sorted(leaderless):
        yield "wrong", f"{code} has no administrator that this login may see"
    if not leaderless:
        yield "ok", f"{granted.height:,} permissions, and each facility has an administrator"


def _price_books(settings: Settings) -> Iterator[tuple[State, str]]:
    books = read_price_books(settings.parameters)
    if books:
        yield "ok", f"{len(books)} in {settings.parameters}: {', '.join(books)}"
    else:
        yield "missing", f"{settings.parameters} has none; 'billing facility new' makes one"


def _archive(settings: Settings) -> Iterator[tuple[State, str]]:
    place = settings.runs
    if not isinstance(place, Path):
        place.exists("bagit.txt")  # refused in a sentence where it cannot be reached
        yield "ok", f"{place} can be reached"
        return
    if not place.is_dir():
        yield "missing", f"{place} is not there yet; issuing makes it"
        return
    folders = [place, *(path for path in place.glob("*/*") if path.is_dir())]
    folders += [path for path in place.glob("*") if path.is_dir()]
    closed = [path for path in folders if not os.access(path, os.W_OK | os.X_OK)]
    if closed:
        yield "wrong", f"{closed[0]} cannot be written by this account"
    wanted = stat.S_ISGID | stat.S_IWGRP
    lone = [path for path in folders if path.stat().st_mode & wanted != wanted]
    if settings.shared and lone:
        yield (
            "wrong",
            f"{lone[0]} is not shared with its group; run: chmod -R g+rwX,g+s {place}",
        )
    way = (place, *place.absolute().parents)
    if settings.shared and all(path.stat().st_mode & stat.S_IXOTH for path in way):
        yield "wrong", f"every account may read {place}, a lab's too; run: chmod o-rwx {place}"
    if not closed and not (settings.shared and lone):
        shared = ", and so may its group" if settings.shared else ""
        yield "ok", f"this account may write {place}{shared}"


def _space(settings: Settings) -> Iterator[tuple[State, str]]:
    places = {"temporary files": Path(tempfile.gettempdir())}
    if isinstance(settings.runs, Path):
        places["the archive"] = settings.runs
    for purpose, path in places.items():
        there = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
        free = shutil.disk_usage(there).free
        state: State = "ok" if free >= LEAST_SPACE else "wrong"
        least = "" if state == "ok" else f"; at least {LEAST_SPACE / 1e9:.0f} GB should be"
        yield state, f"{free / 1e9:,.1f} GB are free for {purpose}{least}"


def _signing(settings: Settings) -> Iterator[tuple[State, str]]:
    key, trusted = settings.signing_key, settings.allowed_signers
    if key is None:
        yield "missing", "records are not signed; set signing_key, which 'billing init' makes"
        return
    signature = sign(b"doctor", key, RECORDS)
    if key.stat().st_mode & 0o077:
        yield "wrong", f"others may read {key}; run: chmod 600 {key}"
    elif trusted is None:
        yield "missing", f"{key} signs; set allowed_signers, or 'verify' knows nobody"
    else:
        checked = check(b"doctor", signature, RECORDS, trusted)
        yield "ok" if checked.holds else "wrong", f"{key}: {checked.sentence}"


def _fonts() -> Iterator[tuple[State, str]]:
    found = sorted((program.PACKAGE.parent / program.FONTS).glob("*.[ot]tf"))
    yield "ok" if found else "wrong", f"{len(found)} come with the program"


def _mail(settings: Settings) -> Iterator[tuple[State, str]]:
    if settings.smtp_host is None:
        yield "missing", "nothing is sent by mail; set smtp_host and smtp_from"
        return
    server = MailServer(settings)
    server.connect()
    server.close()
    state: State = "ok" if settings.smtp_from else "wrong"
    sender = f"from {settings.smtp_from}" if settings.smtp_from else "but smtp_from is not set"
    yield state, f"{settings.smtp_host} takes messages, {sender}"


def _extras() -> Iterator[tuple[State, str]]:
    for extra in EXTRAS:
        absent = missing_packages(extra)
        if absent:
            yield "missing", f"{extra} lacks {', '.join(absent)}"
        else:
            yield "ok", f"{extra} is installed"
