"""Permissions and the listing by words, and by several people on PostgreSQL."""

import json
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from sample_facility import BOOK, usage_file
from sample_logins import let_in, url_as
from sqlalchemy import make_url

from .conftest import Office, new_office

# One worker makes the office, and tests all of it.
pytestmark = pytest.mark.xdist_group("permissions by words")

OTHER = "  - {code: p3, team: jones, type: faculty, split: [{expense_code: D, percent: '100'}]}\n"
LABS = BOOK.replace("teams: [", "teams: [{code: jones, name: Jones Lab}, ") + OTHER
ISSUE = ("issue", "MIC", "2020-04", "--project", "p1", "--date", "2020-05-04", "--allow-dirty")


@pytest.fixture(scope="module")
def staffed(
    new_postgresql: Callable[[str], str],
    postgresql_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Office, str]:
    """An office on PostgreSQL with an administrator, two labs, a viewer and an auditor; of April
    one invoice is issued, the rest is pending."""
    url = new_postgresql(postgresql_template)
    office = new_office(tmp_path_factory.mktemp("staffed") / "office")
    (office.folder / "parameters" / "microscopy.yml").write_text(LABS)
    usage_file(office.folder)
    let_in(url, ("boss", "lab", "other", "vic", "aud"))
    boss = url_as(url, "boss")
    for words in (
        ("grant", "MIC", "boss", "administrator"),
        ("grant", "MIC", "lab", "lab_administrator", "--team", "smith"),
        ("grant", "MIC", "other", "lab_administrator", "--team", "jones"),
        ("grant", "MIC", "vic", "viewer"),
        ("grant", "MIC", "aud", "auditor"),
        ("load", "MIC", "usage.csv"),
        ("rate", "MIC", "2020-04"),
        ISSUE,
    ):
        office.done(*words, database=boss)
    return office, url


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_staff_see_what_the_lab_sees_and_another_lab_is_refused(
    staffed: tuple[Office, str], words: tuple[str, ...]
) -> None:
    office, url = staffed
    asked = ("listing", "smith", "2020-04", *words)
    shown = {login: office.done(*asked, database=url_as(url, login)) for login in ("boss", "lab")}
    assert shown["boss"] == shown["lab"]
    for text in ("MIC-2020-00001", "148.33", "MIC/u3", "12.50"):
        assert text in shown["lab"]
    refused = office.run(*asked, database=url_as(url, "other"))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("billing: other may not see the team smith in MIC")
    assert len(refused.stderr.splitlines()) == 1


def test_the_page_that_staff_write_is_byte_for_byte_the_one_that_the_lab_writes(
    staffed: tuple[Office, str], tmp_path: Path
) -> None:
    office, url = staffed
    pages = {login: tmp_path / f"{login}.html" for login in ("boss", "lab", "vic", "other")}
    asked = ("listing", "smith", "2020-04", "--facility", "MIC", "--html")
    for login in ("boss", "lab", "vic"):
        said = office.done(*asked, pages[login], database=url_as(url, login))
        assert said == f"{pages[login]}: written\n"
    assert pages["boss"].read_bytes() == pages["lab"].read_bytes() == pages["vic"].read_bytes()
    assert b"MIC-2020-00001" in pages["lab"].read_bytes()
    again = office.done(*asked, pages["lab"], database=url_as(url, "boss"))
    assert again == f"{pages['lab']}: is so already, nothing changed\n"
    refused = office.run(*asked, pages["other"], database=url_as(url, "other"))
    assert refused.returncode == 2
    assert not pages["other"].exists()


def test_the_events_are_for_auditors_and_administrators(staffed: tuple[Office, str]) -> None:
    office, url = staffed
    for login in ("vic", "lab"):
        refused = office.run("events", "MIC", database=url_as(url, login))
        assert refused.returncode == 2
        assert f"{login} may not do this in MIC: it takes the role auditor" in refused.stderr
    asked = ("events", "MIC", "--subject", "lab", "--kind", "grant")
    for login in ("aud", "boss"):
        said = office.done(*asked, database=url_as(url, login))
        assert "boss" in said and '"team":"smith"' in said
        assert "the chain of " in said and "events is whole" in said
        assert "load" not in said


def test_an_event_that_was_tampered_with_ends_with_1(
    staffed: tuple[Office, str], new_postgresql: Callable[[str], str]
) -> None:
    office, url = staffed
    copy = new_postgresql(str(make_url(url).database))
    with psycopg.connect(copy, autocommit=True) as operator:
        operator.execute("ALTER TABLE event DISABLE TRIGGER USER")
        operator.execute("UPDATE event SET login = 'eve' WHERE sequence = 3")
    said = office.run("events", "MIC", "--kind", "load", database=url_as(copy, "aud"))
    assert said.returncode == 1
    assert "MIC, event 3: its content is not what was recorded" in said.stdout


def test_a_lab_chooses_by_words_how_it_is_told(staffed: tuple[Office, str]) -> None:
    office, url = staffed
    chosen = ("preferences", "MIC", "admin@example.edu", "--invoices", "none", "--team")
    said = office.done(*chosen, "smith", database=url_as(url, "lab"))
    assert said.startswith("MIC: admin@example.edu receives no invoice of smith")
    refused = office.run(*chosen, "smith", database=url_as(url, "other"))
    assert refused.returncode == 2
    assert refused.stderr.startswith("billing: other may not set how the team smith is told")


def test_permissions_by_words(office: Office) -> None:
    office.done("init")
    assert office.listed("permissions") == []
    said = office.done("grant", "MIC", "ann", "administrator")
    assert said.startswith("MIC: ann is an administrator")
    (me,) = {row["login"] for row in office.listed("permissions", "MIC")} - {"ann"}
    office.done("revoke", "MIC", me, "administrator")
    # On SQLite the login is the operating system's, and that is not ann.
    assert office.listed("permissions", "MIC") == []
    for words in (
        ("load", "MIC", "usage.csv"),
        ("revoke", "MIC", "ann", "administrator"),
        ("events", "MIC"),
        ("listing", "smith", "2020-04"),
        ISSUE,
    ):
        refused = office.run(*words)
        assert (refused.returncode, refused.stdout) == (2, ""), words
        assert "may not" in refused.stderr


def test_people_are_let_in_and_kept_out_by_words(staffed: tuple[Office, str]) -> None:
    office, url = staffed
    said = office.done("people", "add", "zoe", "--kind", "reader", database=url)
    assert (
        said
        == "zoe, a new login of the server, reads what its permissions in each facility allow\n"
    )
    listed = json.loads(office.done("people", "list", "--json", database=url))
    people = {row["login"]: row["kind"] for row in listed}
    assert (people["zoe"], people["boss"], people["lab"]) == ("reader", "staff", "lab")
    asked = ("charges", "MIC", "2020-04")
    assert "may not do this in MIC" in office.run(*asked, database=url_as(url, "zoe")).stderr
    assert office.done("people", "remove", "zoe", database=url).startswith("zoe uses the ledgers")
    assert office.run(*asked, database=url_as(url, "zoe")).returncode == 2
    unknown = office.run("people", "remove", "nobody here", database=url)
    assert (unknown.returncode, "no login 'nobody here'" in unknown.stderr) == (2, True)
    office.done("init")
    alone = office.run("people", "list")
    assert "a SQLite ledger has no logins" in alone.stderr
