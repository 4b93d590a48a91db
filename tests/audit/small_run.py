"""A small run to archive: April's usage of two projects, and a notebook that bills it.

p1  scope  3 × 40.00 = 120.00     p2  slide  10 × 1.25 = 12.50
    slide 10 ×  1.25 =  12.50
"""

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import polars as pl
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from billing_lib.audit.bag import INFO, payload_files, write_manifests
from billing_lib.audit.provenance import provenance
from billing_lib.audit.record import RunDescription, seal

PROJECT = Path(__file__).parent.parent.parent
RUN = RunDescription(
    run="MIC-2020-04-1",
    facility="MIC",
    facility_name="Microscopy",
    period="2020-04",
    selection="",
    invoice_date=dt.date(2020, 5, 4),
    login="carol",
    frozen_at=dt.datetime(2020, 5, 4, 10, 0, tzinfo=dt.UTC),
    started=dt.datetime(2020, 5, 4, 10, 1, tzinfo=dt.UTC),
    ended=dt.datetime(2020, 5, 4, 10, 2, tzinfo=dt.UTC),
)
PRICES = {"scope": 4000, "slide": 125}  # cents
USAGE = [("u1", "p1", "scope", 3), ("u2", "p1", "slide", 10), ("u3", "p2", "slide", 10)]

PARAMETERS = 'facility = ""\nperiod = ""\nrun = ""\nfolder = "none"'
BILL = """
import json
import warnings
from pathlib import Path

import polars as pl

import billing_lib
from billing_lib.pricing.money import money_text

usage = pl.read_parquet(Path(folder) / "snapshot" / "usage.parquet")
bill = usage.with_columns(amount=pl.col("quantity") * pl.col("price"))
print(f"{facility} {period}, by {billing_lib.__doc__}")
warnings.warn("the scope was calibrated", stacklevel=1)  # shows a path of this very process
bill.select("record", "amount").rows()
"""
WRITE = """
for name in ("invoices", "documents"):
    (Path(folder) / name).mkdir(exist_ok=True)
for at, (project,) in enumerate(bill.select("project").unique().sort("project").rows(), start=1):
    lines = bill.filter(pl.col("project") == project)
    number = f"{facility}-2020-{at:05}"
    total = money_text(lines["amount"].sum(), 2)
    records = [
        {"user": record, "charges": 1, "hours": None, "total": money_text(cents, 2)}
        for record, cents in lines.select("record", "amount").rows()
    ]
    nothing = dict.fromkeys(("raw_total", "adjustment", "due"), "0.00")
    invoice = {
        "format": "billing-invoice/3",
        "number": number,
        "kind": "periodic",
        "description": billing_lib.__doc__,
        "run": "MIC-2020-04-1",
        "invoice_date": "2020-05-04",
        "period": period,
        "dates_covered": {"from": "2020-04-01", "to": "2020-04-30"},
        "currency": "USD",
        "facility": {"code": facility, "name": "", "timezone": "", "instructions": "",
                     "contacts": ""},
        "project": {"code": project, "name": "", "type": "", "rate_group": ""},
        "team": {"code": "", "name": "", "administrators": []},
        "summaries": {"by_user": records, "by_item": [], "by_expense_code": []},
        "totals": nothing | {f"charges_{name}": "0.00" for name in ("raw_total", "adjustment")}
        | {"charges": len(records), "total": total},
    } | dict.fromkeys(("reference", "replaces", "tax", "prepaid"))
    empty = ("notes", "lines", "detail", "adjustments", "subsidies", "history")
    invoice |= {name: [] for name in empty}
    text = json.dumps(invoice, indent=2, sort_keys=True) + "\\n"
    (Path(folder) / "invoices" / f"{number}.json").write_text(text)
    page = f"<p>{number}: {total} USD</p>"
    (Path(folder) / "documents" / f"{number}.html").write_text(page)
    (Path(folder) / "documents" / f"{number}.pdf").write_bytes(b"%PDF-1.7" + page.encode())
"""


def commit_notebook(clone: Path) -> None:
    """Make the small notebook the clone's issuing notebook, and commit it."""
    cells = [
        new_markdown_cell("# A bill"),
        new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
        new_code_cell(BILL.strip()),
        new_code_cell(WRITE.strip()),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, clone / "notebooks" / "issue.ipynb")
    git(clone, "commit", "--quiet", "--all", "--message", "Bill by a small notebook")


def fill(data: Path, source: Path) -> None:
    """Fill a record's ``data/`` as issuing does: snapshot, parameters, executed notebook."""
    for name in ("snapshot", "notebook"):
        (data / name).mkdir(parents=True)
    usage = pl.DataFrame(USAGE, schema=["record", "project", "item", "quantity"], orient="row")
    prices = pl.col("item").replace_strict(PRICES).alias("price")
    usage.with_columns(prices).write_parquet(data / "snapshot" / "usage.parquet")
    shutil.copyfile(source / "notebooks" / "issue.ipynb", data / "notebook" / "issue.ipynb")
    stated = f"facility: MIC\nfolder: .\nperiod: 2020-04\nrun: {RUN.run}\n"
    (data / "parameters.yml").write_text(stated)
    words = ["notebook/issue.ipynb", "notebook/issue.executed.ipynb", "--cwd", "."]
    subprocess.run(
        [sys.executable, "-m", "papermill", *words, "-f", "parameters.yml"],
        cwd=data,
        env=os.environ | {"PYTHONPATH": str(source)},
        capture_output=True,
        check=True,
    )


def issue(folder: Path, source: Path) -> Path:
    """A record of the run, computed by the program in ``source`` and sealed."""
    fill(folder / "data", source)
    seal(folder, RUN, provenance(source))
    return folder


def rebuild_manifests(record: Path) -> None:
    """What someone does who changes a record and does not want it to be noticed."""
    payload = payload_files(record)
    described = record / "data" / "ro-crate-metadata.json"
    crate = json.loads(described.read_text())
    for entity in list(crate["@graph"]):
        file = record / "data" / entity["@id"]
        if "contentSize" in entity and file.is_file():
            entity["contentSize"] = str(file.stat().st_size)
        elif "contentSize" in entity:
            crate["@graph"].remove(entity)
    described.write_text(json.dumps(crate, indent=4))
    size = sum(path.stat().st_size for path in payload)
    info = (record / INFO).read_text().splitlines()
    kept = [line for line in info if not line.startswith("Payload-Oxum")]
    lines = [*kept, f"Payload-Oxum: {size}.{len(payload)}"]
    (record / INFO).write_text("".join(f"{line}\n" for line in lines))
    write_manifests(record, payload)


def git(folder: Path, *words: str) -> str:
    """What a git command says, by a committer of its own."""
    who = {"GIT_AUTHOR_NAME": "t", "GIT_COMMITTER_NAME": "t"}
    mail = {"GIT_AUTHOR_EMAIL": "t@example.edu", "GIT_COMMITTER_EMAIL": "t@example.edu"}
    done = subprocess.run(
        ["git", *words],
        cwd=folder,
        env=os.environ | who | mail,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def files(record: Path) -> dict[str, bytes]:
    """Every file of a folder with its bytes."""
    found = (path for path in sorted(record.rglob("*")) if path.is_file())
    return {path.relative_to(record).as_posix(): path.read_bytes() for path in found}
