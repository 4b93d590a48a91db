"""The words by which invoices and charges are found, on the command line."""

import csv
import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sample_invoices import TEXTS, fill

from billing_lib.cli import main
from billing_lib.cli.app import Shown
from billing_lib.ledger.database import open_ledger
from billing_lib.workflow.search import Page

# One worker makes the office, and tests all of it.
pytestmark = pytest.mark.xdist_group("finding by words")

Said = Callable[..., str]


@pytest.fixture(scope="module")
def folder(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An office with two price books and invoices in every state."""
    folder = tmp_path_factory.mktemp("office")
    (folder / "parameters").mkdir()
    (folder / "billing.toml").touch()
    for code, text in TEXTS.items():
        (folder / "parameters" / f"{code}.yml").write_text(text)
    shutil.copyfile(sqlite_template, folder / "billing.db")
    engine = open_ledger(f"sqlite:///{folder / 'billing.db'}")
    fill(engine, folder)
    engine.dispose()
    yield folder


@pytest.fixture
def said(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Said:
    """Runs a command in the office, in this process; what it prints, or how it is refused."""

    def run(*words: str, status: int = 0) -> str:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("BILLING_PARAMETERS", "parameters")
        monkeypatch.setattr(sys, "argv", ["billing", *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capfd.readouterr()
        assert (ended.value.code or 0) == status, printed
        return printed.err.removeprefix("billing: ").strip() if status else printed.out

    return run


def listed(said: Said, *words: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(said(*words, "--json"))
    return rows


def test_invoices_are_found_by_each_word(said: Said) -> None:
    for words, projects in (
        ("--facility YEN", ["kyoto", "tokyo"]),
        ("--customer kim", ["kyoto"]),
        ("--team chem --not-empty", ["closed", "error", "free"]),
        ("--project open --period 2020-05", ["open"]),
        ("--project open --from 2020-04 --to 2020-05", ["open", "open"]),
        ("--run YEN-2020-04-1 --state open", ["tokyo"]),
        ("--state PAID --state VOID", ["paid", "void"]),
        ("--kind ad-hoc --empty", ["other"]),
        ("--kind reissue", ["superseded"]),
        ("--reference PO-12", ["other"]),
        ("--number po-1 --total-from 0.01", ["other"]),
        ("--view ready", ["approving", "kyoto"]),
        ("--view problems --total-to -0.01", ["other"]),
        ("--user bob --expense-code paid-1", ["paid"]),
        ("--text GRANT", ["quarantined"]),
    ):
        found = listed(said, "invoices", *words.split())
        assert sorted(row["project"] for row in found) == projects, words


def test_a_table_says_how_much_it_is_and_a_page_which(said: Said) -> None:
    # 14 slides, 16, twice 24 (reissued), 26 and 28, at 1.25
    whole = said("invoices", "--facility", "MIC", "--view", "complete")
    counted = (
        "6 invoices, total 82.50 USD; 3 of them closed, void, replaced or repeated, "
        "not in the total\n"
    )
    assert whole.endswith(counted)
    page = said("invoices", "--view", "complete", "--page", "2", "--per-page", "4")
    assert page.endswith(f"page 2 of 2, {counted}")
    rows = [line.split()[:2] for line in page.splitlines() if "MIC-2020-04-" in line]
    assert rows == [["MIC-2021-00005", "MIC-2020-04-3/superseded"], ["MIC-2020-04-2/closed", "MIC"]]
    sent_back = said("invoices", "--view", "problems", "--state", "REJECTED")
    for shown in ("MIC-2020-04-2/rejected", "periodic", "25.00", "the laser was off"):
        assert shown in sent_back
    assert said("invoices", "--project", "none").endswith("no invoices\n")


def test_charges_take_facility_and_period_as_before_and_the_filters(said: Said) -> None:
    april = listed(said, "charges", "MIC", "2020-04")
    assert april[0] == {
        **{"charge": "MIC/approved-0", "project": "approved", "item": "slide", "user": "eve"},
        **{"date": "2020-04-01", "description": april[0]["description"], "quantity": "3"},
        **{"price": "1.25", "raw_total": "3.75", "adjustment": "0.00", "total": "3.75"},
        **{"cost": None, "state": "BILLED", "invoice": "MIC-2020-04-1/approved"},
        **{"currency": "USD"},
    }
    live = ("--view", "live", "--project", "free", "--sort", "-total")
    free = listed(said, "charges", "MIC", "2020-04", *live)
    assert [(row["charge"], row["total"]) for row in free] == [
        ("MIC/free-1", "23.75"),
        ("MIC/free-0", "0.00"),
    ]
    every = listed(said, "charges", "--text", "laser")
    assert [row["charge"] for row in every] == ["MIC/open-0"]
    assert said("charges", "MIC", "2020-05", "--user", "bob").endswith("1 charge, total 2.50 USD\n")


def test_a_page_says_how_the_next_one_is_asked_for(said: Said) -> None:
    words = ("charges", "MIC", "2020-04", "--sort", "-total", "--per-page", "3")
    first = said(*words, "--page", "1")
    second = listed(said, *words, "--page", "2")
    asked = first.splitlines()[-1].split()
    assert asked[0] == "--after" and asked[2:] == ["shows", "the", "next", "page"]
    assert listed(said, *words, "--after", asked[1]) == second
    assert "3 further charges on this page\n--after " in said(*words, "--after", asked[1])


def test_csv_is_the_page_that_json_is(said: Said) -> None:
    words = ("charges", "--sort", "-total", "--page", "2", "--per-page", "5")
    text = said(*words, "--csv")
    read = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(read) == 5
    assert read == [
        {name: "" if value is None else str(value) for name, value in row.items()}
        for row in listed(said, *words)
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("invoices --state LOST", "states: 'LOST' is no state; it is one of OPEN, APPROVING"),
        ("invoices --state PENDING", "states: no invoice is ever PENDING; it is one of OPEN"),
        ("invoices --view mine", "view: 'mine' is no view; it is one of live, ready, complete"),
        ("invoices --total-from ten", "total from: 'ten' is no amount; write it in digits"),
        (
            "invoices --sort colour",
            "the list cannot be sorted by 'colour'; sort by number, invoice",
        ),
        ("invoices --page 9", "there is no page 9; the last one is 1"),
        ("invoices --page 2 --after MIC/a", "--after and --page both name a page; say one"),
        ("invoices --per-page 0", "pages and their rows are counted from 1"),
        ("invoices --period 2020-04 --to 2020-05", "--period is one month, --from and --to"),
        ("invoices --json --csv", "the output is either --json or --csv; say one of them"),
        ("charges MIC 2020-13", "'2020-13' is not a period; write a month as YYYY-MM"),
        ("charges MIC 2020-04 --from 2020-03", "period is 2020-04 and 2020-03; say one of them"),
        ("charges RC 2020-04", "is for the facility 'RC' (known: MIC, YEN)"),
    ],
)
def test_what_cannot_be_found_is_said_in_one_sentence(
    said: Said, words: str, sentence: str
) -> None:
    refused = said(*words.split(), status=2)
    assert sentence in refused
    assert len(refused.splitlines()) == 1


def test_a_terminal_gets_a_page_and_a_file_gets_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*, terminal: bool, as_json: bool = False, page: int | None = None) -> Page:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
        return Shown(page, None, (), as_json=as_json, as_csv=False).of()

    assert asked(terminal=True) == Page(1, 50)
    assert asked(terminal=False) == asked(terminal=True, as_json=True) == Page(1, None)
    assert asked(terminal=False, as_json=True, page=2) == Page(2, 50)


def test_a_change_to_what_is_found_is_made_as_it_was_shown(said: Said) -> None:
    slides = ("bulk", "MIC", "2020-04", "--project", "free", "--item", "slide", "--not-empty")
    change = ("--date-from", "2020-04-01", "--set", "rate=2.00", "--reason", "agreed")
    shown = said(*slides, *change, "--preview")
    assert "MIC/free-1" in shown
    assert "1 charge selected, nothing changed; make it just so with --seen " in shown
    seen = ("--seen", shown.split()[-1])
    said("adjust", "MIC/free-1", "--set", "note=ask Bob", "--reason", "for the lab")
    refused = said(*slides, *change, *seen, status=2)
    assert "changed the charge MIC/free-1, note  → ask Bob, on " in refused
    assert refused.endswith("(for the lab); nothing was written; make the preview again")
    seen = ("--seen", json.loads(said(*slides, *change, "--preview", "--json"))["seen"])
    assert "1 charge changed, group " in said(*slides, *change, *seen)
    ((group, state),) = [
        (row["group"], row["state"]) for row in listed(said, "groups", "MIC", "2020-04")
    ]
    assert state == "open"
    back = said("undo", "MIC", group, "--preview").split()[-1]
    undone = said("undo", "MIC", group, "--seen", back, "--reason", "not agreed")
    assert "1 charge as before it" in undone
    assert "undone" in said("groups", "MIC", "2020-04")
