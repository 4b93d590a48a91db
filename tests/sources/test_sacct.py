"""Slurm's accounting: jobs and steps, unknown times, and the hour that comes twice."""

import pytest

from billing_lib.errors import UnreadableFile

SACCT = {"sacct": {"item": "core-hour", "project": "{Account}", "units": "{AllocCPUS}"}}
HEADER = "JobID|User|Account|Start|End|ElapsedRaw|AllocCPUS|JobName\n"
JOB = "4711|ann|chem|2020-04-06T17:00:00|2020-04-06T20:00:00|10800|32|run\n"
STEPS = (
    "4711.batch||chem|2020-04-06T17:00:00|2020-04-06T20:00:00|10800|32|batch\n"
    "4711.0||chem|2020-04-06T17:00:00|2020-04-06T19:00:00|7200|32|mpi\n"
)


def test_a_job_is_one_record_and_its_steps_are_none(read_text):
    usage = read_text("april.sacct", HEADER + JOB + STEPS + JOB.replace("4711", "4712_3"), SACCT)
    assert usage["record"].to_list() == ["4711", "4712_3"]
    assert usage["row"].to_list() == [2, 5]
    assert usage.select("project", "user", "item").row(0) == ("chem", "ann", "core-hour")
    assert str(usage["start"][0]) == "2020-04-06 21:00:00+00:00"
    assert str(usage["end"][0]) == "2020-04-07 00:00:00+00:00"
    assert usage["units"].to_list() == [32, 32]


def test_a_file_of_steps_alone_is_refused(read_text):
    with pytest.raises(UnreadableFile, match=r"steps\.sacct: .*job steps only.*; export the jobs"):
        read_text("steps.sacct", HEADER + STEPS, SACCT)


@pytest.mark.parametrize("name", ["april.txt", "april.csv", "april", "april.sacct"])
def test_an_export_is_known_by_its_header(read_text, name):
    assert read_text(name, HEADER + JOB, SACCT)["record"].to_list() == ["4711"]


def test_fields_are_found_whatever_their_case_and_with_a_bar_at_the_end(read_text):
    text = "".join(line + "|\n" for line in (HEADER + JOB).splitlines())
    lower = {"sacct": {"item": "core-hour", "project": "{account}", "units": "{alloccpus}"}}
    usage = read_text("april.sacct", text, lower)
    assert usage.select("project", "defect").rows() == [("chem", None)]


@pytest.mark.parametrize(
    ("line", "defect", "detail"),
    [
        (JOB.replace("2020-04-06T20:00:00", "Unknown"), "invalid_time", "column 'End': 'Unknown'"),
        (JOB.replace("2020-04-06T17:00:00", "None"), "invalid_time", "column 'Start': 'None'"),
        (JOB.replace("|32|", "||"), "invalid_quantity", "column 'AllocCPUS': nothing stands"),
        (JOB.replace("run", "a|b"), "invalid_time", "it has 9 fields instead of 8"),
        ("4711|ann\n", "invalid_time", "it has 2 fields instead of 8"),
    ],
)
def test_a_job_that_cannot_be_billed_stays_with_its_reason(read_text, line, defect, detail):
    usage = read_text("april.sacct", HEADER + line, SACCT)
    assert usage["defect"].to_list() == [defect]
    assert usage["detail"][0].startswith("april.sacct, row 2")
    assert detail in usage["detail"][0]
    assert usage["raw"][0] == line.rstrip("\n")


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("1586206800", "1586217600"),  # SLURM_TIME_FORMAT=%s
        ("2020-04-06T17:00:00-0400", "2020-04-06T20:00:00-0400"),  # …=%FT%T%z
        ("2020-04-06T21:00:00Z", "2020-04-07T00:00:00Z"),
    ],
)
def test_times_in_other_formats_are_the_same_instants(read_text, start, end):
    line = JOB.replace("2020-04-06T17:00:00", start).replace("2020-04-06T20:00:00", end)
    usage = read_text("april.sacct", HEADER + line, SACCT)
    assert str(usage["start"][0]) == "2020-04-06 21:00:00+00:00"
    assert str(usage["end"][0]) == "2020-04-07 00:00:00+00:00"


@pytest.mark.parametrize(
    ("start", "end", "elapsed", "hours"),
    [
        ("01:10:00", "01:30:00", "00:20:00", ("05:10", "05:30")),
        ("01:10:00", "01:30:00", "01:20:00", ("05:10", "06:30")),
        ("01:30:00", "01:10:00", "00:40:00", ("05:30", "06:10")),
        ("01:30:00", "03:00:00", "02:30:00", ("05:30", "08:00")),
        ("01:30:00", "03:00:00", "01:30:00", ("06:30", "08:00")),
        ("00:30:00", "01:30:00", "02:00:00", ("04:30", "06:30")),
    ],
)
def test_elapsed_settles_the_hour_that_comes_twice(read_text, start, end, elapsed, hours):
    """2020-11-01 in New York: 01:00–02:00 first as 05:00–06:00Z, then as 06:00–07:00Z."""
    header = "JobID|Account|Start|End|Elapsed|AllocCPUS\n"
    line = f"1|chem|2020-11-01T{start}|2020-11-01T{end}|{elapsed}|1\n"
    usage = read_text("november.sacct", header + line, SACCT)
    assert usage["defect"].to_list() == [None]
    shown = (usage["start"].dt.strftime("%H:%M")[0], usage["end"].dt.strftime("%H:%M")[0])
    assert shown == hours


def test_elapsed_may_have_days(read_text):
    header = "JobID|Account|Start|End|Elapsed|AllocCPUS\n"
    line = "1|chem|2020-10-30T01:30:00|2020-11-01T01:30:00|2-01:00:00|1\n"
    usage = read_text("november.sacct", header + line, SACCT)
    assert str(usage["end"][0]) == "2020-11-01 06:30:00+00:00"


def test_an_export_without_a_header_is_refused(read_text):
    with pytest.raises(UnreadableFile, match=r"april\.sacct: .*no header.*--noheader"):
        read_text("april.sacct", JOB, SACCT)


def test_a_column_that_was_not_exported_is_named(read_text):
    with pytest.raises(UnreadableFile, match=r"'AllocCPUS' is missing.*columns are JobID, Start"):
        read_text("april.sacct", "JobID|Start|End|Account\n1|a|b|c\n", SACCT)


def test_the_users_column_may_be_left_out(read_text):
    text = "JobID|Account|Start|End|AllocCPUS\n1|c|2020-04-06T17:00:00|2020-04-06T18:00:00|1\n"
    assert read_text("april.sacct", text, SACCT)["user"].to_list() == [None]


FULL = "Cluster|JobID|Account|Submit|Start|End|Elapsed|AllocCPUS\n"
RUN = "{}|7001|chem|2025-11-05T{}:00:00|2025-11-05T09:00:00|2025-11-05T10:00:00|01:00:00|1\n"


def test_runs_of_a_requeued_job_and_jobs_of_two_clusters_are_records_of_their_own(read_text):
    """Case 03: sacct --duplicates lists a requeued job once for each submission."""
    text = FULL + RUN.format("alpha", "08") + RUN.format("alpha", "10") + RUN.format("beta", "08")
    usage = read_text("november.sacct", text, SACCT)
    assert usage.select("record", "occurrence").rows() == [
        ("alpha:7001@2025-11-05T08:00:00", 1),
        ("alpha:7001@2025-11-05T10:00:00", 1),
        ("beta:7001@2025-11-05T08:00:00", 1),
    ]


@pytest.mark.parametrize(
    ("columns", "record"),
    [
        ("JobID|Submit", "7001@2025-11-05T08:00:00"),
        ("Cluster|JobID", "alpha:7001"),
        ("JobIDRaw|JobID", "7001"),
        ("JobIDRaw", "7002"),
        ("JobID", "7001"),
    ],
)
def test_the_id_is_made_of_the_columns_that_the_export_has(read_text, columns, record):
    cells = {"JobID": "7001", "JobIDRaw": "7002", "Cluster": "alpha"}
    cells |= {"Submit": "2025-11-05T08:00:00"}
    row = "|".join(cells[name] for name in columns.split("|"))
    text = f"{columns}|Account|Start|End|AllocCPUS\n{row}|c|2025-11-05T09:00:00|{{}}|1\n"
    finished = read_text("a.sacct", text.format("2025-11-05T10:00:00"), SACCT)
    running = read_text("a.sacct", text.format("Unknown"), SACCT)
    assert [*finished["record"], *running["record"]] == [record] * 2
    assert [*finished["defect"], *running["defect"]] == [None, "invalid_time"]


@pytest.mark.parametrize(
    ("column", "stated", "seconds"),
    [
        ("ElapsedRaw", "7200", 7200),  # case 04: suspended for eight hours of ten
        ("Elapsed", "02:00:00", 7200),
        ("Elapsed", "1-02:30:00", 95400),
        ("Elapsed", "20:30", 1230),
        ("ElapsedRaw", "0", 0),
    ],
)
def test_the_elapsed_time_that_slurm_states_is_what_counts(read_text, column, stated, seconds):
    row = f"8001|chem|2025-11-05T09:00:00|2025-11-05T19:00:00|{stated}|10\n"
    text = f"JobID|Account|Start|End|{column}|AllocCPUS\n{row}"
    usage = read_text("susp.sacct", text, SACCT)
    assert usage.select("elapsed", "defect").row(0) == (seconds * 1_000_000, None)
    assert str(usage["end"][0] - usage["start"][0]) == "10:00:00"


@pytest.mark.parametrize("stated", ["", "INVALID", "99999999999999999999999999", "-5"])
def test_an_elapsed_time_that_is_none_is_never_replaced_by_the_wall_clock(read_text, stated):
    row = f"8001|chem|2025-11-05T09:00:00|2025-11-05T19:00:00|{stated}|10\n"
    usage = read_text("a.sacct", f"JobID|Account|Start|End|ElapsedRaw|AllocCPUS\n{row}", SACCT)
    assert usage.select("elapsed", "defect").row(0) == (None, "invalid_quantity")
