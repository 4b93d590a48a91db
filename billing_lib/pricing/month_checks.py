"""Checks of a month as a whole: what may not be charged so, and what is not as it was before.

The robust z-score is the modified one of Iglewicz and Hoaglin (1993), 0.6745 × (x − median) ÷ MAD,
where MAD is the median of the months' distances from their median. Where more than half of the
months are equal it is nothing; the mean distance takes its place then, × 1.253314, as usual. It
is a statistic to look by, so it is a binary float; no money is computed from it.
"""

import polars as pl

from billing_lib.pricing.money import PERCENT_PLACES
from billing_lib.pricing.reviewed import (
    ERROR,
    NOTICE,
    WARNING,
    Reviewed,
    different,
    findings,
    listed,
)

_NORMAL, _MEAN = 0.6745, 1.253314
"""The third quartile of the normal distribution; its deviation over its mean distance."""

REMEDIES = {
    "duplicate": "nothing, where the file was sent twice; else give the record an id of its own",
    "invalid_time": "correct the times in the file and load it again",
    "invalid_quantity": "correct the quantity in the file and load it again",
    "unknown_item": "add the item to the price book, then rate again",
    "unknown_reference": "create the ad hoc invoice, or correct the reference",
    "unknown_project": "add the project to the price book, then rate again",
    "outside_period": "nothing: it is billed in the month in which it ends",
    "no_rate": "add a rate to the price book and rate again, unless it is not to be billed",
}
"""What to do about unbilled usage, by reason."""


def usage_outside_project_dates(month: Reviewed) -> pl.DataFrame:
    """Charges before a project's first day or after its last one."""
    dated = month.charges.join(month.projects, on="project", how="inner")
    outside = (pl.col("date") < pl.col("valid_from")) | (pl.col("date") > pl.col("valid_to"))
    groups = (
        dated.filter(outside)
        .group_by("project", "valid_from", "valid_to")
        .agg(
            charges=pl.col("charge").sort(),
            total=pl.col("total").sum(),
            first=pl.col("date").min(),
            last=pl.col("date").max(),
        )
    )
    return findings(
        groups,
        severity=WARNING,
        subject=pl.col("project"),
        sentence=pl.format(
            "{} charges from {} to {}, and the project lasts from {} to {}",
            pl.col("charges").list.len(),
            "first",
            "last",
            pl.col("valid_from").cast(pl.String).fill_null("ever"),
            pl.col("valid_to").cast(pl.String).fill_null("further on"),
        ),
        remedy="charge another project, or correct the project's dates in the price book",
        field="project",
    )


def invalid_expense_codes(month: Reviewed) -> pl.DataFrame:
    """Expense codes that may not be charged: unknown, malformed, or not valid on the day."""
    shares = month.shares.group_by("charge").agg(pl.len().alias("shares"))
    wrong = month.invalid_codes.join(
        month.charges.select("charge", "project", "total"), on="charge", how="inner"
    ).join(shares, on="charge", how="left")
    groups = wrong.group_by("project", "expense_code").agg(
        charges=pl.col("charge").unique().sort(),
        total=pl.col("total").sum(),
        problem=pl.col("problem").min(),
        whole=(pl.col("shares") == 1).all(),
    )
    return findings(
        groups,
        severity=ERROR,
        subject=pl.col("expense_code"),
        sentence=pl.format(
            "{} charges of {}: {}", pl.col("charges").list.len(), "project", "problem"
        ),
        remedy=pl.when("whole")
        .then(pl.lit("charge a valid code, or correct the project's split and rate again"))
        .otherwise(pl.lit("set a split of valid codes, or correct the project's and rate again")),
        field=pl.when("whole").then(pl.lit("expense_code")).otherwise(pl.lit("split")),
    )


def splits_that_do_not_make_100(month: Reviewed) -> pl.DataFrame:
    """Charges whose shares do not make 100 per cent, or that have none."""
    percent = pl.col("percent").cast(pl.Decimal(38, PERCENT_PLACES))
    sums = month.shares.group_by("charge").agg(percent.sum().alias("made"))
    groups = (
        month.charges.join(sums, on="charge", how="left")
        .filter(pl.col("made").is_null() | (pl.col("made") != 100))
        .with_columns(made=_plain(pl.col("made")))
        .group_by("project", "made")
        .agg(charges=pl.col("charge").sort(), total=pl.col("total").sum())
    )
    return findings(
        groups,
        severity=ERROR,
        subject=pl.col("project"),
        sentence=pl.format(
            "{} charges whose split makes {} %", pl.col("charges").list.len(), "made"
        ),
        remedy="set a split that makes 100 %",
        field="split",
    )


def rates_changed_within_the_month(month: Reviewed) -> pl.DataFrame:
    """Items that have several rates in one rate group: priced before and after a change."""
    usage = month.charges.drop_nulls(["item", "rate"])
    used = usage.group_by("item", "rate_group", "rate").agg(
        first=pl.col("date").min(),
        price=pl.col("price").drop_nulls().mode().sort().first(),
        charges=pl.col("charge"),
        total=pl.col("total").sum(),
    )
    told = pl.format("{} from {}", pl.col("price").fill_null("by tiers"), "first")
    several = pl.col("rate").len() > 1
    groups = (
        used.sort("first", "rate")
        .with_columns(told=told)
        .group_by("item", "rate_group", maintain_order=True)
        .agg(
            several.alias("several"),
            pl.col("told").str.join(", "),
            value=pl.col("price").last(),
            charges=pl.col("charges").list.explode(),
            to_change=pl.col("charges").head(pl.len() - 1).list.explode(),
            total=pl.col("total").sum(),
        )
        .filter("several")
        .with_columns(pl.col("charges", "to_change").list.sort())
    )
    return findings(
        groups,
        severity=NOTICE,
        subject=pl.col("item"),
        sentence=pl.format("for {} the price is {}", "rate_group", "told"),
        remedy="nothing, where it was meant so; else set the rate, or rate again with --again",
        field="rate",
        value=pl.col("value"),
    )


def unusual_spend(month: Reviewed) -> pl.DataFrame:
    """Projects whose month is far from their own months before, by a robust z-score."""
    limits = month.facility.review
    now = month.charges.group_by("project").agg(
        total=pl.col("total").sum(), charges=pl.col("charge").sort()
    )
    scored = (
        spend_by_month(month.spend)
        .join(now.select("project", now="total"), on="project")
        .with_columns(middle=pl.col("total").median().over("project"))
        .with_columns(away=(pl.col("total") - pl.col("middle")).abs())
        .group_by("project")
        .agg(
            pl.col("now").first(),
            pl.col("middle").first(),
            months=pl.len(),
            mad=pl.col("away").median(),
            mean=pl.col("away").mean(),
        )
        .filter(pl.col("months") >= limits.least_history)
        .with_columns(score=_score())
        .filter(pl.col("score").abs() > float(limits.unusual_spend))
    )
    return findings(
        scored.join(now, on="project"),
        severity=NOTICE,
        subject=pl.col("project"),
        sentence=pl.format(
            "{}, and the median of {} months before is {} (robust z-score {})",
            month.money(pl.col("now")),
            "months",
            month.money(pl.col("middle").round().cast(pl.Int64)),
            pl.col("score").round(1).cast(pl.String),
        ),
        remedy="ask the project, or look at its largest charges",
    )


def _score() -> pl.Expr:
    distance = pl.col("now") - pl.col("middle")
    by_mean = distance / (_MEAN * pl.col("mean"))  # infinite where all months before were equal
    return (
        pl.when(distance == 0)
        .then(0.0)
        .when(pl.col("mad") > 0)
        .then(_NORMAL * distance / pl.col("mad"))
        .otherwise(by_mean)
    )


def spend_by_month(spend: pl.DataFrame) -> pl.DataFrame:
    """What each project came to in each month since its first: ``project``, ``period``,
    ``total``; 0 in a month in which only others used something."""
    totals = spend.group_by("project", "period").agg(pl.col("total").sum())
    since = totals.group_by("project").agg(since=pl.col("period").min())
    months = totals.select(pl.col("period").unique())
    return (
        since.join(months, how="cross")
        .filter(pl.col("period") >= pl.col("since"))
        .join(totals, on=["project", "period"], how="left")
        .select("project", "period", pl.col("total").fill_null(0))
        .sort("project", "period")
    )


def new_users(month: Reviewed) -> pl.DataFrame:
    """Users without a charge in the twelve months before, where there are such months."""
    if month.spend.height == 0:
        return findings_of_nothing()
    known = month.spend.select("user").drop_nulls().unique()
    groups = (
        month.charges.drop_nulls("user")
        .join(known, on="user", how="anti")
        .group_by("user")
        .agg(
            charges=pl.col("charge").sort(),
            total=pl.col("total").sum(),
            projects=different("project"),
        )
    )
    return findings(
        groups,
        severity=NOTICE,
        subject=pl.col("user"),
        sentence=pl.format(
            "{} charges, {}, for {}",
            pl.col("charges").list.len(),
            month.money(pl.col("total")),
            listed("projects"),
        ),
        remedy="nothing, where the user belongs to the project; else charge another project",
        field="project",
    )


def projects_without_usage(month: Reviewed) -> pl.DataFrame:
    """Projects that had charges in the month before and have none now: is a file missing?"""
    last = str(month.period.previous)
    before = month.spend.filter(pl.col("period") == last).group_by("project")
    groups = before.agg(was=pl.col("total").sum()).join(
        month.charges.select("project").unique(), on="project", how="anti"
    )
    return findings(
        groups,
        severity=NOTICE,
        subject=pl.col("project"),
        sentence=pl.format(f"{{}} in {last}, nothing now", month.money(pl.col("was"))),
        remedy="nothing, where it is over; else load the usage that is missing and rate again",
    )


def unbilled_usage(month: Reviewed) -> pl.DataFrame:
    """Usage that is on no invoice, by the reason why."""
    groups = month.unbilled.group_by("reason").agg(
        records=pl.col("record").sort(), example=pl.col("detail").first()
    )
    return findings(
        groups.sort(pl.col("records").list.len(), "reason", descending=[True, False]),
        severity=WARNING,
        subject=pl.col("reason"),
        sentence=pl.format(
            "{} records, for example: {}",
            pl.col("records").list.len(),
            pl.col("example").fill_null("no more is known"),
        ),
        remedy=pl.col("reason").replace_strict(REMEDIES, default="see docs/scenario-format.md"),
    )


def findings_of_nothing() -> pl.DataFrame:
    """No findings."""
    nothing = pl.DataFrame(schema={"none": pl.String})
    return findings(
        nothing, severity=NOTICE, subject=pl.col("none"), sentence=pl.col("none"), remedy=""
    )


def _plain(percent: pl.Expr) -> pl.Expr:
    text = percent.cast(pl.String).str.strip_chars_end("0").str.strip_chars_end(".")
    return text.fill_null("0")
