"""Words and numbers as a document prints them, the same on every machine.

Nothing here asks the locale: thousands are grouped by commas, months have their English names,
and digits are those of the canonical decimal strings, none added and none rounded away.

    money("-1234.50")        → −1,234.50
    long_date("1993-11-08")  → 8 November 1993
    instant("2020-05-01T09:00:00-04:00") → 2020-05-01 09:00:00 −04:00
"""

import json
import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

Invoice = Mapping[str, Any]
"""A canonical invoice as read from its JSON; keys a document does not know are ignored."""

NOTHING = "–"
"""Stands where there is no value, so that an empty cell is never mistaken for a lost one."""

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_NEW_LINE = re.compile("\r\n|[\r\x85\u2028\u2029]")
# Characters no document may hold: controls and surrogates (XML forbids them, fonts lack them).
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# Invisible ones that could reorder or break up what is read: bidi overrides, zero-width, BOM.
_INVISIBLE = re.compile("[\u00ad\u200b\u202a-\u202e\u2060\u2066-\u2069\ufeff]")


def draft_of(invoice: Invoice) -> str:
    """A draft's code; empty for an invoice that is issued (workflow/issue.py)."""
    return "" if invoice["number"] else str(invoice["draft"])


def file_name(invoice: Invoice, suffix: str) -> str:
    """A document's file: ``RC-1994-00001.pdf``; of a draft ``RC-1993-11-1_u4.pdf``."""
    return f"{invoice['number'] or draft_of(invoice)}.{suffix}".replace("/", "_")


def printable(text: str) -> str:
    """The text with line ends as ``\\n``, and without characters that no page can show.

    Control characters become U+FFFD, which is visible; bidirectional overrides and zero-width
    characters, which could make an amount or a name read otherwise than it is, go.
    """
    if text.isascii() and text.isprintable():  # nearly every text, and much sooner known
        return text
    text = _NEW_LINE.sub("\n", text).replace("\t", " ")
    return _INVISIBLE.sub("", _FORBIDDEN.sub(_REPLACEMENT, text))


def printable_invoice(invoice: Invoice) -> dict[str, Any]:
    """The invoice with every text in it made :func:`printable`."""
    return {key: _printable_value(value) for key, value in invoice.items()}


def _printable_value(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {key: _printable_value(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_printable_value(part) for part in value]
    return value


def number(value: str | None) -> str:
    """A decimal string with its thousands grouped and a true minus sign; NOTHING for none.

    The places stay as they stand: ``0.002778`` and ``1200`` come out unchanged but for commas.
    """
    if value is None:
        return NOTHING
    return f"{Decimal(value):,f}".replace("-", "\N{MINUS SIGN}")


money = number
"""An amount: already in the currency's minor unit, so it is printed as a number is."""


def long_date(iso: str) -> str:
    """An ISO date in words, day first: ``8 November 1993``."""
    day = date.fromisoformat(iso)
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def short_month(period: str) -> str:
    """A month, ``YYYY-MM``, by its first three letters."""
    return _MONTHS[int(period[5:7]) - 1][:3]


def long_month(iso: str) -> str:
    """A month ``YYYY-MM`` in words: ``October 1993``."""
    year, month = iso.split("-")
    return f"{_MONTHS[int(month) - 1]} {year}"


def date_span(first: str, last: str) -> str:
    """The dates covered, in words; a single day once."""
    if first == last:
        return long_date(first)
    return f"{long_date(first)} – {long_date(last)}"


def instant(iso: str) -> str:
    """A moment as date, wall time and its distance from UTC, to the second."""
    moment = datetime.fromisoformat(iso)
    offset = moment.isoformat(timespec="seconds")[19:].replace("-", "\N{MINUS SIGN}")
    offset = "UTC" if offset == "+00:00" else offset
    return f"{moment:%Y-%m-%d %H:%M:%S} {offset}".rstrip()


def value_of(field: str, value: Any) -> str:
    """What an adjustment found or left, in words: a number, a text or a split.

    A split, ``[{"expense_code": "370-1", "percent": "60"}, …]``, reads ``370-1 60 %, …``.
    """
    if value is None:
        return NOTHING
    if field == "split" and isinstance(value, str):
        value = json.loads(value)  # events and adjustments keep a split as canonical JSON
    if isinstance(value, list):
        return ", ".join(value_of(field, part) for part in value)
    if isinstance(value, Mapping):
        if {"expense_code", "percent"} <= value.keys():
            return f"{value['expense_code']} {number(str(value['percent']))} %"
        return ", ".join(f"{key} {value_of(key, part)}" for key, part in value.items())
    if field != "expense_code" and re.fullmatch(r"-?\d+(\.\d+)?", str(value)):
        return number(str(value))
    return str(value)
