"""One invoice's part of a snapshot: the same invoice, and nothing of other labs."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from sample_snapshot import TEXT, frozen

from billing_lib.audit.extract import invoice_snapshot
from billing_lib.workflow.invoice import compute_invoices, invoice_json
from billing_lib.workflow.load import read_scenario
from billing_lib.workflow.notes import NOTES
from billing_lib.workflow.snapshot import Snapshot

SCENARIOS = Path(__file__).parent.parent / "scenarios"


def month(name: str) -> Snapshot:
    """A scenario's month as it would be frozen, with an invoice of every project."""
    scenario = read_scenario(SCENARIOS / f"{name}.yml")
    facility = scenario.facility
    text = {"facility": facility.code, "currency": facility.currency, "period": scenario.period}
    projects = sorted(project.code for project in scenario.projects)
    numbers = {project: f"{facility.code}-{at:05}" for at, project in enumerate(projects, 1)}
    stated = TEXT | text | {"timezone": facility.timezone}
    return frozen(scenario, stated, numbers, NOTES.to_frame())


def require_same(snapshot: Snapshot) -> dict[str, Snapshot]:
    """Each invoice comes out of its part as of the whole; the parts."""
    whole = compute_invoices(snapshot).invoices
    parts = {number: invoice_snapshot(snapshot, number) for number in whole}
    for number, part in parts.items():
        alone = compute_invoices(part).invoices
        assert {it: invoice_json(alone[it]) for it in alone} == {
            number: invoice_json(whole[number])
        }
    return parts


def test_summed_lines_and_their_detail_come_out_of_the_part_alone() -> None:
    snapshot = month("tiers-per-project")
    summed = snapshot.invoices.with_columns(lines_by=pl.lit("item"), lines_above=pl.lit(0))
    parts = require_same(replace(snapshot, invoices=summed))
    assert any(compute_invoices(it).invoices[number]["detail"] for number, it in parts.items())


@pytest.mark.parametrize(
    "name",
    [
        *("caps-carried", "caps-over-spans", "floors-over-spans", "snapshots"),
        *("tiers-per-project", "rules", "own-subsidy", "splits"),
    ],
)
def test_each_invoice_comes_out_of_its_part_of_the_snapshot_alone(name: str) -> None:
    parts = require_same(month(name))
    assert len(parts) > 1


def test_prepaid_funds_and_ad_hoc_invoices_of_the_project_count_as_earlier_ones() -> None:
    snapshot = month("caps-carried")
    project = snapshot.invoices["project"][0]
    (moved, *_) = snapshot.assignment.filter(pl.col("invoice") == project)["charge"]
    ad_hoc = snapshot.invoices.head(1).with_columns(
        invoice=pl.lit("PO-12"), number=pl.lit("A-00000"), kind=pl.lit("ad hoc")
    )
    invoice = pl.when(pl.col("charge") == moved).then(pl.lit("PO-12")).otherwise("invoice")
    both = replace(
        snapshot,
        invoices=pl.concat([ad_hoc, snapshot.invoices]).with_columns(
            prepaid=pl.when(pl.col("project") == project).then(pl.lit(10_000))
        ),
        assignment=snapshot.assignment.with_columns(invoice=invoice),
    )
    drawn = {it: one["prepaid"] for it, one in compute_invoices(both).invoices.items()}
    assert drawn["A-00000"]["left"] != "100.00"
    require_same(both)


def test_a_part_names_no_other_project_and_no_cost() -> None:
    snapshot = month("caps-over-spans")
    priced = replace(snapshot, items=snapshot.items.with_columns(
        cost=pl.lit("12.34").cast(snapshot.items.schema["cost"])
    ))  # fmt: skip
    own = snapshot.invoices.row(0, named=True)
    part = invoice_snapshot(priced, own["number"])
    assert part.items["cost"].null_count() == part.items.height > 0
    for name in ("usage", "accounts", "lines", "notes", "invoices", "history", "unbilled"):
        frame: pl.DataFrame = getattr(part, name)
        assert frame.filter(pl.col("project") != own["project"]).height == 0, name
    assert part.usage.height < snapshot.usage.height
    assert set(part.assignment["charge"]) <= set(part.usage["charge"])
