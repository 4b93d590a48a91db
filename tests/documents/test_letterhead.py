"""What makes it a bill of a serious institution: logo, twelve months, and how to check it.

The pages are drawn by PDFium and their QR codes read by ZXing, as a telephone would.
"""

import hashlib
import json
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
import zxingcpp
from PIL import Image
from pypdf import PdfReader
from pypdf.generic import ArrayObject, DictionaryObject, IndirectObject
from pypdfium2 import PdfImage
from sample_invoice import LOGO, draft, invoice, lettered, reissue

from billing_lib.documents import render_html, render_pdf, with_logo, write_documents
from billing_lib.documents.pictures import chart
from billing_lib.errors import InvalidRecord
from billing_lib.pricing.fields import Logo


def canonical_sha256(sample: dict[str, Any]) -> str:
    """As sha256sum prints it of the file in a record."""
    text = json.dumps(sample, sort_keys=True, ensure_ascii=False, indent=2) + "\n"
    return hashlib.sha256(text.encode()).hexdigest()


def qr_codes(pdf: bytes) -> list[str]:
    """What the QR codes on each page say."""
    document = pypdfium2.PdfDocument(pdf)
    pages = [page.render(scale=2).to_numpy() for page in document]
    return [code.text for page in pages for code in zxingcpp.read_barcodes(page)]


def tags(pdf: bytes) -> list[tuple[str, str]]:
    """Each element of the PDF's structure in reading order, with its alternative text."""
    found: list[tuple[str, str]] = []
    waiting: list[object] = [PdfReader(BytesIO(pdf)).trailer["/Root"]["/StructTreeRoot"]]
    while waiting:
        part = waiting.pop()
        part = part.get_object() if isinstance(part, IndirectObject) else part
        if isinstance(part, ArrayObject):
            waiting += reversed(part)
        elif isinstance(part, DictionaryObject):
            found.append((str(part.get("/S", "")), str(part.get("/Alt", ""))))
            waiting.append(part.get("/K"))
    return found


def test_the_fingerprint_is_that_of_the_file_and_the_qr_code_says_it(read_pdf) -> None:
    sample = lettered(reissue())
    found = canonical_sha256(sample)
    given = with_logo(sample, LOGO)
    said = f"Invoice RC-1993-00007\nRun RC-1993-10-2\nsha256 {found}"
    pdf = render_pdf(given)
    assert qr_codes(pdf) == [said]
    text = read_pdf(pdf)
    assert f"sha256 {found}" in text
    assert "sha256sum RC-1993-00007.json must print it" in text
    assert f"sha256 {found}" in render_html(given)


def test_the_qr_code_is_an_address_where_the_facility_has_one() -> None:
    sample = invoice()
    stated = {"record_url": "https://billing.example.edu/{number}?sha256={fingerprint}"}
    sample = sample | {"facility": sample["facility"] | stated}
    address = f"https://billing.example.edu/RC-1993-00001?sha256={canonical_sha256(sample)}"
    assert qr_codes(render_pdf(sample)) == [address]
    assert f"Or look here: {address}" in render_html(sample)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_png_logo_of_every_kind_is_drawn_in_every_format(mode: str, tmp_path: Path) -> None:
    content = BytesIO()
    Image.new(mode, (64, 48)).save(content, "PNG")
    logo = Logo("logo.png", content.getvalue())
    named = {"file": logo.file, "sha256": logo.sha256}
    sample = lettered(invoice(), logo=named)  # type: ignore[arg-type]
    written = write_documents([sample], tmp_path, logo)
    assert {path.suffix for path in written} == {".html", ".pdf", ".xlsx", ".xml"}
    document = pypdfium2.PdfDocument(tmp_path / "RC-1993-00001.pdf")
    pictures = [item for item in document[0].get_objects() if isinstance(item, PdfImage)]
    assert [picture.get_px_size() for picture in pictures] == [(64, 48)]


def test_a_draft_has_no_fingerprint(read_pdf) -> None:
    pdf = render_pdf(draft())
    assert qr_codes(pdf) == []
    assert "sha256" not in read_pdf(pdf) + render_html(draft())


def test_letterhead_and_logo_head_the_page(read_pdf, read_html) -> None:
    given = with_logo(lettered(invoice()), LOGO)
    pdf = render_pdf(given)
    assert "Office of Research, 1200 Campus Way Mountain View, CA 94035" in read_pdf(pdf)
    assert ("Figure", "Logo of Research Computing") in [
        (kind.lstrip("/"), said) for kind, said in tags(pdf)
    ]
    page = read_html(render_html(given))
    assert page.addresses == [f"data:image/svg+xml;base64,{b64encode(LOGO.content).decode()}"]
    assert pdf == render_pdf(given)


def test_another_logo_than_the_one_of_the_invoice_is_refused(tmp_path) -> None:
    sample = lettered(invoice())
    for other in (None, Logo("logo.svg", b"<svg/>")):
        with pytest.raises(InvalidRecord, match="differs from the one on the issued invoice"):
            write_documents([sample], tmp_path, other)
    with pytest.raises(InvalidRecord, match="differs from the one on"):
        render_pdf(sample)
    assert list(tmp_path.iterdir()) == []
    assert len(write_documents([sample], tmp_path, LOGO)) == 4


def test_the_last_twelve_months_are_bars_for_the_eye_and_words_for_the_ear() -> None:
    drawn = chart(invoice())
    heights = {bar.month: bar.height for bar in drawn.bars}
    # From −15.00 to 96.40: a dollar is 1000 / 111.40 = 8.976.
    assert drawn.zero == 865
    assert heights["Aug"] == 865
    assert heights["May"] == 134
    assert heights["Oct"] == 684
    assert [bar.month for bar in drawn.bars if not bar.amount] == ["Nov", "Mar", "Apr"]
    assert [bar.month for bar in drawn.bars if bar.now] == ["Oct"]
    assert [bar.year for bar in drawn.bars if bar.year] == ["1992", "1993"]
    words = (
        "Bar chart of the bills of this project by month, in USD: Nov 1992 no bill, "
        "Dec 1992 61.50, Jan 1993 40.00, Feb 1993 88.75, Mar 1993 no bill, Apr 1993 no bill, "
        "May 1993 −15.00, Jun 1993 0.00, Jul 1993 52.10, Aug 1993 96.40, Sep 1993 71.05, "
        "Oct 1993 76.25."
    )
    assert drawn.words == words
    assert words in [said for _, said in tags(render_pdf(invoice()))]
    assert f'role="img" aria-label="{words}"' in render_html(invoice())


def test_a_project_without_any_amount_has_an_empty_chart() -> None:
    bare = invoice([], adjustment="0.00")
    bare["history"] = [month | {"total": None} for month in bare["history"]]
    drawn = chart(bare)
    assert {(bar.top, bar.height) for bar in drawn.bars} == {(1000, 0)}
    assert render_pdf(bare)
