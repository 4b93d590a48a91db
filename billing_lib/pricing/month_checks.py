"""The checks of a month before it is issued: charges that may be wrong, or unlike other months.

    Reviewed   charges, shares, unbilled usage, the months before, and the price book's limits
    FINDINGS   check, severity, subject, sentence, remedy, … charges, records

A check is a function from the one to the other; staff read the first line of its docstring, and
docs/checks.md repeats it. To add a check, write a function, list it in CHECKS and describe it
there. Money is minor units; a charge has its code as people read it, ``RC/57``.

    scope  ann  10:00 ─────── 12:00
    scope  bob        11:30 ──────── 13:00      2 sessions overlap

A chain of overlapping sessions is one finding: in order of start, a session begins a new group
unless it starts before the latest end so far.

The robust z-score of a month's spend is that of Iglewicz and Hoaglin (1993), 0.6745 × (x − median)
÷ MAD, with the mean distance × 1.253314 instead of MAD if that is 0, because more than half of
the months are equal. It is a binary float; no money is computed from it.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

from billing_lib.pricing.charge import CHARGE, QUANTITY_PLACES, SPLIT, as_text
from billing_lib.pricing.clock import Period
from billing_lib.pricing.fields import DECIMAL, USAGE, step_microseconds
from billing_lib.pricing.money import (
    WHOLE,
    minor_places,
    money_text_column,
    plain_text_column,
)
from billing_lib.pricing.pricebook import Facility, PriceBook

ERROR, WARNING, NOTICE = "error", "warning", "notice"
"""How bad a finding is: it cannot be billed so; it is likely wrong; staff should know."""

_NAMES = (
    *("charge", "kind", "project", "item", "user", "date", "start", "end", "description"),
    *("hours", "quantity", "rate", "rate_group", "price", "raw_total", "total"),
)
CHECKED = pl.Schema(
    {name: CHARGE[name] for name in _NAMES}
    | {"judged": pl.Boolean()}  # staff set its quantity or amount, or waived it
)
"""The charges that count: none that another copy or a reissue has taken the place of."""

STATED = pl.Schema({"charge": pl.String(), "stated": DECIMAL, "units": DECIMAL})
"""The quantities that sources state for usage with start and end that is counted by the hour."""

SHARES = pl.Schema({name: SPLIT[name] for name in ("charge", "expense_code", "percent")})
UNBILLED = pl.Schema({"record": pl.String(), "reason": pl.String(), "detail": pl.String()})
UNPLACED = pl.Schema({name: USAGE[name] for name in ("record", "file", "row")})
INVALID_CODES = pl.Schema(
    {"charge": pl.String(), "expense_code": pl.String(), "problem": pl.String()}
)
SPEND = pl.Schema(
    {"period": pl.String(), "project": pl.String(), "user": pl.String(), "total": pl.Int64()}
)
"""The totals of projects and users in the months before."""

FINDINGS = pl.Schema(
    {
        "check": pl.String(),  # its function's name, with spaces
        "severity": pl.String(),
        "subject": pl.String(),  # an instrument, a project, a reason
        "sentence": pl.String(),  # the fault
        "remedy": pl.String(),
        "field": pl.String(),  # the field of a charge that the remedy sets, or null
        "value": pl.String(),  # its new value; null if staff choose it
        "total": pl.Int64(),  # of the charges
        "charges": pl.List(pl.String()),
        "to_change": pl.List(pl.String()),  # the charges that the remedy changes
        "records": pl.List(pl.String()),  # usage without a charge
    }
)


@dataclass(frozen=True)
class Reviewed:
    """A month with all the data of its checks.

    Attributes
    ----------
    charges, stated, shares, unbilled, invalid_codes, spend
        Frames of the schemas above; ``spend`` has at most twelve months before.
    items
        ``item``, ``unit``, ``instrument`` (its resource, else itself), ``shared``, ``longest``
        (microseconds).
    projects
        ``project``, ``valid_from``, ``valid_to``.
    unplaced
        Usage without any readable time, which may be of any month.
    """

    facility: Facility
    period: Period
    charges: pl.DataFrame
    items: pl.DataFrame
    stated: pl.DataFrame = field(default_factory=STATED.to_frame)
    shares: pl.DataFrame = field(default_factory=SHARES.to_frame)
    unbilled: pl.DataFrame = field(default_factory=UNBILLED.to_frame)
    invalid_codes: pl.DataFrame = field(default_factory=INVALID_CODES.to_frame)
    spend: pl.DataFrame = field(default_factory=SPEND.to_frame)
    projects: pl.DataFrame = field(default_factory=pl.DataFrame)
    unplaced: pl.DataFrame = field(default_factory=UNPLACED.to_frame)

    @property
    def places(self) -> int:
        """Decimal places of the currency."""
        return minor_places(self.facility.currency)

    def sessions(self) -> pl.DataFrame:
        """The charges for usage with start and end, with ``instrument``, ``shared``, ``longest``.

        Judged charges are left out: staff set their quantity or amount, or waived them.
        """
        timed = pl.col("start").is_not_null() & pl.col("end").is_not_null()
        usage = self.charges.filter((pl.col("kind") == "usage") & timed & ~pl.col("judged"))
        return usage.join(self.items, on="item", how="left").with_columns(
            pl.col("instrument").fill_null(pl.col("item")),
            pl.col("shared").fill_null(value=False),
        )

    def at(self, instant: pl.Expr) -> pl.Expr:
        """An instant as text on the facility's wall clock, to the minute."""
        return instant.dt.convert_time_zone(self.facility.timezone).dt.strftime("%Y-%m-%d %H:%M")

    def money(self, amount: pl.Expr) -> pl.Expr:
        """Minor units as text with the currency."""
        text = money_text_column(amount, self.places)
        return pl.format(f"{{}} {self.facility.currency}", text)


def items_frame(book: PriceBook) -> pl.DataFrame:
    """The items of a price book, as ``Reviewed.items``."""
    usual = book.facility.review.longest_session
    rows = [
        (
            item.code,
            item.unit,
            item.resource or item.code,
            item.shared,
            step_microseconds(item.longest_session or usual),
        )
        for item in book.items
    ]
    texts = dict.fromkeys(("item", "unit", "instrument"), pl.String)
    schema = {**texts, "shared": pl.Boolean, "longest": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def projects_frame(book: PriceBook) -> pl.DataFrame:
    """The projects of a price book with their dates, as ``Reviewed.projects``."""
    rows = [(project.code, project.valid_from, project.valid_to) for project in book.projects]
    schema = {"project": pl.String, "valid_from": pl.Date, "valid_to": pl.Date}
    return pl.DataFrame(rows, schema=schema, orient="row")


def findings(
    groups: pl.DataFrame,
    *,
    severity: str,
    subject: pl.Expr,
    sentence: pl.Expr,
    remedy: pl.Expr | str,
    field: pl.Expr | str | None = None,
    value: pl.Expr | str | None = None,
) -> pl.DataFrame:
    """Findings (schema FINDINGS without ``check``), the largest first, one per row of groups.

    ``groups`` may have ``total``, ``charges``, ``to_change`` (all charges by default) and
    ``records``, and has the columns that the expressions read.
    """
    stated = {
        "severity": pl.lit(severity),
        "subject": subject,
        "sentence": sentence,
        "remedy": _expression(remedy),
        "field": _expression(field),
        "value": _expression(value),
    }
    given = {name: pl.col(name) for name in groups.columns if name in FINDINGS}
    if "to_change" not in given and "charges" in given:
        given["to_change"] = pl.col("charges")
    every = given | stated
    columns = [
        every.get(name, _nothing(dtype)).cast(dtype).alias(name)
        for name, dtype in FINDINGS.items()
        if name != "check"
    ]
    largest_first = [pl.col("total").abs(), pl.col("subject"), pl.col("sentence")]
    return groups.select(columns).sort(largest_first, descending=[True, False, False])


def different(column: str) -> pl.Expr:
    """In an aggregation: the distinct values in order, for ``listed``."""
    return pl.col(column).drop_nulls().unique().sort()


def listed(column: str, most: int = 5) -> pl.Expr:
    """A column of lists as text, separated by commas, with at most ``most`` entries of each."""
    more = pl.when(pl.col(column).list.len() > most).then(pl.lit(" …")).otherwise(pl.lit(""))
    return pl.concat_str(pl.col(column).list.head(most).list.join(", "), more)


def _expression(value: pl.Expr | str | None) -> pl.Expr:
    return value if isinstance(value, pl.Expr) else pl.lit(value, dtype=pl.String)


def _nothing(dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.List):
        return pl.lit([], dtype=dtype)
    return pl.lit(0 if dtype == pl.Int64 else None, dtype=dtype)


_NORMAL, _MEAN = 0.6745, 1.253314
"""The third quartile of the normal distribution; its deviation over its mean distance."""

REMEDIES = {
    "duplicate": "nothing if the file was sent twice; else give the record an id of its own",
    "invalid_time": "correct the times in the file and load it again",
    "invalid_quantity": "correct the quantity in the file and load it again",
    "unknown_item": "add the item to the price book, then rate again",
    "unknown_reference": "create the ad hoc invoice, or correct the reference",
    "unknown_project": "add the project to the price book, then rate again",
    "outside_period": "nothing: it is billed in the month in which it ends",
    "no_rate": "add a rate to the price book and rate again, unless it is not to be billed",
}
"""The remedies for unbilled usage, by reason."""


_COUNT = pl.col("charges").list.len()
_SUMMED = {"charges": pl.col("charge").sort(), "total": pl.col("total").sum()}
"""The columns of a group of charges in an aggregation."""


def usage_outside_project_dates(month: Reviewed) -> pl.DataFrame:
    """Charges before a project's first day or after its last one."""
    dated = month.charges.join(month.projects, on="project", how="inner")
    outside = (pl.col("date") < pl.col("valid_from")) | (pl.col("date") > pl.col("valid_to"))
    groups = (
        dated.filter(outside)
        .group_by("project", "valid_from", "valid_to")
        .agg(**_SUMMED, first=pl.col("date").min(), last=pl.col("date").max())
    )
    return findings(
        groups,
        severity=WARNING,
        subject=pl.col("project"),
        sentence=pl.format(
            "{} from {} to {}, and the project lasts from {} to {}",
            _counted("charge"),
            "first",
            "last",
            pl.col("valid_from").cast(pl.String).fill_null("the beginning"),
            pl.col("valid_to").cast(pl.String).fill_null("an open end"),
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
        sentence=pl.format("{} of {}: {}", _counted("charge"), "project", "problem"),
        remedy=pl.when("whole")
        .then(pl.lit("charge a valid code, or correct the project's split and rate again"))
        .otherwise(pl.lit("set a split of valid codes, or correct the project's and rate again")),
        field=pl.when("whole").then(pl.lit("expense_code")).otherwise(pl.lit("split")),
    )


def splits_that_do_not_make_100(month: Reviewed) -> pl.DataFrame:
    """Charges whose shares do not make 100 per cent, or that have none."""
    sums = month.shares.group_by("charge").agg(pl.col("percent").sum())
    groups = (
        month.charges.join(sums, on="charge", how="left")
        .with_columns(pl.col("percent").fill_null(0))
        .filter(pl.col("percent") != WHOLE)
        .group_by("project", "percent")
        .agg(charges=pl.col("charge").sort(), total=pl.col("total").sum())
    )
    return findings(
        as_text(groups, only=["percent"]),
        severity=ERROR,
        subject=pl.col("project"),
        sentence=pl.format("{} whose split makes {} %", _counted("charge"), "percent"),
        remedy="set a split that makes 100 %",
        field="split",
    )


def rates_changed_within_the_month(month: Reviewed) -> pl.DataFrame:
    """Items that have several rates in one rate group: priced before and after a change."""
    usage = as_text(month.charges.drop_nulls(["item", "rate"]), only=["price"])
    used = usage.group_by("item", "rate_group", "rate").agg(
        first=pl.col("date").min(),
        price=pl.col("price").drop_nulls().mode().sort().first(),
        charges=pl.col("charge"),
        total=pl.col("total").sum(),
    )
    dated = pl.format("{} from {}", pl.col("price").fill_null("by tiers"), "first")
    groups = (
        used.sort("first", "rate")
        .with_columns(prices=dated)
        .group_by("item", "rate_group", maintain_order=True)
        .agg(
            pl.col("prices").str.join(", "),
            several=pl.len() > 1,
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
        sentence=pl.format("for {} the price is {}", "rate_group", "prices"),
        remedy="nothing if it is intended; else set the rate, or rate the month again",
        field="rate",
        value=pl.col("value"),
    )


def unusual_spend(month: Reviewed) -> pl.DataFrame:
    """Projects whose month is far from their own months before, by a robust z-score."""
    limits = month.facility.review
    now = month.charges.group_by("project").agg(**_SUMMED)
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
    by_mad = _NORMAL * distance / pl.col("mad")
    score = pl.when(pl.col("mad") > 0).then(by_mad).otherwise(by_mean)
    return pl.when(distance == 0).then(0.0).otherwise(score)


def spend_by_month(spend: pl.DataFrame) -> pl.DataFrame:
    """The total of each project in each month since its first: ``project``, ``period``,
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
    known = month.spend.select("user").drop_nulls().unique()
    charges = month.charges if month.spend.height else month.charges.clear()
    groups = (
        charges.drop_nulls("user")
        .join(known, on="user", how="anti")
        .group_by("user")
        .agg(**_SUMMED, projects=different("project"))
    )
    return findings(
        groups,
        severity=NOTICE,
        subject=pl.col("user"),
        sentence=pl.format(
            "{}, {}, for {}", _counted("charge"), month.money(pl.col("total")), listed("projects")
        ),
        remedy="nothing if the user belongs to the project; else charge another project",
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
        remedy="nothing if the project is over; else load the missing usage and rate again",
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
            pl.col("example").fill_null("no detail is known"),
        ),
        remedy=pl.col("reason").replace_strict(
            REMEDIES, default="see the manual's page 'Scenario format'"
        ),
    )


NAMED = 5
"""So many rows are named in a sentence."""


def named_rows(rows: pl.DataFrame) -> str:
    """The first rows of usage by id and place: ``z1 (november.csv, row 2) and 3 more``."""
    first = [f"{record} ({file}, row {row})" for record, file, row in _places(rows)[:NAMED]]
    more = rows.height - len(first)
    return ", ".join(first) + (f" and {more:,} more" if more else "")


def _places(rows: pl.DataFrame) -> list[tuple[str, str, int]]:
    return rows.select("record", "file", "row").rows()


def usage_without_a_readable_time(month: Reviewed) -> pl.DataFrame:
    """Usage that nobody can place in a month: it holds back every sign-off."""
    return _unplaced(month.unplaced)


def _unplaced(rows: pl.DataFrame) -> pl.DataFrame:
    groups = rows.group_by("file").agg(
        records=pl.col("record").sort_by("row"), first=pl.col("row").min()
    )
    first = pl.col("records").list.head(NAMED).list.join(", ")
    return findings(
        groups.sort("file"),
        severity=ERROR,
        subject=pl.col("file"),
        sentence=pl.format(
            "no time can be read in {} rows, the first of them row {}: {}",
            pl.col("records").list.len(),
            "first",
            first,
        ),
        remedy="correct the file and load it again, or take it back; dismiss the finding if the "
        "rows are not to be billed",
    )


def find_unplaced(rows: pl.DataFrame) -> pl.DataFrame:
    """The findings (schema FOUND) of the check on usage without a readable time, alone.

    ``rows`` has the schema UNPLACED.
    """
    return _keyed(_checked(usage_without_a_readable_time, _unplaced(rows)))


_COPY = ("project", "item", "user", "start", "end", "date", "quantity", "description")
"""The columns in which two records of the same use are equal."""


def overlapping_sessions_of_an_instrument(month: Reviewed) -> pl.DataFrame:
    """Sessions of one instrument that overlap: it has one user at a time, unless it is shared."""
    groups = _overlapping(_exclusive(month), "instrument")
    return _overlaps(month, groups, "instrument", "users")


def overlapping_sessions_of_a_user(month: Reviewed) -> pl.DataFrame:
    """Sessions of one user on several instruments at the same time."""
    groups = _overlapping(_exclusive(month).drop_nulls("user"), "user")
    groups = groups.filter(pl.col("instruments").list.len() > 1)
    return _overlaps(month, groups, "user", "instruments")


def implausibly_long_sessions(month: Reviewed) -> pl.DataFrame:
    """Sessions longer than the item's, or the facility's, longest plausible one: not logged off?"""
    elapsed = (pl.col("end") - pl.col("start")).dt.total_microseconds()
    hours = (elapsed / 3_600_000_000).round(1)
    sessions = month.sessions().filter(elapsed > pl.col("longest"))
    return findings(
        sessions.with_columns(hours=hours, charges=pl.concat_list("charge")),
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
    """Sessions that end as they start: a meter that did not count, or a log-on by mistake.

    Items sold by the piece have none, though some systems write two equal times for them.
    """
    lasting = pl.col("unit").ne_missing("each")
    sessions = month.sessions().filter(lasting & (pl.col("end") == pl.col("start")))
    groups = sessions.group_by("item", "user").agg(**_SUMMED, first=pl.col("start").min())
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


_NEAR = 0.01
"""Hours by which a stated quantity may differ, since sources round to hundredths."""
_FACTORS = {60.0: "minutes", 3600.0: "seconds"}


def stated_quantities_that_are_not_the_hours(month: Reviewed) -> pl.DataFrame:
    """Stated quantities of usage by the hour that are not its hours: minutes, for instance."""
    hours = pl.col("hours").cast(pl.Float64) / 10**QUANTITY_PLACES
    stated, units = (pl.col(name).cast(pl.Float64) for name in ("stated", "units"))
    other = (
        ((stated - hours).abs() >= _NEAR)
        & ((stated - hours * units).abs() >= _NEAR)
        & (pl.col("end") > pl.col("start"))
        & ~pl.col("judged")
    )
    groups = (
        month.stated.join(month.charges, on="charge", how="inner")
        .with_columns(as_hours=hours)
        .filter(other)
        .sort("charge")
        .group_by("item")
        .agg(
            **_SUMMED,
            example=pl.col("charge").first(),
            stated=plain_text_column(pl.col("stated").first()),
            hours=pl.col("hours").first(),
            ratio=(stated / pl.col("as_hours")).median(),
        )
    )
    measure = pl.coalesce(
        pl.when((pl.col("ratio") / factor).is_between(0.99, 1.01)).then(pl.lit(f": {name}"))
        for factor, name in _FACTORS.items()
    ).fill_null("")
    return findings(
        as_text(groups, only=["hours"]),
        severity=ERROR,
        subject=pl.col("item"),
        sentence=pl.format(
            "{} with another quantity than the hours, for example {}: {} instead of {}",
            _counted("charge"),
            "example",
            "stated",
            "hours",
        ),
        remedy=pl.format(
            "declare the quantity's measure{} in the price book's sources, or leave it out "
            '(quantity: ""), and load the file again',
            measure,
        ),
        field="quantity",
    )


def elapsed_times_longer_than_from_start_to_end(month: Reviewed) -> pl.DataFrame:
    """Elapsed times that are longer than from start to end: CPU time instead of elapsed time?"""
    wall = (pl.col("end") - pl.col("start")).dt.total_microseconds()
    elapsed = pl.col("hours").cast(pl.Float64) * 3_600
    sessions = month.sessions().filter(elapsed > wall + 1_000_000)
    groups = sessions.group_by("item").agg(
        **_SUMMED, example=pl.col("charge").sort().first(), hours=pl.col("hours").max()
    )
    return findings(
        as_text(groups, only=["hours"]),
        severity=WARNING,
        subject=pl.col("item"),
        sentence=pl.format(
            "{} with an elapsed time, of {} hours at most, longer than from start to end, for "
            "example {}",
            _counted("charge"),
            "hours",
            "example",
        ),
        remedy="map the elapsed time in the price book's sources, or set the quantity",
        field="quantity",
    )


def duplicates(month: Reviewed) -> pl.DataFrame:
    """Usage that was recorded twice: the same in everything but its id."""
    usage = month.charges.filter((pl.col("kind") == "usage") & ~pl.col("judged"))
    # By one hash first, which is faster: nearly all of millions of records differ.
    suspects = usage.filter(usage.select(_COPY).hash_rows().is_duplicated())
    groups = (
        suspects.group_by(_COPY)
        .agg(**_SUMMED)
        .filter(_COUNT > 1)
        .with_columns(to_change=pl.col("charges").list.slice(1))
    )
    return findings(
        groups,
        severity=WARNING,
        subject=pl.col("item"),
        sentence=pl.format(
            "{} by {} on {} for {} that differ only in their id",
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
    """The sessions of some length on items with one user at a time."""
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


def _overlaps(month: Reviewed, groups: pl.DataFrame, by: str, others: str) -> pl.DataFrame:
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
    """The number of charges with its noun: ``1 session``, ``2 sessions``."""
    plural = pl.when(_COUNT == 1).then(pl.lit(noun)).otherwise(pl.lit(f"{noun}s"))
    return pl.format("{} {}", _COUNT, plural)


Check = Callable[[Reviewed], pl.DataFrame]
Step = Callable[[int, int, str], None]
"""Called with the number of checks done, of all, and the next one's name; may raise to stop."""

CHECKS: tuple[Check, ...] = (
    stated_quantities_that_are_not_the_hours,
    invalid_expense_codes,
    splits_that_do_not_make_100,
    elapsed_times_longer_than_from_start_to_end,
    overlapping_sessions_of_an_instrument,
    overlapping_sessions_of_a_user,
    implausibly_long_sessions,
    sessions_of_no_length,
    duplicates,
    usage_outside_project_dates,
    usage_without_a_readable_time,
    unbilled_usage,
    rates_changed_within_the_month,
    unusual_spend,
    new_users,
    projects_without_usage,
)
"""The checks of a month, the most serious first."""

HOLDING: tuple[Check, ...] = (
    stated_quantities_that_are_not_the_hours,
    invalid_expense_codes,
    splits_that_do_not_make_100,
)
"""The checks whose findings are errors; these hold back the sign-off until they are settled or
dismissed."""

FOUND = pl.Schema({"key": pl.String(), **FINDINGS})
"""Findings with the key by which staff dismiss one."""


def name_of(check: Check) -> str:
    """A check's name as people read it."""
    return check.__name__.replace("_", " ")


def told(check: Check) -> str:
    """A check's description, in one sentence."""
    return " ".join((check.__doc__ or "").split())


def find(
    month: Reviewed,
    step: Step = lambda done, total, name: None,
    checks: tuple[Check, ...] = CHECKS,
) -> pl.DataFrame:
    """All findings of a month (schema FOUND), check by check."""
    by_check = []
    for done, check in enumerate(checks):
        name = name_of(check)
        step(done, len(checks), name)
        by_check.append(_checked(check, check(month)))
    step(len(checks), len(checks), "done")
    return _keyed(pl.concat(by_check))


def _checked(check: Check, found: pl.DataFrame) -> pl.DataFrame:
    return found.select(pl.lit(name_of(check)).alias("check"), pl.all())


def _keyed(findings: pl.DataFrame) -> pl.DataFrame:
    """Findings with a short hash of each one's check, subject and charges; without charges of its
    sentence and records."""
    content = findings.select(
        pl.concat_str(
            "check",
            "subject",
            pl.col("charges").list.join(","),
            pl.when(_COUNT == 0)
            .then(pl.concat_str("sentence", pl.col("records").list.join(",")))
            .otherwise(pl.lit("")),
            separator="\n",
        )
    ).to_series()
    keys = [hashlib.sha256(text.encode()).hexdigest()[:10] for text in content]
    return findings.select(pl.Series("key", keys, dtype=pl.String), pl.all())
