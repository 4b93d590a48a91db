"""Intake: usage files into the ledger, each record once.

A file that was loaded before, by its hash, changes nothing. A record that was loaded before,
by its id, is passed over when it says the same, and refused by name when it says something
else. A row that cannot be read is kept with its reason. Several files load whole or not at all.

The logo of a facility: a file beside its price book, checked before anything is billed by it.

    facility:
      logo: logo.svg

A PNG is whole and of a sensible size. An SVG is a drawing and nothing else: shapes, gradients
and clips, with no script, no text (which would need a font), no picture inside and no address
outside. So it looks the same on every machine and in every year.

Which expense codes may not be charged: what the price book says, and an institution's own check.

The price book gives a pattern, a list, or a file of codes with dates beside it:

    facility:
      expense_codes: {pattern: "[0-9]{3}-[0-9]+", file: expense-codes.csv}

    code,valid_from,valid_to
    370-1,2020-01-01,2020-06-30

An installed package adds a check by an entry point that names a Validator, say one that asks the
ledger of the university:

    [project.entry-points."billing_lib.expense_codes"]
    finance = "our_billing.codes:invalid"

The folder of price books: every ``*.yml`` in it is one, named by the code inside.
"""

import csv
import datetime as dt
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError
from zoneinfo import ZoneInfo

import polars as pl
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from pydantic import ValidationError
from sqlalchemy import Connection, Engine

from billing_lib.errors import ChangedRecord, InvalidPriceBook, UnknownFacility
from billing_lib.ledger import events, usage
from billing_lib.ledger.database import writing
from billing_lib.pricing.clock import closing_date, cut_with_ids, period_of
from billing_lib.pricing.fields import USAGE, Logo, canonical_json
from billing_lib.pricing.pricebook import ExpenseCode, PriceBook, invalid_codes
from billing_lib.settings import entry_points
from billing_lib.sources import file_hash, file_kind, mappings, read_usage
from billing_lib.workflow.permissions import REVIEWER, note_facility, require
from billing_lib.workflow.steps import Step

COMPARED = [
    name for name in USAGE.names() if name not in ("record", "occurrence", "file", "row", "detail")
]
"""What makes a record that comes again a changed one."""


@dataclass(frozen=True)
class Loaded:
    """What became of one file."""

    file: str
    records: int
    new: int
    known: int
    defects: int
    loaded_before: bool = False

    @property
    def sentence(self) -> str:
        """The same in words."""
        if self.loaded_before:
            return f"{self.file}: loaded before, nothing changed ({self.records:,} records)"
        again = f", {self.known:,} known already" if self.known else ""
        odd = f", {self.defects:,} that cannot be billed as they are" if self.defects else ""
        return f"{self.file}: {self.records:,} records read, {self.new:,} new{again}{odd}"


def load_files(engine: Engine, book: PriceBook, files: Sequence[Path], step: Step) -> list[Loaded]:
    """Load usage files for a facility, all or none."""
    with writing(engine) as connection:
        require(connection, book.facility.code, REVIEWER)
        note_facility(connection, book)
        loaded = []
        for done, path in enumerate(files):
            step(done, len(files), path.name)
            loaded.append(_load_file(connection, book, path))
        step(len(files), len(files), "loaded")
        return loaded


def _load_file(connection: Connection, book: PriceBook, path: Path) -> Loaded:
    facility, timezone = book.facility.code, book.facility.timezone
    read = read_usage(path, mappings(book.sources), timezone)
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
    _refuse_changed(read.join(known, on=both, how="inner", suffix="_before"), path, facility)
    new = _in_period(read.join(known, on=both, how="anti", maintain_order="left"), timezone)
    usage.insert_file(
        connection, facility, sha256, name=path.name, kind=file_kind(path), records=read.height
    )
    usage.insert_usage(connection, facility, sha256, new)
    defects = new["defect"].count()
    events.record_event(
        connection,
        facility,
        kind="load",
        subject=path.name,
        reason="",
        after=canonical_json({"sha256": sha256, "records": read.height, "new": new.height}),
    )
    return Loaded(path.name, read.height, new.height, read.height - new.height, defects)


def _refuse_changed(again: pl.DataFrame, path: Path, facility: str) -> None:
    for name in COMPARED:
        changed = again.filter(pl.col(name).ne_missing(pl.col(f"{name}_before")))
        if changed.height:
            row = changed.row(0, named=True)
            raise ChangedRecord(
                f"the record '{row['record']}' was loaded before from {row['file_before']}, row "
                f"{row['row_before']}, with {name} {row[f'{name}_before']}, and now says "
                f"{row[name]}",
                where=f"{path.name}, row {row['row']}",
                remedy=f"load corrected usage under a new id, or adjust the charge "
                f"{facility}/{row['record']}",
            )


def _in_period(usage_frame: pl.DataFrame, timezone: str) -> pl.DataFrame:
    """The usage with its ``period``; a row whose time cannot be read goes with its file.

    That is the month in which the file's latest usage ends, so that the row is found in one
    unbilled report, and in no other; the month of loading when no row has a time.
    """
    placed = usage_frame.with_columns(
        period=period_of(closing_date(pl.col("end"), pl.col("date"), timezone))
    )
    latest = placed["period"].max()
    month = latest or dt.datetime.now(ZoneInfo(timezone)).strftime("%Y-%m")
    return placed.with_columns(pl.col("period").fill_null(month))


LARGEST = 200_000
"""How many bytes a logo has at most: it is in every record and on every page that shows it."""

SIDES = range(32, 4_001)
"""How many pixels a PNG may have each way."""

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
"""What in a style would, or in disguise could, name a file elsewhere."""


class NoLogo(ValueError):
    """Why a file cannot be a logo, and what to do."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy


def with_logo(book: PriceBook, folder: Path) -> PriceBook:
    """The price book with the content of the logo that it names, which stands in its folder."""
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
            remedy="put the file there, or correct the key 'logo'",
        ) from None
    except NoLogo as error:
        raise InvalidPriceBook(str(error), where=str(path), remedy=error.remedy) from None
    read = Logo(f"logo.{logo.suffix}", content)
    return book.model_copy(update={"facility": book.facility.model_copy(update={"logo": read})})


def _check_png(content: bytes) -> None:
    """Signature, every chunk with its checksum, and the sides (ISO/IEC 15948)."""
    damaged = NoLogo("the logo is no whole PNG file", "save it as PNG again")
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
    """Whether they are whole; a little at a time, for few bytes may stand for very many."""
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
        said = "it declares entities or a DTD" if isinstance(error, DefusedXmlException) else error
        raise NoLogo(f"the logo is no plain XML ({said})", "save it as plain SVG") from None
    if root.tag != f"{_SVG}svg":
        raise NoLogo("the logo is no SVG drawing", "save it as plain SVG")
    _require_size(root)
    for element in root.iter():
        _check_element(element)


def _require_size(root: Element) -> None:
    number = r"[-+]?[0-9]*\.?[0-9]+"
    box = re.fullmatch(
        rf"\s*{number}[\s,]+{number}[\s,]+({number})[\s,]+({number})\s*", root.get("viewBox", "")
    )
    if box is None or min(float(box[1]), float(box[2])) <= 0:
        raise NoLogo("the logo has no viewBox that says how large it is", "add it")


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
            raise NoLogo(f"the logo refers to '{value[:60]}'", "put into the file what it needs")
        _check_style(value)
    _check_style(element.text or "")


def _check_style(text: str) -> None:
    if _ADDRESS.search(text):
        raise NoLogo(f"the logo refers to '{text[:60]}'", "put into the file what it needs")


GROUP = "billing_lib.expense_codes"
"""The entry points' group."""

Validator = Callable[[pl.DataFrame], pl.DataFrame]
"""From ``charge``, ``expense_code``, ``date`` and ``facility`` to the rows that may not be
charged, each with ``problem``, a sentence."""

_COLUMNS = ("code", "valid_from", "valid_to")


def find_invalid_codes(book: PriceBook, charged: pl.DataFrame) -> pl.DataFrame:
    """The shares whose expense code may not be charged on their date.

    Parameters
    ----------
    charged
        ``charge``, ``expense_code``, ``date``.

    Returns
    -------
    pl.DataFrame
        These rows with ``problem``, a sentence.
    """
    allowed = book.facility.expense_codes
    found = [charged.with_columns(problem=pl.lit(None, dtype=pl.String)).clear()]
    if allowed is not None:
        found.append(invalid_codes(charged, allowed))
    for entry in entry_points(GROUP):
        validate: Validator = entry.load()
        checked = validate(charged.with_columns(facility=pl.lit(book.facility.code)))
        found.append(checked.select(found[0].columns))
    return pl.concat(found).unique(maintain_order=True)


def with_listed_codes(book: PriceBook, folder: Path) -> PriceBook:
    """The price book with the codes of the file that it names, which stands in its folder."""
    allowed = book.facility.expense_codes
    if allowed is None or allowed.file is None:
        return book
    listed = (*(allowed.codes or ()), *_read_codes(folder / allowed.file))
    facility = book.facility.model_copy(
        update={"expense_codes": allowed.model_copy(update={"codes": listed})}
    )
    return book.model_copy(update={"facility": facility})


def _read_codes(path: Path) -> list[ExpenseCode]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidPriceBook(
            f"the file of expense codes cannot be read ({error})", where=str(path)
        ) from None
    rows = csv.DictReader(text.splitlines())
    if rows.fieldnames is None or set(rows.fieldnames) != set(_COLUMNS):
        raise InvalidPriceBook(
            f"the columns are {', '.join(rows.fieldnames or ['none'])}",
            where=f"{path}, row 1",
            remedy=f"name them {', '.join(_COLUMNS)}",
        )
    codes = []
    for row in rows:
        try:
            stated = {name: row[name] or None for name in _COLUMNS}
            codes.append(ExpenseCode.model_validate(stated))
        except ValidationError as error:
            first = error.errors()[0]
            raise InvalidPriceBook(
                f"'{first['input']}' cannot be: {first['msg'].removeprefix('Value error, ')}",
                where=f"{path}, row {rows.line_num}, {first['loc'][0]}",
            ) from None
    return codes


def read_price_books(folder: Path) -> dict[str, PriceBook]:
    """All price books of a folder, by facility code."""
    return {code: book for code, (_, book) in _read_all(folder).items()}


def read_price_book(folder: Path, facility: str) -> PriceBook:
    """The price book of one facility."""
    return _require(folder, facility)[1]


def templates_folder(folder: Path, facility: str) -> Path:
    """Where a facility's templates are: beside its price book, in the folder of its name.

    ``parameters/research-computing.yml`` has ``parameters/research-computing/templates/``, which
    need not exist.
    """
    return _require(folder, facility)[0].with_suffix("") / "templates"


def _require(folder: Path, facility: str) -> tuple[Path, PriceBook]:
    books = _read_all(folder)
    if facility not in books:
        known = ", ".join(books) or "none"
        raise UnknownFacility(
            f"no price book in {folder}/ is for the facility '{facility}' (known: {known})",
            remedy="correct the code, or set BILLING_PARAMETERS to the right folder",
        )
    return books[facility]


def _read_all(folder: Path) -> dict[str, tuple[Path, PriceBook]]:
    """Each price book with its file, by facility code."""
    books: dict[str, tuple[Path, PriceBook]] = {}
    for path in sorted(folder.glob("*.yml")):
        book = with_listed_codes(PriceBook.parse(read_text(path), str(path)), folder)
        book = with_logo(book, folder)
        code = book.facility.code
        if code in books:
            raise InvalidPriceBook(
                f"the facility '{code}' already has the price book {books[code][0]}",
                where=str(path),
                remedy="keep one of them",
            )
        books[code] = path, book
    return books


def read_text(path: Path) -> str:
    """A YAML file's text."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidPriceBook("there is no such file", where=str(path)) from None
    except (IsADirectoryError, PermissionError, UnicodeDecodeError) as error:
        raise InvalidPriceBook(f"the file cannot be read ({error})", where=str(path)) from None
