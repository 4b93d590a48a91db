"""Provenance: the program that computes and its difference from its commit; the price book."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from small_run import files, git

from billing_lib.audit.provenance import (
    BUILD_ID,
    PriceBookOrigin,
    packages,
    provenance,
    require_clean,
)
from billing_lib.errors import DirtyTree, InvalidRecord
from billing_lib.workflow.load import BookFile


def test_a_clean_tree_is_of_its_commit(clone: Path) -> None:
    origin = provenance(clone)
    assert origin.commit == git(clone, "rev-parse", "HEAD")
    assert (origin.dirty, origin.changed, origin.diff) == (False, (), b"")
    assert origin.container == "none"
    assert origin.lock_sha256 == hashlib.sha256((clone / "uv.lock").read_bytes()).hexdigest()
    assert origin.python == f"CPython {sys.version.split()[0]}"
    assert {"polars", "papermill"} <= origin.packages.keys()
    require_clean(origin, allow_dirty=False)


def test_the_environment_is_written_with_sorted_keys(clone: Path) -> None:
    text = provenance(clone).environment_json()
    stated = json.loads(text)
    assert list(stated) == sorted(stated)
    assert list(stated["packages"]) == sorted(stated["packages"])
    assert (stated["dirty"], stated["diff_sha256"]) == (False, None)
    assert text.endswith("}\n")


def test_changed_deleted_and_new_files_are_in_the_diff(repository: Path, tmp_path: Path) -> None:
    (repository / "notebooks" / "issue.ipynb").write_text("changed\n")
    (repository / "environment.yml").unlink()
    (repository / "billing_lib" / "new folder").mkdir()
    (repository / "billing_lib" / "new folder" / "picture.bin").write_bytes(bytes(range(256)))
    (repository / "billing_lib" / "__pycache__").mkdir()
    (repository / "billing_lib" / "__pycache__" / "ignored").write_text("x")
    origin = provenance(repository)
    assert origin.changed == (
        "billing_lib/new folder/picture.bin",
        "environment.yml",
        "notebooks/issue.ipynb",
    )
    stated = json.loads(origin.environment_json())
    assert stated["diff_sha256"] == hashlib.sha256(origin.diff).hexdigest()
    again = tmp_path / "again"
    git(repository, "clone", "--quiet", str(repository), str(again))
    subprocess.run(["git", "apply", "-"], cwd=again, input=origin.diff, check=True)
    assert provenance(again).diff == origin.diff
    picture = again / "billing_lib" / "new folder" / "picture.bin"
    assert picture.read_bytes() == bytes(range(256))


def test_a_sites_files_in_the_clone_are_no_part_of_the_program(repository: Path) -> None:
    book = repository / "parameters" / "research-computing.yml"
    book.write_text(book.read_text().replace('"0.12"', '"0.13"'))
    (repository / "parameters" / "microscopy.yml").write_text("facility: {}\n")
    (repository / "README.md").write_text("changed\n")
    for name in ("ledger.db", "data/usage.csv", "runs/note.txt"):
        (repository / name).write_bytes(bytes(1000))
    origin = provenance(repository)
    assert (origin.changed, origin.diff) == ((), b"")
    require_clean(origin, allow_dirty=False)


def book_of(folder: Path, text: str) -> BookFile:
    path = folder / "microscopy.yml"
    path.write_text(text)
    return BookFile(path, hashlib.sha256(text.encode()).hexdigest())


def test_a_price_book_is_named_by_file_hash_and_commit(clone: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    first = book_of(site, "prices: 1\n")
    stated = provenance(clone, first).price_book
    assert stated == PriceBookOrigin("microscopy.yml", first.sha256)
    git(site, "init", "--quiet")
    assert provenance(clone, first).price_book == stated  # no commit yet
    git(site, "commit", "--quiet", "--allow-empty", "--message", "A site")
    commit = git(site, "rev-parse", "HEAD")
    assert provenance(clone, first).price_book == replace(stated, commit=commit, changed=True)
    git(site, "add", "microscopy.yml")
    git(site, "commit", "--quiet", "--message", "A price book")
    commit = git(site, "rev-parse", "HEAD")
    assert provenance(clone, first).price_book == replace(stated, commit=commit, changed=False)
    origin = provenance(clone, book_of(site, "prices: 2\n"))
    assert origin.price_book is not None
    assert (origin.price_book.commit, origin.price_book.changed) == (commit, True)
    assert not origin.dirty
    require_clean(origin, allow_dirty=False)
    written = json.loads(origin.environment_json())["price_book"]
    assert written["file"] == "microscopy.yml"
    assert written["sha256"] == hashlib.sha256(b"prices: 2\n").hexdigest()


def test_what_cannot_be_told_of_an_installation_is_refused_even_if_allowed(clone: Path) -> None:
    origin = replace(provenance(clone), changed=("billing_lib/batch/issuing.py",), diff=None)
    for allowed in (False, True):
        with pytest.raises(
            DirtyTree, match=r"not as they were installed: billing_lib/batch/issuing\.py"
        ):
            require_clean(origin, allow_dirty=allowed)


def test_a_file_that_git_was_told_to_overlook_is_seen(repository: Path) -> None:
    git(repository, "update-index", "--assume-unchanged", "billing_lib/pricing/money.py")
    (repository / "billing_lib" / "pricing" / "money.py").write_text("# cheaper\n")
    assert git(repository, "status", "--porcelain") == ""
    assert provenance(repository).changed == ("billing_lib/pricing/money.py",)


def test_the_users_git_configuration_does_not_change_the_diff(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "Dockerfile").write_text("changed\n")
    before = provenance(repository)
    config = tmp_path / "gitconfig"
    config.write_text(
        "[diff]\nnoprefix = true\nexternal = false\n[color]\nui = always\n"
        "[status]\nshowUntrackedFiles = no\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    assert provenance(repository) == before


def test_the_repository_is_not_written_to(repository: Path) -> None:
    (repository / "notebooks" / "new.ipynb").write_text("{}\n")
    before = files(repository / ".git")
    assert provenance(repository).changed == ("notebooks/new.ipynb",)
    assert files(repository / ".git") == before


def test_a_hooks_variables_do_not_lead_to_another_tree(
    clone: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "Dockerfile").write_text("changed\n")
    monkeypatch.setenv("GIT_DIR", str(repository / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(repository))
    monkeypatch.setenv("GIT_INDEX_FILE", str(repository / ".git" / "index"))
    assert provenance(clone).changed == ()


def test_a_changed_tree_is_refused_by_the_names_of_its_files(repository: Path) -> None:
    for name in ("a.py", "b.py", "c.py", "d.py"):
        (repository / "billing_lib" / name).write_text("new\n")
    origin = provenance(repository)
    with pytest.raises(DirtyTree) as refused:
        require_clean(origin, allow_dirty=False)
    assert str(refused.value) == (
        f"files of the program differ from commit {origin.commit[:12]}: billing_lib/a.py, "
        "billing_lib/b.py, billing_lib/c.py and 1 more; "
        "commit them, or allow changed files, which the record will say"
    )
    require_clean(origin, allow_dirty=True)


def installed(tmp_path: Path) -> Path:
    """The program's tree as an image has it: no repository, the lock file beside it."""
    tree = tmp_path / "opt"
    tree.mkdir()
    (tree / "uv.lock").write_text("version = 1\n")
    return tree


BUILD = "0123456789abcdef" * 2


def test_inside_an_image_its_launcher_tells_commit_and_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, tree = f"office/billing@sha256:{'a' * 64}", installed(tmp_path)
    (tree / BUILD_ID).write_text(f"{BUILD}\n")
    for name, value in {
        "COMMIT": "b" * 40,
        "IMAGE": image,
        "IMAGE_BUILD": BUILD,
        "IMAGE_TOLD_BY": "scripts/image.sh, by podman 4.3",
    }.items():
        monkeypatch.setenv(f"BILLING_{name}", value)
    origin = provenance(tree)
    assert (origin.commit, origin.container, origin.dirty) == ("b" * 40, image, False)
    stated = json.loads(origin.environment_json())
    assert stated["container_build"] == BUILD
    assert stated["container_told_by"] == "scripts/image.sh, by podman 4.3"


@pytest.mark.parametrize(
    ("inside", "told", "what"),
    [
        (None, BUILD, "and the program does not run in one"),
        ("", BUILD, "and the program does not run in one"),
        (BUILD, None, f"build id unknown, and this image has {BUILD}"),
        (BUILD, "ab" * 16, f"build id {'ab' * 16}, and this image has {BUILD}"),
    ],
)
def test_an_invented_digest_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str | None, told: str | None, what: str
) -> None:
    tree = installed(tmp_path)
    if inside is not None:
        (tree / BUILD_ID).write_text(f"{inside}\n")
    monkeypatch.setenv("BILLING_COMMIT", "b" * 40)
    monkeypatch.setenv("BILLING_IMAGE", f"office/billing@sha256:{'a' * 64}")
    if told is not None:
        monkeypatch.setenv("BILLING_IMAGE_BUILD", told)
    with pytest.raises(InvalidRecord, match=what):
        provenance(tree)


@pytest.mark.parametrize("commit", [None, "", "HEAD", "b" * 39, "B" * 40])
def test_without_a_full_commit_there_is_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commit: str | None
) -> None:
    if commit is not None:
        monkeypatch.setenv("BILLING_COMMIT", commit)
    with pytest.raises(InvalidRecord, match=r"could name no commit; .*BILLING_COMMIT"):
        provenance(installed(tmp_path))


def test_a_repository_without_a_commit_is_refused(tmp_path: Path) -> None:
    tree = installed(tmp_path)
    git(tree, "init", "--quiet")
    with pytest.raises(InvalidRecord, match=r"git cannot read the commit \(fatal: "):
        provenance(tree)


def test_a_tree_without_its_lock_is_refused(repository: Path) -> None:
    (repository / "uv.lock").unlink()
    with pytest.raises(InvalidRecord, match=r"has no uv\.lock"):
        provenance(repository)


@pytest.mark.parametrize(
    "image",
    ["office/billing:latest", "sha256:" + "a" * 64, "x@sha256:abc", "", "-v@sha256:" + "a" * 64],
)
def test_an_image_that_is_no_digest_is_refused(
    clone: Path, monkeypatch: pytest.MonkeyPatch, image: str
) -> None:
    monkeypatch.setenv("BILLING_IMAGE", image)
    with pytest.raises(InvalidRecord, match="names no image by digest"):
        provenance(clone)


def test_of_a_package_installed_twice_the_first_counts(tmp_path: Path) -> None:
    stated = [("a", "Zope.Event", "2.0"), ("b", "zope-event", "1.0"), ("c", "Abc_d", "3")]
    found = []
    for folder, name, version in stated:
        path = tmp_path / folder / "x.dist-info"
        path.mkdir(parents=True)
        (path / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
        found.append(PathDistribution(path))
    broken = tmp_path / "broken.dist-info"
    broken.mkdir()
    assert packages([*found, PathDistribution(broken)]) == {"abc-d": "3", "zope-event": "2.0"}
    assert list(packages(found)) == ["abc-d", "zope-event"]
