"""A real audit record: a notebook run by papermill at a commit of this project, and sealed."""

import os
import shutil
from pathlib import Path

import pytest
from signing_key import new_key
from small_run import PROJECT, commit_notebook, git, issue


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of billing's from outside, and a database that is nowhere."""
    for name in os.environ:
        if name.startswith("BILLING_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BILLING_DATABASE", "postgresql+psycopg://nobody@localhost:1/nowhere")


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This project's last commit with the small notebook, clean; do not change."""
    folder = tmp_path_factory.mktemp("project") / "clone"
    git(PROJECT, "clone", "--quiet", str(PROJECT), str(folder))
    commit_notebook(folder)
    return folder


@pytest.fixture
def repository(clone: Path, tmp_path: Path) -> Path:
    """A clone to be changed."""
    folder = tmp_path / "repository"
    git(clone, "clone", "--quiet", str(clone), str(folder))
    return folder


@pytest.fixture(scope="session")
def signing_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private SSH key without passphrase, made for this test run."""
    return new_key(tmp_path_factory.mktemp("key") / "signing")


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory, signing_key: Path, clone: Path) -> Path:
    """A signed record; do not change it."""
    folder = tmp_path_factory.mktemp("runs") / "MIC" / "2020-04" / "MIC-2020-04-1"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BILLING_SIGNING_KEY", str(signing_key))
        return issue(folder, clone)


@pytest.fixture
def record(sealed: Path, tmp_path: Path) -> Path:
    """A copy of the record in another folder, to be changed."""
    copy = tmp_path / "archived elsewhere" / sealed.name
    shutil.copytree(sealed, copy)
    return copy
