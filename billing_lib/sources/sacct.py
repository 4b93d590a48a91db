"""Slurm's accounting: what ``sacct --parsable2`` prints.

    JobID|User|Account|Partition|Start|End|ElapsedRaw|AllocCPUS
    4711|ann|chem|long|2020-04-06T17:00:00|2020-04-06T20:00:00|10800|32
    4711.batch||chem||2020-04-06T17:00:00|2020-04-06T20:00:00|10800|32

The columns are whatever ``--format`` asked for (sacct(1), "Job Accounting Fields"); a field is
found whatever its case, as sacct finds it. Times are the wall clock of the cluster, or what
``SLURM_TIME_FORMAT`` says: seconds since 1970 (``%s``) and times with an offset are read too.
``Elapsed`` or ``ElapsedRaw``, where exported, settles times that the end of daylight saving
makes ambiguous.

A job step (a JobID with a point) is a part of its job, whose row counts all of it. Steps are
no usage records: they are left out, and nothing that was used goes with them. The trailing bar
of ``--parsable`` makes a column without a name, which harms nobody.
"""

from pathlib import Path

import polars as pl

from billing_lib.errors import UnreadableFile
from billing_lib.sources.delimited import check_header, split
from billing_lib.sources.files import read_utf8
from billing_lib.sources.table import FAULTS, SourceTable, fault

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
_ELAPSED = r"^(?:(?:(?<days>\d+)-)?(?<hours>\d+):)?(?<minutes>\d+):(?<seconds>\d+)(?:\.\d+)?$"


def is_sacct_header(line: str) -> bool:
    """Whether a file's first line is a header of ``sacct``: bars, and JobID among the names."""
    names = {name.strip().lower() for name in line.split("|")}
    return "|" in line and not names.isdisjoint({"jobid", "jobidraw"})


def read_sacct(path: Path) -> SourceTable:
    """Read the jobs of an export, without their steps.

    Returns the exported columns as text, named as sacct(1) spells them. A row is the line of
    the file. A line with too few or too many fields (a job name with a bar in it) is malformed.

    Raises
    ------
    UnreadableFile
        The file is missing, empty, has no header with JobID, or holds nothing but steps.
    """
    data = read_utf8(path)
    skipped = len(data) - len(data.lstrip(b"\n"))
    top, _, body = data[skipped:].partition(b"\n")
    header = top.decode("utf-8")
    if not is_sacct_header(header):
        raise UnreadableFile(
            f"the first line is no header of sacct with JobID in it but '{header[:60]}'",
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
            remedy="export the jobs too, or them alone with sacct --allocations",
        )
    frame = cut.fields[jobs].with_columns(
        found=cut.found.gather(jobs), position=pl.int_range(jobs.len(), dtype=pl.Int64, eager=True)
    )
    of_so_many = pl.format(f"it has {{}} fields instead of {len(names)}", "found")
    odd = fault(frame, pl.col("found").is_not_null(), "invalid_time", of_so_many)
    return SourceTable(
        name=path.name,
        fields=cut.fields[jobs],
        rows=cut.rows.gather(jobs),
        raw=lambda at: cut.raw(jobs.gather(at)),
        faults=pl.concat([FAULTS.to_frame(), odd]),
        epoch=True,
        elapsed=_elapsed(cut.fields[jobs]),
        counted=True,
    )


def _elapsed(fields: pl.DataFrame) -> pl.Series | None:
    """How long each job took, as sacct says; [DD-[HH:]]MM:SS or whole seconds."""
    if "ElapsedRaw" in fields.columns:
        seconds = pl.col("ElapsedRaw").cast(pl.Int64, strict=False)
        return fields.select(elapsed=pl.duration(seconds=seconds))["elapsed"]
    if "Elapsed" not in fields.columns:
        return None
    parts = fields["Elapsed"].str.extract_groups(_ELAPSED).struct.unnest()
    numbers = parts.select(pl.all().cast(pl.Int64))
    days, hours = (pl.col(name).fill_null(0) for name in ("days", "hours"))
    elapsed = pl.duration(days=days, hours=hours, minutes="minutes", seconds="seconds")
    return numbers.select(elapsed=elapsed)["elapsed"]
