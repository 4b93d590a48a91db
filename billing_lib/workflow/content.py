"""The content of a sign-off and of an approval, and the checks at freezing: the month is billed as
it was seen, and every amount came about as it is recorded.

    ready    2020-04        after {"charges":"3","content":"5f0c…","total":"160.83"}
    approve  RC-…/p1        after {"content":"91be…","step":"1"}

A content is the sha256 of every charge, with its rate, split, amounts and texts, and of the notes
and decisions on findings, as CSV in the order of their keys. It leaves out what billing itself
changes: state, run and invoice. A program that writes past the library, such as psql, can write
amounts that no pricing gave; a database cannot price. So freezing prices everything again, and
checks the usage against the event that loaded it and the kept rates against the price book.
"""

import datetime as dt
import hashlib
import json

import polars as pl
from sqlalchemy import Connection

from billing_lib.errors import NotPermitted, NotReady, count_of
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events, statements, usage
from billing_lib.ledger.acts import FIRST_SEEN, OUTSIDE, PRICE_BOOK
from billing_lib.ledger.schema import KEPT
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.pricing.rates import Rate
from billing_lib.workflow.findings import ANY, DISMISS, RESTORE
from billing_lib.workflow.notes import NOTE_KIND
from billing_lib.workflow.permissions import require_noted_approval
from billing_lib.workflow.price import changes_in_force

_SEEN = [name for name in KEPT if name not in ("state", "run", "invoice")]


def content(charges: pl.DataFrame, splits: pl.DataFrame, decisions: pl.DataFrame) -> str:
    """The sha256 of charges (schema KEPT), their splits (SPLIT) and events on them (EVENT)."""
    digest = hashlib.sha256()
    for frame in (
        charges.select(_SEEN).sort("charge"),
        splits.sort("charge", "position"),
        decisions.select("kind", "subject", "reason", "after"),
    ):
        digest.update(frame.write_csv().encode())
    return digest.hexdigest()


def month_contents(connection: Connection, facility: str, month: str) -> dict[str | None, str]:
    """The contents of a month: of each ad hoc invoice by its code, and of the rest by None."""
    counted = ledger_charges.read_counted(connection, facility, month)
    splits = ledger_charges.read_splits(connection, facility, codes=counted["charge"])
    decisions = events.read_events(connection, facility, kinds=[DISMISS, RESTORE, NOTE_KIND])
    of_month = pl.col("subject").str.starts_with(month) | pl.col("subject").str.starts_with(ANY)
    decided = decisions.filter(of_month)
    contents: dict[str | None, str] = {None: content(counted.clear(), splits.clear(), decided)}
    for (ad_hoc,), charges in counted.group_by("ad_hoc"):
        mine = splits.join(charges, on="charge", how="semi")
        told = decided if ad_hoc is None else decided.clear()
        contents[None if ad_hoc is None else str(ad_hoc)] = content(charges, mine, told)
    return contents


def invoice_content(connection: Connection, facility: str, code: str) -> str:
    """The content of an invoice that is being approved."""
    charges = ledger_charges.read_charges(connection, facility, invoices=[code])
    splits = ledger_charges.read_splits(connection, facility, invoices=[code])
    notes = events.read_events(connection, facility, kinds=[NOTE_KIND])
    about = charges.select(subject=pl.format("{}/{}", "period", "project")).unique()
    return content(charges, splits, notes.join(about, on="subject", how="semi"))


def require_approvals(connection: Connection, book: PriceBook, approved: pl.DataFrame) -> None:
    """Check that each reviewer approved these invoices (schema INVOICE) as they are now.

    Raises
    ------
    NotReady
        A step is not an event of one of its reviewers, or its content was another, or no
        administrator has noted these reviewers.
    """
    facility, steps = book.facility.code, book.review_steps
    require_noted_approval(connection, book)
    if not steps:
        return
    moves = events.read_events(
        connection,
        facility,
        kinds=["submit", "approve", "send_back"],
        subjects=approved["code"],
    )
    for code in approved["code"]:
        now = invoice_content(connection, facility, code)
        given: list[tuple[str, str | None]] = []
        for move in moves.filter(subject=code).iter_rows(named=True):
            if move["kind"] == "approve":
                given.append((move["login"], json.loads(move["after"]).get("content")))
            else:
                given = [] if move["kind"] == "submit" else given[:-1]
        for step, reviewers in enumerate(steps):
            login, seen = given[step] if step < len(given) else ("nobody", None)
            if login not in reviewers:
                raise NotReady(
                    f"invoice {code} was approved by {login}, and it is the turn of "
                    f"{' or '.join(reviewers)}",
                    remedy="reject it, so that its reviewers approve it",
                )
            if seen != now:
                raise NotReady(
                    f"invoice {code} is not as {login} approved it",
                    remedy="reject it, so that its reviewers approve it as it is",
                )


def own_changes(connection: Connection, book: PriceBook, code: str, login: str) -> str | None:
    """The login's changes to an amount of an invoice, in words: ``changed 2 charges …``."""
    facility = book.facility.code
    charges = ledger_charges.read_charges(connection, facility, invoices=[code])
    family = ledger_charges.read_families(connection, facility, charges["charge"])["member"]
    changes = events.read_events(
        connection,
        facility,
        kinds=["adjust", "add_line", "delete", "new_rate"],
        subjects=family.unique(),
    )
    own = changes.filter(pl.col("login") == login)["subject"].unique().sort()
    if own.len():
        return (
            f"changed {count_of(own.len(), 'charge')} of invoice {code}, the first of them "
            f"{facility}/{own[0]}"
        )
    records = charges["record"].drop_nulls().unique()
    mended = events.read_events(connection, facility, kinds=["mend"], subjects=records)
    own = mended.filter(pl.col("login") == login)["subject"].sort()
    if own.len():
        return f"corrected the usage record {own[0]} of invoice {code}"
    files = usage.read_standing(connection, facility, records)["file_sha256"].unique()
    loaded = usage.read_files(connection, facility).filter(
        pl.col("sha256").is_in(files.implode()) & (pl.col("login") == login)
    )
    if loaded.height:
        return f"loaded the file {loaded['name'][0]}, whose usage invoice {code} bills"
    for project in charges["project"].unique().sort():
        entries = statements.read_entries(connection, facility, project)
        drawn = entries.filter(pl.col("kind") == "draw")["sequence"].max()
        paid_in = entries.filter(
            (pl.col("kind") == "deposit")
            & (pl.col("login") == login)
            & (pl.col("sequence") > (drawn or 0))
        )
        if paid_in.height:
            return f"entered the deposit of project {project}, from which invoice {code} draws"
    books = events.read_events(connection, facility, kinds=[PRICE_BOOK])
    changed = books.filter(~pl.col("reason").is_in([OUTSIDE, FIRST_SEEN])).tail(1)
    if changed.filter(pl.col("login") == login).height:
        return f"changed the price book by which invoice {code} is priced"
    return None


def require_recorded(
    connection: Connection, book: PriceBook, charges: pl.DataFrame, files: pl.DataFrame
) -> None:
    """Check at freezing that charges (schema KEPT) come from usage, rates and lines as recorded.

    ``files`` are those of their usage, as workflow/price.py gathers them.

    Raises
    ------
    NotReady
        One does not; the error names the charge.
    """
    _require_lines(connection, book, charges)
    _require_rates(connection, book, charges)
    _require_usage(connection, book, files)


def _require_lines(connection: Connection, book: PriceBook, charges: pl.DataFrame) -> None:
    places = minor_places(book.facility.currency)
    lines = charges.filter(pl.col("kind") == "line").sort("charge")
    _, added = changes_in_force(connection, book.facility.code, lines["charge"])
    for code, amount in lines.select("charge", "raw_total").iter_rows():
        if added.get(code, {}).get("amount") != money_text(amount, places):
            raise _differs(book, code, "its amount is not that of the event that added it")


def _require_rates(connection: Connection, book: PriceBook, charges: pl.DataFrame) -> None:
    facility = book.facility.code
    used = charges.drop_nulls("rate").sort("charge").unique("rate", keep="first")
    kept = ledger_charges.read_rates(connection, facility, used["rate"])
    given = {rate.fingerprint for rate in book.rates}
    since = _noted_at(connection, book)
    for fingerprint, body, kept_at, code in (
        kept.join(used.select("charge", fingerprint="rate"), on="fingerprint")
        .select("fingerprint", "body", "kept_at", "charge")
        .iter_rows()
    ):
        if Rate.model_validate_json(body).fingerprint != fingerprint:
            raise _differs(book, code, "its kept rate is not the one that it names")
        if fingerprint not in given and since is not None and kept_at > since:
            raise _differs(book, code, "the price book gave no such rate as the one kept for it")


def _noted_at(connection: Connection, book: PriceBook) -> dt.datetime | None:
    """The first time that the ledger saw the price book as it is now, if it did."""
    noted = events.read_events(connection, book.facility.code, kinds=[PRICE_BOOK])
    sha256 = pl.col("after").str.json_path_match("$.sha256")
    times = noted.filter(sha256 == book.sha256)["at"]
    moment: dt.datetime | None = times[0] if times.len() else None
    return moment


def _require_usage(connection: Connection, book: PriceBook, files: pl.DataFrame) -> None:
    """Compare the records of each file with the events that loaded it."""
    facility = book.facility.code
    told = events.read_events(connection, facility, kinds=["load", "mend"])
    mended = told.filter(pl.col("kind") == "mend")["after"].str.json_path_match("$.id").drop_nulls()
    loads = told.filter(pl.col("kind") == "load").with_columns(
        sha256=pl.col("after").str.json_path_match("$.sha256"),
        rows=pl.col("after").str.json_path_match("$.usage"),
        new=pl.col("after").str.json_path_match("$.new").cast(pl.Int64),
    )
    for file in files.iter_rows(named=True):
        of_file = loads.filter((pl.col("sha256") == file["file_sha256"]) & (pl.col("new") > 0))
        records, content = file["records"], file["content"]
        if mended.len() or records != of_file["new"].sum():  # not just these are of the file
            first = usage.read_first_versions(connection, facility, file["file_sha256"]).filter(
                ~pl.col("record").is_in(mended.implode())
            )
            records, content = first.height, usage.content(first)
        right = records == of_file["new"].sum()
        if not right or (of_file.height == 1 and content != of_file["rows"][0]):
            code = file["charge"]
            raise _differs(book, code, "the usage of its file is not as it was loaded")


def _differs(book: PriceBook, code: str, what: str) -> NotReady:
    facility = book.facility.code
    return NotReady(
        f"the charge {facility}/{code} cannot be issued: {what}",
        remedy=f"'billing events {facility}' lists what was done; rate the month again",
    )


def require_other(connection: Connection, book: PriceBook, code: str, login: str) -> None:
    """Raise NotPermitted if two persons are asked for and the login changed an amount."""
    approval = book.facility.approval
    if approval is None or not approval.two_persons:
        return
    own = own_changes(connection, book, code, login)
    if own is not None:
        raise NotPermitted(
            f"{login} {own}, and {book.facility.code} asks for two persons",
            remedy="another reviewer of this step approves it",
        )


def require_chain(connection: Connection, facility: str) -> None:
    """Check the chain of events since the last invoice was issued; NotReady if it is broken."""
    issued = events.read_events(connection, facility, kinds=["issue"])["sequence"]
    last = issued[-1] if issued.len() else 0
    breaks = events.check_chain(connection, facility, after=last, times=False)
    if breaks:
        raise NotReady(
            f"the chain of events is broken: {breaks[0]}",
            remedy=f"'billing events {facility}' lists all breaks; nothing is issued before the "
            "ledger is restored",
        )
