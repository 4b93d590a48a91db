"""Which labs' months who is asking may see: what a listing or a statement is chosen from.

bio   Structural Biology Lab   1993-11, 1993-10
"""

from collections.abc import Mapping

import polars as pl
from sqlalchemy import Engine

from billing_lib.ledger import overview
from billing_lib.ledger.database import reading
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.permissions import may_team

LAB_MONTHS = pl.Schema({"team": pl.String(), "name": pl.String(), "period": pl.String()})
"""Columns of read_lab_months."""


def read_lab_months(engine: Engine, books: Mapping[str, PriceBook]) -> pl.DataFrame:
    """The months with charges of every team that who is asking may see in some facility
    (LAB_MONTHS), by name, the newest month first."""
    found = [LAB_MONTHS.to_frame()]
    with reading(engine) as connection:
        for code, book in sorted(books.items()):
            teams = [team for team in book.teams if may_team(connection, code, team.code)]
            names = pl.DataFrame(
                {"team": [team.code for team in teams], "name": [team.name for team in teams]},
                schema={"team": pl.String, "name": pl.String},
            )
            months = overview.read_team_months(connection, code)
            found.append(months.join(names, on="team").select(LAB_MONTHS.names()))
    every = pl.concat(found).unique(["team", "period"], keep="first", maintain_order=True)
    return every.sort("name", "team", "period", descending=[False, False, True])
