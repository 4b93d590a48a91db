"""Transformations: rendered, kept with their hashes, made again on demand, found and deleted."""

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from dialects import ON_SQLITE
from sample_archive import archived_april
from sample_facility import BOOK
from sample_logins import hand_over
from sample_statements import SEQUENCING, void
from sqlalchemy import Engine

from billing_lib.errors import InvalidFilter, InvalidTemplate, NotPermitted, NotReady, UnknownExport
from billing_lib.exports.templates import (
    Transformed,
    delete_transformation,
    list_transformations,
    read_templates,
    read_transformation,
    render,
    transform,
)
from billing_lib.ledger.database import reading
from billing_lib.ledger.events import check_chain, read_events
from billing_lib.settings import Settings
from billing_lib.workflow.search import ExportSelection, Filter

ROOT = Path(__file__).parent.parent.parent
RUN = ExportSelection(Filter.parse({"run": "MIC-2020-04-1"}))
SMITH = ExportSelection(statements=("smith-2020-04",))


def put(settings: Settings, book: str, **files: str) -> Path:
    """Put both price books, and templates beside one of them."""
    (settings.parameters / "microscopy.yml").write_text(BOOK)
    (settings.parameters / "sequencing.yml").write_text(SEQUENCING)
    folder = settings.parameters / book / "templates"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name.replace('__', '.')}.j2").write_text(text, encoding="utf-8")
    return folder


def said(done: list[Transformed]) -> list[str]:
    return [it.said for it in done]


def test_a_result_is_kept_and_made_again_on_demand(ledger: Engine, tmp_path: Path) -> None:
    here, both = archived_april(ledger, tmp_path)
    # The example of the documentation makes what stands below it there.
    text = (ROOT / "docs" / "templates.md").read_text(encoding="utf-8")
    pattern = r"## An example\n\n```jinja\n(.*?)```.*?```csv\n(.*?)```"
    ((example, makes),) = re.findall(pattern, text, re.DOTALL)
    folder = put(here, "microscopy", upload__csv=example)
    (first,) = transform(ledger, here, both, "upload.csv", RUN)
    assert first.content.decode() == makes
    assert first.file == "MIC-2020-04-1-upload.csv"
    assert first.said == f"MIC-2020-04-1 upload.csv: made, {len(makes)} bytes"
    (again,) = transform(ledger, here, both, "upload.csv.j2", RUN)
    assert again == replace(first, said="MIC-2020-04-1 upload.csv: made before, nothing changed")
    (again,) = transform(ledger, here, both, "upload.csv", RUN, again=True)
    assert again == replace(first, said="MIC-2020-04-1 upload.csv: made again, nothing changed")
    (row,) = list_transformations(ledger).to_dicts()
    assert (row["for"], row["subject"], row["bytes"]) == ("run", "MIC-2020-04-1", len(makes))
    assert row["template_sha256"] == hashlib.sha256(example.encode()).hexdigest()
    assert row["sha256"] == hashlib.sha256(makes.encode()).hexdigest()

    (folder / "upload.csv.j2").write_text(example.replace("sum;;", "total;;"))
    (old,) = transform(ledger, here, both, "upload.csv", RUN)
    assert (old.id, old.content) == (first.id, first.content)
    assert "nothing changed; the template has changed since; it can be made" in old.said
    (new,) = transform(ledger, here, both, "upload.csv", RUN, again=True)
    assert new.content.decode() == makes.replace("sum;;", "total;;")
    assert "made again: the template has changed, " in new.said
    assert list_transformations(ledger, "UPLOAD")["id"].to_list() == [first.id, new.id]
    assert list_transformations(ledger, "letter").height == 0
    assert read_transformation(ledger, here, first.id).content == first.content

    # What became of an invoice is no part of its upload any more.
    void(ledger, "MIC-2021-00002")
    (after,) = transform(ledger, here, both, "upload.csv", RUN)
    assert "its values have changed since" in after.said
    (after,) = transform(ledger, here, both, "upload.csv", RUN, again=True)
    assert b"MIC-2021-00002" not in after.content

    assert "deleted" in delete_transformation(ledger, here, first.id, "wrong account")
    with pytest.raises(UnknownExport, match=f"there is no transformation {first.id}"):
        delete_transformation(ledger, here, first.id)
    with reading(ledger) as connection:
        (event,) = read_events(connection, "MIC", kinds=["delete_transformation"]).to_dicts()
        assert check_chain(connection, "MIC") == []
    assert (event["subject"], event["reason"]) == (first.id, "wrong account")
    assert json.loads(event["before"])["template"] == "upload.csv"
    files = {path.name for path in here.store.glob("files/*/*")}
    assert files == set(list_transformations(ledger)["sha256"])


@ON_SQLITE
def test_each_invoice_or_statement_has_its_own_and_a_mistake_leaves_nothing(
    ledger: Engine, tmp_path: Path
) -> None:
    here, both = archived_april(ledger, tmp_path)
    numbers = "{{ invoices | map(attribute='number') | join(' ') }}"
    note = "{# for: statement #}\n{{ statement.totals.due }} " + numbers
    folder = put(here, "sequencing", note__txt=note)
    put(here, "microscopy", number__txt="{{ invoice.number }} {{ page.title }}")
    done = transform(ledger, here, both, "number.txt", RUN)
    assert [(it.file, it.content) for it in done] == [
        (f"{number}-number.txt", f"{number} Invoice {number}".encode())
        for number in ("MIC-2021-00001", "MIC-2021-00002")
    ]
    (stated,) = transform(ledger, here, both, "note.txt", SMITH)  # SEQ alone has it
    assert stated.content == b"190.83 MIC-2021-00001 MIC-2021-00002 SEQ-2021-00002"
    with pytest.raises(InvalidFilter, match=r"'note\.txt' of SEQ is for a statement, and none"):
        transform(
            ledger, here, both, "note.txt", ExportSelection(Filter.parse({"facility": "SEQ"}))
        )
    with pytest.raises(InvalidTemplate, match=r"there is no template 'note\.txt'"):
        transform(ledger, here, both, "note.txt", RUN)
    put(here, "microscopy", note__txt=note)
    several = r"MIC and SEQ have a template 'note\.txt'; say which facility"
    with pytest.raises(InvalidFilter, match=several):
        transform(ledger, here, both, "note.txt", SMITH)
    before = list_transformations(ledger).height
    (folder / "note.txt.j2").write_text(note + "\n\n{{ statement.nobody }}")
    only = replace(SMITH, wanted=Filter.parse({"facility": "SEQ"}))
    with pytest.raises(InvalidTemplate, match=r"note\.txt\.j2, line 4: there is no 'nobody'"):
        transform(ledger, here, both, "note.txt", only, again=True)
    assert list_transformations(ledger).height == before

    hand_over(ledger, "MIC")
    assert set(list_transformations(ledger)["facility"]) == {"SEQ"}
    with pytest.raises(NotReady, match="nothing issued matches run MIC-2020-04-1"):
        transform(ledger, here, both, "number.txt", RUN)
    with pytest.raises(NotPermitted, match="may not see the team smith in MIC"):
        transform(ledger, here, both, "note.txt", SMITH)
    with pytest.raises(NotPermitted, match="may not do this in MIC: it takes the role viewer"):
        read_transformation(ledger, here, done[0].id)
    with pytest.raises(NotPermitted, match="may not do this in MIC: it takes the role reviewer"):
        delete_transformation(ledger, here, done[0].id)


@ON_SQLITE
def test_a_facility_changes_the_programs_page(ledger: Engine, tmp_path: Path) -> None:
    here, both = archived_april(ledger, tmp_path)
    one = ExportSelection(Filter.parse({"number": "MIC-2021-00001"}))
    put(here, "microscopy")
    (own,) = transform(ledger, here, both, "invoice.html", one)
    archived = here.runs / "MIC/2020-04/MIC-2020-04-1/data/documents/MIC-2021-00001.html"
    assert own.content == archived.read_bytes()

    text = (ROOT / "docs" / "templates.md").read_text(encoding="utf-8")
    (changed,) = re.findall(r'```jinja\n(\{% extends "builtin.*?)```', text, re.DOTALL)
    put(here, "microscopy", invoice__html=changed)
    (page,) = transform(ledger, here, both, "invoice.html", one, again=True)
    footer = b"<footer>Microscopy, a core facility of the university</footer>\n"
    assert page.content == re.sub(rb"<footer>.*</footer>\n", footer, own.content)


def test_the_demonstrations_templates_render() -> None:
    templates = read_templates(ROOT / "parameters" / "research-computing" / "templates")
    facility = {"code": "RC", "name": "Research Computing", "currency": "USD", "timezone": "UTC"}
    invoice = {
        "number": "RC-1994-00001",
        "invoice_date": "1993-11-05",
        "currency": "USD",
        "dates_covered": {"from": "1993-10-01", "to": "1993-10-31"},
        "project": {"code": "u1", "name": "Flow <solver>, fast"},
        "team": {"name": "Aerodynamics", "administrators": ["a@example.edu"]},
        "facility": {"instructions": "", "contacts": "Office"},
        "summaries": {"by_expense_code": [{"expense_code": "370-1", "total": "1050.00"}]},
        "prepaid": {"drawn": "50.00"},
        "totals": {"total": "1100.00", "due": "1050.00"},
    }
    run = {"facility": facility, "run": {"id": "RC-1993-10-1"}, "invoices": [invoice, invoice]}
    line = 'RC-1994-00001,11/05/1993,370-1,1050.00,USD,"Flow <solver>, fast"\r\n'
    assert render(templates, "ap-upload.csv", [run])[0].decode() == (
        "document,date,account,amount,currency,text\r\n"
        f"{line}{line}TOTAL,2,RC-1993-10-1,2100.00\r\n"
    )
    (letter,) = render(templates, "cover-letter.html", [{"facility": facility, "invoice": invoice}])
    assert b"Flow &lt;solver&gt;, fast" in letter
    assert b"1,100.00" in letter
