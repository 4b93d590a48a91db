"""Checks of sessions: those that overlap, are too long, have no length, or stand twice.

    scope  ann  10:00 ─────── 12:00
    scope  bob        11:30 ──────── 13:00      2 sessions overlap

Sessions of one instrument, or of one user, that overlap over any number of others are one
finding: in order of their start, each begins a new group unless it starts before the latest end
so far.
"""

import polars as pl

from billing_lib.pricing.reviewed import WARNING, Reviewed, different, findings, listed

_COPY = ("project", "item", "user", "start", "end", "date", "quantity", "description")
"""What two records of the same use have in common."""


def overlapping_sessions_of_an_instrument(month: Reviewed) -> pl.DataFrame:
    """Sessions of one instrument that overlap: it has one user at a time, unless it is shared."""
    return _told(month, _overlapping(_exclusive(month), "instrument"), "instrument", "users")


def overlapping_sessions_of_a_user(month: Reviewed) -> pl.DataFrame:
    """Sessions of one user on several instruments at the same time."""
    groups = _overlapping(_exclusive(month).drop_nulls("user"), "user")
    return _told(month, groups.filter(pl.col("instruments").list.len() > 1), "user", "instruments")


def implausibly_long_sessions(month: Reviewed) -> pl.DataFrame:
    """Sessions longer than the item's, or the facility's, longest plausible one: not logged off?"""
    elapsed = (pl.col("end") - pl.col("start")).dt.total_microseconds()
    hours = (elapsed / 3_600_000_000).round(1)
    found = month.sessions().filter(elapsed > pl.col("longest"))
    return findings(
        found.select("charge", "item", "user", "total", "start", hours=hours).with_columns(
            charges=pl.concat_list("charge")
        ),
        severity=WARNING,
        subject=pl.col("item"),
        sentence=pl.format(
            "a session of {} hours from {} by {}",
            "hours",
            month.at(pl.col("start")),
            pl.col("user").fill_null("nobody"),
        ),
        remedy="set the quantity that was really used",
        field="quantity",
    )


def sessions_of_no_length(month: Reviewed) -> pl.DataFrame:
    """Sessions that end as they start: a meter that did not count, or a log-on by mistake."""
    found = month.sessions().filter(pl.col("end") == pl.col("start"))
    groups = found.group_by("item", "user").agg(
        charges=pl.col("charge").sort(), total=pl.col("total").sum(), first=pl.col("start").min()
    )
    return findings(
        groups,
        severity=WARNING,
        subject=pl.col("item"),
        sentence=pl.format(
            "{} of no length by {}, the first at {}",
            _counted("session"),
            pl.col("user").fill_null("nobody"),
            month.at(pl.col("first")),
        ),
        remedy="set the quantity that was really used, or waive them",
        field="quantity",
    )


def duplicates(month: Reviewed) -> pl.DataFrame:
    """Usage that was recorded twice: the same in everything but its id."""
    usage = month.charges.filter((pl.col("kind") == "usage") & ~pl.col("judged"))
    # Counted by one hash first: millions of records are all different but for a few.
    suspects = usage.filter(usage.select(_COPY).hash_rows().is_duplicated())
    groups = (
        suspects.group_by(_COPY)
        .agg(
            charges=pl.col("charge").sort(),
            total=pl.col("total").sum(),
        )
        .filter(pl.col("charges").list.len() > 1)
        .with_columns(to_change=pl.col("charges").list.slice(1))
    )
    return findings(
        groups,
        severity=WARNING,
        subject=pl.col("item"),
        sentence=pl.format(
            "{} by {} on {} for {} that differ in nothing but their id",
            _counted("charge"),
            pl.col("user").fill_null("nobody"),
            "date",
            "project",
        ),
        remedy="waive all but one",
        field="waived",
        value="yes",
    )


def _exclusive(month: Reviewed) -> pl.DataFrame:
    """The sessions, with some length, on what has one user at a time."""
    return month.sessions().filter(~pl.col("shared") & (pl.col("end") > pl.col("start")))


def _overlapping(sessions: pl.DataFrame, by: str) -> pl.DataFrame:
    """Groups of sessions of the same ``by`` that overlap, one row per group of two or more."""
    ordered = sessions.sort(by, "start", "end", "charge")
    reached = pl.col("end").cum_max().shift(1).over(by)
    begins = reached.is_null() | (pl.col("start") >= reached)
    grouped = ordered.with_columns(group=begins.cum_sum())
    return (
        grouped.filter(pl.len().over("group") > 1)
        .group_by("group")
        .agg(
            pl.col(by).first(),
            charges=pl.col("charge"),  # in order of their start
            total=pl.col("total").sum(),
            start=pl.col("start").min(),
            end=pl.col("end").max(),
            users=different("user"),
            instruments=different("instrument"),
        )
    )


def _told(month: Reviewed, groups: pl.DataFrame, by: str, others: str) -> pl.DataFrame:
    return findings(
        groups.with_columns(to_change=pl.col("charges").list.slice(1)),
        severity=WARNING,
        subject=pl.col(by),
        sentence=pl.format(
            "{} overlap between {} and {}: {}",
            _counted("session"),
            month.at(pl.col("start")),
            month.at(pl.col("end")),
            listed(others),
        ),
        remedy="set the quantity that each really used, or waive what was not used",
        field="quantity",
    )


def _counted(noun: str) -> pl.Expr:
    """How many charges: ``1 session``, ``2 sessions``."""
    count = pl.col("charges").list.len()
    plural = pl.when(count == 1).then(pl.lit(noun)).otherwise(pl.lit(f"{noun}s"))
    return pl.format("{} {}", count, plural)
