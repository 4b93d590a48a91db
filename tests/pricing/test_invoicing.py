"""Invoicing: charges summed by project and by expense code, invoices by team."""

import polars as pl

from billing_lib.pricing.charge import PRICED, SPLIT
from billing_lib.pricing.charging import RULE_LINES, Charges
from billing_lib.pricing.invoicing import Invoices, invoice_charges, statements
from billing_lib.pricing.rating import Catalogue

from .small_book import scenario
from .tables import rows, table

CHARGED = """
    charge  project  team   raw_total  adjustment  total
    u1      q        smith  1500       0           1500
    u2      p        smith  1000       -250        750
    u3      q        smith  1          0           1
    u4      r        jones  500        -1000       -500
    u5      z        jones  0          0           0
"""
SPLITS = """
    charge  position  expense_code  percent  amount
    u1      0         B             600000   900
    u1      1         A             400000   600
    u2      0         A             1000000  750
    u3      0         B             600000   1
    u3      1         A             400000   0
    u4      0         C             500000   -250
    u4      1         D             500000   -250
    u5      0         C             1000000  0
"""


CATALOGUE = Catalogue.of(scenario())


def invoiced(charges: str = CHARGED, splits: str = SPLITS) -> Invoices:
    priced = Charges(table(charges, PRICED), table(splits, SPLIT), RULE_LINES.to_frame())
    return invoice_charges(priced, CATALOGUE)


def stated(invoices: Invoices) -> pl.DataFrame:
    return statements(invoices, CATALOGUE)[0]


def test_an_invoice_sums_the_charges_of_a_project() -> None:
    invoices = invoiced().invoices

    sums = ("project", "team", "charges", "charges_raw_total", "charges_adjustment")
    assert rows(invoices, *sums) == [
        ("p", "smith", 1, 1000, -250),
        ("q", "smith", 2, 1501, 0),
        ("r", "jones", 1, 500, -1000),
        ("z", "jones", 1, 0, 0),
    ]
    assert rows(invoices, "raw_total", "adjustment", "total") == [
        (750, 0, 750),  # the raw total of an invoice is the sum of its charges' totals
        (1501, 0, 1501),
        (-500, 0, -500),
        (0, 0, 0),
    ]


def test_an_invoice_sums_to_the_same_cent_by_expense_code() -> None:
    assert invoiced().by_expense_code.rows() == [
        ("p", "A", 750),
        ("q", "A", 600),
        ("q", "B", 901),
        ("r", "C", -250),
        ("r", "D", -250),
        ("z", "C", 0),
    ]


def test_a_statement_sums_the_invoices_of_a_team() -> None:
    assert stated(invoiced()).rows() == [
        ("jones", -500, 0, -500),
        ("smith", 2251, 0, 2251),
    ]


def test_no_charges_are_no_invoices() -> None:
    nothing = invoice_charges(
        Charges(PRICED.to_frame(), SPLIT.to_frame(), RULE_LINES.to_frame()), CATALOGUE
    )

    assert nothing.invoices.is_empty()
    assert nothing.by_expense_code.is_empty()
    assert stated(nothing).is_empty()


def test_amounts_are_whole_minor_units() -> None:
    found = invoiced()

    for frame in (found.invoices, found.by_expense_code, stated(found)):
        kinds = {
            dtype for name, dtype in frame.schema.items() if name.endswith(("total", "amount"))
        }
        assert kinds == {pl.Int64()}
