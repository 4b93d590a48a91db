"""An ad hoc invoice by the command line, issued by itself, and then credited."""

from .conftest import Office


def test_an_ad_hoc_invoice_from_its_creation_to_a_credit(office: Office) -> None:
    office.done("init")
    office.done("load", "MIC", "usage.csv")
    office.done("rate", "MIC", "2020-04")
    words = ("adhoc", "MIC", "PO-12", "--project", "p1", "--start", "2020-04-06")
    assert "invoice MIC/PO-12 of project p1, 2020-04-06, is open" in office.done(*words)
    assert "created before, nothing changed" in office.done(*words)
    described = ("--edit", "--end", "2020-04-08", "--description", "Workshop")
    assert "2020-04-06 to 2020-04-08, is edited" in office.done(*words[:3], *described)
    line = ("--facility", "MIC", "--reference", "PO-12", "--date", "2020-03-01")
    what = ("--description", "Training", "--amount", "75.00", "--reason", "agreed")
    assert "75.00 USD on PO-12" in office.done("adjust", "--add-line", *line, *what)

    alone = ("issue", "MIC", "2020-04", "--reference", "PO-12", "--date", "2020-05-04")
    issued = office.done(*alone, "--allow-dirty")

    assert "issued 1 invoice (MIC-2020-00001), 1 charge, total 75.00 USD" in issued
    assert "PO-12 is issued (MIC-2020-00001)" in office.run(*alone, "--allow-dirty").stderr
    given = ("credit", "MIC-2020-00001", "--amount", "20.00", "--date", "2020-04-30")
    said = office.done(*given, "--reason", "overcharged")
    assert "MIC/line-2020-04-1: Credit for MIC-2020-00001: overcharged, -20.00 USD on p1" in said
    charges = office.listed("charges", "MIC", "2020-04", "--project", "p1")
    assert [row["total"] for row in charges if row["charge"] == "MIC/line-2020-04-1"] == ["-20.00"]
    verified = office.run("verify", "runs/MIC/2020-04/MIC-2020-04-1")
    assert "wrong: " not in verified.stdout
    assert verified.returncode == 3  # unsigned
