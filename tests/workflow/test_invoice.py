"""The canonical result: a pure function of the snapshot, and every number in it explained."""

import datetime as dt
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sample_snapshot import NUMBER, snapshot

from billing_lib.pricing.adjusting import ADJUSTMENTS
from billing_lib.workflow.invoice import compute_invoices, invoice_json, misfit, write_invoices
from billing_lib.workflow.snapshot import SCHEMAS, Snapshot


def invoice() -> dict[str, Any]:
    return compute_invoices(snapshot()).invoices[NUMBER]


def amounts(parts: list[dict[str, Any]], key: str) -> Decimal:
    return sum((Decimal(part[key]) for part in parts), Decimal(0))


def test_totals_are_the_sum_of_lines_users_items_and_expense_codes() -> None:
    bill = invoice()
    # 3 h 20 min x 40.00 = 133.33; 10 x 1.25 = 12.50 after the change; training 75.00
    assert bill["totals"]["total"] == "220.83"
    assert amounts(bill["lines"], "total") == Decimal("220.83")
    for summary in ("by_user", "by_item", "by_expense_code"):
        assert amounts(bill["summaries"][summary], "total") == Decimal("220.83"), summary
    for line in bill["lines"]:
        assert Decimal(line["raw_total"]) + Decimal(line["adjustment"]) == Decimal(line["total"])
        assert amounts(line["expense_codes"], "amount") == Decimal(line["total"])


def test_it_fits_the_published_schema() -> None:
    assert misfit(invoice()) is None


def test_each_line_names_its_usage_its_rate_and_who_changed_it() -> None:
    scope, slides, training = invoice()["lines"]
    assert (scope["charge"], scope["hours"], scope["price"]) == ("MIC/u1", "3.333333", "40")
    assert scope["start"] == "2020-04-06T17:00:00-04:00"
    assert scope["source"]["row"] == 1
    (change,) = slides["adjustments"]
    assert (change["field"], change["after"], change["by"]) == ("quantity", "10", "carol")
    assert change["reason"] == "two broke"
    assert training["kind"] == "line"
    assert invoice()["notes"] == ["The lamp was replaced."]
    assert training["added"]["reason"] == "agreed by telephone"


def test_country_and_tax_number_stand_on_the_invoice_only_where_the_facility_states_them() -> None:
    frozen = snapshot()
    assert invoice()["facility"].keys() == {"code", "name", "timezone", "instructions", "contacts"}
    said = [("country", "US"), ("tax_id", "")]
    texts = pl.concat([frozen.texts, pl.DataFrame(said, schema=frozen.texts.schema, orient="row")])
    bill = compute_invoices(replace(frozen, texts=texts)).invoices[NUMBER]
    assert bill["facility"] == invoice()["facility"] | {"country": "US"}


def test_a_waived_charge_stays_at_nothing_with_its_reason_and_a_note_beside_it() -> None:
    frozen = snapshot()
    words = {"by": "carol", "at": "2020-05-01T10:00:00-04:00", "reason": "goodwill"}
    said = [
        {"order": 8, "charge": "u1", "field": "waived", "value": "yes", "before": "no"} | words,
        {"order": 9, "charge": "u2", "field": "note", "value": "box 7", "before": ""} | words,
    ]
    changes = pl.concat([frozen.adjustments, pl.DataFrame(said, schema=ADJUSTMENTS)])
    bill = compute_invoices(replace(frozen, adjustments=changes)).invoices[NUMBER]
    scope, slides, _ = bill["lines"]
    assert (scope["raw_total"], scope["adjustment"], scope["total"]) == (
        "133.33",
        "-133.33",
        "0.00",
    )
    assert scope["waived"] is True
    assert scope["adjustments"][-1]["reason"] == "goodwill"
    assert (slides["waived"], slides["note"], slides["total"]) == (False, "box 7", "12.50")
    assert bill["totals"]["total"] == "87.50"  # 12.50 + 75.00


def test_it_says_of_which_kind_it_is_what_it_replaces_and_what_dates_it_covers() -> None:
    bill = invoice()
    assert (bill["kind"], bill["reference"], bill["replaces"]) == ("periodic", None, None)
    assert bill["dates_covered"] == {"from": "2020-04-01", "to": "2020-04-30"}
    frozen = snapshot()
    said = {"kind": "ad hoc", "reference": "PO 4711", "description": "Settled"}
    day = dt.date(2020, 4, 7)
    other = frozen.invoices.with_columns(
        **{name: pl.lit(value) for name, value in said.items()},
        covers_from=pl.lit(day),
        covers_to=pl.lit(day),
    )
    bill = compute_invoices(replace(frozen, invoices=other)).invoices[NUMBER]
    assert {name: bill[name] for name in said} == said
    assert bill["dates_covered"] == {"from": "2020-04-07", "to": "2020-04-07"}
    again = frozen.invoices.with_columns(replaces=pl.lit("MIC-2020-00009"))
    bill = compute_invoices(replace(frozen, invoices=again)).invoices[NUMBER]
    assert (bill["kind"], bill["replaces"]) == ("periodic", "MIC-2020-00009")


def test_a_charge_of_an_earlier_month_is_marked_late() -> None:
    frozen = snapshot()
    later = frozen.texts.with_columns(
        value=pl.when(pl.col("key") == "period").then(pl.lit("2020-05")).otherwise("value")
    )
    assert [line["late"] for line in invoice()["lines"]] == [None, None, None]
    bill = compute_invoices(replace(frozen, texts=later)).invoices[NUMBER]
    assert [line["late"] for line in bill["lines"]] == ["2020-04", "2020-04", "2020-04"]


@pytest.mark.parametrize(
    ("funds", "drawn", "left", "due", "codes"),
    [
        # 220.83 is 132.50 for A (80.00 + 7.50 + 45.00) and 88.33 for B.
        (None, None, None, "220.83", {"A": "132.50", "B": "88.33"}),
        (0, None, None, "220.83", {"A": "132.50", "B": "88.33"}),
        (100_00, "100.00", "0.00", "120.83", {"A": "72.50", "B": "48.33"}),
        (500_00, "220.83", "279.17", "0.00", {"A": "0.00", "B": "0.00"}),
    ],
)
def test_prepaid_funds_are_drawn_first_and_expense_codes_pay_the_rest(
    funds: int | None, drawn: str | None, left: str | None, due: str, codes: dict[str, str]
) -> None:
    frozen = snapshot()
    paid_in = frozen.invoices.with_columns(prepaid=pl.lit(funds, dtype=pl.Int64))
    bill = compute_invoices(replace(frozen, invoices=paid_in)).invoices[NUMBER]
    assert bill["prepaid"] == (None if drawn is None else {"drawn": drawn, "left": left})
    assert (bill["totals"]["total"], bill["totals"]["due"]) == ("220.83", due)
    pays = {part["expense_code"]: part["total"] for part in bill["summaries"]["by_expense_code"]}
    assert pays == codes
    assert amounts(bill["lines"], "total") == Decimal("220.83")


def test_a_credit_draws_nothing_and_is_owed_to_the_lab() -> None:
    frozen = snapshot()
    lines = frozen.lines.with_columns(amount=pl.lit(-300_00, dtype=pl.Int64))
    paid_in = frozen.invoices.with_columns(prepaid=pl.lit(100_00, dtype=pl.Int64))
    bill = compute_invoices(replace(frozen, lines=lines, invoices=paid_in)).invoices[NUMBER]
    assert bill["totals"]["total"] == bill["totals"]["due"] == "-154.17"  # 145.83 − 300.00
    assert bill["prepaid"] is None
    assert amounts(bill["summaries"]["by_expense_code"], "total") == Decimal("-154.17")


def test_no_number_passes_through_a_float() -> None:
    def refuse(text: str) -> None:
        raise AssertionError(f"a float in the canonical result: {text}")

    odd = invoice() | {"notes": ['" \\ / \x00 \x1f \x7f \u2028 é 測 \U0001f600 \ufffe']}
    text = invoice_json(odd)
    assert json.loads(text, parse_float=refuse)["number"] == NUMBER
    assert text == json.dumps(json.loads(text), sort_keys=True, ensure_ascii=False, indent=2) + "\n"


def test_a_snapshot_written_and_read_comes_to_the_same_bytes(tmp_path: Path) -> None:
    first = snapshot()
    sha256 = first.write(tmp_path / "snapshot")
    assert sha256 == snapshot().write(tmp_path / "again")
    again = Snapshot.read(tmp_path / "snapshot")
    for name in SCHEMAS:
        assert getattr(again, name).schema == SCHEMAS[name]
    write_invoices(compute_invoices(again).invoices, tmp_path)
    assert (tmp_path / f"{NUMBER}.json").read_text() == invoice_json(invoice())


def test_the_order_of_the_rows_changes_nothing() -> None:
    frames = {name: getattr(snapshot(), name).reverse() for name in SCHEMAS}
    # Order has a meaning in two frames: later adjustments win, and shares have a position.
    frames["adjustments"] = snapshot().adjustments
    shuffled = compute_invoices(Snapshot(**frames))
    assert shuffled.invoices == compute_invoices(snapshot()).invoices
    assert isinstance(shuffled.totals, pl.DataFrame)
