"""The differences between an archived record and its repeated run, line by line.

    invoices/RC-1994-00001.json differs
      -  "total": "220.83"
      +  "total": "220.84"

Results and documents are compared byte for byte. Notebooks are compared by their sources and
displayed outputs, without ids, counts, times and addresses, which differ from run to run.
"""

import difflib
import filecmp
import json
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, ZipFile, is_zipfile

import nbformat
from nbformat import NotebookNode, ValidationError

from billing_lib.errors import count_of

LINES = 40
"""The most lines of a difference that are shown."""

_LARGEST = 8 << 20
"""The bytes of the largest text, and of the largest part of a package, that are shown by lines."""

TEXTS = (".json", ".html", ".xml", ".csv", ".txt")
PACKAGES = (".xlsx", ".zip")

_PASSING = (
    (re.compile(r"/[^\s'\"]*/ipykernel_\d+/\d+\.py"), "<cell>"),
    (re.compile(r"/[^\s'\"]*/(?=(?:billing_lib|site-packages)/)"), ""),
    (re.compile(r"(?<= at )0x[0-9a-f]+"), "<address>"),
)
"""Parts of displayed texts that depend on the machine and the process, not on the result."""


@dataclass(frozen=True)
class Difference:
    """A difference in one file.

    ``file`` is its path in the record's data, ``lines`` the differing lines, archived (-) and now
    (+), or a sentence.
    """

    file: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n  ".join([f"{self.file} differs", *self.lines])


def compare_folders(archived: Path, now: Path, name: str) -> list[Difference]:
    """The differences between a folder of the record's data and the same folder of the new run."""
    before, after = _files(archived / name), _files(now / name)
    differences = []
    for path in sorted(before | after):
        file = f"{name}/{path}"
        if path not in after:
            differences.append(Difference(file, ("it is in the record, and was not made again",)))
        elif path not in before:
            differences.append(Difference(file, ("it is not in the record, and was made now",)))
        elif not filecmp.cmp(before[path], after[path], shallow=False):
            differences.append(Difference(file, _lines(before[path], after[path])))
    return differences


def compare_notebooks(archived: Path, now: Path, file: str) -> list[Difference]:
    """The differences between the sources and displayed outputs of two executed notebooks."""
    try:
        before, after = _shown(archived), _shown(now)
    except (OSError, ValueError, ValidationError) as error:  # missing, not JSON, no notebook
        message = str(error).splitlines() or [""]
        return [Difference(file, (f"it cannot be read as a notebook ({message[0]})",))]
    if before == after:
        return []
    return [Difference(file, _limited(_unified(_displayed(before), _displayed(after))))]


def _files(folder: Path) -> dict[str, Path]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {path.relative_to(folder).as_posix(): path for path in files}


def _lines(before: Path, after: Path) -> tuple[str, ...]:
    if before.suffix in PACKAGES and is_zipfile(before) and is_zipfile(after):
        return _parts(before, after)
    large = max(before.stat().st_size, after.stat().st_size) > _LARGEST
    if large or before.suffix not in TEXTS:
        sizes = f"{before.stat().st_size:,} and {after.stat().st_size:,} bytes"
        return (f"the bytes are not the same ({sizes})",)
    was, now = (
        path.read_bytes().decode(errors="backslashreplace").splitlines() for path in (before, after)
    )
    lines = _unified(was, now)
    return _limited(lines) if lines else ("the lines are the same, but not how they end",)


def _unified(before: list[str], after: list[str]) -> list[str]:
    return list(difflib.unified_diff(before, after, "archived", "now", n=1, lineterm=""))


def _displayed(notebook: NotebookNode) -> list[str]:
    """The lines of a notebook: each cell's source, and each output by its kind."""
    lines = []
    for number, cell in enumerate(notebook.cells):
        lines += [f"cell {number} ({cell.cell_type}):", *cell.source.splitlines()]
        for output in cell.get("outputs", []):
            kind = output.output_type
            contents = output.get("data", {kind: {k: v for k, v in output.items() if k != "data"}})
            for name, content in sorted(contents.items()):
                text = content.get("text", content) if isinstance(content, dict) else content
                shown = (
                    text if isinstance(text, str) else json.dumps(text, sort_keys=True, indent=1)
                )
                lines += [f"cell {number} shows {name}:", *shown.splitlines()]
    return lines


def _parts(before: Path, after: Path) -> tuple[str, ...]:
    """A sentence on each differing part of a package: sheets, styles, properties of a workbook."""
    with ZipFile(before) as was, ZipFile(after) as now:
        names = sorted({*was.namelist(), *now.namelist()})
        differing = [name for name in names if _part(was, name) != _part(now, name)]
    lines = [f"the part {name} is not the same" for name in differing]
    return _limited(lines) if lines else ("its parts are the same, but not how they are packed",)


def _part(package: ZipFile, name: str) -> tuple[int, bytes] | None:
    """The size and the first bytes of a part; None if it is missing or damaged."""
    try:
        with package.open(name) as part:
            return package.getinfo(name).file_size, part.read(_LARGEST)
    except (KeyError, BadZipFile, zlib.error, EOFError):
        return None


def _limited(lines: list[str]) -> tuple[str, ...]:
    more = len(lines) - LINES
    return (*lines[:LINES], f"… and {count_of(more, 'more line')}") if more > 0 else tuple(lines)


def _shown(path: Path) -> NotebookNode:
    """A notebook's sources and outputs, without ids, counts, timing and paths."""
    notebook: NotebookNode = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    nbformat.validate(notebook)
    notebook.metadata = NotebookNode()
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = NotebookNode()
        if cell.cell_type == "code":
            cell.execution_count = None
            for output in cell.outputs:
                output.pop("execution_count", None)
                output.pop("metadata", None)
                _forget_passing(output)
    return notebook


def _forget_passing(output: NotebookNode) -> None:
    """Remove the parts of an output's texts that differ between machines and processes."""
    if "text" in output:
        output.text = _lasting(output.text)
    for kind, content in output.get("data", {}).items():
        if kind.startswith("text/") and isinstance(content, str):
            output.data[kind] = _lasting(content)


def _lasting(text: str) -> str:
    for pattern, instead in _PASSING:
        text = pattern.sub(instead, text)
    return text
