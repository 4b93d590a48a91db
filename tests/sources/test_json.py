"""JSON: records in a list, in an answer or on lines, and their numbers as they stand."""

import gzip

import pytest

from billing_lib.errors import UnreadableFile
from billing_lib.sources import mappings, read_file
from billing_lib.sources.json_files import read_json

ONE = (
    '{"id": 57, "tool": {"name": "scope", "tags": ["a", 1]}, '
    '"n": 0.12345678901234567890, "ok": true}'
)
TWO = '{"id": "58", "tool": null, "n": 1e-7, "more": {}}'


@pytest.fixture
def table(tmp_path):
    def read(text, name="u.json"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_json(tmp_path / name)

    return read


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (f"{ONE}\n{TWO}\n", [1, 2]),
        (f"\n{ONE}\n\n{TWO}", [2, 4]),
        (f"[{ONE},\n {TWO}]", [1, 2]),
        (f'{{"count": 2, "next": null, "results": [{ONE}, {TWO}]}}', [1, 2]),
        (f'{{"code": 200, "data": [{{"a": {ONE}}}, {{"b": {TWO}}}, {{}}, null]}}', [1, 2]),
        (gzip.compress(f"{ONE}\n{TWO}\n".encode()), [1, 2]),
    ],
)
def test_records_are_found_in_each_form(table, text, rows):
    read = table(text)
    assert read.rows.to_list() == rows
    assert read.fields.to_dicts() == [
        {
            "id": "57",
            "tool[name]": "scope",
            "tool[tags]": '["a", "1"]',
            "n": "0.12345678901234567890",
            "ok": "true",
            "tool": None,
            "more": None,
        },
        {
            "id": "58",
            "tool[name]": None,
            "tool[tags]": None,
            "n": "0.0000001",
            "ok": None,
            "tool": None,
            "more": "{}",
        },
    ]


def test_one_record_alone_is_a_file_too(table):
    assert table('{"id": 1, "tags": ["x"]}').fields["id"].to_list() == ["1"]
    assert table(ONE + "\n").rows.to_list() == [1]


def test_a_line_that_is_no_record_is_kept(tmp_path):
    text = '{"id": 1, "item": "i", "project": "p", "date": "2026-05-04"}\n{"id": 2, "item\n[3]\n'
    (tmp_path / "u.jsonl").write_text(text)
    usage = read_file(tmp_path / "u.jsonl", {}, "UTC").usage
    assert usage.select("record", "row", "defect", "raw").rows() == [
        ("1", 1, None, None),
        ("u.jsonl:2", 2, "invalid_time", '{"id": 2, "item'),
        ("u.jsonl:3", 3, "invalid_time", "[3]"),
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the file is empty"),
        ("[1, 2]", "it holds no list of records"),
        ("[]", "it holds no list of records"),
        ('{"a": [{"x": 1}], "b": [{"x": 1}]}', "it holds no list of records"),
        ('{"id": 1,\n "n": }', r"u\.json, row 2: it is no JSON"),
        ('"text"', "it holds no list of records"),
    ],
)
def test_a_file_without_records_is_refused(table, text, sentence):
    with pytest.raises(UnreadableFile, match=sentence):
        table(text)


def test_an_answer_that_is_one_page_of_several_says_so(tmp_path):
    record = '{"id": 1, "item": "i", "project": "p", "date": "2026-05-04", "quantity": 1.234}'
    (tmp_path / "u.json").write_text(f'{{"next": "https://x/?page=2", "results": [{record}]}}')
    file = read_file(tmp_path / "u.json", {}, "UTC")
    assert file.notices == ("it is one page of several: 'next' names another, which is not read",)
    # A number of JSON has a decimal point: 1.234 alone is not ambiguous, as it is in a CSV.
    assert str(file.usage["quantity"].item()) == "1.234000000"


def test_a_part_that_no_record_has_is_empty(tmp_path):
    (tmp_path / "u.json").write_text(
        '[{"id": 1, "item": "i", "date": "2026-05-04", "p": {"a": 1}}]'
    )
    checked = mappings({"json": {"project": "{p[a]}", "user": "{p[b]}"}})
    usage = read_file(tmp_path / "u.json", checked, "UTC").usage
    assert usage.select("project", "user").rows() == [("1", None)]
    wrong = mappings({"json": {"project": "{q[a]}"}})
    with pytest.raises(UnreadableFile, match=r"the column 'q\[a\]' is missing"):
        read_file(tmp_path / "u.json", wrong, "UTC")
