"""The log of records: heads that people keep, and what they find when records are rewritten."""

import base64
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from sample_authority import stamping
from sample_issuing import issue_here
from sample_statements import APRIL, MAY, books, load_both

from billing_lib.audit.signing import check_time_stamp
from billing_lib.ledger.database import open_ledger
from billing_lib.pricing.clock import Period
from billing_lib.settings import anywhere

from .conftest import Office

HEAD = re.compile(
    r"billing-log core (\d+) \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ [0-9a-f]{64}\n"
    r"signature [A-Za-z0-9+/=]{88}\n"
)
BOTH = books()


def issue(site: Path, code: str, period: Period) -> None:
    """A month issued without a notebook; its seal stands for a record."""
    engine = open_ledger(f"sqlite:///{site}/billing.db")
    issue_here(engine, BOTH[code], period, site / "runs" / code / str(period),
               settings=anywhere(site))  # fmt: skip
    engine.dispose()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with its key, whose microscopy has issued April; do not change it."""
    folder = tmp_path_factory.mktemp("log")
    Office(folder).done("init", "core")
    site = folder / "core"
    (site / "parameters" / "example.yml").unlink()
    engine = open_ledger(f"sqlite:///{site}/billing.db")
    load_both(engine, BOTH, folder)
    engine.dispose()
    issue(site, "MIC", APRIL)
    return site


@pytest.fixture
def site(made: Path, tmp_path: Path) -> Path:
    """A copy of the site, to be changed."""
    return shutil.copytree(made, tmp_path / "core")


def test_init_makes_a_key_for_its_owner_alone_and_says_where_to_keep_it(tmp_path: Path) -> None:
    said = Office(tmp_path).done("init", "core")
    keys = tmp_path / "core" / "keys"
    assert "keep a copy of it off this machine" in said
    assert stat.S_IMODE((keys / "billing").stat().st_mode) == 0o600
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert re.fullmatch(r"billing@core ssh-ed25519 \S+\n", (keys / "allowed_signers").read_text())
    assert (keys / ".gitignore").read_text() == "/billing\n"
    here = anywhere(tmp_path / "core")
    assert here.signing_key == keys / "billing"
    assert here.allowed_signers == keys / "allowed_signers"
    before = (keys / "billing").read_bytes()
    Office(tmp_path).done("init", "core")
    assert (keys / "billing").read_bytes() == before


def test_without_ssh_keygen_a_site_is_made_that_signs_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = Office(tmp_path).done("init", "core")
    assert "records are not signed" in said
    assert anywhere(tmp_path / "core").signing_key is None
    assert not (tmp_path / "core" / "keys" / "billing").exists()


def test_a_kept_head_is_in_two_short_lines_and_the_log_goes_on_from_it(site: Path) -> None:
    office = Office(site)
    head = office.done("log", "head")
    assert HEAD.fullmatch(head), head
    assert max(map(len, head.splitlines())) < 120
    issue(site, "SEQ", APRIL)
    said = office.done("log", "check", head)
    assert said.splitlines()[0].endswith("signed by billing@core with ED25519 key " + said[
        said.index("SHA256:") :].splitlines()[0])  # fmt: skip
    assert said.endswith("the log of 2 records begins with the 1 of the head\n")
    mailed = "> " + head.replace(" ", "\n> ").replace("signature", "\r\n>  signature")
    (site / "mail.txt").write_text(f"Dear all,\n{mailed}\n", newline="")
    assert office.done("log", "check", "mail.txt") == said
    assert office.done("log", "check", "-", typed=head.encode()) == said


def test_rolling_ledger_and_archive_back_is_found_by_an_old_head(
    site: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(site, tmp_path / "copy")
    issue(site, "SEQ", APRIL)
    kept = Office(site).done("log", "head")
    shutil.rmtree(site)
    shutil.copytree(copy, site)
    fewer = Office(site).run("log", "check", kept)
    assert fewer.returncode == 1
    assert "the head is of 2 records and the log has 1: records were taken away" in fewer.stdout
    issue(site, "MIC", MAY)
    as_many = Office(site).run("log", "check", kept)
    assert as_many.returncode == 1
    assert "the log's first 2 records of 2 differ from those of the head" in as_many.stdout
    issue(site, "SEQ", APRIL)
    more = Office(site).run("log", "check", kept)
    assert more.returncode == 1
    assert "the log's first 2 records of 3 differ from those of the head" in more.stdout


def test_a_head_that_the_site_never_signed_is_told_from_one_that_it_did(site: Path) -> None:
    office = Office(site)
    head = office.done("log", "head")
    line, signature = head.splitlines()
    forged = re.sub(r"[0-9a-f]{64}$", "ab" * 32, line)
    refused = office.run("log", "check", f"{forged}\n{signature}")
    assert refused.returncode == 1
    assert "no allowed signer has signed this" in refused.stdout
    assert "is not signed" in office.done("log", "check", line)
    assert "is no head" in office.run("log", "check", "billing-log core").stderr
    assert "there is no head to read" in office.run("log", "check", "nowhere.txt").stderr


@pytest.mark.parametrize("kind", ["file", "git"])
def test_the_log_is_exported_as_it_grows_and_shows_a_rollback(
    site: Path, tmp_path: Path, kind: str
) -> None:
    remote = tmp_path / "elsewhere"
    office, place = Office(site), str(remote / "log.txt")
    remote.mkdir()
    if kind == "git":
        subprocess.run(["git", "init", "--quiet", "--bare", str(remote)], check=True)
        place = f"git+{remote}"

    def exported() -> str:
        if kind == "file":
            return Path(place).read_text()
        words = ["git", "-C", str(remote), "show", "billing-log:log.txt"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    copy = shutil.copytree(site, tmp_path / "copy")
    assert "1 record added, 1 in all" in office.done("log", "export", log_export=place)
    issue(site, "SEQ", APRIL)
    assert "1 record added, 2 in all" in office.done("log", "export", log_export=place)
    assert "0 records added, 2 in all" in office.done("log", "export", log_export=place)
    text = exported()
    assert [line.split()[:3] for line in text.splitlines() if line.startswith("entry")] == [
        ["entry", "1", "MIC-2020-04-1"],
        ["entry", "2", "SEQ-2020-04-1"],
    ]
    (tmp_path / "log.txt").write_text(text)
    assert "begins with the 2" in office.done(
        "log", "check", office.done("log", "head"), "--log", tmp_path / "log.txt"
    )
    shutil.rmtree(site)
    shutil.copytree(copy, site)
    issue(site, "MIC", MAY)
    refused = office.run("log", "export", log_export=place)
    assert refused.returncode == 2
    assert "has 2 records and the ledger 2, and they do not begin with the same" in refused.stderr
    assert exported() == text


def test_exported_heads_are_time_stamped_where_there_is_an_authority(
    site: Path, tmp_path: Path
) -> None:
    (tmp_path / "authority").mkdir()
    place = tmp_path / "log.txt"
    with stamping(tmp_path / "authority") as (address, root):
        Office(site).done("log", "export", log_export=str(place), time_stamps=address)
    _, head, _, stamp = place.read_text().splitlines()
    reply = base64.b64decode(stamp.removeprefix("time-stamp "))
    assert check_time_stamp(f"{head}\n".encode(), reply, root).holds
    assert "begins with the 1" in Office(site).done("log", "check", head, "--log", place)


def test_what_cannot_be_exported_is_one_sentence(site: Path, tmp_path: Path) -> None:
    office = Office(site)
    assert "set BILLING_LOG_EXPORT" in office.run("log", "export").stderr
    for place in (tmp_path / "nowhere" / "log.txt", f"git+{tmp_path / 'nowhere.git'}"):
        refused = office.run("log", "export", log_export=str(place))
        assert refused.returncode == 2
        assert "the log of records cannot be exported" in refused.stderr
    (tmp_path / "odd.txt").write_text("entry 1 MIC-2020-04-1 ab\n")
    refused = office.run("log", "export", log_export=str(tmp_path / "odd.txt"))
    assert "odd.txt, line 1: this line is none of a log of records" in refused.stderr


def test_ssh_keygen_alone_checks_the_head_of_an_exported_log(site: Path, tmp_path: Path) -> None:
    place = tmp_path / "log.txt"
    Office(site).done("log", "export", log_export=str(place))
    shell = """
        grep ^billing-log log.txt | tail -n 1 >head
        { echo -----BEGIN SSH SIGNATURE-----
          grep ^signature log.txt | tail -n 1 | cut -d ' ' -f 2 | fold -w 70
          echo
          echo -----END SSH SIGNATURE-----; } >head.sig
        ssh-keygen -Y verify -f "$1" -I billing@core -n billing-log -s head.sig <head
    """
    words = ["sh", "-c", shell, "sh", str(site / "keys" / "allowed_signers")]
    checked = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr + checked.stdout
    assert 'Good "billing-log" signature for billing@core' in checked.stdout
