"""The copies of notebooks that staff work in: parameters set, signed, kept while they are good."""

from pathlib import Path

import nbformat
import pytest
from nbformat.sign import NotebookNotary

from billing_lib.workflow.notebooks import GENERAL, MONTHLY, open_home, open_month, open_notebook


@pytest.fixture(autouse=True)
def own_notary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signatures are kept apart from those of who runs the tests."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))


def test_a_months_notebooks_have_its_parameters(tmp_path: Path) -> None:
    paths = open_month(tmp_path, "MIC", "2020-04")
    assert list(paths) == list(MONTHLY)
    assert paths["review"] == "MIC/2020-04/review-MIC-2020-04.ipynb"
    copy = nbformat.read(tmp_path / paths["review"], as_version=4)
    stated: dict[str, object] = {}
    exec(copy.cells[1].source, stated)
    assert (stated["facility"], stated["period"]) == ("MIC", "2020-04")
    assert "# the facility's code" in copy.cells[1].source


def test_a_copy_is_trusted_and_marked_to_run(tmp_path: Path) -> None:
    copy = nbformat.read(tmp_path / open_home(tmp_path), as_version=4)
    assert NotebookNotary().check_signature(copy)
    assert copy.metadata["billing"]["run_when_opened"] is True
    copy.cells[1].source = "import os"
    assert not NotebookNotary().check_signature(copy)


def test_home_brings_the_general_notebooks(tmp_path: Path) -> None:
    assert open_home(tmp_path) == "home.ipynb"
    assert {path.stem for path in tmp_path.glob("*.ipynb")} == {"home", *GENERAL}


def test_what_was_run_in_a_copy_is_kept(tmp_path: Path) -> None:
    path = tmp_path / open_notebook(tmp_path, "review", {"facility": "MIC"}, "MIC")
    copy = nbformat.read(path, as_version=4)
    copy.cells.append(nbformat.v4.new_markdown_cell("my remark"))
    nbformat.write(copy, path)
    open_notebook(tmp_path, "review", {"facility": "MIC"}, "MIC")
    assert "my remark" in path.read_text("utf-8")
    copy.metadata["billing"]["version"] = "an older one"
    nbformat.write(copy, path)
    open_notebook(tmp_path, "review", {"facility": "MIC"}, "MIC")
    assert "my remark" not in path.read_text("utf-8")


def test_a_parameter_cannot_become_code(tmp_path: Path) -> None:
    nasty = 'x"; import os #'
    path = tmp_path / open_notebook(tmp_path, "review", {"facility": nasty})
    stated: dict[str, object] = {}
    exec(nbformat.read(path, as_version=4).cells[1].source, stated)
    assert stated["facility"] == nasty
    assert "os" not in stated
