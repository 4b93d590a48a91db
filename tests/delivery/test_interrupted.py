"""A process that is killed while it sends: found, asked about, and nothing goes out twice."""

import os
import subprocess
import sys
from pathlib import Path

from mailed import Billed, queued, sent, standing

from billing_lib.workflow.outbox import list_outbox, settle_message


def test_a_killed_sender_leaves_one_message_that_a_person_is_asked_about(billed: Billed) -> None:
    queued(billed)
    its = billed.settings
    stated = {
        "BILLING_DATABASE": its.database,
        "BILLING_RUNS": str(its.runs),
        "BILLING_SMTP_HOST": its.smtp_host,
        "BILLING_SMTP_PORT": str(its.smtp_port),
        "BILLING_SMTP_USER": its.smtp_user,
        "BILLING_SMTP_PASSWORD": its.smtp_password.get_secret_value() if its.smtp_password else "",
        "BILLING_SMTP_FROM": its.smtp_from,
        "BILLING_SMTP_CA": str(its.smtp_ca),
    }
    script = Path(__file__).with_name("interrupted.py")
    process: subprocess.Popen[bytes] | None = None

    def kill_at_the_second() -> None:
        """The server has the message; who sent it is gone before the answer comes."""
        if len(billed.post.got) == 2:
            assert process is not None
            process.kill()
            process.wait()

    billed.post.before_answering = kill_at_the_second
    process = subprocess.Popen([sys.executable, script], env=os.environ | stated)
    assert process.wait(60) == -9
    states = sorted(standing(billed).values())
    assert states == ["SENDING", "SENT", "WAITING", "WAITING"]

    done = sent(billed)
    assert done.sent == 2
    assert len(billed.post.got) == 4  # the lost one not again
    (sentence,) = done.sentences
    assert sentence.startswith("UNCERTAIN MIC-2021-")
    assert "a process ended while it was sending this" in sentence
    assert sent(billed).sentences == []
    (left,) = list_outbox(billed.engine)["message"]
    settle_message(billed.engine, left, "send", "the recipient has it")
    assert set(standing(billed).values()) == {"SENT"}
    assert sent(billed).sent == 0
    received = {mail["Message-ID"] for mail in billed.post.mails()}
    assert len(received) == len(billed.post.got) == 4
