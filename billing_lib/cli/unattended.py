"""The log of commands that nobody watches: month, deliver, backup, restore, doctor and log head.

    BILLING_LOG=lines    2026-11-03T06:15:09Z info month RC RC-2026-10-1 RC-2026-10-1: issued …
    BILLING_LOG=json     {"time": "2026-11-03T06:15:09Z", "level": "info", "command": "month", …}

Without the setting a sentence is printed as in any command. With it, each is a line on standard
error, so that standard output has only what a command makes. No line holds a password of the
settings, whoever wrote it into the sentence.
"""

import datetime as dt
import json
import re
import sys
from typing import TYPE_CHECKING

from billing_lib.cli.app import say, shown
from billing_lib.errors import InvalidSettings

if TYPE_CHECKING:
    from billing_lib.settings import Settings


def tell(sentence: str, *, facility: str = "", failed: bool = False) -> None:
    """Print a sentence, or log it with the facility and the run or record that it names."""
    if not told(sentence, facility=facility, failed=failed):
        say(sentence)


def told(sentence: str, *, facility: str = "", failed: bool = False) -> bool:
    """Log a sentence if a log is set, and return whether one is."""
    from billing_lib.settings import anywhere

    try:
        settings = anywhere()
    except InvalidSettings:
        return False
    if settings.log is None:
        return False
    run = re.search(r"\b(\S+?)-\d{4}-\d{2}-\d+\b", sentence)  # RC-2026-10-1
    entry = {
        "time": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "level": "error" if failed else "info",
        "command": " ".join(word for word in sys.argv[1:2] if not word.startswith("-")),
        "facility": facility or (run[1] if run else ""),
        "run": run[0] if run else "",
        "text": _without_passwords(" ".join(shown(sentence).split()), settings),
    }
    if settings.log == "json":
        line = json.dumps(entry, ensure_ascii=False)
    else:
        line = " ".join(part or "-" for part in entry.values())
    sys.stderr.write(f"{line}\n")
    return True


def _without_passwords(text: str, settings: "Settings") -> str:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        database = make_url(settings.database).password
    except (ArgumentError, ValueError):
        database = settings.database  # what cannot be read may hold one
    mail = settings.smtp_password
    for password in (database, mail.get_secret_value() if mail else None):
        if password:
            text = text.replace(password, "…")
    return text
