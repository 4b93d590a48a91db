"""Usage files as bytes, lines and tables: opening, unpacking, hashing, and a reader's result.

    usage.csv.gz  →  UTF-8 text without byte order mark, lines ended by \n  →  line 7: "u6,slide,…"

A text file may be gzipped under any name: its first two bytes tell. A reader of one kind of file
finds the fields, the place of each row and the malformed rows, and gives them as a SourceTable.
Items, projects and times are read from it in records.py, once for all kinds.

    job  wait  run  processors …   row   fault
    1    -1    1451 128            40
    2    -1    -1   128            41    invalid_time: the run time is unknown
"""

import gzip
import hashlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from billing_lib.errors import UnreadableFile

_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def file_hash(path: Path) -> str:
    """The sha256 of a file's bytes, in hex (FIPS 180-4)."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unopened(path, error) from error


def unopened(path: Path, error: OSError) -> UnreadableFile:
    """The error for a file that the operating system does not open."""
    if isinstance(error, FileNotFoundError):
        return UnreadableFile("there is no such file", where=str(path), remedy="check its name")
    reason = (error.strerror or "it cannot be read").lower()
    return UnreadableFile(f"it cannot be opened: {reason}", where=str(path), remedy="check it")


def empty(path: Path) -> UnreadableFile:
    """The error for a file without content."""
    return UnreadableFile("the file is empty", where=path.name, remedy="export the usage again")


def first_line(path: Path) -> str:
    """The first line that is not blank, with odd bytes replaced; "" in an empty file."""
    try:
        with path.open("rb") as file:
            gzipped = file.read(2) == _GZIP
        with gzip.open(path) if gzipped else path.open("rb") as file:
            for line in file:
                if line.strip():
                    return line.removeprefix(_BOM).decode("utf-8", errors="replace").strip()
    except OSError as error:
        raise unopened(path, error) from error
    except (EOFError, zlib.error) as error:
        raise _broken_gzip(path) from error
    return ""


def read_bytes(path: Path) -> bytes:
    """A text file's bytes: unpacked, without byte order mark, lines ended by ``\\n``."""
    try:
        data = path.read_bytes()
        if data.startswith(_GZIP):
            data = gzip.decompress(data)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _broken_gzip(path) from error
    except OSError as error:
        raise unopened(path, error) from error
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


def _broken_gzip(path: Path) -> UnreadableFile:
    return UnreadableFile(
        "it is gzipped, but broken or cut off", where=path.name, remedy="copy it again"
    )


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
