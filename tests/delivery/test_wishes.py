"""Who is told what: preferences hold for invoices, never for statements; statements that change."""

from io import BytesIO
from typing import Any

import pytest
from dialects import ON_SQLITE
from mailed import ANN, APRIL, HEAD, P1, P2, ZOE, Billed, queued, sent, standing
from pypdf import PdfReader
from sqlalchemy import Engine

from billing_lib.delivery.queue import preview_statements, queue_invoices, queue_statements
from billing_lib.errors import InvalidAdjustment, InvalidSettings, NotReady
from billing_lib.ledger import events
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.invoices import move_invoices, require_invoice
from billing_lib.workflow.outbox import list_notices, list_preferences, prefer
from billing_lib.workflow.statements import generate_statements, pay_statement

STATEMENT = "smith-2020-04"


def state(billed: Billed) -> list[str]:
    """Bring the statements up to date and queue what is not told as it stands; what is said."""
    generate_statements(billed.engine, billed.books, APRIL)
    told = queue_statements(billed.engine, billed.settings, billed.books, APRIL)
    return [*told.sentences, *told.problems]


def void(engine: Engine, number: str) -> None:
    with writing(engine) as connection:
        code = require_invoice(connection, number)["code"]
        move_invoices(connection, "MIC", [code], "void", "the wrong lab")


@ON_SQLITE
def test_invoices_respect_what_is_wished_and_statements_do_not(billed: Billed) -> None:
    said = prefer(billed.engine, billed.book, ANN, "none")
    assert said == "MIC: ann@example.edu receives no invoice; statements are sent all the same"
    assert "already, nothing changed" in prefer(billed.engine, billed.book, ANN, "none")
    prefer(billed.engine, billed.book, f"Zoë <{ZOE}>", "digest")
    prefer(billed.engine, billed.book, HEAD, "none")
    with pytest.raises(InvalidAdjustment, match="choose one of each, digest, none"):
        prefer(billed.engine, billed.book, ANN, "never")
    assert list_preferences(billed.engine, billed.book).rows() == [
        ("smith", ANN, "none", "–"),
        ("smith", f"Zoë Müller <{ZOE}>", "digest", "–"),
        ("smith", HEAD, "–", "yes"),
    ]
    with reading(billed.engine) as connection:
        assert events.read_events(connection, "MIC", kinds=["prefer"]).height == 3

    assert queued(billed) == ["MIC 2020-04: 1 message queued; 2 not wished for"]
    assert state(billed) == ["statements of 2020-04: 1 message queued"]
    assert sent(billed).sent == 2
    (digest,) = billed.post.mails(ZOE)
    assert digest["Subject"] == "2 invoices: USD 160.83, Mikroskopie Zürich, April 2020"
    names = [part.get_filename() for part in digest.iter_attachments()]
    assert names == [f"{P1}.pdf", f"{P2}.pdf"]
    (statement,) = billed.post.mails(HEAD)
    assert statement["Subject"] == f"Statement {STATEMENT}: USD 160.83, Smith Lab, April 2020"
    (attached,) = statement.iter_attachments()
    assert attached.get_filename() == f"{STATEMENT}.pdf"
    page = PdfReader(BytesIO(attached.get_content())).pages[0].extract_text()
    assert "160.83" in page
    text = statement.get_body(("plain",))
    assert text is not None
    for part in (P1, "148.33", P2, "12.50", f"https://billing.example.edu/?id={STATEMENT}"):
        assert part in text.get_content()

    prefer(billed.engine, billed.book, ANN, "each")  # what was not wished for is told now
    assert queued(billed) == ["MIC 2020-04: 2 messages queued; 2 told before"]
    assert standing(billed)[P1, ANN] == "WAITING"


def test_a_statement_is_told_again_when_it_has_changed_and_only_then(billed: Billed) -> None:
    folder = billed.folder / "preview"
    with pytest.raises(NotReady, match="there are no statements of 2020-04"):
        queue_statements(billed.engine, billed.settings, billed.books, APRIL)
    assert state(billed) == ["statements of 2020-04: 1 message queued"]
    assert state(billed) == ["statements of 2020-04: nothing new to tell; 1 told before"]

    void(billed.engine, P2)  # before it is sent: the first version never goes out
    generate_statements(billed.engine, billed.books, APRIL)
    its = (billed.settings, billed.books, APRIL, None, folder)
    preview_statements(billed.engine, *its)
    assert len(list(folder.iterdir())) == 1
    assert state(billed) == ["statements of 2020-04: 1 message queued"]
    assert sent(billed).sent == 1
    (only,) = billed.post.mails()
    assert only["Subject"] == f"Statement {STATEMENT}: USD 148.33, Smith Lab, April 2020"

    pay_statement(billed.engine, STATEMENT, "2020-06-02", "WIRE 4711")  # makes it no other
    assert state(billed) == ["statements of 2020-04: nothing new to tell; 1 told before"]
    for notice in list_notices(billed.engine, team="smith")["text"]:
        assert notice.startswith(f"Statement {STATEMENT}: ")
    assert list_notices(billed.engine, team="smith").height == 2


@ON_SQLITE
def test_a_setting_that_cannot_be_queues_nothing(billed: Billed) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"smtp_from": None}, "BILLING_SMTP_FROM: the sender of mail is not set"),
        ({"smtp_from": "us"}, "BILLING_SMTP_FROM: 'us' is not an e-mail address"),
        ({"portal_url": "https://example.edu/"}, "BILLING_PORTAL_URL: 'https://example.edu/' is"),
        ({"portal_url": "javascript:alert({id})"}, "is no address of a page about an invoice"),
    ]
    for wrong, said in cases:
        its = billed.settings.model_copy(update=wrong)
        with pytest.raises(InvalidSettings) as refused:
            queue_invoices(billed.engine, its, billed.book, APRIL)
        assert said in str(refused.value)
    assert standing(billed) == {}
