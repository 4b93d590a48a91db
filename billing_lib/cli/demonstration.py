"""``billing demo``: a month of three facilities, from usage to reproduced records and statements.

    $ billing load RC data/NASA-iPSC-1993-3.1-cln.swf.gz
      …the outcome of the command

A cluster's usage is a real log; that of the microscopes and the workshop is made up. It prints
each command with its outcome and runs all of them in one process. A second run finds everything
done and changes nothing. If there is no site, it makes one of its own.
"""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from billing_lib.audit.known import known_by
from billing_lib.audit.reproduce import reproduce
from billing_lib.audit.verify import verify
from billing_lib.batch.issuing import IssuingTerms, issue_month, issued_records
from billing_lib.cli.app import progress
from billing_lib.errors import BillingError, NotReady, count_of
from billing_lib.ledger.database import initialise, open_ledger
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.program import DATA, INSTALLED, PARAMETERS
from billing_lib.settings import SITE_FILE, Settings, anywhere
from billing_lib.workflow.adjust import adjust_charge
from billing_lib.workflow.lines import NewLine, add_charge_line
from billing_lib.workflow.load import load_files, read_price_book, read_price_books
from billing_lib.workflow.rate import RatedPeriod, rate_period
from billing_lib.workflow.runs import sign_off
from billing_lib.workflow.search import Filter, find_charges, list_invoices
from billing_lib.workflow.site import make_site
from billing_lib.workflow.statements import generate_statements, list_statements

FACILITY = "RC"
USAGE = {
    FACILITY: DATA / "NASA-iPSC-1993-3.1-cln.swf.gz",
    "MIC": DATA / "microscopy-1993-10.csv",
    "SHOP": DATA / "workshop-1993-10.csv",
}
"""The demonstration's facilities, each with its usage."""
PERIOD = Period(1993, 10)
INVOICE_DATE = "1993-11-05"
STATEMENT = f"bio-{PERIOD}"
OWN_SITE = "billing-demo"
"""The folder of the site that the demonstration makes if there is none."""
CHARGE = f"{FACILITY}/4"
HALF = "194.25"
FAILED = "half of the nodes failed during the run"
TRAINING = {
    "project": "u4",
    "date": "1993-10-28",
    "description": "Training, two hours",
    "amount": "150.00",
    "expense_code": None,
}
AGREED = "agreed with the project by telephone"


class DemonstrationFailed(BillingError):
    """The record of the demonstration is not intact or does not reproduce."""


@dataclass(frozen=True)
class _Setting:
    console: Console
    settings: Settings
    engine: Engine
    book: PriceBook

    @property
    def facility(self) -> str:
        return self.book.facility.code

    def tell(self, command: str, outcome: str) -> None:
        self.console.print(f"[dim]$ billing {command}[/dim]\n  {outcome}", highlight=False)


def demonstrate() -> None:
    """Run the demonstration and print its summary.

    Raises
    ------
    DemonstrationFailed
        A record does not verify or reproduce.
    """
    console = Console()
    where = _site(console)
    engine = open_ledger(where.database)
    initialise(engine)
    books = {code: read_price_book(where.parameters, code) for code in USAGE}
    done = [_bill(_Setting(console, where, engine, book)) for book in books.values()]
    generate_statements(engine, books, PERIOD)
    statement = list_statements(engine, str(PERIOD)).row(
        by_predicate=pl.col("statement") == STATEMENT, named=True
    )
    _summarise(_Setting(console, where, engine, books[FACILITY]), done, statement)


@dataclass(frozen=True)
class _Billed:
    """A facility's month: its records of usage, its archived record, and if it was done before."""

    setting: _Setting
    rated: RatedPeriod
    record: Path
    before: bool


def _bill(setting: _Setting) -> _Billed:
    engine, where, facility = setting.engine, setting.settings, setting.facility
    before = issued_records(engine, where.runs, facility, PERIOD)
    rated = _load_and_rate(setting)
    if not before:
        if facility == FACILITY:
            _adjust(setting)
        ready = sign_off(engine, setting.book, str(PERIOD))
        setting.tell(f"ready {facility} {PERIOD}", ready)
        with progress("issue") as step:
            run = issue_month(
                engine, where, setting.book, PERIOD, terms=IssuingTerms(INVOICE_DATE), step=step
            )
        setting.tell(f"issue {facility} {PERIOD} --date {INVOICE_DATE}", run.sentences[0])
    else:
        setting.tell(f"issue {facility} {PERIOD}", "issued before, nothing changed")
    record = issued_records(engine, where.runs, facility, PERIOD)[0]
    _check(setting, record, reproducing=not before)
    return _Billed(setting, rated, record, bool(before))


def _site(console: Console) -> Settings:
    """The settings of the present site, or of one made for the demonstration."""
    here = anywhere()
    if here.site is None and not here.places_given:
        own = Path(OWN_SITE)
        made = make_site(own, demonstration=True) if not (own / SITE_FILE).exists() else []
        what = "made one in" if made else "using that in"
        console.print(f"There is no site here: {what} ./{OWN_SITE}", highlight=False)
        return anywhere(own)
    books = read_price_books(here.parameters)
    if any(books.get(code) != read_price_book(PARAMETERS, code) for code in USAGE):
        raise NotReady(
            "this site is not the demonstration's, which would bill into it",
            where=str(here.site or here.parameters),
            remedy="run 'billing demo' in an empty folder",
        )
    return here


def _load_and_rate(setting: _Setting) -> RatedPeriod:
    usage = USAGE[setting.facility]
    with progress("load") as step:
        loaded = load_files(setting.engine, setting.book, [usage], step)
    setting.tell(f"load {setting.facility} {_shown(usage)}", loaded[0].sentence)
    with progress("rate"):
        rated = rate_period(setting.engine, setting.book, PERIOD)
    setting.tell(f"rate {setting.facility} {PERIOD}", rated.sentence)
    return rated


def _adjust(setting: _Setting) -> None:
    """Make the two adjustments, unless an interrupted demonstration has made them."""
    month = {"facility": FACILITY, "period_from": str(PERIOD), "period_to": str(PERIOD)}
    charges = find_charges(setting.engine, Filter.parse(month)).texts()
    if charges.filter(pl.col("charge") == CHARGE)["quantity"].item() != HALF:
        said = adjust_charge(setting.engine, setting.book, CHARGE, {"quantity": HALF}, FAILED)
        setting.tell(f"adjust {CHARGE} --set quantity={HALF} --reason '{FAILED}'", said[-1])
    if TRAINING["description"] not in charges["description"]:
        line = NewLine.parse(TRAINING, setting.book)
        said_line = add_charge_line(setting.engine, setting.book, line, AGREED)
        options = " ".join(f"--{key} '{value}'" for key, value in TRAINING.items() if value)
        setting.tell(
            f"adjust --add-line --facility {FACILITY} {options} --reason '{AGREED}'", said_line
        )


def _check(setting: _Setting, record: Path, *, reproducing: bool) -> None:
    known = known_by(setting.engine)
    verification = verify(record, known)
    if verification.findings:
        raise DemonstrationFailed(
            str(verification.findings[0]), where=str(record), remedy="run billing verify"
        )
    setting.tell(f"verify {_shown(record)}", verification.sentence)
    if not reproducing:
        return
    with progress("reproduce"):  # the demonstration's own record needs no sandbox
        reproduction = reproduce(record, known=known, accept_changes=True, unsandboxed=True)
    if reproduction.differences:
        raise DemonstrationFailed(
            f"the record does not reproduce: {reproduction.differences[0]}",
            where=str(record),
            remedy="run billing reproduce to see every difference",
        )
    setting.tell(f"reproduce {_shown(record)}", f"reproduced ({reproduction.environment})")


def _summarise(setting: _Setting, done: list[_Billed], statement: dict[str, Any]) -> None:
    again = all(each.before for each in done)
    checked = "no record has a fault" + ("" if again else ", and each is reproduced")
    table = Table(title=f"{PERIOD}: {checked}", title_justify="left")
    currency = setting.book.facility.currency
    for heading in ("facility", "usage", "charges", "unbilled", "invoices", f"total {currency}"):
        table.add_column(heading, justify="left" if heading == "facility" else "right")
    first = ""
    for each in done:
        facility = each.setting.book.facility
        invoices = list_invoices(setting.engine, facility.code, str(PERIOD))
        total = sum((Decimal(text) for text in invoices["total"]), Decimal(0))
        first = first or str(invoices["number"][0])
        table.add_row(
            facility.name,
            f"{each.rated.records:,}",
            f"{int(invoices['charges'].cast(pl.Int64).sum()):,}",
            f"{sum(each.rated.unbilled.values()):,}",
            f"{invoices.height:,}",
            f"{total:,}",
        )
    setting.console.print(table)
    (team,) = (it.name for it in setting.book.teams if it.code == statement["team"])
    setting.console.print(
        f"{team} owes {Decimal(statement['total']):,} {currency} for "
        f"{count_of(statement['invoices'], 'invoice')}: statement {STATEMENT}.",
        highlight=False,
    )
    if again:
        setting.console.print("Everything was done before; nothing changed.")
    site = setting.settings.site
    billing = "billing" if INSTALLED else ".venv/bin/billing"
    if site and site != Path.cwd():
        billing = f"BILLING_SITE={_shown(site)} {billing}"
    setting.console.print(
        "What to try next:\n"
        f"  {billing} show {first}\n"
        f"  {billing} unbilled {FACILITY} {PERIOD} --summary\n"
        f"  {billing} statement {STATEMENT}\n"
        f"  {billing} lab\n"
        f"  open {_shown(done[0].record)}/data/documents/{first}.pdf",
        highlight=False,
        soft_wrap=True,
    )


def _shown(path: Path) -> Path:
    """A path as it is typed here: relative where it is below the working folder."""
    whole = path.absolute()
    return whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else whole
