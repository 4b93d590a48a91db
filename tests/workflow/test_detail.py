"""An invoice whose lines sum several charges: the charges are files beside it, named by sha256."""

import hashlib
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from en16931 import judge
from sample_snapshot import NUMBER, SCENARIO, TEXT, frozen, snapshot

from billing_lib.documents import render_ubl
from billing_lib.documents.view import derivation, view
from billing_lib.errors import InvalidRecord
from billing_lib.pricing.scenario import Scenario
from billing_lib.workflow import detail
from billing_lib.workflow.detail import into, read_detail
from billing_lib.workflow.invoice import compute_invoices, misfit
from billing_lib.workflow.notes import NOTES
from billing_lib.workflow.snapshot import Snapshot

MORE = """
  - {id: u4, item: slide, project: p1, user: ann, date: 2020-04-08, quantity: "1"}
  - {id: u5, item: slide, project: p1, user: ann, date: 2020-04-08, quantity: "1"}
  - {id: u6, item: slide, project: p1, user: "=bob", date: 2020-04-09, quantity: "3"}
adjustments:"""


def aggregated(lines: str = "{by: item, above: 3}") -> Snapshot:
    """The sample with three more charges for slides, 1.25, 1.25 and 3.75, that become one line."""
    text = SCENARIO.replace("\nadjustments:", MORE).replace(
        "timezone: America/New_York}", f"timezone: America/New_York, lines: {lines}}}"
    )
    return frozen(Scenario.parse(text, "lines.yml"), TEXT, {"p1": NUMBER}, NOTES.to_frame())


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def computed(folder: Path, frames: Snapshot | None = None) -> dict[str, Any]:
    return compute_invoices(frames or aggregated(), into(folder)).invoices[NUMBER]


def test_charges_that_nobody_touched_are_summed_and_the_totals_stay(tmp_path: Path) -> None:
    bill = computed(tmp_path)
    each = computed(tmp_path, aggregated("{by: charge}"))
    assert misfit(bill) is None
    # The changed u2 and the added line stand alone; so does u1, the only session.
    assert [(it["line"], it["charge"], it["charges"], it["total"]) for it in bill["lines"]] == [
        (1, "MIC/u1", 1, "133.33"),
        (2, "MIC/u2", 1, "12.50"),
        (3, None, 3, "6.25"),
        (4, "MIC/line-1", 1, "75.00"),
    ]
    line = bill["lines"][2]
    assert (line["date"], line["last_date"], line["quantity"]) == ("2020-04-08", "2020-04-09", "5")
    assert (line["price"], line["steps"], line["several"]) == ("1.25", [], ["user"])
    # Each charge is rounded and split for itself: 0.75 + 0.75 + 2.25, and 0.50 + 0.50 + 1.50.
    assert line["expense_codes"] == [
        {"expense_code": "A", "percent": "60", "amount": "3.75"},
        {"expense_code": "B", "percent": "40", "amount": "2.50"},
    ]
    assert each["detail"] == [] and len(each["lines"]) == 6
    for key in bill.keys() - {"lines", "detail"}:
        assert bill[key] == each[key], key


def test_below_the_number_of_charges_each_is_a_line(tmp_path: Path) -> None:
    bill = computed(tmp_path, aggregated("{by: item, above: 6}"))
    assert [line["charges"] for line in bill["lines"]] == [1] * 6
    assert list(tmp_path.iterdir()) == []
    assert computed(tmp_path, snapshot())["detail"] == []  # by default from 301 charges on


def test_the_detail_is_named_by_its_sha256_and_has_every_charge(tmp_path: Path) -> None:
    bill = computed(tmp_path)
    named, parquet = bill["detail"]
    content = (tmp_path / named["file"]).read_bytes()
    assert named == {
        "file": f"{NUMBER}.charges.csv",
        "rows": 6,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    rows = read_detail(files(tmp_path), bill)
    assert rows["line"].to_list() == ["1", "2", "3", "3", "3", "4"]
    assert sum(map(Decimal, rows["total"])) == Decimal(bill["totals"]["raw_total"])
    assert rows["user"].to_list() == ["ann", "bob", "ann", "ann", "'=bob", None]
    assert rows["expense_codes"][0] == "A 60 % 80.00; B 40 % 53.33"
    assert rows["adjustments"][1] == (
        "quantity – → 10 (carol, 2020-05-01T09:00:00-04:00: two broke)"
    )
    assert read_detail(files(tmp_path), bill, 3)["charge"].to_list() == [
        "MIC/u4",
        "MIC/u5",
        "MIC/u6",
    ]
    content = (tmp_path / f"{NUMBER}.charges.parquet").read_bytes()
    assert (parquet["rows"], parquet["sha256"]) == (6, hashlib.sha256(content).hexdigest())
    typed = pl.read_parquet(content)
    assert typed["total"].sum() == Decimal("227.08")  # 133.33 + 12.50 + 6.25 + 75.00


def test_a_changed_detail_is_refused(tmp_path: Path) -> None:
    bill = computed(tmp_path)
    path = tmp_path / f"{NUMBER}.charges.csv"
    path.write_text(path.read_text().replace("6.25", "6.26").replace("3.75", "3.76"))
    with pytest.raises(InvalidRecord, match="not the one that the invoice names"):
        read_detail(files(tmp_path), bill)


def test_more_charges_than_a_sheet_holds_are_several_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detail, "ROWS", 4)
    bill = computed(tmp_path)
    assert [(part["file"], part["rows"]) for part in bill["detail"]] == [
        (f"{NUMBER}.charges.csv", 4),
        (f"{NUMBER}.charges-2.csv", 2),
        (f"{NUMBER}.charges.parquet", 6),
    ]
    assert read_detail(files(tmp_path), bill).height == 6


def test_the_same_charges_give_the_same_files_in_any_order(tmp_path: Path) -> None:
    frames = aggregated()
    first = computed(tmp_path / "first", frames)
    shuffled = replace(frames, usage=frames.usage.reverse(), assignment=frames.assignment.reverse())
    assert computed(tmp_path / "again", shuffled) == first
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_documents_show_the_lines_and_name_the_detail(tmp_path: Path) -> None:
    bill = computed(tmp_path)
    page = view(bill)
    row = page.charges.rows[2]
    assert (row[0], row[1], row[3]) == ("3 charges", "2020-04-08\nto 2020-04-09", "several")
    assert page.detail is not None
    assert page.detail.rows == [[it["file"], "6", it["sha256"]] for it in bill["detail"]]
    assert derivation(bill["lines"][2]) == [
        "3 charges, 2020-04-08 to 2020-04-09",
        "5 each × 1.25, each charge rounded = 6.25",
        "A pays 60 %: 3.75",
        "B pays 40 %: 2.50",
    ]
    xml = render_ubl(bill | {"facility": bill["facility"] | {"country": "US"}}).decode()
    assert judge(xml.encode()) == []
    assert bill["detail"][0]["sha256"] in xml
    assert "<cbc:ID>3</cbc:ID>" in xml and "<cbc:EndDate>2020-04-09</cbc:EndDate>" in xml
