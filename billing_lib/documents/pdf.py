"""An invoice as a PDF that is archival and accessible (PDF/A-2a and PDF/UA-1), set by Typst.

Texts reach the template as JSON data and are never read as markup. System fonts are ignored, and
the document's date is the invoice's: the same invoice gives the same bytes. The fonts inside
Typst have Latin, Greek and Cyrillic; the Noto fonts, which the lock pins, nearly all the rest, and
are loaded where a text needs them. What no font has is written as its code point and the page says
so, for a name must never turn into empty boxes:

    张伟 → 张伟        𓀀 → [U+13000]
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from typst import Compiler, Fonts, TypstError

from billing_lib.documents.text import Invoice
from billing_lib.documents.view import InvoiceView, view

_TEMPLATES = Path(__file__).parent / "templates"
_STANDARDS: list[Literal["a-2a", "ua-1"]] = ["a-2a", "ua-1"]
# No font has the character; or one has, but PDF/A forbids it, as those for private use.
_UNDRAWABLE = re.compile("could not be displayed with font|the PDF contains the codepoint")

# Where paper is US Letter (Unicode CLDR, supplemental data, paperSize), by currency.
_LETTER = frozenset(
    {"BZD", "CAD", "CLP", "COP", "CRC", "GTQ", "MXN", "NIO", "PAB", "PHP", "USD", "VES"}
)

_NOTO = ("manimgx_fonts", "manimgx_fonts_cjk")
"""Packages that hold Noto fonts and nothing else."""

_HAN = {"JP": "JP", "KR": "KR", "TW": "TC", "HK": "HK", "MO": "HK"}
"""How Chinese characters are shaped, by the facility's country; elsewhere as in China."""

# Scripts beyond Latin, Greek, Cyrillic and signs. (DejaVu Sans Mono would draw some, badly.)
_OTHER_SCRIPTS = re.compile("[\u0530-\u1cff\u2c00-\U0010ffff]")

BREAK = "\u200b"
"""Where the template may break a long word; never in the PDF's text, so copying a code is safe."""

# A printed number, 1,234,567,890.12, stays on one line; a code of digits alone may break.
_LONG_WORD = re.compile(r"(?<!\S)(?!\N{MINUS SIGN}?\d{1,3}(,\d{3})*(\.\d+)?(?!\S))\S{13,}")
# Only where letters stand apart: Arabic ones join, and Chinese ones may break anyhow.
_BREAKABLE = re.compile(r"([-_./@:+|]|[0-9A-Za-z_\u00aa-\u052f]{10})(?=\w)")


def render_pdf(invoice: Invoice) -> bytes:
    """The invoice as PDF bytes: PDF 1.7, tagged, PDF/A-2a and PDF/UA-1, A4 or US Letter."""
    page = view(invoice)
    han = _HAN.get(invoice["facility"].get("country", ""), "SC")
    shown = asdict(page) | {"logo": page.logo.file if page.logo else None, "han": han}
    return typeset("invoice.typ", shown, _pictures(page))


def typeset(template: str, said: Mapping[str, Any], pictures: Mapping[str, bytes]) -> bytes:
    """A page set by a template; what no font can draw is spelled out.

    Parameters
    ----------
    said
        The page's view, with ``currency``, which says the paper, and ``han``, which of the Noto
        fonts draws Chinese characters.
    pictures
        What the template draws, by file name.
    """
    shown = _composed(dict(said))
    shown["paper"] = "us-letter" if shown["currency"] in _LETTER else "a4"
    shown["spelled_out"] = False
    plain = not any(_OTHER_SCRIPTS.search(text) for text in _texts(shown))
    for noto in (False, True) if plain else (True,):
        try:
            return _compile(template, _breakable(shown), pictures, noto=noto)
        except TypstError as error:
            if not _UNDRAWABLE.search(error.message):
                raise
    words = {word for text in _texts(shown) for word in text.split() if not word.isascii()}
    spelled = {word: _spelled_out(word) for word in _undrawable(sorted(words))}
    shown = _replaced(shown, spelled) | {"spelled_out": True}
    return _compile(template, _breakable(shown), pictures, noto=True)


@cache
def _fonts(*, noto: bool) -> Fonts:
    """The fonts inside Typst, and the Noto fonts, which take longer to open."""
    folders = [str(files(package)) for package in _NOTO] if noto else []
    return Fonts(include_system_fonts=False, font_paths=folders)


@cache
def _template_files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(_TEMPLATES.glob("*.typ"))}


def _pictures(page: InvoiceView) -> dict[str, bytes]:
    """What the template draws, by file name."""
    logo = {page.logo.file: page.logo.content} if page.logo else {}
    return logo | ({"qr.svg": page.check.qr.encode()} if page.check else {})


def _compile(
    template: str, data: Mapping[str, Any], pictures: Mapping[str, bytes], *, noto: bool
) -> bytes:
    sources = _template_files()
    compiler = Compiler(
        # typst's own stub leaves out that files may come as a dictionary.
        {"main.typ": sources[template], **sources, **pictures},  # type: ignore[type-var]
        font_paths=_fonts(noto=noto),
        ignore_system_fonts=True,
        sys_inputs={"data": json.dumps(data, ensure_ascii=False)},
    )
    pdf = compiler.compile(format="pdf", pdf_standards=list(_STANDARDS))
    if not isinstance(pdf, bytes):
        raise TypeError(f"typst gave {type(pdf).__name__} where one PDF was asked for")
    return pdf


def _undrawable(words: list[str]) -> list[str]:
    """Those of the words that the fonts cannot draw, found by halving: few words, few tries."""
    if not words or _drawable("  ".join(words)):
        return []
    if len(words) == 1:
        return words
    middle = len(words) // 2
    return _undrawable(words[:middle]) + _undrawable(words[middle:])


@lru_cache(maxsize=4096)
def _drawable(text: str) -> bool:
    try:
        _compile("probe.typ", {"text": text, "han": "SC"}, {}, noto=True)
    except TypstError as error:
        if not _UNDRAWABLE.search(error.message):
            raise
        return False
    return True


def _spelled_out(word: str) -> str:
    """The word with its missing characters as code points; all but ASCII if need be."""
    gentle = "".join(char if _drawable(char) else f"[U+{ord(char):04X}]" for char in word)
    if _drawable(gentle):
        return gentle
    return "".join(char if char.isascii() else f"[U+{ord(char):04X}]" for char in word)


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(part, change) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(part, change) for part in value]
    return value


def _composed(shown: dict[str, Any]) -> dict[str, Any]:
    # Fonts hold é as one glyph more often than e and an accent to be put together.
    def change(text: str) -> str:
        return text if text.isascii() else unicodedata.normalize("NFC", text)

    return dict(_mapped(shown, change))


def _replaced(shown: dict[str, Any], spelled: Mapping[str, str]) -> dict[str, Any]:
    def change(text: str) -> str:
        return re.sub(r"\S+", lambda word: spelled.get(word[0], word[0]), text)

    return dict(_mapped(shown, change))


def _breakable(shown: dict[str, Any]) -> dict[str, Any]:
    def change(text: str) -> str:
        return _LONG_WORD.sub(lambda word: _BREAKABLE.sub(rf"\1{BREAK}", word[0]), text)

    return dict(_mapped(shown, change))
