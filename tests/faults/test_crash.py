"""A command that is killed at any of its effects, then the same command again: as if it ran once.

One site goes through a month, command by command, and is copied before each. Each copy's command is
killed at one effect (killed.py), is run again as a user would, and must leave the same ledger, the
same files and the same mail as the command that was not killed.

A commit is held against the first effect at each line of the program; `make explore` dies at each
effect, and at 200 random moments.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ledger_invariants import broken
from sample_facility import BOOK, USAGE
from sample_post_office import PostOffice
from sqlalchemy import Engine, func, make_url, select

from billing_lib.audit.archive import list_records
from billing_lib.audit.known import known_by
from billing_lib.audit.verify import verify
from billing_lib.ledger import charges, events, invoices
from billing_lib.ledger.database import open_ledger, operating_system_login, reading
from billing_lib.ledger.schema import metadata

MONTH = {
    "load REV": "load REV reviewed.csv",
    "rate REV": "rate REV 2020-04",
    "load": "load MIC usage.csv",
    "rate": "rate MIC 2020-04",
    "adjust": "adjust MIC/u2 --set quantity=10 --reason agreed",
    "sign off": "ready REV 2020-04",
    "submit": "issue REV 2020-04 --allow-dirty",
    "approve": "approve REV-2020-04-1 --all --allow-dirty",
    "issue": "issue MIC 2020-04 --allow-dirty",
    "extract": "extract MIC-2027-00001 --to handed-over",
    "deliver": "deliver MIC 2020-04",
    "package": "package --all --formats pdf,xlsx,html,json --into packages",
    "journal": "journal MIC --post --to journal.csv",
}
"""A month of two facilities, of which one's invoices need a reviewer; the approval issues them."""

KILLED = (
    *("load", "rate", "adjust", "sign off", "approve", "issue"),
    *("extract", "deliver", "package", "journal"),
)
"""The commands that are killed."""

VARYING = {"issuing", "job", "event", "written"}
"""Tables in which a failed issuing leaves rows."""

EXPLORE = int(os.environ.get("EXPLORE", "0"))



@dataclass(frozen=True)
class Site:
    """A site's folder and the URL of its ledger."""

    folder: Path
    url: str


@dataclass(frozen=True)
class Ended:
    """How a command ended: its status, its words, and its effects in order."""

    status: int
    said: str
    effects: list[str]


@dataclass
class Office:
    """The warm process that runs commands, and a mail server."""

    process: subprocess.Popen[str]
    folder: Path
    post: PostOffice

    def run(
        self,
        site: Site,
        words: str,
        die: tuple[str, int] | None = None,
        seconds: float | None = None,
        instead: list[str] | None = None,
    ) -> Ended:
        """Run a command in a site, perhaps until it dies, or with ``instead`` at that moment."""
        assert self.process.stdin is not None and self.process.stdout is not None
        said, trace = self.folder / "said", self.folder / "trace"
        environment = {
            "BILLING_SITE": site.folder,
            "BILLING_DATABASE": site.url,
            "BILLING_USAGE_FILES": site.folder / "usage-files",
            "BILLING_LOG_EXPORT": site.folder / "log.txt",
            "BILLING_SMTP_HOST": "127.0.0.1",
            "BILLING_SMTP_PORT": self.post.controllers["none"].port,
            "BILLING_SMTP_SECURITY": "none",
            "BILLING_SMTP_FROM": "billing@example.edu",
            "BILLING_PORTAL_URL": "https://billing.example.edu/?id={id}",
        }
        request = {
            "words": words.split(),
            "site": str(site.folder),
            "environment": {name: str(value) for name, value in environment.items()},
            "said": str(said),
            "trace": str(trace),
            "die": die,
            "seconds": seconds,
            "instead": instead,
        }
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        status = int(self.process.stdout.readline())
        return Ended(status, said.read_text(), trace.read_text().splitlines())

    def again(self, site: Site, words: str) -> Ended:
        """Run a command after one that died, once the server has seen that it is gone."""
        for _ in range(50):
            ended = self.run(site, words)
            if "at this moment" not in ended.said:
                break
            time.sleep(0.1)
        return ended


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("office")
    post = PostOffice(folder)
    post.controllers["none"].start()
    with subprocess.Popen(
        [sys.executable, Path(__file__).with_name("killed.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Office(process, folder, post)
        assert process.stdin is not None
        process.stdin.close()
    post.controllers["none"].stop()


@dataclass
class Month:
    """The site before and after each command, by its name, and the command's own end."""

    office: Office
    folder: Path
    copy_ledger: Callable[[Site, Path], Site]
    before: dict[str, Site] = field(default_factory=dict)
    after: dict[str, Site] = field(default_factory=dict)
    ended: dict[str, Ended] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    standing: dict[str, dict[str, Any]] = field(default_factory=dict)

    def copy(self, site: Site) -> Site:
        """A copy of a site, to be deleted."""
        folder = self.folder / f"copy-{len(list(self.folder.iterdir()))}"
        shutil.copytree(site.folder, folder)
        return self.copy_ledger(site, folder)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def month(
    request: pytest.FixtureRequest, office: Office, tmp_path_factory: pytest.TempPathFactory
) -> Month:
    folder = tmp_path_factory.mktemp("month")
    if request.param == "sqlite":
        month = Month(office, folder, lambda _, copy: Site(copy, f"sqlite:///{copy}/billing.db"))
        site = Site(folder / "begun", f"sqlite:///{folder}/begun/billing.db")
    else:
        new: Callable[[str], str] = request.getfixturevalue("new_postgresql")

        def copied(site: Site, copy: Path) -> Site:
            return Site(copy, new(str(make_url(site.url).database)))

        month = Month(office, folder, copied)
        site = Site(folder / "begun", new(request.getfixturevalue("postgresql_template")))
    begin(site)
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("sqlite_template"), site.folder / "billing.db")
    for name, words in MONTH.items():
        month.before[name] = site
        site = month.after[name] = month.copy(site)
        started = time.monotonic()
        month.ended[name] = office.run(site, words)
        month.seconds[name] = time.monotonic() - started
        assert month.ended[name].status == 0, month.ended[name].said
    return month


def begin(site: Site) -> None:
    """Make the folder of a site with two facilities and a usage file for each."""
    (site.folder / "parameters").mkdir(parents=True)
    (site.folder / "billing.toml").touch()
    login = operating_system_login()
    reviewed = BOOK.replace("  issue: scheduled\n", f"  approval: {{reviewers: [{login}]}}\n")
    (site.folder / "parameters" / "mic.yml").write_text(BOOK)
    (site.folder / "parameters" / "rev.yml").write_text(reviewed.replace("MIC", "REV"))
    for name in ("usage.csv", "reviewed.csv"):
        (site.folder / name).write_text(USAGE)


def chosen(effects: list[str]) -> list[tuple[str, int]]:
    """The effects at which to die: all of them, or of the files' changes one of each module."""
    if EXPLORE:
        return [("any", at) for at in range(1, len(effects) + 1)]
    kinds: dict[str, str] = {}
    for effect in effects:
        kind, _, lines = effect.partition(" ")
        alike = effect if kind in ("commit", "send", "sent") else f"{kind} {lines.split(':')[0]}"
        kinds.setdefault(alike, effect)
    return [(effect, 1) for effect in kinds.values()]


CONTENT = (
    metadata.tables["charge"].c["facility", "charge", "state", "quantity", "total", "invoice"],
    metadata.tables["issued_invoice"].c["facility", "number", "project", "charges", "total"],
    metadata.tables["invoice"].c["facility", "code", "state", "number", "charges", "total"],
    metadata.tables["journal_entry"].c["facility", "number", "kind", "journal"],
    metadata.tables["message"].c["id", "state"],
)
"""Columns of the ledger that a command which dies and is run again must leave as they would be."""


def standing(engine: Engine) -> dict[str, Any]:
    """The ledger as it must be, whatever died."""
    with reading(engine) as connection:
        found: dict[str, Any] = {
            name: connection.scalar(select(func.count()).select_from(table))
            for name, table in metadata.tables.items()
            if name not in VARYING
        }
        for columns in CONTENT:
            rows = connection.execute(select(*columns))
            found[f"rows of {columns.values()[0].table.name}"] = sorted(map(repr, rows))
        acts = connection.execute(select(*metadata.tables["event"].c["facility", "kind", "subject"]))
        found["acts"] = sorted(re.sub(r"(?<=-2020-04)-\d+$", "", repr(act)) for act in acts)
    return found


def files(site: Site) -> set[str]:
    """The files of a site; those of the ledger itself, and what numbers them, aside."""
    names = (path.relative_to(site.folder).as_posix() for path in site.folder.rglob("*"))
    stated = (name for name in names if not name.startswith("billing.db"))
    return {re.sub(r"(?<=-2020-04)-\d+|(?<=package-)[0-9a-f]{12}", "", name) for name in stated}


def check(month: Month, name: str, site: Site, again: Ended) -> None:
    """A site in which a command died and was run again is as one in which it ran once."""
    assert again.status in (0, 1, 2) and "Traceback" not in again.said, again.said
    as_if = month.after[name]
    engine = open_ledger(site.url)
    if name not in month.standing:
        month.standing[name] = standing(open_ledger(as_if.url))
    now = standing(engine)
    differing = {each: now[each] for each in now if now[each] != month.standing[name][each]}
    assert not differing, again.said
    assert broken(engine, set() if name == "load" else {"2020-04"}) == []
    with reading(engine) as connection:
        assert not any(events.check_chains(connection).values())
    assert files(site) ^ files(as_if) == set(), again.said
    archive, known = site.folder / "runs", known_by(engine)
    for record in [*list_records(archive), *site.folder.glob("handed-over/*")]:
        assert verify(archive / record, known).findings == []
    engine.dispose()


def dying(month: Month, name: str, **how: Any) -> Ended | None:
    """Have a command die, run it again, and check what is left; how it died."""
    site, words = month.copy(month.before[name]), MONTH[name]
    month.office.post.clear()
    died = month.office.run(site, words, **how)
    again = month.office.again(site, words)
    check(month, name, site, again)
    shutil.rmtree(site.folder)
    return died


@pytest.mark.parametrize("name", KILLED)
def test_a_command_that_is_killed_at_an_effect_is_run_again_as_if_it_had_run_once(
    month: Month, name: str
) -> None:
    for die in chosen(month.ended[name].effects):
        try:
            died = dying(month, name, die=die)
        except AssertionError as error:
            error.add_note(f"killed at {die}")
            print("FOUND", name, die, str(error)[:1500])
        else:
            assert died.status == -9, died.said
