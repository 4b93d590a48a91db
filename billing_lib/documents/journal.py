"""The general-ledger journal as CSV, for hledger and for beancount; same journal, same bytes.

    date        account  debit   credit  currency  description             reference      invoice
    1993-12-06  370-1    89.00           USD       Invoice RC-1994-00003…  RC-1994-00003  …
    1993-12-06  RC               89.00   USD       Invoice RC-1994-00003…  RC-1994-00003  …

In plain-text accounting, accounts stand below Expenses, Income and Liabilities and consist of
letters, digits and hyphens, as beancount demands; each posting also names the general ledger's
own account.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import polars as pl

from billing_lib.errors import UnknownJournal
from billing_lib.pricing.fields import Template
from billing_lib.pricing.money import minor_places, money_text, money_text_column
from billing_lib.workflow.journal import EXPENSE, INCOME, KEY, PREPAID, TAX, Journal

_ROOTS = {EXPENSE: "Expenses", PREPAID: "Liabilities", INCOME: "Income", TAX: "Liabilities"}
_BEFORE_ALL = "1970-01-01"
"""The opening date of beancount's accounts, before any posting."""


def render_journal(journal: Journal, kind: str) -> str:
    """A journal as text in one of FORMATS."""
    require_journal_format(kind)
    return FORMATS[kind](journal)


def require_journal_format(kind: str) -> None:
    """Refuse an unknown format."""
    if kind not in FORMATS:
        known = ", ".join(FORMATS)
        raise UnknownJournal(f"there is no format '{kind}' of a journal", remedy=f"say {known}")


def account_name(role: str, account: str) -> str:
    """An account's name for hledger and beancount: ``370 1`` → ``Expenses:370-1-1f0c…``.

    Colons make levels. A part of the account's sha256 follows a changed name, so that two accounts
    never become one.
    """
    parts = [_part(text) for text in account.split(":")]
    name = ":".join(part for part in parts if part)
    if name != account:
        mark = hashlib.sha256(account.encode()).hexdigest()[:8]
        name = f"{name}-{mark}" if name else f"X-{mark}"
    return f"{_ROOTS[role]}:{name}"


def _part(text: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9]+", "-", text) if re.search(r"[^A-Za-z0-9-]", text) else text
    trimmed = plain.strip("-")
    return trimmed[:1].upper() + trimmed[1:]


def _csv(journal: Journal) -> str:
    """CSV (RFC 4180): a row per posting, in the columns of the price book."""
    places = minor_places(journal.currency)
    amount = pl.col("amount")
    text = money_text_column(amount.abs(), places)
    day = pl.col("date")
    fields = journal.postings.with_columns(
        pl.col("date").cast(pl.String),
        pl.col("journal").cast(pl.String),
        money_text_column(amount, places),
        year=day.dt.to_string("%Y"),
        month=day.dt.to_string("%m"),
        day=day.dt.to_string("%d"),
        debit=pl.when(amount > 0).then(text).otherwise(pl.lit("")),
        credit=pl.when(amount < 0).then(text).otherwise(pl.lit("")),
        side=pl.when(amount > 0).then(pl.lit("D")).otherwise(pl.lit("C")),
        line=(pl.int_range(pl.len()) + 1).cast(pl.String),
    )
    columns = {name: _filled(Template.parse(text)) for name, text in journal.columns.items()}
    return fields.select(**columns).write_csv(line_terminator="\r\n")


def _filled(template: Template) -> pl.Expr:
    """A template's text; an empty field leaves its place empty, a text without any is null."""
    parts = [
        part
        for literal, field in template.parts
        for part in (pl.lit(literal), *([pl.col(field).fill_null("")] if field else []))
    ]
    text = pl.concat_str(parts)
    return pl.when(text != "").then(text)


def _hledger(journal: Journal) -> str:
    """hledger's format (https://hledger.org/hledger.html), which passes ``check --strict``."""
    places = minor_places(journal.currency)
    example = f"1000.{'0' * places} {journal.currency}"
    lines = [*_title(journal), f"commodity {example}"]
    lines += [f"account {name}" for name in _accounts(journal)]
    for first, rows in _transactions(journal):
        tags = f"run:{_tag(first['run'])}, project:{_tag(first['project'])}"
        description = _plain(first["description"])
        lines += ["", f"{first['date']} ({first['reference']}) {description}  ; {tags}"]
        lines += [
            f"    {name}  {amount} {journal.currency}  ; account:{_tag(account)}"
            for name, amount, account in _amounts(rows, places)
        ]
    return "\n".join(lines) + "\n"


def _beancount(journal: Journal) -> str:
    """beancount's format: https://beancount.github.io/docs/beancount_language_syntax.html"""
    currency, places = journal.currency, minor_places(journal.currency)
    lines = [*_title(journal), f'option "operating_currency" "{currency}"', ""]
    lines += [f"{_BEFORE_ALL} open {name} {currency}" for name in _accounts(journal)]
    for first, rows in _transactions(journal):
        payee = f"{_quoted(journal.facility)} {_quoted(first['description'])}"
        link, reference = f"^{first['invoice']}", f'  reference: "{first["reference"]}"'
        lines += ["", f"{first['date']} * {payee} {link}", reference]
        lines += [f"  {name}: {_quoted(first[name])}" for name in ("run", "project")]
        for name, amount, account in _amounts(rows, places):
            lines += [f"  {name}  {amount} {currency}", f"    account: {_quoted(account)}"]
    return "\n".join(lines) + "\n"


FORMATS: dict[str, Callable[[Journal], str]] = {
    "csv": _csv,
    "hledger": _hledger,
    "beancount": _beancount,
}
"""The writers of a journal, by format."""


def _title(journal: Journal) -> Iterator[str]:
    numbers = journal.postings["journal"].unique().drop_nulls().sort().to_list()
    posted = ", ".join(f"journal {number}" for number in numbers) or "not posted"
    yield f"; {journal.facility}, {posted}"


def _accounts(journal: Journal) -> list[str]:
    used = journal.postings.select("role", "account").unique().iter_rows()
    return sorted(account_name(role, account) for role, account in used)


def _transactions(journal: Journal) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each transaction's first row, and all of its rows."""
    for _, rows in journal.postings.group_by(KEY, maintain_order=True):
        dicts = rows.to_dicts()
        yield dicts[0], dicts


def _amounts(rows: list[dict[str, Any]], places: int) -> Iterator[tuple[str, str, str]]:
    """The account's name and the amount, padded to columns, and the original account."""
    names = [account_name(row["role"], row["account"]) for row in rows]
    amounts = [money_text(row["amount"], places) for row in rows]
    wide, high = max(map(len, names)), max(map(len, amounts))
    for name, amount, row in zip(names, amounts, rows, strict=True):
        yield f"{name:<{wide}}", f"{amount:>{high}}", row["account"]


def _plain(text: str) -> str:
    """A text without comment marks and line breaks."""
    return " ".join(re.sub(r"[;|\x00-\x1f\x85\u2028\u2029]", " ", text).split())


def _tag(text: str) -> str:
    """A tag's value; a comma would end it."""
    return _plain(text).replace(",", " ")


def _quoted(text: str) -> str:
    return '"' + _plain(text).replace("\\", "\\\\").replace('"', '\\"') + '"'
