"""An invoice as an archival, accessible PDF (PDF/A-2a and PDF/UA-1), and letters about invoices.

Typst sets the page. Texts reach its template as JSON data and are never read as markup. System
fonts are ignored and the document's date is the invoice's, so the same invoice gives the same
bytes. Typst's own fonts have Latin, Greek and Cyrillic; those in fonts/ (Noto) have nearly all the
rest and are loaded where a text needs them. A character that no font has is written as its code
point, with a notice on the page, because a name must never turn into empty boxes:

    张伟 → 张伟        𓀀 → [U+13000]

A letter is the subject, text and HTML of a mail message, a function of the invoices or statement
alone. The text holds everything that the HTML holds. The HTML has its style in each element, since
mail programs drop style sheets, and loads nothing.

    Invoice RC-1994-00003: USD 1,204.11, Research Computing, October 1993
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from typst import Compiler, Fonts, TypstError

from billing_lib.documents.html import page_template
from billing_lib.documents.text import (
    Invoice,
    date_span,
    long_date,
    long_month,
    money,
    named,
    printable_invoice,
)
from billing_lib.documents.view import InvoiceView, view
from billing_lib.errors import count_of
from billing_lib.workflow.detail import CSV, detail_names

_TEMPLATES = Path(__file__).parent / "templates"
_STANDARDS: list[Literal["a-2a", "ua-1"]] = ["a-2a", "ua-1"]
# No font has the character, or PDF/A forbids it, as it does those for private use.
_UNDRAWABLE = re.compile("could not be displayed with font|the PDF contains the codepoint")

# Currencies of countries with US Letter paper (Unicode CLDR, supplemental data, paperSize).
_LETTER = frozenset(
    {"BZD", "CAD", "CLP", "COP", "CRC", "GTQ", "MXN", "NIO", "PAB", "PHP", "USD", "VES"}
)

_NOTO = Path(__file__).parent / "fonts"
"""The Noto fonts."""

_HAN = {"JP": "JP", "KR": "KR", "TW": "TC", "HK": "HK", "MO": "HK"}
"""The shape of Chinese characters by the facility's country; elsewhere that of China."""

# Scripts beyond Latin, Greek, Cyrillic and signs. (DejaVu Sans Mono would draw some, badly.)
_OTHER_SCRIPTS = re.compile("[\u0530-\u1cff\u2c00-\U0010ffff]")

BREAK = "\u200b"
"""Lets the template break a long word; absent from the PDF's text, so copying a code is safe."""

# A printed number, 1,234,567,890.12, stays on one line; a code of digits alone may break.
_LONG_WORD = re.compile(r"(?<!\S)(?!\N{MINUS SIGN}?\d{1,3}(,\d{3})*(\.\d+)?(?!\S))\S{13,}")
# Only between separate letters: Arabic ones join, and Chinese ones may break anyhow.
_BREAKABLE = re.compile(r"([-_./@:+|]|[0-9A-Za-z_\u00aa-\u052f]{10})(?=\w)")


def render_pdf(invoice: Invoice, page: InvoiceView | None = None) -> bytes:
    """The invoice as a PDF: PDF 1.7, tagged, PDF/A-2a and PDF/UA-1, A4 or US Letter.

    ``page`` is its view, if that is made already.
    """
    page = page or view(invoice)
    han = _HAN.get(invoice["facility"].get("country", ""), "SC")
    shown = page.data() | {"logo": page.logo.file if page.logo else None, "han": han}
    pictures = {page.logo.file: page.logo.content} if page.logo else {}
    if page.check:
        pictures["qr.svg"] = page.check.qr.encode()
    return typeset("invoice.typ", shown, pictures)


def typeset(template: str, page: Mapping[str, Any], pictures: Mapping[str, bytes]) -> bytes:
    """A page set by a Typst template; characters without a font are spelled out.

    Parameters
    ----------
    page
        The view, with ``currency``, which decides the paper, and ``han``, the Noto font for
        Chinese characters.
    pictures
        The template's pictures by file name.
    """
    shown = _mapped(dict(page), _composed)
    shown["paper"] = "us-letter" if shown["currency"] in _LETTER else "a4"
    shown["spelled_out"] = False
    plain = not any(_OTHER_SCRIPTS.search(text) for text in _texts(shown))
    for noto in (False, True) if plain else (True,):
        try:
            return _compile(template, _mapped(shown, _breakable), pictures, noto=noto)
        except TypstError as error:
            if not _UNDRAWABLE.search(error.message):
                raise
    words = {word for text in _texts(shown) for word in text.split() if not word.isascii()}
    spelled = {word: _spelled_out(word) for word in _undrawable(sorted(words))}

    def spell(text: str) -> str:
        return re.sub(r"\S+", lambda word: spelled.get(word[0], word[0]), text)

    shown = _mapped(shown, spell) | {"spelled_out": True}
    return _compile(template, _mapped(shown, _breakable), pictures, noto=True)


@cache
def _fonts(*, noto: bool) -> Fonts:
    """The fonts inside Typst, and the Noto fonts, which take longer to open."""
    return Fonts(include_system_fonts=False, font_paths=[str(_NOTO)] if noto else [])


@cache
def _template_files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(_TEMPLATES.glob("*.typ"))}


def _compile(
    template: str, data: Mapping[str, Any], pictures: Mapping[str, bytes], *, noto: bool
) -> bytes:
    # Typst takes binary files from a folder only, not from a dictionary.
    with TemporaryDirectory(prefix="billing-pdf-") as folder:
        for name, content in (_template_files() | dict(pictures)).items():
            (Path(folder) / name).write_bytes(content)
        compiler = Compiler(
            str(Path(folder) / template),
            root=folder,
            font_paths=_fonts(noto=noto),
            ignore_system_fonts=True,
            sys_inputs={"data": json.dumps(data, ensure_ascii=False)},
        )
        pdf = compiler.compile(format="pdf", pdf_standards=list(_STANDARDS))
    if not isinstance(pdf, bytes):
        raise TypeError(f"typst gave {type(pdf).__name__} instead of one PDF")
    return pdf


def _undrawable(words: list[str]) -> list[str]:
    """The words that the fonts cannot draw, found by halving: few words, few tries."""
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
    """The word with its missing characters as code points, or with all but ASCII as such."""
    spelled = "".join(char if _drawable(char) else f"[U+{ord(char):04X}]" for char in word)
    if _drawable(spelled):
        return spelled
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


def _composed(text: str) -> str:
    # Fonts have é as one glyph more often than as e with a combining accent.
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _breakable(text: str) -> str:
    return _LONG_WORD.sub(lambda word: _BREAKABLE.sub(rf"\1{BREAK}", word[0]), text)


Link = Callable[[str], str | None]
"""The address of the page about an invoice number or statement id, or None."""

_NO_LINK: dict[str, str | None] = {}


@dataclass(frozen=True)
class Letter:
    """The content of a mail message."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True)
class _Table:
    """A table in a letter: the last column holds amounts, the first may be links."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    links: Sequence[str | None]
    footer: Sequence[str] = ()


@dataclass(frozen=True)
class _View:
    """The content of both templates, every text finished."""

    facility: str
    title: str
    opening: str
    facts: Sequence[tuple[str, str]]
    total: tuple[str, str]
    tables: Sequence[_Table]
    link: str | None
    button: str
    texts: Sequence[tuple[str, str]]
    closing: str


def invoice_letter(
    invoices: Sequence[Invoice], link: Link = _NO_LINK.get, *, detail: bool = True
) -> Letter:
    """The letter about a ready invoice, or a digest of several of one facility.

    Parameters
    ----------
    invoices
        Canonical invoices with numbers, in the order to list them.
    detail
        Whether the files with all charges are attached, where lines sum several.
    """
    shown = [printable_invoice(invoice) for invoice in invoices]
    if len(shown) == 1:
        return _one_invoice(shown[0], link, detail=detail)
    return _digest(shown, link, detail=detail)


def _detail(invoices: Sequence[dict[str, Any]], *, attached: bool) -> str:
    """The files with all charges in words; empty without any."""
    files = ", ".join(name for invoice in invoices for name in detail_names(invoice, CSV))
    where = "attached" if attached else "too large for a message; the contacts below have them"
    return f"{files} ({where})" if files else ""


def statement_letter(
    statement: Mapping[str, Any],
    link: Link = _NO_LINK.get,
    *,
    attached: bool = False,
    updated: bool = False,
) -> Letter:
    """The letter about a team's statement.

    Parameters
    ----------
    attached
        Whether its document comes with it.
    updated
        Whether it replaces a statement sent earlier.
    """
    shown = printable_invoice(statement)
    totals, currency, team = shown["totals"], shown["currency"], shown["team"]["name"]
    title = f"{'Updated statement' if updated else 'Statement'} {shown['id']}"
    month = long_month(shown["period"])
    facts = [
        ("Team", named(shown["team"])),
        ("Month", month),
        ("Invoices", f"{totals['invoices']:,}"),
        ("Total of the invoices", _amount(totals["raw_total"], currency)),
    ]
    if Decimal(totals["adjustment"]):
        facts.append(("Adjustments", _amount(totals["adjustment"], currency)))
    if Decimal(totals["prepaid"]):
        facts.append(("Total", _amount(totals["total"], currency)))
        facts.append(("From prepaid funds", _amount(f"-{totals['prepaid']}", currency)))
    if shown["payment"] is not None:
        facts.append(("Paid on", long_date(shown["payment"]["date"])))
    facilities = [part["facility"]["name"] for part in shown["facilities"]]
    opening = f"This is the statement of {team} for {month}, over {_and(facilities)}."
    if attached:
        opening += " It is attached as a PDF."
    if updated:
        opening += " It replaces the one that was sent before."
    return _letter(
        f"{title}: {_amount(totals['due'], currency)}, {team}, {month}",
        _View(
            facility=_and(facilities),
            title=title,
            opening=opening,
            facts=facts,
            total=("Due" if shown["payment"] is None else "Paid", _amount(totals["due"], currency)),
            tables=[_stated(part, currency, link) for part in shown["facilities"]],
            link=link(shown["id"]),
            button="Open the statement",
            texts=[],
            closing=f"You receive this as a person responsible for the debts of {team}.",
        ),
    )


def _one_invoice(invoice: dict[str, Any], link: Link, *, detail: bool) -> Letter:
    number, team, currency = invoice["number"], invoice["team"]["name"], invoice["currency"]
    totals, prepaid = invoice["totals"], invoice["prepaid"]
    covered = invoice["dates_covered"]
    facts = [
        ("Team", named(invoice["team"])),
        ("Project", named(invoice["project"])),
        ("Reference", invoice["reference"] or ""),
        ("Replaces", f"invoice {invoice['replaces']}" if invoice["replaces"] else ""),
        ("Dates covered", date_span(covered["from"], covered["to"])),
        ("Invoice date", long_date(invoice["invoice_date"])),
        ("Charges", f"{totals['charges']:,}"),
        ("All charges", _detail([invoice], attached=detail)),
    ]
    total = ("Total", _amount(totals["total"], currency))
    if prepaid is not None:
        facts += [total, ("From prepaid funds", _amount(f"-{prepaid['drawn']}", currency))]
        total = ("Left to pay", _amount(totals["due"], currency))
    facility = _facility(invoice)
    return _letter(
        f"Invoice {number}: {_amount(totals['total'], currency)}, {facility}, "
        f"{long_month(invoice['period'])}",
        _View(
            facility=facility,
            title=f"Invoice {number}",
            opening=f"Invoice {number} of {facility} to {team} is ready. It is attached as a PDF.",
            facts=[(label, text) for label, text in facts if text],
            total=total,
            tables=[],
            link=link(number),
            button="Open the invoice",
            texts=[*(("Note", note) for note in invoice["notes"]), *_standing_texts(invoice)],
            closing=_administrator([team]),
        ),
    )


def _digest(invoices: list[dict[str, Any]], link: Link, *, detail: bool) -> Letter:
    first = invoices[0]
    facility, currency, month = _facility(first), first["currency"], long_month(first["period"])
    total = str(sum(Decimal(invoice["totals"]["total"]) for invoice in invoices))
    count = len(invoices)
    teams = sorted({invoice["team"]["name"] for invoice in invoices})
    files = _detail(invoices, attached=detail)
    table = _Table(
        "Invoices",
        ("Invoice", "Project", "Team", f"Total ({currency})"),
        [
            (it["number"], named(it["project"]), it["team"]["name"], money(it["totals"]["total"]))
            for it in invoices
        ],
        [link(it["number"]) for it in invoices],
        ("Total", "", "", money(total)),
    )
    return _letter(
        f"{count_of(count, 'invoice')}: {_amount(total, currency)}, {facility}, {month}",
        _View(
            facility=facility,
            title=f"{count_of(count, 'invoice')} for {month}",
            opening=(
                f"{count_of(count, 'invoice')} of {facility} are ready. They are attached as PDF."
            ),
            facts=[("All charges", files)] if files else [],
            total=("Total", _amount(total, currency)),
            tables=[table],
            link=None,
            button="",
            texts=_standing_texts(first),  # notes stand in the documents
            closing=_administrator(teams),
        ),
    )


def _stated(part: dict[str, Any], currency: str, link: Link) -> _Table:
    rows = [
        (it["number"], it["project"], long_date(it["invoice_date"]), money(it["total"]))
        for it in part["invoices"]
    ]
    rules = [
        (f"{it['rule']} ({it['kind']})", "", "", money(it["amount"])) for it in part["adjustments"]
    ]
    return _Table(
        part["facility"]["name"],
        ("Invoice", "Project", "Date", f"Total ({currency})"),
        [*rows, *rules],
        [*(link(it["number"]) for it in part["invoices"]), *(None for _ in rules)],
        ("Total", "", "", money(part["total"])),
    )


def _standing_texts(invoice: dict[str, Any]) -> list[tuple[str, str]]:
    facility = invoice["facility"]
    texts = [
        (label, (facility[label.lower()] or "").strip()) for label in ("Instructions", "Contacts")
    ]
    return [(label, text) for label, text in texts if text]


def _administrator(teams: list[str]) -> str:
    return (
        f"You receive this as an administrator of {_and(teams)}. Ask the contacts to send invoices "
        "one by one, together, or not at all."
    )


def _facility(invoice: dict[str, Any]) -> str:
    return str(invoice["facility"]["name"] or invoice["facility"]["code"])


def _amount(amount: str, currency: str) -> str:
    # Callers negate an amount by a minus sign before it; a negative one then has two.
    return f"{currency} {money(amount.replace('--', ''))}"


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _letter(subject: str, view: _View) -> Letter:
    return Letter(
        " ".join(subject.split()),
        page_template("mail.txt.j2").render(mail=view, aligned=_aligned),
        page_template("mail.html.j2").render(mail=view),
    )


def _aligned(table: _Table) -> list[str]:
    """The table as lines of text with padded columns, the last one aligned right."""
    rows = [row for row in (table.columns, *table.rows, table.footer) if row]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(widths) - 1
    return [
        "  ".join(
            cell.rjust(width) if at == last else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
