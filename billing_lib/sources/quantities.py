"""Numbers and durations of files, as exact decimals and whole microseconds.

How numbers are written is a property of the file: declared by the mapping's ``numbers``, or found
from all number columns together, never cell by cell.

    12,5  1.234  1.234,50      the first has a decimal comma, so 1.234 is 1234
    0.125  1.250               the first has a decimal point, so 1.250 is 1.25
    1.234  2.500               nothing decides: the file is refused, and both readings are shown
    12.5  12,5                 both writings: the file is refused

Spaces (also the narrow ones that do not break) and apostrophes stand between thousands in either
writing. Quantities have nine decimal places and 12 digits before them:

    12  0.25  +1.5  1.500000000000   read as they stand; zeros at the end do not count
    1e3  twelve                      not numbers
    0.1234567891                     not read: more than nine decimals, and none is dropped
    -3                               read, with a trouble: usage is never negative

A binary float is the shortest decimal that reads back as the same float, as the person typed it:
0.1 is 0.1, not 0.1000000000000000055. A typed number is never ambiguous.

How a duration is written is declared by ``measure``; without it only 02:30:00 and 1-02:30:00 say
by themselves how long they are:

    hours 1.5   minutes 90   seconds 5400   [h]:mm 1:30   [h]:mm:ss 1:30:00   d-hh:mm:ss 0-01:30:00
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import polars as pl

from billing_lib.errors import UnreadableFile
from billing_lib.pricing.fields import DECIMAL, LONGEST
from billing_lib.pricing.money import plain_text
from billing_lib.pricing.rating import LARGEST_QUANTITY

_NUMBER = r"^[+-]?(?:\d+(?:\.\d*)?|\.\d+)$"
_DECIMALS = r"\.\d{9}\d*[1-9]"
_HOW_TO_WRITE = "write it like 12 or 0.25"

_SPACES = " \u00a0\u2009\u202f"
_GROUPS = {".": r"\.", ",": ",", "'": "['\u2019]", "\u2019": "['\u2019]"} | dict.fromkeys(
    _SPACES, f"[{_SPACES}]"
)
_EXAMPLE = re.compile(rf"1([.,'\u2019{_SPACES}]?)234([.,])5")


@dataclass(frozen=True)
class Numbers:
    """A writing of numbers: the decimal mark, and the marks that may stand between thousands."""

    example: str
    decimal: str
    groups: tuple[str, ...]

    @classmethod
    def declared(cls, example: str) -> "Numbers":
        """The writing of an example such as ``1.234,5``; ValueError if it is none."""
        match = _EXAMPLE.fullmatch(example)
        if match is None or match[1] == match[2]:
            raise ValueError(
                f"'{example}' does not show how numbers are written; "
                'write "1,234.5", "1.234,5", "1 234,5", "1\'234.5" or "1234,5"'
            )
        return cls(example, match[2], (_GROUPS[match[1]],) if match[1] else ())

    @property
    def pattern(self) -> str:
        """The numbers of this writing, as a regular expression."""
        grouped = "".join(f"|[1-9]\\d{{0,2}}(?:{group}\\d{{3}})+" for group in self.groups)
        mark = re.escape(self.decimal)
        return rf"^[+-]?(?:(?:\d+{grouped})(?:{mark}\d*)?|{mark}\d+)$"

    def plain(self, texts: pl.Series) -> pl.Series:
        """The texts in plain digits with a decimal point; null where one is not so written."""
        frame = pl.DataFrame({"text": texts})
        digits = pl.col("text")
        for group in self.groups:
            digits = digits.str.replace_all(group, "")
        digits = digits.str.replace(self.decimal, ".", literal=True)
        written = pl.col("text").str.contains(self.pattern)
        return frame.select(pl.when(written).then(digits)).to_series()


_OTHERS = (_GROUPS["'"], _GROUPS[" "])
POINT = Numbers("1,234.5", ".", (_GROUPS[","], *_OTHERS))
COMMA = Numbers("1.234,5", ",", (_GROUPS["."], *_OTHERS))


def find_numbers(columns: Mapping[str, pl.Series], where: str) -> Numbers:
    """The writing of a file's numbers: with a decimal point unless a comma is shown to be one.

    Parameters
    ----------
    columns
        Texts by the name of their column, for messages.

    Raises
    ------
    UnreadableFile
        Nothing decides between two readings, or the file has numbers of both writings.
    """
    only_point = only_comma = either = None
    for name, texts in columns.items():
        marked = texts.filter(texts.str.contains("[.,]").fill_null(value=False))
        if marked.is_empty():
            continue
        point, comma = (marked.str.contains(each.pattern) for each in (POINT, COMMA))
        for found, chosen in ((point & ~comma, 0), (comma & ~point, 1), (point & comma, 2)):
            if not found.any():
                continue
            shown = (name, str(marked.filter(found)[0]))
            if chosen == 0:
                only_point = only_point or shown
            elif chosen == 1:
                only_comma = only_comma or shown
            else:
                either = either or shown
    if only_point and only_comma:
        raise UnreadableFile(
            f"'{only_point[1]}' has a decimal point and '{only_comma[1]}' a decimal comma",
            where=f"{where}, {only_comma[0]}",
            remedy='write all numbers alike, or declare one writing in the mapping (numbers: "'
            f'{POINT.example}" or numbers: "{COMMA.example}"), and the other rows are held back',
        )
    if either and not (only_point or only_comma):
        name, text = either
        readings = (each.plain(pl.Series([text])).item() for each in (POINT, COMMA))
        as_point, as_comma = (plain_text(Decimal(reading)) for reading in readings)
        raise UnreadableFile(
            f"'{text}' is {as_point} with a decimal point and {as_comma} with a decimal comma, "
            "and no number of the file tells which it has",
            where=f"{where}, {name}",
            remedy=f"declare it in the mapping of the price book's sources: numbers: \""
            f'{POINT.example}" or numbers: "{COMMA.example}"',
        )
    return COMMA if only_comma else POINT


def read_quantities(
    column: pl.Series, numbers: Numbers = POINT, typed: pl.Series | None = None
) -> tuple[pl.Series, pl.Series]:
    """Read a column of numbers, texts or typed.

    Parameters
    ----------
    numbers
        The writing of texts.
    typed
        Boolean: the texts that stand for typed numbers, as in a workbook; none by default.

    Returns DECIMAL, null where empty or not readable, and String: a sentence on the value.
    """
    frame = pl.DataFrame({"shown": _texts(column)})
    frame = frame.with_columns(text=_plain(frame["shown"], column, numbers, typed))
    number = pl.col("text").str.contains(_NUMBER)
    fine = pl.col("text").str.contains(_DECIMALS)
    value = pl.when(number & ~fine).then("text").str.strip_prefix("+").cast(DECIMAL, strict=False)
    frame = frame.with_columns(value=value)
    given = pl.col("shown").is_not_null()
    large = pl.col("value").abs() >= LARGEST_QUANTITY
    wrong = given & (pl.col("value").is_null() | (pl.col("value") < 0) | large)
    if not frame.select(wrong.any()).item():
        return frame["value"], _nulls(frame.height)
    other = "" if numbers.decimal == "." else f" as the file writes them ({numbers.example})"
    complaint = (
        pl.when(pl.col("value") < 0)
        .then(pl.lit("is negative; usage is zero or more"))
        .when(number & fine)
        .then(pl.lit("has more than nine decimals; round it in the file"))
        .when(number)
        .then(pl.lit("is too large to be counted"))
        .when(pl.col("shown").str.contains(r"^\d+:\d\d"))
        .then(pl.lit("is a duration; declare how it is written by the mapping's key measure"))
        .otherwise(pl.lit(f"is not a number{other}; {_HOW_TO_WRITE}"))
    )
    frame = frame.with_columns(
        value=pl.when(~large).then("value"),
        trouble=pl.when(wrong).then(pl.format("'{}' {}", "shown", complaint)),
    )
    return frame["value"], frame["trouble"]


COST = pl.Decimal(38, 24)
"""A cost as a file states it: 24 decimals, 14 digits before them."""

_EXPONENT = r"^[+-]?(?:\d+\.?\d*|\.\d+)[eE][+-]?\d{1,2}$"


def read_costs(
    column: pl.Series, numbers: Numbers = POINT, typed: pl.Series | None = None
) -> tuple[pl.Series, pl.Series]:
    """Read a column of amounts of money of any sign; parameters as for :func:`read_quantities`.

    Returns COST, null where empty or not readable, and String: a sentence on the value.
    """
    shown = _texts(column)
    text = _plain(shown, column, numbers, typed)
    exponents = shown.str.contains(_EXPONENT).fill_null(value=False)
    if exponents.any():
        spelled = shown.filter(exponents).map_elements(plain, return_dtype=pl.String)
        text = text.scatter(exponents.arg_true(), spelled)
    frame = pl.DataFrame({"shown": shown, "text": text})
    number = pl.col("text").str.contains(_NUMBER)
    fine = pl.col("text").str.contains(r"\.\d{24}\d*[1-9]")
    value = pl.when(number & ~fine).then("text").str.strip_prefix("+").cast(COST, strict=False)
    frame = frame.with_columns(value=value)
    frame = frame.with_columns(
        value=pl.when(pl.col("value").abs() < LARGEST_QUANTITY).then("value")
    )
    complaint = (
        pl.when(pl.col("shown").is_null())
        .then(pl.lit("nothing stands where a cost belongs"))
        .when(number & fine)
        .then(pl.format("'{}' has more than 24 decimals", "shown"))
        .when(number)
        .then(pl.format("'{}' is too large to be counted", "shown"))
        .otherwise(pl.format(f"'{{}}' is not a number; {_HOW_TO_WRITE}", "shown"))
    )
    trouble = frame.select(pl.when(pl.col("value").is_null()).then(complaint)).to_series()
    return frame["value"], trouble


def _plain(
    texts: pl.Series, column: pl.Series, numbers: Numbers, typed: pl.Series | None
) -> pl.Series:
    if column.dtype != pl.String:
        return texts
    if numbers.decimal == "." and texts.str.contains(_NUMBER).all():
        return texts
    plain = numbers.plain(texts)
    return plain if typed is None else texts.zip_with(typed, plain)


_NUMERIC = {"hours": 3_600_000_000, "minutes": 60_000_000, "seconds": 1_000_000}
_SECOND = r"(?<seconds>[0-5]?\d)(?:[.,](?<fraction>\d{1,6}))?$"
_CLOCK = rf"(?<hours>\d{{1,7}}):(?<minutes>[0-5]?\d):{_SECOND}"
SELF_EVIDENT = "d-hh:mm:ss"
SACCT = "[[d-]hh:]mm:ss or seconds"
"""The forms of sacct's Elapsed and ElapsedRaw."""
_FORMS = {
    "[h]:mm": rf"^(?<hours>\d{{1,7}}):(?<minutes>[0-5]\d)(?::{_SECOND}|$)",
    "[h]:mm:ss": rf"^{_CLOCK}",
    SELF_EVIDENT: rf"^(?:(?<days>\d{{1,6}})-)?{_CLOCK}",
    SACCT: r"^(?:(?:(?:(?<days>\d{1,6})-)?(?<hours>\d{1,7}):)?(?<minutes>\d+):)?"
    r"(?<seconds>\d{1,11})(?:\.(?<fraction>\d{1,6}))?$",
}
_SECONDS = {"days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}
MEASURES = (*_NUMERIC, "[h]:mm", "[h]:mm:ss", SELF_EVIDENT)
"""The values of a mapping's key ``measure``."""


def is_numeric(measure: str | None) -> bool:
    """Whether durations of this measure are written as numbers."""
    return measure in _NUMERIC


def read_durations(
    column: pl.Series,
    measure: str | None,
    where: str,
    numbers: Numbers = POINT,
    typed: pl.Series | None = None,
) -> tuple[pl.Series, pl.Series]:
    """Read a column of durations into microseconds, Int64.

    Parameters
    ----------
    measure
        One of MEASURES or SACCT; None if the mapping declares none.
    where
        The file and column, for messages.
    numbers, typed
        As for :func:`read_quantities`.

    Returns Int64, null where empty or not readable, and String: a sentence on the value.

    Raises
    ------
    UnreadableFile
        No measure is declared, and a value does not say by itself how long it is.
    """
    if isinstance(column.dtype, pl.Duration):
        micros, shown = column.dt.total_microseconds(), column.dt.to_string("iso")
    elif column.dtype == pl.Time:
        micros, shown = column.cast(pl.Int64) // 1_000, column.cast(pl.String)
    else:
        shown = _texts(column)
        micros = _clock(shown, measure if measure in _FORMS else SELF_EVIDENT)
        rest = shown.filter(micros.is_null() & shown.is_not_null())
        if measure is None and rest.str.contains(r"^[\d.,:]+$").any():
            raise UnreadableFile(
                f"'{rest[0]}' does not say whether it is hours, minutes or seconds",
                where=where,
                remedy="declare it in the mapping of the price book's sources: measure: "
                + ", ".join(MEASURES),
            )
        if measure in _NUMERIC:
            amounts, trouble = read_quantities(column, numbers, typed)
            amounts = amounts.zip_with(trouble.is_null(), amounts.clear(column.len()))
            unclear = trouble.zip_with(micros.is_null(), _nulls(column.len()))
            micros = micros.zip_with(micros.is_not_null(), _scaled(amounts, _NUMERIC[measure]))
            if unclear.is_not_null().any():
                return micros, unclear
    given = pl.col("shown").is_not_null()
    long = (pl.col("micros") > LONGEST * 1_000_000).fill_null(value=False)
    complaint = (
        pl.when(long)
        .then(pl.lit("is longer than three centuries"))
        .when(given & pl.col("micros").is_null())
        .then(pl.lit(f"is no duration; write it like {measure or SELF_EVIDENT}"))
    )
    frame = pl.DataFrame({"shown": shown, "micros": micros}).with_columns(
        micros=pl.when(~long).then("micros"), trouble=pl.format("'{}' {}", "shown", complaint)
    )
    return frame["micros"], frame["trouble"]


def _clock(texts: pl.Series, form: str) -> pl.Series:
    parts = texts.str.extract_groups(_FORMS[form]).struct.unnest()
    seconds = pl.sum_horizontal(
        pl.col(name).cast(pl.Int64).fill_null(0) * factor
        for name, factor in _SECONDS.items()
        if name in parts.columns
    )
    fraction = pl.col("fraction").fill_null("").str.pad_end(6, "0").cast(pl.Int64)
    read = pl.any_horizontal(pl.col(name).is_not_null() for name in _SECONDS if name in parts)
    return parts.select(pl.when(read).then(seconds * 1_000_000 + fraction)).to_series()


def _scaled(amounts: pl.Series, factor: int) -> pl.Series:
    """Decimals times a factor, rounded half up to whole numbers; none above the longest time's."""
    one = 10**DECIMAL.scale
    exact = amounts.to_physical().cast(pl.Int128) * pl.Series([factor], dtype=pl.Int128)
    half, by = (pl.Series([value], dtype=pl.Int128) for value in (one // 2, one))
    whole = (exact + half) // by
    return whole.clip(upper_bound=LONGEST * 1_000_000 + 1).cast(pl.Int64)


def plain(text: str) -> str:
    """The shortest text of a float without an exponent: ``1e-07`` → ``0.0000001``."""
    return f"{Decimal(text):f}" if "e" in text.lower() and text.lower() != "nan" else text


def _texts(column: pl.Series) -> pl.Series:
    texts = column.cast(pl.String)
    if column.dtype.is_float():
        exponents = texts.str.contains("e", literal=True).fill_null(value=False)
        if exponents.any():
            places = exponents.arg_true()
            spelled = texts.filter(exponents).map_elements(plain, return_dtype=pl.String)
            texts = texts.scatter(places, spelled)
    return texts


def _nulls(length: int) -> pl.Series:
    return pl.repeat(None, length, dtype=pl.String, eager=True)
