"""Queueing: messages about new invoices and statements enter the outbox, in one transaction.

    billing deliver RC 1993-11 --preview november    the messages as .eml files, nothing else
    billing deliver RC 1993-11                       RC 1993-11: 40 messages queued

Each administrator of a team is told of an invoice once, unless they opted out; a digest tells a
facility's month at once. Each owner is told of a statement again whenever it has changed, whatever
their preference. A preview uses the same code, in a transaction that cannot write.

The scheduled job delivers the month of every facility with ``deliver: automatic``: it queues the
invoices and statements, then sends everything that waits, including earlier failures. Running it
twice changes nothing.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.audit.archive import open_record
from billing_lib.audit.verify import sealed_file, sealed_sha256
from billing_lib.delivery.send import (
    Archived,
    OutboxFile,
    Outgoing,
    link_of,
    mail_of,
    outgoing,
    read_mail,
    send_waiting,
    sender_of,
    write_previews,
)
from billing_lib.documents.pdf import invoice_letter, statement_letter
from billing_lib.documents.statement import render_statement_pdf, statement_file
from billing_lib.documents.text import Invoice
from billing_lib.errors import BillingError, InvalidRecord, NotReady, count_of
from billing_lib.folders import Folder
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import messages
from billing_lib.ledger import statements as ledger_statements
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.events import record_event
from billing_lib.ledger.messages import INVOICE, STATEMENT
from billing_lib.ledger.states import CANCELLED, FAILED, SENDING, SENT, UNCERTAIN, WAITING
from billing_lib.pricing.clock import Period
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.settings import Settings
from billing_lib.workflow.detail import CSV, detail_names
from billing_lib.workflow.invoice import read_invoice
from billing_lib.workflow.outbox import (
    DIGEST,
    NONE,
    Mailbox,
    Wishes,
    administrators_of,
    owners_of,
    wishes,
)
from billing_lib.workflow.permissions import ISSUER, changing, require
from billing_lib.workflow.statements import shown_statement

AT_ONCE = 25
"""The most invoices in one digest, since mail servers limit a message's size."""

_NOT_SENT = (WAITING, FAILED)


@dataclass
class _Composed:
    """The messages about a month's invoices or statements."""

    of: str  # the subject in words: ``RC 1993-11``
    kind: str  # ``invoices`` or ``statements``
    facilities: list[str]
    outgoing: list[Outgoing] = field(default_factory=list)
    notices: list[dict[str, str]] = field(default_factory=list)  # rows of the table without stamps
    problems: list[str] = field(default_factory=list)  # sentences on documents without a message
    before: int = 0  # documents told before, once per recipient
    unwished: int = 0  # documents that a recipient's preference excludes
    standing: list[str] = field(default_factory=list)  # earlier messages about the same documents
    outdated: list[str] = field(default_factory=list)  # of those, unsent ones of changed documents


_MOST_DETAIL = 5_000_000
"""The most bytes of CSVs that a message carries; mail servers refuse large ones."""


@dataclass(frozen=True)
class _Ready:
    """An issued invoice with its document."""

    invoice: Invoice
    team: str
    fingerprint: str
    pdf: Archived
    detail: list[Archived]
    """The CSVs with all charges, where lines sum several."""
    detail_bytes: int


def _compose_invoices(
    connection: Connection,
    settings: Settings,
    book: PriceBook,
    period: Period,
    only: Collection[str] | None = None,
) -> _Composed:
    """The messages about a month's issued invoices that count and are not told yet.

    ``only`` has the numbers of the invoices that are meant; None means all.
    """
    facility, month = book.facility.code, str(period)
    sender, link = sender_of(settings, book.facility.name), link_of(settings)
    rows = ledger_invoices.read_issued(connection, facility=facility, period=month, active=True)
    if only is not None:
        rows = rows.filter(pl.col("number").is_in(list(only)))
    if rows.height == 0:
        raise NotReady(
            f"nothing of {facility} {month} is issued",
            remedy=f"run 'billing issue {facility} {month}'",
        )
    composed = _Composed(f"{facility} {month}", "invoices", [facility])
    composed.notices = [_invoice_notice(row) for row in rows.iter_rows(named=True)]
    versions = _versions(connection, INVOICE, rows["number"].to_list(), composed)
    wished = wishes(connection, facility)
    wanted = _wanted(book, rows, versions, wished, composed)
    needed = {number for numbers in wanted.values() for number in numbers}
    chosen = rows.filter(pl.col("number").is_in(sorted(needed)))
    ready = _ready(connection, settings.runs, chosen, composed.problems)
    for mailbox, numbers in wanted.items():
        invoices = [ready[number] for number in numbers if number in ready]
        for part in _parts(invoices, mailbox, wished):
            teams = {it.team for it in part}
            alone = part[0].invoice["number"] if len(part) == 1 else None
            about = {
                "name": alone or f"{facility}-{month}-digest",
                "kind": INVOICE,
                "period": month,
                "team": teams.pop() if len(teams) == 1 else None,
            }
            tells = [
                {
                    "kind": INVOICE,
                    "key": it.invoice["number"],
                    "facility": facility,
                    "version": versions.next(it.invoice["number"], mailbox.address),
                    "fingerprint": it.fingerprint,
                }
                for it in part
            ]
            fits = sum(it.detail_bytes for it in part) <= _MOST_DETAIL
            letter = invoice_letter([it.invoice for it in part], link, detail=fits)
            files = [file for it in part for file in (it.pdf, *(it.detail if fits else ()))]
            composed.outgoing.append(outgoing(letter, sender, mailbox, about, tells, files))
    return composed


def _compose_statements(
    connection: Connection,
    settings: Settings,
    books: dict[str, PriceBook],
    period: Period,
    teams: list[str] | None = None,
    facilities: Collection[str] | None = None,
) -> _Composed:
    """The messages about a month's new and changed statements.

    Parameters
    ----------
    facilities
        Only statements over these facilities and no others.
    """
    month, link = str(period), link_of(settings)
    rows = ledger_statements.read_statements(connection, periods=[month], teams=teams)
    if rows.height == 0:
        raise NotReady(
            f"there are no statements of {month}", remedy=f"run 'billing statements {month}'"
        )
    stated = ledger_statements.read_stated(connection, rows["id"].to_list())
    if facilities is not None:
        others = stated.filter(~pl.col("facility").is_in(list(facilities)))["statement"]
        rows = rows.filter(~pl.col("id").is_in(others.implode()))
        stated = stated.filter(~pl.col("statement").is_in(others.implode()))
    composed = _Composed(
        f"statements of {month}", "statements", stated["facility"].unique().sort().to_list()
    )
    versions = _versions(connection, STATEMENT, rows["id"].to_list(), composed)
    for statement_id, team in rows.select("id", "team").iter_rows():
        shown = shown_statement(connection, books, statement_id)
        on_it = [part["facility"]["code"] for part in shown["facilities"]]
        if not on_it:
            continue  # all its invoices were superseded, and stand on another statement
        names = [part["facility"]["name"] for part in shown["facilities"]]
        sender = sender_of(settings, names[0] if len(names) == 1 else "Billing")
        fingerprint = _statement_fingerprint(shown)
        composed.notices += [_statement_notice(shown, code, fingerprint) for code in on_it]
        mailboxes, problems = owners_of([books[code] for code in on_it if code in books], team)
        composed.problems += problems
        if not mailboxes:
            composed.problems.append(
                f"team {team} has no owners and no administrators in the price books, so statement "
                f"{statement_id} is told to nobody"
            )
        for mailbox in mailboxes:
            last = versions.last(statement_id, mailbox.address)
            if last is not None and last["fingerprint"] == fingerprint:
                composed.before += 1
                continue
            if last is not None and last["state"] in _NOT_SENT:
                composed.outdated.append(last["message"])
            tell = {
                "kind": STATEMENT,
                "key": statement_id,
                "version": versions.next(statement_id, mailbox.address),
                "fingerprint": fingerprint,
            }
            about = {"name": statement_id, "kind": STATEMENT, "period": month, "team": team}
            # The archive holds invoices only, so the outbox keeps the statement's document.
            document = dict(shown)
            files = [OutboxFile(statement_file(document, "pdf"), render_statement_pdf(document))]
            updated = versions.was_sent(statement_id, mailbox.address)
            letter = statement_letter(shown, link, attached=True, updated=updated)
            tells = [tell | {"facility": code} for code in on_it]
            composed.outgoing.append(outgoing(letter, sender, mailbox, about, tells, files))
    return composed


class _Versions:
    """Earlier messages by the invoice or statement and the recipient's address."""

    def __init__(self, told: pl.DataFrame) -> None:
        self._of: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in told.sort("version").iter_rows(named=True):
            self._of.setdefault((row["key"], row["address"]), []).append(row)

    def last(self, key: str, address: str) -> dict[str, Any] | None:
        """The newest version that was not withdrawn."""
        rows = [row for row in self._of.get((key, address), []) if row["state"] != CANCELLED]
        return rows[-1] if rows else None

    def was_sent(self, key: str, address: str) -> bool:
        """Whether the recipient may have received a version."""
        rows = self._of.get((key, address), [])
        return any(row["state"] in (SENDING, SENT, UNCERTAIN) for row in rows)

    def next(self, key: str, address: str) -> int:
        """The next version's number."""
        return max((row["version"] for row in self._of.get((key, address), [])), default=0) + 1


def _versions(connection: Connection, kind: str, keys: list[str], composed: _Composed) -> _Versions:
    told = messages.read_told(connection, kind=kind, keys=keys)
    composed.standing = told["message"].unique().sort().to_list()
    return _Versions(told)


def _parts(invoices: list[_Ready], mailbox: Mailbox, wished: Wishes) -> Iterator[list[_Ready]]:
    """The invoices of each message to a recipient."""
    together = []
    for invoice in invoices:
        if wished.of(invoice.team, mailbox.address) == DIGEST:
            together.append(invoice)
        else:
            yield [invoice]
    for start in range(0, len(together), AT_ONCE):
        yield together[start : start + AT_ONCE]


def _wanted(
    book: PriceBook,
    rows: pl.DataFrame,
    versions: _Versions,
    wished: Wishes,
    composed: _Composed,
) -> dict[Mailbox, list[str]]:
    """The numbers of the new invoices for each recipient."""
    wanted: dict[Mailbox, list[str]] = {}
    for team in rows["team"].unique().sort():
        mailboxes, problems = administrators_of(book, team)
        composed.problems += problems
        numbers = rows.filter(pl.col("team") == team)["number"].to_list()
        if not mailboxes:
            composed.problems.append(
                f"team {team} has no administrators in the price book, so nobody is told of "
                f"{count_of(len(numbers), 'invoice')}"
            )
        for mailbox in mailboxes:
            for number in numbers:
                if versions.last(number, mailbox.address) is not None:
                    composed.before += 1
                elif wished.of(team, mailbox.address) == NONE:
                    composed.unwished += 1
                else:
                    wanted.setdefault(mailbox, []).append(number)
    return wanted


def _ready(
    connection: Connection, archive: Folder, rows: pl.DataFrame, problems: list[str]
) -> dict[str, _Ready]:
    """The invoices and documents from the audit records, by number; problems are added."""
    archived = ledger_invoices.read_archived(connection, numbers=rows["number"].to_list())
    sealed: dict[str, dict[str, str]] = {}
    ready = {}
    for row in archived.iter_rows(named=True):
        number, record = row["number"], row["record"]
        pdf = f"documents/{number}.pdf"
        folder = open_record(archive, record)
        try:
            text = sealed_file(folder, f"invoices/{number}.json", row["fingerprint"])
            invoice = read_invoice(text.decode())
            if record not in sealed:
                sealed[record] = sealed_sha256(folder, row["seal"])
            sha256 = sealed[record].get(pdf)
            sealed_file(folder, pdf, sha256)
            files = {
                f"invoices/{name}": sealed[record].get(f"invoices/{name}")
                for name in detail_names(invoice, CSV)
            }
            size = sum(len(sealed_file(folder, *it)) for it in files.items())
        except InvalidRecord as error:
            problems.append(f"invoice {number} is not told: {error}")
        else:
            attached, *detail = (
                Archived(f"{record}/data/{path}", str(it))
                for path, it in {pdf: sha256, **files}.items()
            )
            ready[number] = _Ready(invoice, row["team"], row["fingerprint"], attached, detail, size)
    return ready


def _invoice_notice(row: Mapping[str, Any]) -> dict[str, str]:
    amount = money_text(row["total"], minor_places(row["currency"]))
    return {
        "facility": row["facility"],
        "team": row["team"],
        "kind": INVOICE,
        "key": row["number"],
        "text": f"Invoice {row['number']} of {amount} {row['currency']} for project "
        f"{row['project']}, {row['period']}, is ready",
        "link": "listing.ipynb",
    }


def _statement_notice(
    statement: Mapping[str, Any], facility: str, fingerprint: str
) -> dict[str, str]:
    due, currency = statement["totals"]["due"], statement["currency"]
    return {
        "facility": facility,
        "team": statement["team"]["code"],
        "kind": STATEMENT,
        "key": f"{statement['id']}/{fingerprint[:12]}",
        "text": f"Statement {statement['id']}: {due} {currency} are due",
        "link": "statement.ipynb",
    }


def _statement_fingerprint(statement: Mapping[str, Any]) -> str:
    """The sha256 of a statement's amounts; a payment does not change it."""
    invoices = [
        [it["number"], it["total"], it["prepaid"]]
        for part in statement["facilities"]
        for it in part["invoices"]
    ]
    rules = [
        [part["facility"]["code"], it["rule"], it["kind"], it["amount"]]
        for part in statement["facilities"]
        for it in part["adjustments"]
    ]
    amounts = canonical_json({"invoices": invoices, "rules": rules, "totals": statement["totals"]})
    return hashlib.sha256(amounts.encode()).hexdigest()


@dataclass(frozen=True)
class Queued:
    """The result of queueing or of a preview; problems are wrong addresses, teams without an
    address and missing documents."""

    messages: int
    sentences: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def queue_invoices(
    engine: Engine,
    settings: Settings,
    book: PriceBook,
    period: Period,
    only: Collection[str] | None = None,
) -> Queued:
    """Queue the messages about a month's new invoices, all or ``only`` those with these numbers.

    Raises
    ------
    NotReady
        No invoice of the month is issued.
    """
    with changing(engine, book, ISSUER) as connection:
        messages.lock_outbox(connection)
        composed = _compose_invoices(connection, settings, book, period, only)
        return _queued(connection, composed, str(period))


def queue_statements(
    engine: Engine,
    settings: Settings,
    books: dict[str, PriceBook],
    period: Period,
    teams: list[str] | None = None,
    facilities: Collection[str] | None = None,
) -> Queued:
    """Queue the messages about a month's new and changed statements.

    Parameters
    ----------
    facilities
        Only statements over these facilities and no others.

    Raises
    ------
    NotReady
        The month has no statements.
    """
    with writing(engine) as connection:
        messages.lock_outbox(connection)
        composed = _compose_statements(connection, settings, books, period, teams, facilities)
        for facility in composed.facilities:
            require(connection, facility, ISSUER)
        for old in composed.outdated:
            messages.move_message(connection, old, "withdraw", "the statement has changed since")
        return _queued(connection, composed, str(period))


def preview_invoices(
    engine: Engine,
    settings: Settings,
    book: PriceBook,
    period: Period,
    folder: Path,
    only: Collection[str] | None = None,
) -> Queued:
    """Write the messages about a month's invoices, queued and new, as ``.eml`` files.

    ``only`` has the numbers of the invoices that are meant; None means all.
    """
    with reading(engine) as connection:
        require(connection, book.facility.code, ISSUER)
        composed = _compose_invoices(connection, _with_sender(settings), book, period, only)
        return _previewed(connection, composed, settings, folder)


def preview_statements(
    engine: Engine,
    settings: Settings,
    books: dict[str, PriceBook],
    period: Period,
    teams: list[str] | None,
    folder: Path,
) -> Queued:
    """Write the messages about a month's statements, queued and new, as ``.eml`` files."""
    with reading(engine) as connection:
        composed = _compose_statements(connection, _with_sender(settings), books, period, teams)
        for facility in composed.facilities:
            require(connection, facility, ISSUER)
        return _previewed(connection, composed, settings, folder)


def _queued(connection: Connection, composed: _Composed, month: str) -> Queued:
    messages.insert_messages(
        connection,
        [it.row for it in composed.outgoing],
        [row for it in composed.outgoing for row in it.tells],
        [row for it in composed.outgoing for row in it.attachments],
    )
    messages.add_notices(connection, composed.notices)
    count = len(composed.outgoing)
    if count:
        for facility in composed.facilities:
            after = canonical_json({"messages": str(count), "tells": composed.kind})
            record_event(connection, facility, "deliver", month, "", after=after)
    summary = f"{count_of(count, 'message')} queued" if count else "nothing new to tell"
    return Queued(count, [f"{composed.of}: {summary}{_rest(composed)}"], composed.problems)


def _with_sender(settings: Settings) -> Settings:
    """The settings for a preview, which needs no sender of mail."""
    if settings.smtp_from is not None:
        return settings
    return settings.model_copy(update={"smtp_from": "sender-not-set@billing.invalid"})


def _previewed(
    connection: Connection, composed: _Composed, settings: Settings, folder: Path
) -> Queued:
    mails = [mail_of(it.row, it.attachments, settings.runs, None) for it in composed.outgoing]
    standing = messages.read_messages(connection, ids=composed.standing, states=(WAITING, FAILED))
    current = [key for key in standing["id"] if key not in composed.outdated]
    mails += [read_mail(connection, settings, key) for key in current]
    count, written = write_previews(mails, folder)
    summary = (
        f"{count_of(count, 'message')} in {folder}/, {written:,} of them written; "
        "nothing is queued or sent"
    )
    sentences = [f"{composed.of}: {summary}{_rest(composed)}"]
    if settings.smtp_from is None:
        sentences.append("the sender of mail is not set; sending needs BILLING_SMTP_FROM")
    return Queued(count, sentences, composed.problems)


def _rest(composed: _Composed) -> str:
    parts = [
        f"{composed.before:,} told before" if composed.before else "",
        f"{composed.unwished:,} not wished for" if composed.unwished else "",
    ]
    return "".join(f"; {part}" for part in parts if part)


def deliver_month(
    engine: Engine, settings: Settings, books: dict[str, PriceBook], period: Period
) -> tuple[list[str], bool]:
    """Deliver a month's documents of facilities with automatic delivery.

    A statement is sent if every facility on it has automatic delivery. Returns sentences, and
    whether a person has to look at a problem.
    """
    automatic = {code: book for code, book in books.items() if book.facility.deliver == "automatic"}
    if not automatic:
        return [], False
    sentences: list[str] = []
    failed = False
    queueing: list[Callable[[], Queued]] = [
        *(partial(queue_invoices, engine, settings, book, period) for book in automatic.values()),
        partial(queue_statements, engine, settings, books, period, facilities=automatic.keys()),
    ]
    for queue in queueing:
        try:
            queued = queue()
        except NotReady:
            continue  # nothing is issued or stated, as the month's report says
        except BillingError as error:
            sentences.append(f"deliver: {error}")
            failed = True
        else:
            sentences += [*queued.sentences, *queued.problems]
            failed = failed or bool(queued.problems)
    try:
        sent = send_waiting(engine, settings)
    except BillingError as error:
        return [*sentences, f"deliver: {error}"], True
    return [
        *sentences,
        *sent.sentences,
        f"{count_of(sent.sent, 'message')} sent",
    ], failed or sent.failed
