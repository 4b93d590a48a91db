"""Times and days of files, as instants and dates.

A time with an offset is an instant; one without is the wall clock of the facility's time zone,
which is ambiguous twice a year:

    2020-03-08T02:30  America/New_York   skipped: clocks jumped from 2 to 3       → no instant
    2020-11-01T01:30  America/New_York   twice: 05:30Z in summer, 06:30Z after    → two readings

Both readings are kept until ``settle`` compares start and end: the elapsed time decides if the
source states it; otherwise both are the earlier reading, or the end the later one if it would lie
before its start.

ISO 8601 is read by itself. Any other writing is declared by the mapping's ``times`` and ``dates``,
a pattern such as ``%m/%d/%Y %I:%M %p`` for the whole file; 11/03/2025 is never guessed to be March
or November. A row that is not read so names the patterns that fit all of its column.
"""

import datetime as dt
from dataclasses import dataclass

import polars as pl

from billing_lib.pricing.fields import INSTANT

_NAIVE = pl.Datetime("us")
_ISO = (
    r"^(?<day>\d{4}-\d{2}-\d{2})[Tt ](?<clock>\d{2}:\d{2})(?::(?<second>\d{2})"
    r"(?:[.,](?<fraction>\d{1,9}))?)?\s*(?<offset>[Zz]|[+-](?:0\d|1[0-4])(?::?[0-5]\d)?)?$"
)
_LENGTH = len("2020-04-06T17:00:00")
_EPOCH_DIGITS = r"^\d{1,10}(\.\d{1,9})?$"
FIRST_YEAR, LAST_YEAR = 1900, 2999
_HOW_TO_WRITE = "write it like 2020-04-06T17:00:00 or 2020-04-06T17:00:00-04:00"
_HOW_TO_WRITE_DAYS = "write it like 2020-04-06"
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


def check_pattern(pattern: str, *, clock: bool) -> str:
    """A pattern of ``times`` (with a clock) or ``dates``; ValueError if it reads no such thing."""
    noun, example = ("time", "%m/%d/%Y %I:%M %p") if clock else ("day", "%d.%m.%Y")
    moment = dt.datetime(2025, 11, 23, 14, 25, tzinfo=dt.UTC)
    try:
        sample = pl.Series([moment if "%z" in pattern else moment.replace(tzinfo=None)])
        read = _parsed(sample.dt.strftime(pattern), pattern).item()
    except pl.exceptions.PolarsError:
        read = None
    if read is None or (read.replace(tzinfo=dt.UTC) if clock else read.date()) != (
        moment if clock else moment.date()
    ):
        raise ValueError(f"'{pattern}' is no pattern of a {noun}; write it like '{example}'")
    return pattern


def read_times(
    column: pl.Series,
    timezone: str,
    *,
    epoch: bool = False,
    pattern: str | None = None,
    typed: pl.Series | None = None,
) -> Times:
    """Read a column of times: texts, or typed times; digits after microseconds are cut.

    Parameters
    ----------
    timezone
        The facility's, for times without an offset.
    epoch
        Read bare numbers as seconds since 1970-01-01, UTC.
    pattern
        The writing of texts; ISO 8601 by default.
    typed
        Boolean: the texts that stand for typed times, in ISO 8601 whatever the pattern.
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
        times = _read_texts(shown, timezone, epoch=epoch, pattern=pattern, typed=typed)
    times = times.select(pl.when(_in_range("earlier")).then(pl.col("earlier", "later")))
    unread = shown.is_not_null() & times["earlier"].is_null()
    trouble = _nulls(column.len())
    if unread.any():
        minute = shown.str.head(16).str.replace("[t ]", "T")
        minute = pl.select(pl.when(shown.str.contains(_ISO)).then(minute)).to_series()
        clock = minute.str.to_datetime("%Y-%m-%dT%H:%M", time_unit="us", strict=False)
        if pattern is not None and column.dtype == pl.String:
            read = _parsed(shown, pattern)
            clock = read if typed is None else clock.zip_with(typed, read)
        frame = times.with_columns(shown=shown, unread=unread, clock=clock)
        how = _declared(pattern, "times") or _how(shown.filter(unread), _TIMES, "times")
        diagnosis = _diagnosis(timezone, how or _HOW_TO_WRITE)
        trouble = frame.select(trouble=pl.when("unread").then(diagnosis))["trouble"]
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


def past_midnight(start: pl.Series, end: pl.Series, timezone: str) -> pl.Series:
    """The ends, a day later on the wall clock where one lies before its start on the same day."""
    zoned = (column.dt.convert_time_zone(timezone) for column in (start, end))
    days = [column.dt.date() for column in zoned]
    early = ((end < start) & (days[0] == days[1])).fill_null(value=False)
    if not early.any():
        return end
    clock = end.dt.convert_time_zone(timezone).dt.replace_time_zone(None)
    later = _localised(clock + dt.timedelta(days=1), timezone)["earlier"]
    return later.zip_with(early, end)


def read_dates(
    column: pl.Series,
    timezone: str,
    pattern: str | None = None,
    typed: pl.Series | None = None,
) -> tuple[pl.Series, pl.Series]:
    """Read a column of days: YYYY-MM-DD, typed dates, or midnights (as spreadsheets write them).

    With a pattern, texts are read by it alone; the parameters are as for :func:`read_times`.

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
    well_formed = day.str.contains(r"^\d{4}-\d{2}-\d{2}$")
    if pattern is not None and column.dtype == pl.String:
        by_pattern = _parsed(shown, pattern).dt.date()
        iso = pl.repeat(value=False, n=day.len(), eager=True) if typed is None else typed
        dates, well_formed = dates.zip_with(iso, by_pattern), (well_formed & iso) | ~iso
    frame = pl.DataFrame({"shown": shown, "day": day, "date": dates, "well_formed": well_formed})
    frame = frame.with_columns(date=pl.when(pl.col("well_formed") & _in_range("date")).then("date"))
    complaint = (
        pl.when(pl.col("shown").str.contains(_BARE_NUMBER))
        .then(pl.lit("is a number where a date belongs"))
        .when(pl.col("shown").str.contains(_ISO))
        .then(pl.lit("has a time of day where a date belongs"))
        .otherwise(pl.lit("is not a date"))
    )
    wrong = pl.col("shown").is_not_null() & pl.col("date").is_null()
    if not frame.select(wrong.any()).item():
        return frame["date"], _nulls(frame.height)
    how = _declared(pattern, "dates") or _how(frame.filter(wrong)["shown"], _DAYS, "dates")
    sentence = pl.format("'{}' {}; {}", "shown", complaint, pl.lit(how or _HOW_TO_WRITE_DAYS))
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


def _read_texts(
    texts: pl.Series,
    timezone: str,
    *,
    epoch: bool,
    pattern: str | None,
    typed: pl.Series | None,
) -> pl.DataFrame:
    """``earlier`` and ``later`` of each text: the plain form at once, the other forms apart."""
    if pattern is not None:
        read = _parsed(texts, pattern)
        if "%z" in pattern or "%s" in pattern:  # an instant, and no wall clock
            exact = read.dt.replace_time_zone("UTC").cast(INSTANT)
            times = pl.DataFrame({"earlier": exact, "later": exact})
        else:
            times = _localised(read, timezone)
        if typed is None:
            return times
        iso = _read_texts(
            pl.select(pl.when(typed).then(texts)).to_series(), timezone, epoch=epoch,
            pattern=None, typed=None,
        )  # fmt: skip
        return pl.DataFrame([iso[name].zip_with(typed, times[name]) for name in times.columns])
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


_SPACES = "[\u00a0\u2009\u202f]"
"""Spaces that do not break, as some programs write before AM and PM."""

_DAYS = (
    *("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%m-%d-%Y", "%d-%m-%Y", "%Y/%m/%d", "%Y.%m.%d"),
    *("%m/%d/%y", "%d/%m/%y", "%d.%m.%y", "%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%B %d, %Y"),
    *("%d %B %Y", "%d. %B %Y", "%Y%m%d", "%Y-%m-%d"),
)
_CLOCKS = ("%H:%M", "%H:%M:%S", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p")
_TIMES = tuple(f"{day}{gap}{clock}" for day in _DAYS for gap in (" ", ", ") for clock in _CLOCKS)
"""The patterns that a message offers."""


def _parsed(texts: pl.Series, pattern: str) -> pl.Series:
    """Wall clocks as written, or in UTC where the pattern has an offset or seconds since 1970."""
    plain = texts.str.replace_all(_SPACES, " ")
    read = plain.str.to_datetime(pattern, time_unit="us", strict=False)
    return read.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if "%z" in pattern else read


def _declared(pattern: str | None, key: str) -> str | None:
    return pattern and f"the mapping declares {key}: '{pattern}'"


def _how(unread: pl.Series, patterns: tuple[str, ...], key: str) -> str | None:
    """A remedy: the patterns that fit all of these texts, but those without digits; or None."""
    texts = unread.filter(unread.str.contains(r"\d\D+\d")).unique(maintain_order=True)
    fit = [] if texts.is_empty() else [each for each in patterns if _fits(texts.head(9), each)]
    fit = [each for each in fit if _fits(texts, each)]
    offered = " or ".join(f"'{each}'" for each in fit)
    return f"declare in the mapping of the price book's sources {key}: {offered}" if fit else None


def _fits(texts: pl.Series, pattern: str) -> bool:
    read = _parsed(texts, pattern)
    return bool((read.dt.year().is_between(FIRST_YEAR, LAST_YEAR)).all() and not read.null_count())


def _diagnosis(timezone: str, how: str) -> pl.Expr:
    shown, clock = pl.col("shown"), pl.col("clock")
    complaint = (
        pl.when(shown.str.to_lowercase().is_in(["unknown", "none", "n/a"]))
        .then(pl.lit("is not a time: it is unknown, or the usage is not over yet"))
        .when(shown.str.contains(_BARE_NUMBER))
        .then(pl.lit(f"is a number where a time belongs; {_HOW_TO_WRITE}"))
        .when(shown.str.contains(r"^\d{4}-\d{2}-\d{2}$"))
        .then(pl.lit(f"has no time of day; {_HOW_TO_WRITE}"))
        .when(~clock.dt.year().is_between(FIRST_YEAR, LAST_YEAR))
        .then(pl.lit(f"is not within the years {FIRST_YEAR} to {LAST_YEAR}"))
        .when(clock.is_not_null())
        .then(pl.lit(f"was skipped on the clocks of {timezone}, which went forward over it"))
        .otherwise(pl.lit(f"is not a time; {how}"))
    )
    return pl.format("'{}' {}", shown, complaint)
