"""The demonstration's two small facilities come to what their files say by hand.

Their rows, m1 being item_id 1 of NEMO's export and W1 the workshop's first order:

m1   4 h from 16:00: 2 h x 40.00 + 2 h after hours x 25.00 = 130.00
m2   12 x 1.25 = 15.00                  m3   20 min are half an hour x 50.00 = 25.00
m4   7 min are 15 x 40.00 / 60 = 10.00, which is the minimum, too
m5   2.5 h x 15.00 = 37.50              m6   a Saturday: 4 h x 25.00 = 100.00
m7   1 h x 15.00 + 1 h x 10.00 = 25.00  m8   40 x 1.25 = 50.00
m9   3 h x 120.00 = 360.00              m10  70 min are 1.5 h x 130.00 = 195.00
m11  70 min from 17:30 are 1.25 h: 0.5 h x 40.00 + 0.75 h x 25.00 = 38.75
m12  195 min are 3.25 h x 15.00 = 48.75
W1   170 min are 3 h x 55.00 = 165.00   W2   0.75 h x 25.00 + 5.00 for the order = 23.75
W3   34.80   W4  4 h x 55.00 = 220.00   W5   118.40   W6  1 h x 25.00 + 5.00 = 30.00
W7   4.25 h x 110.00 = 467.50           W8   1,240.00 x 1.15 = 1,426.00
NEMO's row 13 was waived there, so it is no charge.
"""

import polars as pl
import pytest
from sqlalchemy import Engine

from billing_lib.cli.demonstration import PERIOD, USAGE
from billing_lib.ledger.charges import read_charges
from billing_lib.ledger.database import reading
from billing_lib.pricing.money import money_text
from billing_lib.program import PARAMETERS
from billing_lib.workflow.load import load_files, read_price_book
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.steps import unheard

BY_HAND = {
    "MIC": "130.00 15.00 25.00 10.00 37.50 100.00 25.00 50.00 360.00 195.00 38.75 48.75",
    "SHOP": "165.00 23.75 34.80 220.00 118.40 30.00 467.50 1426.00",
}
"""The totals in the order of the files."""


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("facility", BY_HAND)
def test_each_charge_is_that_worked_out_by_hand(ledger: Engine, facility: str) -> None:
    book = read_price_book(PARAMETERS, facility)
    load_files(ledger, book, [USAGE[facility]], unheard)
    rate_period(ledger, book, PERIOD)
    with reading(ledger) as connection:
        charges = read_charges(connection, facility)
    in_order = charges.sort(pl.col("charge").str.extract(r"(\d+)$").cast(pl.Int64))["total"]
    totals = [money_text(total, 2) for total in in_order]
    assert " ".join(totals) == BY_HAND[facility]
