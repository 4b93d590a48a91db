"""What a facility's template may do, and what it is refused, by template and line."""

from io import BytesIO
from pathlib import Path

import pytest
from pypdf import PdfReader
from pypdf.generic import StreamObject

from billing_lib.errors import InvalidTemplate, UnreadableFile
from billing_lib.exports.templates import Limits, Templates, read_templates, render

VALUES = {"amounts": ["10.10", "-0.05"], "name": 'a "b",\n<c>', "none": None, "day": "1993-11-08"}
SHORT = Limits(seconds=0.3, length=100_000, memory=1 << 28)

REFUSED = {
    "attributes": ("x\n{{ ''.__class__.__mro__ }}", 2, "__class__"),
    "attributes by format": ("{{ '{0.__class__}'.format(name) }}", 1, "__class__"),
    "attributes by filter": ("{{ amounts | attr('__class__') }}", 1, "__class__"),
    "functions' globals": ("{{ cycler.__init__.__globals__ }}", 1, "__init__"),
    "what it was given changed": ("{{ amounts.append(name) }}", 1, "append"),
    "a file": ("x\n\n{% include '../../../etc/passwd' %}", 3, "there is no template"),
    "a file by its path": ("{% include '/etc/passwd' %}", 1, "there is no template"),
    "a loop without an end": (
        "{% for a in range(99999) %}\n{% for b in range(99999) %}{% endfor %}{% endfor %}",
        2,
        "longer than 0.3 seconds",
    ),
    "too long a text": ("{% for a in range(9999) %}{{ 'x' * 99 }}{% endfor %}", None, "more than"),
    "too much memory": ("{{ 'x' * 3000000000 }}", 1, "more memory"),
    "a number without an end": ("{{ 9 ** (9 ** 9) }}", 1, "a power above 64"),
    "itself": ("{% macro m() %}{{ m() }}{% endmacro %}\n{{ m() }}", 1, "takes itself in"),
    "a mistake": ("x\ny\n{% if %}", 3, "Expected an expression"),
    "a name that is not there": ("x\n{{ amounts.sum }}", 2, "no attribute 'sum'"),
    "what is no text": ("{{ amounts }}", 1, "a list is no text"),
}


def templates(folder: Path, **files: str) -> Templates:
    """A folder with these files, ``__`` in a name standing for a point."""
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return read_templates(folder)


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_names_template_and_line(tmp_path: Path, what: str) -> None:
    text, line, says = REFUSED[what]
    made = templates(tmp_path, try__txt__j2=text)
    with pytest.raises(InvalidTemplate) as refused:
        render(made, "try.txt", [VALUES], limits=SHORT)
    assert says in refused.value.what
    where = f"{tmp_path}/try.txt.j2"
    assert refused.value.where == (where if line is None else f"{where}, line {line}")


def test_a_mistake_in_what_is_taken_in_is_named_there(tmp_path: Path) -> None:
    made = templates(tmp_path, a__txt__j2="{% include 'b.txt.j2' %}", b__txt__j2="x\n{{ nobody }}")
    with pytest.raises(InvalidTemplate, match=r"b\.txt\.j2, line 2: 'nobody' is undefined"):
        render(made, "a.txt", [VALUES])


def test_filters_print_exactly_and_quote(tmp_path: Path) -> None:
    text = (
        "{# for: run, lines: crlf #}\n{{ [name, none, amounts[0]] | csv(';') }}\n"
        "{{ amounts | total }} {{ -(amounts[1] | decimal) }} {{ amounts[1] | money }}\n"
        "{{ day | date }} {{ day | date('%m/%d/%Y') }}\n"
    )
    made = templates(tmp_path, up__csv__j2=text, page__html__j2="{{ name }}")
    assert render(made, "up.csv", [VALUES])[0].decode() == (
        '"a ""b"",\n<c>";;10.10\r\n10.05 0.05 −0.05\r\n8 November 1993 11/08/1993\r\n'
    )
    # Many are made beside each other, and come in the order of what they are made of.
    named = [VALUES | {"name": f"<{number}>"} for number in range(20)]
    pages = [page.decode() for page in render(made, "page.html", named)]
    assert pages == [f"&lt;{number}&gt;" for number in range(20)]


def test_a_page_becomes_the_same_pdf_again_and_asks_for_nothing_elsewhere(tmp_path: Path) -> None:
    size = 'width="9" height="9"'
    mark = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><rect {size} fill="red"/></svg>'
    page = (
        "<html lang=en><title>Letter</title>\n<h1>To {{ day | date }}</h1>\n<img alt='' src='%s'>"
    )
    (tmp_path / "mark.svg").write_text(mark)
    made = templates(tmp_path, letter__html__j2=page % "mark.svg")
    (first,) = render(made, "letter.html", [VALUES], pdf=True)
    (second,) = render(made, "letter.html", [VALUES], pdf=True)
    assert first == second
    assert "To 8 November 1993" in PdfReader(BytesIO(first)).pages[0].extract_text()
    read = PdfReader(BytesIO(first))
    parts = [read.get_object(number) for number in range(1, int(read.trailer["/Size"]))]
    drawn = [part.get_data() for part in parts if isinstance(part, StreamObject)]
    assert any(b"1 0 0 rg" in part for part in drawn)  # the red of the picture beside it

    (tmp_path.parent / "secret.svg").write_text(mark)
    for elsewhere in ("https://example.edu/x.png", "../secret.svg", "file:///etc/passwd", "no.png"):
        made = templates(tmp_path, letter__html__j2=page % elsewhere)
        with pytest.raises(InvalidTemplate, match=r"letter\.html\.j2, line 3: the page asks for"):
            render(made, "letter.html", [VALUES], pdf=True)


def test_the_process_knows_nothing_of_the_office(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from billing_lib.exports import templates as exports_templates  # noqa: PLC0415

    worker = tmp_path / "worker.py"
    worker.write_text(
        "import base64, json, os, sys\n"
        "said = json.dumps([sorted(os.environ), 'billing_lib' in sys.modules]).encode()\n"
        "json.dump({'results': [base64.b64encode(said).decode()]}, sys.stdout)\n"
    )
    monkeypatch.setenv("BILLING_DATABASE", "postgresql://ann:secret@host/name")
    monkeypatch.setattr(exports_templates, "WORKER", worker)
    made = templates(tmp_path, a__txt__j2="")
    assert b"BILLING" not in render(made, "a.txt", [VALUES])[0]


def test_a_folder_of_templates_is_read_and_hashed(tmp_path: Path) -> None:
    made = templates(tmp_path, a__txt__j2="a", b__txt__j2="{% include 'a.txt.j2' %}")
    once = {name: made.sha256(name) for name in ("a.txt", "b.txt")}
    ca978 = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"  # sha256 of "a"
    assert once["a.txt"] == ca978
    changed = templates(tmp_path, a__txt__j2="A")
    assert changed.sha256("b.txt") != once["b.txt"]  # what it takes in is part of it
    assert [it.name for it in changed.all()] == ["a.txt", "b.txt", "invoice.html"]

    with pytest.raises(
        InvalidTemplate, match=r"there is no template 'c\.txt'; it is one of a\.txt"
    ):
        made.require("c.txt")
    with pytest.raises(InvalidTemplate, match=r"line 1: its first line says 'for: week'"):
        templates(tmp_path, a__txt__j2="{# for: week #}").require("a.txt")
    with pytest.raises(InvalidTemplate, match="it makes txt, and a PDF is made of HTML"):
        made.require_page("b.txt")
    (tmp_path / "a.txt.j2").write_bytes(b"x\n\xff")
    with pytest.raises(UnreadableFile, match=r"a\.txt\.j2, line 2: the text is not UTF-8"):
        read_templates(tmp_path)
    (tmp_path / "a.txt.j2").unlink()
    (tmp_path / "a.txt.j2").symlink_to("/etc/passwd")
    with pytest.raises(UnreadableFile, match="outside of the folder"):
        read_templates(tmp_path)
