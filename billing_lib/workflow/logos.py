"""The logo of a facility: a file beside its price book, checked before anything is billed by it.

    facility:
      logo: logo.svg

A PNG is whole and of a sensible size. An SVG is a drawing and nothing else: shapes, gradients
and clips, with no script, no text (which would need a font), no picture inside and no address
outside. So it looks the same on every machine and in every year.
"""

import re
import zlib
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from billing_lib.errors import InvalidPriceBook
from billing_lib.pricing.logo import Logo
from billing_lib.pricing.pricebook import PriceBook

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
    """The price book with the content of the logo that it names, which stands in its folder.

    Raises
    ------
    InvalidPriceBook
        The file is missing, too large, damaged, or no plain drawing.
    """
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
