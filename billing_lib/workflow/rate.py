"""Rate a period: make charges from its usage, and list unbilled usage with reasons.

    RC 1993-10: 1,240 records = 1,234 charges (1,234 new, 0 changed) + 6 unbilled (6 no rate)

A charge keeps a copy of its rate. A second rating makes charges of new and newly billable usage
and prices the pending charges with their kept rates and today's splits; billed and paid charges
never change. Rating *again* takes today's rules for the month, still at the kept rates, and lists
the changes; ``take_new_rates`` of workflow/bulk.py takes today's rates too, for chosen charges.
A record whose charge was lost by a correction has staff's changes to it again once it is charged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import count_of
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import usage
from billing_lib.ledger.database import reading, writing
from billing_lib.pricing.adjusting import ADJUSTMENTS
from billing_lib.pricing.charge import as_text
from billing_lib.pricing.charging import Charges, charge_usage, couples_records
from billing_lib.pricing.clock import Period
from billing_lib.pricing.money import minor_places
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.pricing.rating import Catalogue, rate_usage
from billing_lib.workflow.adhoc import attach_waiting, known_references, late_sentences
from billing_lib.workflow.permissions import REVIEWER, VIEWER, note_facility, require
from billing_lib.workflow.price import (
    changeable_charges,
    changes_in_force,
    differing,
    gather,
    insert_charges,
    moved_by_staff,
    note_rating,
    replace_charges,
    rules_in_force,
    take_rules,
)
from billing_lib.workflow.runs import calculate_holding
from billing_lib.workflow.steps import Progress, unheard
from billing_lib.workflow.unplaced import month_unbilled


@dataclass(frozen=True)
class RatedPeriod:
    """The result of rating a period.

    Attributes
    ----------
    records
        Number of usage records of the period: ``charges`` are charged, ``unbilled`` are not.
    new, changed
        Numbers of new charges, and of pending charges with another price or split than before.
    unbilled
        Numbers of records by reason.
    changes
        One sentence per charge that rating *again* changed.
    kept_rules
        Whether the month keeps other rules than the price book has now.
    late
        Number of late charges, of earlier months whose invoice is issued, billed with this month.
    told
        Sentences on charges too late for the ad hoc invoice that they name.
    """

    facility: str
    period: str
    records: int
    charges: int
    new: int
    changed: int
    unbilled: dict[str, int]
    changes: list[str]
    kept_rules: bool
    late: int = 0
    told: list[str] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        """The result in words."""
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.unbilled.items())
        sentence = (
            f"{self.facility} {self.period}: {count_of(self.records, 'record')} = "
            f"{count_of(self.charges, 'charge')} "
            f"({self.new:,} new, {self.changed:,} changed) + {sum(self.unbilled.values()):,} "
            "unbilled" + (f" ({reasons})" if reasons else "")
        )
        if self.late:
            sentence += f", and {count_of(self.late, 'late charge')} of earlier months"
        if self.kept_rules:
            sentence += (
                f"; the price book's rules have changed since, rating {self.facility} "
                f"{self.period} with 'again' takes them"
            )
        return sentence


def rate_period(
    engine: Engine, book: PriceBook, period: Period, *, again: bool = False
) -> RatedPeriod:
    """Rate a period's usage.

    ``again`` takes today's rules for the month; by default it keeps those of its first rating.
    Pending charges keep their rates.
    """
    with writing(engine) as connection:
        return rate_month(connection, book, str(period), again=again)


def rate_periods(
    engine: Engine, book: PriceBook, months: Sequence[str], step: Progress = unheard
) -> list[RatedPeriod]:
    """Rate the usage of several months, one after the other."""
    rated = []
    for done, month in enumerate(months):
        step(done, len(months), f"rating {month}")
        rated.append(rate_period(engine, book, Period.parse(month)))
    step(len(months), len(months), "rated")
    return rated


def rate_month(
    connection: Connection, book: PriceBook, month: str, *, again: bool = False
) -> RatedPeriod:
    """Rate a month's usage in an open transaction, as ``rate_period`` does."""
    facility = book.facility.code
    require(connection, facility, REVIEWER)
    note_facility(connection, book)
    records = usage.read_usage(connection, facility, period=month)
    late = take_late(connection, book, month)
    standing = ledger_charges.read_charges(connection, facility, period=month)
    charged = ledger_charges.read_charged(connection, facility, month)
    fresh = records.join(charged, on=["record", "occurrence"], how="anti")
    kept_rules = take_rules(connection, book, month, again=again)
    rules = rules_in_force(connection, book, month)
    catalogue = replace(Catalogue.of(book), rules=rules)
    changes_before = _earlier_changes(connection, facility, fresh)
    fresh = _moved(fresh, moved_by_staff(changes_before))
    rating = rate_usage(fresh, catalogue, references=known_references(connection, facility))
    note_rating(connection, facility, month, "new", rating.rated.height)
    used = catalogue.rates.join(rating.rated.select("rate").unique(), on="rate", how="semi")
    ledger_charges.keep_rates(connection, facility, used.select("rate", "body").rows())
    priced = charge_usage(rating.rated, catalogue, changes_before)
    references = rating.rated.drop_nulls("reference").select("charge", "reference")
    insert_charges(connection, facility, month, priced, references)
    codes, changes = _price_again(connection, book, month, standing, catalogue)
    usage.replace_unbilled(connection, facility, month, rating.unbilled)
    grown = attach_waiting(connection, facility)
    calculate_holding(connection, book, codes, grown)
    return RatedPeriod(
        facility,
        month,
        records=records.height,
        charges=records.height - rating.unbilled.height,
        new=priced.charges.height,
        changed=len(codes),
        unbilled=dict(count_by_reason(rating.unbilled).iter_rows()),
        changes=changes if again else [],
        kept_rules=kept_rules,
        late=late,
        told=late_sentences(connection, facility, month),
    )


def _earlier_changes(connection: Connection, facility: str, fresh: pl.DataFrame) -> pl.DataFrame:
    """Staff's changes to earlier charges of these records (schema ADJUSTMENTS of pricing).

    Few records have had a charge that a correction or unloading took away.
    """
    replaced = usage.replaced_records(connection, facility)
    codes = fresh.filter(pl.col("record").is_in(replaced.implode()))["record"].unique()
    if codes.len() == 0:
        return ADJUSTMENTS.to_frame()
    return changes_in_force(connection, facility, codes)[0]


def _moved(fresh: pl.DataFrame, moved: pl.DataFrame) -> pl.DataFrame:
    """The records with the projects that staff have moved their charges to."""
    if moved.height == 0:
        return fresh
    return (
        fresh.join(moved, left_on="record", right_on="charge", how="left", maintain_order="left")
        .with_columns(project=pl.coalesce("moved", "project"))
        .drop("moved")
    )


def take_late(connection: Connection, book: PriceBook, month: str) -> int:
    """Move late charges of earlier months into this month, if the facility bills them with the
    next run; return the number of late charges in the month."""
    facility = book.facility.code
    if book.facility.late_usage == "next_run":
        waiting = ledger_charges.read_late(connection, facility, month)
        note_rating(connection, facility, month, "late", waiting.len())
        ledger_charges.set_period(connection, facility, waiting, month)
    return ledger_charges.count_late(connection, facility, month)


def _price_again(
    connection: Connection,
    book: PriceBook,
    month: str,
    standing: pl.DataFrame,
    catalogue: Catalogue,
) -> tuple[list[str], list[str]]:
    """Price the pending charges again; return the codes of older charges that changed, and a
    sentence on each.

    If rates couple records, new charges are priced again too: they and the older
    ones were priced without each other.
    """
    facility = book.facility.code
    free = changeable_charges(standing)
    if couples_records(catalogue):
        free = changeable_charges(ledger_charges.read_charges(connection, facility, period=month))
    if free.height == 0:
        return [], []
    priced = gather(connection, book, free).price()
    codes = differing(connection, facility, free, priced)
    note_rating(connection, facility, month, "changed", codes.len())
    replace_charges(connection, facility, priced, codes)
    changed = codes.filter(codes.is_in(standing["charge"].implode()))
    return changed.to_list(), _in_words(book, standing, priced, changed)


def _in_words(
    book: PriceBook, standing: pl.DataFrame, priced: Charges, codes: pl.Series
) -> list[str]:
    places = minor_places(book.facility.currency)
    was, now = (
        as_text(frame.select("charge", "price", "total"), places)
        for frame in (standing.filter(pl.col("charge").is_in(codes.implode())), priced.charges)
    )
    sentences = []
    both = was.sort("charge").join(now, on="charge", suffix="_now", maintain_order="left")
    for row in both.iter_rows(named=True):
        rate = ""
        if row["price"] != row["price_now"]:
            rate = f"rate {row['price'] or 'by tiers'} → {row['price_now'] or 'by tiers'}, "
        total = f"total {row['total']} → {row['total_now']}"
        sentences.append(f"{book.facility.code}/{row['charge']}: {rate}{total}")
    return sentences


def count_by_reason(unbilled: pl.DataFrame) -> pl.DataFrame:
    """Count unbilled records: ``reason``, ``records``, the most frequent reason first."""
    counts = unbilled.group_by("reason").agg(pl.len().cast(pl.Int64).alias("records"))
    return counts.sort("records", "reason", descending=[True, False])


def read_unbilled(engine: Engine, facility: str, month: str) -> pl.DataFrame:
    """Read a period's unbilled usage, each record with its reason, file and row.

    An open period also has the rows that nobody can place in a month (workflow/unplaced.py).
    """
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        return month_unbilled(connection, facility, month)


def unbilled_by_reason(engine: Engine, facility: str, month: str) -> pl.DataFrame:
    """Count a period's unbilled usage by reason: ``reason``, ``records``."""
    return count_by_reason(read_unbilled(engine, facility, month))
