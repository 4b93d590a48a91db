"""The program in a record: proven by hashes alone, refused where anything of it was changed."""

import gzip
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from small_run import git

from billing_lib.audit.program_source import (
    ProgramSource,
    prove_source,
    read_program,
    write_program,
)
from billing_lib.documents import pdf
from billing_lib.errors import InvalidRecord
from billing_lib.program import OBJECTS, SOURCE, pack_source

FONT = "billing_lib/documents/fonts/NotoSansThai.ttf"


@pytest.fixture(scope="module")
def commit(clone: Path) -> str:
    return git(clone, "rev-parse", "HEAD")


@pytest.fixture(scope="module")
def held(clone: Path, commit: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record's ``data/`` with the program alone; do not change it."""
    data = tmp_path_factory.mktemp("held")
    write_program(data, clone, commit)
    return data


@pytest.fixture(scope="module")
def source(held: Path, commit: str) -> ProgramSource:
    source = read_program(held, commit)
    assert source is not None
    return source


@pytest.fixture(scope="module")
def objects(held: Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in (held / "program" / OBJECTS).iterdir()}


def test_the_source_is_the_commits_as_git_has_it(
    clone: Path, source: ProgramSource, tmp_path: Path
) -> None:
    source.write(tmp_path / "source")
    held = tmp_path / "source"
    for name in ("billing_lib/program.py", "notebooks/issue.ipynb", "uv.lock", "scripts/uv.txt"):
        committed = subprocess.run(
            ["git", "cat-file", "blob", f"HEAD:{name}"], cwd=clone, capture_output=True, check=True
        )
        assert (held / name).read_bytes() == committed.stdout
    assert not (held / "tests").exists()
    assert not (held / FONT).parent.exists()


def test_packing_again_gives_the_same_bytes(clone: Path, commit: str, held: Path) -> None:
    pack_source.cache_clear()
    write_program(again := held.with_name("again"), clone, commit)
    assert (again / "program" / SOURCE).read_bytes() == (held / "program" / SOURCE).read_bytes()


def test_git_alone_proves_the_same(held: Path, commit: str, tmp_path: Path) -> None:
    """As docs/audit-record.md says, in an empty repository."""
    program, repository = held / "program", tmp_path / "proof"
    git(tmp_path, "init", "--quiet", str(repository))
    for path in (program / OBJECTS).iterdir():
        words = ("hash-object", "-w", "-t", path.suffix[1:], str(path))
        assert git(repository, *words) == path.stem
    assert (program / OBJECTS / f"{commit}.commit").is_file()
    with tarfile.open(program / SOURCE) as archive:
        archive.extractall(repository, filter="data")
    git(repository, "add", "--force", ".")
    own = git(repository, "write-tree")
    differing = {
        f"{folder}{line.split()[-1]}": line.split()[4]
        for folder in ("", "billing_lib/", "billing_lib/documents/", "scripts/")
        for line in git(
            repository, "diff-tree", f"{own}:{folder}", f"{commit}:{folder}"
        ).splitlines()
    }
    changed = {name for name, kind in differing.items() if kind != "A"}
    assert changed == {"billing_lib", "billing_lib/documents", "scripts"}  # looked into
    named = {name for name in differing if name.startswith(("billing_lib/", "notebooks", "uv"))}
    assert named == {"billing_lib/documents", "billing_lib/documents/fonts"}


CHANGES = {
    "a file's content": ("billing_lib/program.py", b"changed"),
    "a file of a folder whose tree is held": ("billing_lib/settings.py", b"changed"),
    "a notebook": ("notebooks/issue.ipynb", b"{}"),
    "the lock": ("uv.lock", b""),
    "a file that is not the commit's": ("billing_lib/pricing/zz.py", b""),
    "a file beside": ("sitecustomize.py", b""),
    "a file in place of a folder": ("docs", b""),
    "a font": (FONT, b"no font"),
    "a missing file": ("billing_lib/errors.py", None),
    "a missing file of a folder": ("billing_lib/pricing/money.py", None),
    "a missing folder": ("notebooks/", None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_files_are_refused(
    source: ProgramSource, objects: dict[str, bytes], commit: str, change: str
) -> None:
    name, content = CHANGES[change]
    files = {path: held for path, held in source.files.items() if not path.startswith(name)}
    if content is not None:
        files[name] = content
    fault = prove_source(commit, objects, files, source.executable)
    assert fault is not None
    assert name.partition("/")[0] in fault


def test_a_changed_mode_is_refused(
    source: ProgramSource, objects: dict[str, bytes], commit: str
) -> None:
    for name in ("uv.lock", "billing_lib/pricing/money.py"):
        fault = prove_source(commit, objects, source.files, {*source.executable, name})
        assert fault in (
            f"{name} is not the commit's",
            "the files in billing_lib/pricing/ are not the commit's",
        )


def test_changed_objects_are_refused(
    source: ProgramSource, objects: dict[str, bytes], commit: str
) -> None:
    for name, content in objects.items():
        changed = objects | {name: content + b"\n"}
        fault = prove_source(commit, changed, source.files, source.executable)
        assert fault is not None and name in fault
        fewer = {other: held for other, held in objects.items() if other != name}
        assert prove_source(commit, fewer, source.files, source.executable) is not None
    assert prove_source("0" * 40, objects, source.files, source.executable) is not None


def _archive(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for entry, content in entries:
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return written.getvalue()


def _odd_entry(name: str, kind: bytes) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, "/etc/passwd"
    return gzip.compress(_archive((entry, b"")))


ARCHIVES = {
    "no archive": b"text",
    "a cut archive": gzip.compress(b"\0" * 10240)[:-8],
    "a path that leads out": _odd_entry("../out", tarfile.REGTYPE),
    "an absolute path": _odd_entry("/tmp/out", tarfile.REGTYPE),
    "a repository": _odd_entry(".git/config", tarfile.REGTYPE),
    "a link": _odd_entry("uv.lock", tarfile.SYMTYPE),
    "a hard link": _odd_entry("uv.lock", tarfile.LNKTYPE),
    "a pipe": _odd_entry("uv.lock", tarfile.FIFOTYPE),
}


@pytest.mark.parametrize("archive", [*ARCHIVES, "a bomb"])
def test_odd_archives_are_refused_in_memory(
    held: Path, commit: str, tmp_path: Path, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(held / "program", tmp_path / "program")
    monkeypatch.setattr("billing_lib.audit.program_source.LARGEST", 10_000_000)
    content = ARCHIVES.get(archive) or gzip.compress(bytes(11_000_000))
    (tmp_path / "program" / SOURCE).write_bytes(content)
    with pytest.raises(InvalidRecord, match="the program's source cannot be read"):
        read_program(tmp_path, commit)


def test_a_record_holds_the_fonts_that_its_documents_use(
    clone: Path, commit: str, tmp_path: Path
) -> None:
    """Thai and Chinese, and no other of the twenty megabytes of fonts."""
    (tmp_path / "documents").mkdir()
    drawn = pdf._compile("probe.typ", {"text": "ไทย 中文 Ω", "han": "SC"}, {}, noto=True)
    (tmp_path / "documents" / "1.pdf").write_bytes(drawn)
    write_program(tmp_path, clone, commit)
    held = {path.name for path in (tmp_path / "program" / "fonts").iterdir()}
    assert held == {"NotoSansThai.ttf", "NotoSansCJK-Regular.ttc"}
    source = read_program(tmp_path, commit)
    assert source is not None and FONT in source.files
