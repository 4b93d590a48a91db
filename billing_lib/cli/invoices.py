"""Commands about invoices and their audit records.

before issue   ``preview``, ``note``, ``adhoc``, ``issue``
lists          ``invoices``, ``show``
after issue    ``credit``, ``reissue``, ``void``, ``pay``, ``unpay``, ``deposit``, ``funds``
records        ``verify``, ``reproduce``, ``archive``
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from billing_lib.cli.app import (
    AsJson,
    FacilityCode,
    PeriodText,
    Reason,
    Shown,
    app,
    books_for,
    ledger,
    price_book,
    progress,
    say,
    say_frame,
    takes_filter,
    takes_page,
)

if TYPE_CHECKING:
    from billing_lib.workflow.search import Filter


@app.command(epilog="Example: billing issue RC 1993-10 --project u4")
def issue(
    facility: FacilityCode,
    period: PeriodText,
    project: Annotated[str | None, typer.Option(help="Only this project's invoice.")] = None,
    reference: Annotated[
        str | None, typer.Option(help="Only the ad hoc invoice with this reference.")
    ] = None,
    date: Annotated[
        str | None, typer.Option(help="The invoice date, YYYY-MM-DD; today unless told.")
    ] = None,
    allow_dirty: Annotated[
        bool,
        typer.Option(
            "--allow-dirty", help="Issue from changed files; the record says so and keeps the diff."
        ),
    ] = False,
) -> None:
    """Issue a period's invoices: freeze, compute by papermill, archive, number."""
    from billing_lib.batch.issuing import IssuingTerms, issue_month
    from billing_lib.errors import NotReady
    from billing_lib.pricing.clock import Period
    from billing_lib.settings import settings
    from billing_lib.workflow.runs import RunScope

    if project is not None and reference is not None:
        raise NotReady(
            "--project and --reference name different invoices", remedy="issue one after the other"
        )
    chosen = RunScope(() if project is None else (project,), reference=reference)
    book = price_book(facility)
    month = Period.parse(period)
    with progress("issue") as step:
        issued = issue_month(
            ledger(),
            settings(),
            book,
            month,
            chosen,
            terms=IssuingTerms(date, allow_dirty),
            step=step,
        )
    for sentence in issued.sentences:
        say(sentence)


@app.command(epilog="Example: billing note RC 1993-10 --project u4 --text 'Down on 12 October.'")
def note(
    facility: FacilityCode,
    period: PeriodText,
    project: Annotated[str, typer.Option(help="Whose invoice.")],
    text: Annotated[str, typer.Option(help="The note; an empty one takes it away.")],
) -> None:
    """Write a note on a project's next invoice of a month."""
    from billing_lib.pricing.clock import Period
    from billing_lib.workflow.notes import write_note

    month = str(Period.parse(period))
    say(write_note(ledger(), price_book(facility), month, project, text))


@app.command(epilog="Example: billing invoices --facility RC --view live --sort -total")
@takes_page
@takes_filter
def invoices(wanted: "Filter", shown: Shown) -> None:
    """Find invoices, drafts included, with their states and totals."""
    from billing_lib.workflow.search import find_invoices

    found = find_invoices(ledger(), wanted, books_for(wanted), shown.of())
    shown.say(
        found,
        "invoices",
        "Invoices",
        spared=(
            *("payment_reference", "paid_on", "step", "replaces", "description", "run"),
            *("cost", "raw_total", "adjustment", "tax", "reference", "kind", "facility", "team"),
            *("invoice_date", "charges", "reason", "period", "invoice"),
        ),
    )


@app.command(epilog="Example: billing show RC-1994-00001")
def show(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="An invoice's number.")],
    as_json: AsJson = False,
) -> None:
    """Show an invoice: its totals, its lines, its amounts by expense code."""
    from billing_lib.audit.verify import find_record
    from billing_lib.cli.tables import say_invoice
    from billing_lib.settings import settings
    from billing_lib.workflow.invoice import read_invoice
    from billing_lib.workflow.issue import known_ledger

    here = settings()
    record = find_record(number, here.runs, known_ledger(here.database))
    text = (record / "data" / "invoices" / f"{number}.json").read_text(encoding="utf-8")
    if as_json:
        say(text.rstrip())
    else:
        say_invoice(read_invoice(text))


@app.command(epilog="Example: billing preview RC-1993-11-1/u4 --pdf draft.pdf")
def preview(
    code: Annotated[
        str,
        typer.Argument(
            metavar="INVOICE", help="A draft, as 'billing invoices' lists it under 'invoice'."
        ),
    ],
    as_json: AsJson = False,
    pdf: Annotated[Path | None, typer.Option(help="Write it as PDF into this file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write it as HTML into this file.")] = None,
    xlsx: Annotated[Path | None, typer.Option(help="Write it as XLSX into this file.")] = None,
    facility: Annotated[
        str | None, typer.Option(help="Whose, where several facilities have this code.")
    ] = None,
) -> None:
    """Show a draft as it would be issued now; nothing is issued and no number is given."""
    from billing_lib.workflow.invoice import invoice_json
    from billing_lib.workflow.issue import facility_of, preview_draft

    engine = ledger()
    book = price_book(facility or facility_of(engine, code))
    draft = preview_draft(engine, book, code)
    if as_json:
        say(invoice_json(draft).rstrip())
    files = {"pdf": pdf, "html": html, "xlsx": xlsx}
    wanted = {suffix: path for suffix, path in files.items() if path is not None}
    if not as_json and not wanted:
        from billing_lib.cli.tables import say_invoice

        say_invoice(draft)
    for suffix, path in wanted.items():
        from billing_lib.documents import with_logo, write_document

        written = write_document(with_logo(draft, book.facility.logo), suffix, path)
        # Beside JSON the sentence goes to standard error.
        typer.echo(
            f"{path}: {'written' if written else 'is so already, nothing changed'}", err=as_json
        )


@app.command(
    epilog="Example: billing adhoc RC PO-12 --project u4 --start 1993-10-04 --end 1993-10-08"
)
def adhoc(
    facility: FacilityCode,
    reference: Annotated[
        str, typer.Argument(metavar="REFERENCE", help="What names it, such as PO-12.")
    ],
    project: Annotated[str | None, typer.Option(help="Whose invoice it is.")] = None,
    start: Annotated[str | None, typer.Option(help="The first day it covers, YYYY-MM-DD.")] = None,
    end: Annotated[
        str | None, typer.Option(help="The last day; the first unless told. Its month bills it.")
    ] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    edit: Annotated[
        bool, typer.Option("--edit", help="Change the dates or the description it has.")
    ] = False,
) -> None:
    """Create an invoice apart from the month's, billing the lines and usage with its reference."""
    from billing_lib.workflow.adhoc import Words, create_ad_hoc, edit_ad_hoc

    words = Words(project, start, end, description)
    do = edit_ad_hoc if edit else create_ad_hoc
    say(do(ledger(), price_book(facility), reference, words))


@app.command(epilog="Example: billing credit RC-1994-00001 --amount 20.00 --reason 'overcharged'")
def credit(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="An issued invoice's number.")],
    amount: Annotated[str, typer.Option(help="What to give back, before tax.")],
    reason: Annotated[str, typer.Option(help="Why; it stands on the invoice.")],
    date: Annotated[
        str | None,
        typer.Option(help="Whose month gives it back; the project's next invoice unless told."),
    ] = None,
    expense_code: Annotated[
        str | None, typer.Option(help="What gets it; the project's split unless told.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Give it although the same was given that day already.")
    ] = False,
) -> None:
    """Credit a part of an issued invoice on the project's next invoice."""
    from billing_lib.workflow.lines import credit_invoice, facility_of

    engine = ledger()
    book = price_book(facility_of(engine, number))
    say(
        credit_invoice(
            engine, book, number, amount, reason, date=date, expense_code=expense_code, again=again
        )
    )


Number = Annotated[str, typer.Argument(metavar="NUMBER", help="An issued invoice's number.")]


@app.command(epilog="Example: billing reissue RC-1994-00003 --reason 'half of it was ours'")
def reissue(number: Number, reason: Reason = "") -> None:
    """Begin a new invoice that replaces an issued one; the old one counts until it is issued."""
    from billing_lib.cli.app import book_of_invoice
    from billing_lib.workflow.after_issue import reissue as begin

    engine = ledger()
    for sentence in begin(engine, book_of_invoice(engine, number), number, reason):
        say(sentence)


@app.command(epilog="Example: billing void RC-1994-00003 --reason 'the project was not theirs'")
def void(
    number: Number,
    reason: Reason = "",
    reopen: Annotated[
        bool,
        typer.Option("--reopen-charges", help="Free its charges, to be billed by another run."),
    ] = False,
) -> None:
    """Void an issued invoice: it is kept but no longer counts."""
    from billing_lib.cli.app import book_of_invoice
    from billing_lib.workflow.after_issue import void as make_void

    engine = ledger()
    book = book_of_invoice(engine, number)
    for sentence in make_void(engine, book, number, reason, reopen=reopen):
        say(sentence)


@app.command(
    epilog="Example: billing pay RC-1994-00003 --date 1994-01-15 --reference 'transfer 8812'"
)
def pay(
    numbers: Annotated[list[str], typer.Argument(metavar="NUMBER...", help="Issued invoices.")],
    date: Annotated[str, typer.Option(help="When the payment came, YYYY-MM-DD.")],
    reference: Annotated[str, typer.Option(help="What the payment is found by.")],
) -> None:
    """Record that invoices are paid, with their charges."""
    from billing_lib.cli.app import book_of_invoice
    from billing_lib.workflow import after_issue

    engine = ledger()
    book = book_of_invoice(engine, numbers[0])
    for sentence in after_issue.pay(engine, book, numbers, date, reference):
        say(sentence)


@app.command(epilog="Example: billing unpay RC-1994-00003 --reason 'the transfer was another one'")
def unpay(number: Number, reason: Reason = "") -> None:
    """Undo a payment that was recorded by mistake."""
    from billing_lib.cli.app import book_of_invoice
    from billing_lib.workflow import after_issue

    engine = ledger()
    for sentence in after_issue.unpay(engine, book_of_invoice(engine, number), number, reason):
        say(sentence)


@app.command(epilog="Example: billing deposit RC u4 1000.00 --reason 'purchase order 4711'")
def deposit(
    facility: FacilityCode,
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="Whose funds.")],
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="What is paid in.")],
    reason: Reason = "",
) -> None:
    """Pay into a project's prepaid funds, from which its invoices draw first."""
    from billing_lib.workflow import after_issue

    say(after_issue.deposit(ledger(), price_book(facility), project, amount, reason))


@app.command(epilog="Example: billing funds RC --json")
def funds(facility: FacilityCode, as_json: AsJson = False) -> None:
    """List prepaid funds: paid in, drawn, balance, and whether it is low."""
    from billing_lib.workflow.after_issue import list_funds

    say_frame(
        list_funds(ledger(), price_book(facility)),
        title=f"Prepaid funds {facility}",
        as_json=as_json,
    )


Targets = Annotated[
    list[str], typer.Argument(metavar="RECORD|NUMBER…", help="Record folders or invoice numbers.")
]


def _records(targets: list[str]) -> list[tuple[str, Path]]:
    """Each target with its record. Only numbers, not folders, need a site."""
    from billing_lib.audit.verify import find_record
    from billing_lib.settings import anywhere, settings
    from billing_lib.workflow.issue import known_ledger

    here = anywhere() if all(Path(target).is_dir() for target in targets) else settings()
    engine = known_ledger(here.database)
    return [(target, find_record(target, here.runs, engine)) for target in targets]


@app.command(epilog="Example: billing verify RC-1994-00001")
def verify(targets: Targets) -> None:
    """Check that records are intact, byte for byte; a difference ends with status 1."""
    from billing_lib.audit.verify import verify
    from billing_lib.settings import anywhere
    from billing_lib.workflow.issue import known_fingerprints

    records = _records(targets)
    fingerprints = known_fingerprints(anywhere().database)
    broken = False
    for target, record in records:
        findings = verify(record, fingerprints=fingerprints)
        broken = broken or bool(findings)
        for finding in findings:
            say(f"{target}: {finding.file}: {finding.what}")
        if not findings:
            say(f"{target}: verified, {record}")
    raise typer.Exit(1 if broken else 0)


@app.command(epilog="Example: billing reproduce runs/RC/1993-10/RC-1993-10-1")
def reproduce(
    targets: Targets,
    packages: Annotated[
        Path | None,
        typer.Option(help="A folder with the packages; 'packages' beside the record unless told."),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Refuse where packages differ from the record's lock."),
    ] = False,
) -> None:
    """Run archived records again and compare every result; a difference ends with status 1."""
    from billing_lib.audit.reproduce import reproduce

    records = _records(targets)
    different = False
    for target, record in records:
        with progress(f"reproduce {target}") as step:
            reproduction = reproduce(record, wheels=packages, strict=strict, step=step)
        different = different or bool(reproduction.differences)
        say(f"{target}: {reproduction.environment}")
        for difference in reproduction.differences:
            say(f"{target}: {difference}")
        if not reproduction.differences:
            say(f"{target}: reproduced, every result is the same byte for byte")
    raise typer.Exit(1 if different else 0)


@app.command(epilog="Example: billing archive RC-1993-10-1 --to handed-over --with-packages")
def archive(
    targets: Targets,
    to: Annotated[Path, typer.Option(help="The folder to copy the records into.")],
    with_packages: Annotated[
        bool,
        typer.Option(
            "--with-packages", help="Add the packages that the program needs on this platform."
        ),
    ] = False,
) -> None:
    """Copy records into a folder, from which anybody can reproduce them without a network."""
    from billing_lib.audit.extract import archive_records

    records = [record for _, record in _records(targets)]
    with progress("archive"):
        copies = archive_records(records, to, with_packages=with_packages)
    for copy in copies:
        say(f"{copy}: the whole record; 'billing verify' and 'billing reproduce' take it")
