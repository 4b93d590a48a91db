"""What staff look for among invoices and charges, and the views that are always there.

    Filter.parse({"team": "bio", "view": "live", "total_from": "100.00"})

Every list, and everything that is done with a selection of invoices, takes the same ``Filter``
(finding.py finds what it matches).

Finding invoices and charges: what a filter matches, in pages, in any order.

    wanted = Filter.parse({"team": "bio", "view": "live"})
    find_invoices(engine, wanted, books, Page(2, 50, ("-total",))).sentence("invoices")
                                       page 2 of 7, 312 invoices, total 10,204.11 USD
    find_codes(connection, wanted, books)                 all of them, for what is done with them

Who asks sees what their roles let them see.

Choosing invoices of a run: a selection, or all that match.

--invoice RC-1993-11-1/u4     --project u4 --state OPEN     --total-from 1000     --all

What is exported: issued invoices that a filter matches, statements, or both.

    Export(Filter.parse({"run": "RC-1993-11-1"}))
    Export(Filter.parse({"period_from": "1993-11", …}), with_statements=True)
    Export(statements=("bio-1993-11",))

Only what is issued is exported, and of that what who asks may see.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from itertools import product
from math import ceil, floor
from typing import Annotated, Self

import polars as pl
from pydantic import AfterValidator, BeforeValidator, ValidationError, model_validator
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidAdjustment, InvalidFilter, InvalidPeriod, NotReady
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import runs, search
from billing_lib.ledger import statements as ledger_statements
from billing_lib.ledger.database import reading
from billing_lib.ledger.people import read_facilities
from billing_lib.ledger.search import (
    CHARGES,
    INVOICES,
    REISSUE,
    Amounts,
    Criteria,
    Listing,
    Seen,
    View,
)
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
from billing_lib.pricing.clock import Period
from billing_lib.pricing.fields import Amount, Day, Entry
from billing_lib.pricing.money import minor_places, money_text, money_text_column
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.permissions import (
    VIEWER,
    labs_of,
    may_team,
    readable,
    require,
    require_team,
)
from billing_lib.workflow.snapshot import AD_HOC, PERIODIC

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


_INVOICES_ORDER, _CHARGES_ORDER = ("number",), ("project", "date")
_AMOUNTS = ("raw_total", "adjustment", "tax", "total", "cost")

Books = Mapping[str, PriceBook]


@dataclass(frozen=True)
class Page:
    """Which part of what matches, in which order.

    Attributes
    ----------
    number
        From 1 on.
    size
        Rows of a page; None for one page with all.
    sort
        Column names, with ``-`` before one for the largest first; the list's own order unless
        told. Ties are in the order of facility and code.
    """

    number: int = 1
    size: int | None = None
    sort: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """A page of what matches.

    Attributes
    ----------
    rows
        Of the page, amounts as text in the row's currency.
    count
        How many match on all pages.
    totals
        What all that match come to, in minor units by currency.
    """

    rows: pl.DataFrame
    count: int
    totals: dict[str, int]
    page: int
    pages: int

    def sentence(self, noun: str) -> str:
        """The same in words: ``page 2 of 7, 312 invoices, total 10,204.11 USD``."""
        if self.count == 0:
            return f"no {noun}"
        place = f"page {self.page:,} of {self.pages:,}, " if self.pages > 1 else ""
        sums = [
            f"{Decimal(money_text(total, minor_places(currency))):,} {currency}"
            for currency, total in self.totals.items()
        ]
        return f"{place}{self.count:,} {noun}, total {', '.join(sums)}"


ALL = Page()


def find_invoices(
    engine: Engine, wanted: Filter, books: Books | None = None, page: Page = ALL
) -> Found:
    """A page of the invoices that match, drafts too; by number unless told, drafts last.

    Rows have ``number``, ``invoice`` (its code), ``facility``, ``period``, ``project``,
    ``team``, ``invoice_date``, ``state``, ``kind``, ``reference``, ``charges``, ``raw_total``,
    ``adjustment``, ``tax``, ``total``, ``currency``, ``cost`` and ``reason``, that of the last
    move that had one.

    Parameters
    ----------
    books
        Price books by facility, which know the teams that belong to a team.

    Raises
    ------
    InvalidFilter
        No invoice can be in a state asked for; there is no such column or page.
    """
    _require_states_of_invoices(wanted)
    return _find(engine, INVOICES, wanted, books, page, _INVOICES_ORDER)


def find_charges(
    engine: Engine, wanted: Filter, books: Books | None = None, page: Page = ALL
) -> Found:
    """A page of the charges that match; by project and date unless told.

    Rows have ``charge`` (``RC/57``), ``project``, ``item``, ``user``, ``date``, ``description``,
    ``quantity``, ``price``, ``raw_total``, ``adjustment``, ``total``, ``cost``, ``state``,
    ``invoice`` and ``currency``.

    Raises
    ------
    InvalidFilter
        There is no such column or page.
    """
    found = _find(engine, CHARGES, wanted, books, page, _CHARGES_ORDER)
    named = pl.format("{}/{}", "facility", "charge").alias("charge")
    return replace(found, rows=found.rows.with_columns(named).drop("facility"))


def find_codes(
    connection: Connection, wanted: Filter, books: Books | None = None
) -> list[tuple[str, str]]:
    """Facility and code of all invoices that match, for what is done with a selection.

    Raises
    ------
    InvalidFilter
        No invoice can be in a state asked for.
    """
    _require_states_of_invoices(wanted)
    criteria = _criteria(connection, wanted, books or {})
    return list(search.read_codes(connection, INVOICES, criteria).iter_rows())


def find_charge_codes(
    connection: Connection, wanted: Filter, books: Books | None = None
) -> list[tuple[str, str]]:
    """Facility and code of all charges that match, for what is done with a selection."""
    criteria = _criteria(connection, wanted, books or {})
    return list(search.read_codes(connection, CHARGES, criteria).iter_rows())


def list_invoices(
    engine: Engine, facility: str | None = None, month: str | None = None
) -> pl.DataFrame:
    """All invoices of a facility or month, as find_invoices gives them."""
    stated = {"facility": facility, "period_from": month, "period_to": month}
    return find_invoices(engine, Filter.parse(stated)).rows


def _find(
    engine: Engine,
    listing: Listing,
    wanted: Filter,
    books: Books | None,
    page: Page,
    usual: tuple[str, ...],
) -> Found:
    order = _order(listing, page.sort or usual)
    if page.number < 1 or (page.size is not None and page.size < 1):
        raise InvalidFilter("pages and their rows are counted from 1")
    with reading(engine) as connection:
        criteria = _criteria(connection, wanted, books or {})
        totals = search.read_totals(connection, listing, criteria)
        count = int(totals["count"].sum())
        pages = 1 if page.size is None else max(1, -(-count // page.size))
        if page.number > pages:
            raise InvalidFilter(f"there is no page {page.number:,}; the last one is {pages:,}")
        offset = (page.number - 1) * (page.size or 0)
        rows = search.read_rows(connection, listing, criteria, order, page.size, offset)
    staff = pl.col("facility").is_in(criteria.seen.facilities)
    rows = rows.with_columns(pl.when(staff).then(pl.col("^cost|reason$")))
    sums = dict(totals.select("currency", "total").iter_rows())
    return Found(_as_text(rows), count, sums, page.number, pages)


def _order(listing: Listing, sort: tuple[str, ...]) -> list[tuple[str, bool]]:
    order = [(name.removeprefix("-"), name.startswith("-")) for name in sort]
    for name, _ in order:
        if name not in listing.sorts:
            raise InvalidFilter(
                f"there is no sorting by '{name}'",
                remedy=f"sort by {', '.join(listing.sorts)}, with - for the largest first",
            )
    return order


def _require_states_of_invoices(wanted: Filter) -> None:
    for state in wanted.states:
        if state not in states(INVOICE):
            raise InvalidFilter(
                f"no invoice is ever {state}",
                where="states",
                remedy=f"it is one of {', '.join(states(INVOICE))}",
            )


def _criteria(connection: Connection, wanted: Filter, books: Books) -> Criteria:
    """What the ledger is asked: teams with those below them, amounts in minor units."""
    return Criteria(
        **wanted.model_dump(exclude={"total_from", "total_to", "view"}),
        seen=_seen(connection, wanted.facility),
        below={} if wanted.team is None else teams_below(books, wanted.team),
        amounts=_amounts(connection, wanted),
        view=None if wanted.view is None else VIEWS[wanted.view],
    )


def _seen(connection: Connection, facility: str | None) -> Seen:
    """What who is asking may see: all of some facilities, of others what was issued to a lab.

    Raises
    ------
    NotPermitted
        A facility is named of which that is nothing.
    """
    known = read_facilities(connection)["code"].to_list()
    whole = readable(connection, known)
    labs = [(code, team) for code in known for team in sorted(labs_of(connection, code))]
    may_see = {*whole, *(code for code, _ in labs)}
    if facility is not None and facility in known and facility not in may_see:
        require(connection, facility, VIEWER)
    return Seen(tuple(whole), tuple(labs))


def teams_below(books: Books, team: str) -> dict[str, tuple[str, ...]]:
    """The teams that belong to a team, over others too, by facility."""
    below: dict[str, tuple[str, ...]] = {}
    for facility, book in books.items():
        found = [team]
        for above in found:  # grows while it is gone through; the price book has no circles
            found += [other.code for other in book.teams if other.parent == above]
        below[facility] = tuple(found[1:])
    return {facility: teams for facility, teams in below.items() if teams}


def _amounts(connection: Connection, wanted: Filter) -> tuple[Amounts, ...] | None:
    """Between which totals each currency's facilities lie: 10.005 USD is above 1000 cents."""
    least, most = wanted.total_from, wanted.total_to
    if least is None and most is None:
        return None
    known = read_facilities(connection).group_by("currency", maintain_order=True).agg("code")
    return tuple(
        Amounts(
            tuple(codes),
            None if least is None else ceil(_minor(least, currency)),
            None if most is None else floor(_minor(most, currency)),
        )
        for currency, codes in known.iter_rows()
    )


def _minor(amount: Decimal, currency: str) -> Fraction:
    return Fraction(amount) * int(10 ** minor_places(currency))


def _as_text(rows: pl.DataFrame) -> pl.DataFrame:
    """Amounts and dates as text, each amount by its row's currency."""
    places = {currency: minor_places(currency) for currency in rows["currency"].unique()}
    dates = [name for name, dtype in rows.schema.items() if dtype == pl.Date]
    return rows.with_columns(
        pl.col(dates).cast(pl.String),
        *(
            pl.coalesce(
                pl.lit(None, pl.String),
                *(
                    pl.when(pl.col("currency") == currency).then(
                        money_text_column(pl.col(name), known)
                    )
                    for currency, known in sorted(places.items())
                ),
            ).alias(name)
            for name in _AMOUNTS
            if name in rows.columns
        ),
    )


@dataclass(frozen=True)
class Choice:
    """Which invoices of a run an action is for; what is empty or None chooses all.

    Attributes
    ----------
    teams
        Those that belong to them are chosen with them.
    total_from, total_to
        Bounds of the total, both included.
    everything
        Says that really all of the run is meant, where nothing else is stated.
    """

    invoices: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    total_from: Decimal | None = None
    total_to: Decimal | None = None
    everything: bool = False

    def of(self, connection: Connection, book: PriceBook, run: str) -> list[str]:
        """The codes of the chosen invoices of a run.

        Raises
        ------
        InvalidAdjustment
            Nothing is stated, or an invoice is not of the run.
        InvalidFilter
            No invoice is ever in such a state.
        NotReady
            None matches.
        UnknownRun
            There is no such run.
        """
        require(connection, book.facility.code, VIEWER)
        runs.read_run(connection, run)
        if self == Choice():
            raise InvalidAdjustment(
                "say which invoices", remedy="name them with --invoice or a filter, or add --all"
            )
        facility = book.facility.code
        of_run = ledger_invoices.read_invoices(connection, facility, run=run)["code"]
        strange = sorted(set(self.invoices) - set(of_run))
        if strange:
            raise InvalidAdjustment(f"invoice {strange[0]} is not of run {run}")
        stated = {
            "facility": facility,
            "run": run,
            "states": self.states,
            "total_from": self.total_from,
            "total_to": self.total_to,
        }
        found = {
            code
            for project, team in product(self.projects or (None,), self.teams or (None,))
            for _, code in find_codes(
                connection,
                Filter.parse(stated | {"project": project, "team": team}),
                {facility: book},
            )
        }
        if self.invoices:
            found &= set(self.invoices)
        if not found:
            raise NotReady(
                f"no invoice of run {run} matches", remedy=f"'billing run show {run}' lists them"
            )
        return sorted(found)


@dataclass(frozen=True)
class Export:
    """A selection of invoices and statements.

    Attributes
    ----------
    wanted
        Which invoices; nothing stated is none, unless ``everything``.
    statements
        These statements besides, by their ids.
    with_statements
        The statements besides that the found invoices are on.
    everything
        All invoices, where nothing else is stated.
    """

    wanted: Filter = field(default_factory=Filter)
    statements: tuple[str, ...] = ()
    with_statements: bool = False
    everything: bool = False

    @property
    def words(self) -> str:
        """As people read it: ``run RC-1993-11-1, with statements``."""
        stated = self.wanted.model_dump(exclude_defaults=True, mode="json")
        if stated.get("period_from") == stated.get("period_to") is not None:
            stated = {"period": stated["period_from"]} | stated
            del stated["period_from"], stated["period_to"]
        parts = [
            f"{name.replace('_', ' ')} {', '.join(value) if isinstance(value, list) else value}"
            for name, value in stated.items()
        ]
        if self.everything and not parts:
            parts = ["all invoices"]
        parts += [f"statement {statement}" for statement in self.statements]
        return ", ".join([*parts, *(["with statements"] if self.with_statements else [])])


@dataclass(frozen=True)
class Chosen:
    """What a selection comes to.

    Attributes
    ----------
    invoices
        Schema ARCHIVED, by facility and number.
    statements
        Ids, sorted.
    stated
        The invoices on these statements (schema STATED).
    archived
        The same invoices (schema ARCHIVED), by facility and number.
    drafts
        How many invoices matched that are not issued, and are left out.
    """

    invoices: pl.DataFrame
    statements: list[str]
    stated: pl.DataFrame
    archived: pl.DataFrame
    drafts: int

    def on(self, statement: str) -> pl.DataFrame:
        """The invoices on a statement (schema ARCHIVED), by facility and number."""
        numbers = self.stated.filter(pl.col("statement") == statement)["number"]
        return self.archived.filter(pl.col("number").is_in(numbers.implode()))


def choose(connection: Connection, export: Export, books: Books) -> Chosen:
    """What is exported.

    Raises
    ------
    InvalidFilter
        Nothing is stated.
    UnknownStatement
        There is no statement with this id.
    NotPermitted
        A statement is of a team that who is asking may not see in every facility on it.
    NotReady
        Nothing of it is issued.
    """
    if export.wanted == Filter() and not export.statements and not export.everything:
        raise InvalidFilter(
            "say which invoices or statements", remedy="give a filter, --statement or --all"
        )
    codes = (
        find_codes(connection, export.wanted, books)
        if export.wanted != Filter() or export.everything
        else []
    )
    pairs = pl.DataFrame(codes, schema={"facility": pl.String, "code": pl.String}, orient="row")
    found = ledger_invoices.read_invoices(connection, codes=pairs["code"].unique())
    found = found.join(pairs, on=["facility", "code"])
    numbers = found["number"].drop_nulls().to_list()
    invoices = ledger_invoices.read_archived(connection, numbers=numbers)
    for statement in export.statements:
        ledger_statements.require_statement(connection, statement)
    theirs = (
        ledger_statements.statements_with(connection, numbers) if export.with_statements else []
    )
    stated = ledger_statements.read_stated(connection, [*export.statements, *theirs])
    seen = _seen_statements(connection, stated, export.statements)
    stated = stated.filter(pl.col("statement").is_in(seen))
    if not numbers and not seen:
        raise NotReady(
            f"nothing issued matches {export.words}",
            remedy="'billing invoices' lists what there is; a draft is written by billing preview",
        )
    archived = ledger_invoices.read_archived(connection, numbers=stated["number"].to_list())
    return Chosen(invoices, seen, stated, archived, found.height - len(numbers))


def _seen_statements(
    connection: Connection, stated: pl.DataFrame, named: tuple[str, ...]
) -> list[str]:
    """Those of the statements that who is asking may see in every facility on them."""
    seen = sorted({*stated["statement"].unique(), *named})
    for statement, facility, team in (
        stated.select("statement", "facility", "team").unique().sort("statement").iter_rows()
    ):
        if statement in named:
            require_team(connection, facility, team)
        elif not may_team(connection, facility, team) and statement in seen:
            seen.remove(statement)
    return seen
