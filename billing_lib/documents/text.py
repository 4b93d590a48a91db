"""Words and numbers of a printed document, the same on every machine.

The locale plays no part: commas group thousands, months have their English names, and a canonical
decimal string keeps its digits, none added and none rounded away. The sandbox for templates loads
this file alone (exports/template_worker.py), so it imports nothing of the program.

    money("-1234.50")        → −1,234.50
    long_date("1993-11-08")  → 8 November 1993
    instant("2020-05-01T09:00:00-04:00") → 2020-05-01 09:00:00 −04:00
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

Invoice = Mapping[str, Any]
"""A canonical invoice as read from its JSON; documents ignore unknown keys."""

NOTHING = "–"
"""Marks an absent value, so that a reader never takes an empty cell for a lost value."""

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_NEW_LINE = re.compile("\r\n|[\r\x85\u2028\u2029]")
# Controls and surrogates: XML forbids them, fonts lack them.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# Invisible characters that could change the reading: bidi overrides, zero-width, BOM.
_INVISIBLE = re.compile("[\u00ad\u200b\u202a-\u202e\u2060\u2066-\u2069\ufeff]")


def draft_of(invoice: Invoice) -> str:
    """A draft's code (workflow/issue.py); empty for an issued invoice."""
    return "" if invoice["number"] else str(invoice["draft"])


def file_name(invoice: Invoice, suffix: str) -> str:
    """A document's file name: ``RC-1994-00001.pdf``, for a draft ``RC-1993-11-1_u4.pdf``."""
    return f"{invoice['number'] or draft_of(invoice)}.{suffix}".replace("/", "_")


def printable(text: str) -> str:
    """The text with line ends as ``\\n``, without characters that no page can show.

    Control characters become U+FFFD, which is visible. Bidirectional overrides and zero-width
    characters are removed: they could falsify the reading of an amount or a name.
    """
    if text.isascii() and text.isprintable():  # nearly every text, and a quick test
        return text
    text = _NEW_LINE.sub("\n", text).replace("\t", " ")
    return _INVISIBLE.sub("", _FORBIDDEN.sub(_REPLACEMENT, text))


def printable_invoice(invoice: Invoice) -> dict[str, Any]:
    """The invoice with all its texts :func:`printable`, and the code in place of a blank name."""
    return {key: _printable_value(value) for key, value in invoice.items()}


def _printable_value(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        shown = {key: _printable_value(part) for key, part in value.items()}
        name = shown.get("name")
        if isinstance(name, str) and not name.strip():
            shown["name"] = shown.get("code") or shown.get("item") or name
        return shown
    if isinstance(value, list):
        return [_printable_value(part) for part in value]
    return value


def number(value: str | None) -> str:
    """A decimal string with grouped thousands, a true minus sign and its own decimal places."""
    if value is None:
        return NOTHING
    return f"{Decimal(value):,f}".replace("-", "\N{MINUS SIGN}")


def at_least(value: str, like: str) -> str:
    """A :func:`number` with another's decimal places at least: ``40`` like 1.25 is 40.00."""
    places = len(like.partition(".")[2])
    text = number(value)
    lacking = places - len(text.partition(".")[2])
    return text if lacking <= 0 else f"{text}{'' if '.' in text else '.'}{'0' * lacking}"


money = number
"""An amount; its string has the currency's decimal places already."""


def long_date(iso: str) -> str:
    """An ISO date in words: ``8 November 1993``."""
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
    """Two dates as a span in words; a single day once."""
    if first == last:
        return long_date(first)
    return f"{long_date(first)} – {long_date(last)}"


def instant(iso: str) -> str:
    """An instant as date, local time and offset from UTC, to the second."""
    moment = datetime.fromisoformat(iso)
    offset = moment.isoformat(timespec="seconds")[19:].replace("-", "\N{MINUS SIGN}")
    offset = "UTC" if offset == "+00:00" else offset
    return f"{moment:%Y-%m-%d %H:%M:%S} {offset}".rstrip()


def named(party: Mapping[str, Any]) -> str:
    """A team or project by name and code: ``Biology (bio)``."""
    name, code = party["name"], party["code"]
    return f"{name} ({code})" if name and name != code else str(code)


def rule_text(step: Mapping[str, Any]) -> str:
    """A rule's name, kind and target (items or a user): ``pilot price (scale on compute)``."""
    on = f" on {step['on']}" if step.get("on") else ""
    return f"{step['rule']} ({step['kind']}{on})"


def percent_text(share: Mapping[str, Any], after: str = ", ") -> str:
    """A share's percentage; empty where it is not the same for all charges of its line."""
    return "" if share["percent"] is None else f"{number(share['percent'])} %{after}"


def share_text(shares: Sequence[Mapping[str, Any]]) -> str:
    """A charge's expense codes, a line each; percent and amount where there are several."""
    if len(shares) == 1:
        return shares[0]["expense_code"] or NOTHING
    return (
        "\n".join(
            f"{share['expense_code'] or NOTHING}: {percent_text(share)}{money(share['amount'])}"
            for share in shares
        )
        or NOTHING
    )


def value_of(field: str, value: Any) -> str:
    """A value before or after an adjustment, in words: a number, a text or a split.

    A split, ``[{"expense_code": "370-1", "percent": "60"}, …]``, reads ``370-1 60 %, …``.
    """
    if value is None:
        return NOTHING
    if field == "split" and isinstance(value, str):
        value = json.loads(value)  # events and adjustments store a split as canonical JSON
    if isinstance(value, list):
        return ", ".join(value_of(field, part) for part in value)
    if isinstance(value, Mapping):
        if {"expense_code", "percent"} <= value.keys():
            return f"{value['expense_code']} {number(str(value['percent']))} %"
        return ", ".join(f"{key} {value_of(key, part)}" for key, part in value.items())
    if field != "expense_code" and re.fullmatch(r"-?\d+(\.\d+)?", str(value)):
        return number(str(value))
    return str(value)
