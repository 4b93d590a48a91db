"""Statements: generating them for a month, and recording that one is paid.

    billing statements 1993-11
    smith-lab-1993-11: 3 invoices, total 1,201.11 USD; 2 invoices put on

Generating can be repeated: it puts on what counts and is on no statement, takes off an OPEN one
what was superseded or is void, and works its rules anew. A PAID one stays; what comes later goes
on the team's next statement of the month.

A statement is of one currency. The first of a team's month is ``smith-lab-1993-11``, the next
``smith-lab-1993-11-2``. Where the team owes in another currency too, that is behind the month:
``smith-lab-1993-11-EUR``, ``smith-lab-1993-11-EUR-2``; where both come at once, behind both.
"""

from dataclasses import dataclass, field

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidAdjustment, NotReady, UnknownStatement
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import placing
from billing_lib.ledger import statements as ledger_statements
from billing_lib.ledger.database import writing
from billing_lib.ledger.events import record_event
from billing_lib.ledger.statements import STATED
from billing_lib.ledger.states import ACTIVE, APPROVED, OPEN, PAID
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.pricing.period import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.approving import require_word
from billing_lib.workflow.payments import payment_day
from billing_lib.workflow.permissions import ISSUER, require
from billing_lib.workflow.reissue import require_no_reissue
from billing_lib.workflow.statement_rules import statement_adjustments


@dataclass(frozen=True)
class Generated:
    """What generating a month's statements came to.

    Attributes
    ----------
    changed
        One sentence per statement that was made or changed.
    unchanged
        How many OPEN and PAID ones stayed as they were.
    """

    period: str
    changed: list[str] = field(default_factory=list)
    unchanged: int = 0

    @property
    def sentences(self) -> list[str]:
        """The same in words."""
        if not self.changed and not self.unchanged:
            return [f"statements of {self.period}: no invoice counts, nothing changed"]
        done = f"{len(self.changed):,} made or changed" if self.changed else "nothing changed"
        return [*self.changed, f"statements of {self.period}: {done}, {self.unchanged:,} unchanged"]


def generate_statements(
    engine: Engine, books: dict[str, PriceBook], period: Period, teams: list[str] | None = None
) -> Generated:
    """Bring a month's statements up to what is issued, for some teams or all; all or nothing.

    Raises
    ------
    UnknownStatement
        A team is in no price book and has no invoice of the month.
    UnknownFacility
        A facility that is on a statement has no price book any more.
    NotPermitted
        Only an issuer of all facilities on a statement changes it.
    """
    month = str(period)
    with writing(engine) as connection:
        ledger_statements.lock_statements(connection)
        before = ledger_statements.read_statements(connection, periods=[month], teams=teams)
        fresh = ledger_statements.read_unstated(connection, month, teams)
        _require_known(books, teams, [*before["team"], *fresh["team"]], month)
        opened = before.filter(pl.col("state") == OPEN)
        held = ledger_statements.read_stated(connection, opened["id"].to_list())
        lapsed = held.filter(~pl.col("state").is_in(ACTIVE))
        for facility in pl.concat([fresh, lapsed])["facility"].unique().sort():
            require(connection, facility, ISSUER)
        ledger_statements.take_off(connection, lapsed["number"])
        placed = _place(connection, before, fresh, month)
        ruled = _rule(connection, books, period, teams)
        moved = pl.concat([lapsed["statement"], placed["statement"], ruled]).unique()
        _tell(connection, before, moved, held, placed, lapsed)
        after = ledger_statements.read_statements(connection, ids=moved.to_list())
        return Generated(
            month,
            [_sentence(row, placed, lapsed) for row in after.iter_rows(named=True)],
            before.filter(~pl.col("id").is_in(moved.implode())).height,
        )


def _require_known(
    books: dict[str, PriceBook], teams: list[str] | None, having: list[str], month: str
) -> None:
    known = {team.code for book in books.values() for team in book.teams} | set(having)
    unknown = sorted(set(teams or ()) - known)
    if unknown:
        raise UnknownStatement(
            f"there is no team '{unknown[0]}', and no invoice of {month} to one",
            remedy="correct the code; the price books name the teams",
        )


def _place(
    connection: Connection, before: pl.DataFrame, fresh: pl.DataFrame, month: str
) -> pl.DataFrame:
    """Put invoices on the last OPEN statement of their team and currency, or on a new one; the
    invoices with their statement."""
    keys = ["team", "currency"]
    last = before.sort("sequence").group_by(keys).agg(pl.col("sequence").max().alias("last"))
    opened = (
        before.filter(pl.col("state") == OPEN)
        .sort("sequence")
        .group_by(keys)
        .agg(pl.col("id").last())
    )
    wanted = fresh.select(keys).unique()
    new = (
        wanted.join(opened, on=keys, how="anti")
        .join(last, on=keys, how="left")
        .with_columns(period=pl.lit(month), sequence=(pl.col("last").fill_null(0) + 1))
        .join(_bases(before, wanted, month), on=keys)
        .with_columns(
            id=pl.when(pl.col("sequence") == 1)
            .then("base")
            .otherwise(pl.format("{}-{}", "base", "sequence"))
        )
    )
    ledger_statements.insert_statements(
        connection, new.select("id", "team", "period", "sequence", "currency")
    )
    targets = pl.concat([opened.select(*keys, "id"), new.select(*keys, "id")])
    placed = fresh.drop("statement").join(targets.rename({"id": "statement"}), on=keys)
    ledger_statements.put_on(connection, placed)
    return placed.select(STATED.names())


def _bases(before: pl.DataFrame, wanted: pl.DataFrame, month: str) -> pl.DataFrame:
    """The id of the first statement per team and currency: the one it has, or will have."""
    keys = ["team", "currency"]
    standing = before.filter(pl.col("sequence") == 1).select(*keys, standing="id")
    plain = pl.format("{}-{}", "team", pl.lit(month))
    alone = (pl.len().over("team") == 1) & ~pl.col("team").is_in(before["team"].implode())
    return (
        wanted.with_columns(
            made=pl.when(alone).then(plain).otherwise(pl.format("{}-{}", plain, "currency"))
        )
        .join(standing, on=keys, how="left")
        .select(*keys, base=pl.coalesce("standing", "made"))
    )


def _rule(
    connection: Connection, books: dict[str, PriceBook], period: Period, teams: list[str] | None
) -> pl.Series:
    """Work the rules of OPEN statements and sum them; the ids of those that come out otherwise.

    A team's second statement after its first, since a cap over a span counts the first.
    """
    standing = ledger_statements.read_statements(connection, periods=[str(period)], teams=teams)
    opened = standing.filter(pl.col("state") == OPEN)
    changed = [pl.Series("id", [], dtype=pl.String)]
    for sequence in opened["sequence"].unique().sort():
        part = opened.filter(pl.col("sequence") == sequence)
        ids = part["id"].to_list()
        stated = ledger_statements.read_stated(connection, ids)
        adjusted = statement_adjustments(connection, books, period, sequence, stated)
        known = ledger_statements.read_statement_adjustments(connection, ids)
        totals = _totals(part, stated, adjusted)
        other = _differing(part.select(totals.columns), totals, "id")
        ruled = _differing(known, adjusted, "statement")
        both = pl.concat([other, ruled]).unique()
        here = pl.col("statement").is_in(both.implode())
        ledger_statements.replace_adjustments(connection, both.to_list(), adjusted.filter(here))
        ledger_statements.set_statement_totals(
            connection, totals.filter(pl.col("id").is_in(both.implode()))
        )
        changed.append(both)
    return pl.concat(changed)


def _totals(part: pl.DataFrame, stated: pl.DataFrame, adjusted: pl.DataFrame) -> pl.DataFrame:
    summed = stated.group_by(pl.col("statement").alias("id")).agg(
        pl.len().cast(pl.Int32).alias("invoices"), pl.col("total").sum().alias("raw_total")
    )
    ruled = adjusted.group_by(pl.col("statement").alias("id")).agg(
        pl.col("amount").sum().alias("adjustment")
    )
    return (
        part.select("id")
        .join(summed, on="id", how="left")
        .join(ruled, on="id", how="left")
        .with_columns(pl.col("invoices", "raw_total", "adjustment").fill_null(0))
        .with_columns(total=pl.col("raw_total") + pl.col("adjustment"))
        .sort("id")
    )


def _differing(was: pl.DataFrame, now: pl.DataFrame, key: str) -> pl.Series:
    """The keys whose rows are not the same in both."""
    names = was.columns
    return pl.concat(
        [
            was.join(now, on=names, how="anti")[key],
            now.select(names).join(was, on=names, how="anti")[key],
        ]
    ).alias("id")


def _tell(
    connection: Connection,
    before: pl.DataFrame,
    moved: pl.Series,
    held: pl.DataFrame,
    placed: pl.DataFrame,
    lapsed: pl.DataFrame,
) -> None:
    """An event per statement that was made or changed, in each facility that is or was on it.

    They are written facility by facility, so that two who write wait for each other in one order.
    """
    was = {row["id"]: row for row in before.iter_rows(named=True)}
    now = ledger_statements.read_statements(connection, ids=moved.to_list())
    on = pl.concat([held, placed]).select("facility", id="statement").unique()
    for facility, statement_id in on.sort("facility", "id").iter_rows():
        row = now.filter(pl.col("id") == statement_id)
        if row.height == 0:
            continue
        require(connection, facility, ISSUER)
        here = (pl.col("facility") == facility) & (pl.col("statement") == statement_id)
        facts = {
            "put_on": ", ".join(placed.filter(here)["number"].sort()),
            "taken_off": ", ".join(lapsed.filter(here)["number"].sort()),
        }
        known = was.get(statement_id)
        record_event(
            connection,
            facility,
            kind="statement_make" if known is None else "statement_change",
            subject=statement_id,
            reason="",
            before=None if known is None else canonical_json(_facts(known)),
            after=canonical_json(
                _facts(row.row(0, named=True)) | {name: it for name, it in facts.items() if it}
            ),
            team=row["team"][0],
        )


def _facts(row: dict[str, object]) -> dict[str, str]:
    places = minor_places(str(row["currency"]))
    total = money_text(int(str(row["total"])), places)
    return {"invoices": str(row["invoices"]), "total": total}


def _sentence(row: dict[str, object], placed: pl.DataFrame, lapsed: pl.DataFrame) -> str:
    on, off = (frame.filter(pl.col("statement") == row["id"]).height for frame in (placed, lapsed))
    what = [f"{on:,} put on"] * (on > 0) + [f"{off:,} taken off"] * (off > 0)
    return (
        f"{row['id']}: {row['invoices']:,} invoices, total {_facts(row)['total']} "
        f"{row['currency']}; {' and '.join(what) or 'its rules come out otherwise'}"
    )


def pay_statement(engine: Engine, statement_id: str, date: str, reference: str) -> str:
    """Record that a statement is paid: its invoices and their charges are locked with it; what
    was done, in words. Invoices that were paid before keep their own payment.

    Parameters
    ----------
    date
        When it was paid, ``YYYY-MM-DD``.
    reference
        The payer's.

    Raises
    ------
    UnknownStatement, InvalidAdjustment
        No such statement; no date or reference.
    NotReady
        It is paid otherwise, holds nothing, or holds what was superseded, is void or is being
        reissued.
    NotPermitted
        Only an issuer of all its facilities does this.
    """
    if not reference.strip():
        raise InvalidAdjustment("the payment has no reference", remedy="name it with --reference")
    with writing(engine) as connection:
        ledger_statements.lock_statements(connection)
        row = ledger_statements.require_statement(connection, statement_id)
        stated = _of_issuer(connection, statement_id)
        paid_on = payment_day(date)
        if (row.state, row.paid_on, row.payment_reference) == (PAID, paid_on, reference):
            return f"statement {statement_id} was marked as paid before, nothing changed"
        _require_payable(statement_id, row.state, row.period, stated)
        owed = stated.filter(pl.col("state") == APPROVED)
        for facility, number in owed.select("facility", "number").sort("number").iter_rows():
            require_no_reissue(connection, facility, number)
        for facility, codes in _by_facility(owed):
            ledger_invoices.move_invoices(
                connection, facility, codes, "pay", payment=(paid_on, reference, statement_id)
            )
            placing.pay_charges(connection, facility, codes)
        total = money_text(row.total, minor_places(row.currency))
        ledger_statements.move_statement(
            connection,
            statement_id,
            stated["facility"].unique().to_list(),
            "pay",
            payment=(paid_on, reference),
            facts={"total": total, "invoices": ", ".join(owed["number"].sort())},
        )
    alone = stated.height - owed.height
    before = f"; {alone:,} of them were paid before" if alone else ""
    return (
        f"statement {statement_id} is paid: {stated.height:,} invoices, total {total} "
        f"{row.currency}{before}"
    )


def unpay_statement(engine: Engine, statement_id: str, reason: str) -> str:
    """Take the payment of a statement back: it is OPEN, and what was paid with it is APPROVED
    again; what was done, in words.

    Raises
    ------
    UnknownStatement, InvalidAdjustment, NotReady, NotPermitted
        No such statement; no reason; it is not paid; only an issuer of all its facilities does
        this.
    """
    require_word(reason, "unpaying")
    with writing(engine) as connection:
        ledger_statements.lock_statements(connection)
        ledger_statements.require_statement(connection, statement_id)
        stated = _of_issuer(connection, statement_id)
        paid = stated.filter(pl.col("paid_by") == statement_id)
        # First the statement: an invoice on a paid one stays paid.
        ledger_statements.move_statement(
            connection,
            statement_id,
            stated["facility"].unique().to_list(),
            "unpay",
            reason,
            facts={"invoices": ", ".join(paid["number"].sort())},
        )
        for facility, codes in _by_facility(paid):
            placing.unpay_charges(connection, facility, codes)
            ledger_invoices.move_invoices(connection, facility, codes, "unpay", reason)
    alone = stated.height - paid.height
    rest = f"; {alone:,} that were paid by themselves stay paid" if alone else ""
    return f"statement {statement_id} is not paid: {paid.height:,} invoices are owed again{rest}"


def _of_issuer(connection: Connection, statement_id: str) -> pl.DataFrame:
    """The invoices of a statement (schema STATED), for an issuer of all its facilities; kept from
    others until the end of the transaction."""
    stated = ledger_statements.read_stated(connection, [statement_id])
    for facility, codes in _by_facility(stated):
        require(connection, facility, ISSUER)
        ledger_invoices.lock_invoices(connection, facility, codes)
    return ledger_statements.read_stated(connection, [statement_id])


def _require_payable(statement_id: str, state: str, period: str, stated: pl.DataFrame) -> None:
    if state == OPEN and stated.height == 0:
        raise NotReady(f"statement {statement_id} holds no invoice, so nothing is to be paid")
    lapsed = stated.filter(~pl.col("state").is_in(ACTIVE))
    if lapsed.height:
        number, became = lapsed.select("number", "state").row(0)
        raise NotReady(
            f"statement {statement_id} holds the invoice {number}, which is {became}",
            remedy=f"run 'billing statements {period}' and see what it comes to",
        )


def _by_facility(stated: pl.DataFrame) -> list[tuple[str, list[str]]]:
    groups = stated.sort("facility", "code").group_by("facility", maintain_order=True)
    return list(groups.agg("code").iter_rows())
