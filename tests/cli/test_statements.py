"""The scheduled month and its statements by the command line."""

import json

from openpyxl import load_workbook
from sample_facility import BOOK

from .conftest import Office

MONTH = ("month", "2020-04", "--date", "2020-05-04", "--allow-dirty")


def test_a_month_is_issued_stated_and_paid(office: Office) -> None:
    rule = '{name: courtesy, scope: statement, kind: discount, amount: "3.00"}'
    book = office.folder / "parameters" / "microscopy.yml"
    book.write_text(BOOK + f"\nrules: [{rule}]\n")
    other = BOOK.replace("MIC", "CYT").replace("issue: scheduled", "issue: ready")
    (book.parent / "cytometry.yml").write_text(other)
    office.done("init")
    for facility in ("MIC", "CYT"):
        office.done("load", facility, "usage.csv")
        office.done("rate", facility, "2020-04")

    said = office.done(*MONTH)  # that CYT waits for a person is no failure
    assert "CYT 2020-04 is not signed off" in said
    assert "MIC-2020-04-1: issued 2 invoices (MIC-2020-00001 to MIC-2020-00002)" in said
    assert "smith-2020-04: 2 invoices, total 157.83 USD; 2 put on" in said
    again = office.done(*MONTH)
    assert "MIC 2020-04 is issued (MIC-2020-00001 to MIC-2020-00002)" in again
    assert "statements of 2020-04: nothing changed, 1 unchanged" in again

    (listed,) = office.listed("statements", "2020-04", "--team", "smith")
    assert (listed["statement"], listed["raw_total"], listed["adjustment"], listed["total"]) == (
        *("smith-2020-04", "160.83", "-3.00", "157.83"),
    )
    assert "nothing changed" in office.done("statements", "2020-04")
    text = office.done("statement", "smith-2020-04", "--json")
    statement = json.loads(text)
    assert text == json.dumps(statement, sort_keys=True, ensure_ascii=False, indent=2) + "\n"
    assert statement["totals"]["due"] == "157.83"
    shown = office.done("statement", "smith-2020-04")
    for part in ("Statement smith-2020-04", "Smith Lab, OPEN", "MIC-2020-00002", "courtesy"):
        assert part in shown

    files = ("--to", "smith.pdf", "--to", "smith.xlsx", "--to", "smith.json")
    said = "smith.pdf: written\nsmith.xlsx: written\nsmith.json: written\n"
    assert office.done("statement", "smith-2020-04", *files) == said
    assert (office.folder / "smith.json").read_text() == text
    assert load_workbook(office.folder / "smith.xlsx").sheetnames == [
        *("Statement", "MIC-2020-00001", "MIC-2020-00002"),
    ]
    month = ("statements", "2020-04", "--format", "pdf", "--into", "april")
    assert "documents of 2020-04: 1 file written to april" in office.done(*month)
    assert "documents of 2020-04: nothing changed" in office.done(*month)
    pdf = (office.folder / "april" / "smith-2020-04.pdf").read_bytes()
    assert (office.folder / "smith.pdf").read_bytes() == pdf
    other = office.run("statement", "smith-2020-04", "--to", "smith.docx")
    assert (other.returncode, other.stderr.strip()) == (
        *(2, "billing: 'docx' is no format of a statement; write it as .pdf, .xlsx or .json"),
    )

    where = office.run("statements", "2020-04", "--into", "april")
    assert (where.returncode, where.stderr.strip()) == (
        *(2, "billing: say in which format; add --format pdf, xlsx or json"),
    )

    payment = ("--date", "2020-06-02", "--reference", "WIRE 4711")
    assert "smith-2020-04 is paid: 2 invoices, total 157.83 USD" in office.done(
        "pay-statement", "smith-2020-04", *payment
    )
    assert "nothing changed" in office.done("pay-statement", "smith-2020-04", *payment)
    assert "PAID on 2020-06-02, reference WIRE 4711" in office.done("statement", "smith-2020-04")
    assert {row["state"] for row in office.listed("invoices", "--facility", "MIC")} == {"PAID"}
    why = ("--reason", "another lab's money")
    assert "2 invoices owed again" in office.done("unpay-statement", "smith-2020-04", *why)

    wrong = office.run("pay-statement", "smith-2020-05", *payment)
    assert (wrong.returncode, wrong.stderr.strip()) == (
        2,
        "billing: there is no statement smith-2020-05; 'billing statements PERIOD' lists a month's",
    )
    early = office.run("month", "2999-01", "--allow-dirty")
    assert early.returncode == 2
    assert "the period 2999-01 is not over" in early.stderr


def test_a_facility_that_cannot_be_issued_ends_the_month_with_status_1(office: Office) -> None:
    office.done("init")
    office.done("load", "MIC", "usage.csv")
    office.done("rate", "MIC", "2020-04")
    (office.folder / "runs").write_text("a file where the archive should be")
    failed = office.run(*MONTH)
    assert failed.returncode == 1
    assert "the run failed and nothing was issued" in failed.stdout
    assert "statements of 2020-04: no invoice counts, nothing changed" in failed.stdout
    assert {row["number"] for row in office.listed("invoices")} == {None}
