"""Three facilities, from October to December 1993: a parallel computer's real log, microscopes by
the hour, sequencing by the piece.

RC   the demonstration's price book and log (data/), without approval, signed off each month
MIC  reviewed by ann or amy, then by bob or ida; two persons; late usage by the next run
SEQ  issued by schedule; late usage by reissue; a discount on statements
"""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

PROJECT = Path(__file__).parent.parent.parent
LOG = PROJECT / "data" / "NASA-iPSC-1993-3.1-cln.swf.gz"
MONTHS = ("1993-10", "1993-11", "1993-12")

MIC = """
facility:
  code: MIC
  name: Microscopy
  currency: USD
  timezone: America/Los_Angeles
  fiscal_year_start: 10
  approval: {reviewers: [[ann, amy], [bob, ida]], two_persons: true}
items: [{code: confocal, name: Confocal microscope, unit: hour}]
rates: [{item: confocal, group: internal, price: "42.50", minimum: "5.00"}]
project_types: [{code: faculty, rate_group: internal}]
teams:
  - {code: chem, name: Computational Chemistry Lab}
  - {code: bio, name: Structural Biology Lab}
projects:
  - code: m1
    team: chem
    type: faculty
    split: [{expense_code: C-1, percent: "66.6667"}, {expense_code: C-2, percent: "33.3333"}]
  - {code: m2, team: chem, type: faculty, split: [{expense_code: C-1, percent: "100"}]}
  - {code: m3, team: bio, type: faculty, split: [{expense_code: B-1, percent: "100"}]}
"""

SEQ = """
facility:
  code: SEQ
  name: Sequencing
  currency: USD
  timezone: America/Los_Angeles
  fiscal_year_start: 10
  issue: scheduled
  late_usage: reissue
items: [{code: lane, name: Lane, unit: each}]
rates: [{item: lane, group: internal, price: "1310.00"}]
project_types: [{code: faculty, rate_group: internal}]
teams:
  - {code: bio, name: Structural Biology Lab}
  - {code: mat, name: Materials Modelling Lab}
projects:
  - {code: s1, team: bio, type: faculty, split: [{expense_code: B-1, percent: "100"}]}
  - code: s2
    team: mat
    type: faculty
    split: [{expense_code: M-1, percent: "50"}, {expense_code: M-2, percent: "50"}]
rules: [{name: courtesy, scope: statement, kind: discount, amount: "10.00"}]
"""

Sessions = dict[tuple[str, str], list[tuple[str, int]]]
"""Usage by project and month: each record's id, and its minutes (MIC) or lanes (SEQ)."""


def sessions() -> Sessions:
    """What the microscopes and the sequencer did, the same every time."""
    found: Sessions = {}
    for at, month in enumerate(MONTHS, start=1):
        for nth, project in enumerate(("m1", "m2", "m3"), start=1):
            found[project, month] = [
                (f"{project}-{at}-{number}", 5 + (at * 37 + nth * 53 + number * 29) % 340)
                for number in range(1, 15)
            ]
        for nth, project in enumerate(("s1", "s2"), start=1):
            found[project, month] = [
                (f"{project}-{at}-{number}", 1 + (at + nth + number) % 4) for number in range(1, 4)
            ]
    return found


def write_offices(folder: Path) -> None:
    """Price books in ``parameters/``, and a usage file per facility and month."""
    parameters = folder / "parameters"
    parameters.mkdir()
    book = (PROJECT / "parameters" / "research-computing.yml").read_text(encoding="utf-8")
    (parameters / "rc.yml").write_text(book, encoding="utf-8")
    shutil.copy(PROJECT / "parameters" / "research-computing.svg", parameters)
    (parameters / "mic.yml").write_text(MIC, encoding="utf-8")
    (parameters / "seq.yml").write_text(SEQ, encoding="utf-8")
    for month in MONTHS:
        for facility in ("MIC", "SEQ"):
            rows = [
                row(record, project, month, nth, amount)
                for (project, of), records in sessions().items()
                if of == month and (project[0] == "m") == (facility == "MIC")
                for nth, (record, amount) in enumerate(records, start=1)
            ]
            write_usage(folder / f"{facility}-{month}.csv", rows)


def write_usage(path: Path, rows: list[str]) -> None:
    """A usage file with these rows."""
    header = "id,item,project,user,start,end,date,quantity,reference"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def row(record: str, project: str, month: str, day: int, amount: int, reference: str = "") -> str:
    """A usage file's row: a session of so many minutes, or so many lanes."""
    if project[0] == "s":
        return f"{record},lane,{project},eve,,,{month}-{day:02},{amount},{reference}"
    start = datetime.fromisoformat(f"{month}-{day:02}T17:00:00").replace(tzinfo=UTC)
    end = start + timedelta(minutes=amount)
    return f"{record},confocal,{project},eve,{start.isoformat()},{end.isoformat()},,,{reference}"
