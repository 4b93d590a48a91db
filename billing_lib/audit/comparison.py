"""Comparing what a record holds with what running it again gave, line by line.

Results and documents are compared byte for byte; what the notebook displayed, by nbdime, so
that what was seen then is what is seen now.
"""

import difflib
import io
from dataclasses import dataclass
from pathlib import Path

import nbdime
import nbformat
from nbdime.prettyprint import PrettyPrintConfig, pretty_print_notebook_diff
from nbformat import NotebookNode

LINES = 40
"""How many lines of a difference are shown."""

TEXTS = (".json", ".html", ".xml", ".csv", ".txt")


@dataclass(frozen=True)
class Difference:
    """Something that came out otherwise.

    Attributes
    ----------
    file
        Its path in the record's data.
    lines
        The differing lines, archived (-) and now (+), or a sentence.
    """

    file: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n  ".join([f"{self.file} differs", *self.lines])


def compare_folders(archived: Path, now: Path, name: str) -> list[Difference]:
    """Differences between a folder of the record's data and the same one now."""
    before, after = _files(archived / name), _files(now / name)
    found = []
    for path in sorted(before | after):
        file = f"{name}/{path}"
        if path not in after:
            found.append(Difference(file, ("it is in the record, and was not made again",)))
        elif path not in before:
            found.append(Difference(file, ("it is not in the record, and was made now",)))
        elif before[path].read_bytes() != after[path].read_bytes():
            found.append(Difference(file, _lines(before[path], after[path])))
    return found


def compare_notebooks(archived: Path, now: Path, file: str) -> list[Difference]:
    """Differences between what two executed notebooks show."""
    before, after = _shown(archived), _shown(now)
    difference = nbdime.diff_notebooks(before, after)
    if not difference:
        return []
    out = io.StringIO()
    pretty_print_notebook_diff(
        "archived", "now", before, difference, PrettyPrintConfig(out=out, use_color=False)
    )
    return [Difference(file, _limited(out.getvalue().splitlines()))]


def _files(folder: Path) -> dict[str, Path]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in found}


def _lines(before: Path, after: Path) -> tuple[str, ...]:
    if before.suffix not in TEXTS:
        sizes = f"{before.stat().st_size:,} and {after.stat().st_size:,} bytes"
        return (f"the bytes are not the same ({sizes})",)
    was, now = (path.read_text(encoding="utf-8").splitlines() for path in (before, after))
    return _limited(list(difflib.unified_diff(was, now, "archived", "now", n=1, lineterm="")))


def _limited(lines: list[str]) -> tuple[str, ...]:
    more = len(lines) - LINES
    return (*lines[:LINES], f"… and {more:,} more lines") if more > 0 else tuple(lines)


def _shown(path: Path) -> NotebookNode:
    """A notebook as it is seen: sources and outputs, without ids, counts and timing."""
    notebook: NotebookNode = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)  # type: ignore[no-untyped-call]
    notebook.metadata = NotebookNode()
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = NotebookNode()
        if cell.cell_type == "code":
            cell.execution_count = None
            for output in cell.outputs:
                output.pop("execution_count", None)
                output.pop("metadata", None)
    return notebook
