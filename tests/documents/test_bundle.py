"""The documents of many invoices: the same however they are made, none half written."""

from pathlib import Path

import pytest
from sample_invoice import draft, invoice

from billing_lib.documents import registry, render_html, write_document, write_documents_of
from billing_lib.errors import NotReady, UnwritableFile
from billing_lib.workflow.steps import Stopped


def invoices(count: int) -> dict[str, dict]:
    numbers = [f"RC-1993-{at:05d}" for at in range(1, count + 1)]
    return {number: invoice(number=number, notes=[f"For {number}."]) for number in numbers}


def test_one_file_per_invoice_in_their_order_a_draft_by_its_code(tmp_path: Path) -> None:
    wanted = invoices(2) | {"RC-1993-10-1/u4": draft()}
    written = write_documents_of(wanted, "html", tmp_path / "new" / "folder")
    assert [path.name for path in written] == [
        "RC-1993-00001.html",
        "RC-1993-00002.html",
        "RC-1993-10-1_u4.html",
    ]
    assert written[1].read_text("utf-8") == render_html(wanted["RC-1993-00002"])
    assert sorted((tmp_path / "new" / "folder").iterdir()) == sorted(written)


def test_what_is_there_already_is_left_as_it_is_and_what_differs_is_written(tmp_path: Path) -> None:
    first, second = write_documents_of(invoices(2), "pdf", tmp_path)
    before = first.stat().st_mtime_ns
    assert write_documents_of(invoices(2), "pdf", tmp_path) == []
    content = second.read_bytes()
    second.write_bytes(content[:-1])
    assert write_documents_of(invoices(2), "pdf", tmp_path) == [second]
    assert second.read_bytes() == content
    assert first.stat().st_mtime_ns == before


MANY = registry.FEW // 20
"""So many documents are made by several processes."""


def test_many_are_made_by_several_processes_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = invoices(MANY)
    monkeypatch.setattr(registry, "_AT_ONCE", 500)
    apart = write_documents_of(many, "html", tmp_path / "apart")
    monkeypatch.setattr(registry, "ProcessPoolExecutor", None)  # none is started any more
    with pytest.raises(TypeError):
        write_documents_of(many, "html", tmp_path / "none")
    monkeypatch.setattr(registry, "FEW", 10**6)
    here = write_documents_of(many, "html", tmp_path / "here")
    assert [path.name for path in apart] == [path.name for path in here]
    assert [path.read_bytes() for path in apart] == [path.read_bytes() for path in here]


@pytest.mark.parametrize("count", [5, MANY])
def test_who_stops_it_has_what_was_written_until_then(tmp_path: Path, count: int) -> None:
    told: list[tuple[int, int, str]] = []

    def step(done: int, total: int, what: str) -> None:
        told.append((done, total, what))
        if done == 3:
            raise Stopped("stopped")

    wanted = invoices(count)
    with pytest.raises(Stopped):
        write_documents_of(wanted, "html", tmp_path, step)
    first = list(wanted)[:3]
    assert told[0] == (0, count, "writing RC-1993-00001.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{it}.html" for it in first]
    for number in first:
        text = (tmp_path / f"{number}.html").read_text("utf-8")
        assert text == render_html(wanted[number])


@pytest.mark.parametrize("count", [1, registry.FEW])
def test_a_draft_among_what_programs_read_is_refused(tmp_path: Path, count: int) -> None:
    # The refusal is the same whether it comes from this process or from another.
    with pytest.raises(NotReady, match="RC-1993-10-1/u4 is a draft"):
        write_documents_of({"RC-1993-10-1/u4": draft()} | invoices(count), "xml", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_two_drafts_never_share_a_file(tmp_path: Path) -> None:
    drafts = {code: draft() | {"draft": code} for code in ("RC-1/a_b", "RC-1/a/b")}
    with pytest.raises(UnwritableFile, match=r"RC-1_a_b\.pdf: two drafts would be in this one"):
        write_documents_of(drafts, "pdf", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_one_document_is_written_where_somebody_says(tmp_path: Path) -> None:
    path = tmp_path / "draft.pdf"
    assert write_document(draft(), "pdf", path)
    assert not write_document(draft(), "pdf", path)
    assert path.read_bytes().startswith(b"%PDF-")


def test_what_cannot_be_written_is_said_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken.pdf").mkdir()
    with pytest.raises(UnwritableFile, match=r"taken\.pdf: it cannot be written \(Is a directory"):
        write_document(draft(), "pdf", tmp_path / "taken.pdf")
    with pytest.raises(UnwritableFile, match=r"nowhere/draft\.pdf: it .* \(No such file or dir"):
        write_document(draft(), "pdf", tmp_path / "nowhere" / "draft.pdf")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UnwritableFile, match="it cannot be written"):
        write_documents_of(invoices(1), "html", tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken.pdf"]
