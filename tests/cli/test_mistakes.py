"""A mistake gets one sentence: what, where, what to do; status 2; nothing half done."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sample_facility import BOOK, HEADER

from .conftest import Office

ROOT = Path(__file__).parent.parent.parent
SCENARIO = BOOK + "period: 2020-04\nusage: [{id: u1, item: slide, project: p1, date: 2020-04-07}]\n"
ROW = "u1,slide,p1,bob,,,2020-04-07,1\n"

FILES = {
    "an empty file": ("", "usage.csv: the file is empty"),
    "a header alone": (HEADER, "usage.csv"),
    "a wrong header": (
        "id,item,project\n1,slide,p1\n",
        "the column 'start' is missing; the columns are id, item, project",
    ),
    "numbers of which nobody knows how they are written": (
        HEADER + "u2,slide,p1,bob,,,2020-04-07,1.234\n",
        "'1.234' is 1.234 with a decimal point and 1234 with a decimal comma",
    ),
}
BOOKS = {
    "two rates for one item, group and date": (
        BOOK.replace(
            'price: "1.25"}', 'price: "1.25"}\n  - {item: slide, group: internal, price: "2.00"}'
        ),
        "microscopy.yml, line 18, rates[3]: two rates for item 'slide' and group 'internal'",
    ),
    "splits that make 99": (
        BOOK.replace('percent: "40"', 'percent: "39"'),
        "microscopy.yml, line 24, projects[1].split: the split makes 99 %",
    ),
    "an unknown time zone": (
        BOOK.replace("America/New_York", "America/Gotham"),
        "microscopy.yml, line 6, facility.timezone: the time zone 'America/Gotham' is unknown",
    ),
    "a negative price": (
        BOOK.replace('price: "1.25"', 'price: "-1.25"'),
        "microscopy.yml, line 17, rates[2].price: the price '-1.25' is negative",
    ),
    "an unsupported key": (
        BOOK.replace('price: "1.25"', 'prize: "1.25"'),
        "microscopy.yml, line 17, rates[2].prize: the key 'prize' is not supported here",
    ),
}
WORDS = {
    "a period that is no month": (("rate", "MIC", "2020-13"), "'2020-13' is not a period"),
    "a period that is not over": (
        ("issue", "MIC", "2999-01", "--allow-dirty"),
        "the period 2999-01 is not over before 2999-02-01",
    ),
    "an unknown facility": (("rate", "XYZ", "2020-04"), "XYZ"),
    "an unknown charge": (
        ("adjust", "MIC/u99", "--set", "quantity=1", "--reason", "why"),
        "there is no charge MIC/u99",
    ),
    "no reason": (("adjust", "MIC/u2", "--set", "quantity=1"), "the change has no reason"),
    "no such field": (
        ("adjust", "MIC/u2", "--set", "colour=red", "--reason", "why"),
        "a charge has no field 'colour' to set",
    ),
    "a word for a number": (
        ("adjust", "MIC/u2", "--set", "quantity=ten", "--reason", "why"),
        "'ten' is no quantity",
    ),
    "a split that makes 99": (
        ("adjust", "MIC/u2", "--set", "split=A=50,B=49", "--reason", "why"),
        "the split makes 99 %",
    ),
    "half a line": (
        ("adjust", "--add-line", "--facility", "MIC", "--reason", "why"),
        "an added line needs --project, --date, --description, --amount",
    ),
    "an invoice date before the month is over": (
        ("issue", "MIC", "2020-04", "--date", "2020-04-15", "--allow-dirty"),
        "the invoice date 2020-04-15 is not between",
    ),
    "a project without charges": (
        ("issue", "MIC", "2020-04", "--project", "p9", "--allow-dirty"),
        "there are no charges for MIC 2020-04, project p9",
    ),
    "two things to issue": (
        ("issue", "MIC", "2020-04", "--project", "p1", "--reference", "PO-12", "--allow-dirty"),
        "--project and --reference name different invoices",
    ),
    "a new ad hoc invoice of nobody": (
        ("adhoc", "MIC", "PO-12", "--start", "2020-04-06"),
        "a new ad hoc invoice needs a project and a start date",
    ),
    "an unknown reference": (
        ("issue", "MIC", "2020-04", "--reference", "PO-99", "--allow-dirty"),
        "MIC has no ad hoc invoice PO-99; create it with 'billing adhoc MIC PO-99'",
    ),
    "a credit for nothing issued": (
        ("credit", "MIC-2020-00009", "--amount", "5.00", "--reason", "why"),
        "there is no invoice MIC-2020-00009",
    ),
    "an unknown invoice": (("show", "MIC-2020-00009"), "no record in runs/ has this run"),
    "a record that is none": (("verify", "parameters"), "parameters"),
    "a file that is not there": (("load", "MIC", "none.csv"), "none.csv"),
    "a scenario that is not there": (("quote", "none.yml"), "none.yml"),
}


def rows(office: Office) -> dict[str, int]:
    """How many rows each table of the ledger has."""
    with sqlite3.connect(office.folder / "billing.db") as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {
            name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]
            for (name,) in tables.fetchall()
        }


@pytest.mark.parametrize("case", FILES)
def test_a_usage_file_that_cannot_be_loaded(
    rated: Office, refused: Callable[..., str], tmp_path: Path, case: str
) -> None:
    text, sentence = FILES[case]
    path = tmp_path / "usage.csv"
    path.write_text(text)
    before = rows(rated)
    assert sentence in refused(rated, "load", "MIC", path)
    assert rows(rated) == before


@pytest.mark.parametrize("case", BOOKS)
def test_a_price_book_that_cannot_be_billed_by(
    rated: Office, refused: Callable[..., str], tmp_path: Path, case: str
) -> None:
    text, sentence = BOOKS[case]
    (tmp_path / "microscopy.yml").write_text(text)
    before = rows(rated)
    said = refused(rated, "rate", "MIC", "2020-04", parameters=str(tmp_path))
    assert sentence in said
    assert rows(rated) == before


@pytest.mark.parametrize("case", WORDS)
def test_words_that_cannot_be(rated: Office, refused: Callable[..., str], case: str) -> None:
    words, sentence = WORDS[case]
    before = rows(rated)
    assert sentence in refused(rated, *words)
    assert rows(rated) == before


def test_a_number_where_a_date_belongs_is_unbilled_with_its_reason(office: Office) -> None:
    """A malformed row is no reason to refuse its file, and it is not lost."""
    (office.folder / "usage.csv").write_text(
        HEADER + ROW + "u2,slide,p1,bob,,,20200407,1\nu3,scope,p1,ann,1586189000,1586190000,,\n"
    )
    office.done("init")
    assert "2 that cannot be billed as they are" in office.done("load", "MIC", "usage.csv")
    office.done("rate", "MIC", "2020-04")
    unbilled = office.listed("unbilled", "MIC", "2020-04")
    assert [(row["record"], row["reason"], row["row"]) for row in unbilled] == [
        ("u2", "invalid_time", 3),
        ("u3", "invalid_time", 4),
    ]
    assert "20200407" in unbilled[0]["detail"]


def test_without_a_ledger_every_command_says_to_make_one(
    office: Office, refused: Callable[..., str]
) -> None:
    for words in (("rate", "MIC", "2020-04"), ("invoices",), ("load", "MIC", "usage.csv")):
        assert refused(office, *words).endswith("run billing init")
    assert not (office.folder / "billing.db").exists()


def test_a_database_out_of_reach_is_said_without_its_password(
    office: Office, refused: Callable[..., str]
) -> None:
    said = refused(office, "init", database="postgresql://me:secret@localhost:1/billing")
    assert "cannot be" in said
    assert "secret" not in said


def test_a_scenario_that_comes_out_otherwise_ends_with_1(office: Office) -> None:
    path = office.folder / "what-if.yml"
    path.write_text(
        SCENARIO.replace("2020-04-07}", '2020-04-07, quantity: "2"}')
        + 'expect: {charges: {u1: {total: "2.51"}}}\n'
    )
    said = office.run("quote", "what-if.yml", "--check")
    assert said.returncode == 1
    assert "charges.u1.total: expected 2.51, got 2.50" in said.stdout


def test_from_changed_files_nothing_is_issued_unless_allowed(rated: Office, tmp_path: Path) -> None:
    office = Office(shutil.copytree(rated.folder, tmp_path / "office"))
    source = tmp_path / "source"
    subprocess.run(["git", "clone", "--quiet", ROOT, source], check=True)
    (source / "billing_lib" / "changed.py").write_text("")
    said = office.run("issue", "MIC", "2020-04", source=source)
    assert said.returncode == 2
    assert "billing_lib/changed.py" in said.stderr
    assert "allow changed files" in said.stderr
    assert office.listed("invoices") == []


def test_the_help_waits_for_no_heavy_library() -> None:
    heavy = ("polars", "sqlalchemy", "pydantic", "papermill", "psycopg")
    told = f"import sys, billing_lib.cli; print([it for it in {heavy} if it in sys.modules])"
    said = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"


IMPORTED = """
import sys
from billing_lib.cli import main
for words in {commands}:
    sys.argv = ["billing", *words.split()]
    try:
        main()
    except SystemExit as ended:
        assert ended.code == 0, words
print("imported:", [name for name in {heavy} if sys.modules.get(name)])
"""


def test_lists_and_small_changes_wait_for_no_library_that_they_do_not_use(rated: Office) -> None:
    heavy = (
        *("alembic", "jinja2", "jupyter_client", "numpy", "openpyxl", "pandas", "papermill"),
        *("psycopg", "requests", "rocrate", "segno", "typst", "xlsxwriter"),
    )
    commands = (
        *("invoices", "charges MIC 2020-04", "check MIC 2020-04", "unbilled MIC 2020-04", "runs"),
        *("explain MIC/u1", "bulk MIC 2020-04 --set waived=yes --preview", "outbox"),
    )
    asked = IMPORTED.format(commands=commands, heavy=heavy)
    said = subprocess.run(
        [sys.executable, "-c", asked], cwd=rated.folder, capture_output=True, text=True, check=True
    )
    assert said.stdout.splitlines()[-1] == "imported: []"
