"""Mail received by a real server: what it says, that it comes once, and what goes wrong."""

import datetime as dt
import threading
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from dialects import ON_SQLITE
from mailed import ANN, APRIL, HEAD, P1, P2, ZOE, Billed, ids, queued, sent, standing
from sample_post_office import DIES, PASSWORD
from sqlalchemy import update

from billing_lib.audit.bag import payload_files, write_manifests
from billing_lib.delivery import send
from billing_lib.delivery.queue import preview_invoices, queue_invoices
from billing_lib.delivery.send import MOST_TRIES, send_waiting, wait_after
from billing_lib.errors import (
    BillingError,
    InvalidSettings,
    NotReady,
    SendingElsewhere,
    UnusableMailServer,
)
from billing_lib.ledger import events, messages
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.invoices import move_invoices, require_invoice
from billing_lib.ledger.schema import message
from billing_lib.settings import Settings
from billing_lib.workflow.approve import read_run
from billing_lib.workflow.outbox import list_notices, list_outbox, read_all, settle_message


def part(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    assert body is not None
    return str(body.get_content())


def test_each_administrator_receives_each_invoice_once(billed: Billed) -> None:
    assert queued(billed) == ["MIC 2020-04: 4 messages queued"]
    assert queued(billed) == ["MIC 2020-04: nothing new to tell; 4 told before"]
    steps: list[tuple[int, int, str]] = []
    done = send_waiting(billed.engine, billed.settings, lambda *told: steps.append(told))
    assert (done.sent, done.sentences, done.failed) == (4, [], False)
    assert [step[:2] for step in steps] == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert billed.post.sessions == 1  # one connection for all
    again = sent(billed)
    assert (again.sent, again.sentences) == (0, [])
    assert sorted(recipient for recipient, _ in billed.post.got) == [ANN, ANN, ZOE, ZOE]

    first, second = billed.post.mails(ZOE)
    assert first["From"] == "Mikroskopie Zürich <billing@example.edu>"
    assert first["To"] == "Zoë Müller <zoe@example.edu>"
    assert first["Subject"] == f"Invoice {P1}: USD 148.33, Mikroskopie Zürich, April 2020"
    assert first["Auto-Submitted"] == "auto-generated"
    assert first["X-Unsent"] is None
    moment = parsedate_to_datetime(first["Date"])
    assert abs(dt.datetime.now(dt.UTC) - moment) < dt.timedelta(minutes=5)
    known = {mail["Message-ID"] for mail in billed.post.mails()}
    assert len(known) == 4
    assert all(each.startswith("<MIC-2021-") and each.endswith("@example.edu>") for each in known)
    link = f"https://billing.example.edu/?id={P1}"
    for text in (part(first, "plain"), part(first, "html")):
        for said in ("Smith Lab", "p1", "USD 148.33", link, "Charged through the ledger."):
            assert said in text
    (pdf,) = first.iter_attachments()
    assert (pdf.get_filename(), pdf.get_content_type()) == (f"{P1}.pdf", "application/pdf")
    (archived,) = billed.settings.runs.glob(f"*/*/*/data/documents/{P1}.pdf")
    assert pdf.get_content() == archived.read_bytes()
    assert P2 in second["Subject"]
    assert all(content.isascii() for _, content in billed.post.got)

    with reading(billed.engine) as connection:
        assert events.read_events(connection, "MIC", kinds=["deliver"]).height == 1
        assert events.read_events(connection, "MIC", kinds=["message_send"]).height == 4
        assert events.check_chain(connection, "MIC") == []
    told = read_run(billed.engine, billed.book, "MIC-2020-04-1").deliveries
    assert told["state"].to_list() == ["SENT"] * 4
    assert list_outbox(billed.engine, "MIC").height == 0


@ON_SQLITE
def test_a_preview_opens_nothing_and_is_what_would_be_sent(
    billed: Billed, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = billed.folder / "preview"

    def previewed() -> list[str]:
        with monkeypatch.context() as patch:
            patch.setattr("socket.socket", None)
            patch.setattr("socket.create_connection", None)
            patch.setattr("socket.getaddrinfo", None)
            its = billed.settings.model_copy(update={"smtp_host": None, "smtp_password": None})
            return preview_invoices(billed.engine, its, billed.book, APRIL, folder).sentences

    said = "MIC 2020-04: 4 messages in {}/, {} of them written; nothing is queued or sent"
    assert previewed() == [said.format(folder, 4)]
    assert previewed() == [said.format(folder, 0)]
    bare = billed.settings.model_copy(update={"smtp_host": None, "smtp_from": None})
    elsewhere = billed.folder / "bare"
    bare_preview = preview_invoices(billed.engine, bare, billed.book, APRIL, elsewhere)
    assert bare_preview.sentences == [
        said.format(elsewhere, 4),
        "the sender of mail is not set; sending needs BILLING_SMTP_FROM",
    ]
    letters = [path.read_bytes() for path in elsewhere.iterdir()]
    assert all(b"sender-not-set@billing.invalid" in letter for letter in letters)
    assert standing(billed) == {}
    assert list_notices(billed.engine).height == 0
    drafts = {path.name: path.read_bytes() for path in folder.iterdir()}
    queued(billed)
    previewed()  # of what waits now, with its date
    waiting = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert waiting.keys() == drafts.keys()
    sent(billed)
    assert sorted(content for _, content in billed.post.got) == sorted(waiting.values())
    for name, content in drafts.items():
        lines = content.split(b"\r\n")
        assert lines.pop(lines.index(b"X-Unsent: 1"))
        rest = [line for line in waiting[name].split(b"\r\n") if not line.startswith(b"Date: ")]
        assert lines == rest


def test_what_the_server_answers_decides_what_becomes_of_a_message(billed: Billed) -> None:
    billed.post.moods[ZOE] = "550 5.1.1 <zoe@example.edu>: No such user here"
    billed.post.ends[ANN] = DIES
    queued(billed)
    done, rest = sent(billed), sent(billed)  # the first may end where the server has gone twice
    assert done.failed
    assert standing(billed) == {
        (P1, ANN): "UNCERTAIN",
        (P1, ZOE): "REFUSED",
        (P2, ANN): "UNCERTAIN",
        (P2, ZOE): "REFUSED",
    }
    assert len(billed.post.mails(ANN)) == 2  # it had them, but nobody here can know
    refused = next(it for it in [*done.sentences, *rest.sentences] if it.startswith("REFUSED"))
    assert refused.endswith("to Zoë Müller <zoe@example.edu>: 550 5.1.1 <zoe@example.edu>: "
                            "No such user here")  # fmt: skip
    shown = read_run(billed.engine, billed.book, "MIC-2020-04-1").deliveries
    assert "550 5.1.1" in shown.filter(shown["state"] == "REFUSED")["said"][0]
    problems = list_notices(billed.engine)
    assert problems["kind"].sort().to_list() == ["refused"] * 2 + ["uncertain"] * 2
    assert read_all(billed.engine, problems["key"].to_list()[:1]) == 1
    assert list_notices(billed.engine).height == 3

    # Nothing uncertain or refused is sent again by itself; a person says what is.
    billed.post.moods.clear(), billed.post.ends.clear()
    assert sent(billed).sent == 0
    first, second = ids(billed, ANN)
    assert "is SENT" in settle_message(billed.engine, first, "send", "she has it")
    assert "nothing changed" in settle_message(billed.engine, first, "send")
    assert "is WAITING" in settle_message(billed.engine, second, "again")
    with pytest.raises(NotReady, match="is SENT; 'again' is for BOUNCED or REFUSED or UNCERTAIN"):
        settle_message(billed.engine, first, "again")
    assert sent(billed).sent == 1
    once, twice, again = (mail["Message-ID"] for mail in billed.post.mails(ANN))
    assert once != twice == again  # so a receiver knows it again


@ON_SQLITE
def test_what_fails_for_now_is_tried_later_and_not_for_ever(billed: Billed) -> None:
    billed.post.moods |= {ANN: DIES, ZOE: "451 4.7.1 Greylisted, try again"}
    queued(billed)
    done = sent(billed)
    assert set(standing(billed).values()) == {"FAILED"}
    assert billed.post.sessions >= 2  # connected anew after the server went away
    assert any("451 4.7.1 Greylisted" in it and "tried again from" in it for it in done.sentences)
    assert sent(billed).sentences == []  # not due yet
    assert [wait_after(n).total_seconds() / 60 for n in (1, 2, 3, 13)] == [5, 10, 20, 1440]

    def make_due(**values: object) -> None:
        with writing(billed.engine) as connection:
            earlier = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1)
            connection.execute(update(message).values(next_try=earlier, **values))

    billed.post.moods[ANN] = "250 OK"
    make_due(attempts=MOST_TRIES - 1)
    assert sent(billed).sent == 2
    assert {key[1]: state for key, state in standing(billed).items()} == {
        ANN: "SENT",
        ZOE: "REFUSED",
    }
    given_up = list_outbox(billed.engine, "MIC", ["REFUSED"])["said"]
    assert given_up[0].startswith("given up after 13 tries: 451 4.7.1 Greylisted")


@ON_SQLITE
def test_each_way_to_encrypt_and_a_server_that_refuses_who_sends(billed: Billed) -> None:
    queued(billed)
    billed.post.sender_mood = "550 5.7.1 Sender not allowed"
    done = sent(billed)
    assert done.failed and "550 5.7.1 Sender not allowed" in done.sentences[0]
    assert sorted(standing(billed).values()) == ["FAILED", "WAITING", "WAITING", "WAITING"]
    assert done.sentences[1] == "3 messages left for another time"
    billed.post.sender_mood = "552 5.3.4 Message too big"  # which is about one message
    assert sent(billed).sent == 0
    assert sorted(standing(billed).values()) == ["FAILED", "REFUSED", "REFUSED", "REFUSED"]
    billed.post.sender_mood = "250 OK"
    left = list_outbox(billed.engine, "MIC", ["REFUSED"])["message"]
    for message_id, way in zip(left, ("starttls", "tls", "none"), strict=True):
        settle_message(billed.engine, message_id, "again")
        its = billed.post.settings(way, runs=billed.settings.runs)
        assert send_waiting(billed.engine, its).sent == 1, way
    assert len(billed.post.got) == 3


@ON_SQLITE
def test_a_server_that_goes_away_each_time_does_not_make_all_uncertain(billed: Billed) -> None:
    billed.post.ends |= {ANN: DIES, ZOE: DIES}
    queued(billed)
    done = sent(billed)
    assert sorted(standing(billed).values()) == ["UNCERTAIN", "UNCERTAIN", "WAITING", "WAITING"]
    assert done.sentences[-1] == "2 messages left for another time"


def test_two_senders_at_once_send_once(billed: Billed) -> None:
    queued(billed)
    busy, go = threading.Event(), threading.Event()

    def hold() -> None:
        busy.set()
        go.wait(10)

    billed.post.before_answering = hold
    first: list[send.Sent] = []
    thread = threading.Thread(target=lambda: first.append(sent(billed)))
    thread.start()
    assert busy.wait(10)
    with pytest.raises(SendingElsewhere, match="another process is sending mail"):
        sent(billed)
    assert "SENDING" in standing(billed).values()  # and it is not taken for a dead one's
    go.set()
    thread.join()
    assert first[0].sent == 4
    assert len(billed.post.got) == 4
    with writing(billed.engine) as connection:  # without the lock a claim still is one's alone
        claims = [messages.claim_message(connection, ids(billed, ANN)[0]) for _ in range(2)]
    assert claims == [False, False]


@ON_SQLITE
def test_what_no_longer_holds_is_withdrawn_and_what_is_damaged_waits(billed: Billed) -> None:
    queued(billed)
    with writing(billed.engine) as connection:
        code = require_invoice(connection, P1)["code"]
        move_invoices(connection, "MIC", [code], "void", "the wrong lab")
    (pdf,) = billed.settings.runs.glob(f"*/*/*/data/documents/{P2}.pdf")
    pdf.write_bytes(pdf.read_bytes() + b"%")
    done = sent(billed)
    assert (done.sent, done.failed) == (0, True)
    assert billed.post.got == []
    assert any(f"invoice {P1} counts no longer" in it for it in done.sentences)
    assert any("is not as it was sealed" in it for it in done.sentences)
    assert standing(billed) == {
        (P1, ANN): "CANCELLED",
        (P1, ZOE): "CANCELLED",
        (P2, ANN): "WAITING",
        (P2, ZOE): "WAITING",
    }


UNUSABLE: list[tuple[dict[str, Any], type[BillingError], str]] = [
    ({"smtp_host": None}, InvalidSettings, "no mail server is named"),
    ({"smtp_user": None}, InvalidSettings, "the user and the password must both be set"),
    ({"smtp_ca": "nowhere.pem"}, InvalidSettings, "the certificates cannot be read"),
    (
        {"smtp_security": "none", "smtp_host": "192.0.2.1"},
        InvalidSettings,
        "the connection to 192.0.2.1 would not be encrypted",
    ),
    ({"smtp_ca": None}, UnusableMailServer, "its certificate cannot be trusted"),
    ({"smtp_password": f"{PASSWORD}!"}, UnusableMailServer, "it refuses the user: 535"),
    ({"smtp_port": 1}, UnusableMailServer, "it cannot be reached"),
    ({"smtp_security": "tls"}, UnusableMailServer, "it cannot be reached"),
]


@ON_SQLITE
def test_a_server_that_cannot_be_used_leaves_all_waiting_and_tells_no_secret(
    billed: Billed, capfd: pytest.CaptureFixture[str]
) -> None:
    queued(billed)
    for wrong, refusal, said in UNUSABLE:
        its = Settings(**(billed.settings.model_dump() | wrong))
        if refusal is InvalidSettings:
            with pytest.raises(InvalidSettings) as raised:
                send_waiting(billed.engine, its)
            told = str(raised.value)
        else:
            (told,) = send_waiting(billed.engine, its).sentences
        assert said in told
        output = capfd.readouterr()
        assert PASSWORD not in told + output.out + output.err + repr(its) + str(its.model_dump())
    assert billed.post.got == []
    assert set(standing(billed).values()) == {"WAITING"}
    for path in billed.folder.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes()


@ON_SQLITE
def test_a_team_without_an_address_is_told_of(billed: Billed) -> None:
    teams = tuple(
        team.model_copy(update={"administrators": ("nobody at home",)})
        for team in billed.book.teams
    )
    book = billed.book.model_copy(update={"teams": teams})
    told = queue_invoices(billed.engine, billed.settings, book, APRIL)
    assert told.messages == 0
    assert told.problems == [
        "team smith: 'nobody at home' is not an e-mail address; write name@example.edu in the "
        "price book",
        "team smith has no administrators in the price book, so nobody is told of 2 invoices",
    ]
    assert HEAD not in str(told)


@ON_SQLITE
def test_a_swapped_document_is_not_mailed_even_under_new_manifests(billed: Billed) -> None:
    (own,) = billed.settings.runs.glob(f"*/*/*/data/documents/{P1}.pdf")
    (other,) = billed.settings.runs.glob(f"*/*/*/data/documents/{P2}.pdf")
    own.write_bytes(other.read_bytes())
    record = own.parents[2]
    write_manifests(record, payload_files(record))
    said = queued(billed)
    assert [it for it in said if "is not as it was sealed" in it]
    assert standing(billed) == {}
