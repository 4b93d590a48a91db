"""Composing: the messages on what is not told yet, from the ledger, the archive and the settings.

An invoice is told once to each administrator of its team, unless they wish not to be told; a
digest holds all of a facility's month at once. A statement goes to each owner whenever it has
changed since it was told, whatever they wish.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import Connection

from billing_lib.delivery.outgoing import Archived, Made, Outgoing, outgoing, read_archived
from billing_lib.delivery.sender import link_of, sender_of
from billing_lib.documents.letter import invoice_letter, statement_letter
from billing_lib.documents.statement_pdf import render_statement_pdf
from billing_lib.documents.statements import statement_file
from billing_lib.documents.text import Invoice
from billing_lib.errors import InvalidRecord, NotReady
from billing_lib.ledger import issued, issuings, messages
from billing_lib.ledger import statements as ledger_statements
from billing_lib.ledger.messages import INVOICE, STATEMENT
from billing_lib.ledger.states import CANCELLED, FAILED, SENDING, SENT, UNCERTAIN, WAITING
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.pricing.period import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.settings import Settings
from billing_lib.workflow.recipients import (
    DIGEST,
    NONE,
    Mailbox,
    administrators_of,
    owners_of,
    wishes,
)
from billing_lib.workflow.statement_view import shown_statement

AT_ONCE = 25
"""How many invoices a digest holds at most, since mail servers limit a message's size."""

_NOT_SENT = (WAITING, FAILED)


@dataclass
class Composed:
    """What would be queued.

    Attributes
    ----------
    of, kind
        What it is about, in words: ``RC 1993-11``, ``invoices``.
    outgoing
        The messages.
    notices
        What the notebooks show, rows of the table without stamps.
    problems
        What cannot be told, as sentences.
    before, unwished
        How many were told before, or are not told since the recipient wishes so.
    standing
        Messages that tell some of it already.
    outdated
        Of these, the ones that are not sent and tell what has changed since.
    facilities
        Whose invoices or statements are told.
    """

    of: str
    kind: str
    facilities: list[str]
    outgoing: list[Outgoing] = field(default_factory=list)
    notices: list[dict[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    before: int = 0
    unwished: int = 0
    standing: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Ready:
    """An issued invoice that can be told."""

    invoice: Invoice
    team: str
    fingerprint: str
    pdf: Archived


def compose_invoices(
    connection: Connection, settings: Settings, book: PriceBook, period: Period
) -> Composed:
    """The messages on a month's issued invoices that count and are not told yet.

    Raises
    ------
    NotReady
        Nothing of the month is issued.
    InvalidSettings
        The sender or the link cannot be.
    """
    facility, month = book.facility.code, str(period)
    sender, link = sender_of(settings, book.facility.name), link_of(settings)
    rows = issued.read_issued(connection, facility=facility, period=month, active=True)
    if rows.height == 0:
        raise NotReady(
            f"nothing of {facility} {month} is issued",
            remedy=f"run 'billing issue {facility} {month}'",
        )
    composed = Composed(f"{facility} {month}", "invoices", [facility])
    composed.notices = [_invoice_notice(row) for row in rows.iter_rows(named=True)]
    versions = _versions(connection, INVOICE, rows["number"].to_list(), composed)
    wished = wishes(connection, facility)
    wanted = _wanted(book, rows, versions, wished, composed)
    needed = {number for numbers in wanted.values() for number in numbers}
    chosen = rows.filter(pl.col("number").is_in(sorted(needed)))
    ready = _ready(connection, settings.runs, chosen, composed.problems)
    for mailbox, numbers in wanted.items():
        digest = wished.get(mailbox.address) == DIGEST
        found = [ready[number] for number in numbers if number in ready]
        for part in _parts(found, AT_ONCE if digest else 1):
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
            letter = invoice_letter([it.invoice for it in part], link)
            files = [it.pdf for it in part]
            composed.outgoing.append(outgoing(letter, sender, mailbox, about, tells, files))
    return composed


def compose_statements(
    connection: Connection,
    settings: Settings,
    books: dict[str, PriceBook],
    period: Period,
    teams: list[str] | None = None,
    facilities: Collection[str] | None = None,
) -> Composed:
    """The messages on a month's statements that are not told yet as they stand.

    Parameters
    ----------
    teams
        Only theirs.
    facilities
        Only those over none but these.

    Raises
    ------
    NotReady
        There are none.
    InvalidSettings
        The sender or the link cannot be.
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
    composed = Composed(
        f"statements of {month}", "statements", stated["facility"].unique().sort().to_list()
    )
    versions = _versions(connection, STATEMENT, rows["id"].to_list(), composed)
    for statement_id, team in rows.select("id", "team").iter_rows():
        shown = shown_statement(connection, books, statement_id)
        on_it = [part["facility"]["code"] for part in shown["facilities"]]
        if not on_it:
            continue  # all of it was superseded, and is stated elsewhere
        names = [part["facility"]["name"] for part in shown["facilities"]]
        sender = sender_of(settings, names[0] if len(names) == 1 else "Billing")
        fingerprint = _statement_fingerprint(shown)
        composed.notices += [_statement_notice(shown, code, fingerprint) for code in on_it]
        mailboxes, wrong = owners_of([books[code] for code in on_it if code in books], team)
        composed.problems += wrong
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
            files = statement_files(shown)
            letter = statement_letter(
                shown,
                link,
                attached=bool(files),
                updated=versions.was_sent(statement_id, mailbox.address),
            )
            tells = [tell | {"facility": code} for code in on_it]
            composed.outgoing.append(outgoing(letter, sender, mailbox, about, tells, files))
    return composed


def statement_files(statement: Mapping[str, Any]) -> list[Made]:
    """What is attached to a statement's message, made when it is queued and kept in the outbox:
    the archive holds invoices only."""
    name = statement_file(dict(statement), "pdf")
    return [Made(name, render_statement_pdf(dict(statement)))]


class _Versions:
    """What was told of each invoice or statement, by its key and the recipient's address."""

    def __init__(self, found: pl.DataFrame) -> None:
        self._of: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in found.sort("version").iter_rows(named=True):
            self._of.setdefault((row["key"], row["address"]), []).append(row)

    def last(self, key: str, address: str) -> dict[str, Any] | None:
        """What was told last and not withdrawn."""
        told = [row for row in self._of.get((key, address), []) if row["state"] != CANCELLED]
        return told[-1] if told else None

    def was_sent(self, key: str, address: str) -> bool:
        """Whether some version may have been received."""
        rows = self._of.get((key, address), [])
        return any(row["state"] in (SENDING, SENT, UNCERTAIN) for row in rows)

    def next(self, key: str, address: str) -> int:
        """The number of the next version."""
        return max((row["version"] for row in self._of.get((key, address), [])), default=0) + 1


def _versions(connection: Connection, kind: str, keys: list[str], composed: Composed) -> _Versions:
    found = messages.read_told(connection, kind=kind, keys=keys)
    composed.standing = found["message"].unique().sort().to_list()
    return _Versions(found)


def _wanted(
    book: PriceBook,
    rows: pl.DataFrame,
    versions: _Versions,
    wished: dict[str, str],
    composed: Composed,
) -> dict[Mailbox, list[str]]:
    """The numbers of the invoices that each recipient is to be told."""
    wanted: dict[Mailbox, list[str]] = {}
    for team in rows["team"].unique().sort():
        mailboxes, wrong = administrators_of(book, team)
        composed.problems += wrong
        mine = rows.filter(pl.col("team") == team)["number"].to_list()
        if not mailboxes:
            composed.problems.append(
                f"team {team} has no administrators in the price book, so nobody is told of "
                f"{len(mine):,} invoices"
            )
        for mailbox in mailboxes:
            for number in mine:
                if versions.last(number, mailbox.address) is not None:
                    composed.before += 1
                elif wished.get(mailbox.address) == NONE:
                    composed.unwished += 1
                else:
                    wanted.setdefault(mailbox, []).append(number)
    return wanted


def _ready(
    connection: Connection, archive: Path, rows: pl.DataFrame, problems: list[str]
) -> dict[str, _Ready]:
    """The invoices with their documents, as the audit records have them."""
    records: dict[str, str] = {}
    for facility in rows["facility"].unique():
        known = issuings.read_issuings(connection, facility)
        records |= dict(known.select("id", "record").iter_rows())
    found = {}
    for row in rows.iter_rows(named=True):
        data, number = f"{records[row['issuing']]}/data", row["number"]
        try:
            text = read_archived(archive, f"{data}/invoices/{number}.json", row["fingerprint"])
            place = f"{data}/documents/{number}.pdf"
            sha256 = hashlib.sha256(read_archived(archive, place)).hexdigest()
        except InvalidRecord as error:
            problems.append(f"invoice {number} is not told: {error}")
        else:
            pdf = Archived(place, sha256)
            found[number] = _Ready(json.loads(text), row["team"], row["fingerprint"], pdf)
    return found


def _parts(invoices: list[_Ready], size: int) -> Iterator[list[_Ready]]:
    return (invoices[at : at + size] for at in range(0, len(invoices), size))


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
    """Of what a statement comes to; that it is paid does not make it another."""
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
    told = canonical_json({"invoices": invoices, "rules": rules, "totals": statement["totals"]})
    return hashlib.sha256(told.encode()).hexdigest()
