"""Bounces as mail servers write them: matched to the message, shown on its run."""

from pathlib import Path

import pytest
from dialects import ON_SQLITE
from mailed import P1, ZOE, Billed, ids, queued, sent, standing

from billing_lib.delivery.bounce import note_bounce
from billing_lib.errors import NotReady, UnknownMessage, UnreadableFile
from billing_lib.workflow.approve import read_run
from billing_lib.workflow.outbox import list_notices, settle_message

# As Postfix writes one (RFC 3464), with the message's headers only.
REPORT = """\
From: MAILER-DAEMON@mail.example.edu (Mail Delivery System)
To: billing@example.edu
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="4F1"

--4F1
Content-Type: text/plain; charset=us-ascii

I'm sorry to have to inform you that your message could not be delivered.

--4F1
Content-Type: message/delivery-status

Reporting-MTA: dns; mail.example.edu
X-Postfix-Queue-ID: 4F1

Final-Recipient: rfc822; zoe@example.edu
Original-Recipient: rfc822;zoe@example.edu
Action: {action}
Status: 5.1.1
Remote-MTA: dns; mx.example.edu
Diagnostic-Code: smtp; 550 5.1.1 <zoe@example.edu>:
    Recipient address rejected

--4F1
Content-Type: {kind}

{headers}
--4F1--
"""


def report(folder: Path, message_id: str, action: str = "failed", *, whole: bool = False) -> Path:
    """The report's file."""
    headers = f"Subject: Invoice\nMessage-ID:\n {message_id}\nTo: zoe@example.edu\n"
    kind = "message/rfc822" if whole else "text/rfc822-headers"
    body = "\nGood day\n" if whole else ""
    path = folder / "report.eml"
    path.write_text(REPORT.format(action=action, kind=kind, headers=headers + body))
    return path


@ON_SQLITE
def test_a_bounce_is_matched_and_shown_on_the_run(billed: Billed) -> None:
    queued(billed)
    first, second = ids(billed, ZOE)
    early = report(billed.folder, f"<{first}@example.edu>")
    with pytest.raises(NotReady, match="is WAITING; 'bounce' is for SENT or UNCERTAIN"):
        note_bounce(billed.engine, early)
    sent(billed)
    delayed = report(billed.folder, f"<{first}@example.edu>", "delayed")
    assert note_bounce(billed.engine, delayed).endswith("is delayed, nothing changed")
    failed = report(billed.folder, f"<{first}@example.edu>")
    said = note_bounce(billed.engine, failed)
    why = "5.1.1 smtp; 550 5.1.1 <zoe@example.edu>: Recipient address rejected"
    assert said == f"BOUNCED {first} to Zoë Müller <zoe@example.edu>: {why}"
    assert "bounced before, nothing changed" in note_bounce(billed.engine, failed)
    note_bounce(billed.engine, report(billed.folder, f"<{second}@example.edu>", whole=True))
    shown = read_run(billed.engine, billed.book, "MIC-2020-04-1").deliveries
    bounced = shown.filter(shown["state"] == "BOUNCED")
    assert bounced["number"].to_list()[0] == P1
    assert bounced["said"].to_list() == [why, why]
    assert list_notices(billed.engine)["kind"].to_list() == ["bounced", "bounced"]
    assert "is WAITING; 'billing deliver' sends it" in settle_message(
        billed.engine, first, "again", "the address is mended"
    )
    assert sent(billed).sent == 1
    assert standing(billed)[P1, ZOE] == "SENT"

    for other in ("<nobody@example.edu>", f"<{first}@elsewhere.example>"):
        with pytest.raises(UnknownMessage):
            note_bounce(billed.engine, report(billed.folder, other))
    letter = billed.folder / "letter.eml"
    letter.write_text("Subject: lunch?\n\nAt noon.\n")
    with pytest.raises(UnreadableFile, match="it is no report on an undelivered message"):
        note_bounce(billed.engine, letter)
