"""Delivery by the command line, by the scheduled job, and the notices in a notebook."""

import json
from pathlib import Path

import pytest
from dialects import ON_SQLITE
from mailed import ANN, APRIL, HEAD, MAILED, P1, ZOE, Billed, ids
from sample_facility import price_book
from sample_post_office import DIES, PASSWORD
from typer.testing import CliRunner, Result

from billing_lib import Site
from billing_lib.cli import app
from billing_lib.delivery.queue import deliver_month
from billing_lib.errors import InvalidAdjustment, InvalidSettings
from billing_lib.panels.home import NoticePanel
from billing_lib.settings import settings
from billing_lib.workflow.statements import generate_statements


@pytest.fixture
def at_work(billed: Billed, monkeypatch: pytest.MonkeyPatch) -> Billed:
    """The office as its settings in the environment name it."""
    (billed.folder / "billing.toml").touch()
    (billed.folder / "parameters").mkdir()
    (billed.folder / "parameters" / "microscopy.yml").write_text(MAILED, encoding="utf-8")
    monkeypatch.chdir(billed.folder)
    its = billed.settings.model_dump(exclude_none=True) | {"smtp_password": PASSWORD}
    for name, value in its.items():
        if name != "parameters":
            monkeypatch.setenv(f"BILLING_{name.upper()}", str(value))
    monkeypatch.setenv("COLUMNS", "300")
    return billed


def run(words: str) -> Result:
    """A command and what came of it; a mistake is raised, as main() finds it."""
    done = CliRunner().invoke(app, words.split())
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert PASSWORD not in done.output
    return done


@ON_SQLITE
def test_a_month_is_previewed_delivered_and_looked_after(at_work: Billed) -> None:
    previewed = run("deliver MIC 2020-04 --preview april")
    assert previewed.output == (
        "MIC 2020-04: 4 messages in april/, 4 of them written; nothing is queued or sent\n"
    )
    assert len(list(Path("april").glob("*.eml"))) == 4
    assert at_work.post.got == []

    at_work.post.moods[ZOE] = "550 5.1.1 No such user here"
    at_work.post.ends[ANN] = DIES
    delivered = run("deliver MIC 2020-04")
    assert delivered.exit_code == 1
    assert "MIC 2020-04: 4 messages queued" in delivered.output
    assert "0 messages sent" in delivered.output
    shown = run("run show MIC-2020-04-1").output
    assert "messages: 2 REFUSED, 2 UNCERTAIN" in shown
    assert "550 5.1.1 No such user here" in shown
    told = json.loads(run("run show MIC-2020-04-1 --json").stdout)["deliveries"]
    assert {row["state"] for row in told} == {"REFUSED", "UNCERTAIN"}

    at_work.post.clear()
    first, second = ids(at_work, ANN)
    assert f"message {first} to {ANN} is SENT" in run(f"outbox --sent {first}").output
    assert "is WAITING; 'billing deliver' sends it" in run(f"outbox --again {second}").output
    withdrawn = run(f"outbox --withdraw {ids(at_work, ZOE)[0]}").output
    assert "is CANCELLED" in withdrawn
    sent = run("deliver")
    assert (sent.exit_code, sent.stdout) == (0, "1 message sent\n")
    left = json.loads(run("outbox MIC --json").stdout)
    assert [row["state"] for row in left] == ["REFUSED"]
    assert len(json.loads(run("outbox --all --json").stdout)) == 4

    # What was withdrawn is told anew, by another message; what was refused is not.
    assert "1 message queued; 3 told before" in run("deliver MIC 2020-04").output
    assert (
        "receives all invoices in one message"
        in run(f"preferences MIC {HEAD} --invoices digest").output
    )
    assert ZOE in run("preferences MIC").output
    assert f"Invoice {P1} of 148.33 USD for project p1" in run("notices --team smith").output
    assert "4 notices put away" in run("notices --read").output
    for words, said in (
        ("deliver MIC", "invoices are delivered of a facility and a month"),
        ("deliver --team smith", "--team is for statements"),
        ("deliver --preview x", "a preview is of invoices or statements"),
        (f"preferences MIC {ANN}", "a preference is set of an address"),
    ):
        with pytest.raises(InvalidAdjustment, match=said):
            run(words)
    run("statements 2020-04")
    assert "1 message in may/" in run("deliver --statements 2020-04 --preview may").output
    assert "1 message queued" in run("deliver --statements 2020-04 --team smith").output


@ON_SQLITE
def test_the_scheduled_job_delivers_for_who_wishes_it(billed: Billed) -> None:
    generate_statements(billed.engine, billed.books, APRIL)
    assert deliver_month(billed.engine, billed.settings, billed.books, APRIL) == ([], False)
    text = MAILED.replace("  issue: scheduled\n", "  issue: scheduled\n  deliver: automatic\n")
    books = {"MIC": price_book(text)}
    said, failed = deliver_month(billed.engine, billed.settings, books, APRIL)
    assert not failed
    assert said == [
        "MIC 2020-04: 4 messages queued",
        "statements of 2020-04: 1 message queued",
        "5 messages sent",
    ]
    said, failed = deliver_month(billed.engine, billed.settings, books, APRIL)
    assert not failed
    assert said[-1] == "0 messages sent"
    assert len(billed.post.got) == 5
    nowhere = billed.settings.model_copy(update={"smtp_from": None})
    said, failed = deliver_month(billed.engine, nowhere, books, APRIL)
    assert failed
    assert "deliver: BILLING_SMTP_FROM: the sender of mail is not set" in said[0]


@ON_SQLITE
def test_a_notebook_shows_what_is_new_and_puts_it_away(at_work: Billed) -> None:
    at_work.post.moods |= {ANN: "550 <b>no</b>", ZOE: "550 no"}
    run("deliver MIC 2020-04")
    panel = NoticePanel(Site(at_work.engine, at_work.settings))
    assert ">4 new notices<" in panel.heading.value
    texts = [row.children[0].value for row in panel.rows.children]
    assert any("550 &lt;b&gt;no&lt;/b&gt;" in text for text in texts)
    panel.rows.children[0].children[1].click()
    assert ">3 new notices<" in panel.heading.value
    panel.all_read.click()
    assert ">No new notices<" in panel.heading.value
    assert "3 marked as read" in panel.message.widget.value
    assert panel.rows.children == ()


def test_a_setting_that_cannot_be_read_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BILLING_SMTP_PORT", "hunter2")
    with pytest.raises(InvalidSettings) as refused:
        settings()
    assert str(refused.value).startswith("BILLING_SMTP_PORT: the setting cannot be read: ")
    assert "hunter2" not in str(refused.value)
