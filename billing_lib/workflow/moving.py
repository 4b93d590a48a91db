"""Moving charges to other projects: their team, rate group and rate change with it.

    RC/57 of u4 (internal, 0.12) to u22 (industry, 0.42)

What a charge becomes is told from today's price book, as if its usage had named the other
project from the start; where that has no rate for it, the charge cannot go there.
"""

import polars as pl
from sqlalchemy import Connection

from billing_lib.errors import InvalidAdjustment
from billing_lib.ledger import usage
from billing_lib.pricing.catalogue import Catalogue
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.pricing.rating import rate_usage
from billing_lib.pricing.usage import USAGE

_RECORD = ["record", "occurrence"]


def move_charges(
    connection: Connection, book: PriceBook, charges: pl.DataFrame, to: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Charges as those of other projects; nothing is written.

    Parameters
    ----------
    charges
        Rows of the charge table.
    to
        ``code`` and ``project``: where a charge goes. Who is not named or is there, stays.

    Returns
    -------
    tuple[pl.DataFrame, pl.DataFrame]
        The rows, and the rates they now name (schema RATES), which must be kept.

    Raises
    ------
    InvalidAdjustment
        The price book has no such project, or no rate for a charge there.
    """
    catalogue, facility = Catalogue.of(book), book.facility.code
    teams = {project.code: project.team for project in book.projects}
    unknown = to.filter(~pl.col("project").is_in(list(teams)))["project"]
    if unknown.len():
        raise InvalidAdjustment(f"the price book has no project '{unknown[0]}'", where="project")
    going = charges.join(to.rename({"project": "target"}), on="code").filter(
        pl.col("project") != pl.col("target")
    )
    bound = going.drop_nulls("reference").sort("code")
    if bound.height:
        code, reference = bound.select("code", "reference").row(0)
        raise InvalidAdjustment(
            f"the charge {facility}/{code} goes to the ad hoc invoice {reference}, which is of one "
            "project",
            where="project",
        )
    records = usage.read_usage(connection, facility, records=going["record"].drop_nulls())
    there = records.join(going.select(*_RECORD, "target"), on=_RECORD, maintain_order="left")
    rating = rate_usage(there.with_columns(project="target").select(USAGE.names()), catalogue)
    if rating.unbilled.height:
        record, detail = rating.unbilled.select("record", "detail").row(0)
        raise InvalidAdjustment(
            f"the charge {facility}/{record} cannot go there: {detail}", where="project"
        )
    targets = going.select(
        "code",
        project="target",
        team=pl.col("target").replace_strict(teams, return_dtype=pl.String),
    )
    rated = rating.rated.select(*_RECORD, "rate_group", "rate")
    rates = catalogue.rates.join(rated.select("rate").unique(), on="rate", how="semi")
    return charges.update(targets, on="code").update(rated, on=_RECORD), rates
