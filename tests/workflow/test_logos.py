"""A logo is a whole picture and nothing else, or the price book is refused with the reason."""

import struct
import zlib
from pathlib import Path

import pytest
from sample_facility import BOOK

from billing_lib.errors import BillingError, InvalidPriceBook
from billing_lib.workflow.load import LARGEST, read_price_book

DEMONSTRATION = Path(__file__).parent.parent.parent / "parameters"


def png(width: int, height: int, kept: int | None = None) -> bytes:
    """A white picture; or one of which only so many bytes were kept before it was put together."""
    rows = zlib.compress((b"\0" + b"\xff" * width) * height)[:kept]
    chunks = (
        b"IHDR" + struct.pack(">II5B", width, height, 8, 0, 0, 0, 0),
        b"IDAT" + rows,
        b"IEND",
    )
    parts = (
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


PNG = png(40, 32)


def svg(inside: str, head: str = 'viewBox="0 0 9 9"') -> bytes:
    return f'<svg xmlns="http://www.w3.org/2000/svg" {head}>{inside}</svg>'.encode()


def book_with(folder: Path, content: bytes | None, name: str = "mark.svg") -> Path:
    (folder / "mic.yml").write_text(BOOK.replace("  contacts:", f"  logo: {name}\n  contacts:"))
    if content is not None:
        (folder / name).write_bytes(content)
    return folder


def test_the_demonstrations_logo_and_a_png_are_read() -> None:
    logo = read_price_book(DEMONSTRATION, "RC").facility.logo
    assert logo is not None
    assert (logo.file, logo.content) == (
        "logo.svg",
        (DEMONSTRATION / "research-computing.svg").read_bytes(),
    )


def test_a_png_is_read(tmp_path: Path) -> None:
    logo = read_price_book(book_with(tmp_path, PNG, "Mark.PNG"), "MIC").facility.logo
    assert logo is not None
    assert (logo.file, logo.content) == ("logo.png", PNG)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, r"mark\.svg: there is no such file"),
        (b" " * (LARGEST + 1), "the logo has 200,001 bytes, and 200,000 are allowed"),
        (b"no drawing", "the logo is not plain XML"),
        (b"<html/>", "the logo is not an SVG drawing"),
        (b'<!DOCTYPE svg [<!ENTITY a "b">]>' + svg("&a;"), "it declares entities or a DTD"),
        (svg("<path/>", ""), "the logo has no viewBox"),
        (svg("<path/>", 'viewBox="0 0 9 0"'), "the logo has no viewBox"),
        (svg("<script>alert(1)</script>"), "the logo has the element <script>"),
        (svg("<text>RC</text>"), "the logo has the element <text>; save it as plain SVG of shapes"),
        (svg('<image href="x.png"/>'), "the logo has the element <image>"),
        (svg('<g><rect onclick="alert(1)"/></g>'), r"the logo has a script \(onclick\)"),
        (
            svg('<use xmlns:x="http://www.w3.org/1999/xlink" x:href="http://a.example/b#c"/>'),
            "the logo refers to 'http://a.example/b#c'",
        ),
        (svg("<rect style=\"fill: url('http://a.example')\"/>"), "the logo refers to 'fill: url"),
        (svg("<style>@IMPORT 'http://a.example';</style>"), "the logo refers to '@IMPORT"),
        (svg("<style>a {b: \\75rl(http://a.example)}</style>"), "the logo refers to"),
    ],
)
def test_an_svg_that_is_no_plain_drawing_is_refused(
    tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    with pytest.raises(BillingError, match=sentence):
        read_price_book(book_with(tmp_path, content), "MIC")


def test_a_drawing_may_refer_to_itself(tmp_path: Path) -> None:
    inside = '<defs><clipPath id="a"/></defs><g clip-path="url(#a)"><use href="#b"/></g>'
    assert read_price_book(book_with(tmp_path, svg(inside)), "MIC").facility.logo is not None


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"GIF89a", "the logo is not a whole PNG file; save it as PNG again"),
        (PNG[:-5], "the logo is not a whole PNG file"),
        (PNG[:50] + b"x" + PNG[51:], "the logo is not a whole PNG file"),
        (PNG[:8], "the logo is not a whole PNG file"),
        (png(40, 32, 0), "the logo is not a whole PNG file"),
        (png(40, 32, 9), "the logo is not a whole PNG file"),
        (png(16, 32), "16 × 32 pixels; give each side between 32 and 4,000"),
    ],
)
def test_a_png_that_is_damaged_or_too_small_is_refused(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    with pytest.raises(InvalidPriceBook, match=sentence):
        read_price_book(book_with(tmp_path, content, "mark.png"), "MIC")


@pytest.mark.parametrize("name", ["../mark.svg", "mark.gif", "[a]"])
def test_a_logo_is_named_as_a_file_beside_the_price_book(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidPriceBook, match=r"no name of a \.png or \.svg file"):
        read_price_book(book_with(tmp_path, None, name), "MIC")


@pytest.mark.parametrize("address", ["ftp://a.example/{number}", "https://a.example/{invoice}"])
def test_an_address_of_records_is_a_web_address(tmp_path: Path, address: str) -> None:
    stated = BOOK.replace("  contacts:", f'  record_url: "{address}"\n  contacts:')
    (tmp_path / "mic.yml").write_text(stated)
    with pytest.raises(InvalidPriceBook, match="is no web address; write it as https://"):
        read_price_book(tmp_path, "MIC")
