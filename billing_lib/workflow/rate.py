"""Rating a period: its usage becomes charges, the rest is listed with its reason.

A charge keeps a copy of its rate. Rating again makes charges of what is new or has become
billable, and prices the pending ones again at the rate they have kept, under today's splits;
what is billed or paid is never touched. Told to rate *again*, it looks the pending ones up anew and
lists what changed; where today's price book has no rate for one, the kept copy still prices it.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import usage
from billing_lib.ledger.database import reading, writing
from billing_lib.pricing.charge import as_text
from billing_lib.pricing.charging import Charges, charge_usage, couples_records
from billing_lib.pricing.clock import Period
from billing_lib.pricing.money import minor_places
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.pricing.rating import Catalogue, rate_usage
from billing_lib.workflow.adhoc import attach_waiting, known_references, late_sentences
from billing_lib.workflow.permissions import REVIEWER, VIEWER, note_facility, require
from billing_lib.workflow.price import (
    differing,
    gather,
    insert_charges,
    replace_charges,
    rules_in_force,
    take_rules,
    unbound,
)
from billing_lib.workflow.runs import calculate_holding


@dataclass(frozen=True)
class RatedPeriod:
    """What rating a period came to.

    Attributes
    ----------
    records
        Usage records of the period; ``charges`` of them are charged, ``unbilled`` are not.
    new, changed
        Charges made, and pending charges whose price or split is another than before.
    unbilled
        Records by reason.
    changes
        What rating again changed, one sentence per charge.
    kept_rules
        Whether the price book has other rules than the month was rated by.
    late
        Charges of earlier months that came after their invoice and are billed with this one.
    told
        Sentences on charges that came after the ad hoc invoice that they name.
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
        """The same in words."""
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.unbilled.items())
        left = sum(self.unbilled.values())
        return (
            f"{self.facility} {self.period}: {self.records:,} records = {self.charges:,} charges "
            f"({self.new:,} new, {self.changed:,} changed) + {left:,} unbilled"
            + (f" ({reasons})" if reasons else "")
            + (f", and {self.late:,} late charges of earlier months" if self.late else "")
            + (
                f"; the price book's rules have changed since, 'billing rate {self.facility} "
                f"{self.period} --again' takes them"
                if self.kept_rules
                else ""
            )
        )


def rate_period(
    engine: Engine, book: PriceBook, period: Period, *, again: bool = False
) -> RatedPeriod:
    """Rate a period's usage and say what came of it.

    Parameters
    ----------
    again
        Look up the rates of pending charges anew and take today's rules for the month; else
        both stay as they were.
    """
    facility, month = book.facility.code, str(period)
    with writing(engine) as connection:
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
        rating = rate_usage(fresh, catalogue, references=known_references(connection, facility))
        used = catalogue.rates.join(rating.rated.select("rate").unique(), on="rate", how="semi")
        ledger_charges.keep_rates(connection, facility, used.select("rate", "body").rows())
        priced = charge_usage(rating.rated, catalogue)
        insert_charges(connection, facility, month, priced, _named(rating.rated))
        codes, changes = _price_again(connection, book, month, standing, catalogue, again=again)
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
            unbilled=_counted(rating.unbilled),
            changes=changes if again else [],
            kept_rules=kept_rules,
            late=late,
            told=late_sentences(connection, facility, month),
        )


def _named(rated: pl.DataFrame) -> pl.DataFrame:
    """Which records go to ad hoc invoices."""
    return rated.drop_nulls("reference").select("charge", "reference")


def take_late(connection: Connection, book: PriceBook, month: str) -> int:
    """Take the charges of earlier months that came after their invoice into this month, where
    the facility bills them by the next run; how many there are of them in it now."""
    facility = book.facility.code
    if book.facility.late_usage == "next_run":
        waiting = ledger_charges.read_late(connection, facility, month)
        ledger_charges.set_period(connection, facility, waiting, month)
    return ledger_charges.count_late(connection, facility, month)


def _price_again(
    connection: Connection,
    book: PriceBook,
    month: str,
    standing: pl.DataFrame,
    catalogue: Catalogue,
    *,
    again: bool,
) -> tuple[list[str], list[str]]:
    """Price the pending charges again; which of those that stood came out otherwise, and how.

    The new ones are among them where records couple: what came before may now cost another
    tier, and what is new was priced without it.
    """
    facility = book.facility.code
    free = unbound(standing)
    if couples_records(catalogue):
        free = unbound(ledger_charges.read_charges(connection, facility, period=month))
    if free.height == 0:
        return [], []
    gathered = gather(connection, book, free)
    if again:
        gathered = gathered.at_rates_of(catalogue)
        rates = gathered.catalogue.rates.select("rate", "body").rows()
        ledger_charges.keep_rates(connection, facility, rates)
    priced = gathered.price()
    codes = differing(connection, facility, free, priced)
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
    both = was.sort("charge").join(now, on="charge", suffix="_now", maintain_order="left")
    return [
        f"{book.facility.code}/{row['charge']}: {_price_change(row)}total "
        f"{row['total']} → {row['total_now']}"
        for row in both.iter_rows(named=True)
    ]


def _price_change(row: dict[str, Any]) -> str:
    if row["price"] == row["price_now"]:
        return ""
    return f"rate {row['price'] or 'by tiers'} → {row['price_now'] or 'by tiers'}, "


def _counted(unbilled: pl.DataFrame) -> dict[str, int]:
    counts = unbilled.group_by("reason").len().sort("len", "reason", descending=[True, False])
    return dict(counts.iter_rows())


def read_unbilled(engine: Engine, facility: str, month: str) -> pl.DataFrame:
    """The usage of a period that the last rating left out, with reason and place."""
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        return usage.read_unbilled(connection, facility, month)


def unbilled_by_reason(engine: Engine, facility: str, month: str) -> pl.DataFrame:
    """The same, counted: ``reason``, ``records``."""
    counts = _counted(read_unbilled(engine, facility, month))
    return pl.DataFrame(
        list(counts.items()), schema={"reason": pl.String, "records": pl.Int64}, orient="row"
    )
