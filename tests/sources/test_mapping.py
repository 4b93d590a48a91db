"""The ``sources`` section of a price book, templates, the registry and hashes."""

import hashlib
from importlib.metadata import EntryPoint

import polars as pl
import pytest
from pydantic import ValidationError

from billing_lib.errors import AmbiguousFormat, InvalidPriceBook, UnreadableFile
from billing_lib.pricing.fields import Template
from billing_lib.sources import SourceMapping, file_hash, file_kind, mappings, read_usage, registry
from billing_lib.sources.delimited import read_csv
from billing_lib.sources.registry import Source

FIELDS = pl.DataFrame({"user": ["4", None], "a.b": ["x", "y"], "hours": [1.0, 2.5]})


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("u{user}", ["u4", None]),
        ("core-hour", ["core-hour", "core-hour"]),
        ("{a.b}/{hours}", ["x/1", "y/2.5"]),
        ("{{{a.b}}}", ["{x}", "{y}"]),
        ("{hours}", [1.0, 2.5]),
    ],
)
def test_a_template_makes_one_column_of_the_fields(text, made):
    assert FIELDS.with_columns(made=Template.parse(text).of(FIELDS))["made"].to_list() == made


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (
            {"swff": {"item": "x"}},
            r"sources, swff: 'swff' is no kind of usage file; use swf, sacct",
        ),
        ({"swf": {"itm": "x"}}, r"sources, swf, itm: 'itm' is no field of a usage record; use id"),
        ({"swf": {"item": "{usr}"}}, r"sources, swf, item: swf has no field 'usr'; perhaps 'user'"),
        ({"swf": {"start": "{submit}"}}, r"sources, swf, start: a swf file gives start by itself"),
        ({"sacct": {"item": "{Acount}"}}, r"sacct has no field 'Acount'; perhaps 'Account'"),
        ({"csv": {"item": "{a"}}, r"sources, csv, item: the braces in '{a' do not match"),
        ({"csv": {"item": "{a!r}"}}, r"'{a!r}' must have a field's name alone between braces"),
        ({"csv": {"item": "{a:>5}"}}, r"'{a:>5}' must have a field's name alone"),
        ({"csv": {"item": "{}"}}, r"'{}' must have a field's name alone"),
        ({"csv": {"item": 3}}, r"sources, csv, item: this is not a text; put it in quotes"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused_with_its_place(raw, sentence):
    with pytest.raises(InvalidPriceBook, match=sentence):
        mappings(raw)


def test_fields_of_sacct_and_columns_of_tables_are_accepted():
    raw = {"sacct": {"project": "{account}"}, "excel": {"item": "{any column}"}}
    assert mappings(raw)["excel"] == SourceMapping(item="{any column}")


def test_a_mapping_checks_its_templates_however_it_is_made():
    with pytest.raises(ValidationError, match="braces"):
        SourceMapping(item="{user")


def test_a_hash_is_the_files_sha256(tmp_path):
    (tmp_path / "usage.csv").write_bytes(b"id\n")
    assert file_hash(tmp_path / "usage.csv") == hashlib.sha256(b"id\n").hexdigest()
    with pytest.raises(UnreadableFile, match="no such file"):
        file_hash(tmp_path / "other.csv")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.SWF", "swf"),
        ("a.swf.gz", "swf"),
        ("a.csv", "csv"),
        ("a.tsv.gz", "csv"),
        ("a.xlsx", "excel"),
        ("a.parquet", "parquet"),
        ("a.sacct", "sacct"),
    ],
)
def test_the_kind_is_told_by_the_ending(tmp_path, name, kind):
    (tmp_path / name).write_text("a,b\n")
    assert file_kind(tmp_path / name) == kind


BADGE = Source("badge", read_csv, (".badge",))


def _installed(monkeypatch, *entries):
    monkeypatch.setattr(registry, "entry_points", lambda group: entries)


def test_an_installed_package_can_add_a_kind(monkeypatch, tmp_path):
    value = f"{__name__}:BADGE"
    _installed(monkeypatch, EntryPoint("badge", value, registry.GROUP))
    path = tmp_path / "door.badge"
    path.write_text("id,item,project,date\n1,entry,p1,2020-04-07\n")
    assert file_kind(path) == "badge"
    checked = mappings({"badge": {"user": "{project}"}})
    assert read_usage(path, checked, "UTC")["user"].to_list() == ["p1"]


def test_two_packages_for_one_kind_are_refused(monkeypatch):
    entries = [EntryPoint("badge", value, registry.GROUP) for value in ("one:S", "two:S")]
    _installed(monkeypatch, *entries)
    with pytest.raises(AmbiguousFormat, match="one:S and two:S both read badge files"):
        mappings({})
