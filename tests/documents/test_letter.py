"""What a message says, without the outbox: text and HTML alike, nothing run, nothing loaded."""

import hashlib
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from lxml import html
from sample_invoice import ad_hoc_credit, invoice, prepaid_invoice, reissue, taxed_invoice

from billing_lib.documents.mail import Attached, Mail, mail_bytes
from billing_lib.documents.pdf import invoice_letter, statement_letter

STATEMENT: dict[str, Any] = {
    "id": "aero-1993-10",
    "team": {"code": "aero", "name": "Aérodynamique"},
    "period": "1993-10",
    "currency": "USD",
    "state": "OPEN",
    "payment": None,
    "facilities": [
        {
            "facility": {"code": "RC", "name": "Research Computing"},
            "invoices": [
                {
                    "number": "RC-1994-00003",
                    "project": "u4",
                    "invoice_date": "1993-11-08",
                    "total": "1204.11",
                    "prepaid": "50.00",
                }
            ],
            "adjustments": [{"rule": "courtesy", "kind": "discount", "amount": "-3.00"}],
            "total": "1201.11",
        }
    ],
    "totals": {
        "invoices": 1,
        "raw_total": "1204.11",
        "adjustment": "-3.00",
        "total": "1201.11",
        "prepaid": "50.00",
        "due": "1151.11",
    },
}


def link(key: str) -> str:
    return f"https://billing.example.edu/?id={key}&x=1"


@pytest.mark.parametrize(
    ("invoices", "subject", "said"),
    [
        ([invoice()], "Invoice RC-1993-00001: USD 76.25,", ["USD 76.25", "1 October 1993"]),
        ([taxed_invoice()], "Invoice RC-1993-00001: USD 1,338.75,", ["USD 1,338.75"]),
        ([prepaid_invoice()], "Invoice RC-1993-00001: USD 76.25,", ["USD −50.00", "USD 26.25"]),
        ([reissue()], "Invoice RC-1993-00007:", ["invoice RC-1993-00001"]),
        ([ad_hoc_credit()], "Invoice RC-1993-00008: USD −1,275.00,", ["PO 4711"]),
        (
            [invoice(), ad_hoc_credit()],
            "2 invoices: USD −1,198.75, Research Computing, October 1993",
            ["76.25", "−1,275.00", "−1,198.75", "RC-1993-00008"],
        ),
    ],
)
def test_text_and_html_say_the_same(invoices: list[Any], subject: str, said: list[str]) -> None:
    letter = invoice_letter(invoices, link)
    assert letter.subject.startswith(subject)
    page = html.fromstring(letter.html)
    links = [link(each["number"]) for each in invoices]
    assert page.xpath("//@href") == links
    for text in (letter.text, page.text_content()):
        for part in [*said, "Aerodynamics", "Billing office, room 2-104"]:
            assert part in text
    assert all(each in letter.text for each in links)
    assert "https" not in invoice_letter(invoices).text  # without a portal there is no link
    assert letter == invoice_letter(invoices, link)


def test_what_people_wrote_is_read_and_not_run() -> None:
    written = '<script>alert("1")</script>'
    letter = invoice_letter([invoice(notes=[written, "a\x00b\u202e"])], link)
    assert written in letter.text
    page = html.fromstring(letter.html)
    assert written in page.text_content()
    assert page.xpath("//script | //img | //link | //style | //@src | //@onclick") == []
    assert "a\N{REPLACEMENT CHARACTER}b" in letter.text and "\u202e" not in letter.text
    sneaky = invoice(facility=invoice()["facility"] | {"name": "RC\r\nBcc: eve@example.edu"})
    assert "\n" not in invoice_letter([sneaky]).subject


def test_a_statement_adds_up() -> None:
    letter = statement_letter(STATEMENT, link)
    assert letter.subject == "Statement aero-1993-10: USD 1,151.11, Aérodynamique, October 1993"
    rows = html.fromstring(letter.html).xpath("//tr[th='Invoice']/../tr")
    last = [row[-1].text_content() for row in rows]
    assert last == ["Total (USD)", "1,204.11", "−3.00", "1,201.11"]
    for part in ("USD 1,204.11", "USD −3.00", "USD 1,201.11", "USD −50.00", "USD 1,151.11"):
        assert part in letter.text
    assert "attached" not in letter.text
    updated = statement_letter(STATEMENT, link, attached=True, updated=True)
    assert "It is attached as a PDF" in updated.text
    assert updated.subject.startswith("Updated statement aero-1993-10")
    assert "It replaces the one that was sent before" in updated.text
    paid = STATEMENT | {"payment": {"date": "1993-12-20", "reference": "WIRE"}}
    assert "20 December 1993" in statement_letter(paid).text


def test_the_same_message_is_the_same_bytes() -> None:
    letter = invoice_letter([invoice()], link)
    pdf = b"%PDF-1.7\n.\n" + bytes(range(256))
    mail = Mail(
        "RC-1-3f09",
        "Büro <billing@example.edu>",
        "Zoë Müller <zoe@example.edu>",
        letter.subject,
        letter.text,
        letter.html,
        datetime(1993, 11, 8, 12, tzinfo=UTC),
        [Attached("RC-1.pdf", "application/pdf", pdf)],
    )
    content = mail_bytes(mail)
    assert content == mail_bytes(mail)
    assert content.isascii() and max(map(len, content.split(b"\r\n"))) <= 998
    read = message_from_bytes(content, policy=policy.default)
    assert isinstance(read, EmailMessage)
    (attached,) = read.iter_attachments()
    assert attached.get_content() == pdf
    assert read["Message-ID"] == "<RC-1-3f09@example.edu>"
    assert read["Date"] == "Mon, 08 Nov 1993 12:00:00 +0000"
    kinds = [part.get_content_type() for part in read.walk()]
    assert kinds == [
        *("multipart/mixed", "multipart/alternative", "text/plain", "text/html"),
        "application/pdf",
    ]
    assert (
        hashlib.sha256(content).digest()
        != hashlib.sha256(mail_bytes(Mail(**(vars(mail) | {"queued_at": None})))).digest()
    )
