"""The front door: each name at work as its page shows it, the tutorial, its types, its import."""

import contextlib
import doctest
import inspect
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import billing_lib
from billing_lib import BillingError, Site, open_site
from billing_lib.errors import InvalidFilter, NoSite
from billing_lib.settings import Settings

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGE = (DOCS / "library.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```pycon\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLES = "".join(BLOCK.findall(PAGE))

# The page and the tutorial each issue a month and run it again.
pytestmark = pytest.mark.xdist_group("library")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"BILLING_{name.upper()}", raising=False)


def of_a_changed_tree(code: str) -> str:
    """The tree under test may hold changes that are not committed yet."""
    changed, count = re.subn(r"(site\.issue\(.*)\)", r"\1, allow_dirty=True)", code)
    assert count == 1
    return accepting_changes(changed)


def accepting_changes(code: str) -> str:
    """The same of running it again."""
    return re.sub(r"(reproduce\([^()\n]+)\)", r"\1, accept_changes=True)", code)


def test_the_examples_of_the_page_come_out_as_it_says(tmp_path: Path) -> None:
    parsed = doctest.DocTestParser().get_doctest(
        of_a_changed_tree(EXAMPLES), {}, "library", "docs/library.md", 0
    )
    said: list[str] = []
    with contextlib.chdir(tmp_path):
        result = doctest.DocTestRunner(verbose=False).run(parsed, out=said.append)
    assert result.attempted > 30
    assert result.failed == 0, "".join(said)


def test_the_page_lists_every_name_and_every_method_has_an_example() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(listed) == sorted(billing_lib.__all__)
    for name in billing_lib.__all__:
        assert re.search(rf"\b{name}\b", EXAMPLES), name
        assert hasattr(billing_lib, name)
        assert name in dir(billing_lib)
    methods = [name for name, _ in inspect.getmembers(Site, inspect.isfunction) if name[0] != "_"]
    assert len(methods) >= 14
    for name in methods:
        assert f"site.{name}(" in EXAMPLES, name
        assert getattr(Site, name).__doc__, name
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        billing_lib.nothing  # noqa: B018


def test_the_tutorial_runs_and_holds_no_outputs(tmp_path: Path) -> None:
    notebook = nbformat.read(DOCS / "tutorial.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    (issuing,) = (cell for cell in code if "site.issue(" in cell.source)
    issuing.source = of_a_changed_tree(issuing.source)
    for cell in code:
        cell.source = accepting_changes(cell.source)
    ran = NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}).execute()
    ran_code = [cell for cell in ran.cells if cell.get("outputs")]

    def shown(call: str) -> str:
        (cell,) = (cell for cell in ran_code if call in cell.source)
        return str(cell.outputs[-1]["data"]["text/plain"])

    assert "3 charges (3 new, 0 changed) + 1 unbilled" in shown("site.rate(")
    assert "issued 2 invoices (MIC-2026-00001 to MIC-2026-00002)" in shown("site.issue(")
    assert "112.50" in shown("site.invoices(")
    assert (shown("site.verify("), shown("site.reproduce(")) == ("[]", "()")
    assert "'total': '125.00'" in shown("quote(")


IMPORTING = """
import decimal, locale, os, signal, sys, warnings
def state():
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    absent = {name for name, module in sys.modules.items() if module is None}
    return (dict(os.environ), os.getcwd(), list(warnings.filters), locale.setlocale(locale.LC_ALL),
            str(decimal.getcontext()), list(sys.path), list(sys.meta_path), sys.excepthook,
            sys.getrecursionlimit(), handlers, absent)
before, modules = state(), set(sys.modules)
import billing_lib
assert state() == before
heavy = {name.partition(".")[0] for name in set(sys.modules) - modules}
print(*sorted(heavy - set(sys.stdlib_module_names)))
import rfc3987_syntax
"""


def test_importing_loads_no_library_and_changes_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["billing_lib"]


TYPED = """
from pathlib import Path

import polars as pl

from billing_lib import (
    BillingError, Issued, Loaded, RatedPeriod, Reproduction, Site, Verification, __version__,
    open_site, quote, reproduce, verify,
)

version: str = __version__
site: Site = open_site("core", new=True)
loaded: list[Loaded] = site.load([Path("usage.csv"), "more.csv"])
rated: RatedPeriod = site.rate("2025-09", again=True)
charges: pl.DataFrame = site.charges("2025-09", project="cells")
told: list[str] = site.adjust("MIC/2", {"quantity": "10"}, "broken")
issued: Issued = site.issue("2025-09", date="2025-10-02")
checked: list[Verification] = [verify(issued.record), site.verify(issued.numbers[0])]
again: Reproduction = reproduce(issued.record)
try:
    quote("what-if.yml")
except BillingError as error:
    what: str = error.what
site.rate(2025)
"""


def test_a_script_that_uses_it_is_checked_by_its_types(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(TYPED)
    settings = [f"--config-file={ROOT / 'pyproject.toml'}", f"--cache-dir={ROOT / '.mypy_cache'}"]
    mypy = [sys.executable, "-m", "mypy", "--strict", *settings]
    done = subprocess.run(
        [*mypy, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    wrong = 'script.py:24: error: Argument 1 to "rate" of "Site" has incompatible type "int"'
    assert done.stdout.startswith(wrong), done.stdout + done.stderr
    assert "Found 1 error in 1 file" in done.stdout


def test_a_folder_that_is_no_site_and_a_facility_that_is_not_named(tmp_path: Path) -> None:
    with pytest.raises(NoSite, match="is no site"):
        open_site(tmp_path / "nowhere")
    site = open_site(tmp_path / "core", new=True)
    assert open_site(tmp_path / "core", new=True).settings == site.settings
    assert site.charges("2025-09").is_empty()
    example = tmp_path / "core" / "parameters" / "example.yml"
    text = example.read_text().replace("code: MIC", "code: SEQ")
    example.with_name("sequencing.yml").write_text(text)
    with pytest.raises(InvalidFilter, match="there are 2 price books here: MIC, SEQ"):
        site.rate("2025-09")
    assert site.rate("2025-09", "SEQ").sentence.startswith("SEQ 2025-09: 0 records")
    with pytest.raises(BillingError, match="nothing"):
        site.charges("2025-09", "MIC", view="nothing")
