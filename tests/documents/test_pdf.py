"""The PDF holds every figure, is archival and tagged, and draws every letter that it shows."""

import hashlib
import re
from io import BytesIO
from pathlib import Path

import pypdfium2
import pytest
from pypdf import PdfReader
from sample_invoice import (
    ad_hoc_credit,
    draft,
    hourly,
    invoice,
    long_invoice,
    prepaid_invoice,
    reissue,
)

from billing_lib import documents
from billing_lib.documents import render_pdf

FONTS = Path(documents.__file__).parent / "fonts"


def test_the_pdf_shows_the_way_to_the_total(read_pdf) -> None:
    text = read_pdf(render_pdf(invoice()))
    for step in (
        "Charges before adjustments USD 82.50",
        "Adjustments to charges USD −1.25",
        "3 charges after adjustments USD 81.25",
        "Adjustments to the invoice USD −5.00",
        "Total USD 76.25",
    ):
        assert step in text


def test_facts_texts_charges_and_adjustments_are_in_the_pdf(read_pdf) -> None:
    text = read_pdf(render_pdf(invoice()))
    for said in (
        "Invoice RC-1993-00001",
        "Invoice date 8 November 1993",
        "1 October 1993 – 31 October 1993",
        "Aerodynamics (aero)",
        "Flow solver (u4)",
        "second.admin@example.edu",
        "name its code within 30 days.",
        "billing@example.edu",
        "The machine was down on 12 October; a credit is included.",
        "370-1: 60 %, 807.00 370-2: 40 %, 538.00 84.0625 10,760.0000 unit-hour 0.125",
        "RC/58 1993-10-07 quantity 12 10 carol 1993-11-01 09:00:00 −08:00 two broke",
        "Page 1 of 2",
        "Page 2 of 2",
    ):
        assert said in text


def test_the_pdf_is_tagged_archival_and_dated_by_the_invoice() -> None:
    reader = PdfReader(BytesIO(render_pdf(invoice())))
    assert reader.metadata.title == "Invoice RC-1993-00001"
    assert reader.metadata.author == "Research Computing"
    assert f"{reader.metadata.creation_date:%Y-%m-%d}" == "1993-11-08"
    assert reader.trailer["/Root"]["/MarkInfo"]["/Marked"]
    assert reader.trailer["/Root"]["/Lang"] == "en"
    xmp = reader.trailer["/Root"]["/Metadata"].get_data().decode()
    assert "<pdfaid:part>2</pdfaid:part><pdfaid:conformance>A</pdfaid:conformance>" in xmp
    assert "<pdfuaid:part>1</pdfuaid:part>" in xmp


@pytest.mark.parametrize(("currency", "height"), [("USD", 792), ("EUR", 841)])
def test_the_paper_is_letter_where_the_currency_is_used_with_letter(currency, height) -> None:
    page = PdfReader(BytesIO(render_pdf(invoice(currency=currency)))).pages[0]
    assert int(page.mediabox.height) == height


@pytest.mark.parametrize(
    "name",
    [
        "Łukasz Żółć, Đặng Nguyễn, Þórður, Șerban, Ģirts, Ő. Szűcs",
        "Ελευθερία Παπαδοπούλου",
        "Наталія Їжакевич, Љубица Ђорђевић",
        "e\u0301 decomposed",
    ],
)
def test_latin_greek_and_cyrillic_names_are_drawn_by_the_fonts(read_pdf, name: str) -> None:
    # PDF/A and PDF/UA refuse a glyph that the fonts lack: no "[U+" means that all are drawn.
    text = read_pdf(render_pdf(invoice([hourly(description=name)], notes=[name])))
    assert "[U+" not in text
    assert name.rsplit(maxsplit=1)[-1] in text


@pytest.mark.parametrize(
    "name",
    ["张伟", "陳曉明", "山田さくら", "김철수", "นภาพร ศรีสุข", "दीपक", "😀"],
)
def test_names_in_other_scripts_are_drawn(name: str) -> None:
    document = pypdfium2.PdfDocument(render_pdf(invoice([hourly(user=name)], notes=[name])))
    # As Chromium copies it; pypdf takes the marks of Thai letters apart.
    text = "".join(page.get_textpage().get_text_range() for page in document)
    assert "[U+" not in text
    assert text.count(name) >= 3  # in the notes, by user and on the charge


def test_names_from_right_to_left_are_drawn_by_letters_that_join() -> None:
    rendered = render_pdf(invoice([hourly(user="محمد علي")], notes=["ملاحظة 12", "יעל כהן"]))
    pages = [page.extract_text() for page in PdfReader(BytesIO(rendered)).pages]
    assert not any("[U+" in page for page in pages)
    assert any("محمد" in page for page in pages)
    assert b"NotoNaskhArabic" in rendered
    assert b"DejaVuSansMono-Bold" not in rendered


def test_arabic_is_copied_letter_by_letter_as_it_was_written() -> None:
    name = "مختبر الكيمياء"
    document = pypdfium2.PdfDocument(render_pdf(invoice([hourly(user=name)], notes=[name])))
    copied = "".join(page.get_textpage().get_text_range() for page in document)
    assert copied.count(name) == 3  # in the notes, by user and on the charge


def test_the_fonts_are_those_that_their_list_names() -> None:
    named = dict(
        re.findall(
            r"^\| `(\S+)` \| .* \| `([0-9a-f]{64})` \|$", (FONTS / "README.md").read_text(), re.M
        )
    )
    here = {path.name: path.read_bytes() for path in FONTS.glob("*.tt[cf]")}
    assert {name: hashlib.sha256(font).hexdigest() for name, font in here.items()} == named
    assert "SIL OPEN FONT LICENSE Version 1.1" in (FONTS / "OFL.txt").read_text()


def test_characters_that_no_font_has_are_spelled_out_and_explained(read_pdf) -> None:
    text = read_pdf(render_pdf(invoice(notes=["for 张伟 and \U00013000 and \ue000x"])))
    assert "for 张伟 and [U+13000] and [U+E000]x" in text
    assert "Characters missing from the fonts of this PDF" in text


def test_typst_markup_in_a_text_is_printed_and_never_evaluated(read_pdf) -> None:
    attack = '#panic("no") *bold* $x^2$ @ref <label> \\ /* c */ #read("style.typ")'
    text = read_pdf(render_pdf(invoice([hourly(description=attack)], notes=[attack])))
    assert text.count('#panic("no") *bold* $x^2$ @ref <label> \\ /* c */') == 2


def test_a_long_code_can_be_searched_for_although_it_is_broken_over_lines(read_pdf) -> None:
    code = "370-31220-8250-000775-600200-0000-44075"
    line = hourly(expense_codes=[{"expense_code": code, "percent": "100", "amount": "40.00"}])
    text = read_pdf(render_pdf(invoice([line])))
    assert code in text
    assert "\u200b" not in text


def test_a_long_code_of_digits_breaks_and_a_long_amount_does_not() -> None:
    code, amount = "370312208250000775600200000044075", "12345678901234.56"
    share = {"expense_code": code, "percent": "100", "amount": amount}
    line = hourly(expense_codes=[share], raw_total=amount, total=amount)
    annex = PdfReader(BytesIO(render_pdf(invoice([line])))).pages[1].extract_text()
    assert code not in annex
    assert code in annex.replace("\n", "")
    assert annex.count("12,345,678,901,234.56") == 4


def test_an_invoice_of_600_charges_repeats_the_header_and_loses_no_charge(read_pdf) -> None:
    rendered = render_pdf(long_invoice(600))
    pages = [page.extract_text() for page in PdfReader(BytesIO(rendered)).pages]
    annex = [page for page in pages if "RC/" in page]
    assert all("Item and description" in page for page in annex)
    assert f"Page {len(pages)} of {len(pages)}" in pages[-1]
    words = set(" ".join(annex).split())
    assert {f"RC/{n}" for n in range(1, 601)} <= words
    # Σ (n + 0.5) × 16.00 for n = 1 … 600
    assert "2,889,600.00" in words


def test_an_invoice_without_charges_says_so(read_pdf) -> None:
    assert "This invoice has no charges." in read_pdf(render_pdf(invoice([], notes=[])))


def test_kind_reference_what_is_replaced_and_late_charges_are_in_the_pdf(read_pdf) -> None:
    text = read_pdf(render_pdf(reissue()))
    assert "REISSUEDINVOICE" in text.replace(" ", "")  # its letters stand apart
    assert "Invoice RC-1993-00007 Replaces invoice RC-1993-00001 With the jobs" in text
    assert "late, of 1993-09" in text
    assert "waived, see Adjustments node 7" in text
    credit = read_pdf(render_pdf(ad_hoc_credit()))
    assert "ADHOCINVOICE" in credit.replace(" ", "")
    assert "Invoice RC-1993-00008 Settled by telephone" in credit
    assert "Reference PO 4711" in credit
    assert "Total (credit) USD −1,275.00" in credit


def test_prepaid_funds_and_what_is_left_to_pay_are_in_the_pdf(read_pdf) -> None:
    text = read_pdf(render_pdf(prepaid_invoice()))
    assert "Total USD 76.25 Drawn from prepaid funds USD −50.00 Left to pay USD 26.25" in text
    assert "Prepaid balance after this invoice USD 0.00" in text
    assert "370-1 20.74 370-2 5.51 Left to pay 26.25" in text


def test_every_page_of_a_draft_says_draft_and_no_page_of_an_invoice() -> None:
    reader = PdfReader(BytesIO(render_pdf(draft())))
    pages = [page.extract_text() for page in reader.pages]
    assert len(pages) == 2
    assert all("DRAFT" in page.replace(" ", "") for page in pages)
    assert "DRAFT: not issued, without a number; all on it may still change." in pages[0]
    assert "not issued yet" in pages[0]
    assert reader.metadata.title == "Draft RC-1993-10-1/u4"
    # A file has a date: the last day covered, until it is issued.
    assert f"{reader.metadata.creation_date:%Y-%m-%d}" == "1993-10-31"
    issued = PdfReader(BytesIO(render_pdf(invoice()))).pages
    assert not any("DRAFT" in page.extract_text().replace(" ", "").upper() for page in issued)


def test_a_draft_is_made_whose_tables_break_over_pages() -> None:
    # The word over every page must not stand in the structure of a table that goes on.
    unissued = {"draft": "RC-1993-10-1/u4", "number": None, "invoice_date": None}
    assert render_pdf(long_invoice(60) | unissued)
