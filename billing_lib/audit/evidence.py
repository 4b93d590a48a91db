"""Evidence: files for an auditor beside the computation, in a record's ``data/evidence/``.

    price-book.yml     the price book's text, as it was at freezing
    usage-files.csv    the files of the usage: name, sha256, who loaded them and when
    usage/<sha256>     these files, where the site keeps them (the setting usage_files)
    decisions.csv      the month's sign-off, and submissions, approvals and rejections of the run
                       and its invoices, with their comments
    findings.csv       findings and rows that staff dismissed, and dismissals taken back, with why
    deposits.csv       the prepaid funds of the run's projects: who paid in what and why, and draws
    journal.csv        the lines of the general ledger that these invoices are posted as
    events.jsonl       the facility's events from the month's first day to freezing, one a line, as
                       a segment of its chain

The notebook reads none of it. Amounts are decimal text, times are UTC. Each event's ``hash`` is the
sha256 of its rendering (ledger/events.py) and ``previous_hash`` is that of the event before it, so
the segments of all records of a facility make one chain.
"""

import datetime as dt
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from sqlalchemy import Connection

from billing_lib.audit.record import ENVIRONMENT
from billing_lib.errors import NotReady
from billing_lib.ledger import statements, usage
from billing_lib.ledger.events import EVENT, chain_breaks, read_events, read_events_since
from billing_lib.ledger.frames import INSTANT_TEXT, POLARS_INSTANT
from billing_lib.pricing.charge import without_formulas
from billing_lib.pricing.clock import Period, day_start
from billing_lib.pricing.money import minor_places, money_text_column
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.sources.files import file_hash
from billing_lib.workflow.findings import ANY, DISMISS, RESTORE
from billing_lib.workflow.invoice import Computation
from billing_lib.workflow.issue import Frozen
from billing_lib.workflow.journal import ISSUE, post_invoices, reverse_invoices
from billing_lib.workflow.load import BookFile

FOLDER = "evidence"
EVENTS = "events.jsonl"
PRICE_BOOK = "price-book.yml"
USAGE = "usage"

_DECISION = ("sequence", "at", "login", "kind", "subject", "team", "reason", "before", "after")
_AT = pl.col("at").dt.to_string(POLARS_INSTANT)


@dataclass(frozen=True)
class Evidence:
    """The evidence of a frozen run: files by name, usage files by sha256, postings of reversals."""

    files: Mapping[str, bytes]
    usage: Mapping[str, Path]
    reversals: pl.DataFrame

    def write(self, data: Path, book: PriceBook, frozen: Frozen, computation: Computation) -> None:
        """Write it into a record's data, with the journal lines of the computed invoices."""
        folder = data / FOLDER
        folder.mkdir()
        journal = _csv(_journal(book, frozen, computation, self.reversals))
        for name, content in (*self.files.items(), ("journal.csv", journal)):
            (folder / name).write_bytes(content)
        for sha256, path in self.usage.items():
            (folder / USAGE).mkdir(exist_ok=True)
            shutil.copyfile(path, folder / USAGE / sha256)


def gather(
    connection: Connection,
    book: PriceBook,
    frozen: Frozen,
    file: BookFile | None,
    kept: Path | None = None,
) -> Evidence:
    """Gather the evidence of a run that was frozen in the same transaction.

    ``file`` is the price book's, ``kept`` the folder of the usage files. NotReady if the price book
    was changed since it was read.
    """
    facility, month = frozen.facility, Period.parse(frozen.period)
    first = pl.select(day_start(pl.lit(month.first_day), book.facility.timezone)).item()
    events = read_events_since(connection, facility, first)
    codes = frozen.snapshot.invoices["invoice"].to_list()
    decided = read_events(connection, facility, subjects=[frozen.period, frozen.run, *codes])
    judged = read_events(connection, facility, kinds=[DISMISS, RESTORE]).filter(
        pl.col("subject").str.contains(f"^({frozen.period}|{ANY}|row) ")
    )
    loaded = _usage_files(connection, frozen)
    paths = {} if kept is None else {sha256: kept / sha256 for sha256 in loaded["sha256"]}
    files = {
        "usage-files.csv": _csv(loaded),
        "decisions.csv": _csv(decided.select(*_DECISION).with_columns(_AT)),
        "findings.csv": _csv(judged.select(*_DECISION).with_columns(_AT)),
        "deposits.csv": _csv(_deposits(connection, book, frozen)),
        EVENTS: events_text(events),
    }
    if file is not None:
        files[PRICE_BOOK] = file.path.read_bytes()
        if hashlib.sha256(files[PRICE_BOOK]).hexdigest() != file.sha256:
            raise NotReady("the price book was changed meanwhile", where=str(file.path))
    replacing = frozen.snapshot.invoices.drop_nulls("replaces").select("number", invoice="replaces")
    return Evidence(
        files,
        {sha256: path for sha256, path in paths.items() if path.is_file()},
        reverse_invoices(connection, book, replacing, frozen.invoice_date),
    )


def evidence_findings(data: Path) -> list[tuple[str, str]]:
    """The defects of a record's evidence: file and sentence; none if it is whole or absent.

    The chain of the events is computed again, the price book is compared with the sha256 that
    environment.json states, and each usage file with that of its name.
    """
    folder = data / FOLDER
    events, book = folder / EVENTS, folder / PRICE_BOOK
    found = []
    if events.is_file():
        try:
            breaks = chain_breaks(read_segment(events), times=False)
        except (ValueError, KeyError, TypeError):
            breaks = ["its events cannot be read"]
        found += [(f"{FOLDER}/{EVENTS}", sentence) for sentence in breaks]
    if book.is_file() and hashlib.sha256(book.read_bytes()).hexdigest() != _stated_book(data):
        found.append((f"{FOLDER}/{PRICE_BOOK}", "it is not the price book of environment.json"))
    found += [
        (f"{FOLDER}/{USAGE}/{path.name}", "it is not the usage file of this sha256")
        for path in sorted((folder / USAGE).glob("*"))
        if file_hash(path) != path.name
    ]
    return found


def _stated_book(data: Path) -> str | None:
    try:
        stated = json.loads((data / ENVIRONMENT).read_bytes())["price_book"]
        return None if stated is None else str(stated["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def events_text(events: pl.DataFrame) -> bytes:
    """Events (schema EVENT) as JSON lines, times in the form that their hashes cover."""
    return events.with_columns(_AT).write_ndjson().encode()


def read_segment(path: Path) -> pl.DataFrame:
    """The events (schema EVENT) of an ``events.jsonl``."""
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    for row in rows:
        row["at"] = dt.datetime.strptime(row["at"], INSTANT_TEXT).replace(tzinfo=dt.UTC)
    return pl.DataFrame(rows, schema=EVENT)


def _usage_files(connection: Connection, frozen: Frozen) -> pl.DataFrame:
    """Every file that was loaded under a name which the snapshot's usage states."""
    read = pl.concat([frozen.snapshot.usage["file"], frozen.snapshot.unbilled["file"]]).unique()
    loaded = usage.read_files(connection, frozen.facility)
    return (
        loaded.filter(pl.col("name").is_in(read.implode()))
        .sort("loaded_at", "name", "sha256")
        .select("name", "sha256", "kind", "records", "login", "loaded_at")
        .with_columns(pl.col("loaded_at").dt.to_string(POLARS_INSTANT))
    )


def _deposits(connection: Connection, book: PriceBook, frozen: Frozen) -> pl.DataFrame:
    projects = frozen.snapshot.invoices["project"].unique()
    entries = statements.read_entries(connection, frozen.facility)
    return entries.filter(pl.col("project").is_in(projects.implode())).select(
        *("project", "sequence", "kind"),
        money_text_column(pl.col("amount"), minor_places(book.facility.currency)),
        *("number", "reason", "login"),
        _AT,
    )


def _journal(
    book: PriceBook, frozen: Frozen, computation: Computation, reversals: pl.DataFrame
) -> pl.DataFrame:
    """The postings of the issue of these invoices by today's accounts, and the reversals."""
    totals = computation.totals
    transactions = totals.select(
        *("project", "team", "tax", "total"),
        facility=pl.lit(frozen.facility),
        period=pl.lit(frozen.period),
        currency=pl.lit(book.facility.currency),
        prepaid="drawn",
        invoice="number",
        date=pl.lit(frozen.invoice_date),
        run=pl.lit(frozen.run),
        kind=pl.lit(ISSUE),
        reference="number",
        description=pl.format(
            "Invoice {}, project {}, {}", "number", "project", pl.lit(frozen.period)
        ),
    )
    splits = computation.by_expense_code.select("expense_code", "amount", invoice="number")
    lines = computation.priced.charges.drop_nulls("item").join(
        totals.select("invoice", "number"), on="invoice"
    )
    items = lines.group_by(pl.col("number").alias("invoice"), "item").agg(pl.col("total").sum())
    postings = post_invoices(
        transactions, splits, items.sort("invoice", "item"), book.facility.journal
    )
    places = minor_places(book.facility.currency)
    names = (*("date", "invoice", "kind", "role", "account"), "amount", "currency", "description")
    both = pl.concat([postings.select(names), reversals.select(names)])
    return both.sort("date", "invoice", "kind", maintain_order=True).with_columns(
        money_text_column(pl.col("amount"), places)
    )


def _csv(frame: pl.DataFrame) -> bytes:
    return without_formulas(frame).write_csv().encode()
