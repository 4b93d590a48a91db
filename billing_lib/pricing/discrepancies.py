"""The checks of a month: what review looks for, in this order.

A check is a function from the month (pricing/reviewed.py) to its findings; the first line of its
docstring is what staff read, and docs/checks.md has it. To add one is to write a function, name
it in CHECKS and describe it there.
"""

import hashlib
from collections.abc import Callable

import polars as pl

from billing_lib.pricing.month_checks import (
    invalid_expense_codes,
    new_users,
    projects_without_usage,
    rates_changed_within_the_month,
    splits_that_do_not_make_100,
    unbilled_usage,
    unusual_spend,
    usage_outside_project_dates,
)
from billing_lib.pricing.reviewed import FINDINGS, Reviewed, named
from billing_lib.pricing.session_checks import (
    duplicates,
    implausibly_long_sessions,
    overlapping_sessions_of_a_user,
    overlapping_sessions_of_an_instrument,
    sessions_of_no_length,
)

Check = Callable[[Reviewed], pl.DataFrame]
Step = Callable[[int, int, str], None]
"""Told how many checks are done, of how many, and which is next; may raise to stop."""

CHECKS: tuple[Check, ...] = (
    invalid_expense_codes,
    splits_that_do_not_make_100,
    overlapping_sessions_of_an_instrument,
    overlapping_sessions_of_a_user,
    implausibly_long_sessions,
    sessions_of_no_length,
    duplicates,
    usage_outside_project_dates,
    unbilled_usage,
    rates_changed_within_the_month,
    unusual_spend,
    new_users,
    projects_without_usage,
)
"""What is checked of a month, the worst first."""

FOUND = pl.Schema({"key": pl.String(), **FINDINGS})
"""Findings with the key by which one is dismissed: the same as long as it is the same finding."""


def name_of(check: Check) -> str:
    """A check's name as people read it."""
    return check.__name__.replace("_", " ")


def told(check: Check) -> str:
    """What a check looks for, in one sentence."""
    return " ".join((check.__doc__ or "").split())


def find(month: Reviewed, step: Step = lambda done, total, what: None) -> pl.DataFrame:
    """All findings of a month (schema FOUND), check by check."""
    found = []
    for done, check in enumerate(CHECKS):
        step(done, len(CHECKS), name_of(check))
        found.append((name_of(check), check(month)))
    step(len(CHECKS), len(CHECKS), "done")
    every = named(found)
    return every.select(_keys(every), *every.columns)


def _keys(findings: pl.DataFrame) -> pl.Series:
    """What a finding is about as a short text: its check, subject, charges and records."""
    about = findings.select(
        pl.concat_str(
            "check",
            "subject",
            pl.col("charges").list.join(","),
            pl.when(pl.col("charges").list.len() == 0).then("sentence").otherwise(pl.lit("")),
            separator="\n",
        )
    ).to_series()
    keys = [hashlib.sha256(text.encode()).hexdigest()[:10] for text in about]
    return pl.Series("key", keys, dtype=pl.String)
