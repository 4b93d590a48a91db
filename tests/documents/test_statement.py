"""A statement's documents: what they say, on which paper, and that nothing in them clashes."""

from io import BytesIO
from zipfile import ZipFile

import pytest
from openpyxl import load_workbook
from pypdf import PdfReader
from sample_invoice import invoice
from sample_statement import paid, statement_of, three_facilities
from workbook_reading import formulas, read

from billing_lib.documents.statement import render_statement, statement_file
from billing_lib.errors import UnknownFormat


def test_the_pdf_is_tagged_archival_dated_by_its_invoices_and_numbers_its_pages(read_pdf) -> None:
    many = [invoice(number=f"RC-1993-{at:05}") for at in range(1, 81)]
    rendered = render_statement(statement_of(many, {}), "pdf")
    reader = PdfReader(BytesIO(rendered))
    assert (reader.metadata.title, reader.metadata.author) == (
        *("Statement aero-1993-10", "Aerodynamics"),
    )
    assert f"{reader.metadata.creation_date:%Y-%m-%d}" == "1993-11-08"
    assert reader.trailer["/Root"]["/MarkInfo"]["/Marked"]
    xmp = reader.trailer["/Root"]["/Metadata"].get_data().decode()
    assert "<pdfuaid:part>1</pdfuaid:part>" in xmp
    pages = [page.extract_text() for page in reader.pages]
    assert all(f"Page {at} of {len(pages)}" in page for at, page in enumerate(pages, start=1))
    assert len(pages) > 1 and all("From prepaid" in page for page in pages)
    assert int(reader.pages[0].mediabox.height) == 792  # dollars: US Letter
    euros = render_statement(statement_of([], {}, currency="EUR"), "pdf")
    assert int(PdfReader(BytesIO(euros)).pages[0].mediabox.height) == 841
    assert "No invoice counts on this statement." in read_pdf(euros)


def test_a_payment_is_said_and_dates_the_documents(read_pdf) -> None:
    statement, (_, invoices) = paid(), three_facilities()
    pdf = render_statement(statement, "pdf")
    text = read_pdf(pdf)
    assert "State Paid Paid on 15 January 1994 Reference transfer 8813" in text
    assert "Due, paid on 15 January 1994 USD 240.75" in text
    xlsx = render_statement(statement, "xlsx", invoices)
    assert f"{read(xlsx).properties.created:%Y-%m-%d}" == "1994-01-15"


def test_each_invoice_has_a_sheet_that_its_number_leads_to() -> None:
    statement, invoices = three_facilities()
    rendered = render_statement(statement, "xlsx", invoices)
    workbook = load_workbook(BytesIO(rendered))
    assert workbook.sheetnames == [
        *("Statement", "RC-1993-00001", "RC-1993-00002", "RC-1993-00003", "RC-1993-00007"),
        *("RC-1993-00008", "MIC-1993_00001", "SEQ-1993-00001"),
    ]
    links = {
        cell.hyperlink.location for row in workbook["Statement"] for cell in row if cell.hyperlink
    }
    assert links == {f"'{name}'!A1" for name in workbook.sheetnames[1:]}
    named = [table.name for sheet in workbook for table in sheet.tables.values()]
    assert len(set(named)) == len(named) == 8  # two of the summary; one invoice has no charges
    with ZipFile(BytesIO(rendered)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert all(formula.startswith("=SUBTOTAL(109,") for formula in formulas(rendered))


def test_numbers_that_would_make_the_same_sheet_name_get_a_sheet_each() -> None:
    long = "RC-1993-00000000000000000000000001"
    numbers = ["Statement", "rc:1", "RC/1", "history", f"{long}A", f"{long}B"]
    listed = [invoice(number=number) for number in numbers]
    rendered = render_statement(
        statement_of(listed, {}), "xlsx", {it["number"]: it for it in listed}
    )
    assert load_workbook(BytesIO(rendered)).sheetnames == [
        *("Statement", "Statement~2", "rc_1", "RC_1~2", "history~2"),
        *(long[:31], f"{long[:29]}~2"),
    ]


def test_the_file_is_named_by_the_statement_and_other_formats_are_refused() -> None:
    assert statement_file(paid() | {"id": "a/b-1993-10"}, "pdf") == "a_b-1993-10.pdf"
    with pytest.raises(UnknownFormat, match=r"'html' is no format of a statement"):
        render_statement(paid(), "html")
