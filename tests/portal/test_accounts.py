"""Whose account reads: labs' own cannot read the archive, and the portal's reads for each lab."""

import os
import pwd
import runpy
import shutil
import subprocess
import sys
import tempfile
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
from sample_facility import BOOK, nothing, price_book, usage_file
from sample_issuing import issue_here
from sqlalchemy import make_url
from traitlets.config import Config

from billing_lib.batch.doctor import diagnose
from billing_lib.ledger import logins
from billing_lib.ledger.database import open_ledger, writing
from billing_lib.portal.hub import AccountSpawner
from billing_lib.pricing.clock import Period
from billing_lib.settings import Settings
from billing_lib.workflow.load import load_files
from billing_lib.workflow.permissions import grant
from billing_lib.workflow.rate import rate_period

ROOT = Path(__file__).parent.parent.parent
APRIL = Period(2020, 4)
TWO_LABS = BOOK.replace("teams: [", "teams: [{code: jones, name: Jones Lab}, ").replace(
    "{code: p2, team: smith", "{code: p2, team: jones"
)
LAB, STAFF, PORTAL = "games", "daemon", "nobody"
"""Accounts of every Debian, for a lab administrator, one of the staff, and the portal."""

READING = """
import sys
from base64 import b64encode
from pathlib import Path
from billing_lib.audit.verify import issued_files
from billing_lib.errors import BillingError
from billing_lib.ledger.database import open_ledger
from jupyterhub.spawner import set_user_setuid

account, archive, *asked = sys.argv[1:]
open_ledger(asked[0])  # imports the driver, while the account may read Python's folder
set_user_setuid(account, chdir=False)()
for url, number in zip(asked[::2], asked[1::2]):
    try:
        files = issued_files(open_ledger(url), Path(archive), number)
        print(b64encode(files[f"{number}.pdf"]).decode())
    except BillingError as error:
        print(error)
"""
"""Becomes an account as the spawner's servers do, and reads PDFs of invoices as the pages do."""


def spawner(login: str, portal_account: str = "", staff_group: str = "") -> AccountSpawner:
    made = AccountSpawner(portal_account=portal_account, staff_group=staff_group)
    made.user = SimpleNamespace(name=login)
    return made


def ledger_of(made: AccountSpawner, url: str) -> str:
    return str(made.user_env({"BILLING_DATABASE": url})["BILLING_DATABASE"])


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder to which all accounts have the way; pytest's own are root's alone."""
    made = Path(tempfile.mkdtemp(prefix="billing-site-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def take_accounts(postgresql_server: str) -> Iterator[Callable[[str], None]]:
    """Has PostgreSQL take accounts for logins in one database, by the files of deploy/."""
    deploy = ROOT / "deploy"
    with psycopg.connect(postgresql_server, autocommit=True) as admin:
        (data,) = admin.execute("SHOW data_directory").fetchone() or ("",)
        kept = {name: (Path(data) / name).read_text() for name in ("pg_hba.conf", "pg_ident.conf")}

        def write(hba: str = "", ident: str = "") -> None:
            for name, text in (("pg_hba.conf", hba), ("pg_ident.conf", ident)):
                (Path(data) / name).write_text(text + kept[name])
            admin.execute("SELECT pg_reload_conf()")

        def take(database: str) -> None:
            Path(data).chmod(0o711)  # the way to the socket
            hba = (deploy / "pg_hba.conf").read_text().splitlines()[-1]
            assert hba.split()[:4] == ["local", "billing", "all", "peer"]
            hba = hba.replace("billing  all", f"{database}  {LAB},{STAFF}") + "\n"
            ident = (deploy / "pg_ident.conf").read_text()
            write(hba, ident.replace("billing-portal", PORTAL).replace("  li\n", f"  {LAB}\n"))

        yield take
        write()
        Path(data).chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other accounts")
@pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)
def test_the_portals_account_reads_for_a_lab_and_the_labs_own_cannot(
    ledger_url: str, folder: Path, take_accounts: Callable[[str], None]
) -> None:
    archive = folder / "runs"
    engine, book = open_ledger(ledger_url), price_book(TWO_LABS)
    load_files(engine, book, [usage_file(folder)], nothing)
    rate_period(engine, book, APRIL)
    issued = issue_here(engine, book, APRIL, folder / "issuing", runs=archive)
    number = {invoice["team"]["code"]: number for number, invoice in issued.items()}
    with writing(engine) as connection:
        logins.add(connection, LAB, logins.LAB)
        logins.add(connection, STAFF, logins.STAFF)
    grant(engine, book, LAB, "lab_administrator", "jones")
    grant(engine, book, STAFF, "viewer")
    take_accounts(str(engine.url.database))
    engine.dispose()
    os.chown(archive, 0, pwd.getpwnam(PORTAL).pw_gid)
    archive.chmod(0o750)

    def read(account: str, *asked: str) -> list[str]:
        words = [sys.executable, "-c", READING, account, str(archive), *asked]
        return subprocess.check_output(words, text=True).splitlines()

    own, through = spawner(LAB), spawner(LAB, PORTAL)
    assert (own.account, through.account) == (LAB, PORTAL)
    (refusal,) = read(LAB, ledger_of(own, ledger_url), number["jones"])
    assert "Permission denied" in refusal
    url = ledger_of(through, ledger_url)
    staff = make_url(ledger_url).set(username=STAFF).render_as_string(False)
    asked = (url, number["jones"], url, number["smith"], staff, number["jones"])
    (pdf, other, by_staff) = read(PORTAL, *asked)
    (sealed,) = archive.glob(f"*/*/*/data/documents/{number['jones']}.pdf")
    assert b64decode(pdf) == sealed.read_bytes()
    assert other.startswith(f"there is no invoice {number['smith']}")
    assert "Peer authentication failed" in by_staff


def test_the_doctor_names_an_archive_that_labs_may_read(folder: Path) -> None:
    (folder / "runs").mkdir()
    here = Settings(runs=folder / "runs", parameters=folder, shared=True)
    told = {mode: [] for mode in (0o2775, 0o2770)}
    for mode, sentences in told.items():
        (folder / "runs").chmod(mode)
        sentences += [it.sentence for it in diagnose(here) if it.subject == "archive"]
    (readable, *_), (closed,) = told.values()
    assert readable.startswith(f"every account may read {folder}/runs, a lab's too")
    assert closed == f"this account may write {folder}/runs, and so may its group"


def test_staff_work_in_jupyterlab_under_their_own_account() -> None:
    """The account games is the one member of its group."""
    ann = spawner("games", PORTAL, staff_group="games")
    assert (ann.account, ann.get_args()[0]) == ("games", "lab")
    assert ledger_of(ann, "postgresql:///billing") == "postgresql:///billing"
    li = spawner("nobody-knows-me", PORTAL, staff_group="games")
    assert (li.account, li.get_args()[0]) == (PORTAL, "portal")
    url = "postgresql+psycopg:///billing?host=/var/run/postgresql"
    assert make_url(ledger_of(li, url)) == make_url(url).set(username="nobody-knows-me")


def configured(monkeypatch: pytest.MonkeyPatch, folder: Path, **settings: str) -> Config:
    """JupyterHub's configuration as it is with these settings."""
    here = {"site": str(folder), "database": "postgresql+psycopg:///billing"} | settings
    (folder / "billing.toml").touch()
    for name, value in here.items():
        monkeypatch.setenv(f"BILLING_{name.upper()}", value)
    config = Config()
    runpy.run_path(str(ROOT / "jupyterhub_config.py"), {"get_config": lambda: config})
    return config


def test_the_hub_starts_servers_by_its_settings_and_keeps_cookies_to_tls(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    public = {"portal_account": PORTAL, "staff_group": "games", "hub_url": "https://b.example/"}
    config = configured(monkeypatch, tmp_path, **public)
    started = config.AccountSpawner
    assert (started.portal_account, started.staff_group) == (PORTAL, "games")
    assert config.JupyterHub.tornado_settings["cookie_options"] == {"secure": True}
    assert (tmp_path / "office" / "hub").stat().st_mode & 0o777 == 0o700
    trial = configured(monkeypatch, tmp_path, portal_try="a-password-to-try", **public)
    assert trial.AccountSpawner.staff_group == ""  # or anybody would be any of the staff
    assert trial.JupyterHub.tornado_settings["cookie_options"] == {"secure": False}
    assert trial.JupyterHub.bind_url.startswith("http://127.0.0.1:")


def test_one_account_reads_for_all_labs_only_where_the_ledger_knows_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        configured(monkeypatch, tmp_path, portal_account=PORTAL, database="sqlite:///billing.db")
    assert ended.value.code == 2
    assert "only where the ledger is on PostgreSQL; leave out" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        configured(monkeypatch, tmp_path, staff_group="nobody-here")
    assert "this machine has no such account or group" in capsys.readouterr().err
