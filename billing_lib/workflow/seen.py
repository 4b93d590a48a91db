"""What a person was shown, and whether it is still so when they say yes.

    412-9f3c1a2b4d5e6f70-7c21ab30     the last event then, what was shown, the price book

A change that was shown carries this mark. Who makes the change hands the mark in, and it is made
only as it was shown: where another has changed one of the charges or its invoice since, it is
said who, what and when, and nothing is written.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import polars as pl
from sqlalchemy import Connection

from billing_lib.errors import ChangedMeanwhile, InvalidAdjustment
from billing_lib.ledger import events
from billing_lib.pricing.pricebook import PriceBook

_MARK = re.compile(r"([0-9]+)-([0-9a-f]{16})-([0-9a-f]{8})")
_REMEDY = "nothing was written; have it shown again"


@dataclass(frozen=True)
class Seen:
    """A mark of what was shown.

    Attributes
    ----------
    sequence
        Of the facility's last event when it was shown.
    shown, book
        Digests of what was shown and of the price book then.
    """

    sequence: int
    shown: str
    book: str

    @classmethod
    def parse(cls, mark: str) -> Self:
        """A mark from its text.

        Raises
        ------
        InvalidAdjustment
            It is none.
        """
        found = _MARK.fullmatch(mark.strip())
        if found is None:
            raise InvalidAdjustment(
                f"'{mark}' is no mark of what was shown", remedy="copy it from the preview"
            )
        return cls(int(found[1]), found[2], found[3])

    @classmethod
    def of(cls, sequence: int, shown: Iterable[pl.DataFrame], book: PriceBook) -> Self:
        """The mark of these frames, by this price book."""
        rows = [[frame.columns, frame.rows()] for frame in shown]
        return cls(sequence, _digest(rows)[:16], _digest(book.model_dump(mode="json"))[:8])

    def __str__(self) -> str:
        return f"{self.sequence}-{self.shown}-{self.book}"


def require_untouched(
    connection: Connection, facility: str, seen: Seen, codes: pl.Series, invoices: pl.Series
) -> None:
    """Pass if nobody has changed these charges or invoices since they were shown.

    Parameters
    ----------
    codes
        Of the charges that are changed, which are locked, and of those billed with them.
    invoices
        The codes of those that they are on.

    Raises
    ------
    ChangedMeanwhile
        Somebody has: who, what and when.
    """
    since = events.read_events(connection, facility, after=seen.sequence)
    undone = since.filter(pl.col("kind") == "undo")["subject"]
    touched = events.read_events(connection, facility, kinds=["adjust"], groups=undone)
    mine = touched.filter(pl.col("subject").is_in(codes.implode()))["group_id"].unique()
    direct = pl.col("kind").is_in(["adjust", "add_line", "delete"]) & pl.col("subject").is_in(
        codes.implode()
    )
    grouped = (pl.col("kind") == "undo") & pl.col("subject").is_in(mine.implode())
    moved = pl.col("subject").is_in(invoices.implode())
    found = since.filter(direct | grouped | moved)
    if found.height == 0:
        return
    event = found.row(0, named=True)
    more = f", and {found.height - 1:,} more changes came after it" if found.height > 1 else ""
    raise ChangedMeanwhile(
        f"{event['login']} {_told(facility, event)} on {event['at']:%Y-%m-%d at %H:%M:%S} UTC, "
        f"after this was shown{_because(event['reason'])}{more}",
        remedy=_REMEDY,
    )


def require_as_shown(seen: Seen, now: Seen) -> None:
    """Pass if what is written is what was shown.

    Raises
    ------
    ChangedMeanwhile
        It is not, though nobody changed a charge of it.
    """
    if seen.shown == now.shown:
        return
    raise ChangedMeanwhile(
        "the price book was changed after this was shown, and it would come out otherwise"
        if seen.book != now.book
        else "this is not what was shown: it is for other charges, says something else, or they "
        "were rated again since",
        remedy=_REMEDY,
    )


def _digest(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _told(facility: str, event: dict[str, Any]) -> str:
    charge = f"{facility}/{event['subject']}"
    if event["kind"] == "delete":
        return f"deleted the charge {charge}"
    if event["kind"] == "add_line":
        return f"added the line {charge}"
    if event["kind"] == "undo":
        return f"undid the group {event['subject']}"
    if event["kind"] == "adjust":
        before, after = json.loads(event["before"]), json.loads(event["after"])
        fields = ", ".join(f"{name} {before[name]} → {after[name]}" for name in after)
        return f"changed the charge {charge}, {fields},"
    action = event["kind"].replace("_", " ")
    return f"changed the invoice {event['subject']} ({action})"
