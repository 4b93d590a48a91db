"""SECURITY.md names tests that are there, and every group of statements of hostile.yml."""

import re
from pathlib import Path

import yaml

TESTS = Path(__file__).parent.parent
PAGE = (TESTS.parent / "SECURITY.md").read_text("utf-8")


def test_each_row_says_who_what_and_by_which_test() -> None:
    table = PAGE.partition("## Who tries what")[2].partition("## ")[0]
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    for row in rows:
        who, tried, stopped, shown = (cell.strip() for cell in row)
        assert all((who, tried, stopped))
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", shown)
        assert named, who
        for file, test in named:
            assert f"\ndef {test}(" in (TESTS / file).read_text("utf-8"), f"{file}::{test}"


def test_each_group_of_statements_is_in_the_table() -> None:
    groups = yaml.safe_load((TESTS / "ledger" / "hostile.yml").read_text("utf-8"))
    table = PAGE.partition("## The statements tried on PostgreSQL")[2]
    stated = {line.rsplit("|", 2)[1].strip() for line in table.splitlines() if line.startswith("|")}
    assert set(groups) <= stated
