"""Files as bytes, lines and tables: opening, unpacking, hashing, and a reader's result.

    usage.csv.gz  →  UTF-8 text without byte order mark, lines ended by \n  →  line 7: "u6,slide,…"

Every file that a user names is opened by ``opened``, also price books, logos and texts: regular
files alone, for a FIFO or a device may never end, and none outside the folder that it must lie in.
How large a file and how wide a table may be is a setting, for few bytes may unpack to very many.

A text file may be gzipped under any name: its first two bytes tell. A reader of one kind of file
finds the fields, the place of each row and the malformed rows, and gives them as a SourceTable.
Items, projects and times are read from it in records.py, once for all kinds.

    job  wait  run  processors …   row   fault
    1    -1    1451 128            40
    2    -1    -1   128            41    invalid_time: the run time is unknown
"""

import gzip
import hashlib
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import IO

import polars as pl

from billing_lib.errors import UnreadableFile
from billing_lib.settings import anywhere

_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@contextmanager
def opened(path: Path, within: Path | None = None) -> Iterator[BufferedReader]:
    """Open a regular file for reading; ``within`` is a folder in which it must lie.

    Raises
    ------
    UnreadableFile
        There is no such file, it is not a regular one, or a link leads out of the folder.
    """
    try:
        if within is not None and not path.resolve().is_relative_to(within.resolve()):
            raise UnreadableFile(
                f"it lies outside of the folder {within}",
                where=str(path),
                remedy="put the file itself into the folder",
            )
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UnreadableFile(
                    "it is not a regular file",
                    where=str(path),
                    remedy="save what it gives as a file",
                )
            yield file
    except (OSError, ValueError) as error:
        raise _unopened(path, error) from error


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a FIFO waits for its writer


def _unopened(path: Path, error: OSError | ValueError) -> UnreadableFile:
    if isinstance(error, FileNotFoundError):
        return UnreadableFile("there is no such file", where=str(path), remedy="check its name")
    reason = (getattr(error, "strerror", None) or str(error) or "it cannot be read").lower()
    return UnreadableFile(f"it cannot be opened: {reason}", where=str(path), remedy="check it")


def read_plain(path: Path, within: Path | None = None) -> bytes:
    """A file's bytes as they are; parameters and refusals as in ``opened``."""
    with opened(path, within) as file:
        return read_within_limit(file, path.name)


def read_text(path: Path, within: Path | None = None) -> str:
    """A file's text in UTF-8 as it is; parameters and refusals as in ``opened``."""
    try:
        return read_plain(path, within).decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UnreadableFile(
            "the text is not UTF-8", where=f"{path}, line {line}", remedy="save it as UTF-8"
        ) from error


def read_within_limit(source: IO[bytes], name: str) -> bytes:
    """All bytes of a source; UnreadableFile if there are more than the settings allow."""
    most, read = anywhere().largest_file * 1_000_000, BytesIO()
    while piece := source.read(1 << 20):
        read.write(piece)
        require_size(read.tell(), most, name)
    return read.getvalue()


def require_size(size: int, most: int, name: str) -> None:
    """Raise UnreadableFile if a file's unpacked bytes are more than these."""
    if size > most:
        raise UnreadableFile(
            f"it holds more than {most // 1_000_000:,} MB, unpacked",
            where=name,
            remedy="split it, or raise the setting BILLING_LARGEST_FILE",
        )


def require_width(columns: int, name: str) -> None:
    """Raise UnreadableFile if a table has more columns than the settings allow."""
    most = anywhere().most_columns
    if columns > most:
        raise UnreadableFile(
            f"it has more than {most:,} columns",
            where=name,
            remedy="leave out those that are not needed, or raise the setting BILLING_MOST_COLUMNS",
        )


def file_hash(path: Path) -> str:
    """The sha256 of a file's bytes, in hex (FIPS 180-4)."""
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def empty(path: Path) -> UnreadableFile:
    """The error for a file without content."""
    return UnreadableFile("the file is empty", where=path.name, remedy="export the usage again")


def first_line(path: Path) -> str:
    """The first line that is not blank, with odd bytes replaced; "" in an empty file."""
    with _unpacked(path) as file:
        while line := file.readline(_LONGEST_LINE):
            if line.strip():
                return line.removeprefix(_BOM).decode("utf-8", errors="replace").strip()
    return ""


_LONGEST_LINE = 1 << 24
"""Bytes of a first line that are looked at."""


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    with opened(path) as file:
        gzipped = file.read(2) == _GZIP
        file.seek(0)
        try:
            with gzip.open(file) if gzipped else file as content:
                yield content  # type: ignore[misc]
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UnreadableFile(
                "it is gzipped, but broken or cut off", where=path.name, remedy="copy it again"
            ) from error


def read_bytes(path: Path) -> bytes:
    """A text file's bytes: unpacked, without byte order mark, lines ended by ``\\n``."""
    with _unpacked(path) as file:
        data = read_within_limit(file, path.name)
    data = data.removeprefix(_BOM)
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if not data.strip():
        raise empty(path)
    return data


def read_utf8(path: Path) -> bytes:
    """The same as ``read_bytes``, but refuse text that is not UTF-8, naming the line."""
    data = read_bytes(path)
    try:
        if not data.isascii():
            data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        kind = "UTF-16" if data.startswith(_UTF_16) else "another encoding"
        raise UnreadableFile(
            f"the text is not UTF-8 but {kind}",
            where=f"{path.name}, row {line}",
            remedy="save it as UTF-8 ('CSV UTF-8' in a spreadsheet)",
        ) from error
    return data


class Lines:
    """The lines of a text by their numbers; bytes that are not UTF-8 are shown as U+FFFD.

    Parameters
    ----------
    data
        The text, lines ended by ``\\n``; the last may lack it.
    first
        The number of its first line in the file, from 1.
    """

    def __init__(self, data: bytes, first: int = 1) -> None:
        text = data.decode("utf-8", errors="replace").removesuffix("\n")
        whole = pl.Series("raw", [text] if data else [], dtype=pl.String)
        self._lines = whole.str.split("\n").explode()
        self._first = first

    def filled(self) -> pl.Series:
        """The numbers of the lines that are not empty, Int64."""
        places = (self._lines != "").arg_true().cast(pl.Int64) + self._first
        return places.alias("row")

    def text(self, numbers: pl.Series) -> pl.Series:
        """The lines of these numbers, as they stand."""
        return self._lines.gather(numbers - self._first)


FAULTS = pl.Schema(
    {"position": pl.Int64(), "defect": pl.String(), "place": pl.String(), "detail": pl.String()},
)
"""Faults of rows: the position in the table from 0, the reason, the column if one is at fault,
and a sentence."""


@dataclass(frozen=True)
class SourceTable:
    """The fields of a usage file, row by row.

    Parameters
    ----------
    name
        The file's name, without its folder.
    fields
        The columns, text or typed, in file order.
    rows
        Int64: the line or sheet row of each row, from 1.
    raw
        From positions (0 is the first row) to the rows as they stood in the file.
    faults
        Rows that the reader refuses, schema FAULTS.
    epoch
        Whether a bare number in a time is seconds since 1970, UTC.
    marks
        Columns of ``fields``, String: ``TYPED`` for a cell with a number, day or time of its own
        type, a sentence for a cell without a value that can be known; else null. Empty where
        columns have types.
    notices
        Clauses on the parts of the file that were not read.
    """

    name: str
    fields: pl.DataFrame
    rows: pl.Series
    raw: Callable[[pl.Series], pl.Series]
    faults: pl.DataFrame = field(default_factory=FAULTS.to_frame)
    epoch: bool = False
    marks: pl.DataFrame = field(default_factory=pl.DataFrame)
    notices: tuple[str, ...] = ()

    def at(self, positions: pl.Series) -> "SourceTable":
        """The table of the rows at these positions, in ascending order."""
        moved = pl.DataFrame({"old": positions.cast(pl.Int64)}).with_row_index("new")
        faults = self.faults.join(moved, left_on="position", right_on="old", maintain_order="left")
        faults = faults.with_columns(position=pl.col("new").cast(pl.Int64))
        return replace(
            self,
            fields=self.fields[positions],
            rows=self.rows.gather(positions),
            raw=lambda at: self.raw(positions.gather(at).cast(pl.Int64)),
            faults=faults.select(FAULTS.names()),
            marks=self.marks[positions] if self.marks.width else self.marks,
        )

    def typed(self, columns: Sequence[str]) -> pl.Series | None:
        """Boolean: the rows in which all of these columns are typed; None where none can be."""
        marked = [name for name in columns if name in self.marks.columns]
        if not marked or len(marked) < len(columns):
            return None
        is_typed = pl.all_horizontal(pl.col(marked).eq_missing(pl.lit(TYPED)))
        return self.marks.select(is_typed).to_series()


TYPED = "typed"
"""The mark of a cell with a number, day or time of its own type."""


def fault(
    frame: pl.DataFrame, wrong: pl.Expr, defect: str, detail: pl.Expr, place: str | None = None
) -> pl.DataFrame:
    """The faults (schema FAULTS) of the rows of a frame with ``position`` where ``wrong`` holds."""
    return frame.filter(wrong.fill_null(value=False)).select(
        pl.col("position").cast(pl.Int64),
        pl.lit(defect).alias("defect"),
        pl.lit(place, pl.String).alias("place"),
        detail.alias("detail"),
    )


def cells_by_tab(fields: pl.DataFrame) -> Callable[[pl.Series], pl.Series]:
    """The raw rows of a table without lines: the cells with tabs between, empty where null."""

    def raw(positions: pl.Series) -> pl.Series:
        rows = fields[positions].with_columns(pl.selectors.duration().dt.to_string("iso"))
        cells = pl.all().cast(pl.String).fill_null("")
        return rows.select(raw=pl.concat_str(cells, separator="\t"))["raw"]

    return raw
