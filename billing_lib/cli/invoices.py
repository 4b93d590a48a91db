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
from billing_lib.errors import count_of

if TYPE_CHECKING:
    from billing_lib.audit.known import Known
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
    from billing_lib.audit.clean_room import warm_up

    warm_up()  # the kernel's imports, beside those of this process
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
        "invoice",
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
    line: Annotated[
        int | None, typer.Option(help="The number of a line: the charges that it sums.")
    ] = None,
) -> None:
    """Show an invoice: its totals, its lines, its amounts by expense code."""
    from billing_lib.audit.archive import find_record
    from billing_lib.audit.verify import sealed_file, sealed_sha256
    from billing_lib.cli.tables import say_detail, say_invoice
    from billing_lib.settings import settings
    from billing_lib.workflow.detail import CSV, detail_names
    from billing_lib.workflow.invoice import read_invoice
    from billing_lib.workflow.issue import known_ledger

    here = settings()
    record = find_record(number, here.runs, known_ledger(here.database))
    sealed = sealed_sha256(record, None)

    def read(name: str) -> bytes:
        return sealed_file(record, f"invoices/{name}", sealed.get(f"invoices/{name}"))

    text = read(f"{number}.json").decode()
    invoice = read_invoice(text)
    if line is not None:
        files = {name: read(name) for name in detail_names(invoice, CSV)}
        say_detail(files, invoice, line, as_json=as_json)
    elif as_json:
        say(text.rstrip())
    else:
        say_invoice(invoice)


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


_TARGETS = typer.Argument(metavar="RECORD|NUMBER…", help="Record folders or invoice numbers.")
Targets = Annotated[list[str], _TARGETS]
AnyTargets = Annotated[list[str] | None, _TARGETS]


def _records(targets: list[str]) -> list[tuple[str, Path]]:
    """Each target with its record. Only numbers, not folders, need a site."""
    from billing_lib.audit.archive import find_record
    from billing_lib.settings import anywhere, settings
    from billing_lib.workflow.issue import known_ledger

    here = anywhere() if all(Path(target).is_dir() for target in targets) else settings()
    engine = known_ledger(here.database)
    return [(target, find_record(target, here.runs, engine)) for target in targets]


LogFile = Annotated[
    Path | None,
    typer.Option(
        "--log", help="An exported log of records, which has their seals.", metavar="FILE"
    ),
]


@app.command(epilog="Example: billing verify RC-1994-00001")
def verify(
    targets: AnyTargets = None,
    every: Annotated[
        bool,
        typer.Option("--all", help="Every record of the archive, and every one of the ledger."),
    ] = False,
    document: Annotated[
        Path | None,
        typer.Option(help="Say which issued invoice this file is.", metavar="FILE.pdf"),
    ] = None,
    fingerprint: Annotated[
        str | None,
        typer.Option(help="Say which issued invoice has this fingerprint, typed from paper."),
    ] = None,
    log: LogFile = None,
    head: Annotated[
        str | None,
        typer.Option(help="A head of the log, from which the log must go on; text or a file."),
    ] = None,
) -> None:
    """Check records against all that is known here: ledger, log, clone and signers.

    Each check says right, wrong or not checked. The exit status is 0 if a record is verified, 1 for
    faults, and 3 if nothing is wrong but not all could be checked.
    """
    from billing_lib.audit.known import chain_breaks_here, known_here
    from billing_lib.audit.log import head_in
    from billing_lib.audit.verify import FAULTY, VERIFIED, verify, verify_all
    from billing_lib.settings import settings

    asked = (bool(targets), every, document is not None, fingerprint is not None)
    if asked.count(True) != 1:
        raise typer.BadParameter("name records, or --all, or --document, or --fingerprint")
    known = known_here(log=log, head=None if head is None else head_in(head))
    if document is not None or fingerprint is not None:
        raise typer.Exit(_say_issued(known, document, fingerprint))
    statuses = []
    if every:
        for verification in verify_all(settings().runs, known):
            statuses.append(verification.status)
            if verification.status != VERIFIED:
                say(f"{verification.record}: {verification.sentence}")
                wrong = [it for it in verification.checks if it.findings or it.unchecked]
                for line in (line for each in wrong for line in each.lines):
                    say(f"  {line}")
        breaks = chain_breaks_here()
        for found in breaks or ():
            say(f"the ledger's events: {found}")
        counts = [statuses.count(status) for status in (VERIFIED, FAULTY)]
        rest = len(statuses) - sum(counts)
        say(
            f"{count_of(len(statuses), 'record')}: {counts[0]:,} verified, "
            f"{counts[1]:,} with faults, "
            f"{rest:,} not wholly checked"
        )
        if breaks:
            statuses.append(FAULTY)
    for target, record in _records(targets or []):
        verification = verify(record, known)
        statuses.append(verification.status)
        for line in verification.lines:
            say(f"  {line}")
        found = "" if Path(target) == record else f", {record}"
        say(f"{target}: {verification.sentence}{found}")
    worst = FAULTY if FAULTY in statuses else max(statuses, default=VERIFIED)
    raise typer.Exit(worst)


def _say_issued(known: "Known", document: Path | None, fingerprint: str | None) -> int:
    """Say which issued invoice a document or fingerprint is; the exit status."""
    from billing_lib.audit.verify import (
        FAULTY,
        NOT_ALL_CHECKED,
        VERIFIED,
        find_issued,
        parse_fingerprint,
        read_document,
    )
    from billing_lib.settings import settings

    if document is not None:
        named, sha256 = str(document), read_document(document)
    else:
        sha256 = parse_fingerprint(str(fingerprint))
        named = sha256
    found = find_issued(settings().runs, known, sha256)
    if found is None:
        say(f"{named}: no issued invoice has this")
        return FAULTY
    say(f"{named}: invoice {found.number}, data/{found.path} of {found.record}")
    if found.note:
        say(found.note)
    if found.vouched is None:
        say("there is no ledger or log here to say that this record is as issued")
        return NOT_ALL_CHECKED
    if not found.vouched:
        say("the record is not the one that was issued: 'billing verify' lists its faults")
        return FAULTY
    return VERIFIED


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
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes", help="Run what was issued from changed files, with the changes."
        ),
    ] = False,
    unsandboxed: Annotated[
        bool,
        typer.Option("--unsandboxed", help="Run without a sandbox where none can be made."),
    ] = False,
    log: LogFile = None,
) -> None:
    """Verify records, run them again in a sandbox and compare every result.

    A difference ends with status 1. Nothing of a record with a fault is run.
    """
    from billing_lib.audit.known import known_here
    from billing_lib.audit.reproduce import ChangedProgram, changes_sentence, reproduce
    from billing_lib.audit.sandbox import NoSandbox

    records, known = _records(targets), known_here(log=log)
    different = False
    for target, record in records:
        changes = changes_sentence(record)
        if changes is not None:
            say(f"{target}: {changes}")
        try:
            with progress(f"reproduce {target}") as step:
                reproduction = reproduce(
                    record,
                    known=known,
                    wheels=packages,
                    strict=strict,
                    accept_changes=accept_changes,
                    unsandboxed=unsandboxed,
                    step=step,
                )
        except (ChangedProgram, NoSandbox) as error:
            flag = "--unsandboxed" if isinstance(error, NoSandbox) else "--accept-changes"
            remedy = f"{error.remedy}: {flag}"
            raise type(error)(error.what, where=error.where, remedy=remedy) from None
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
