"""A small facility for tests: a microscope by the hour, slides by the piece, two projects."""

from functools import cache
from pathlib import Path

from billing_lib.pricing.pricebook import PriceBook

BOOK = """
facility:
  code: MIC
  name: Microscopy
  currency: USD
  timezone: America/New_York
  country: US
  fiscal_year_start: 7
  issue: scheduled
  instructions: Charged through the ledger.
  contacts: office@example.edu
items:
  - {code: scope, name: Microscope, unit: hour}
  - {code: slide, name: Slide, unit: each}
rates:
  - {item: scope, group: internal, price: "40.00"}
  - {item: slide, group: internal, price: "1.25"}
project_types: [{code: faculty, rate_group: internal}]
teams: [{code: smith, name: Smith Lab, administrators: [admin@example.edu]}]
projects:
  - code: p1
    team: smith
    type: faculty
    split: [{expense_code: A, percent: "60"}, {expense_code: B, percent: "40"}]
  - {code: p2, team: smith, type: faculty, split: [{expense_code: C, percent: "100"}]}
"""

HEADER = "id,item,project,user,start,end,date,quantity\n"
USAGE = HEADER + (
    "u1,scope,p1,ann,2020-04-06T17:00:00-04:00,2020-04-06T20:20:00-04:00,,\n"
    "u2,slide,p1,bob,,,2020-04-07,12\n"
    "u3,slide,p2,eve,,,2020-04-08,10\n"
    "u4,slide,nobody,eve,,,2020-04-08,10\n"
    "u5,slide,p2,eve,,,2020-04-09,many\n"
    "u6,slide,p2,eve,,,2020-05-02,4\n"
)
"""April 2020: 133.33 and 15.00 for p1, 12.50 for p2, u4 and u5 unbilled; May: 5.00 for p2."""


@cache
def price_book(text: str = BOOK) -> PriceBook:
    """The facility's price book; one object for one text, since nothing changes it."""
    return PriceBook.parse(text, "microscopy.yml")


def usage_file(folder: Path, text: str = USAGE, name: str = "usage.csv") -> Path:
    """A usage file with this text."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def nothing(done: int, total: int, what: str) -> None:
    """A progress that nobody looks at."""
