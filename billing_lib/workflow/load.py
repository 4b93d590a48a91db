"""Load usage files into the ledger, and price books with their logos and lists of expense codes.

    usage.csv: 1,204 records read, 1,200 new, 4 known already

Loading a file twice, by its hash, changes nothing. A record that was loaded before, by its id, is
skipped if it is unchanged and refused if it differs. A row that cannot be read is kept with its
reason. Several files load together or not at all.

Every ``*.yml`` in the folder of price books is one, identified by the facility's code inside. It
may name a logo, a file of expense codes and lookup tables of names (columns name, code) beside it:

    facility:
      logo: logo.svg
      expense_codes: {pattern: "[0-9]{3}-[0-9]+", file: expense-codes.csv}

    code,valid_from,valid_to
    370-1,2020-01-01,2020-06-30

A logo is a whole PNG of a sensible size, or an SVG of shapes only: without scripts, text (which
would need a font), embedded pictures and outside addresses it looks the same on every machine and
in every year.

An installed package can add a check of expense codes, for instance against the university's
ledger, by an entry point that names a Validator:

    [project.entry-points."billing_lib.expense_codes"]
    finance = "our_billing.codes:invalid"
"""

import csv
import datetime as dt
import hashlib
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError
from zoneinfo import ZoneInfo

import polars as pl
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from pydantic import ValidationError
from sqlalchemy import Connection, Engine

from billing_lib.errors import ChangedRecord, InvalidPriceBook, NotReady, UnknownFacility
from billing_lib.ledger import events, usage
from billing_lib.ledger.database import writing
from billing_lib.pricing.clock import closing_date, cut_with_ids, ends, period_of
from billing_lib.pricing.fields import USAGE, Logo, canonical_json
from billing_lib.pricing.pricebook import ExpenseCode, PriceBook, invalid_codes
from billing_lib.pricing.scenario import Scenario
from billing_lib.settings import entry_points
from billing_lib.sources import file_hash, mappings, read_file
from billing_lib.workflow.permissions import REVIEWER, note_facility, require
from billing_lib.workflow.steps import Progress

COMPARED = [
    name for name in USAGE.names() if name not in ("record", "occurrence", "file", "row", "detail")
]
"""The columns in which a record loaded again must equal the first."""


@dataclass(frozen=True)
class Loaded:
    """The result of loading one file."""

    file: str
    records: int
    new: int
    known: int
    defects: int
    loaded_before: bool = False
    notices: tuple[str, ...] = ()
    """What else is to be said about the file, each a clause: rows left out, sheets not read."""

    @property
    def sentence(self) -> str:
        """The result in words."""
        if self.loaded_before:
            return f"{self.file}: loaded before, nothing changed ({self.records:,} records)"
        known = f", {self.known:,} known already" if self.known else ""
        defects = f", {self.defects:,} that cannot be billed as they are" if self.defects else ""
        read = f"{self.file}: {self.records:,} records read, {self.new:,} new{known}{defects}"
        return "; ".join((read, *self.notices))


def load_files(
    engine: Engine,
    book: PriceBook,
    files: Sequence[Path],
    step: Progress,
    kind: str | None = None,
) -> list[Loaded]:
    """Load a facility's usage files, all or none.

    ``kind`` is that of all the files (a kind, or the name of a mapping), if their names and
    headers are not to tell it.
    """
    with writing(engine) as connection:
        require(connection, book.facility.code, REVIEWER)
        note_facility(connection, book)
        loaded = []
        for done, path in enumerate(files):
            step(done, len(files), path.name)
            loaded.append(_load_file(connection, book, path, kind))
        step(len(files), len(files), "loaded")
        return loaded


def _load_file(connection: Connection, book: PriceBook, path: Path, kind: str | None) -> Loaded:
    facility, timezone = book.facility.code, book.facility.timezone
    file = read_file(path, mappings(book.sources), timezone, kind, book.facility.currency)
    read = file.usage
    if book.facility.crossing == "split":
        read = cut_with_ids(read, timezone)
    sha256 = file_hash(path)
    before = usage.known_file(connection, facility, sha256)
    if before is not None:
        return Loaded(
            path.name, before.records, new=0, known=before.records, defects=0, loaded_before=True
        )
    known = usage.read_usage(connection, facility, records=read["record"].unique())
    both = ["record", "occurrence"]
    _require_unchanged(read.join(known, on=both, how="inner", suffix="_before"), path, facility)
    new = _in_period(read.join(known, on=both, how="anti", maintain_order="left"), timezone)
    usage.insert_file(
        connection, facility, sha256, name=path.name, kind=file.kind, records=read.height
    )
    usage.insert_usage(connection, facility, sha256, new)
    events.record_event(
        connection,
        facility,
        kind="load",
        subject=path.name,
        reason="",
        after=canonical_json({"sha256": sha256, "records": read.height, "new": new.height}),
    )
    known_already = read.height - new.height
    defects = new["defect"].count()
    return Loaded(path.name, read.height, new.height, known_already, defects, notices=file.notices)


def _require_unchanged(records: pl.DataFrame, path: Path, facility: str) -> None:
    for name in COMPARED:
        changed = records.filter(pl.col(name).ne_missing(pl.col(f"{name}_before")))
        if changed.height:
            row = changed.row(0, named=True)
            raise ChangedRecord(
                f"the record '{row['record']}' was loaded before from {row['file_before']}, row "
                f"{row['row_before']}, with {name} {row[f'{name}_before']}; now it has "
                f"{row[name]}",
                where=f"{path.name}, row {row['row']}",
                remedy=f"load corrected usage under a new id, or adjust the charge "
                f"{facility}/{row['record']}",
            )


def _in_period(usage_frame: pl.DataFrame, timezone: str) -> pl.DataFrame:
    """Add the ``period`` of each row.

    A row with an unreadable time gets the file's latest month, so that exactly one unbilled report
    lists it; or the current month, if no row of the file has a time.
    """
    dated = usage_frame.with_columns(
        period=period_of(closing_date(ends(), pl.col("date"), timezone))
    )
    month = dated["period"].max() or dt.datetime.now(ZoneInfo(timezone)).strftime("%Y-%m")
    return dated.with_columns(pl.col("period").fill_null(month))


LARGEST = 200_000
"""The largest logo in bytes: every record and every page that shows it has a copy."""

SIDES = range(32, 4_001)
"""The allowed width and height of a PNG in pixels."""

_PNG = b"\x89PNG\r\n\x1a\n"
_SVG = "{http://www.w3.org/2000/svg}"
_DRAWING = frozenset(
    {
        *("svg", "g", "defs", "symbol", "use", "title", "desc", "style"),
        *("path", "rect", "circle", "ellipse", "line", "polyline", "polygon"),
        *("linearGradient", "radialGradient", "stop", "clipPath", "mask", "pattern"),
    }
)
_ADDRESS = re.compile(r"url\(\s*['\"]?(?!#)|@import|\\", re.IGNORECASE)
"""A reference to an outside file in a style, or an escape that could hide one."""


class NoLogo(ValueError):
    """A file cannot be a logo."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.remedy = remedy


def with_logo(book: PriceBook, folder: Path) -> PriceBook:
    """Read and check the logo that the price book names, a file in its folder."""
    logo = book.facility.logo
    if logo is None:
        return book
    path = folder / logo.file
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise NoLogo(
                f"the logo has {size:,} bytes, and {LARGEST:,} are allowed", "make it smaller"
            )
        content = path.read_bytes()
        (_check_png if logo.suffix == "png" else _check_svg)(content)
    except OSError as error:
        raise InvalidPriceBook(
            f"the logo cannot be read ({error.strerror})",
            where=str(path),
            remedy="put the file beside the price book, or correct the key 'logo'",
        ) from None
    except NoLogo as error:
        raise InvalidPriceBook(str(error), where=str(path), remedy=error.remedy) from None
    read = Logo(f"logo.{logo.suffix}", content)
    return book.model_copy(update={"facility": book.facility.model_copy(update={"logo": read})})


def _check_png(content: bytes) -> None:
    """Check the signature, every chunk's checksum, and the size (ISO/IEC 15948)."""
    damaged = NoLogo("the logo is not a whole PNG file", "save it as PNG again")
    if not content.startswith(_PNG):
        raise damaged
    kinds: list[bytes] = []
    pixels = b""
    at, sides = len(_PNG), [0, 0]
    while at + 12 <= len(content) and kinds[-1:] != [b"IEND"]:
        length = int.from_bytes(content[at : at + 4], "big")
        chunk = content[at + 4 : at + 8 + length]
        checksum = content[at + 8 + length : at + 12 + length]
        if zlib.crc32(chunk).to_bytes(4, "big") != checksum:
            raise damaged
        if not kinds:
            sides = [int.from_bytes(chunk[4:8], "big"), int.from_bytes(chunk[8:12], "big")]
        if chunk[:4] == b"IDAT":
            pixels += chunk[4:]
        kinds.append(chunk[:4])
        at += 12 + length
    if kinds[:1] != [b"IHDR"] or kinds[-1:] != [b"IEND"] or not _inflates(pixels):
        raise damaged
    if not all(side in SIDES for side in sides):
        raise NoLogo(
            f"the logo has {sides[0]:,} × {sides[1]:,} pixels",
            f"give each side between {SIDES.start:,} and {SIDES.stop - 1:,}",
        )


def _inflates(pixels: bytes) -> bool:
    """Whether the pixels can be unpacked, in small steps: few bytes may unpack to very many."""
    inflating = zlib.decompressobj()
    try:
        while pixels:
            inflating.decompress(pixels, 1_000_000)
            pixels = inflating.unconsumed_tail
    except zlib.error:
        return False
    return inflating.eof


def _check_svg(content: bytes) -> None:
    try:
        root = fromstring(content, forbid_dtd=True)
    except (ParseError, ValueError, LookupError) as error:
        declared = isinstance(error, DefusedXmlException)
        reason = "it declares entities or a DTD" if declared else error
        raise NoLogo(f"the logo is not plain XML ({reason})", "save it as plain SVG") from None
    if root.tag != f"{_SVG}svg":
        raise NoLogo("the logo is not an SVG drawing", "save it as plain SVG")
    number = r"[-+]?[0-9]*\.?[0-9]+"
    box = re.fullmatch(
        rf"\s*{number}[\s,]+{number}[\s,]+({number})[\s,]+({number})\s*", root.get("viewBox", "")
    )
    if box is None or min(float(box[1]), float(box[2])) <= 0:
        raise NoLogo("the logo has no viewBox that states its size", "add a viewBox")
    for element in root.iter():
        _check_element(element)


def _check_element(element: Element) -> None:
    name = str(element.tag).removeprefix(_SVG)
    if name not in _DRAWING:
        raise NoLogo(
            f"the logo has the element <{name.rpartition('}')[2]}>",
            "save it as plain SVG of shapes alone, its text turned into paths",
        )
    for key, value in element.attrib.items():
        attribute = key.rpartition("}")[2]
        if attribute.lower().startswith("on"):
            raise NoLogo(f"the logo has a script ({attribute})", "remove it")
        if attribute == "href" and not value.startswith("#"):
            raise _refers(value)
    for text in (*element.attrib.values(), element.text or ""):
        if _ADDRESS.search(text):
            raise _refers(text)


def _refers(text: str) -> NoLogo:
    return NoLogo(f"the logo refers to '{text[:60]}'", "save it as one file without references")


GROUP = "billing_lib.expense_codes"
"""The group of the entry points."""

Validator = Callable[[pl.DataFrame], pl.DataFrame]
"""A function from ``charge``, ``expense_code``, ``date`` and ``facility`` to the rows with an
invalid code, each with ``problem``, a sentence."""

_COLUMNS = ("code", "valid_from", "valid_to")


def find_invalid_codes(book: PriceBook, charged: pl.DataFrame) -> pl.DataFrame:
    """Return the shares (``charge``, ``expense_code``, ``date``) with an invalid expense code.

    The result has a fourth column ``problem``, a sentence.
    """
    allowed = book.facility.expense_codes
    invalid = [charged.with_columns(problem=pl.lit(None, dtype=pl.String)).clear()]
    if allowed is not None:
        invalid.append(invalid_codes(charged, allowed))
    for entry in entry_points(GROUP):
        validate: Validator = entry.load()
        checked = validate(charged.with_columns(facility=pl.lit(book.facility.code)))
        invalid.append(checked.select(invalid[0].columns))
    return pl.concat(invalid).unique(maintain_order=True)


def with_listed_codes(book: PriceBook, folder: Path) -> PriceBook:
    """Read the expense codes from the file that the price book names, a file in its folder."""
    allowed = book.facility.expense_codes
    if allowed is None or allowed.file is None:
        return book
    listed = (*(allowed.codes or ()), *_read_codes(folder / allowed.file))
    facility = book.facility.model_copy(
        update={"expense_codes": allowed.model_copy(update={"codes": listed})}
    )
    return book.model_copy(update={"facility": facility})


def _read_codes(path: Path) -> list[ExpenseCode]:
    codes = []
    for at, row in _read_rows(path, "the file of expense codes", _COLUMNS):
        try:
            stated = {name: row[name] or None for name in _COLUMNS}
            codes.append(ExpenseCode.model_validate(stated))
        except ValidationError as error:
            first = error.errors()[0]
            raise InvalidPriceBook(
                f"'{first['input']}' cannot be: {first['msg'].removeprefix('Value error, ')}",
                where=f"{path}, row {at}, {first['loc'][0]}",
            ) from None
    return codes


def with_lookups(book: PriceBook, folder: Path) -> PriceBook:
    """Read the lookup tables that the mappings of usage files name, files in its folder."""

    def read(mapping: Any) -> Any:
        if not isinstance(mapping, dict):
            return mapping
        tables = mapping.get("lookup")
        if isinstance(tables, dict):
            tables = {
                field: _read_lookup(folder / table) if isinstance(table, str) else table
                for field, table in tables.items()
            }
            mapping = {**mapping, "lookup": tables}
        if isinstance(mapping.get("items"), list):
            mapping = {**mapping, "items": [read(entry) for entry in mapping["items"]]}
        return mapping

    sources = {name: read(mapping) for name, mapping in book.sources.items()}
    return book if sources == book.sources else book.model_copy(update={"sources": sources})


def _read_lookup(path: Path) -> dict[str, str]:
    codes: dict[str, str] = {}
    for at, row in _read_rows(path, "the lookup table", ("name", "code")):
        name, code = row["name"].strip(), row["code"].strip()
        if not code or codes.setdefault(name, code) != code:
            problem = f"'{name}' has two codes" if code else f"'{name}' has no code"
            raise InvalidPriceBook(problem, where=f"{path}, row {at}", remedy="give it one")
    return codes


def _read_rows(
    path: Path, noun: str, columns: Sequence[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV beside the price book that has exactly these columns, by line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidPriceBook(f"{noun} cannot be read ({error})", where=str(path)) from None
    rows = csv.DictReader(text.splitlines())
    if rows.fieldnames is None or set(rows.fieldnames) != set(columns):
        raise InvalidPriceBook(
            f"the columns are {', '.join(rows.fieldnames or ['none'])}",
            where=f"{path}, row 1",
            remedy=f"name them {', '.join(columns)}",
        )
    for row in rows:
        yield rows.line_num, {name: row[name] or "" for name in columns}


def read_price_books(folder: Path) -> dict[str, PriceBook]:
    """Read all price books of a folder, by facility code."""
    return {code: book for code, (_, book) in _read_all(folder).items()}


def read_price_book(folder: Path, facility: str) -> PriceBook:
    """Read the price book of one facility."""
    return _require(folder, facility)[1]


@dataclass(frozen=True)
class BookFile:
    """The file of a price book, and the sha256 of its bytes."""

    path: Path
    sha256: str


def book_file(folder: Path, book: PriceBook) -> BookFile | None:
    """The file that a price book was read from; None where the folder has none of its facility.

    Raises
    ------
    NotReady
        The file was changed since the book was read.
    """
    file, now = _read_all(folder).get(book.facility.code, (None, book))
    if file is not None and now != book:
        raise NotReady(
            "the price book was changed since it was read here",
            where=str(file.path),
            remedy="open it again, and look at the charges as they are now",
        )
    return file


def templates_folder(folder: Path, facility: str) -> Path:
    """The folder of a facility's templates, beside its price book.

    For ``parameters/research-computing.yml`` it is ``parameters/research-computing/templates/``,
    which need not exist.
    """
    return _require(folder, facility)[0].path.with_suffix("") / "templates"


def _require(folder: Path, facility: str) -> tuple[BookFile, PriceBook]:
    books = _read_all(folder)
    if facility not in books:
        known = ", ".join(books) or "none"
        raise UnknownFacility(
            f"no price book in {folder}/ is for the facility '{facility}' (known: {known})",
            remedy="correct the code, or set BILLING_PARAMETERS to the right folder",
        )
    return books[facility]


def _read_all(folder: Path) -> dict[str, tuple[BookFile, PriceBook]]:
    """Read each price book with its file, by facility code."""
    books: dict[str, tuple[BookFile, PriceBook]] = {}
    for path in sorted(folder.glob("*.yml")):
        text = read_text(path)
        stated = PriceBook.parse(text, str(path))
        book = with_lookups(with_logo(with_listed_codes(stated, folder), folder), folder)
        code = book.facility.code
        if code in books:
            raise InvalidPriceBook(
                f"the facility '{code}' already has the price book {books[code][0].path}",
                where=str(path),
                remedy="keep one of them",
            )
        books[code] = BookFile(path, hashlib.sha256(text.encode()).hexdigest()), book
    return books


def read_scenario(path: Path) -> Scenario:
    """The scenario in a YAML file.

    Raises
    ------
    InvalidPriceBook, InvalidPeriod, InvalidAdjustment
        It is missing, or cannot be priced; the line and key are named.
    """
    return Scenario.parse(read_text(path), str(path))


def read_text(path: Path) -> str:
    """Read the text of a YAML file."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise InvalidPriceBook("there is no such file", where=str(path)) from None
    except (IsADirectoryError, PermissionError, UnicodeDecodeError) as error:
        raise InvalidPriceBook(f"the file cannot be read ({error})", where=str(path)) from None
