"""Committing a run: its invoices into the ledger in one transaction, for good.

The results come from the notebook's files. They are checked against the library's own
computation on the same snapshot before anything is written, so that the ledger, the files and
what was reviewed say the same.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import RunFailed
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events, runs
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.database import reading
from billing_lib.pricing.charging import shown
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.workflow.freeze import FrozenRun
from billing_lib.workflow.invoice import Computation, compute_invoices, invoice_json
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


def commit_run(
    connection: Connection,
    run: FrozenRun,
    computation: Computation,
    fingerprints: Mapping[str, str],
    snapshot_sha256: str,
) -> None:
    """Write a run's invoices and bill its charges; nothing of this can change afterwards."""
    facility = run.facility
    charges = shown(computation.priced.charges)
    numbers = computation.totals.select("project", "number")
    lines = (
        charges.join(numbers, on="project")
        .sort("number", "date", "start", "charge", nulls_last=True)
        .with_columns(position=pl.int_range(pl.len(), dtype=pl.Int32).over("number") + 1)
        .rename({"date": "on_date"})
    )
    team = computation.totals.select("number", "team")
    columns = ["item", "user", "on_date", "description", "quantity"]
    money = ["raw_total", "adjustment", "total"]
    adjustments = (
        computation.rule_lines.join(
            computation.totals.select("number", "team", subject="project"), on="subject"
        )
        .sort("number", "position", maintain_order=True)
        .with_columns(position=pl.int_range(pl.len(), dtype=pl.Int32).over("number") + 1)
    )
    runs.describe_run(
        connection, run.id, snapshot_sha256=snapshot_sha256, record=run.folder.as_posix()
    )
    held = runs.read_numbers(connection, run.id)
    ledger_invoices.insert_invoices(
        connection,
        computation.totals.join(held.select("number", "sequence"), on="number").select(
            "number",
            "project",
            "team",
            "charges",
            "sequence",
            *money,
            "tax",
            "cost",
            fingerprint=pl.col("number").replace_strict(dict(fingerprints), return_dtype=pl.String),
            currency=pl.lit(run.snapshot.text["currency"]),
            facility=pl.lit(facility),
            fiscal_year=pl.lit(run.fiscal_year, dtype=pl.Int32),
            run=pl.lit(run.id),
            period=pl.lit(run.period),
            invoice_date=pl.lit(run.invoice_date),
            state=pl.lit("APPROVED"),
        ),
        lines.select(
            "number",
            "position",
            "team",
            "charge",
            *columns,
            *money,
            facility=pl.lit(facility),
        ),
        computation.by_expense_code.join(team, on="number").select(
            "number", "expense_code", "team", "amount", facility=pl.lit(facility)
        ),
        adjustments.select(
            "number",
            "position",
            "team",
            "rule",
            "kind",
            "amount",
            worked_on="on",
            facility=pl.lit(facility),
        ),
    )
    ledger_charges.bill_charges(connection, facility, run.id, lines.select("number", code="charge"))
    runs.issue_run(connection, run.id)
    for number, project, charges_count, total in computation.totals.select(
        "number", "project", "charges", "total"
    ).iter_rows():
        places = minor_places(run.snapshot.text["currency"])
        events.record_event(
            connection,
            facility,
            kind="issue",
            subject=number,
            reason=f"billing run {run.id}",
            after=canonical_json(
                {
                    "project": project,
                    "charges": charges_count,
                    "total": money_text(total, places),
                    "fingerprint": fingerprints[number],
                }
            ),
        )


def list_invoices(
    engine: Engine,
    facility: str | None = None,
    month: str | None = None,
    project: str | None = None,
) -> pl.DataFrame:
    """Issued invoices as staff's lists show them: totals, and what they cost the facility, as
    text in their currency."""
    with reading(engine) as connection:
        frame = ledger_invoices.read_invoices(
            connection, facility=facility, period=month, project=project
        )
    amounts = {
        name: pl.Series(
            name,
            [
                None if amount is None else money_text(amount, minor_places(currency))
                for amount, currency in frame.select(name, "currency").iter_rows()
            ],
            dtype=pl.String,
        )
        for name in ("total", "cost")
    }
    return frame.select(
        "number",
        "facility",
        "period",
        "project",
        "team",
        pl.col("invoice_date").cast(pl.String),
        "state",
        "charges",
        amounts["total"],
        "currency",
        amounts["cost"],
    ).sort("number")


def ledger_fingerprints(engine: Engine) -> dict[str, str]:
    """The fingerprint that the ledger keeps of each issued invoice."""
    with reading(engine) as connection:
        return ledger_invoices.read_all_fingerprints(connection)
