"""Load usage files into the ledger, and price books with their logos and lists of expense codes.

    usage.csv: 1,204 records read, 1,200 new, 3 the same, 1 corrected
    usage.csv, row 7: e6 corrected, quantity 33 → 44; RC/e6 41.25 → 55.00

A record is known by its id. Loaded again it is the same, or it is corrected (workflow/correct.py);
so loading a file twice changes nothing. A row that cannot be read is kept with its reason. Several
files load together or not at all.

A row that cannot be read, or has no id, has its place for an id, ``usage.csv:3``. A file of the
same name that shares records with the earlier one is its next version: what stood at a place and
is not stated there any more is taken back, and so is the part of usage cut at the end of a month
(``u1@2020-03``) that the corrected usage does not have. In any other file of the name the place
gets the beginning of the file's hash behind it, ``usage.csv:3#4f2a81c0``.

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
"""

import csv
import hashlib
import re
import shutil
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import polars as pl
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from pydantic import ValidationError
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidPriceBook, NotReady, UnknownFacility, UnwritableFile, count_of
from billing_lib.ledger import events, usage
from billing_lib.pricing.clock import (
    cut_with_ids,
    day_start,
    with_period,
)
from billing_lib.pricing.fields import Logo, canonical_json
from billing_lib.pricing.pricebook import ExpenseCode, PriceBook
from billing_lib.pricing.scenario import Scenario
from billing_lib.sources import file_hash, mappings, read_file
from billing_lib.sources.files import read_plain, read_text
from billing_lib.workflow.correct import (
    CORRECTED,
    NEW,
    OUTCOMES,
    TAKEN_BACK,
    Replacement,
    changed_columns,
    report_undated,
    taken_back,
)
from billing_lib.workflow.mend import stated_as_before
from billing_lib.workflow.permissions import REVIEWER, changing
from billing_lib.workflow.steps import Progress


@dataclass(frozen=True)
class Loaded:
    """The result of loading one file.

    Attributes
    ----------
    records
        Number of records read: ``new``, ``known`` (the same as before), ``corrected`` or
        ``refused`` (billed or being approved, so they stay as they are).
    defects
        Number of new records that cannot be billed as they are.
    undated
        Number of new and corrected records without any readable time, which no month can take.
    taken_back
        Number of earlier records that this version of the file does not state any more.
    months
        The months in which the file's records end.
    loaded_before
        Whether the file was loaded before and nothing changed.
    outcomes
        The records with a defect, corrected, refused or taken back (schema OUTCOMES of
        workflow/correct.py), by row.
    """

    file: str
    records: int
    new: int
    known: int
    defects: int
    loaded_before: bool = False
    corrected: int = 0
    refused: int = 0
    taken_back: int = 0
    undated: int = 0
    months: tuple[str, ...] = ()
    outcomes: pl.DataFrame = field(default_factory=OUTCOMES.to_frame, compare=False)
    notices: tuple[str, ...] = ()
    """Further notices about the file, each a clause: rows left out, sheets not read."""

    @property
    def sentence(self) -> str:
        """The result in words."""
        if self.loaded_before:
            return (
                f"{self.file}: loaded before, nothing changed ({count_of(self.records, 'record')})"
            )
        counts = {
            "known already": self.known,
            "corrected": self.corrected,
            "refused": self.refused,
            "taken back": self.taken_back,
            "that cannot be billed as they are": self.defects,
            "without a readable time, shown in every open month": self.undated,
        }
        told = "".join(f", {count:,} {what}" for what, count in counts.items() if count)
        read = f"{self.file}: {count_of(self.records, 'record')} read, {self.new:,} new{told}"
        return "; ".join((read, *self.notices))


def load_files(
    engine: Engine,
    book: PriceBook,
    files: Sequence[Path],
    step: Progress,
    kind: str | None = None,
    *,
    preview: bool = False,
    keep: Path | None = None,
) -> list[Loaded]:
    """Load a facility's usage files, all or none.

    Parameters
    ----------
    kind
        That of all the files (a kind, or the name of a mapping), if their names and headers are
        not to tell it.
    preview
        Whether the ledger stays as it is.
    keep
        The folder to which each file is copied, under its sha256.
    """
    with changing(engine, book, REVIEWER, preview=preview) as connection:
        loaded = []
        for done, path in enumerate(files):
            step(done, len(files), path.name)
            loaded.append(_load_file(connection, book, path, kind))
            if keep is not None and not preview:
                _keep(path, keep)
        step(len(files), len(files), "loaded")
        return loaded


def _keep(path: Path, folder: Path) -> None:
    """Copy a file into a folder under its sha256."""
    sha256 = file_hash(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{sha256}.part"
        shutil.copyfile(path, part)
        part.replace(folder / sha256)
    except OSError as error:
        raise UnwritableFile(
            f"the usage file cannot be kept ({error.strerror})",
            where=str(folder),
            remedy="make room, or let usage_files name a folder that can be written to",
        ) from None


def _load_file(connection: Connection, book: PriceBook, path: Path, kind: str | None) -> Loaded:
    facility, timezone = book.facility.code, book.facility.timezone
    file = read_file(path, mappings(book.sources), timezone, kind, book.facility.currency)
    read = file.usage
    if book.facility.crossing == "split":
        read = cut_with_ids(read, timezone)
    sha256 = file_hash(path)
    before = usage.known_file(connection, facility, sha256)
    standing = usage.read_standing(connection, facility, read["record"].unique())
    read, standing, gone = _compared(connection, book, path.name, sha256, read, standing)
    stated = with_period(read, timezone).with_columns(
        withdrawn=pl.lit(None, pl.Int64), file_sha256=pl.lit(sha256)
    )
    new = stated.join(standing, on=usage.RECORD, how="anti", maintain_order="left")
    both = stated.join(standing, on=usage.RECORD, suffix="_was")
    other = both.filter(changed_columns("_was") | pl.col("withdrawn_was").is_not_null())
    mended = stated_as_before(connection, facility, other)
    other = other.join(mended, on=usage.RECORD, how="anti", maintain_order="left")
    replacement = Replacement.of(
        connection,
        book,
        pl.concat([standing.join(other, on=usage.RECORD, how="semi"), gone]),
        pl.concat([other.select(stated.columns), taken_back(gone).select(stated.columns)]),
    )
    counts = {
        "records": read.height,
        "new": new.height + replacement.count(NEW),
        "same": both.height - other.height + replacement.shifted,
        "corrected": replacement.count(CORRECTED),
        "refused": replacement.refused.height,
        "taken_back": replacement.count(TAKEN_BACK),
    }
    nothing = new.height + replacement.standing.height == 0
    undated, outcomes = 0, replacement.refused
    if before is None or not nothing:
        told = {name: count for name, count in counts.items() if count or name in _ALWAYS}
        event = events.record_event(
            connection,
            facility,
            kind="load",
            subject=path.name,
            reason="",
            after=canonical_json({"sha256": sha256, "usage": usage.content(new), **told}),
        )
        if before is None:
            usage.insert_file(
                connection, facility, sha256, name=path.name, kind=file.kind, records=read.height
            )
        usage.insert_usage(connection, facility, sha256, new)
        undated = report_undated(connection, book, new)
        undated += replacement.now.filter(
            pl.col("period").is_null() & pl.col("withdrawn").is_null()
        ).height
        outcomes = replacement.carry_out(connection, book, event, told=(CORRECTED, TAKEN_BACK))
    return Loaded(
        path.name,
        read.height,
        new=counts["new"],
        known=counts["same"],
        defects=new["defect"].count(),
        loaded_before=before is not None and nothing and outcomes.height == 0,
        corrected=counts["corrected"],
        refused=counts["refused"],
        taken_back=counts["taken_back"],
        undated=undated,
        months=tuple(stated["period"].drop_nulls().unique().sort()),
        outcomes=_with_defects(new, outcomes),
        notices=file.notices,
    )


_ALWAYS = ("records", "new")
"""The counts that an event of loading has even if they are 0."""


def _with_defects(new: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """The outcomes with those of new records that cannot be billed as they are."""
    defects = new.drop_nulls("defect").select(
        pl.lit(NEW).alias("outcome"),
        pl.col("defect").alias("reason"),
        *usage.RECORD,
        "file",
        "row",
        pl.lit(None, pl.Int64).alias("before"),
        pl.lit(None, pl.Int64).alias("after"),
        pl.col("detail").alias("note"),
    )
    return pl.concat([outcomes, defects.cast(OUTCOMES)]).sort("file", "row", "record")


_PART, _OTHER = r"@[0-9]{4}-[0-9]{2}", r"#[0-9a-f]{8}$"
"""The end of the id of a part of usage, and of a place in another file of the same name."""


def _whole(record: str = "record") -> pl.Expr:
    """The id of the usage that a record is a part of."""
    return pl.col(record).str.replace(f"{_PART}$", "")


def _at_place() -> pl.Expr:
    """Whether a record's id is its place."""
    place = pl.format("{}:{}", "file", "row")
    return _whole().str.replace(_OTHER, "") == place


def _compared(
    connection: Connection,
    book: PriceBook,
    name: str,
    sha256: str,
    read: pl.DataFrame,
    standing: pl.DataFrame,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The records read with ids of their own, the same records as they stand, and the standing
    records that they take the place of (both schema STANDING)."""
    facility, gone = book.facility.code, [standing.clear()]
    if book.facility.crossing == "split" and standing.height:
        parts = usage.read_parts(connection, facility)
        gone.append(_lost_parts(parts, read, book.facility.timezone))
    earlier = usage.files_named(connection, facility, name) - {sha256}
    if earlier:
        known = standing.filter(~_at_place()).join(read, on=usage.RECORD, how="semi")
        versions = usage.read_versions(connection, facility, known["record"].unique())
        same = earlier & {*known["file_sha256"], *versions["file_sha256"]}
        placed = usage.read_standing(connection, facility, files=same)
        placed = placed.filter(_at_place())
        mine = [*same, sha256]
        others = standing.filter(_at_place() & ~pl.col("file_sha256").is_in(mine))
        if others.height:
            read = _renamed(read, others, placed, sha256)
            standing = usage.read_standing(connection, facility, read["record"].unique())
        gone.append(placed.join(read, on=usage.RECORD, how="anti"))
    return read, standing, pl.concat(gone).unique(usage.RECORD, maintain_order=True)


def _renamed(
    read: pl.DataFrame, others: pl.DataFrame, placed: pl.DataFrame, sha256: str
) -> pl.DataFrame:
    """The records read, with another id where their place is that of another file's record.

    It is the id that an earlier version of the file (``placed``) has for the place, else one with
    the beginning of the file's hash.
    """
    hashed = pl.col("record").str.replace(f"({_PART})?$", f"#{sha256[:8]}${{1}}")
    before = placed.select(pl.col("record").alias("before").unique()).with_columns(
        record=pl.col("before").str.replace(r"#[0-9a-f]{8}", "")
    )
    return (
        read.join(before, on="record", how="left", maintain_order="left")
        .with_columns(
            record=pl.when(pl.col("record").is_in(others["record"].implode()))
            .then(pl.coalesce("before", hashed))
            .otherwise("record")
        )
        .drop("before")
    )


def _lost_parts(parts: pl.DataFrame, read: pl.DataFrame, timezone: str) -> pl.DataFrame:
    """The standing parts of usage (schema STANDING) that the usage as it is read does not have.

    A part ends with its month, so that no other id which looks like a part's is meant.
    """
    month = pl.col("record").str.slice(-7)
    first = (month + "-01").str.to_date("%Y-%m-%d", strict=False)
    closes = day_start(first.dt.offset_by("1mo"), timezone)
    whole = read.select(whole=_whole()).unique()
    return (
        parts.with_columns(whole=_whole())
        .join(whole, on="whole", how="semi")
        .join(read, on=usage.RECORD, how="anti")
        .filter(pl.col("end") == closes)
        .select(parts.columns)
    )


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
    content = read_plain(path, within=folder)
    try:
        check_logo(logo.suffix, content)
    except NoLogo as error:
        raise InvalidPriceBook(str(error), where=str(path), remedy=error.remedy) from None
    read = Logo(f"logo.{logo.suffix}", content)
    return book.model_copy(update={"facility": book.facility.model_copy(update={"logo": read})})


def check_logo(suffix: str, content: bytes) -> None:
    """Raise NoLogo unless documents can show this content, of the suffix ``png`` or ``svg``."""
    if suffix not in ("png", "svg"):
        raise NoLogo(f"a logo is no '{suffix}' file", "save it as PNG or SVG")
    if len(content) > LARGEST:
        raise NoLogo(
            f"the logo has {len(content):,} bytes, and {LARGEST:,} are allowed", "make it smaller"
        )
    (_check_png if suffix == "png" else _check_svg)(content)


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


_COLUMNS = ("code", "valid_from", "valid_to")


def with_listed_codes(book: PriceBook, folder: Path) -> PriceBook:
    """Read the expense codes from the file that the price book names, a file in its folder."""
    allowed = book.facility.expense_codes
    if allowed is None or allowed.file is None:
        return book
    listed = (*(allowed.codes or ()), *_read_codes(folder, allowed.file))
    facility = book.facility.model_copy(
        update={"expense_codes": allowed.model_copy(update={"codes": listed})}
    )
    return book.model_copy(update={"facility": facility})


def _read_codes(folder: Path, file: str) -> list[ExpenseCode]:
    path, codes = folder / file, []
    for at, row in _read_rows(folder, file, _COLUMNS):
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
                field: _read_lookup(folder, table) if isinstance(table, str) else table
                for field, table in tables.items()
            }
            mapping = {**mapping, "lookup": tables}
        if isinstance(mapping.get("items"), list):
            mapping = {**mapping, "items": [read(entry) for entry in mapping["items"]]}
        return mapping

    sources = {name: read(mapping) for name, mapping in book.sources.items()}
    return book if sources == book.sources else book.model_copy(update={"sources": sources})


def _read_lookup(folder: Path, file: str) -> dict[str, str]:
    codes: dict[str, str] = {}
    for at, row in _read_rows(folder, file, ("name", "code")):
        name, code = row["name"].strip(), row["code"].strip()
        if not code or codes.setdefault(name, code) != code:
            problem = f"'{name}' has two codes" if code else f"'{name}' has no code"
            raise InvalidPriceBook(
                problem, where=f"{folder / file}, row {at}", remedy="give it one"
            )
    return codes


def _read_rows(
    folder: Path, file: str, columns: Sequence[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV beside the price book that has exactly these columns, by line."""
    path = folder / file
    text = read_text(path, within=folder).removeprefix("\ufeff")
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


def find_book(folder: Path, facility: str) -> tuple[Path, PriceBook]:
    """The file of a facility's price book, and the book."""
    file, book = _require(folder, facility)
    return file.path, book


def with_parts(book: PriceBook, folder: Path) -> PriceBook:
    """Read the files that the price book names: logo, expense codes, look-up tables."""
    return with_lookups(with_logo(with_listed_codes(book, folder), folder), folder)


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
        text = read_text(path, within=folder)
        stated = PriceBook.parse(text, str(path))
        book = with_parts(stated, folder)
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
