"""Findings that hold back the sign-off of a month, and the judgements of staff about findings.

    billing ready F 2020-04
    F 2020-04 has findings that must be settled first: 3f0c9a12bd, stated quantities that are not
    the hours, Tool A: 2 charges state another quantity than their hours, …

A holding finding is settled by correcting the mapping, the usage or the charges, or by dismissing
it with a reason. Other findings are for review alone.

An installed package can add a check of expense codes, for instance against the university's
ledger, by an entry point that names a Validator:

    [project.entry-points."billing_lib.expense_codes"]
    finance = "our_billing.codes:invalid"
"""

from collections.abc import Callable

import polars as pl
from sqlalchemy import Connection

from billing_lib.errors import NotReady
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events, overview
from billing_lib.pricing.clock import Period
from billing_lib.pricing.month_checks import (
    CHECKED,
    HOLDING,
    INVALID_CODES,
    SHARES,
    STATED,
    Reviewed,
    find,
    items_frame,
)
from billing_lib.pricing.pricebook import PriceBook, invalid_codes
from billing_lib.pricing.rating import HOUR
from billing_lib.settings import entry_points

DISMISS, RESTORE = "dismiss", "restore"
"""The kinds of events of a dismissal and of taking it back; the subject is the month, or ANY, and
the finding's key, or a row."""

ANY = "any"
"""Instead of the month: usage that nobody can place in a month is dismissed for all of them."""

GROUP = "billing_lib.expense_codes"
"""The group of the entry points."""

Validator = Callable[[pl.DataFrame], pl.DataFrame]
"""A function from ``charge``, ``expense_code``, ``date`` and ``facility`` to the rows with an
invalid code, each with ``problem``, a sentence."""

_JUDGED_FIELDS = ("quantity", "amount", "waived")


def require_settled(connection: Connection, book: PriceBook, month: Period) -> None:
    """Refuse a month with a holding finding that is not dismissed.

    Raises
    ------
    NotReady
        The first of them is named, with the way to settle it.
    """
    facility = book.facility.code
    charges = named(overview.read_month(connection, facility, str(month)), facility)
    shares, invalid_codes = read_codes(connection, book, month, charges)
    reviewed = Reviewed(
        facility=book.facility,
        period=month,
        charges=with_judged(connection, facility, charges),
        items=items_frame(book),
        stated=read_stated(connection, facility, str(month)),
        shares=shares,
        invalid_codes=invalid_codes,
    )
    dismissed = read_dismissals(connection, facility, month)
    left = find(reviewed, checks=HOLDING).join(dismissed, on="key", how="anti")
    if left.height:
        key, check, subject, sentence, remedy = left.select(
            "key", "check", "subject", "sentence", "remedy"
        ).row(0)
        raise NotReady(
            f"{facility} {month} has findings that must be settled first: {key}, {check}, "
            f"{subject}: {sentence}" + (f", and {left.height - 1} more" if left.height > 1 else ""),
            remedy=f"{remedy}, or dismiss it: 'billing dismiss {facility} {month} {key}'",
        )


def find_invalid_codes(book: PriceBook, charged: pl.DataFrame) -> pl.DataFrame:
    """Return the shares (``charge``, ``expense_code``, ``date``) with an invalid expense code.

    The result has a fourth column ``problem``, a sentence.
    """
    allowed = book.facility.expense_codes
    invalid = [charged.with_columns(problem=pl.lit(None, dtype=pl.String)).clear()]
    if allowed is not None:
        invalid.append(invalid_codes(charged, allowed))
    for entry in entry_points(GROUP):
        validate: Validator = entry.load()
        checked = validate(charged.with_columns(facility=pl.lit(book.facility.code)))
        invalid.append(checked.select(invalid[0].columns))
    return pl.concat(invalid).unique(maintain_order=True)


def read_codes(
    connection: Connection,
    book: PriceBook,
    month: Period,
    charges: pl.DataFrame,
    known: pl.DataFrame | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The shares of a month's charges (schema SHARES), and those of pending charges whose expense
    code may not be charged (schema INVALID_CODES).

    ``known`` are the splits of all of the month's charges, if they were read.
    """
    facility = book.facility.code
    read = overview.read_shares(connection, facility, str(month)) if known is None else known
    shares = named(read, facility)
    pending = charges.filter(pl.col("state") == "PENDING").select("charge", "date")
    charged = shares.select("charge", "expense_code").join(pending, on="charge")
    invalid = find_invalid_codes(book, charged)
    return shares.select(SHARES.names()), invalid.select(INVALID_CODES.names())


def read_stated(
    connection: Connection, facility: str, month: str, known: pl.DataFrame | None = None
) -> pl.DataFrame:
    """The charges by the hour whose source states their quantity as well (schema STATED).

    ``known`` is the usage of all of the month's charges (schema RATED_USAGE), if it was read.
    """
    if known is None:
        found = overview.read_stated(connection, facility, month)
    else:
        stated = known.drop_nulls(["quantity", "start", "end"])
        found = stated.select("charge", "unit", "rate", "units", stated="quantity")
    bodies = ledger_charges.read_rates(connection, facility, found["rate"].unique())
    per = bodies.select("fingerprint", per=pl.col("body").str.json_path_match("$.per"))
    hourly = found.join(per, left_on="rate", right_on="fingerprint", how="left").filter(
        pl.coalesce("per", "unit") == HOUR
    )
    return named(hourly, facility).select(STATED.names())


def standing_dismissals(connection: Connection, facility: str) -> pl.DataFrame:
    """The events of dismissals that nobody has taken back, the last one of each subject."""
    decisions = events.read_events(connection, facility, kinds=[DISMISS, RESTORE])
    return decisions.unique("subject", keep="last", maintain_order=True).filter(kind=DISMISS)


def read_dismissals(connection: Connection, facility: str, month: Period) -> pl.DataFrame:
    """The dismissed findings of a month, the last dismissal of each: ``key``, ``by``, ``at``,
    ``reason``."""
    return (
        standing_dismissals(connection, facility)
        .filter(pl.col("subject").str.contains(f"^({month}|{ANY}) "))
        .select(
            pl.col("subject").str.split(" ").list.last().alias("key"),
            by="login",
            at=pl.col("at").dt.to_string("%Y-%m-%d %H:%M"),
            reason="reason",
        )
    )


def row_subject() -> pl.Expr:
    """The subject of the dismissal of an unbilled row (schema UNBILLED of ledger/usage.py)."""
    return pl.format("row {} {} {}", "record", "occurrence", "reason")


def with_dismissals(connection: Connection, facility: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Unbilled rows with ``dismissed``, the reason why staff dismissed each, or ''."""
    named = rows.with_columns(subject=row_subject())
    decisions = events.read_events(
        connection, facility, kinds=[DISMISS, RESTORE], subjects=named["subject"].unique()
    ).unique("subject", keep="last")
    dismissals = decisions.filter(kind=DISMISS).select("subject", dismissed="reason")
    return (
        named.join(dismissals, on="subject", how="left", maintain_order="left")
        .drop("subject")
        .with_columns(pl.col("dismissed").fill_null(""))
    )


def waiting(connection: Connection, facility: str, rows: pl.DataFrame) -> pl.DataFrame:
    """The unbilled rows that staff have not dismissed."""
    if rows.height == 0:
        return rows
    judged = with_dismissals(connection, facility, rows)
    return judged.filter(pl.col("dismissed") == "").select(rows.columns)


def with_judged(connection: Connection, facility: str, charges: pl.DataFrame) -> pl.DataFrame:
    """Charges (schema CHECKED), those judged whose quantity or amount staff set or waived."""
    adjustments = events.read_events(connection, facility, kinds=["adjust"])
    undone = events.read_events(connection, facility, kinds=["undo"])["subject"]
    judging = pl.any_horizontal(
        pl.col("after").str.json_path_match(f"$.{field}").is_not_null() for field in _JUDGED_FIELDS
    )
    in_force = ~pl.col("group_id").is_in(undone.implode()).fill_null(value=False)
    judged = named(adjustments.filter(judging & in_force).select(charge="subject"), facility)[
        "charge"
    ].unique()
    is_judged = pl.col("charge").is_in(judged.implode())
    return charges.with_columns(judged=is_judged).select(CHECKED.names())


def named(charges: pl.DataFrame, facility: str) -> pl.DataFrame:
    """Charges with their codes as people read them, ``RC/57``."""
    return charges.with_columns(charge=pl.format("{}/{}", pl.lit(facility), "charge"))
