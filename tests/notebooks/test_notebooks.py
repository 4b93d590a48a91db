"""Every notebook runs from top to bottom: by papermill with parameters, and by nbval.

The month is the demonstration's own: issued for one project and pending for the rest, so that
each notebook has something to show.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest
from nbconvert import HTMLExporter

from billing_lib.batch.issuing import IssuingTerms, issue_month
from billing_lib.cli.demonstration import PERIOD, USAGE
from billing_lib.ledger.database import initialise, open_ledger
from billing_lib.settings import Settings
from billing_lib.workflow.load import load_files, read_price_book
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.runs import RunScope, sign_off
from billing_lib.workflow.statements import generate_statements
from billing_lib.workflow.steps import unheard

ROOT = Path(__file__).parent.parent.parent
NOTEBOOKS = ROOT / "notebooks"
REVIEWED = (
    *("home", "usage", "review", "adjust", "run", "approve", "audit"),
    *("prices", "statement", "listing", "invoice", "invoices", "after"),
)
"""The notebooks that staff, auditors and labs open; the issuing one is run by every issue."""

# One worker makes the month and runs every notebook on it.
pytestmark = pytest.mark.xdist_group("notebooks")


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The demonstration's month, loaded and rated, one project of each facility issued."""
    folder = tmp_path_factory.mktemp("notebooks")
    here = Settings(
        database=f"sqlite:///{folder / 'billing.db'}",
        runs=folder / "runs",
        parameters=ROOT / "parameters",
    )
    engine = open_ledger(here.database)
    initialise(engine)
    books = {code: read_price_book(here.parameters, code) for code in USAGE}
    for (code, book), project in zip(books.items(), ("u4", "membranes", "holder"), strict=True):
        load_files(engine, book, [USAGE[code]], unheard)
        rate_period(engine, book, PERIOD)
        sign_off(engine, book, str(PERIOD))
        terms = IssuingTerms("1993-11-05", allow_dirty=True)
        issue_month(engine, here, book, PERIOD, RunScope(projects=(project,)), terms=terms)
    generate_statements(engine, books, PERIOD)
    return here


def environment(office: Settings) -> dict[str, str]:
    return {
        "BILLING_DATABASE": office.database,
        "BILLING_RUNS": str(office.runs),
        "BILLING_PARAMETERS": str(office.parameters),
        "BILLING_OFFICE": str(office.runs.parent / "office"),
    }


def outputs(notebook: nbformat.NotebookNode) -> str:
    """All that a notebook shows, as text."""
    return json.dumps([cell.get("outputs", []) for cell in notebook.cells])


GENERAL = [
    ("home", {"months": 3}, "5,414.14 USD"),
    ("prices", {"facility": "SHOP"}, "holder, furnace, hub"),
    ("audit", {"record": ""}, "208.75"),
    ("invoices", {"view": ""}, "<caption>Invoices"),
    ("after", {"part": "", "month": "1993-10"}, "bio-1993-10"),
    ("statement", {"team": "bio", "period": "1993-10"}, "Statement <b>bio-1993-10</b>, OPEN"),
    ("invoice", {"team": "bio", "period": "1993-10"}, "Invoice MIC-1994-00001, as it was sent"),
    ("listing", {"team": "bio", "period": "1993-10"}, "Invoice RC-1994-00001, project u4"),
]
OF_A_MONTH = {
    "usage": ("Files that wait",) * 3,
    "review": ("5,944</b> usage records", "12</b> usage records", "8</b> usage records"),
    "adjust": tuple(f"Pending charges, the first {count}" for count in (54, 8, 5)),
    "run": ("What the run goes by",) * 3,
    "approve": ("invoices are decided",) * 3,
}
EACH: list[tuple[str, dict[str, str | int], str]] = GENERAL + [
    (name, {"facility": facility, "period": "1993-10"}, said)
    for name, shown in OF_A_MONTH.items()
    for facility, said in zip(USAGE, shown, strict=True)
]


@pytest.mark.parametrize(
    ("name", "stated", "shown"),
    [pytest.param(*each, id="-".join([each[0], *map(str, each[1].values())])) for each in EACH],
)
def test_a_notebook_runs_by_papermill_and_exports_to_a_clean_page(
    office: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    stated: dict[str, str | int],
    shown: str,
) -> None:
    for key, value in environment(office).items():
        monkeypatch.setenv(key, value)
    ran = papermill.execute_notebook(
        NOTEBOOKS / f"{name}.ipynb",
        tmp_path / "ran.ipynb",
        parameters=stated,
        progress_bar=False,
        shutdown_kernel="immediate",
    )
    assert shown in outputs(ran)
    assert "widget-view" not in outputs(ran)  # its code would come from a network
    page, _ = HTMLExporter(exclude_input=True).from_notebook_node(ran)
    for unclean in ("Traceback", "jp-InputArea-editor", 'class="highlight', "stderr"):
        assert unclean not in page.split("</head>")[1], unclean
    if (name, stated.get("facility")) == ("review", "RC"):
        for picture in ("Spend by project", "This month against the last twelve", "Hours by inst"):
            assert f'<img alt="{picture}' in page  # in the page itself, as are the tables
        for table in ("Charges, the first 54", "What was checked", "Findings"):
            assert f"<caption>{table}" in page


def test_the_notebooks_pass_nbval(office: Settings) -> None:
    paths = [NOTEBOOKS / f"{name}.ipynb" for name in REVIEWED]
    alone = ["-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *alone, "-q", "--nbval-lax", *paths],
        cwd=office.runs.parent,
        env=os.environ | environment(office),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_the_office_shows_no_code() -> None:
    """The issuing notebook is not opened in the office: auditors read its code in the record."""
    for name in REVIEWED:
        cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
        code = [cell for cell in cells if cell.cell_type == "code"]
        assert [cell.source for cell in code if not hidden(cell)] == [], name


def hidden(cell: nbformat.NotebookNode) -> bool:
    return cell.metadata.get("jupyter", {}).get("source_hidden", False)


def test_every_notebook_has_parameters_and_a_heading() -> None:
    found = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
    assert found == sorted([*REVIEWED, "issue"])
    for name in found:
        cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
        assert cells[0].source.startswith("# ")
        assert "parameters" in cells[1].metadata.tags


def test_notebooks_hold_no_logic() -> None:
    """Calls and display only: no functions, classes, conditions or comprehensions of their own."""
    for path in NOTEBOOKS.glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                words = set(cell.source.split())
                assert not words & {"def", "class", "if", "while", "lambda", "try:"}, path.name
