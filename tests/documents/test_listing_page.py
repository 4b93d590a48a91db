"""The listing's page: all that it says, readable by anybody, and nothing that runs."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from billing_lib.documents.html import PREVIEW, render_listing, write_listing
from billing_lib.errors import UnwritableFile


def line(charge: str, total: str, **changed: Any) -> dict[str, Any]:
    found = {
        "charge": charge,
        "date": "2020-04-07",
        "item": "Slide",
        "description": "box of twelve",
        "user": "bob",
        "quantity": "12",
        "unit": "each",
        "price": "1.25",
        "raw_total": total,
        "adjustment": "0.00",
        "total": total,
        "expense_codes": [
            {"expense_code": "A", "percent": "60", "amount": "9.00"},
            {"expense_code": "B", "percent": "40", "amount": "6.00"},
        ],
    }
    return found | changed


def summed(key: str | None, invoiced: str, pending: str, total: str) -> dict[str, Any]:
    return {"key": key, "invoiced": invoiced, "pending": pending, "total": total}


def listing(**changed: Any) -> dict[str, Any]:
    """One facility: an issued invoice, one that it replaced, and a pending charge."""
    invoice = {
        "number": "MIC-2021-00002",
        "kind": "periodic",
        "invoice_date": "2021-01-04",
        "project": "p1",
        "name": "Flow & Heat",
        "team": "smith",
        "became": "paid on 2021-02-01",
        "counts": True,
        "replaces": "MIC-2021-00001",
        "charges": 1,
        "raw_total": "15.00",
        "adjustment": "5.00",
        "tax": "2.00",
        "total": "22.00",
        "prepaid": "7.00",
        "due": "15.00",
        "adjustments": [{"rule": "handling", "kind": "fee", "worked_on": "", "amount": "5.00"}],
        "lines": [line("MIC/u2", "15.00")],
    }
    replaced = {
        "number": "MIC-2021-00001",
        "became": "replaced by MIC-2021-00002",
        "counts": False,
        "lines": [],
    }
    waiting = line("MIC/u3", "1234.50", user=None, item=None, description="Training")
    part = {
        "code": "MIC",
        "name": "Microscopy",
        "currency": "USD",
        "contacts": "office@example.edu",
        "teams": [{"code": "smith", "name": "Smith Lab"}],
        "invoices": [invoice | replaced, invoice],
        "pending": [
            {"project": "p2", "name": "p2", "charges": 1, "total": "1234.50", "lines": [waiting]}
        ],
        "by_project": [
            summed("p1", "22.00", "0.00", "22.00"),
            summed("p2", "0.00", "1234.50", "1234.50"),
        ],
        "by_user": [
            summed("bob", "15.00", "0.00", "15.00"),
            summed(None, "0.00", "1234.50", "1234.50"),
        ],
        "by_expense_code": [summed("A", "15.00", "1234.50", "1249.50")],
        "beside_lines": {"invoiced": "7.00", "pending": "0.00", "total": "7.00"},
        "prepaid": {"invoiced": "7.00", "pending": "0.00", "total": "7.00"},
        "totals": {"invoiced": "22.00", "pending": "1234.50", "total": "1256.50"},
    }
    return {
        "format": "billing-listing/1",
        "team": {"code": "dept", "name": "Department"},
        "period": "2020-04",
        "covers": {"from": "2020-04-01", "to": "2020-04-30"},
        "facilities": [part | changed],
    }


def test_the_page_has_totals_invoices_summaries_lines_and_the_preview_in_order(read_html) -> None:
    page = read_html(render_listing(listing()))
    totals, invoices, by_project, by_user, by_code, lines, pending = page.tables
    assert totals == [
        ["Invoiced", "USD 22.00"],
        ["Pending, as priced now", "USD 1,234.50"],
        ["Invoiced and pending", "USD 1,256.50"],
    ]
    assert [row[0] for row in invoices[1:]] == ["MIC-2021-00001", "MIC-2021-00002", "Total"]
    assert invoices[2][1:] == [
        *("4 January 2021", "Flow & Heat (p1)", "smith", "paid on 2021-02-01"),
        *("1", "22.00", "7.00", "15.00"),
    ]
    assert invoices[3][6] == "22.00"  # of what counts
    assert by_project[-1] == ["Total", "22.00", "1,234.50", "1,256.50"]
    assert by_user[2] == ["–", "0.00", "1,234.50", "1,234.50"]
    assert by_user[3] == ["Adjustments and tax of invoices", "7.00", "0.00", "7.00"]
    assert by_code[2] == ["Prepaid funds", "7.00", "0.00", "7.00"]
    assert lines[1] == [
        *("MIC/u2", "2020-04-07", "Slide\nbox of twelve", "bob", "A: 60 %, 9.00\nB: 40 %, 6.00"),
        *("12", "each", "1.25", "15.00", "0.00", "15.00"),
    ]
    assert pending[1][2] == "Added line\nTraining"
    assert pending[-1][-1] == "1,234.50"


def test_what_is_pending_is_marked_as_a_preview_and_what_does_not_count_is_said(read_html) -> None:
    text = re.sub(r"\s+", " ", "".join(read_html(render_listing(listing())).text))
    assert f"Pending charges Preview {PREVIEW}" in text
    assert "Replaced and void invoices count in no total." in text
    assert "handling (fee): 5.00; tax: 2.00; total 22.00" in text
    nothing = render_listing(listing(pending=[], invoices=[], by_user=[]))
    assert "Preview" not in nothing
    assert "No invoice was issued for this month." in nothing


def test_the_page_can_be_read_by_ear_and_runs_nothing(read_html) -> None:
    page = render_listing(listing(name="<script>alert(1)</script>"))
    parsed = read_html(page)
    assert not {"script", "img", "link", "iframe", "form"} & set(parsed.tags)
    assert parsed.addresses == []
    assert "&lt;script&gt;" in page
    assert '<html lang="en">' in page
    assert "default-src 'none'" in page
    levels = [int(tag[1]) for tag in parsed.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))
    heads = re.findall(r"<th(?: [^>]*)?>", page)
    assert heads and all('scope="' in head for head in heads)
    labels = re.findall(r'role="region" aria-label="([^"]*)"', page)
    assert len(labels) == len(set(labels)) == 6
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'aria-labelledby="([^"]*)"', page)) == set(ids)


def test_the_same_listing_is_the_same_page_and_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    assert write_listing(listing(), path)
    assert path.read_text(encoding="utf-8") == render_listing(listing())
    assert not write_listing(listing(), path)
    assert write_listing(listing(contacts="new@example.edu"), path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_page_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnwritableFile, match="cannot be written"):
        write_listing(listing(), tmp_path / "none" / "page.html")
