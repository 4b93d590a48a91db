"""Reproducing: the same cents years later, without a ledger; a cent more is shown by its line."""

import json
import re
import shutil
import tempfile
from pathlib import Path

import polars as pl
import pytest
from small_run import files, git, issue, rebuild_manifests

from billing_lib.audit import known
from billing_lib.audit import reproduce as reproducing
from billing_lib.audit.bag import SIGNATURE
from billing_lib.audit.comparison import Difference
from billing_lib.audit.known import Known
from billing_lib.audit.reproduce import ChangedProgram, changes_sentence, reproduce
from billing_lib.audit.sandbox import sandbox_kind
from billing_lib.audit.verify import verify
from billing_lib.errors import InvalidRecord
from billing_lib.workflow.steps import Stopped

FIRST = "invoices/MIC-2020-00001.json"
DOCUMENTS = ("documents/MIC-2020-00001.html", "documents/MIC-2020-00001.pdf")
EXECUTED = "notebook/issue.executed.ipynb"


def by_file(differences: tuple[Difference, ...]) -> dict[str, str]:
    return {found.file: "\n".join(found.lines) for found in differences}


def restate(record: Path, **changed: object) -> None:
    """Write other words into a record's environment.json, and hide it."""
    path = record / "data" / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    for key, line in (("commit", "Billing-Commit"), ("container", "Billing-Container")):
        if key in changed:
            info = record / "bag-info.txt"
            info.write_text(re.sub(f"{line}: .*", f"{line}: {changed[key]}", info.read_text()))
    if "commit" in changed:
        crate = record / "data" / "ro-crate-metadata.json"
        crate.write_text(re.sub(r'("version": )"[0-9a-f]{40}"', rf'\1"{changed["commit"]}"',
                                crate.read_text()))  # fmt: skip
    (record / SIGNATURE).unlink(missing_ok=True)
    rebuild_manifests(record)


@pytest.fixture
def aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "aside"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_copied_record_comes_out_the_same_without_a_ledger(
    record: Path, clone: Path, aside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = files(record)
    reproduction = reproduce(record, known=Known(repository=clone))
    assert reproduction.differences == ()
    assert reproduction.environment == (
        f"sandboxed by {sandbox_kind()}; the record names no container; the packages here are "
        "those of the recorded lock"
    )
    assert files(record) == before
    assert list(aside.iterdir()) == []


def test_it_tells_how_far_it_is_and_stops_while_the_notebook_runs(
    record: Path, clone: Path, aside: Path
) -> None:
    told: list[str] = []

    def step(done: int, total: int, what: str) -> None:
        told.append(what)
        assert done < total
        if what.startswith("running"):
            raise Stopped("stopped")

    with pytest.raises(Stopped):
        reproduce(record, known=Known(repository=clone), step=step)
    assert told == [
        "verifying the record",
        "making its environment",
        "running the commit's notebooks again",
    ]
    assert list(aside.iterdir()) == []
    assert verify(record).findings == []


def test_a_cent_more_in_the_snapshot_passes_verify_and_shows_its_line(
    record: Path, clone: Path
) -> None:
    path = record / "data" / "snapshot" / "usage.parquet"
    usage = pl.read_parquet(path)
    more = pl.when(pl.col("record") == "u2").then(126).otherwise(pl.col("price"))
    usage.with_columns(more.cast(pl.Int64).alias("price")).write_parquet(path)
    (record / SIGNATURE).unlink()
    rebuild_manifests(record)
    assert verify(record).findings == []
    found = by_file(reproduce(record, known=Known(repository=clone)).differences)
    assert set(found) == {FIRST, *DOCUMENTS, EXECUTED}
    assert (
        '-        "total": "12.50",\n+        "total": "12.60",' in found[FIRST]
    )  # 10 × 1.25 and 10 × 1.26
    assert '-    "total": "132.50"\n+    "total": "132.60"' in found[FIRST]
    assert "('u2', 1250)" in found[EXECUTED]
    assert "('u2', 1260)" in found[EXECUTED]


def test_what_was_displayed_and_what_was_sent_are_compared_too(record: Path, clone: Path) -> None:
    data = record / "data"
    shown, (page, pdf) = data / EXECUTED, (data / name for name in DOCUMENTS)
    shown.write_text(shown.read_text().replace("('u3', 1250)", "('u3', 9250)"))
    page.write_text(page.read_text().replace("132.50", "132.05"))
    pdf.write_bytes(pdf.read_bytes().replace(b"132.50", b"132.05"))
    (record / SIGNATURE).unlink()
    rebuild_manifests(record)
    assert verify(record).findings == []
    found = by_file(reproduce(record, known=Known(repository=clone)).differences)
    assert set(found) == {EXECUTED, *DOCUMENTS}
    assert "('u3', 9250)" in found[EXECUTED]
    assert (
        "-<p>MIC-2020-00001: 132.05 USD</p>\n+<p>MIC-2020-00001: 132.50 USD" in found[DOCUMENTS[0]]
    )
    assert found[DOCUMENTS[1]] == "the bytes are not the same (41 and 41 bytes)"


def test_nothing_of_a_record_with_a_fault_is_run(record: Path, clone: Path, aside: Path) -> None:
    path = record / "data" / FIRST
    path.write_bytes(path.read_bytes().replace(b"132.50", b"132.51"))
    refused = rf"nothing was run: .*data/{FIRST}: it does not match its sha256"
    with pytest.raises(InvalidRecord, match=refused):
        reproduce(record, known=Known(repository=clone))
    (record / SIGNATURE).unlink()
    notebook = record / "data" / "notebook" / "issue.ipynb"
    notebook.write_text(notebook.read_text().replace("# A bill", "# A forged bill"))
    rebuild_manifests(record)
    with pytest.raises(InvalidRecord, match=r"nothing was run: .*it is not the commit's"):
        reproduce(record, known=Known(repository=clone))
    assert list(aside.iterdir()) == []


def test_a_notebook_that_fails_is_a_difference_that_names_cell_and_error(
    record: Path, clone: Path
) -> None:
    (record / "data" / "snapshot" / "usage.parquet").write_bytes(b"no parquet")
    (record / SIGNATURE).unlink()
    rebuild_manifests(record)
    found = by_file(reproduce(record, known=Known(repository=clone)).differences)
    assert "the notebook fails now\nin cell 3: ComputeError: " in found["notebook/issue.ipynb"]


def test_a_kernel_that_cannot_start_is_no_difference_of_the_record(
    record: Path, clone: Path
) -> None:
    parameters = record / "data" / "parameters.yml"
    parameters.write_text("[")  # papermill ends before it starts a kernel
    (record / SIGNATURE).unlink()
    rebuild_manifests(record)
    with pytest.raises(InvalidRecord, match=r"this environment, not .*the notebook was not exec"):
        reproduce(record, known=Known(repository=clone))


def test_the_code_is_that_of_the_commit_with_the_recorded_diff(
    repository: Path, tmp_path: Path
) -> None:
    program = repository / "billing_lib" / "__init__.py"
    program.write_text("from billing_lib.name import NAME\n\n__doc__ = NAME\n")
    (repository / "billing_lib" / "name.py").write_text('NAME = "a changed program"\n')
    dirty = issue(tmp_path / "dirty", repository)
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "A change")
    clean = issue(tmp_path / "clean", repository)
    (repository / "billing_lib" / "name.py").write_text('NAME = "a later program"\n')
    git(repository, "commit", "--quiet", "--all", "--message", "Another")
    knows = Known(repository=repository)
    size = (dirty / "data" / "source.diff").stat().st_size
    changes = f"issued from changed files: {size:,} bytes of difference from the commit "
    assert str(changes_sentence(dirty)).startswith(changes)
    assert changes_sentence(clean) is None
    with pytest.raises(ChangedProgram, match=f"nothing was run: it was {changes}"):
        reproduce(dirty, known=knows)
    for record in (dirty, clean):
        assert "a changed program" in (record / "data" / FIRST).read_text()
        assert reproduce(record, known=knows, accept_changes=True).differences == ()
    stated = json.loads((dirty / "data" / "environment.json").read_text())
    assert stated["dirty"]
    assert stated["changed"] == ["billing_lib/__init__.py", "billing_lib/name.py"]
    (dirty / "data" / "source.diff").write_text("another\n")
    rebuild_manifests(dirty)
    with pytest.raises(InvalidRecord, match="not the one that was recorded"):
        reproduce(dirty, known=knows, accept_changes=True)


def test_a_difference_that_makes_a_link_is_refused(tmp_path: Path) -> None:
    diff = (
        b"diff --git a/notebooks/issue.ipynb b/notebooks/issue.ipynb\nnew file mode 120000\n"
        b"--- /dev/null\n+++ b/notebooks/issue.ipynb\n@@ -0,0 +1 @@\n+/etc/passwd\n"
        b"\\ No newline at end of file\n"
    )
    with pytest.raises(InvalidRecord, match=r"makes a link of notebooks/issue\.ipynb"):
        known.apply_difference(diff, tmp_path)


def test_links_that_a_program_leaves_are_not_followed(repository: Path, tmp_path: Path) -> None:
    (repository / "billing_lib" / "__init__.py").write_text(
        '"""A program."""\n\nimport os\n\n'
        "if 'billing-reproduce' in os.getcwd():\n"
        "    os.symlink('/etc/passwd', 'notebook/left')\n"
    )
    git(repository, "commit", "--quiet", "--all", "--message", "Leave a link")
    record = issue(tmp_path / "record", repository)
    with pytest.raises(InvalidRecord, match="made a link or a pipe of notebook/left"):
        reproduce(record)


def test_another_python_with_the_same_packages_is_said(record: Path, clone: Path) -> None:
    restate(record, python="CPython 3.11.0", container=f"office/billing@sha256:{'0' * 64}")
    reproduction = reproduce(record, known=Known(repository=clone))
    assert reproduction.differences == ()
    assert "is not here; only the packages here are those of the" in reproduction.environment
    assert "then under CPython 3.11.0)" in reproduction.environment


def test_other_packages_here_make_an_environment_from_the_lock(record: Path, clone: Path) -> None:
    restate(record, packages={"polars": "0.1"})
    reproduction = reproduce(record, known=Known(repository=clone))
    assert reproduction.differences == ()
    assert reproduction.environment.endswith("an environment was made from the recorded lock")
    assert git(clone, "status", "--porcelain") == ""


def test_packages_that_nobody_can_install_are_named_and_run_all_the_same(
    record: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restate(record, packages={"polars": "0.1"})
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(InvalidRecord, match=r"polars is .* here and was 0\.1; uv cannot install"):
        reproduce(record, strict=True)
    reproduction = reproduce(record)
    assert reproduction.differences == ()
    assert "the environment here is not the recorded lock's: polars is " in reproduction.environment


def without_program(record: Path) -> None:
    """Make it a record of an earlier version, which held no program."""
    shutil.rmtree(record / "data" / "program")
    restate(record)


def test_another_commit_than_that_of_its_program_is_refused(record: Path, clone: Path) -> None:
    restate(record, commit="0" * 40)
    with pytest.raises(InvalidRecord, match=f"the commit is not {'0' * 40}"):
        reproduce(record, known=Known(repository=clone))


def test_a_record_of_an_earlier_version_takes_its_program_from_a_clone(
    record: Path, clone: Path, tmp_path: Path
) -> None:
    without_program(record)
    assert reproduce(record, known=Known(repository=clone)).differences == ()
    restate(record, commit="0" * 40)
    with pytest.raises(InvalidRecord, match=f"does not have the record's commit {'0' * 40}"):
        reproduce(record, known=Known(repository=clone))
    with pytest.raises(InvalidRecord, match=f"commit {'0' * 40} is not in reach"):
        reproduce(record, known=Known(repository=tmp_path))


def test_where_no_repository_is_the_stated_commit_will_do(
    record: Path, clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_program(record)
    monkeypatch.setenv("BILLING_COMMIT", git(clone, "rev-parse", "HEAD"))
    for module in (known, reproducing):
        monkeypatch.setattr(module, "ROOT", clone)  # the tree of the running program
    assert reproduce(record, known=Known(repository=tmp_path)).differences == ()


@pytest.mark.parametrize(
    ("stated", "key"),
    [
        ({"commit": "--output=/tmp/x"}, "its commit is no full git hash"),
        ({"commit": "HEAD"}, "its commit is no full git hash"),
        ({"container": f"--privileged@sha256:{'0' * 64}"}, r".*\(container: "),
        ({"lock_sha256": "none"}, r".*\(lock_sha256: "),
        ({"python": "CPython --help"}, r".*\(python: "),
    ],
)
def test_an_environment_that_says_something_else_is_refused_by_key(
    record: Path, clone: Path, stated: dict[str, str], key: str
) -> None:
    restate(record, **stated)
    with pytest.raises(InvalidRecord, match=rf"environment\.json: {key}"):
        reproduce(record, known=Known(repository=clone))


def test_another_lock_than_the_commits_is_refused(record: Path, clone: Path) -> None:
    restate(record, lock_sha256="0" * 64)
    with pytest.raises(InvalidRecord, match=r"uv\.lock is not the one that the record names"):
        reproduce(record, known=Known(repository=clone))


@pytest.mark.parametrize("name", ["environment.json", "parameters.yml", "notebook/issue.ipynb"])
def test_a_record_without_what_the_run_needs_is_refused(
    record: Path, clone: Path, name: str
) -> None:
    (record / "data" / name).unlink()
    with pytest.raises(InvalidRecord, match=name):
        reproduce(record, known=Known(repository=clone))


def test_a_folder_that_is_no_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecord, match="no audit record"):
        reproduce(tmp_path)
