"""What a mapping says of rows: which count, how many records each makes, and under which names."""

from decimal import Decimal

import polars as pl
import pytest

from billing_lib.errors import AmbiguousFormat, InvalidPriceBook, UnreadableFile
from billing_lib.sources import mappings, read_file, read_usage

HEAD = "id,item,project,date,quantity,state\n"
CSV = HEAD + (
    "1,slide,p,2026-05-04,1,COMPLETED\n"
    "2,slide,p,2026-05-04,1,CANCELLED by 7\n"
    "3,slide,p,2026-05-04,1,\n"
    "4,slide,p,2026-05-04,1,FAILED\n"
)
SACCT = (
    "JobID|User|Account|State|Start|End|AllocTRES\n"
    "1|ann|chem|COMPLETED|2026-05-04T09:00:00|2026-05-04T11:00:00|cpu=16,mem=64G,node=1\n"
    "2|bob|phys|TIMEOUT|2026-05-04T09:00:00|2026-05-04T11:00:00|"
    "billing=8,cpu=8,gres/gpu:a100=2,gres/gpu=2,mem=4000M\n"
    "3|bob|phys|FAILED|2026-05-04T09:00:00|2026-05-04T11:00:00|cpu=1,gres/gpu=0,mem=1536K\n"
)
TWO = {
    "sacct": {
        "project": "{Account}",
        "items": [
            {"item": "cpu", "units": "{AllocTRES[cpu]}"},
            {
                "item": "gpu",
                "units": "{alloctres[gres/gpu]}",
                "where": {"AllocTRES[gres/gpu]": {"not": ["", "0"]}},
            },
        ],
    }
}


@pytest.fixture
def read(tmp_path):
    """Write a text as a usage file of this name; the records and the notices on it."""

    def made(name, text, sources, **keys):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        file = read_file(path, mappings(sources), "UTC", **keys)
        return file.usage, file.notices

    return made


@pytest.mark.parametrize(
    ("where", "kept", "notices"),
    [
        ({"state": ["COMPLETED", "FAILED"]}, ["1", "4"], ("2 rows left out by where (state)",)),
        ({"state": "COMPLETED"}, ["1"], ("3 rows left out by where (state)",)),
        ({"state": {"not": ["CANCELLED*"]}}, ["1", "3", "4"], ("1 row left out by where (state)",)),
        ({"state": [""]}, ["3"], ("3 rows left out by where (state)",)),
        ({"state": {"not": ""}}, ["1", "2", "4"], ("1 row left out by where (state)",)),
        ({"state": ["*L*D*"]}, ["1", "2", "4"], ("1 row left out by where (state)",)),
        ({"state": ["*"]}, ["1", "2", "3", "4"], ()),
        (
            {"state": {"not": ["FAILED"]}, "id": ["1", "4"]},
            ["1"],
            ("1 row left out by where (state)", "2 rows left out by where (id)"),
        ),
        ({"state": None}, ["1", "2", "3", "4"], ()),
        ({"state": ["none"]}, [], ("4 rows left out by where (state)",)),
    ],
)
def test_rows_that_do_not_count_are_left_out_and_counted(read, where, kept, notices):
    usage, said = read("u.csv", CSV, {"csv": {"where": where}})
    assert usage["record"].to_list() == kept
    assert said == notices


def test_a_malformed_row_is_never_left_out_and_keeps_its_place(read):
    text = HEAD + "1,slide,p,2026-05-04,1,NO\n2,slide,p\n3,slide,p,2026-05-04,x,YES\n"
    usage, said = read("u.csv", text, {"csv": {"where": {"state": "YES"}}})
    assert usage.select("record", "row", "defect", "raw").rows() == [
        ("u.csv:3", 3, "invalid_time", "2,slide,p"),
        ("3", 4, "invalid_quantity", "3,slide,p,2026-05-04,x,YES"),
    ]
    assert said == ("1 row left out by where (state)",)


def test_filters_see_numbers_and_words_of_typed_columns_as_text(tmp_path):
    frame = pl.DataFrame(
        {"id": ["a", "b"], "item": "slide", "project": "p", "n": [0.0, 1.5], "ok": [True, False]}
    )
    frame.with_columns(date=pl.date(2026, 5, 4), quantity=1).write_parquet(tmp_path / "u.parquet")
    for where, kept in (({"n": {"not": "0"}}, ["b"]), ({"ok": "true"}, ["a"])):
        checked = mappings({"parquet": {"where": where}})
        assert read_usage(tmp_path / "u.parquet", checked, "UTC")["record"].to_list() == kept


def test_a_row_makes_a_record_for_each_of_its_items(read):
    usage, said = read("jobs.sacct", SACCT, TWO)
    assert usage.select("record", "item", "project", "user", "units", "row").rows() == [
        ("1", "cpu", "chem", "ann", Decimal(16), 2),
        ("2", "cpu", "phys", "bob", Decimal(8), 3),
        ("2:gpu", "gpu", "phys", "bob", Decimal(2), 3),
        ("3", "cpu", "phys", "bob", Decimal(1), 4),
    ]
    assert usage["occurrence"].to_list() == [1, 1, 1, 1]
    assert usage["defect"].null_count() == 4
    assert said == ()


def test_rows_that_make_no_record_are_counted(read):
    sources = {"sacct": {"project": "{Account}", "items": [TWO["sacct"]["items"][1]]}}
    usage, said = read("jobs.sacct", SACCT, sources)
    assert usage["record"].to_list() == ["2"]  # the first of its items, so it keeps the job's id
    both = {"sacct": {"project": "{Account}", "items": [TWO["sacct"]["items"][1]] * 2}}
    usage, said = read("jobs.sacct", SACCT, both)
    assert usage["record"].to_list() == ["2", "2:gpu"]
    assert said == ("2 rows left out by the where of each item",)


def test_a_malformed_row_makes_one_record_and_ids_that_stand_twice_are_duplicates(read):
    text = SACCT + "4|bob\n"
    assert read("jobs.sacct", text, TWO)[0]["record"].to_list()[-1:] == ["jobs.sacct:5"]
    same = {"sacct": {**TWO["sacct"], "id": "{JobID}"}}
    same["sacct"]["items"] = [{**entry, "id": "{JobID}"} for entry in TWO["sacct"]["items"]]
    usage, _ = read("jobs.sacct", SACCT, same)
    assert usage.select("record", "occurrence").rows() == [("1", 1), ("2", 1), ("2", 2), ("3", 1)]


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("AllocTRES[cpu]", ["16", "8", "1"]),
        ("AllocTRES[gres/gpu]", [None, "2", "0"]),
        ("AllocTRES[gres/gpu:a100]", [None, "2", None]),
        ("AllocTRES[billing]", [None, "8", None]),
        ("AllocTRES[gpu]", [None, None, None]),  # not the end of gres/gpu
        ("AllocTRES[mem]", ["64", "3.90625", "0.001464844"]),  # 4000/1024; 1536/1024² rounded
    ],
)
def test_parts_of_a_field(read, part, values):
    sources = {"sacct": {"item": "x", "project": "p", "description": f"{{{part}}}"}}
    assert read("jobs.sacct", SACCT, sources)[0]["description"].to_list() == values


@pytest.mark.parametrize(
    ("cell", "part", "value"),
    [
        ('{"owner": {"name": "ann"}}', "t[owner][name]", "ann"),
        ('{"n": 1.5}', "t[n]", "1.5"),
        ('{"it\'s": "x"}', "t[it's]", "x"),
        ('{"a": null}', "t[a]", None),
        ('{"a": ', "t[a]", None),
        ("mem=2.5T", "t[mem]", "2560"),
        ("mem=1P", "t[mem]", "1048576"),
        ("mem=7", "t[mem]", "7"),
        ("mem=4G4", "t[mem]", "4G4"),
        ("a = 1, b=2", "t[b]", "2"),
        ("plain", "t[a]", None),
        ("2026-05-04T10:00:00Z", "t[:10]", "2026-05-04"),
        ("short", "t[:10]", "short"),
        (None, "t[a]", None),
    ],
)
def test_parts_of_a_cell(tmp_path, cell, part, value):
    frame = pl.DataFrame({"t": pl.Series([cell], dtype=pl.String), "id": ["1"]})
    frame = frame.with_columns(item=pl.lit("i"), project=pl.lit("p"), date=pl.date(2026, 5, 4))
    frame.write_parquet(tmp_path / "u.parquet")
    checked = mappings({"parquet": {"description": f"{{{part}}}"}})
    read = read_usage(tmp_path / "u.parquet", checked, "UTC")
    assert read["description"].to_list() == [value]


def test_a_column_of_the_whole_name_goes_before_a_part(read):
    text = "id,item,project,date,t[a],t\n1,i,p,2026-05-04,whole,a=part\n"
    usage, _ = read("u.csv", text, {"csv": {"description": "{t[a]}"}})
    assert usage["description"].to_list() == ["whole"]


def test_names_become_codes_and_unknown_names_stay(read):
    lookup = {"item": {"slide": "s-1"}, "project": {"q": "p9"}}
    usage, _ = read("u.csv", CSV.replace("4,slide", "4,glass"), {"csv": {"lookup": lookup}})
    assert usage["item"].to_list() == ["s-1", "s-1", "s-1", "glass"]
    assert usage["project"].to_list() == ["p"] * 4


def test_null_leaves_a_field_empty_and_an_empty_id_is_the_place(read):
    usage, _ = read("u.csv", CSV, {"csv": {"id": None, "quantity": None}})
    assert usage["record"].to_list() == ["u.csv:2", "u.csv:3", "u.csv:4", "u.csv:5"]
    assert usage["quantity"].null_count() == 4


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ({"csv": {"where": ["a"]}}, r"sources, csv, where: this has the wrong shape"),
        ({"csv": {"where": {"a": {"no": "x"}}}}, r"sources, csv, where, a: a filter is a list"),
        ({"csv": {"where": {"a": [1]}}}, r"csv, where, a: the values of a filter are texts"),
        ({"csv": {"where": {"a": []}}}, r"csv, where, a: a filter is a list of values"),
        ({"sacct": {"where": {"Stat": "x"}}}, r"sources, sacct, where: sacct has no field 'Stat'"),
        ({"sacct": {"units": "{AlocTRES[cpu]}"}}, r"sacct has no field 'AlocTRES\[cpu\]'"),
        (
            {"csv": {"items": [{"item": "a"}, {"itm": "b"}]}},
            r"sources, csv, items\[2\], itm: 'itm' is no field of a usage record",
        ),
        (
            {"swf": {"items": [{"start": "{submit}"}]}},
            r"sources, swf, items\[1\], start: a swf file gives start by itself",
        ),
        ({"csv": {"lookup": {"start": {}}}}, r"csv, lookup: a lookup is of item, project, user"),
        ({"csv": {"cost": "{a}", "quantity": "{b}"}}, r"csv, cost: a record has either a cost"),
        ({"csv": {"header": ["a"]}}, r"sources, csv, header: 'csv' is a kind of file already"),
        ({"mine": {"kind": "csv"}}, r"sources, mine, header: .* its key 'header' is missing"),
        ({"mine": {"kind": "cvs", "header": ["a"]}}, r"mine, kind: 'cvs' is no kind of usage file"),
        ({"neno": {}}, r"'neno' is no kind of usage file; use .*, or a preset: nemo, "),
        ({"nemo": {"itm": "x"}}, r"sources, nemo, itm: 'itm' is no field"),
    ],
)
def test_mistakes_of_a_mapping_are_refused_with_their_place(raw, sentence):
    with pytest.raises(InvalidPriceBook, match=sentence):
        mappings(raw)


@pytest.mark.parametrize(
    ("mapping", "sentence"),
    [
        ({"where": {"stat": "x"}}, r"'stat' is missing, which 'where' names; .*'state' is meant"),
        ({"description": "{t[a]}"}, r"the column 't\[a\]' is missing, from which description"),
    ],
)
def test_a_column_that_is_not_there_is_named(read, mapping, sentence):
    with pytest.raises(UnreadableFile, match=sentence):
        read("u.csv", CSV, {"csv": mapping})


OWN = {
    "csv": {},
    "mine": {"kind": ["csv", "excel"], "header": ["state"], "item": "own"},
}


def test_a_mapping_is_found_by_the_header_of_a_file(read):
    assert read("u.csv", CSV, OWN)[0]["item"].unique().to_list() == ["own"]
    other = CSV.replace("state", "status")
    assert read("u.csv", other, OWN)[0]["item"].unique().to_list() == ["slide"]
    assert read("u.csv", CSV, OWN, kind="csv")[0]["item"].unique().to_list() == ["slide"]
    assert read("u.txt", CSV, OWN, kind="mine")[0]["item"].unique().to_list() == ["own"]


def test_two_mappings_for_one_file_are_refused_and_so_is_a_kind_that_is_none(read):
    twice = OWN | {"also": {"kind": "csv", "header": ["id"]}}
    with pytest.raises(AmbiguousFormat, match=r"u\.csv: it has the header of mine and of also"):
        read("u.csv", CSV, twice)
    with pytest.raises(UnreadableFile, match="'cvs' is no kind of usage file and no mapping"):
        read("u.csv", CSV, OWN, kind="cvs")


def test_a_file_that_looks_like_a_preset_says_so(read):
    text = "type,name,item_id,project,username,start,end,quantity\ntool_usage,A,1,p,ann,x,y,1\n"
    with pytest.raises(UnreadableFile, match=r"sources, csv \(it looks like the preset 'nemo'\)"):
        read("u.csv", text, {})


def test_a_presets_keys_give_way_to_the_price_books(read):
    text = (
        "type,name,item_id,project,username,start,end,quantity,waived\n"
        "tool_usage,A,1,p,ann,2026-05-04T09:00:00Z,2026-05-04T10:00:00Z,60.00,True\n"
        "tool_usage,A,2,q,ann,2026-05-04T09:00:00Z,2026-05-04T10:00:00Z,60.00,False\n"
    )
    usage, said = read("n.csv", text, {"nemo": {"where": {"project": "p"}}})
    assert usage.height == 0
    assert said == ("1 row left out by where (waived)", "1 row left out by where (project)")
    assert read("n.csv", text, {"nemo": {"where": {"waived": None}}})[0].height == 2
    old = text.replace(",waived", "").replace(",True", "").replace(",False", "")
    with pytest.raises(UnreadableFile, match="'waived' is missing, which 'where' names"):
        read("n.csv", old, {"nemo": {}})


NEMO = (
    "type,name,item_id,project,username,start,end,quantity,waived\n"
    "tool_usage,Tool A,1,labA,ann,2020-04-06T13:00:00-04:00,2020-04-06T14:00:00-04:00,60.00,False\n"
    "tool_usage,Tool A,2,labA,ann,2020-04-07T13:00:00-04:00,2020-04-07T14:30:00-04:00,90.00,True\n"
)


@pytest.mark.parametrize(
    "mapping",
    [
        {"nemo": None},
        {
            "csv": {
                **{"id": "{type}-{item_id}", "item": "{name}", "user": "{username}"},
                **{"measure": "minutes", "where": {"waived": {"not": ["True"]}}},
            }
        },
    ],
)
def test_minutes_are_not_billed_as_hours_and_a_waived_session_not_at_all(read, mapping):
    """The shared case of NEMO's minutes, by the preset and by a mapping of one's own."""
    usage, said = read("nemo.csv", NEMO, mapping)
    assert usage.select("record", "item", "quantity", "defect").rows() == [
        ("tool_usage-1", "Tool A", None, None)
    ]
    assert usage.select((pl.col("end") - pl.col("start")).dt.total_hours()).item() == 1
    assert said == ("1 row left out by where (waived)",)
