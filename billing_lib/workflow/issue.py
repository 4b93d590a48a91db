"""Issuing: freeze approved invoices, commit their results; and preview drafts.

    charges, price book, changes, notes, funds, texts  ─ freeze ─▶  Snapshot, with numbers
    Snapshot, the notebook's files                     ─ commit ─▶  issued, for good
    RC-1993-11-1/u4   OPEN                             ─ preview ─▶ its canonical invoice

Freezing reserves numbers and gathers everything that the computation reads. The charges are
locked since they were submitted, so the snapshot holds what was approved. A failed issuing gives
its numbers to the next try. Committing compares the notebook's files with the library's own
computation on the same snapshot, and writes the invoices in one transaction. A preview reserves
and writes nothing: its ``number`` and ``invoice_date`` are null, ``run`` is the billing run, and
``draft`` is the draft's code.
"""

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import BillingError, NotReady, RunFailed, UnknownInvoice, count_of
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events, runs, usage
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.database import open_ledger, reading, require_initialised
from billing_lib.ledger.states import CLOSED, NUMBERED
from billing_lib.pricing.clock import Period
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.after_issue import balances, draw, give_back
from billing_lib.workflow.content import require_approvals, require_chain, require_recorded
from billing_lib.workflow.invoice import Computation, Invoice, compute_invoices, invoice_json
from billing_lib.workflow.notes import notes_in_force, texts_in_force
from billing_lib.workflow.permissions import ISSUER, VIEWER, readable, require
from billing_lib.workflow.price import (
    Gathered,
    differing,
    gather,
    read_priced,
    year_to_date_amounts,
)
from billing_lib.workflow.runs import Calculated, RunScope, finish_if_done
from billing_lib.workflow.snapshot import (
    FACILITY_TEXTS,
    INVOICES,
    TEXTS,
    UNBILLED,
    Snapshot,
    billed_before,
)


def in_order(invoices: pl.DataFrame) -> list[str]:
    """Sort invoices in the order of their numbers and return their codes."""
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
    issuing: dict[str, str],
) -> Snapshot:
    """Compose the snapshot of invoices of one month.

    Parameters
    ----------
    invoices, charges
        The ledger's rows; ``gathered`` prices these charges.
    numbers
        ``invoice``, ``number``.
    unbilled
        Schema UNBILLED: the month's usage without a rate.
    issuing
        The texts ``run``, ``invoice_date``, ``frozen_by``, ``frozen_at``, and ``chain``, the number
        and the hash of the last event.
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
        year_to_date=year_to_date_amounts(
            connection, book.facility, catalogue, period, invoices["replaces"].drop_nulls()
        ),
        adjustments=gathered.adjustments,
        lines=gathered.lines,
        invoices=invoices.rename({"code": "invoice"})
        .drop("number")
        .join(numbers.select("invoice", "number"), on="invoice")
        .join(balances(connection, facility, invoices), on="project", how="left")
        .join(_line_settings(book, invoices["project"].unique()), on="project")
        .select(INVOICES.names())
        .sort("number"),
        assignment=charges.select("charge", "invoice"),
        history=billed_before(connection, facility, period, invoices),
        texts=_texts(connection, book, period, issuing),
        logo=book.facility.logo,
    )


def _line_settings(book: PriceBook, projects: pl.Series) -> pl.DataFrame:
    """How charges become lines: ``project``, ``lines_by``, ``lines_above``."""
    settings = {project: book.lines_of(project) for project in projects}
    return pl.DataFrame(
        [(project, ", ".join(it.by), it.above) for project, it in settings.items()],
        schema={"project": pl.String, "lines_by": pl.String, "lines_above": pl.Int64},
        orient="row",
    )


def _texts(
    connection: Connection, book: PriceBook, period: Period, issuing: dict[str, str]
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
        **issuing,
    }
    return pl.DataFrame(list(texts.items()), schema=TEXTS, orient="row")


@dataclass(frozen=True)
class Frozen:
    """An issuing between freezing and committing; its id is also the audit record's."""

    id: str
    run: str
    facility: str
    period: str
    selection: str
    invoice_date: dt.date
    fiscal_year: int
    login: str
    frozen_at: dt.datetime
    charges: int
    snapshot: Snapshot
    numbers: pl.DataFrame

    @property
    def folder(self) -> Path:
        """The record's folder relative to the archive."""
        return Path(self.facility) / self.period / self.id


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
    submitted: Calculated | None = None,
) -> Frozen:
    """Freeze invoices of a run that all reviewers have approved.

    ``said`` has further texts of the snapshot, by name: the program and the price book. If these
    very invoices were ``submitted`` in the same transaction, their charges are not read again.
    """
    row = runs.read_run(connection, run)
    facility, month = book.facility.code, row.period
    require(connection, facility, ISSUER)
    approved = ledger_invoices.lock_invoices(connection, facility, codes)
    require_chain(connection, facility)
    require_approvals(connection, book, approved)
    if submitted is not None and set(submitted.invoices["code"]) == set(codes):
        charges, gathered = submitted.charges, submitted.gathered
    else:
        charges = read_priced(connection, facility, approved["code"])
        gathered = gather(connection, book, charges, month, with_content=True)
        changed = differing(connection, facility, charges, gathered.price())
        if changed.len():
            raise NotReady(
                f"the price book has changed since the approval of "
                f"{count_of(changed.len(), 'charge')}, the "
                f"first of them {facility}/{changed[0]}",
                remedy="reject and submit their invoices again",
            )
    require_recorded(connection, book, charges, gathered.files)
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
    teams = {project.code: project.team for project in book.projects}
    unbilled = usage.read_unbilled(connection, facility, month).with_columns(
        team=pl.col("project").replace_strict(teams, default=None, return_dtype=pl.String)
    )
    snapshot = compose(
        connection,
        book,
        Period.parse(month),
        invoices=approved,
        numbers=numbers,
        charges=charges,
        gathered=gathered,
        unbilled=RunScope.parse(row.selection).of(unbilled).select(UNBILLED.names()),
        issuing={
            "run": begun.id,
            "invoice_date": begun.invoice_date.isoformat(),
            "frozen_by": begun.login,
            "frozen_at": begun.frozen_at.isoformat(timespec="seconds"),
            "chain": "{} {}".format(*events.chain_head(connection, facility)),
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
        charges.height,
        snapshot,
        numbers,
    )


def computed_results(snapshot: Path) -> tuple[Computation, dict[str, str]]:
    """Compute the invoices of a folder's snapshot, and the sha256 of each file of theirs."""
    files: dict[str, str] = {}

    def keep(name: str, content: bytes) -> None:
        files[name] = hashlib.sha256(content).hexdigest()

    computation = compute_invoices(Snapshot.read(snapshot), keep)
    for number, invoice in computation.invoices.items():
        keep(f"{number}.json", invoice_json(invoice).encode())
    return computation, files


def require_results(computed: dict[str, str], folder: Path) -> None:
    """Refuse a folder of invoices whose files have other sha256 than the computed ones."""
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    if files != computed:
        names = sorted(files | computed)
        odd = next(name for name in names if files.get(name) != computed.get(name))
        raise RunFailed(
            f"the notebook's result {odd} differs from the library's",
            remedy="restore notebooks/issue.ipynb and issue again",
        )


def commit_issuing(
    connection: Connection,
    book: PriceBook,
    frozen: Frozen,
    computation: Computation,
    fingerprints: Mapping[str, str],
    snapshot_sha256: str,
) -> list[str]:
    """Write frozen invoices as issued for good and bill their charges; return notices for staff."""
    facility = frozen.facility
    require(connection, facility, ISSUER)
    codes = computation.totals["invoice"].to_list()
    approved = ledger_invoices.lock_invoices(connection, facility, codes)
    _require_as_approved(approved, computation.totals)
    ledger_invoices.insert_issued(
        connection,
        computation.totals.join(frozen.numbers.select("number", "sequence"), on="number").select(
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
    places = minor_places(frozen.snapshot.text["currency"])
    numbers, facts = {}, {}
    for code, number, total in computation.totals.select("invoice", "number", "total").iter_rows():
        numbers[code] = number
        facts[code] = {"total": money_text(total, places), "fingerprint": fingerprints[number]}
    ledger_invoices.move_invoices(
        connection,
        facility,
        codes,
        "issue",
        f"issuing {frozen.id}",
        numbers=numbers,
        facts=facts,
        locked=approved,
    )
    ledger_charges.bill_charges(connection, facility, codes)
    replacing = frozen.snapshot.invoices.drop_nulls("replaces").select("replaces", "number")
    for old, new in replacing.iter_rows():
        reason = f"replaced by invoice {new}"
        code = str(ledger_invoices.require_invoice(connection, old)["code"])
        ledger_invoices.move_invoices(connection, facility, [code], "supersede", reason)
        give_back(connection, facility, old, reason)
    notices = draw(connection, book, computation.totals)
    runs.finish(
        connection, frozen.id, snapshot_sha256=snapshot_sha256, record=frozen.folder.as_posix()
    )
    finish_if_done(connection, book, frozen.run)
    return notices


def _require_as_approved(approved: pl.DataFrame, totals: pl.DataFrame) -> None:
    """Refuse invoices (schema INVOICE) with other totals than at their approval.

    A cap over a quarter, for example, also counts invoices issued since the approval.
    """
    compared = ("charges", "raw_total", "adjustment", "tax", "total")
    both = totals.join(approved, left_on="invoice", right_on="code", suffix="_approved")
    other = pl.any_horizontal(
        pl.col(name).ne_missing(pl.col(f"{name}_approved")) for name in compared
    )
    odd = both.filter(other).sort("invoice")
    if odd.height:
        raise RunFailed(
            f"invoice {odd['invoice'][0]} has other totals than at its approval",
            remedy="reject it and submit it again",
        )


def _parts(
    facility: str, computation: Computation
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The lines, splits and adjustments in the ledger's columns."""
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


def known_ledger(database: str) -> Engine | None:
    """Open the ledger at a URL; None without a ledger, as for an auditor."""
    try:
        engine = open_ledger(database)
        require_initialised(engine)
    except BillingError:
        return None
    return engine


def preview_invoices(
    connection: Connection, book: PriceBook, codes: list[str]
) -> dict[str, Invoice]:
    """Compute drafts as canonical invoices, as if they were issued together now, by code.

    Drafts without charges are left out. The order is that of the numbers they would get, in which
    they draw from prepaid funds.
    """
    facility = book.facility.code
    drafts = _drafts(connection, facility, codes)
    charges = ledger_charges.read_charges(connection, facility, invoices=drafts["code"])
    billing = drafts.join(charges.select(code="invoice").unique(), on="code", how="semi")
    previews: dict[str, Invoice] = {}
    for (month,), part in billing.group_by("period", maintain_order=True):
        on_them = charges.filter(pl.col("invoice").is_in(part["code"].implode()))
        previews |= _preview_month(connection, book, Period.parse(str(month)), part, on_them)
    return previews


def _drafts(connection: Connection, facility: str, codes: list[str]) -> pl.DataFrame:
    drafts = ledger_invoices.read_invoices(connection, facility, codes=codes)
    missing = sorted(set(codes) - set(drafts["code"]))
    if missing:
        raise UnknownInvoice(
            f"there is no draft {missing[0]} of {facility}",
            remedy="'billing invoices' lists them under 'invoice'",
        )
    for code, state, number in drafts.select("code", "state", "number").iter_rows():
        if state in NUMBERED:
            raise NotReady(
                f"{code} is issued as invoice {number}", remedy=f"see 'billing show {number}'"
            )
        if state == CLOSED:
            raise NotReady(f"{code} is {CLOSED} and will not be issued")
    return drafts


def _preview_month(
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
        # Placeholders that sort as the numbers would.
        numbers=pl.DataFrame(
            {"invoice": codes, "number": [f"{at:09d}" for at in range(len(codes))]}
        ),
        charges=charges,
        gathered=gathered,
        unbilled=UNBILLED.to_frame(),
        issuing=dict.fromkeys(("run", "invoice_date", "frozen_by", "frozen_at", "chain"), ""),
    )
    computed = compute_invoices(snapshot, keep=None).invoices
    run_of = dict(drafts.select("code", "run").iter_rows())
    return {
        code: computed[number]
        | {"draft": code, "number": None, "invoice_date": None, "run": run_of[code]}
        for code, number in snapshot.invoices.select("invoice", "number").iter_rows()
    }


def preview_draft(engine: Engine, book: PriceBook, code: str) -> Invoice:
    """Compute one draft as it would be issued now."""
    with reading(engine) as connection:
        require(connection, book.facility.code, VIEWER)
        previews = preview_invoices(connection, book, [code])
    if code not in previews:
        raise NotReady(f"{code} has no charges and would not be issued")
    return previews[code]


def facility_of(engine: Engine, code: str) -> str:
    """Find the one facility with an invoice of this code among those that the user may read."""
    with reading(engine) as connection:
        invoices = ledger_invoices.read_invoices(connection, codes=[code])
        facilities = readable(connection, invoices["facility"].to_list())
    if not facilities:
        raise UnknownInvoice(
            f"there is no draft {code}", remedy="'billing invoices' lists them under 'invoice'"
        )
    if len(facilities) > 1:
        raise UnknownInvoice(
            f"{' and '.join(facilities)} have an invoice {code}", remedy="say which facility"
        )
    return str(facilities[0])
