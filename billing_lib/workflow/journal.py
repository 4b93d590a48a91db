"""The general-ledger journal: issued, voided and replaced invoices, each posted exactly once.

    journal 3 of RC   RC-1994-00003   issue      dated as the invoice
    journal 4 of RC   RC-1994-00003   reversal   dated when it was voided
                      RC-1994-00009   issue      in place of RC-1994-00002 …
                      RC-1994-00002   reversal   … which is taken back on the same day

Unposted transactions are a preview. Posting gives them the facility's next journal number and
keeps their invoices, accounts and columns, so that a posted journal never changes.

    RC-1994-00003   debit 370-1   89.00   credit RC       144.00
                    debit 370-2   59.33   credit RC-tax     4.33

An issue debits the expense codes with their shares and the prepaid funds with the draw, and
credits the facility before tax and the tax apart. A negative amount changes sides, a zero amount
is not posted, and a reversal turns every sign. ``read_costs`` reads a month as billed and pending
costs instead.
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
from billing_lib.ledger.database import reading
from billing_lib.ledger.events import read_events, record_event
from billing_lib.ledger.states import NUMBERED, SUPERSEDED, VOID
from billing_lib.pricing.clock import Period, local_date
from billing_lib.pricing.fields import Template, canonical_json
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.pricing.pricebook import ACCOUNT_FIELDS, Accounts, PriceBook
from billing_lib.workflow.permissions import ISSUER, VIEWER, changing, readable, require

EXPENSE, PREPAID, INCOME, TAX = "expense", "prepaid", "income", "tax"
ROLES = (EXPENSE, PREPAID, INCOME, TAX)
"""The roles of accounts, in the order of posting."""

ISSUE, REVERSAL = "issue", "reversal"

KEY = ("date", "invoice", "kind")
"""The key of a transaction."""


def post_invoices(
    transactions: pl.DataFrame, splits: pl.DataFrame, items: pl.DataFrame, accounts: Accounts
) -> pl.DataFrame:
    """Post transactions: their columns, ``role``, ``account`` and ``amount``.

    Amounts are in minor units, debits positive; sorted by date, invoice and kind.

    Parameters
    ----------
    transactions
        ``date``, ``invoice`` (its number), ``kind`` (issue or reversal), ``facility``,
        ``project``, ``team``, ``period``, ``tax``, ``total``, ``prepaid`` and others.
    splits
        ``invoice``, ``expense_code``, ``amount``.
    items
        The totals of lines by item: ``invoice``, ``item``, ``total``.
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
    """Raise ValueError if the postings of a transaction do not sum to zero."""
    sums = postings.group_by(KEY).agg(pl.col("amount").sum()).filter(pl.col("amount") != 0)
    if sums.height:
        row = sums.sort(*KEY).row(0, named=True)
        raise ValueError(f"the {row['kind']} of {row['invoice']} is off by {row['amount']}")


def _by_account(items: pl.DataFrame, accounts: Accounts) -> pl.DataFrame:
    """Sum the items with accounts of their own: ``invoice``, ``account``, ``amount``."""
    schema = {"item": pl.String, "account": pl.String}
    names = pl.DataFrame(list(accounts.items.items()), schema=schema, orient="row")
    mapped = items.join(names, on="item").group_by("invoice", "account")
    return mapped.agg(amount=pl.col("total").sum())


def _posted(rows: pl.DataFrame, role: str, account: str, amount: pl.Expr) -> pl.DataFrame:
    fields = rows.select(pl.col(*ACCOUNT_FIELDS, "^expense_code$"))
    name = Template.parse(account).of(fields).alias("account")
    return rows.with_columns(name, role=pl.lit(role), amount=amount.cast(pl.Int64))


@dataclass(frozen=True)
class Journal:
    """A posted journal, or several or the unposted transactions without a number.

    ``columns`` are the CSV's columns, a template by name. ``postings`` has ``journal`` (null if
    unposted), ``description``, ``run`` and ``currency`` beside the columns of ``post_invoices``.
    """

    facility: str
    number: int | None
    currency: str
    columns: dict[str, str]
    postings: pl.DataFrame

    @property
    def sentence(self) -> str:
        """Its number of transactions and total debit, as a sentence."""
        places = minor_places(self.currency)
        count = self.postings.select(KEY).unique().height
        debit = self.postings.filter(pl.col("amount") > 0)["amount"].sum()
        noun = "transaction" if count == 1 else "transactions"
        return f"{count:,} {noun}, {money_text(int(debit), places)} {self.currency} debited"


@dataclass(frozen=True)
class Selection:
    """A selection of transactions: of a run, until a day, of some invoices; all by default."""

    run: str | None = None
    until: date | None = None
    numbers: tuple[str, ...] = ()

    def of(self, transactions: pl.DataFrame) -> pl.DataFrame:
        """Select the transactions."""
        wanted = pl.lit(value=True)
        if self.run is not None:
            wanted &= pl.col("run") == self.run
        if self.until is not None:
            wanted &= pl.col("date") <= self.until
        if self.numbers:
            wanted &= pl.col("invoice").is_in(self.numbers)
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
    """Read a posted journal, or without a number the unposted transactions.

    With ``posted`` instead of a number, read all journals, each with its own accounts, under
    today's columns.
    """
    facility = book.facility.code
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        transactions = _transactions(connection, book, selection)
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
    """Post the unposted transactions as the facility's next journal; None without any."""
    facility, accounts = book.facility.code, book.facility.journal
    with changing(engine, book, ISSUER) as connection:
        statements.lock_journals(connection, facility)
        transactions = _transactions(connection, book, selection)
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


def reverse_invoices(
    connection: Connection, book: PriceBook, replacing: pl.DataFrame, day: date
) -> pl.DataFrame:
    """The postings of ``post_invoices`` that take replaced invoices back on a day.

    ``replacing`` has the number ``invoice`` of each replaced invoice, and the ``number`` that takes
    its place.
    """
    facility = book.facility.code
    issued = ledger_invoices.read_issued(connection, facility=facility)
    back = (
        _issues(issued)
        .join(replacing, on="invoice")
        .with_columns(
            date=pl.max_horizontal("date", pl.lit(day)),
            kind=pl.lit(REVERSAL),
            description=pl.format(
                "Invoice {} replaced by {}, project {}, {}",
                "invoice",
                "number",
                "project",
                "period",
            ),
        )
    )
    accounts = book.facility.journal
    return _journal(connection, book, None, accounts.columns, [(back, accounts)]).postings


def list_journals(engine: Engine, book: PriceBook) -> pl.DataFrame:
    """List the posted journals.

    Columns: ``journal``, ``posted_at``, ``login``, ``invoices``, ``reversals``, ``from``, ``to``.
    """
    facility = book.facility.code
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        journals = statements.read_journals(connection, facility)
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
        journals.rename({"number": "journal"})
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


def _transactions(connection: Connection, book: PriceBook, selection: Selection) -> pl.DataFrame:
    """Read the selected transactions of a facility with their journal, null if unposted.

    The states of invoices are read before the issued invoices. An issuing committed in between is
    then missing as a whole, and comes into the next journal.
    """
    facility = book.facility.code
    if selection.run is not None:
        runs.read_run(connection, selection.run)  # refuses an unknown run
    lives = ledger_invoices.read_invoices(connection, facility, states=NUMBERED)
    issued = ledger_invoices.read_issued(connection, facility=facility)
    void = lives.filter(pl.col("state") == VOID)
    voided = read_events(connection, facility, kinds=["void"], subjects=void["code"])
    entries = statements.read_journal_entries(connection, facility)
    voided_on = voided.select(
        code="subject", voided_on=local_date(pl.col("at"), book.facility.timezone)
    )
    own = _issues(issued).join(lives.select("code", "run", "state", invoice="number"), on="invoice")
    by = own.select("run", date="date", by="invoice").join(
        lives.drop_nulls("replaces").select(invoice="replaces", by="number"), on="by"
    )
    back = (
        own.filter(pl.col("state").is_in([SUPERSEDED, VOID]))
        .join(voided_on, on="code", how="left")
        .join(by, on="invoice", how="left", suffix="_by")
        .with_columns(
            # A reversal is never dated before its issue, whose date staff choose.
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
    dated = both.join(posted, on=["invoice", "kind"], how="left")
    dated = dated.with_columns(date=pl.coalesce("posted_on", "date")).drop("posted_on")
    return selection.of(dated.sort(*KEY))


def _issues(issued: pl.DataFrame) -> pl.DataFrame:
    """Issued invoices (schema ISSUED_INVOICE) with the columns of a transaction."""
    return issued.select(
        *("facility", "project", "team", "period", "currency", "tax", "total", "prepaid"),
        invoice="number",
        date="invoice_date",
    )


def _journal(
    connection: Connection,
    book: PriceBook,
    number: int | None,
    columns: dict[str, str],
    parts: Sequence[tuple[pl.DataFrame, Accounts]],
) -> Journal:
    """Make a journal of parts, each posted with its own accounts."""
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
    """A facility's month as billed and pending costs.

    Attributes
    ----------
    charges
        Schema BILLED_CHARGE, ``number`` null for pending charges; ``credits``, the number of the
        invoice that a credit line corrects.
    invoices
        The invoices that count (schema ISSUED_INVOICE).
    adjustments
        Their adjustments by rules (schema INVOICE_ADJUSTMENT).
    """

    book: PriceBook
    period: Period
    charges: pl.DataFrame
    invoices: pl.DataFrame
    adjustments: pl.DataFrame


def read_costs(
    engine: Engine, books: Mapping[str, PriceBook], period: Period, facility: str | None = None
) -> list[Costs]:
    """Read the month of a facility, or of all facilities that the user may read."""
    if facility is not None and facility not in books:
        known = ", ".join(books) or "none"
        raise UnknownFacility(f"no price book is for the facility '{facility}' (known: {known})")
    with reading(engine) as connection:
        if facility is not None:
            require(connection, facility, VIEWER)
        wanted = readable(connection, books) if facility is None else [facility]
        return [_costs_of(connection, books[code], period) for code in wanted]


def _costs_of(connection: Connection, book: PriceBook, period: Period) -> Costs:
    facility, month = book.facility.code, str(period)
    charges = pl.concat(
        [read_billed(connection, facility, month), read_pending(connection, facility, month)],
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
