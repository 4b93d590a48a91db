"""Job logs of computing clusters: the Standard Workload Format and Slurm's sacct.

Version 2.2 of the format (Feitelson, Parallel Workloads Archive) has 18 numbers a line; ``;``
begins a comment, -1 is unknown, times are seconds from ``UnixStartTime``:

    ; UnixStartTime: 749458803
       57  25574  -1  10  1  -1 -1 -1 -1 -1 -1  4  1  2 -1 -1 -1 -1
       job submit wait run processors …         user group application queue partition …

A job starts at submit + wait (an unknown or negative wait counts 0: some logs give start times
as submit times) and lasts its run time; a job of zero length is usage like any other.

``sacct --parsable2`` prints the columns that ``--format`` asked for, in any case of letters:

    JobID|User|Account|Partition|Start|End|ElapsedRaw|AllocCPUS
    4711|ann|chem|long|2020-04-06T17:00:00|2020-04-06T20:00:00|10800|32
    4711.batch||chem||2020-04-06T17:00:00|2020-04-06T20:00:00|10800|32

Times are the cluster's wall clock, or follow ``SLURM_TIME_FORMAT``: seconds since 1970 or times
with an offset. ``ElapsedRaw`` or ``Elapsed``, without the time that a job was suspended, is what
is billed; it also settles times that the end of daylight saving makes ambiguous. A job step (a
JobID with a point) is left out: the job's own row counts all of it.
"""

import re
from pathlib import Path

import polars as pl

from billing_lib.errors import UnreadableFile
from billing_lib.pricing.fields import INSTANT
from billing_lib.sources.delimited import check_header, split, wrong_widths
from billing_lib.sources.files import Lines, SourceTable, fault, read_bytes, read_utf8

_SECONDS = ("submit", "wait", "run")
_LABELS = ("user", "group", "application", "queue", "partition")
_COLUMNS = [
    *("job", *_SECONDS, "processors", "cpu_time", "memory"),
    *("requested_processors", "requested_time", "requested_memory", "status"),
    *(*_LABELS, "preceding_job", "think_time"),
]
SWF_FIELDS = ("job", *_SECONDS, "processors", *_LABELS)
"""The fields that a mapping can use."""

_MOST_SECONDS = 10**10
_START = re.compile(rb"^;[ \t]*UnixStartTime:[ \t]*(\d{1,10})\b", re.IGNORECASE | re.MULTILINE)


def read_swf(path: Path) -> SourceTable:
    """Read a log, plain or gzipped.

    Returns the fields SWF_FIELDS as text, and ``start`` and ``end`` as INSTANT; an unknown user,
    group, application, queue or partition is empty. A row is the line of the file. Faults are
    a number of fields other than 18, text where a number belongs, unknown or negative submit and
    run times (invalid_time), and unknown or negative processors (invalid_quantity).
    """
    data = read_bytes(path)
    header = _START.search(data)
    if header is None:
        raise UnreadableFile(
            "the header has no line '; UnixStartTime: …', so no job has a date",
            where=path.name,
            remedy="add the line with the log's first second, in seconds since 1970 UTC",
        )
    cut = split(
        _squeezed(data),
        _COLUMNS,
        " ",
        first=1,
        quoted=False,
        wanted=list(SWF_FIELDS),
        original=Lines(data),
    )
    jobs = _timed(cut.fields, int(header[1]))
    return SourceTable(
        name=path.name,
        fields=jobs.with_columns(
            pl.when(pl.col(name) != "-1").then(pl.col(name)).alias(name) for name in _LABELS
        ).select(*SWF_FIELDS, "start", "end"),
        rows=cut.rows,
        raw=cut.raw,
        faults=_faults(jobs, cut.widths),
    )


def _squeezed(data: bytes) -> bytes:
    """The text with one space between fields and none around a line; lines keep their numbers."""
    text = b"".join((b"\n", data.replace(b"\t", b" "), b"\n"))
    text = text.replace(b"    ", b" ")  # spares two of the passes below, each over the whole text
    while b"  " in text:
        text = text.replace(b"  ", b" ")
    text = text.replace(b"\n ", b"\n").replace(b" \n", b"\n")
    # Comments become empty lines: their text may be in any encoding.
    jobs = re.sub(rb"\n;[^\n]*", b"\n", text)[1:-1]
    return jobs if jobs.isascii() else jobs.decode("utf-8", errors="replace").encode("utf-8")


def _timed(fields: pl.DataFrame, origin: int) -> pl.DataFrame:
    """The fields with ``start`` and ``end``; the seconds as ``submit_us``, ``wait_us``, …"""
    micros = {f"{name}_us": _microseconds(fields[name]) for name in _SECONDS}
    waited = pl.col("wait_us").clip(lower_bound=0)
    start = pl.when(pl.col("submit_us") >= 0).then(
        pl.col("submit_us") + waited + origin * 1_000_000
    )
    return (
        fields.with_columns(**micros)
        .with_columns(start=start)
        .with_columns(end=pl.when(pl.col("run_us") >= 0).then(pl.col("start") + pl.col("run_us")))
        .with_columns(pl.col("start", "end").cast(INSTANT))
    )


def _microseconds(seconds: pl.Series) -> pl.Series:
    """Seconds as text into whole microseconds, Int64; null where it is no number or absurd."""
    whole = seconds.cast(pl.Int64, strict=False)
    if whole.null_count() == seconds.null_count():
        return whole.set(whole.abs() > _MOST_SECONDS, None) * 1_000_000
    exact = seconds.cast(pl.Decimal(38, 6), strict=False)
    return exact.set(exact.abs() > _MOST_SECONDS, None).to_physical().cast(pl.Int64)


def _faults(jobs: pl.DataFrame, widths: pl.Series) -> pl.DataFrame:
    """The faults of all jobs (schema FAULTS); the first one of a row counts."""
    faults = [wrong_widths(widths, len(_COLUMNS))]
    numbered = jobs.with_columns(position=pl.int_range(pl.len(), dtype=pl.Int64))
    complete = numbered.filter(widths.is_null())

    def note(name: str, wrong: pl.Expr, defect: str, detail: pl.Expr) -> None:
        faults.append(fault(complete, wrong, defect, detail, f"field '{name}'"))

    for name in ("job", *_LABELS):
        is_number = pl.col(name).str.contains(r"^-?\d+$")
        note(name, ~is_number, "invalid_time", _no_number(name))
    for name in _SECONDS:
        value = pl.col(f"{name}_us")
        note(name, value.is_null(), "invalid_time", _no_number(name))
        if name != "wait":
            note(name, value < 0, "invalid_time", _unknown_or_negative(name))
    count = pl.col("processors").cast(pl.Int64, strict=False)
    note("processors", count.is_null(), "invalid_quantity", _no_number("processors"))
    note("processors", count < 0, "invalid_quantity", _unknown_or_negative("processors"))
    return pl.concat(faults)


def _no_number(name: str) -> pl.Expr:
    return pl.format("'{}' stands where a number belongs", name)


def _unknown_or_negative(name: str) -> pl.Expr:
    negative = pl.format("'{}' is negative", name)
    unknown = pl.col(name).cast(pl.Float64) == -1
    return pl.when(unknown).then(pl.lit("it is unknown (-1)")).otherwise(negative)


_FIELDS = """
    Account AdminComment AllocCPUS AllocGRES AllocNodes AllocTRES AssocID AveCPU AveCPUFreq
    AveDiskRead AveDiskWrite AvePages AveRSS AveVMSize BlockID Cluster Comment Constraints
    ConsumedEnergy ConsumedEnergyRaw Container CPUTime CPUTimeRAW DBIndex DerivedExitCode Elapsed
    ElapsedRaw Eligible End ExitCode Extra FailedNode Flags GID Group JobID JobIDRaw JobName
    Layout Licenses MaxDiskRead MaxDiskReadNode MaxDiskReadTask MaxDiskWrite MaxDiskWriteNode
    MaxDiskWriteTask MaxPages MaxPagesNode MaxPagesTask MaxRSS MaxRSSNode MaxRSSTask MaxVMSize
    MaxVMSizeNode MaxVMSizeTask McsLabel MinCPU MinCPUNode MinCPUTask NCPUS NNodes NodeList NTasks
    Partition Planned PlannedCPU PlannedCPURAW Priority QOS QOSRAW QOSREQ Reason ReqCPUFreq
    ReqCPUFreqGov ReqCPUFreqMax ReqCPUFreqMin ReqCPUS ReqGRES ReqMem ReqNodes ReqReservation
    ReqTRES Reservation ReservationId Reserved Restarts ResvCPU ResvCPURAW SegmentSize SLUID Start
    State StdErr StdIn StdOut Submit SubmitLine Suspended SystemComment SystemCPU Timelimit
    TimelimitRaw TotalCPU TRESUsageInAve TRESUsageInMax TRESUsageInMaxNode TRESUsageInMaxTask
    TRESUsageInMin TRESUsageInMinNode TRESUsageInMinTask TRESUsageInTot TRESUsageOutAve
    TRESUsageOutMax TRESUsageOutMaxNode TRESUsageOutMaxTask TRESUsageOutMin TRESUsageOutMinNode
    TRESUsageOutMinTask TRESUsageOutTot UID User UserCPU WCKey WCKeyID WorkDir
"""
SACCT_FIELDS = tuple(_FIELDS.split())
"""The fields of sacct, those of older versions included."""

_SPELLING = {name.lower(): name for name in SACCT_FIELDS}


def is_sacct_header(line: str) -> bool:
    """Whether a file's first line is a header of ``sacct``: bars, and JobID among the names."""
    names = {name.strip().lower() for name in line.split("|")}
    return "|" in line and not names.isdisjoint({"jobid", "jobidraw"})


def read_sacct(path: Path) -> SourceTable:
    """Read the jobs of an export, without their steps.

    Returns the exported columns as text, named as sacct(1) spells them. A row is the line of
    the file. A line with too few or too many fields (a job name with a bar in it) is malformed.
    """
    data = read_utf8(path)
    skipped = len(data) - len(data.lstrip(b"\n"))
    top, _, body = data[skipped:].partition(b"\n")
    header = top.decode("utf-8")
    if not is_sacct_header(header):
        raise UnreadableFile(
            f"the first line is no header of sacct with JobID but '{header[:60]}'",
            where=path.name,
            remedy="export with sacct --parsable2 and --format=JobID,…, without --noheader",
        )
    spelled = [_SPELLING.get(name.strip().lower(), name) for name in header.split("|")]
    names = check_header(spelled, f"{path.name}, row {skipped + 1}")
    cut = split(body, names, "|", first=skipped + 2, quoted=False)
    identity = "JobID" if "JobID" in names else "JobIDRaw"
    step = cut.fields[identity].str.contains(".", literal=True).fill_null(value=False)
    jobs = (~step).arg_true()
    if jobs.is_empty() and step.len():
        raise UnreadableFile(
            "it holds job steps only, which are parts of jobs",
            where=path.name,
            remedy="export the jobs themselves, with sacct --allocations",
        )
    fields = cut.fields[jobs]
    return SourceTable(
        name=path.name,
        fields=fields,
        rows=cut.rows.gather(jobs),
        raw=lambda at: cut.raw(jobs.gather(at)),
        faults=wrong_widths(cut.widths.gather(jobs), len(names)),
        epoch=True,
    )
