"""Statements: a team's invoices of a month over all facilities, their rules and their payment.

    billing statements 1993-11
    smith-lab-1993-11: 3 invoices, total 1,201.11 USD; 2 put on

Generating can be repeated: it puts new invoices on the team's OPEN statement, takes superseded and
void ones off, and applies the rules again. A PAID statement does not change; later invoices go on
the team's next statement of the month.

Each facility's rules at statement scope, as kept for the month (workflow/price.py), apply to that
facility's invoices only. A cap over a quarter or fiscal year also counts the facility's part of
the team's earlier statements: of earlier months, and earlier or paid ones of the same month.

    MIC  75.00 ─ MIC's rules ─▶ courtesy -3.00 ┐
    RC  940.00 ─ RC's rules ──▶ cap    -140.00 ┴▶ adjustment -143.00

A statement has one currency. A team's first one of a month is ``smith-lab-1993-11``, the next
``smith-lab-1993-11-2``. The first in a second currency is ``smith-lab-1993-11-EUR``; if two
currencies begin together, both ids end with their currency.
"""

import json
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import (
    InvalidAdjustment,
    NotReady,
    UnknownFacility,
    UnknownStatement,
    count_of,
)
from billing_lib.ledger import charges
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import statements as ledger_statements
from billing_lib.ledger.database import Ledger, reading, writing
from billing_lib.ledger.events import record_event
from billing_lib.ledger.log import head_after
from billing_lib.ledger.people import read_facilities
from billing_lib.ledger.statements import STATED, STATEMENT_ADJUSTMENT
from billing_lib.ledger.states import ACTIVE, APPROVED, OPEN, PAID
from billing_lib.pricing.charge import as_text
from billing_lib.pricing.clock import Period
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.invoicing import YEAR_TO_DATE, rule_statements
from billing_lib.pricing.money import minor_places, money_text, money_text_column
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.pricing.rates import STATEMENT, Rule
from billing_lib.pricing.rating import Catalogue
from billing_lib.workflow.adjust import require_reason
from billing_lib.workflow.after_issue import require_no_reissue
from billing_lib.workflow.lines import parse_date
from billing_lib.workflow.permissions import ISSUER, may_team, note_facility, require, require_team
from billing_lib.workflow.price import rules_in_force, span


def statement_adjustments(
    connection: Connection,
    books: dict[str, PriceBook],
    period: Period,
    sequence: int,
    stated: pl.DataFrame,
) -> pl.DataFrame:
    """Apply the rules to the statements with one ``sequence`` number of a month.

    Takes the invoices on them (schema STATED); returns schema STATEMENT_ADJUSTMENT.
    """
    parts = [STATEMENT_ADJUSTMENT.to_frame()]
    for (code,), part in stated.sort("facility").group_by("facility", maintain_order=True):
        facility = str(code)
        if facility not in books:
            raise UnknownFacility(
                f"there is no price book for the facility '{facility}', which has "
                f"{count_of(part.height, 'invoice')} on statements of {period}",
                remedy="put the price book back into its folder",
            )
        lines = _facility_lines(connection, books[facility], period, sequence, part)
        names = part.select("statement", "team").unique("team")
        parts.append(
            lines.join(names, left_on="subject", right_on="team")
            .with_columns(facility=pl.lit(facility), team="subject")
            .select(STATEMENT_ADJUSTMENT.names())
        )
    return pl.concat(parts).sort("statement", "facility", "position")


def _facility_lines(
    connection: Connection, book: PriceBook, period: Period, sequence: int, part: pl.DataFrame
) -> pl.DataFrame:
    rules = rules_in_force(connection, book, str(period))
    catalogue = replace(Catalogue.of(book), rules=rules)
    teams = pl.DataFrame(
        [(team.code, list(team.tags)) for team in book.teams],
        schema={"team": pl.String, "team_tags": pl.List(pl.String)},
        orient="row",
    )
    summed = part.group_by("team").agg(pl.col("total").sum().alias("raw_total")).sort("team")
    codes = summed["team"].to_list()
    spanning = [rule for _, rule in catalogue.rules_at(STATEMENT) if rule.over is not None]
    year_to_date = [_carried(connection, book, rule, period, sequence, codes) for rule in spanning]
    return rule_statements(
        summed, teams, catalogue, pl.concat([YEAR_TO_DATE.to_frame(), *year_to_date])
    )[1]


def _carried(
    connection: Connection,
    book: PriceBook,
    rule: Rule,
    period: Period,
    sequence: int,
    teams: list[str],
) -> pl.DataFrame:
    """Sum the earlier statements that a rule over a span counts (schema YEAR_TO_DATE)."""
    month = str(period)
    months = span(period, book.facility.fiscal_year_start, str(rule.over))
    standing = ledger_statements.read_statements(
        connection, periods=[str(each) for each in months], teams=teams
    )
    earlier = (pl.col("period") < month) | (pl.col("sequence") < sequence)
    ids = standing.filter(earlier | (pl.col("state") == PAID))["id"].to_list()
    billed = ledger_statements.read_stated(connection, ids).select("facility", "team", "total")
    changed = ledger_statements.read_statement_adjustments(connection, ids)
    both = pl.concat([billed, changed.select("facility", "team", total="amount")])
    return (
        both.filter(pl.col("facility") == book.facility.code)
        .group_by("team")
        .agg(pl.col("total").sum())
        .select(pl.lit(rule.name).alias("rule"), pl.col("team").alias("key"), amount="total")
        .sort("key")
    )


@dataclass(frozen=True)
class Generated:
    """The result of generating a month's statements: a sentence on each new or changed one, and
    the number of unchanged ones."""

    period: str
    changed: list[str] = field(default_factory=list)
    unchanged: int = 0

    @property
    def sentences(self) -> list[str]:
        """The result in words."""
        if not self.changed and not self.unchanged:
            return [f"statements of {self.period}: no invoice counts, nothing changed"]
        done = f"{len(self.changed):,} made or changed" if self.changed else "nothing changed"
        return [*self.changed, f"statements of {self.period}: {done}, {self.unchanged:,} unchanged"]


def generate_statements(
    engine: Ledger, books: dict[str, PriceBook], period: Period, teams: list[str] | None = None
) -> Generated:
    """Generate or update a month's statements, for some teams or all, in one transaction."""
    month = str(period)
    with writing(engine) as connection:
        ledger_statements.lock_statements(connection)
        before = ledger_statements.read_statements(connection, periods=[month], teams=teams)
        fresh = ledger_statements.read_unstated(connection, month, teams)
        _require_known(books, teams, {*before["team"], *fresh["team"]}, month)
        opened = before.filter(pl.col("state") == OPEN)
        held = ledger_statements.read_stated(connection, opened["id"].to_list())
        lapsed = held.filter(~pl.col("state").is_in(ACTIVE))
        for facility in pl.concat([fresh, lapsed])["facility"].unique().sort():
            require(connection, facility, ISSUER)
            if facility in books:
                note_facility(connection, books[facility])
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
    books: dict[str, PriceBook], teams: list[str] | None, billed: set[str], month: str
) -> None:
    known = {team.code for book in books.values() for team in book.teams} | billed
    unknown = sorted(set(teams or ()) - known)
    if unknown:
        raise UnknownStatement(
            f"no price book and no invoice of {month} has the team '{unknown[0]}'",
            remedy="correct the code; the price books name the teams",
        )


def _place(
    connection: Connection, before: pl.DataFrame, fresh: pl.DataFrame, month: str
) -> pl.DataFrame:
    """Put invoices on the last OPEN statement of their team and currency, or on a new one.

    Returns the invoices with their statement (schema STATED).
    """
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
    """The id of the first statement of each team and currency, existing or new."""
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
    """Apply the rules to OPEN statements and sum them; return the ids of the changed ones.

    A team's second statement comes after its first, since a cap over a span counts the first.
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
    summed = stated.group_by(id="statement").agg(
        invoices=pl.len().cast(pl.Int32), raw_total=pl.col("total").sum()
    )
    ruled = adjusted.group_by(id="statement").agg(adjustment=pl.col("amount").sum())
    return (
        part.select("id")
        .join(summed, on="id", how="left")
        .join(ruled, on="id", how="left")
        .with_columns(pl.col("invoices", "raw_total", "adjustment").fill_null(0))
        .with_columns(total=pl.col("raw_total") + pl.col("adjustment"))
        .sort("id")
    )


def _differing(was: pl.DataFrame, now: pl.DataFrame, key: str) -> pl.Series:
    """The keys of rows that differ between the frames."""
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
    """Record an event per new or changed statement, in each facility that is or was on it.

    Facility by facility, so that concurrent writers take their locks in the same order.
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
                _facts(row.row(0, named=True))
                | {name: numbers for name, numbers in facts.items() if numbers}
            ),
            team=row["team"][0],
        )


def _facts(row: dict[str, object]) -> dict[str, str]:
    places = minor_places(str(row["currency"]))
    total = money_text(int(str(row["total"])), places)
    return {"invoices": str(row["invoices"]), "total": total}


def _sentence(row: dict[str, Any], placed: pl.DataFrame, lapsed: pl.DataFrame) -> str:
    on, off = (frame.filter(pl.col("statement") == row["id"]).height for frame in (placed, lapsed))
    changes = [f"{on:,} put on"] * (on > 0) + [f"{off:,} taken off"] * (off > 0)
    return (
        f"{row['id']}: {count_of(int(row['invoices']), 'invoice')}, total {_facts(row)['total']} "
        f"{row['currency']}; {' and '.join(changes) or 'its adjustments have changed'}"
    )


def pay_statement(engine: Ledger, statement_id: str, date: str, reference: str) -> str:
    """Record that a statement is paid, with its invoices and charges; return a sentence.

    Invoices paid before keep their own payment. The date is ``YYYY-MM-DD``; the reference is the
    payer's.
    """
    if not reference.strip():
        raise InvalidAdjustment("the payment has no reference", remedy="give the payer's reference")
    with writing(engine) as connection:
        ledger_statements.lock_statements(connection)
        row = ledger_statements.require_statement(connection, statement_id)
        stated = _of_issuer(connection, statement_id)
        paid_on = parse_date(date)
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
            charges.pay_charges(connection, facility, codes)
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
        f"statement {statement_id} is paid: {count_of(stated.height, 'invoice')}, total {total} "
        f"{row.currency}{before}"
    )


def unpay_statement(engine: Ledger, statement_id: str, reason: str) -> str:
    """Take back the payment of a statement; return a sentence.

    The statement is OPEN again, and the invoices paid with it are APPROVED.
    """
    require_reason(reason, "undoing of the payment")
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
            charges.unpay_charges(connection, facility, codes)
            ledger_invoices.move_invoices(connection, facility, codes, "unpay", reason)
    alone = stated.height - paid.height
    rest = f"; {alone:,} that were paid by themselves stay paid" if alone else ""
    return (
        f"statement {statement_id} is not paid: {count_of(paid.height, 'invoice')} owed again{rest}"
    )


def _of_issuer(connection: Connection, statement_id: str) -> pl.DataFrame:
    """Lock and read a statement's invoices (schema STATED), for an issuer of its facilities."""
    stated = ledger_statements.read_stated(connection, [statement_id])
    for facility, codes in _by_facility(stated):
        require(connection, facility, ISSUER)
        ledger_invoices.lock_invoices(connection, facility, codes)
    return ledger_statements.read_stated(connection, [statement_id])


def _require_payable(statement_id: str, state: str, period: str, stated: pl.DataFrame) -> None:
    if state == OPEN and stated.height == 0:
        raise NotReady(f"statement {statement_id} has no invoices, so it cannot be paid")
    lapsed = stated.filter(~pl.col("state").is_in(ACTIVE))
    if lapsed.height:
        number, lapsed_state = lapsed.select("number", "state").row(0)
        raise NotReady(
            f"statement {statement_id} holds the invoice {number}, which is {lapsed_state}",
            remedy=f"run 'billing statements {period}' and check the new total",
        )


def _by_facility(stated: pl.DataFrame) -> list[tuple[str, list[str]]]:
    groups = stated.sort("facility", "code").group_by("facility", maintain_order=True)
    return list(groups.agg("code").iter_rows())


STATEMENT_FORMAT = "billing-statement/1"
"""Name and version of the canonical JSON's format."""

Statement = dict[str, Any]
"""A statement for people and programs, with amounts as decimal text:

{"facilities": [{"facility": {"code": "MIC", …}, "invoices": [{"number": …, "total": "75.00"}],
  "adjustments": [{"rule": "courtesy", "amount": "-3.00"}], "total": "72.00"}], …}
"""


def read_statement(engine: Engine, books: dict[str, PriceBook], statement_id: str) -> Statement:
    """Read one statement; the price books hold the team's name."""
    with reading(engine) as connection:
        stated = ledger_statements.read_stated(connection, [statement_id])
        for facility, team in _facilities_on(stated).rows():
            require_team(connection, facility, team)
        return shown_statement(connection, books, statement_id)


def statement_json(statement: Statement) -> str:
    """Write the canonical text: sorted keys, two spaces, a line feed at the end."""
    return json.dumps(statement, sort_keys=True, ensure_ascii=False, indent=2) + "\n"


def list_statements(
    engine: Engine, month: str | None, teams: list[str] | None = None
) -> pl.DataFrame:
    """List the statements of a month, or of all, with amounts as text.

    A statement is listed if the current user may see its team in every facility on it.
    """
    with reading(engine) as connection:
        periods = None if month is None else [month]
        statements = ledger_statements.read_statements(connection, periods=periods, teams=teams)
        stated = ledger_statements.read_stated(connection, statements["id"].to_list())
        may = [
            (facility, team, may_team(connection, facility, team))
            for facility, team in _facilities_on(stated).rows()
        ]
    schema = {"facility": pl.String, "team": pl.String, "may": pl.Boolean}
    seen = stated.join(pl.DataFrame(may, schema=schema, orient="row"), on=["facility", "team"])
    hidden = seen.filter(~pl.col("may"))["statement"]
    statements = statements.filter(~pl.col("id").is_in(hidden.implode()))
    facilities = stated.group_by("statement").agg(
        pl.col("facility").unique().sort().str.join(", ").alias("facilities")
    )
    return (
        as_text(statements)
        .join(facilities, left_on="id", right_on="statement", how="left", maintain_order="left")
        .select(
            pl.col("id").alias("statement"),
            *("period", "team"),
            pl.col("facilities").fill_null(""),
            *("invoices", "raw_total", "adjustment", "total", "currency"),
            *("state", "paid_on", "payment_reference"),
        )
    )


def _facilities_on(stated: pl.DataFrame) -> pl.DataFrame:
    return stated.select("facility", "team").unique().sort("facility", "team")


def shown_statement(
    connection: Connection, books: dict[str, PriceBook], statement_id: str
) -> Statement:
    """Read one statement without asking for permission."""
    row = ledger_statements.require_statement(connection, statement_id)
    places = minor_places(row.currency)
    stated = ledger_statements.read_stated(connection, [statement_id])
    adjusted = ledger_statements.read_statement_adjustments(connection, [statement_id])
    named = read_facilities(connection).filter(pl.col("code").is_in(stated["facility"].implode()))
    drawn = int(stated["prepaid"].sum())
    return {
        "format": STATEMENT_FORMAT,
        "id": row.id,
        "team": {"code": row.team, "name": _team_name(books, row.team)},
        "period": row.period,
        "sequence": row.sequence,
        "currency": row.currency,
        "state": row.state,
        "facilities": [
            _facility(code, name, stated, adjusted, places)
            for code, name in named.select("code", "name").iter_rows()
        ],
        "payment": None
        if row.paid_on is None
        else {"date": row.paid_on.isoformat(), "reference": row.payment_reference},
        # The same each time: the log's head when the last of these invoices was issued.
        "log": head_after(connection, stated["number"].to_list()),
        "totals": {
            "invoices": row.invoices,
            "raw_total": money_text(row.raw_total, places),
            "adjustment": money_text(row.adjustment, places),
            "total": money_text(row.total, places),
            "prepaid": money_text(drawn, places),
            "due": money_text(row.total - drawn, places),
        },
    }


def _facility(
    code: str, name: str, stated: pl.DataFrame, adjusted: pl.DataFrame, places: int
) -> dict[str, Any]:
    here = stated.filter(pl.col("facility") == code)
    changes = adjusted.filter(pl.col("facility") == code)
    raw, change = int(here["total"].sum()), int(changes["amount"].sum())
    return {
        "facility": {"code": code, "name": name},
        "invoices": here.select(
            "number",
            "project",
            "kind",
            "state",
            pl.col("invoice_date").cast(pl.String),
            money_text_column(pl.col("total"), places),
            money_text_column(pl.col("prepaid").fill_null(0), places),
        ).to_dicts(),
        "adjustments": changes.select(
            "rule", "kind", money_text_column(pl.col("amount"), places)
        ).to_dicts(),
        "raw_total": money_text(raw, places),
        "adjustment": money_text(change, places),
        "total": money_text(raw + change, places),
    }


def _team_name(books: dict[str, PriceBook], team: str) -> str:
    """The team's name in the first price book that has the team, or its code."""
    names = (known.name for book in books.values() for known in book.teams if known.code == team)
    return next(names, team)
