"""``billing demo``: a month from usage to a reproduced record, with a real usage log.

    $ billing load RC data/NASA-iPSC-1993-3.1-cln.swf.gz
      …the outcome of the command

It prints each command with its outcome and runs all of them in one process. A second run finds
everything done and changes nothing. If there is no site, it makes one of its own.
"""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from billing_lib.audit.known import known_by
from billing_lib.audit.reproduce import reproduce
from billing_lib.audit.verify import verify
from billing_lib.batch.issuing import IssuingTerms, issue_month, issued_records
from billing_lib.cli.app import progress
from billing_lib.errors import BillingError, NotReady
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

FACILITY = "RC"
PERIOD = Period(1993, 10)
INVOICE_DATE = "1993-11-05"
LOG = DATA / "NASA-iPSC-1993-3.1-cln.swf.gz"
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

    def tell(self, command: str, outcome: str) -> None:
        self.console.print(f"[dim]$ billing {command}[/dim]\n  {outcome}", highlight=False)


def demonstrate() -> None:
    """Run the demonstration and print its summary.

    Raises
    ------
    DemonstrationFailed
        The record does not verify or reproduce.
    """
    console = Console()
    where = _site(console)
    engine = open_ledger(where.database)
    initialise(engine)
    setting = _Setting(console, where, engine, read_price_book(where.parameters, FACILITY))
    before = issued_records(engine, where.runs, FACILITY, PERIOD)
    rated = _load_and_rate(setting)
    if not before:
        _adjust(setting)
        ready = sign_off(engine, setting.book, str(PERIOD))
        setting.tell(f"ready {FACILITY} {PERIOD}", ready)
        with progress("issue") as step:
            run = issue_month(
                engine, where, setting.book, PERIOD, terms=IssuingTerms(INVOICE_DATE), step=step
            )
        setting.tell(f"issue {FACILITY} {PERIOD} --date {INVOICE_DATE}", run.sentences[0])
    else:
        setting.tell(f"issue {FACILITY} {PERIOD}", "issued before, nothing changed")
    record = issued_records(engine, where.runs, FACILITY, PERIOD)[0]
    _check(setting, record)
    _summarise(setting, rated, record, unchanged=bool(before))


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
    if books.get(FACILITY) != read_price_book(PARAMETERS, FACILITY):
        raise NotReady(
            "this site is not the demonstration's, which would bill into it",
            where=str(here.site or here.parameters),
            remedy="run 'billing demo' in an empty folder",
        )
    return here


def _load_and_rate(setting: _Setting) -> RatedPeriod:
    with progress("load") as step:
        loaded = load_files(setting.engine, setting.book, [LOG], step)
    setting.tell(f"load {FACILITY} {_shown(LOG)}", loaded[0].sentence)
    with progress("rate"):
        rated = rate_period(setting.engine, setting.book, PERIOD)
    setting.tell(f"rate {FACILITY} {PERIOD}", rated.sentence)
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


def _check(setting: _Setting, record: Path) -> None:
    known = known_by(setting.engine)
    verification = verify(record, known)
    if verification.findings:
        raise DemonstrationFailed(
            str(verification.findings[0]), where=str(record), remedy="run billing verify"
        )
    setting.tell(f"verify {_shown(record)}", verification.sentence)
    with progress("reproduce"):  # the demonstration's own record needs no sandbox
        reproduction = reproduce(record, known=known, accept_changes=True, unsandboxed=True)
    if reproduction.differences:
        raise DemonstrationFailed(
            f"the record does not reproduce: {reproduction.differences[0]}",
            where=str(record),
            remedy="run billing reproduce to see every difference",
        )
    setting.tell(f"reproduce {_shown(record)}", f"reproduced ({reproduction.environment})")


def _summarise(setting: _Setting, rated: RatedPeriod, record: Path, *, unchanged: bool) -> None:
    invoices = list_invoices(setting.engine, FACILITY, str(PERIOD))
    currency = setting.book.facility.currency
    total = sum((Decimal(text) for text in invoices["total"]), Decimal(0))
    table = Table(show_header=False, title=f"{FACILITY} {PERIOD}", title_justify="left")
    table.add_column()
    table.add_column()
    table.add_row("records read", f"{rated.records:,}")
    table.add_row("charges", f"{rated.charges:,} and one added line")
    for reason, count in rated.unbilled.items():
        table.add_row("unbilled", f"{count:,} {reason}")
    table.add_row("invoices", f"{invoices.height:,}, {invoices['number'][0]} onwards")
    table.add_row("total", f"{total:,} {currency}")
    table.add_row("record", str(_shown(record)))
    table.add_row("record is", "verified, reproduced")
    setting.console.print(table)
    if unchanged:
        setting.console.print("Everything was done before; nothing changed.")
    first = invoices["number"][0]
    site = setting.settings.site
    billing = "billing" if INSTALLED else ".venv/bin/billing"
    if site and site != Path.cwd():
        billing = f"BILLING_SITE={_shown(site)} {billing}"
    setting.console.print(
        "What to try next:\n"
        f"  {billing} show {first}\n"
        f"  {billing} unbilled {FACILITY} {PERIOD} --summary\n"
        f"  {billing} lab\n"
        f"  open {_shown(record)}/data/documents/{first}.pdf",
        highlight=False,
        soft_wrap=True,
    )


def _shown(path: Path) -> Path:
    """A path as it is typed here: relative where it is below the working folder."""
    whole = path.absolute()
    return whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else whole
