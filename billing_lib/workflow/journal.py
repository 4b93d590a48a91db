"""The general-ledger journal: what was issued, voided and replaced, posted exactly once.

    journal 3 of RC   RC-1994-00003   issue      dated as the invoice
    journal 4 of RC   RC-1994-00003   reversal   dated when it was voided
                      RC-1994-00009   issue      in place of RC-1994-00002 …
                      RC-1994-00002   reversal   … which is taken back on the same day

What is not posted yet is a preview. Posting gives it the facility's next number and keeps which
invoices it holds and with which accounts and columns, so it reads the same ever after.

Postings: what an issued invoice moves in the general ledger, and its reversal back again.

    RC-1994-00003   debit 370-1   89.00   credit RC       144.00
                    debit 370-2   59.33   credit RC-tax     4.33

Expense codes are debited with what they were issued to pay, the prepaid funds with what was drawn
from them; the facility is credited before tax, and the tax apart. An amount below zero changes
sides, nothing of nothing is posted, and a reversal is the same with its sign turned.

A facility's month as costs: what its invoices that count bill, and what is still to bill.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import UnknownFacility, UnknownJournal
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import runs, statements
from billing_lib.ledger.charges import read_billed, read_credits, read_pending
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.events import read_events, record_event
from billing_lib.ledger.states import ISSUED, SUPERSEDED, VOID
from billing_lib.pricing.clock import Period, local_date
from billing_lib.pricing.fields import Template, canonical_json
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.pricing.pricebook import ACCOUNT_FIELDS, Accounts, PriceBook
from billing_lib.workflow.permissions import ISSUER, VIEWER, readable, require

EXPENSE, PREPAID, INCOME, TAX = "expense", "prepaid", "income", "tax"
ROLES = (EXPENSE, PREPAID, INCOME, TAX)
"""What accounts are for, in the order in which they are posted."""

ISSUE, REVERSAL = "issue", "reversal"

KEY = ("date", "invoice", "kind")
"""What a transaction is known by."""


def post_invoices(
    transactions: pl.DataFrame, splits: pl.DataFrame, items: pl.DataFrame, accounts: Accounts
) -> pl.DataFrame:
    """The postings of transactions: their columns, ``role``, ``account`` and ``amount``, in
    minor units, debits above zero; by date, invoice and kind.

    Parameters
    ----------
    transactions
        ``date``, ``invoice`` (its number), ``kind`` (issue or reversal), ``facility``,
        ``project``, ``team``, ``period``, ``tax``, ``total``, ``prepaid`` and others.
    splits
        ``invoice``, ``expense_code``, ``amount``.
    items
        What the lines of each item come to: ``invoice``, ``item``, ``total``.

    Raises
    ------
    ValueError
        A transaction does not come to zero.
    """
    mapped = _by_account(items, accounts)
    apart = mapped.group_by("invoice").agg(apart=pl.col("amount").sum())
    own = transactions.join(apart, on="invoice", how="left").with_columns(
        pl.col("tax", "prepaid", "apart").fill_null(0)
    )
    known = own.join(splits.select("invoice", "expense_code", "amount"), on="invoice", how="left")
    credited = own.join(mapped, on="invoice")
    income = own.with_columns(amount=pl.col("total") - pl.col("tax") - pl.col("apart"))
    parts = (
        _posted(known, EXPENSE, accounts.debit, pl.col("amount")),
        _posted(own, PREPAID, accounts.prepaid, pl.col("prepaid")),
        _posted(income, INCOME, accounts.credit, -pl.col("amount")),
        *(
            _posted(credited.filter(pl.col("account") == name), INCOME, name, -pl.col("amount"))
            for name in mapped["account"].unique().sort()
        ),
        _posted(own, TAX, accounts.tax, -pl.col("tax")),
    )
    turned = pl.when(pl.col("kind") == REVERSAL).then(-1).otherwise(1)
    rank = pl.col("role").replace_strict({role: at for at, role in enumerate(ROLES)})
    names = (*transactions.columns, "role", "account")
    postings = (
        pl.concat([part.select(*names, "amount") for part in parts])
        .with_columns(amount=pl.col("amount") * turned)
        .group_by(names, maintain_order=True)
        .agg(pl.col("amount").sum())
        .filter(pl.col("amount") != 0)
        .sort(*KEY, rank, "account")
    )
    require_balance(postings)
    return postings


def require_balance(postings: pl.DataFrame) -> None:
    """Refuse postings of which a transaction does not come to zero (ValueError)."""
    sums = postings.group_by(KEY).agg(pl.col("amount").sum()).filter(pl.col("amount") != 0)
    if sums.height:
        row = sums.sort(*KEY).row(0, named=True)
        raise ValueError(f"the {row['kind']} of {row['invoice']} is off by {row['amount']}")


def _by_account(items: pl.DataFrame, accounts: Accounts) -> pl.DataFrame:
    """What of the invoices goes to accounts of items: ``invoice``, ``account``, ``amount``."""
    schema = {"item": pl.String, "account": pl.String}
    names = pl.DataFrame(list(accounts.items.items()), schema=schema, orient="row")
    found = items.join(names, on="item").group_by("invoice", "account")
    return found.agg(amount=pl.col("total").sum())


def _posted(rows: pl.DataFrame, role: str, account: str, amount: pl.Expr) -> pl.DataFrame:
    fields = rows.select(pl.col(*ACCOUNT_FIELDS, "^expense_code$"))
    name = Template.parse(account).of(fields).alias("account")
    return rows.with_columns(name, role=pl.lit(role), amount=amount.cast(pl.Int64))


@dataclass(frozen=True)
class Journal:
    """A journal, or what the next one would hold.

    Attributes
    ----------
    number
        None for several, or for what is not posted.
    columns
        Of its CSV: a template by name.
    postings
        As ``post_invoices`` makes them, with ``journal`` (its number, null before),
        ``description``, ``run`` and ``currency``.
    """

    facility: str
    number: int | None
    currency: str
    columns: dict[str, str]
    postings: pl.DataFrame

    @property
    def sentence(self) -> str:
        """What it holds, in words."""
        places = minor_places(self.currency)
        count = self.postings.select(KEY).unique().height
        debit = self.postings.filter(pl.col("amount") > 0)["amount"].sum()
        what = "transaction" if count == 1 else "transactions"
        return f"{count:,} {what}, {money_text(int(debit), places)} {self.currency} debited"


@dataclass(frozen=True)
class Selection:
    """Which transactions: of one run, and dated until a day; all by default."""

    run: str | None = None
    until: date | None = None

    def of(self, transactions: pl.DataFrame) -> pl.DataFrame:
        """Those of the transactions."""
        wanted = pl.lit(value=True)
        if self.run is not None:
            wanted &= pl.col("run") == self.run
        if self.until is not None:
            wanted &= pl.col("date") <= self.until
        return transactions.filter(wanted)


EVERYTHING = Selection()


def read_journal(
    engine: Engine,
    book: PriceBook,
    number: int | None = None,
    selection: Selection = EVERYTHING,
    *,
    posted: bool = False,
) -> Journal:
    """A posted journal; without a number what is not posted yet, or all that is.

    Parameters
    ----------
    posted
        All that is posted, with each journal's own accounts and today's columns.

    Raises
    ------
    UnknownJournal, UnknownRun
        The facility has none with this number or id.
    """
    facility = book.facility.code
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        _require_run(connection, selection)
        transactions = selection.of(_transactions(connection, book))
        accounts = book.facility.journal
        if number is None and not posted:
            fresh = transactions.filter(pl.col("journal").is_null())
            return _journal(connection, book, None, accounts.columns, [(fresh, accounts)])
        parts = {
            row["number"]: (
                transactions.filter(pl.col("journal") == row["number"]),
                Accounts.model_validate_json(row["settings"]),
            )
            for row in statements.read_journals(connection, facility).iter_rows(named=True)
        }
        if number is None:
            every = [(transactions.clear(), accounts), *parts.values()]
            return _journal(connection, book, None, accounts.columns, every)
        if number not in parts:
            raise UnknownJournal(
                f"{facility} has no journal {number}",
                remedy=f"'billing journals {facility}' lists them",
            )
        columns = parts[number][1].columns
        return _journal(connection, book, number, columns, [parts[number]])


def post_journal(
    engine: Engine, book: PriceBook, selection: Selection = EVERYTHING
) -> Journal | None:
    """Post what is not posted yet as the facility's next journal; None where that is nothing.

    Raises
    ------
    UnknownRun
        There is no such run.
    """
    facility, accounts = book.facility.code, book.facility.journal
    with writing(engine) as connection:
        require(connection, facility, ISSUER)
        _require_run(connection, selection)
        statements.lock_journals(connection, facility)
        transactions = selection.of(_transactions(connection, book))
        fresh = transactions.filter(pl.col("journal").is_null())
        if fresh.height == 0:
            return None
        entries = fresh.select("kind", "date", number="invoice")
        number = statements.insert_journal(
            connection, facility, accounts.model_dump_json(), entries
        )
        numbered = fresh.with_columns(journal=pl.lit(number, dtype=pl.Int32))
        parts = [(numbered, accounts)]
        journal = _journal(connection, book, number, accounts.columns, parts)
        record_event(
            connection,
            facility,
            kind="journal",
            subject=f"journal {number}",
            reason=journal.sentence,
            after=canonical_json({"entries": str(fresh.height)}),
        )
    return journal


def list_journals(engine: Engine, book: PriceBook) -> pl.DataFrame:
    """The posted journals: ``journal``, ``posted_at``, ``login``, ``invoices``, ``reversals``,
    ``from``, ``to``."""
    facility = book.facility.code
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        known = statements.read_journals(connection, facility)
        entries = statements.read_journal_entries(connection, facility)
    back = pl.col("kind") == REVERSAL
    counted = entries.group_by("journal").agg(
        invoices=(~back).sum(),
        reversals=back.sum(),
        first=pl.col("date").min(),
        last=pl.col("date").max(),
    )
    at = pl.col("posted_at").dt.convert_time_zone(book.facility.timezone)
    return (
        known.rename({"number": "journal"})
        .join(counted, on="journal", maintain_order="left")
        .select(
            "journal",
            at.dt.to_string("%Y-%m-%d %H:%M").alias("posted_at"),
            "login",
            "invoices",
            "reversals",
            pl.col("first").cast(pl.String).alias("from"),
            pl.col("last").cast(pl.String).alias("to"),
        )
    )


def _require_run(connection: Connection, selection: Selection) -> None:
    if selection.run is not None:
        runs.read_run(connection, selection.run)


def _transactions(connection: Connection, book: PriceBook) -> pl.DataFrame:
    """All that the facility ever had and has to post, with the journal that it is in.

    What becomes of invoices is read before what was issued: an issuing that comes in between is
    then missing as a whole, and is for the next journal.
    """
    facility = book.facility.code
    lives = ledger_invoices.read_invoices(connection, facility, states=ISSUED)
    issued = ledger_invoices.read_issued(connection, facility=facility)
    void = lives.filter(pl.col("state") == VOID)
    voided = read_events(connection, facility, kinds=["void"], subjects=void["code"])
    entries = statements.read_journal_entries(connection, facility)
    voided_on = voided.select(
        code="subject", voided_on=local_date(pl.col("at"), book.facility.timezone)
    )
    own = issued.select(
        *("facility", "project", "team", "period", "currency", "tax", "total", "prepaid"),
        invoice="number",
        date="invoice_date",
    ).join(lives.select("code", "run", "state", invoice="number"), on="invoice")
    by = own.select("run", date="date", by="invoice").join(
        lives.drop_nulls("replaces").select(invoice="replaces", by="number"), on="by"
    )
    back = (
        own.filter(pl.col("state").is_in([SUPERSEDED, VOID]))
        .join(voided_on, on="code", how="left")
        .join(by, on="invoice", how="left", suffix="_by")
        .with_columns(
            # Never before what it takes back, whatever date that was given.
            date=pl.max_horizontal("date", pl.coalesce("voided_on", "date_by")),
            run=pl.coalesce("run_by", "run"),
            kind=pl.lit(REVERSAL),
            reference=pl.format("{}/reversal", "invoice"),
            what=pl.when(pl.col("state") == VOID)
            .then(pl.format("Invoice {} void", "invoice"))
            .otherwise(pl.format("Invoice {} replaced by {}", "invoice", "by")),
        )
    )
    forth = own.with_columns(
        kind=pl.lit(ISSUE), reference="invoice", what=pl.format("Invoice {}", "invoice")
    )
    names = (*forth.drop("code", "state", "what").columns, "description")
    described = pl.format("{}, project {}, {}", "what", "project", "period")
    both = pl.concat(
        [part.with_columns(description=described).select(names) for part in (forth, back)]
    )
    posted = entries.select("kind", "journal", invoice="number", posted_on="date")
    return (
        both.join(posted, on=["invoice", "kind"], how="left")
        .with_columns(date=pl.coalesce("posted_on", "date"))
        .drop("posted_on")
        .sort(*KEY)
    )


def _journal(
    connection: Connection,
    book: PriceBook,
    number: int | None,
    columns: dict[str, str],
    parts: Sequence[tuple[pl.DataFrame, Accounts]],
) -> Journal:
    """The journal of these transactions, each part posted with its accounts."""
    numbers = [name for part, _ in parts for name in part["invoice"].unique()]
    splits = ledger_invoices.read_splits(connection, numbers)
    items = ledger_invoices.read_item_totals(connection, numbers)
    postings = [
        post_invoices(part, splits.rename({"number": "invoice"}), items, accounts)
        for part, accounts in parts
    ]
    facility = book.facility
    return Journal(facility.code, number, facility.currency, columns, pl.concat(postings))


@dataclass(frozen=True)
class Costs:
    """A facility's month.

    Attributes
    ----------
    charges
        Schema BILLED_CHARGE, ``number`` null for what is still to bill; ``credits``, the number
        of the invoice of which a line gives some back.
    invoices
        Those that count (schema ISSUED_INVOICE).
    adjustments
        What rules changed on them (schema INVOICE_ADJUSTMENT).
    """

    book: PriceBook
    period: Period
    charges: pl.DataFrame
    invoices: pl.DataFrame
    adjustments: pl.DataFrame


def read_costs(
    engine: Engine, books: Mapping[str, PriceBook], period: Period, facility: str | None = None
) -> list[Costs]:
    """The month of a facility, or of all that who is asking may read.

    Raises
    ------
    UnknownFacility
        No price book is for it.
    """
    if facility is not None and facility not in books:
        known = ", ".join(books) or "none"
        raise UnknownFacility(f"no price book is for the facility '{facility}' (known: {known})")
    with reading(engine) as connection:
        if facility is not None:
            require(connection, facility, VIEWER)
        wanted = readable(connection, books) if facility is None else [facility]
        return [_of(connection, books[code], period) for code in wanted]


def _of(connection: Connection, book: PriceBook, period: Period) -> Costs:
    facility, month = book.facility.code, str(period)
    charges = pl.concat(
        [
            read_billed(connection, facility, month),
            read_pending(connection, facility, month),
        ],
        how="diagonal",
    )
    invoices = ledger_invoices.read_issued(connection, facility=facility, period=month, active=True)
    return Costs(
        book,
        period,
        charges.with_columns(
            first=pl.coalesce("original", "charge"),
        )
        .join(read_credits(connection, facility), left_on="first", right_on="charge", how="left")
        .drop("first"),
        invoices,
        ledger_invoices.read_adjustments(connection, invoices["number"].to_list()),
    )
