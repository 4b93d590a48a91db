"""The Standard Workload Format: a real log, and every way in which a line can be wrong."""

import gzip
from pathlib import Path

import polars as pl
import pytest

from billing_lib.errors import UnreadableFile
from billing_lib.pricing.fields import USAGE
from billing_lib.sources import file_kind, mappings, read_usage

NASA = Path(__file__).parents[2] / "data" / "NASA-iPSC-1993-3.1-cln.swf.gz"
SWF = {
    "swf": {
        "item": "core-hour",
        "project": "u{user}",
        "user": "u{user}",
        "units": "{processors}",
        "description": "application {application}",
    }
}
HEADER = "; Version: 2.2\n; UnixStartTime: 1000000000\n"  # 2001-09-09 01:46:40Z


def job(number=1, submit=0, wait=-1, run=60, processors=4, user=7):
    """One line of 18 fields, padded as the archive pads them."""
    return (
        f"{number:>5} {submit:>8}     {wait} {run:>6} {processors:>4}     -1    -1   -1     -1"
        f"    -1 -1 {user:>3}   1   2  -1 -1 -1 -1\n"
    )


@pytest.fixture(scope="module")
def nasa() -> pl.DataFrame:
    return read_usage(NASA, mappings(SWF), "America/Los_Angeles")


def test_every_job_of_the_real_log_is_a_usage_record_without_defect(nasa):
    assert nasa.schema == USAGE
    assert nasa.height == 18_239
    assert nasa["defect"].null_count() == 18_239
    assert nasa.filter(pl.col("start") == pl.col("end")).height == 173
    assert nasa["project"].n_unique() == 69


def test_the_real_log_begins_as_its_header_says(nasa):
    """; StartTime: Fri Oct 01 00:00:03 PDT 1993, on the first line that is no comment, 33."""
    local = nasa["start"].dt.convert_time_zone("America/Los_Angeles")
    assert str(local[0]) == "1993-10-01 00:00:03-07:00"
    assert nasa["row"][0] == 33
    assert nasa["row"][-1] == 33 + 18_239 - 1


def test_the_real_log_has_the_core_seconds_that_a_plain_reading_of_its_lines_gives(nasa):
    with gzip.open(NASA, "rt") as log:
        jobs = [line.split() for line in log if not line.startswith(";")]
    expected = sum(int(fields[3]) * int(fields[4]) for fields in jobs)
    seconds = (nasa["end"] - nasa["start"]).dt.total_seconds()
    assert (seconds * nasa["units"].cast(pl.Int64)).sum() == expected
    assert nasa["record"].to_list() == [fields[0] for fields in jobs]


def test_a_job_starts_after_its_wait_and_an_unknown_wait_counts_nothing(read_text):
    usage = read_text("log.swf", HEADER + job(1, wait=30) + job(2, wait=-1), SWF)
    assert usage["start"].dt.strftime("%H:%M:%S").to_list() == ["01:47:10", "01:46:40"]
    assert usage["end"].dt.strftime("%H:%M:%S").to_list() == ["01:48:10", "01:47:40"]


def test_a_negative_wait_counts_nothing(read_text):
    usage = read_text("log.swf", HEADER + job(wait=-1) + job(wait=-3), SWF)
    assert usage["defect"].to_list() == [None, None]
    assert usage["start"][0] == usage["start"][1]


def test_times_may_have_fractions(read_text):
    usage = read_text("log.swf", HEADER + job(submit="0.5", run="10.25"), SWF)
    assert usage["defect"][0] is None
    assert (usage["end"] - usage["start"]).dt.total_milliseconds()[0] == 10_250
    assert usage["start"].dt.millisecond()[0] == 500


def test_a_gzipped_log_reads_as_the_plain_one_whatever_its_line_ends(read_text):
    text = HEADER + job(1) + job(2)
    plain = read_text("log.swf", text, SWF)
    packed = read_text("log.swf.gz", gzip.compress(text.encode()), SWF)
    windows = read_text("dos.swf", text.replace("\n", "\r\n"), SWF)
    assert plain.drop("file").equals(packed.drop("file"))
    assert plain.drop("file").equals(windows.drop("file"))


def test_comments_and_blank_lines_between_jobs_are_no_records_but_count_as_lines(read_text):
    text = HEADER.encode() + job(1).encode() + b"; caf\xe9 closed\n\n" + job(2).encode()
    usage = read_text("log.swf", text, SWF)
    assert usage.select("record", "row").rows() == [("1", 3), ("2", 6)]


def test_zero_length_and_zero_processors_are_no_defects(read_text):
    usage = read_text("log.swf", HEADER + job(1, run=0) + job(2, processors=0), SWF)
    assert usage["defect"].to_list() == [None, None]


def test_an_unknown_user_names_no_project(read_text):
    usage = read_text("log.swf", HEADER + job(user=-1), SWF)
    assert usage.select("project", "user", "defect").row(0) == (None, None, None)


@pytest.mark.parametrize(
    ("line", "defect", "detail"),
    [
        (job(run=-1), "invalid_time", "field 'run': it is unknown (-1)"),
        (job(run=-5), "invalid_time", "field 'run': '-5' is negative"),
        (job(submit=-1), "invalid_time", "field 'submit': it is unknown (-1)"),
        (job(wait="long"), "invalid_time", "field 'wait': 'long' stands where a number"),
        (job(submit="soon"), "invalid_time", "field 'submit': 'soon' stands where a number"),
        (job(user="ann"), "invalid_time", "field 'user': 'ann' stands where a number"),
        (job(run="9" * 25), "invalid_time", "field 'run': '9999999999999999999999999'"),
        (job(processors=-1), "invalid_quantity", "field 'processors': it is unknown (-1)"),
        (job(processors="4x"), "invalid_quantity", "field 'processors': '4x' stands where"),
        ("1 2 3\n", "invalid_time", "it has 3 fields instead of 18"),
        (job().rstrip() + " 9\n", "invalid_time", "it has 19 fields instead of 18"),
    ],
)
def test_a_line_that_cannot_be_billed_stays_with_its_reason_and_as_it_stood(
    read_text, line, defect, detail
):
    usage = read_text("log.swf", HEADER + job(1) + line + job(3), SWF)
    assert usage["defect"].to_list() == [None, defect, None]
    assert "log.swf, row 4" in usage["detail"][1]
    assert detail in usage["detail"][1]
    assert usage["raw"].to_list() == [None, line.rstrip("\n"), None]


def test_an_unknown_time_comes_before_an_unknown_count(read_text):
    usage = read_text("log.swf", HEADER + job(run=-1, processors=-1), SWF)
    assert usage["defect"].to_list() == ["invalid_time"]


def test_a_malformed_line_is_identified_by_its_place(read_text):
    usage = read_text("log.swf", HEADER + "1 2 3\n" + job(1), SWF)
    assert usage.select("record", "occurrence").rows() == [("log.swf:3", 1), ("1", 1)]


def test_the_rows_of_one_job_number_are_counted(read_text):
    usage = read_text("log.swf", HEADER + job(1) + job(2) + job(1) + job(1), SWF)
    assert usage["occurrence"].to_list() == [1, 1, 2, 3]


def test_a_log_without_its_start_time_is_refused(read_text):
    with pytest.raises(UnreadableFile, match=r"log\.swf: .*UnixStartTime.*; add the line"):
        read_text("log.swf", "; Version: 2.2\n" + job(), SWF)


def test_a_log_without_a_mapping_is_refused_with_what_to_add(read_text):
    with pytest.raises(UnreadableFile, match=r"log\.swf: .*item.*map item in the price book"):
        read_text("log.swf", HEADER + job(), {})


def test_a_log_without_jobs_is_refused(read_text):
    with pytest.raises(UnreadableFile, match=r"log\.swf: it holds no record, only a header"):
        read_text("log.swf", HEADER, SWF)


def test_a_cut_off_gzip_is_refused(read_text):
    whole = gzip.compress((HEADER + job() * 1000).encode())
    with pytest.raises(UnreadableFile, match=r"log\.swf\.gz: .*broken or cut off"):
        read_text("log.swf.gz", whole[: len(whole) // 2], SWF)


def test_the_kind_is_told_by_the_name():
    assert file_kind(NASA) == "swf"
