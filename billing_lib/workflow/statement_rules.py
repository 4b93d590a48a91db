"""The rules at statement scope, over facilities: each facility's work on what is its own.

    MIC  75.00 ─ MIC's rules ─▶ courtesy -3.00 ┐
    RC  940.00 ─ RC's rules ──▶ cap    -140.00 ┴▶ adjustment -143.00

A month is ruled by the rules it was rated by (rules_in_force.py). A cap over a quarter or fiscal
year counts what the team's earlier statements hold of the facility: those of earlier months, and
of the same month those before it and those that are paid.
"""

from dataclasses import replace

import polars as pl
from sqlalchemy import Connection

from billing_lib.errors import UnknownFacility
from billing_lib.ledger import statements as ledger_statements
from billing_lib.ledger.statements import STATEMENT_ADJUSTMENT
from billing_lib.ledger.states import PAID
from billing_lib.pricing.catalogue import Catalogue
from billing_lib.pricing.invoicing import CARRIED, rule_statements
from billing_lib.pricing.period import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.pricing.rules import STATEMENT, Rule
from billing_lib.workflow.carried import span
from billing_lib.workflow.rules_in_force import rules_in_force


def statement_adjustments(
    connection: Connection,
    books: dict[str, PriceBook],
    period: Period,
    sequence: int,
    stated: pl.DataFrame,
) -> pl.DataFrame:
    """What rules change on statements of a month (schema STATEMENT_ADJUSTMENT).

    Parameters
    ----------
    sequence
        Of all of them: a team's first, its second.
    stated
        The invoices on them (schema STATED).

    Raises
    ------
    UnknownFacility
        The parameters have no price book for a facility that is on one.
    """
    found = [STATEMENT_ADJUSTMENT.to_frame()]
    for (code,), part in stated.sort("facility").group_by("facility", maintain_order=True):
        facility = str(code)
        if facility not in books:
            raise UnknownFacility(
                f"there is no price book for the facility '{facility}', which has "
                f"{part.height:,} invoices on statements of {period}",
                remedy="put it back into the folder of price books",
            )
        lines = _facility_lines(connection, books[facility], period, sequence, part)
        names = part.select("statement", "team").unique("team")
        found.append(
            lines.join(names, left_on="subject", right_on="team")
            .with_columns(facility=pl.lit(facility), team="subject")
            .select(STATEMENT_ADJUSTMENT.names())
        )
    return pl.concat(found).sort("statement", "facility", "position")


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
    carried = _carried(connection, book, catalogue, period, sequence, summed["team"].to_list())
    return rule_statements(summed, teams, catalogue, carried)[1]


def _carried(
    connection: Connection,
    book: PriceBook,
    catalogue: Catalogue,
    period: Period,
    sequence: int,
    teams: list[str],
) -> pl.DataFrame:
    """What caps over a span have come to on earlier statements (schema CARRIED)."""
    caps = [rule for _, rule in catalogue.rules_at(STATEMENT) if rule.over is not None]
    return pl.concat(
        [
            CARRIED.to_frame(),
            *(_came_to(connection, book, rule, period, sequence, teams) for rule in caps),
        ]
    )


def _came_to(
    connection: Connection,
    book: PriceBook,
    rule: Rule,
    period: Period,
    sequence: int,
    teams: list[str],
) -> pl.DataFrame:
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
