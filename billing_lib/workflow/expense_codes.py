"""Which expense codes may not be charged: what the price book says, and an institution's own check.

The price book gives a pattern, a list, or a file of codes with dates beside it:

    facility:
      expense_codes: {pattern: "[0-9]{3}-[0-9]+", file: expense-codes.csv}

    code,valid_from,valid_to
    370-1,2020-01-01,2020-06-30

An installed package adds a check by an entry point that names a Validator, say one that asks the
ledger of the university:

    [project.entry-points."billing_lib.expense_codes"]
    finance = "our_billing.codes:invalid"
"""

import csv
from collections.abc import Callable
from pathlib import Path

import polars as pl
from pydantic import ValidationError

from billing_lib.errors import InvalidPriceBook
from billing_lib.installed import entry_points
from billing_lib.pricing.expense_codes import invalid_codes
from billing_lib.pricing.pricebook import ExpenseCode, PriceBook

GROUP = "billing_lib.expense_codes"
"""The entry points' group."""

Validator = Callable[[pl.DataFrame], pl.DataFrame]
"""From ``charge``, ``expense_code``, ``date`` and ``facility`` to the rows that may not be
charged, each with ``problem``, a sentence."""

_COLUMNS = ("code", "valid_from", "valid_to")


def find_invalid_codes(book: PriceBook, charged: pl.DataFrame) -> pl.DataFrame:
    """The shares whose expense code may not be charged on their date.

    Parameters
    ----------
    charged
        ``charge``, ``expense_code``, ``date``.

    Returns
    -------
    pl.DataFrame
        These rows with ``problem``, a sentence.
    """
    allowed = book.facility.expense_codes
    found = [charged.with_columns(problem=pl.lit(None, dtype=pl.String)).clear()]
    if allowed is not None:
        found.append(invalid_codes(charged, allowed))
    for entry in entry_points(GROUP):
        validate: Validator = entry.load()
        checked = validate(charged.with_columns(facility=pl.lit(book.facility.code)))
        found.append(checked.select(found[0].columns))
    return pl.concat(found).unique(maintain_order=True)


def with_listed_codes(book: PriceBook, folder: Path) -> PriceBook:
    """The price book with the codes of the file that it names, which stands in its folder.

    Raises
    ------
    InvalidPriceBook
        The file is missing or a line of it is no code with dates, by file and row.
    """
    allowed = book.facility.expense_codes
    if allowed is None or allowed.file is None:
        return book
    listed = (*(allowed.codes or ()), *_read_codes(folder / allowed.file))
    facility = book.facility.model_copy(
        update={"expense_codes": allowed.model_copy(update={"codes": listed})}
    )
    return book.model_copy(update={"facility": facility})


def _read_codes(path: Path) -> list[ExpenseCode]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidPriceBook(
            f"the file of expense codes cannot be read ({error})", where=str(path)
        ) from None
    rows = csv.DictReader(text.splitlines())
    if rows.fieldnames is None or set(rows.fieldnames) != set(_COLUMNS):
        raise InvalidPriceBook(
            f"the columns are {', '.join(rows.fieldnames or ['none'])}",
            where=f"{path}, row 1",
            remedy=f"name them {', '.join(_COLUMNS)}",
        )
    codes = []
    for row in rows:
        try:
            stated = {name: row[name] or None for name in _COLUMNS}
            codes.append(ExpenseCode.model_validate(stated))
        except ValidationError as error:
            first = error.errors()[0]
            raise InvalidPriceBook(
                f"'{first['input']}' cannot be: {first['msg'].removeprefix('Value error, ')}",
                where=f"{path}, row {rows.line_num}, {first['loc'][0]}",
            ) from None
    return codes
