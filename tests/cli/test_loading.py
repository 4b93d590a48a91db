"""Loading by the command line: standard input, kinds, lookup tables, and what is said of rows."""

from pathlib import Path

import pytest
from sample_facility import BOOK

from .conftest import Office

TABLE = (
    "booking,tool,lab,day,n,state\n"
    "b1,Slides,Smith,2020-04-07,2,ok\n"
    "b2,Slides,Smith,2020-04-07,3,no\n"
)
MAPPING = """
sources:
  csv:
    {id: "{booking}", item: "{tool}", project: "{lab}", date: "{day}", quantity: "{n}",
     where: {state: ok}, lookup: {item: tools.csv, project: {Smith: p1}}}
"""
TOOLS = "name,code\nSlides,slide\n"


@pytest.fixture
def mapped(office: Office) -> Office:
    """An office with a ledger, and a mapping that looks names up."""
    folder = office.folder / "parameters"
    (folder / "microscopy.yml").write_text(BOOK + MAPPING)
    (folder / "tools.csv").write_text(TOOLS)
    (office.folder / "table.csv").write_text(TABLE)
    office.done("init")
    return office


def test_rows_left_out_are_told_and_names_looked_up(mapped: Office) -> None:
    said = mapped.done("load", "MIC", "table.csv")
    assert "table.csv: 1 record read, 1 new; 1 row left out by where (state)" in said
    mapped.done("rate", "MIC", "2020-04")
    charges = mapped.listed("charges", "MIC", "2020-04")
    assert [(row["charge"], row["item"], row["project"]) for row in charges] == [
        ("MIC/b1", "slide", "p1")
    ]


def test_standard_input_is_known_again_by_its_bytes(mapped: Office) -> None:
    typed = TABLE.encode()
    assert "1 new" in mapped.done("load", "MIC", "-", "--name", "table.csv", typed=typed)
    assert "loaded before" in mapped.done("load", "MIC", "table.csv")
    assert "loaded before" in mapped.done("load", "MIC", "-", "--name", "x.csv", typed=typed)


def test_a_kind_goes_before_the_files_name(mapped: Office) -> None:
    (mapped.folder / "table.csv").rename(mapped.folder / "table.txt")
    refused = mapped.run("load", "MIC", "table.txt")
    assert refused.returncode == 2
    assert "its name ends like no known kind of usage file" in refused.stderr
    assert "1 new" in mapped.done("load", "MIC", "table.txt", "--kind", "csv")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("-",), "standard input needs a file name"),
        (("-", "--name", "a/b.csv"), "standard input needs a file name"),
        (("-", "--name", "b.csv"), "b.csv: the file is empty"),
        (("table.csv", "--kind", "cvs"), "'cvs' is no kind of usage file and no mapping"),
    ],
)
def test_mistakes_of_the_command(mapped: Office, words: tuple[str, ...], sentence: str) -> None:
    refused = mapped.run("load", "MIC", *words)
    assert refused.returncode == 2
    assert sentence in refused.stderr
    assert mapped.listed("unbilled", "MIC", "2020-04") == []


@pytest.mark.parametrize(
    ("tools", "sentence"),
    [
        (None, "tools.csv: there is no such file"),
        ("tool,code\nSlides,slide\n", "tools.csv, row 1: the columns are tool, code; name them"),
        (TOOLS + "Slides,scope\n", "tools.csv, row 3: 'Slides' has two codes"),
        (TOOLS + "Scope,\n", "tools.csv, row 3: 'Scope' has no code"),
    ],
)
def test_a_lookup_table_that_cannot_be_is_refused(
    mapped: Office, tools: str | None, sentence: str
) -> None:
    path: Path = mapped.folder / "parameters" / "tools.csv"
    path.unlink() if tools is None else path.write_text(tools)
    refused = mapped.run("load", "MIC", "table.csv")
    assert refused.returncode == 2
    assert sentence in refused.stderr


def test_a_name_that_no_table_has_is_unbilled_as_itself(mapped: Office) -> None:
    (mapped.folder / "table.csv").write_text(TABLE.replace("b1,Slides,Smith", "b1,Glass,Jones"))
    mapped.done("load", "MIC", "table.csv")
    mapped.done("rate", "MIC", "2020-04")
    (row,) = mapped.listed("unbilled", "MIC", "2020-04")
    assert (row["record"], row["reason"]) == ("b1", "unknown_item")
    assert row["detail"] == "the price book has no item 'Glass'"
