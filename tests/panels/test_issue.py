"""What the issuing notebook shows of a run; what no invoice has is no column."""

import re
from dataclasses import replace
from html import unescape

import polars as pl
from sample_snapshot import NUMBER, snapshot

from billing_lib.panels.issue import codes_table, late_table, run_heading, totals_table
from billing_lib.workflow.invoice import compute_invoices
from billing_lib.workflow.snapshot import Snapshot


def rows(html: str) -> list[list[str]]:
    """The texts of a table, its heading first."""
    found = [
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
        for row in re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    ]
    return [[unescape(cell) for cell in row] for row in found]


def with_invoices(**columns: object) -> Snapshot:
    frozen = snapshot()
    changed = {name: pl.lit(value) for name, value in columns.items()}
    return replace(
        frozen,
        invoices=frozen.invoices.with_columns(**changed).cast(dict(frozen.invoices.schema)),
    )


def test_an_ordinary_month_has_no_column_of_what_no_invoice_has() -> None:
    frozen = snapshot()
    computed = compute_invoices(frozen)
    assert rows(totals_table(frozen, computed).data) == [
        [
            "Number",
            "Project",
            "Team",
            "Charges",
            "Charges raw total",
            "Charges adjustment",
            "Total",
        ],
        [NUMBER, "p1", "smith", "3", "220.83", "0.00", "220.83"],
        ["Total", "", "", "3", "220.83", "0.00", "220.83"],
    ]
    heading = run_heading(frozen, computed)
    assert "total <b>220.83 USD</b>; 1 record not billed" in heading.data
    assert len(rows(late_table(frozen, computed).data)) == 1  # its heading


def test_a_name_with_markup_is_shown_and_not_run() -> None:
    frozen = with_invoices()
    name = pl.when(pl.col("key") == "facility_name").then(pl.lit("<script>alert(1)</script>"))
    texts = frozen.texts.with_columns(name.otherwise("value").alias("value"))
    frozen = replace(frozen, texts=texts)
    heading = run_heading(frozen, compute_invoices(frozen))
    assert "<h2>&lt;script&gt;alert(1)&lt;/script&gt; · " in heading.data


def test_prepaid_funds_are_shown_with_what_is_left_to_pay() -> None:
    frozen = with_invoices(prepaid=100_00)
    computed = compute_invoices(frozen)
    heading, invoice, total = rows(totals_table(frozen, computed).data)
    assert heading[-4:] == ["Total", "Drawn", "Due", "Prepaid left"]
    assert invoice[-4:] == ["220.83", "100.00", "120.83", "0.00"]
    assert total[-4:] == ["220.83", "100.00", "120.83", ""]
    assert "of which 100.00 from prepaid funds and <b>120.83</b> left to pay" in (
        run_heading(frozen, computed).data
    )
    assert rows(codes_table(frozen, computed).data)[-1] == ["Total", "", "120.83"]


def test_kind_reference_and_what_is_replaced_are_shown_where_there_are_any() -> None:
    frozen = with_invoices(replaces="MIC-2020-00009")
    heading, invoice, _ = rows(totals_table(frozen, compute_invoices(frozen)).data)
    assert heading[3:5] == ["Replaces", "Charges"]
    assert invoice[3:5] == ["MIC-2020-00009", "3"]
    frozen = with_invoices(kind="ad hoc", reference="PO 4711")
    heading, invoice, _ = rows(totals_table(frozen, compute_invoices(frozen)).data)
    assert heading[3:5] == ["Kind", "Reference"]
    assert invoice[3:5] == ["ad hoc", "PO 4711"]


def test_late_charges_are_summed_by_the_month_they_belong_to() -> None:
    frozen = snapshot()
    later = frozen.texts.with_columns(
        value=pl.when(pl.col("key") == "period").then(pl.lit("2020-05")).otherwise("value")
    )
    frozen = replace(frozen, texts=later)
    assert rows(late_table(frozen, compute_invoices(frozen)).data)[1:] == [
        ["2020-04", "p1", "3", "220.83"],
        ["Total", "", "3", "220.83"],
    ]
