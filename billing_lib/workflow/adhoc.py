"""Ad hoc invoices: one project, dates of their own, and a reference that charges name.

    billing adhoc RC PO-12 --project u4 --start 1993-10-04 --end 1993-10-08

Usage and added lines that name the reference go to the ad hoc invoice, not to the month's. It is
issued with the month in which its dates end, or by itself. Rules at invoice scope skip it.
"""

import datetime as dt
import re
from dataclasses import dataclass
from typing import Any

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import AlreadyIssued, InvalidAdjustment, NotReady, UnknownInvoice, count_of
from billing_lib.ledger import charges
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.events import record_event
from billing_lib.ledger.states import CLOSED, EDITABLE
from billing_lib.pricing.clock import Period
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.pricing.rating import REFERENCES
from billing_lib.workflow.permissions import REVIEWER, changing
from billing_lib.workflow.snapshot import AD_HOC

_REFERENCE = re.compile(r"[^\s/]([^\n/]*[^\s/])?")


@dataclass(frozen=True)
class Words:
    """The fields of an ad hoc invoice as a user enters them; None leaves a field as it is.

    ``start`` and ``end`` are the dates it covers, ``YYYY-MM-DD``; the end of a new invoice is its
    start by default.
    """

    project: str | None = None
    start: str | None = None
    end: str | None = None
    description: str | None = None


def create_ad_hoc(engine: Engine, book: PriceBook, reference: str, words: Words) -> str:
    """Create an ad hoc invoice and return a sentence; the same call again changes nothing."""
    facility = book.facility.code
    if _REFERENCE.fullmatch(reference) is None:
        raise InvalidAdjustment(
            f"'{reference}' is not a reference", remedy="write it without slashes, such as PO-12"
        )
    if words.project is None or words.start is None:
        raise InvalidAdjustment("a new ad hoc invoice needs a project and a start date")
    team = book.team_of(words.project)
    if team is None:
        raise InvalidAdjustment(f"the price book has no project '{words.project}'", where="project")
    first, last = _dates(words.start, words.end or words.start)
    stated = {
        "project": words.project,
        "covers_from": first.isoformat(),
        "covers_to": last.isoformat(),
        "description": (words.description or "").strip(),
    }
    code = f"{facility}/{reference}"
    with changing(engine, book, REVIEWER) as connection:
        standing = ledger_invoices.read_invoices(connection, facility, reference=reference)
        if standing.height:
            return _as_before(standing.row(0, named=True), stated)
        ledger_invoices.insert_invoices(
            connection,
            pl.DataFrame(
                {
                    "facility": [facility],
                    "code": [code],
                    "kind": [AD_HOC],
                    "period": [f"{last:%Y-%m}"],
                    "project": [words.project],
                    "team": [team],
                    "reference": [reference],
                    "covers_from": [first],
                    "covers_to": [last],
                    "description": [stated["description"]],
                }
            ),
        )
        record_event(
            connection,
            facility,
            kind="create_invoice",
            subject=code,
            reason="",
            after=canonical_json(stated),
            team=team,
        )
    return f"invoice {code} of project {words.project}, {_span(first, last)}, is open"


def edit_ad_hoc(engine: Engine, book: PriceBook, reference: str, words: Words) -> str:
    """Set the dates or the description of an ad hoc invoice and return a sentence."""
    facility = book.facility.code
    with changing(engine, book, REVIEWER) as connection:
        row = taking_changes(connection, facility, reference)
        if words.project not in (None, row["project"]):
            raise InvalidAdjustment(
                f"the ad hoc invoice {reference} belongs to project {row['project']}",
                remedy="create another one with its own reference",
            )
        first, last = _dates(
            words.start or row["covers_from"].isoformat(), words.end or row["covers_to"].isoformat()
        )
        description = row["description"] if words.description is None else words.description
        values: dict[str, Any] = {
            "covers_from": first,
            "covers_to": last,
            "description": description.strip(),
            "period": f"{last:%Y-%m}",
        }
        changed = {name: value for name, value in values.items() if value != row[name]}
        if not changed:
            return f"invoice {row['code']} has these values already, nothing changed"
        if "period" in changed and row["run"] is not None:
            raise NotReady(
                f"the ad hoc invoice {reference} is in run {row['run']} of {row['period']} and "
                f"cannot end in {changed['period']}",
                remedy="choose an end date in the run's month",
            )
        ledger_invoices.edit_invoice(connection, facility, row["code"], **changed)
        record_event(
            connection,
            facility,
            kind="edit_invoice",
            subject=row["code"],
            reason="",
            before=canonical_json({name: str(row[name]) for name in changed}),
            after=canonical_json({name: str(value) for name, value in changed.items()}),
            team=row["team"],
        )
    return f"invoice {row['code']} of project {row['project']}, {_span(first, last)}, is edited"


def known_references(connection: Connection, facility: str) -> pl.DataFrame:
    """Read the ad hoc invoices that usage may name (schema REFERENCES)."""
    named = ledger_invoices.read_referenced(connection, facility).select(REFERENCES.names())
    return named.unique("reference", keep="first", maintain_order=True)


def find_ad_hoc(connection: Connection, facility: str, reference: str) -> dict[str, Any]:
    """Lock the ad hoc invoice with this reference, or its last replacement: columns by name."""
    invoices = _last(ledger_invoices.read_referenced(connection, facility)).filter(
        pl.col("reference") == reference
    )
    if invoices.height == 0:
        raise UnknownInvoice(
            f"{facility} has no ad hoc invoice {reference}",
            remedy=f"create it with 'billing adhoc {facility} {reference}'",
        )
    locked = ledger_invoices.lock_invoices(connection, facility, invoices["code"].to_list())
    return locked.row(0, named=True) | {"reference": reference}


def taking_changes(connection: Connection, facility: str, reference: str) -> dict[str, Any]:
    """Lock an ad hoc invoice, and refuse it if it takes in no changes any more."""
    row = find_ad_hoc(connection, facility, reference)
    if row["state"] in EDITABLE:
        return row
    issued = f" as {row['number']}" if row["number"] else ""
    raise NotReady(
        f"the ad hoc invoice {reference} is {row['state']}{issued} and takes in no changes",
        remedy="credit or reissue it"
        if row["number"]
        else "create another one with its own reference"
        if row["state"] == CLOSED
        else "reject it first",
    )


def attach_waiting(connection: Connection, facility: str) -> list[str]:
    """Attach waiting charges to the ad hoc invoices they name; return the changed invoices' codes.

    A charge stays pending if its invoice takes in no changes any more.
    """
    waiting = charges.read_waiting(connection, facility)
    if waiting.height == 0:
        return []
    taking = ledger_invoices.read_referenced(connection, facility).filter(
        pl.col("state").is_in(EDITABLE)
    )
    assigned = waiting.join(taking.select("reference", invoice="code"), on="reference")
    charges.attach_charges(connection, facility, assigned)
    return assigned["invoice"].unique().sort().to_list()


def late_sentences(connection: Connection, facility: str, month: str | None = None) -> list[str]:
    """Sentences on charges whose ad hoc invoice takes in no changes any more.

    A month limits them to its charges.
    """
    waiting = charges.read_waiting(connection, facility)
    if month is not None:
        waiting = waiting.filter(pl.col("period") == month)
    if waiting.height == 0:
        return []
    closed = _last(ledger_invoices.read_referenced(connection, facility)).filter(
        ~pl.col("state").is_in(EDITABLE)
    )
    late = waiting.join(closed.select("reference", "state", "number"), on="reference")
    counted = late.group_by("reference", "state", "number").len().sort("reference")
    return [
        f"{count_of(count, 'late charge')} of the ad hoc invoice {reference} left pending: "
        f"it is {state}" + (f" as {number}" if number else "")
        for reference, state, number, count in counted.iter_rows()
    ]


def require_issuable(row: dict[str, Any], book: PriceBook, period: Period) -> None:
    """Refuse an ad hoc invoice that cannot be issued by itself with this month."""
    reference = row["reference"]
    if row["number"]:
        raise AlreadyIssued(
            f"the ad hoc invoice {reference} is issued ({row['number']})",
            remedy="'billing invoices' lists it",
        )
    if row["state"] == CLOSED:
        raise NotReady(f"the ad hoc invoice {reference} is closed and will not be issued")
    if row["period"] != str(period):
        raise NotReady(
            f"the ad hoc invoice {reference} ends in {row['period']}, not in {period}",
            remedy=f"run 'billing issue {book.facility.code} {row['period']}' with its reference",
        )
    if row["charges"] == 0:
        raise NotReady(
            f"the ad hoc invoice {reference} has no charges yet",
            remedy="add a line or rate usage that names it",
        )


def _last(referenced: pl.DataFrame) -> pl.DataFrame:
    """Keep the latest invoice of each reference, without closed reissues."""
    standing = (pl.col("state") != CLOSED) | pl.col("replaces").is_null()
    return referenced.filter(standing).unique("reference", keep="last", maintain_order=True)


def _as_before(row: dict[str, Any], stated: dict[str, str]) -> str:
    was = {name: str(row[name]) for name in stated}
    other = [name for name in stated if stated[name] != was[name]]
    if not other:
        return f"invoice {row['code']} was created before, nothing changed; it is {row['state']}"
    raise NotReady(
        f"the reference {row['reference']} belongs to an invoice with {other[0]} "
        f"'{was[other[0]]}', not '{stated[other[0]]}'",
        remedy="edit that invoice, or choose another reference",
    )


def _dates(first: str, last: str) -> tuple[dt.date, dt.date]:
    days = []
    for name, text in (("start", first), ("end", last)):
        try:
            days.append(dt.date.fromisoformat(text))
        except ValueError:
            raise InvalidAdjustment(
                f"'{text}' is not a date", where=name, remedy="write it as YYYY-MM-DD"
            ) from None
    if days[1] < days[0]:
        raise InvalidAdjustment(f"the end {last} is before the start {first}", where="end")
    return days[0], days[1]


def _span(first: dt.date, last: dt.date) -> str:
    return str(first) if first == last else f"{first} to {last}"
