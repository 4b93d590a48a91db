"""Times and quantities of files, as instants and exact decimals.

A time with an offset is an instant; one without is the wall clock of the facility's time zone,
which is ambiguous twice a year:

    2020-03-08T02:30  America/New_York   skipped: clocks jumped from 2 to 3       → no instant
    2020-11-01T01:30  America/New_York   twice: 05:30Z in summer, 06:30Z after    → two readings

Both readings are kept until ``settle`` compares start and end: the elapsed time decides if the
source states it; otherwise both are the earlier reading, or the end the later one if it would lie
before its start. Quantities have nine decimal places:

    12  0.25  +1.5  1.500000000000   read as they stand; zeros at the end do not count
    1,5  1.234,00  1e3  twelve       not read: a separator might be a decimal comma or thousands
    0.1234567891                     not read: more than nine decimals, and none is dropped
    -3                               read, with a trouble: usage is never negative

A binary float is the shortest decimal that reads back as the same float, as the person typed it:
0.1 is 0.1, not 0.1000000000000000055.
"""

from dataclasses import dataclass
from decimal import Decimal

import polars as pl

from billing_lib.pricing.fields import DECIMAL, INSTANT

_NAIVE = pl.Datetime("us")
_ISO = (
    r"^(?<day>\d{4}-\d{2}-\d{2})[Tt ](?<clock>\d{2}:\d{2})(?::(?<second>\d{2})"
    r"(?:[.,](?<fraction>\d{1,9}))?)?\s*(?<offset>[Zz]|[+-](?:0\d|1[0-4])(?::?[0-5]\d)?)?$"
)
_LENGTH = len("2020-04-06T17:00:00")
_EPOCH_DIGITS = r"^\d{1,10}(\.\d{1,9})?$"
FIRST_YEAR, LAST_YEAR = 1900, 2999
_HOW_TO_WRITE = "write it like 2020-04-06T17:00:00 or 2020-04-06T17:00:00-04:00"
_BARE_NUMBER = r"^[+-]?\d+([.,]\d+)?$"


@dataclass(frozen=True)
class Times:
    """A column of times.

    Parameters
    ----------
    earlier, later
        INSTANT; they differ only if the wall clock showed the time twice; null if there is no
        time or it cannot be read.
    trouble
        String: a sentence on the value, null if it is fine.
    """

    earlier: pl.Series
    later: pl.Series
    trouble: pl.Series


def read_times(column: pl.Series, timezone: str, *, epoch: bool = False) -> Times:
    """Read a column of times: ISO 8601 texts, or typed times; digits after microseconds are cut.

    Parameters
    ----------
    timezone
        The facility's, for times without an offset.
    epoch
        Read bare numbers as seconds since 1970-01-01, UTC.
    """
    dtype = column.dtype
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        exact = column.dt.convert_time_zone("UTC").cast(INSTANT)
        times = pl.DataFrame({"earlier": exact, "later": exact})
        shown = column.dt.to_string("iso:strict")
    elif isinstance(dtype, pl.Datetime):
        times = _localised(column.cast(_NAIVE), timezone)
        shown = column.dt.to_string("iso:strict")
    else:
        shown = column.cast(pl.String)
        times = _read_texts(shown, timezone, epoch=epoch)
    times = times.select(pl.when(_in_range("earlier")).then(pl.col("earlier", "later")))
    unread = shown.is_not_null() & times["earlier"].is_null()
    trouble = _nulls(column.len())
    if unread.any():
        frame = times.with_columns(shown=shown, unread=unread)
        trouble = frame.select(trouble=pl.when("unread").then(_diagnosis(timezone)))["trouble"]
    return Times(times["earlier"], times["later"], trouble)


def settle(start: Times, end: Times, elapsed: pl.Series | None) -> tuple[pl.Series, pl.Series]:
    """Choose one reading of each start and end; both INSTANT."""
    if not (start.earlier.ne_missing(start.later) | end.earlier.ne_missing(end.later)).any():
        return start.earlier, end.earlier
    frame = pl.DataFrame(
        {"s0": start.earlier, "s1": start.later, "e0": end.earlier, "e1": end.later}
    )
    lasted = pl.lit(None) if elapsed is None else elapsed
    frame = frame.with_columns(lasted=lasted.cast(pl.Duration("us")))
    readings = [("s0", "e0"), ("s1", "e1"), ("s0", "e1"), ("s1", "e0")]
    fits = [(pl.col(e) - pl.col(s) == pl.col("lasted")).fill_null(value=False) for s, e in readings]
    backwards = (pl.col("e0") < pl.col("s0")).fill_null(value=False)
    chosen_start = pl.coalesce(
        *(pl.when(f).then(pl.col(s)) for f, (s, _) in zip(fits, readings, strict=True)), "s0"
    )
    chosen_end = pl.coalesce(
        *(pl.when(f).then(pl.col(e)) for f, (_, e) in zip(fits, readings, strict=True)),
        pl.when(backwards).then("e1").otherwise("e0"),
    )
    settled = frame.select(start=chosen_start, end=chosen_end)
    return settled["start"], settled["end"]


def read_dates(column: pl.Series, timezone: str) -> tuple[pl.Series, pl.Series]:
    """Read a column of days: YYYY-MM-DD, typed dates, or midnights (as spreadsheets write them).

    Returns the dates, and String: a sentence on the value, null if it is fine.
    """
    dtype = column.dtype
    if isinstance(dtype, pl.Datetime):
        local = column.dt.convert_time_zone(timezone) if dtype.time_zone is not None else column
        shown = local.dt.replace_time_zone(None).dt.strftime("%Y-%m-%dT%H:%M:%S%.f")
    else:
        shown = column.cast(pl.String)
    day = shown.str.strip_suffix("T00:00:00").str.strip_suffix(" 00:00:00")
    dates = day.str.to_date("%Y-%m-%d", strict=False)
    frame = pl.DataFrame({"shown": shown, "day": day, "date": dates})
    well_formed = pl.col("day").str.contains(r"^\d{4}-\d{2}-\d{2}$")
    frame = frame.with_columns(date=pl.when(well_formed & _in_range("date")).then("date"))
    complaint = (
        pl.when(pl.col("shown").str.contains(_BARE_NUMBER))
        .then(pl.lit("is a number where a date belongs"))
        .when(pl.col("shown").str.contains(_ISO))
        .then(pl.lit("has a time of day where a date belongs"))
        .otherwise(pl.lit("is not a date"))
    )
    wrong = pl.col("shown").is_not_null() & pl.col("date").is_null()
    sentence = pl.format("'{}' {}; write it like 2020-04-06", "shown", complaint)
    return frame["date"], frame.select(trouble=pl.when(wrong).then(sentence))["trouble"]


def _in_range(name: str) -> pl.Expr:
    """Whether the year is plausible: 9999-12-31 stands for "never" in many systems."""
    return pl.col(name).dt.year().is_between(FIRST_YEAR, LAST_YEAR)


def _nulls(length: int) -> pl.Series:
    return pl.repeat(None, length, dtype=pl.String, eager=True)


def _localised(naive: pl.Series, timezone: str) -> pl.DataFrame:
    earlier, later = (
        naive.dt.replace_time_zone(timezone, ambiguous=which, non_existent="null")
        .dt.convert_time_zone("UTC")
        .cast(INSTANT)
        for which in ("earliest", "latest")
    )
    return pl.DataFrame({"earlier": earlier, "later": later})


def _read_texts(texts: pl.Series, timezone: str, *, epoch: bool) -> pl.DataFrame:
    """``earlier`` and ``later`` of each text: the plain form at once, the other forms apart."""
    plain = pl.DataFrame({"text": texts}).select(
        pl.when(pl.col("text").str.len_bytes() == _LENGTH).then("text")
    )["text"]
    naive = plain.str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False)
    times = _localised(naive, timezone)
    other = texts.is_not_null() & naive.is_null()
    if not other.any():
        return times
    rest = _read_iso(texts.filter(other), timezone)
    if epoch:
        rest = _with_epochs(texts.filter(other), rest)
    places = other.arg_true()
    return pl.DataFrame({name: times[name].scatter(places, rest[name]) for name in times.columns})


def _read_iso(texts: pl.Series, timezone: str) -> pl.DataFrame:
    parts = texts.str.extract_groups(_ISO).struct.unnest()
    offset = (
        pl.when(pl.col("offset").str.to_uppercase() == "Z")
        .then(pl.lit("+0000"))
        .otherwise(pl.col("offset").str.replace(":", "", literal=True).str.pad_end(5, "0"))
    )
    parts = parts.with_columns(offset=offset)
    clock = pl.format(
        "{}T{}:{}.{}",
        "day",
        "clock",
        pl.col("second").fill_null("00"),
        pl.col("fraction").fill_null("0").str.pad_end(6, "0").str.head(6),
    )
    naive = parts.select(
        clock.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False).alias("naive")
    )
    hours = pl.col("offset").str.slice(1, 2).cast(pl.Int64, strict=False)
    minutes = pl.col("offset").str.slice(3, 2).cast(pl.Int64, strict=False)
    ahead = pl.duration(minutes=hours * 60 + minutes)
    sign = pl.when(pl.col("offset").str.starts_with("-")).then(-ahead).otherwise(ahead)
    local = _localised(naive["naive"], timezone)
    exact = (pl.col("naive") - sign).dt.replace_time_zone("UTC").cast(INSTANT)
    frame = pl.concat([parts.select("offset"), naive, local], how="horizontal")
    has_offset = pl.col("offset").is_not_null()
    return frame.select(
        pl.when(has_offset).then(exact).otherwise(name).alias(name) for name in ("earlier", "later")
    )


def _with_epochs(texts: pl.Series, times: pl.DataFrame) -> pl.DataFrame:
    seconds = pl.when(pl.col("text").str.contains(_EPOCH_DIGITS)).then("text")
    micros = seconds.cast(pl.Decimal(20, 6), strict=False) * 1_000_000
    instant = micros.cast(pl.Int64).cast(INSTANT)
    return times.with_columns(text=texts).select(
        earlier=pl.coalesce("earlier", instant), later=pl.coalesce("later", instant)
    )


def _diagnosis(timezone: str) -> pl.Expr:
    shown = pl.col("shown")
    minute = shown.str.head(16).str.replace("[t ]", "T")
    naive = minute.str.to_datetime("%Y-%m-%dT%H:%M", strict=False)
    well_formed = shown.str.contains(_ISO) & naive.is_not_null()
    year = shown.str.head(4).cast(pl.Int32, strict=False)
    complaint = (
        pl.when(shown.str.to_lowercase().is_in(["unknown", "none", "n/a"]))
        .then(pl.lit("is not a time: it is unknown, or the usage is not over yet"))
        .when(shown.str.contains(_BARE_NUMBER))
        .then(pl.lit(f"is a number where a time belongs; {_HOW_TO_WRITE}"))
        .when(shown.str.contains(r"^\d{4}-\d{2}-\d{2}$"))
        .then(pl.lit(f"has no time of day; {_HOW_TO_WRITE}"))
        .when(well_formed & ~year.is_between(FIRST_YEAR, LAST_YEAR))
        .then(pl.lit(f"is not within the years {FIRST_YEAR} to {LAST_YEAR}"))
        .when(well_formed)
        .then(pl.lit(f"was skipped on the clocks of {timezone}, which went forward over it"))
        .otherwise(pl.lit(f"is not a time; {_HOW_TO_WRITE}"))
    )
    return pl.format("'{}' {}", shown, complaint)


_NUMBER = r"^[+-]?(?:\d+(?:\.\d*)?|\.\d+)$"
_DECIMALS = r"\.\d{9}\d*[1-9]"
_HOW_TO_WRITE_NUMBERS = "write it like 12 or 0.25"


def read_quantities(column: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Read a column of numbers, texts or typed.

    Returns DECIMAL, null where empty or not readable, and String: a sentence on the value.
    """
    frame = pl.DataFrame({"text": _texts(column)})
    number = pl.col("text").str.contains(_NUMBER)
    fine = pl.col("text").str.contains(_DECIMALS)
    value = pl.when(number & ~fine).then("text").str.strip_prefix("+").cast(DECIMAL, strict=False)
    frame = frame.with_columns(value=value)
    given = pl.col("text").is_not_null()
    wrong = given & (pl.col("value").is_null() | (pl.col("value") < 0))
    if not frame.select(wrong.any()).item():
        return frame["value"], _nulls(frame.height)
    complaint = (
        pl.when(pl.col("value") < 0)
        .then(pl.lit("is negative; usage is zero or more"))
        .when(number & fine)
        .then(pl.lit("has more than nine decimals; round it in the file"))
        .when(number)
        .then(pl.lit("is too large to be counted"))
        .otherwise(pl.lit(f"is not a number; {_HOW_TO_WRITE_NUMBERS}"))
    )
    trouble = pl.when(wrong).then(pl.format("'{}' {}", "text", complaint))
    return frame["value"], frame.select(trouble=trouble)["trouble"]


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
