"""The page of usage without a browser: its parts do as the page says, and the ledger shows it."""

from dataclasses import replace
from pathlib import Path

import action_forms
import pytest
import yaml
from sample_facility import HEADER

from billing_lib import Site
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger.database import reading
from billing_lib.panels.forms import Upload
from billing_lib.panels.usage import UsageFilePart, UsagePanel
from billing_lib.workflow.rate import read_unbilled

FOREIGN = (
    "booking;tool;account;begin;finish;n\n"
    "b1;scope;p1;06.04.2020 17:00;06.04.2020 18:30;\n"
    "b2;scope;p2;07.04.2020 09:00;07.04.2020 10:00;\n"
)


@pytest.fixture
def panel(office: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UsagePanel:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    (tmp_path / "inbox").mkdir()
    places = {"office": tmp_path / "office", "inbox": tmp_path / "inbox"}
    here = office.settings.model_copy(update=places)
    return UsagePanel("MIC", "2020-04", replace(office, settings=here))


def put(panel: UsagePanel, name: str, text: str) -> None:
    path = panel.desk.office.settings.inbox / name
    path.write_text(text)
    panel.file.list_files(path)
    panel.file.look()
    panel.file.progress.wait()


def totals(panel: UsagePanel) -> dict[str, int]:
    with reading(panel.desk.engine) as connection:
        charges = ledger_charges.read_charges(connection, "MIC", period="2020-04")
    return dict(charges.select("charge", "total").sort("charge").iter_rows())


def said(part: UsageFilePart) -> str:
    return str(part.message.widget.value)


def test_a_file_is_looked_at_loaded_and_rated(panel: UsagePanel) -> None:
    put(
        panel,
        "more.csv",
        HEADER + "u7,slide,p1,ann,,,2020-04-20,4\nu2,slide,p1,bob,,,2020-04-07,13\n",
    )
    file = panel.file
    assert "Nothing is loaded yet" in said(file)
    assert "2020-04-07 to 2020-04-20" in file.summary.value
    assert "becomes" in file.columns.value.lower()
    assert "1 new, 1 corrected" in file.report.children[0].value
    assert "u7" not in totals(panel)
    file.load()
    file.progress.wait()
    assert file.rate_button.description == "Rate 2020-04"
    assert totals(panel)["u2"] == 1625
    file.rate()
    file.progress.wait()
    assert totals(panel)["u7"] == 500
    assert "../2020-04/review-MIC-2020-04.ipynb" in file.told.value


def test_a_mapping_is_made_by_choosing_columns(panel: UsagePanel) -> None:
    put(panel, "bookings.csv", FOREIGN)
    file = panel.file
    assert "does not give the id" in said(file)
    assert file.save_button.disabled
    form = file.mapping
    for field, column in (
        *(("id", "booking"), ("item", "tool"), ("project", "account")),
        *(("start", "begin"), ("end", "finish")),
    ):
        form.fields[field].chooser.value = f"{{{column}}}"
    form.keys["times"].value = "%d.%m.%Y %H:%M"
    form.name.value = "bookings"
    file.look(trial=True)
    file.progress.wait()
    assert "The file can be read so" in file.mapping_note.widget.value
    assert file.load_button.disabled
    file.save()
    file.progress.wait()
    assert "reason" in file.mapping_note.widget.value
    file.reason.value = "the new export"
    file.save()
    file.progress.wait()
    assert "is saved" in file.mapping_note.widget.value
    text = (panel.desk.office.settings.parameters / "microscopy.yml").read_text()
    mapping = yaml.safe_load(text)["sources"]["bookings"]
    assert mapping["item"] == "{tool}"
    assert mapping["header"] == ["booking", "tool", "account", "begin", "finish", "n"]
    assert text.startswith("\nfacility:\n  code: MIC")
    file.load()
    file.progress.wait()
    file.rate()
    file.progress.wait()
    assert (totals(panel)["b1"], totals(panel)["b2"]) == (6000, 4000)


def test_bad_rows_are_mended_and_dismissed_in_place(panel: UsagePanel) -> None:
    rows = panel.rows
    assert "2 rows of 2020-04 are not billed" in rows.html()
    rows.open(0)
    assert "unknown project" in rows.title.value
    assert rows.fields["project"].value == "nobody"
    rows.dismiss_button.click()
    assert "reason" in rows.message.widget.value
    rows.reason.value = "a test of the vendor"
    rows.dismiss_button.click()
    assert rows.row is not None  # the next one is shown at once
    assert rows.row["record"] == "u5"
    assert "u5,slide,p2,eve,,,2020-04-09,many" in rows.title.value
    rows.fields["quantity"].value = "12"
    rows.reason.value = "said eve"
    rows.mend()
    assert "u5: quantity none → 12" in rows.message.widget.value
    assert "No row of 2020-04 waits to be mended, 1 dismissed; 1 mended" in rows.html()
    rows.rate()
    rows.progress.wait()
    assert totals(panel)["u5"] == 1500
    assert read_unbilled(panel.desk.engine, "MIC", "2020-04")["record"].to_list() == ["u4"]
    rows.open(0)
    rows.reason.value = "it counts"
    rows.restore_button.click()
    assert "1 row of 2020-04 is not billed" in rows.html()


def test_rows_with_the_same_wrong_value_are_mended_at_once(panel: UsagePanel) -> None:
    rows, form = panel.rows, panel.rows.alike
    labels = [label for label, _ in form.entries["field"].options]
    assert "Project" in labels
    action_forms.look(form, "mend", field="project", old="nobody", new="p1")
    assert "reason" in form.message.widget.value
    action_forms.look(form, "mend", reason="the old name")
    assert "project nobody → p1 in 1 row; 1 of 1 can be billed" in form.message.widget.value
    assert form.go.description == "Mend 1 row"
    assert "2 rows of 2020-04 are not billed" in rows.html()
    action_forms.go(form)
    assert "1 row of 2020-04 is not billed; 1 mended" in rows.html()
    rows.rate()
    rows.progress.wait()
    assert totals(panel)["u4"] == 1250  # 10 slides at 1.25
    assert rows.many.widget.layout.display == "none"  # a single row is left


def test_a_file_is_taken_back_and_brought_again(panel: UsagePanel) -> None:
    files = panel.files
    assert "usage.csv" in files.html()
    action_forms.look(files, "unload", reason="the wrong month")
    assert "6 records taken back" in files.result.children[0].value
    assert len(totals(panel)) == 3
    assert files.go.description == "Take the file back"
    action_forms.go(files)
    assert totals(panel) == {}
    action_forms.look(files, "unload", reason="right after all")
    assert files.go.description == "Bring the file again"
    action_forms.go(files)
    assert "rating 2020-04, 2020-05 charges them" in files.message.widget.value


def test_an_upload_arrives_piece_by_piece(tmp_path: Path) -> None:
    came: list[Path] = []
    upload = Upload("Drop it", tmp_path / "uploads", came.append)
    upload.received({"kind": "begin", "name": "../a.csv", "size": 6}, [])
    upload.received({"kind": "piece"}, [b"abc"])
    assert came == []
    upload.received({"kind": "piece"}, [memoryview(b"def")])
    assert came == [tmp_path / "uploads" / "a.csv"]
    assert came[0].read_bytes() == b"abcdef"
    assert [path.name for path in (tmp_path / "uploads").iterdir()] == ["a.csv"]
