"""A month as the checks see it, and what a check finds.

    Reviewed   charges, shares, unbilled usage, the months before, and what the price book says
    FINDINGS   check, severity, subject, sentence, remedy, … charges, records

A check is a function from the one to the other (pricing/discrepancies.py lists them). Money is
minor units; a charge is named as people name it, ``RC/57``.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from billing_lib.pricing.fields import step_microseconds
from billing_lib.pricing.money import minor_places, money_text_column
from billing_lib.pricing.period import Period
from billing_lib.pricing.pricebook import Facility, PriceBook
from billing_lib.pricing.usage import INSTANT

ERROR, WARNING, NOTICE = "error", "warning", "notice"
"""How bad a finding is: it cannot be billed so; it is likely wrong; staff should know."""

CHARGES = pl.Schema(
    {
        "charge": pl.String(),
        "kind": pl.String(),  # usage or line
        "project": pl.String(),
        "item": pl.String(),
        "user": pl.String(),
        "description": pl.String(),
        "date": pl.Date(),
        "start": INSTANT,
        "end": INSTANT,
        "quantity": pl.String(),  # as shown, like price
        "rate": pl.String(),  # fingerprint
        "rate_group": pl.String(),
        "price": pl.String(),
        "raw_total": pl.Int64(),
        "total": pl.Int64(),
        "judged": pl.Boolean(),  # staff set its quantity or amount, or waived it
    }
)
"""The charges that count: none that another copy or a reissue has taken the place of."""

SHARES = pl.Schema({"charge": pl.String(), "expense_code": pl.String(), "percent": pl.String()})
UNBILLED = pl.Schema({"record": pl.String(), "reason": pl.String(), "detail": pl.String()})
INVALID_CODES = pl.Schema(
    {"charge": pl.String(), "expense_code": pl.String(), "problem": pl.String()}
)
SPEND = pl.Schema(
    {
        "period": pl.String(),
        "project": pl.String(),
        "user": pl.String(),
        "total": pl.Int64(),
    }
)
"""What projects and users came to in the months before."""

FINDINGS = pl.Schema(
    {
        "check": pl.String(),  # its function's name, with spaces
        "severity": pl.String(),
        "subject": pl.String(),  # what it is about: an instrument, a project, a reason
        "sentence": pl.String(),  # what is wrong
        "remedy": pl.String(),  # what to do about it
        "field": pl.String(),  # of a charge, that the remedy sets; null where none is
        "value": pl.String(),  # what it sets; null where staff must say
        "total": pl.Int64(),  # of the charges
        "charges": pl.List(pl.String()),  # all that the finding is about
        "to_change": pl.List(pl.String()),  # those of them that the remedy changes
        "records": pl.List(pl.String()),  # usage without a charge
    }
)


@dataclass(frozen=True)
class Reviewed:
    """A month with all that its checks look at.

    Attributes
    ----------
    charges, shares, unbilled, invalid_codes, spend
        Frames of the schemas above; ``spend`` of at most twelve months before.
    items
        ``item``, ``instrument`` (its resource, else itself), ``shared``, ``longest``
        (microseconds).
    projects
        ``project``, ``valid_from``, ``valid_to``.
    """

    facility: Facility
    period: Period
    charges: pl.DataFrame
    shares: pl.DataFrame
    unbilled: pl.DataFrame
    invalid_codes: pl.DataFrame
    spend: pl.DataFrame
    items: pl.DataFrame
    projects: pl.DataFrame

    @property
    def places(self) -> int:
        """Decimal places of the currency."""
        return minor_places(self.facility.currency)

    def sessions(self) -> pl.DataFrame:
        """The charges for usage with start and end, with ``instrument``, ``shared``, ``longest``.

        What staff have judged is left out: they set what was used, or that it costs nothing.
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
    """What the price book says of items, as ``Reviewed.items``."""
    usual = book.facility.review.longest_session
    rows = [
        (
            item.code,
            item.resource or item.code,
            item.shared,
            step_microseconds(item.longest_session or usual),
        )
        for item in book.items
    ]
    schema = {"item": pl.String, "instrument": pl.String, "shared": pl.Boolean, "longest": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def projects_frame(book: PriceBook) -> pl.DataFrame:
    """When each project lasts, as ``Reviewed.projects``."""
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

    Parameters
    ----------
    groups
        May have ``total``, ``charges``, ``to_change`` (all charges unless told), ``records``;
        and what the expressions read.
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
    return groups.select(columns).sort(
        pl.col("total").abs(),
        pl.col("subject"),
        pl.col("sentence"),
        descending=[True, False, False],
    )


def different(column: str) -> pl.Expr:
    """In an aggregation: the different values in order, for ``listed``."""
    return pl.col(column).drop_nulls().unique().sort()


def listed(column: str, most: int = 5) -> pl.Expr:
    """A column of lists as text, separated by commas; at most some of each."""
    more = pl.when(pl.col(column).list.len() > most).then(pl.lit(" …")).otherwise(pl.lit(""))
    return pl.concat_str(pl.col(column).list.head(most).list.join(", "), more)


def _expression(value: pl.Expr | str | None) -> pl.Expr:
    return value if isinstance(value, pl.Expr) else pl.lit(value, dtype=pl.String)


def _nothing(dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.List):
        return pl.lit([], dtype=dtype)
    return pl.lit(0 if dtype == pl.Int64 else None, dtype=dtype)


def named(frames: Iterable[tuple[str, pl.DataFrame]]) -> pl.DataFrame:
    """The findings of several checks, each with its name."""
    every = [FINDINGS.to_frame()]
    every += [frame.select(pl.lit(name).alias("check"), *frame.columns) for name, frame in frames]
    return pl.concat(every)
