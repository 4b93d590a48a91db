"""Committing what is frozen: its invoices into the ledger in one transaction, for good.

The results come from the notebook's files. They are checked against the library's own
computation on the same snapshot before anything is written, so that the ledger, the files and
what was reviewed say the same.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import BillingError, RunFailed
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import issued as ledger_issued
from billing_lib.ledger import issuings, placing
from billing_lib.ledger.database import open_ledger, reading, require_initialised
from billing_lib.pricing.charging import shown
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.canonical import invoice_json
from billing_lib.workflow.freeze import Frozen
from billing_lib.workflow.funds import draw, give_back
from billing_lib.workflow.invoice import Computation, compute_invoices
from billing_lib.workflow.permissions import ISSUER, require, seen
from billing_lib.workflow.runs import finish_if_done
from billing_lib.workflow.snapshot import Snapshot


def checked_results(snapshot: Snapshot, folder: Path) -> tuple[Computation, dict[str, str]]:
    """What a snapshot comes to, and the fingerprint of each result in a folder.

    Raises
    ------
    RunFailed
        The notebook's files are not what the library computes from the same snapshot.
    """
    computation = compute_invoices(snapshot)
    found = {path.stem: path.read_bytes() for path in sorted(folder.glob("*.json"))}
    wanted = {number: invoice_json(it).encode() for number, it in computation.invoices.items()}
    if found != wanted:
        odd = sorted(number for number in found | wanted if found.get(number) != wanted.get(number))
        raise RunFailed(
            f"the notebook's result for {odd[0]} is not what the library computes",
            remedy="restore notebooks/issue.ipynb, and issue again",
        )
    return computation, {
        number: hashlib.sha256(content).hexdigest() for number, content in found.items()
    }


def commit_issuing(
    connection: Connection,
    book: PriceBook,
    frozen: Frozen,
    computation: Computation,
    fingerprints: Mapping[str, str],
    snapshot_sha256: str,
) -> list[str]:
    """Write what was frozen as issued and bill its charges; nothing of this can change
    afterwards. Notices that staff should have, in words.

    Raises
    ------
    NotPermitted
        Only an issuer does this.
    RunFailed
        An invoice comes to something else than when it was approved.
    """
    facility = frozen.facility
    require(connection, facility, ISSUER)
    _require_as_approved(connection, facility, computation.totals)
    issuings.describe(
        connection, frozen.id, snapshot_sha256=snapshot_sha256, record=frozen.folder.as_posix()
    )
    held = issuings.read_numbers(connection, frozen.id)
    ledger_issued.insert_issued(
        connection,
        computation.totals.join(held.select("number", "sequence"), on="number").select(
            *("number", "invoice", "sequence", "kind", "project", "team", "charges"),
            *("raw_total", "adjustment", "tax", "total", "cost"),
            prepaid="drawn",
            fingerprint=pl.col("number").replace_strict(dict(fingerprints), return_dtype=pl.String),
            currency=pl.lit(frozen.snapshot.text["currency"]),
            facility=pl.lit(facility),
            fiscal_year=pl.lit(frozen.fiscal_year, dtype=pl.Int32),
            issuing=pl.lit(frozen.id),
            period=pl.lit(frozen.period),
            invoice_date=pl.lit(frozen.invoice_date),
        ),
        *_parts(facility, computation),
    )
    codes = computation.totals["invoice"].to_list()
    numbers = dict(computation.totals.select("invoice", "number").iter_rows())
    places = minor_places(frozen.snapshot.text["currency"])
    facts = {
        code: {"total": money_text(total, places), "fingerprint": fingerprints[number]}
        for code, number, total in computation.totals.select(
            "invoice", "number", "total"
        ).iter_rows()
    }
    ledger_invoices.move_invoices(
        connection,
        facility,
        codes,
        "issue",
        f"issuing {frozen.id}",
        numbers=numbers,
        facts=facts,
    )
    placing.bill_charges(connection, facility, codes)
    for old, new in frozen.snapshot.invoices.select("replaces", "number").iter_rows():
        if old is not None:
            _supersede(connection, facility, old, new)
    notices = draw(connection, book, computation.totals)
    issuings.finish(connection, frozen.id)
    finish_if_done(connection, book, frozen.run)
    return notices


def _require_as_approved(connection: Connection, facility: str, totals: pl.DataFrame) -> None:
    """A cap over a quarter, say, counts what was issued since the invoice was approved."""
    compared = ("charges", "raw_total", "adjustment", "tax", "total")
    approved = ledger_invoices.read_invoices(connection, facility, codes=totals["invoice"])
    both = totals.join(approved, left_on="invoice", right_on="code", suffix="_approved")
    other = pl.any_horizontal(
        pl.col(name).ne_missing(pl.col(f"{name}_approved")) for name in compared
    )
    odd = both.filter(other).sort("invoice")
    if odd.height:
        raise RunFailed(
            f"invoice {odd['invoice'][0]} no longer comes to what was approved",
            remedy="reject it, so that it is calculated anew",
        )


def _supersede(connection: Connection, facility: str, old: str, new: str) -> None:
    code = str(ledger_invoices.require_invoice(connection, old)["code"])
    ledger_invoices.move_invoices(
        connection, facility, [code], "supersede", f"replaced by invoice {new}"
    )
    give_back(connection, facility, old, f"replaced by invoice {new}")


def _parts(
    facility: str, computation: Computation
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Lines, splits and adjustments as the ledger keeps them."""
    names = computation.totals.select("invoice", "number", "team")
    numbered = pl.int_range(pl.len(), dtype=pl.Int32).over("number") + 1
    lines = (
        shown(computation.priced.charges)
        .drop("team")
        .join(names, on="invoice")
        .sort("number", "date", "start", "charge", nulls_last=True)
        .with_columns(position=numbered, facility=pl.lit(facility), on_date="date")
    )
    adjustments = (
        computation.rule_lines.join(names, left_on="subject", right_on="invoice")
        .sort("number", "position", maintain_order=True)
        .with_columns(position=numbered, facility=pl.lit(facility), worked_on="on")
    )
    splits = computation.by_expense_code.drop("number").join(names, on="invoice")
    return (
        lines.select(ledger_issued.INVOICE_LINE.names()),
        splits.with_columns(facility=pl.lit(facility)).select(ledger_issued.INVOICE_SPLIT.names()),
        adjustments.select(ledger_issued.INVOICE_ADJUSTMENT.names()),
    )


def ledger_fingerprints(engine: Engine) -> dict[str, str]:
    """The fingerprint that the ledger keeps of each issued invoice that may be seen, by number."""
    with reading(engine) as connection:
        found = seen(connection, ledger_issued.read_all_fingerprints(connection))
    return dict(found.select("number", "fingerprint").iter_rows())


def known_fingerprints(database: str) -> dict[str, str] | None:
    """The same of the ledger at this URL; None where no ledger is set up or in reach, as with an
    auditor who has the archive alone."""
    try:
        engine = open_ledger(database)
        require_initialised(engine)
        return ledger_fingerprints(engine)
    except BillingError:
        return None
