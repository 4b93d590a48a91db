"""What staff look for among invoices and charges, and the views that are always there.

    Filter.parse({"team": "bio", "view": "live", "total_from": "100.00"})

Every list, and everything that is done with a selection of invoices, takes the same ``Filter``
(finding.py finds what it matches).
"""

import unicodedata
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, ValidationError, model_validator

from billing_lib.errors import InvalidFilter, InvalidPeriod
from billing_lib.ledger.matching import REISSUE, View
from billing_lib.ledger.states import (
    APPROVED,
    APPROVING,
    CHARGE,
    CLOSED,
    EDITABLE,
    ERROR,
    INVOICE,
    PAID,
    QUARANTINED,
    REJECTED,
    SUPERSEDED,
    VOID,
    states,
)
from billing_lib.pricing.fields import Amount, Day, Entry
from billing_lib.pricing.period import Period
from billing_lib.workflow.summing import AD_HOC, PERIODIC

_UNFINISHED = (*EDITABLE, APPROVING)

VIEWS = {
    "live": View("Live", _UNFINISHED, unplaced=True),
    "ready": View("Ready to approve", (APPROVING,)),
    "complete": View("Complete", (APPROVED, PAID, SUPERSEDED, VOID, CLOSED)),
    "problems": View("Problems", (ERROR, REJECTED, QUARANTINED), odd=_UNFINISHED),
}
"""The views that are always there: all that is not finished; what waits for approval; what is
finished; and what needs a look: in error, sent back, kept out, empty or below zero."""

KINDS = (PERIODIC, AD_HOC, REISSUE)
STATES = tuple(dict.fromkeys((*states(INVOICE), *states(CHARGE))))


def _storable(text: str) -> str:
    """A text that a column can hold."""
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text):
        raise ValueError(f"{text!r} holds a control character")
    if not text:
        raise ValueError("an empty text finds nothing")
    return text


def _one_of(words: tuple[str, ...], what: str) -> AfterValidator:
    def check(word: str) -> str:
        if word not in words:
            raise ValueError(f"'{word}' is no {what}; it is one of {', '.join(words)}")
        return word

    return AfterValidator(check)


def _month(text: object) -> object:
    try:
        return str(Period.parse(text)) if isinstance(text, str) else text
    except InvalidPeriod as error:
        raise ValueError(str(error)) from None


def _kind(text: object) -> object:
    return text.lower().replace("-", " ") if isinstance(text, str) else text


def _capitals(text: object) -> object:
    return text.upper() if isinstance(text, str) else text


Words = Annotated[str, AfterValidator(_storable)]
Month = Annotated[str, BeforeValidator(_month)]
State = Annotated[str, BeforeValidator(_capitals), _one_of(STATES, "state")]
Kind = Annotated[str, BeforeValidator(_kind), _one_of(KINDS, "kind of invoice")]
ViewName = Annotated[str, _one_of(tuple(VIEWS), "view")]


class Filter(Entry):
    """What is looked for; what is left out matches all. It is fixed, and is JSON where needed."""

    facility: Words | None = None
    team: Words | None = None
    """A team's code: its own, and what is of the teams that belong to it, over others too."""
    project: Words | None = None
    run: Words | None = None
    """A billing run's id: its invoices, and the charges on them."""
    number: Words | None = None
    """Part of an invoice's number or code; of a charge's code or its invoice's number or code."""
    reference: Words | None = None
    states: tuple[State, ...] = ()
    """Of invoices or charges; a charge is found by its own or by its invoice's."""
    kinds: tuple[Kind, ...] = ()
    empty: bool | None = None
    """Whether an invoice has no charges; whether a charge comes to nothing."""
    total_from: Amount | None = None
    total_to: Amount | None = None
    """In each facility's currency; both are included."""
    period_from: Month | None = None
    period_to: Month | None = None
    user: Words | None = None
    item: Words | None = None
    date_from: Day | None = None
    date_to: Day | None = None
    """Of charges, and both included."""
    expense_code: Words | None = None
    """An invoice is found by any of its charges, as it is by their user, item and date."""
    text: Words | None = None
    """Part of a description, or of a reason or note ever given: of an invoice or its charges."""
    view: ViewName | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for what in ("total", "period", "date"):
            first, last = getattr(self, f"{what}_from"), getattr(self, f"{what}_to")
            if first is not None and last is not None and first > last:
                raise ValueError(f"the {what} is from {first} to {last}, so nothing lies between")
        return self

    @classmethod
    def parse(cls, stated: Mapping[str, object]) -> Self:
        """A filter from values by name; those that are None are not stated.

        Raises
        ------
        InvalidFilter
            One of them cannot be.
        """
        try:
            return cls.model_validate(
                {name: value for name, value in stated.items() if value is not None}
            )
        except ValidationError as error:
            first = error.errors()[0]
            raise InvalidFilter(
                first["msg"].removeprefix("Value error, "),
                where=str(first["loc"][0]).replace("_", " ") if first["loc"] else None,
            ) from None
