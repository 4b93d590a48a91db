"""A month by the command line, from the usage file to the reproduced record."""

import json
import re
import shutil
from pathlib import Path

import polars as pl
import pytest
from typer.core import TyperGroup
from typer.main import get_command

from billing_lib.cli import app

from .conftest import Office
from .forging import reseal

ISSUE = ("issue", "MIC", "2020-04", "--date", "2020-05-04", "--allow-dirty")


def test_a_month_from_usage_to_a_reproduced_record(office_apart: Office) -> None:
    office = office_apart
    assert "set up" in office.done("init")
    assert "set up before, nothing changed" in office.done("init")
    assert "6 records read, 6 new" in office.done("load", "MIC", "usage.csv")
    assert "loaded before, nothing changed" in office.done("load", "MIC", "usage.csv")
    rated = office.done("rate", "MIC", "2020-04")
    assert "5 records = 3 charges (3 new, 0 changed) + 2 unbilled" in rated

    charges = office.listed("charges", "MIC", "2020-04")
    assert {row["charge"]: row["total"] for row in charges} == {
        "MIC/u1": "133.33",  # 3 h 20 min x 40.00
        "MIC/u2": "15.00",
        "MIC/u3": "12.50",
    }
    unbilled = office.listed("unbilled", "MIC", "2020-04")
    assert {row["record"]: row["reason"] for row in unbilled} == {
        "u4": "unknown_project",
        "u5": "invalid_quantity",
    }

    said = office.done("adjust", "MIC/u2", "--set", "quantity=10", "--reason", "two broke")
    assert "MIC/u2: total 15.00 → 12.50 USD" in said
    line = ("--facility", "MIC", "--project", "p2", "--date", "2020-04-30", "--amount", "75.00")
    what = ("--description", "Training", "--expense-code", "T", "--reason", "agreed")
    assert "MIC/line-2020-04-1" in office.done("adjust", "--add-line", *line, *what)

    noted = ("--project", "p2", "--text")
    office.done("note", "MIC", "2020-04", *noted, "Thank you.")
    assert "the note is written" in office.done("note", "MIC", "2020-04", *noted, "Until May.")

    issued = office.done(*ISSUE)
    assert "issued 2 invoices (MIC-2020-00001 to MIC-2020-00002), 4 charges" in issued
    assert "total 233.33 USD" in issued  # 133.33 + 12.50; 12.50 + 75.00
    assert not list(office.folder.glob("*-wal"))  # a copy of the ledger's file is complete
    invoices = office.listed("invoices", "--facility", "MIC", "--period", "2020-04")
    assert [(row["project"], row["total"]) for row in invoices] == [
        ("p1", "145.83"),
        ("p2", "87.50"),
    ]
    shown = office.done("show", "MIC-2020-00002")
    assert "Training" in shown
    assert "total 87.50 USD" in shown
    second = json.loads(office.done("show", "MIC-2020-00002", "--json"))
    assert second["totals"]["total"] == "87.50"
    assert second["notes"] == ["Until May."]

    record = office.folder / "runs" / "MIC" / "2020-04" / "MIC-2020-04-1"
    said = office.run("verify", "MIC-2020-00001", record)
    assert said.returncode == 3  # as the ledger has it, and unsigned
    assert [line.split()[0] for line in said.stdout.splitlines() if "not checked: " in line] == [
        *("signature", "signature")
    ]

    second = office.run(*ISSUE)
    assert second.returncode == 2
    assert second.stderr.strip() == (
        "billing: MIC 2020-04 is issued (MIC-2020-00001 to MIC-2020-00002); "
        "'billing invoices' lists them"
    )
    assert len(office.listed("invoices")) == 2


@pytest.fixture
def record(office: Office) -> Path:
    """The record of an issued month, taken elsewhere; ledger and archive are gone."""
    for words in (("init",), ("load", "MIC", "usage.csv"), ("rate", "MIC", "2020-04"), ISSUE):
        office.done(*words)
    copy = office.folder / "taken elsewhere" / "record"
    shutil.copytree(office.folder / "runs" / "MIC" / "2020-04" / "MIC-2020-04-1", copy)
    shutil.rmtree(office.folder / "runs")
    (office.folder / "billing.db").unlink()
    return copy


def test_a_record_alone_is_checked_run_again_and_found_out(office: Office, record: Path) -> None:
    nowhere = "postgresql://nobody@localhost:1/nowhere"
    alone = office.run("verify", record, database=nowhere)
    assert alone.returncode == 3
    assert "results    not checked: no ledger here" in alone.stdout
    reproduced = office.done("reproduce", record, "--accept-changes", database=nowhere)
    assert "reproduced, every result is the same byte for byte" in reproduced

    # One cent more in the snapshot, and every manifest written anew.
    rates = record / "data" / "snapshot" / "rates.parquet"
    slide = pl.when(pl.col("item") == "slide")
    price = slide.then(pl.col("price") + pl.lit("0.01").str.to_decimal(scale=2)).otherwise("price")
    frame = pl.read_parquet(rates)
    frame.with_columns(price.cast(frame.schema["price"])).write_parquet(rates)
    reseal(record)
    different = office.run("reproduce", record, "--accept-changes", database=nowhere)
    assert different.returncode == 1
    assert '-      "total": "15.00"' in different.stdout  # 12 slides at 1.25
    assert '+      "total": "15.12"' in different.stdout  # and at 1.26
    for suffix in ("html", "pdf", "xlsx", "xml"):
        assert f"{record}: documents/MIC-2020-00001.{suffix} differs" in different.stdout

    # One flipped bit in a document.
    page = record / "data" / "documents" / "MIC-2020-00001.pdf"
    content = bytearray(page.read_bytes())
    content[100] ^= 1
    page.write_bytes(content)
    broken = office.run("verify", record, database=nowhere)
    assert broken.returncode == 1
    assert "data/documents/MIC-2020-00001.pdf" in broken.stdout


COMMANDS = (
    *("init", "lab", "portal", "demo", "load", "unload", "unbilled", "quote"),
    *("grant", "revoke", "permissions", "events", "text", "texts"),
    "prices",
    *("rate", "charges", "explain", "adjust", "delete", "bulk", "groups", "undo"),
    *("check", "dismiss"),
    *("runs", "ready", "approve", "reject", "quarantine", "release", "close", "month"),
    *("issue", "note", "invoices", "show", "preview", "adhoc", "credit", "reissue", "void"),
    *("pay", "unpay", "deposit", "funds", "verify", "reproduce", "archive"),
    *("statements", "statement", "pay-statement", "unpay-statement", "listing"),
    *("templates", "transform", "transformations", "package", "packages"),
    *("journal", "journals", "focus"),
    *("deliver", "outbox", "bounce", "notices", "preferences", "extract"),
    *("doctor", "backup", "restore", "people", "facility", "run", "log"),
)


def test_the_help_lists_the_commands_and_each_ends_with_an_example() -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    assert tuple(group.commands) == COMMANDS
    for name, command in group.commands.items():
        assert command.help
        assert re.match(rf"Example: (BILLING_\w+=\S+ )?billing {name}\b", command.epilog or ""), (
            name
        )
