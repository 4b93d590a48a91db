"""Committing what is frozen: its invoices into the ledger in one transaction, for good.

The results come from the notebook's files. They are checked against the library's own
computation on the same snapshot before anything is written, so that the ledger, the files and
what was reviewed say the same.

What invoices are computed from, put together from the ledger: for issuing and for previews.

    charges, price book, changes, notes, funds, texts  ─▶  Snapshot

Nothing is written here. Issuing gives the numbers and says who issues when (freeze.py); a
preview has neither (preview.py).

Freezing: numbers reserved for approved invoices, all they are computed from put together.

After this nothing but the snapshot is read. Their charges are locked since they were submitted,
so what is frozen is what was approved. An issuing that fails gives its numbers back; the next
try gets the same numbers, so none is lost.

Previews: drafts as they would be issued now, computed as issuing computes them.

    RC-1993-11-1/u4   OPEN  ─▶  the canonical invoice without number and date

Nothing is reserved and nothing is written. What differs from the invoice that is issued
afterwards is what only issuing gives: ``number`` and ``invoice_date`` are null, ``run`` is the
billing run, and ``draft`` is the draft's code.
"""

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import BillingError, NotReady, RunFailed, UnknownInvoice
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import runs, usage
from billing_lib.ledger.database import open_ledger, reading, require_initialised
from billing_lib.ledger.states import CLOSED, ISSUED
from billing_lib.pricing.clock import Period
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.after_issue import balances, draw, give_back
from billing_lib.workflow.invoice import Computation, Invoice, compute_invoices, invoice_json
from billing_lib.workflow.notes import notes_in_force, texts_in_force
from billing_lib.workflow.permissions import ISSUER, VIEWER, readable, require, seen
from billing_lib.workflow.price import Gathered, carried_amounts, differing, gather
from billing_lib.workflow.runs import RunSelection, finish_if_done
from billing_lib.workflow.snapshot import (
    FACILITY_TEXTS,
    INVOICES,
    TEXTS,
    UNBILLED,
    Snapshot,
    billed_before,
)


def in_order(invoices: pl.DataFrame) -> list[str]:
    """The codes of these invoices in the order in which they get their numbers."""
    return invoices.sort("project", "code")["code"].to_list()


def compose(
    connection: Connection,
    book: PriceBook,
    period: Period,
    *,
    invoices: pl.DataFrame,
    numbers: pl.DataFrame,
    charges: pl.DataFrame,
    gathered: Gathered,
    unbilled: pl.DataFrame,
    said: dict[str, str],
) -> Snapshot:
    """The snapshot of some invoices of one month.

    Parameters
    ----------
    invoices
        Schema INVOICE of the ledger.
    numbers
        ``invoice``, ``number``.
    charges
        The charges on them, as the ledger has them.
    gathered
        What prices these charges.
    unbilled
        Schema UNBILLED: what of the month is on no invoice.
    said
        What the issuing says of itself: ``run``, ``invoice_date``, ``frozen_by``, ``frozen_at``.
    """
    facility, catalogue = book.facility.code, gathered.catalogue
    billed = pl.col("project").is_in(invoices["project"].unique().implode())
    return Snapshot(
        usage=gathered.usage,
        unbilled=unbilled,
        resources=catalogue.resources,
        items=catalogue.items,
        rates=catalogue.rates,
        accounts=catalogue.accounts.filter(billed),
        rules=gathered.rules,
        notes=notes_in_force(connection, facility, str(period)).filter(billed),
        carried=carried_amounts(
            connection, book.facility, catalogue, period, invoices["replaces"].drop_nulls()
        ),
        adjustments=gathered.adjustments,
        lines=gathered.lines,
        invoices=_invoices(connection, facility, invoices, numbers),
        placing=charges.select("charge", "invoice"),
        history=billed_before(connection, facility, period, invoices),
        texts=_texts(connection, book, period, said),
        logo=book.facility.logo,
    )


def _invoices(
    connection: Connection, facility: str, invoices: pl.DataFrame, numbers: pl.DataFrame
) -> pl.DataFrame:
    return (
        invoices.rename({"code": "invoice"})
        .drop("number")
        .join(numbers.select("invoice", "number"), on="invoice")
        .join(balances(connection, facility, invoices), on="project", how="left")
        .select(INVOICES.names())
        .sort("number")
    )


def _texts(
    connection: Connection, book: PriceBook, period: Period, said: dict[str, str]
) -> pl.DataFrame:
    facility = book.facility
    texts = {
        "facility": facility.code,
        "facility_name": facility.name,
        "currency": facility.currency,
        "timezone": facility.timezone,
        **texts_in_force(connection, book),
        **{name: (getattr(facility, name) or "").strip() for name in FACILITY_TEXTS},
        "period": str(period),
        "covers_from": period.first_day.isoformat(),
        "covers_to": period.last_day.isoformat(),
        **said,
    }
    return pl.DataFrame(list(texts.items()), schema=TEXTS, orient="row")


@dataclass(frozen=True)
class Frozen:
    """What is between freezing and issuing.

    Attributes
    ----------
    id
        The issuing's, and the audit record's.
    """

    id: str
    run: str
    facility: str
    period: str
    selection: str
    invoice_date: dt.date
    fiscal_year: int
    login: str
    frozen_at: dt.datetime
    snapshot: Snapshot

    @property
    def folder(self) -> Path:
        """Where the record goes, relative to the archive."""
        return Path(self.facility) / self.period / self.id

    @property
    def partial_folder(self) -> Path:
        """Where the record is while the issuing goes on, relative to the archive."""
        return Path(self.facility) / self.period / f".{self.id}.partial"


def freeze(
    connection: Connection,
    book: PriceBook,
    run: str,
    codes: list[str],
    *,
    invoice_date: dt.date,
    commit: str,
    container: str,
    said: Mapping[str, str] = MappingProxyType({}),
) -> Frozen:
    """Freeze invoices of a run that all reviewers have approved.

    Parameters
    ----------
    said
        Further texts of the snapshot, by name: the program and the price book.

    Raises
    ------
    NotPermitted
        Only an issuer does this.
    NotReady
        The price book has changed since they were submitted.
    """
    row = runs.read_run(connection, run)
    facility, month = book.facility.code, row.period
    require(connection, facility, ISSUER)
    approved = ledger_invoices.lock_invoices(connection, facility, codes)
    charges = ledger_charges.read_charges(connection, facility, invoices=approved["code"])
    gathered = gather(connection, book, charges, month)
    changed = differing(connection, facility, charges, gathered.price())
    if changed.len():
        raise NotReady(
            f"the price book has changed since {changed.len():,} charges were approved, the first "
            f"of them {facility}/{changed[0]}",
            remedy="reject their invoices, so that they take in the change",
        )
    begun = runs.freeze(
        connection,
        facility=facility,
        run=run,
        period=month,
        invoice_date=invoice_date,
        fiscal_year=book.facility.fiscal_year(invoice_date),
        commit_hash=commit,
        container=container,
    )
    numbers = runs.reserve_numbers(
        connection,
        begun.id,
        facility,
        begun.fiscal_year,
        in_order(approved),
        lambda sequence: f"{facility}-{begun.fiscal_year}-{sequence:05d}",
    )
    unbilled = RunSelection.parse(row.selection).of(_unbilled(connection, book, month))
    snapshot = compose(
        connection,
        book,
        Period.parse(month),
        invoices=approved,
        numbers=numbers,
        charges=charges,
        gathered=gathered,
        unbilled=unbilled.select(UNBILLED.names()),
        said={
            "run": begun.id,
            "invoice_date": begun.invoice_date.isoformat(),
            "frozen_by": begun.login,
            "frozen_at": begun.frozen_at.isoformat(timespec="seconds"),
            **said,
        },
    )
    return Frozen(
        begun.id,
        run,
        facility,
        month,
        row.selection,
        invoice_date,
        begun.fiscal_year,
        begun.login,
        begun.frozen_at,
        snapshot,
    )


def _unbilled(connection: Connection, book: PriceBook, month: str) -> pl.DataFrame:
    teams = pl.DataFrame(
        [(project.code, project.team) for project in book.projects],
        schema={"project": pl.String, "team": pl.String},
        orient="row",
    )
    unbilled = usage.read_unbilled(connection, book.facility.code, month)
    return unbilled.join(teams, on="project", how="left", maintain_order="left")


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
    runs.describe(
        connection, frozen.id, snapshot_sha256=snapshot_sha256, record=frozen.folder.as_posix()
    )
    held = runs.read_numbers(connection, frozen.id)
    ledger_invoices.insert_issued(
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
    ledger_charges.bill_charges(connection, facility, codes)
    for old, new in frozen.snapshot.invoices.select("replaces", "number").iter_rows():
        if old is not None:
            _supersede(connection, facility, old, new)
    notices = draw(connection, book, computation.totals)
    runs.finish(connection, frozen.id)
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
        computation.priced.charges.drop("team")
        .join(names, on="invoice")
        .sort("number", "date", "start", "charge", nulls_last=True)
        .with_columns(position=numbered, facility=pl.lit(facility))
    )
    adjustments = (
        computation.rule_lines.join(names, left_on="subject", right_on="invoice")
        .sort("number", "position", maintain_order=True)
        .with_columns(position=numbered, facility=pl.lit(facility), worked_on="on")
    )
    splits = computation.by_expense_code.drop("number").join(names, on="invoice")
    return (
        lines.select(ledger_invoices.INVOICE_LINE.names()),
        splits.with_columns(facility=pl.lit(facility)).select(
            ledger_invoices.INVOICE_SPLIT.names()
        ),
        adjustments.select(ledger_invoices.INVOICE_ADJUSTMENT.names()),
    )


def ledger_fingerprints(engine: Engine) -> dict[str, str]:
    """The fingerprint that the ledger keeps of each issued invoice that may be seen, by number."""
    with reading(engine) as connection:
        found = seen(connection, ledger_invoices.read_all_fingerprints(connection))
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


_NOT_ISSUED = {"run": "", "invoice_date": "", "frozen_by": "", "frozen_at": ""}


def preview_invoices(
    connection: Connection, book: PriceBook, codes: list[str]
) -> dict[str, Invoice]:
    """The canonical invoices of these drafts as they would be issued now, together, by code.

    Those that bill nothing would not be issued, and are left out. They come in the order in which
    they would get their numbers, which is the order in which they draw from prepaid funds.

    Raises
    ------
    UnknownInvoice
        There is no such draft.
    NotReady
        One is issued or closed, or cannot be calculated.
    """
    facility = book.facility.code
    drafts = _drafts(connection, facility, codes)
    charges = ledger_charges.read_charges(connection, facility, invoices=drafts["code"])
    billing = drafts.join(charges.select(code="invoice").unique(), on="code", how="semi")
    found: dict[str, Invoice] = {}
    for (month,), part in billing.group_by("period", maintain_order=True):
        held = charges.filter(pl.col("invoice").is_in(part["code"].implode()))
        found |= _of_month(connection, book, Period.parse(str(month)), part, held)
    return found


def _drafts(connection: Connection, facility: str, codes: list[str]) -> pl.DataFrame:
    found = ledger_invoices.read_invoices(connection, facility, codes=codes)
    missing = sorted(set(codes) - set(found["code"]))
    if missing:
        raise UnknownInvoice(
            f"there is no draft {missing[0]} of {facility}",
            remedy="'billing invoices' lists them under 'invoice'",
        )
    for code, state, number in found.select("code", "state", "number").iter_rows():
        if state in ISSUED:
            raise NotReady(
                f"{code} is issued as invoice {number}", remedy=f"see 'billing show {number}'"
            )
        if state == CLOSED:
            raise NotReady(f"{code} is {CLOSED} and will not be issued")
    return found


def _of_month(
    connection: Connection,
    book: PriceBook,
    period: Period,
    drafts: pl.DataFrame,
    charges: pl.DataFrame,
) -> dict[str, Invoice]:
    codes = in_order(drafts)
    gathered = gather(connection, book, charges, str(period))
    snapshot = compose(
        connection,
        book,
        period,
        invoices=drafts,
        # Stand-ins that sort as the numbers would.
        numbers=pl.DataFrame(
            {"invoice": codes, "number": [f"{at:09d}" for at in range(len(codes))]}
        ),
        charges=charges,
        gathered=gathered,
        unbilled=UNBILLED.to_frame(),
        said=_NOT_ISSUED,
    )
    computed = compute_invoices(snapshot).invoices
    runs = dict(drafts.select("code", "run").iter_rows())
    return {
        code: computed[number]
        | {"draft": code, "number": None, "invoice_date": None, "run": runs[code]}
        for code, number in snapshot.invoices.select("invoice", "number").iter_rows()
    }


def preview_draft(engine: Engine, book: PriceBook, code: str) -> Invoice:
    """One draft as it would be issued now, for who may see it.

    Raises
    ------
    UnknownInvoice, NotReady
        There is no such draft, or it would not be issued.
    NotPermitted
        Who is asking has no role in the facility.
    """
    with reading(engine) as connection:
        require(connection, book.facility.code, VIEWER)
        found = preview_invoices(connection, book, [code])
    if code not in found:
        raise NotReady(f"{code} bills nothing and would not be issued")
    return found[code]


def facility_of(engine: Engine, code: str) -> str:
    """The facility that has an invoice of this code, among those that may be read.

    Raises
    ------
    UnknownInvoice
        None has, or several have one.
    """
    with reading(engine) as connection:
        found = ledger_invoices.read_invoices(connection, codes=[code])["facility"].to_list()
        facilities = readable(connection, found)
    if not facilities:
        raise UnknownInvoice(
            f"there is no draft {code}", remedy="'billing invoices' lists them under 'invoice'"
        )
    if len(facilities) > 1:
        raise UnknownInvoice(
            f"{' and '.join(facilities)} have an invoice {code}", remedy="say which with --facility"
        )
    return str(facilities[0])
