"""The journal's keys of a price book: which accounts it posts to, and the columns of its CSV.

    journal:
      credit: "4500-RC"
      items: {storage: "4510-RC"}
      prepaid: "2400-{project}"
      columns: {Account: "{account}", Amount: "{amount}", Ledger: ACTUALS}

Accounts and columns are templates (template.py); what stands outside braces is written as it is.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from billing_lib.pricing.fields import Code, Entry, NotEmpty
from billing_lib.pricing.template import Template

ACCOUNT_FIELDS = ("facility", "project", "team", "period")
"""What an account may be made of; ``debit`` also of the ``expense_code``."""

COLUMN_FIELDS = (
    *("date", "year", "month", "day", "account", "role", "debit", "credit", "amount", "side"),
    *("currency", "description", "reference", "kind", "invoice", "project", "team", "period"),
    *("run", "facility", "journal", "line"),
)
"""What a column of the CSV may be made of."""

COLUMNS = {
    name: f"{{{name}}}"
    for name in (
        *("date", "account", "debit", "credit", "currency", "description", "reference"),
        *("invoice", "run"),
    )
}
"""The columns where the price book names none."""


def _made_of(fields: Sequence[str]) -> AfterValidator:
    def check(text: str) -> str:
        for field in Template.parse(text).fields:
            if field not in fields:
                raise ValueError(
                    f"'{text}' names the field '{field}', which there is not here; "
                    f"the fields are {', '.join(fields)}"
                )
        return text

    return AfterValidator(check)


Account = Annotated[Code, _made_of(ACCOUNT_FIELDS)]
DebitAccount = Annotated[Code, _made_of((*ACCOUNT_FIELDS, "expense_code"))]
Column = Annotated[str, _made_of(COLUMN_FIELDS)]


class Accounts(Entry):
    """What a journal debits and credits, and the columns that its CSV has."""

    debit: DebitAccount = "{expense_code}"
    """What each expense code pays."""
    credit: Account = "{facility}"
    """What the facility gets."""
    items: dict[str, Account] = Field(default_factory=dict)
    """What it gets for these items, where that goes to accounts of its own."""
    tax: Account = "{facility}-tax"
    prepaid: Account = "{facility}-prepaid"
    """The funds that invoices draw from."""
    columns: Annotated[dict[Code, Column], NotEmpty] = COLUMNS
    """The CSV's columns in order, each by its name."""
