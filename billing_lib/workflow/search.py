"""Search invoices and charges, and select invoices for the actions on a run and for exports.

    wanted = Filter.parse({"team": "bio", "view": "live", "total_from": "100.00"})
    find_invoices(engine, wanted, books, Page(2, 50, ("-total",))).sentence("invoice")
                                       page 2 of 7, 312 invoices, total 10,204.11 USD
    find_invoices(engine, wanted, books, Page(size=50, after=("RC", "RC-1993-11-1/u4")))
                                       the next 50 invoices after that one
    find_codes(connection, wanted, books)       every matching invoice, for an action on them

Every list and every action on a selection takes the same ``Filter``; results contain only rows
that the current user may see. ``InvoiceSelection`` selects invoices of a run, ``ExportSelection``
issued invoices, statements or both:

    InvoiceSelection(projects=("u4",), states=("OPEN",))
    ExportSelection(Filter.parse({"run": "RC-1993-11-1"}), with_statements=True)
    ExportSelection(statements=("bio-1993-11",))
"""

import datetime as dt
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

from billing_lib.errors import (
    InvalidAdjustment,
    InvalidFilter,
    InvalidPeriod,
    NotReady,
    UnknownInvoice,
    count_of,
)
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import runs, search
from billing_lib.ledger import statements as ledger_statements
from billing_lib.ledger.database import reading
from billing_lib.ledger.frames import read_frame
from billing_lib.ledger.people import current_login, read_facilities
from billing_lib.ledger.search import (
    CHARGE_ROWS,
    INVOICE_ROWS,
    REISSUE,
    Amounts,
    Criteria,
    Listing,
    View,
    VisibleRows,
)
from billing_lib.ledger.states import (
    APPROVED,
    APPROVING,
    CHARGE,
    CLOSED,
    ERROR,
    INVOICE,
    OPEN,
    PAID,
    QUARANTINED,
    REJECTED,
    SUPERSEDED,
    UNFINISHED,
    VOID,
    states,
)
from billing_lib.pricing.charge import as_decimals, as_text
from billing_lib.pricing.clock import Period
from billing_lib.pricing.fields import Amount, Day, Entry
from billing_lib.pricing.money import minor_places, money_text
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

VIEWS = {
    "live": View("Live", UNFINISHED, unplaced=True),
    "ready": View("Ready to approve", (APPROVING,)),
    "complete": View("Complete", (APPROVED, PAID, SUPERSEDED, VOID, CLOSED)),
    "problems": View("Problems", (ERROR, REJECTED, QUARANTINED), odd=UNFINISHED),
    "past": View("Past months still open", (OPEN,)),
}
"""The standing views of invoices: unfinished; waiting for approval; finished; in need of attention,
since in error, rejected, in quarantine, empty or below zero; and open although their month is
over."""

KINDS = (PERIODIC, AD_HOC, REISSUE)
STATES_OF_ROWS = tuple(dict.fromkeys((*states(INVOICE), *states(CHARGE))))


def _storable(text: str) -> str:
    """Check that a column can hold the text."""
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text):
        raise ValueError(f"{text!r} holds a control character")
    if not text:
        raise ValueError("an empty text finds nothing")
    return text


def _one_of(words: tuple[str, ...], noun: str) -> AfterValidator:
    def check(word: str) -> str:
        if word not in words:
            raise ValueError(f"'{word}' is no {noun}; it is one of {', '.join(words)}")
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
State = Annotated[str, BeforeValidator(_capitals), _one_of(STATES_OF_ROWS, "state")]
Kind = Annotated[str, BeforeValidator(_kind), _one_of(KINDS, "kind of invoice")]
ViewName = Annotated[str, _one_of(tuple(VIEWS), "view")]


class Filter(Entry):
    """Conditions on invoices and charges; one that is left out matches all."""

    facility: Words | None = None
    team: Words | None = None
    """A team's code; the teams below it match too, unless ``only_team``."""
    only_team: bool = False
    project: Words | None = None
    run: Words | None = None
    """A billing run's id; matches its invoices and their charges."""
    number: Words | None = None
    """Part of an invoice's number or code; for a charge also part of the charge's own code."""
    reference: Words | None = None
    states: tuple[State, ...] = ()
    """States of invoices or charges; a charge also matches by its invoice's state."""
    kinds: tuple[Kind, ...] = ()
    empty: bool | None = None
    """Whether an invoice has no charges, or a charge's total is zero."""
    total_from: Amount | None = None
    total_to: Amount | None = None
    """In each facility's currency; both bounds are included."""
    period_from: Month | None = None
    period_to: Month | None = None
    user: Words | None = None
    item: Words | None = None
    date_from: Day | None = None
    date_to: Day | None = None
    """Dates of charges; both bounds are included."""
    expense_code: Words | None = None
    """An invoice matches by any of its charges, as for their user, item and date."""
    text: Words | None = None
    """Part of a description, or of any reason or note on an invoice or its charges."""
    view: ViewName | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for name in ("total", "period", "date"):
            first, last = getattr(self, f"{name}_from"), getattr(self, f"{name}_to")
            if first is not None and last is not None and first > last:
                raise ValueError(f"the {name} is from {first} to {last}, so nothing lies between")
        return self

    @classmethod
    def parse(cls, stated: Mapping[str, object]) -> Self:
        """Make a filter from values by name, ignoring None; raise InvalidFilter for a bad value."""
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


Books = Mapping[str, PriceBook]


@dataclass(frozen=True)
class Page:
    """The page to return, counted from 1, and the order of rows.

    Without a ``size`` one page has all rows. ``sort`` names columns, with a leading ``-`` for
    descending order; facility and code decide ties. In place of a number, ``after`` names the row
    (facility and code) that the page follows, so that a deep page is as quick as the first.
    """

    number: int = 1
    size: int | None = None
    sort: tuple[str, ...] = ()
    after: tuple[str, str] | None = None


@dataclass(frozen=True)
class SearchResult:
    """A page of search results.

    ``rows`` are the page's, each with its facility and currency; ``count`` and ``totals`` (minor
    units by currency) are of the matches on all pages. The totals leave out ``uncounted`` matches:
    closed, void and replaced invoices, drafts that repeat an invoice which still counts, and the
    charges on all these. The matches are counted for a page with a number alone: of one that
    follows a row ``count``, ``page`` and ``pages`` are 0. ``last`` is the last row of the page, if
    others may follow: facility and code.
    """

    rows: pl.DataFrame
    count: int
    totals: dict[str, int]
    page: int
    pages: int
    uncounted: int = 0
    last: tuple[str, str] | None = None

    def texts(self) -> pl.DataFrame:
        """The rows as people read them: numbers and dates as text, a charge as ``RC/57``."""
        return as_text(self._named())

    def decimals(self) -> pl.DataFrame:
        """The rows to reckon with: amounts and quantities as decimals, a charge as ``RC/57``."""
        return as_decimals(self._named())

    def _named(self) -> pl.DataFrame:
        if "charge" not in self.rows.columns:
            return self.rows
        return self.rows.with_columns(charge=pl.format("{}/{}", "facility", "charge"))

    def sentence(self, noun: str) -> str:
        """The result in words: ``page 2 of 7, 312 invoices, total 10,204.11 USD``."""
        if self.pages == 0:
            return f"{count_of(self.rows.height, f'further {noun}')} on this page"
        if self.count == 0:
            return f"no {noun}s"
        place = f"page {self.page:,} of {self.pages:,}, " if self.pages > 1 else ""
        sums = [
            f"{Decimal(money_text(total, minor_places(currency))):,} {currency}"
            for currency, total in self.totals.items()
        ]
        apart = (
            f"; {self.uncounted:,} of them closed, void, replaced or repeated, not in the total"
            if self.uncounted
            else ""
        )
        return f"{place}{count_of(self.count, noun)}, total {', '.join(sums)}{apart}"


ALL = Page()


def find_invoices(
    engine: Engine, wanted: Filter, books: Books | None = None, page: Page = ALL
) -> SearchResult:
    """Return a page of the matching invoices and drafts, by default by number with drafts last.

    Columns: ``number``, ``invoice`` (its code), ``facility``, ``period``, ``project``, ``team``,
    ``run``, ``invoice_date``, ``state``, ``kind``, ``reference``, ``description``, ``replaces``,
    ``step`` (approvals so far), ``paid_on``, ``payment_reference``, ``charges``, ``raw_total``,
    ``adjustment``, ``tax``, ``total``, ``currency``, ``cost`` and ``reason``, the last one given
    for a change of state. The price books know the teams below a team.

    Raises
    ------
    InvalidFilter
        A state is not one of invoices; there is no such column or page.
    """
    _require_states_of_invoices(wanted)
    return _find(engine, INVOICE_ROWS, wanted, books, page, ("number",))


def find_charges(
    engine: Engine, wanted: Filter, books: Books | None = None, page: Page = ALL
) -> SearchResult:
    """Return a page of the matching charges, by default by project and date.

    Rows have ``facility``, the columns of a charge that the ledger keeps (schema KEPT) and
    ``currency``.

    Raises
    ------
    InvalidFilter
        There is no such column or page.
    NotPermitted
        A facility is named whose charges the user may not see.
    """
    return _find(engine, CHARGE_ROWS, wanted, books, page, ("project", "date"))


def find_codes(
    connection: Connection, wanted: Filter, books: Books | None = None
) -> list[tuple[str, str]]:
    """Return facility and code of every matching invoice."""
    _require_states_of_invoices(wanted)
    criteria = _criteria(connection, wanted, books or {})
    return list(search.read_codes(connection, INVOICE_ROWS, criteria).iter_rows())


def find_charge_codes(
    connection: Connection, wanted: Filter, books: Books | None = None
) -> list[tuple[str, str]]:
    """Return facility and code of every matching charge."""
    criteria = _criteria(connection, wanted, books or {})
    return list(search.read_codes(connection, CHARGE_ROWS, criteria).iter_rows())


def list_invoices(
    engine: Engine, facility: str | None = None, month: str | None = None
) -> pl.DataFrame:
    """Return all invoices of a facility or month, with amounts as text."""
    stated = {"facility": facility, "period_from": month, "period_to": month}
    return find_invoices(engine, Filter.parse(stated)).texts()


def _find(
    engine: Engine,
    listing: Listing,
    wanted: Filter,
    books: Books | None,
    page: Page,
    usual: tuple[str, ...],
) -> SearchResult:
    order = _order(listing, page.sort or usual)
    if page.number < 1 or (page.size is not None and page.size < 1):
        raise InvalidFilter("pages and their rows are counted from 1")
    if page.after is not None and (page.size is None or page.number != 1):
        raise InvalidFilter("a page that follows a row has a size, and no number")
    number = 0 if page.after else page.number
    with reading(engine) as connection:
        if listing is CHARGE_ROWS and wanted.facility is not None:
            require(connection, wanted.facility, VIEWER)
        criteria = _criteria(connection, wanted, books or {})
        count, pages, uncounted, sums = 0, 0, 0, {}
        if number:
            totals = search.read_totals(connection, listing, criteria)
            count = int(totals["count"].sum())
            uncounted = count - int(totals["counted"].sum())
            sums = dict(totals.select("currency", "total").iter_rows())
            pages = 1 if page.size is None else max(1, -(-count // page.size))
        if number > pages:
            raise InvalidFilter(f"there is no page {number:,}; the last one is {pages:,}")
        offset = (page.number - 1) * (page.size or 0)
        chosen = search.select_rows(
            connection, listing, criteria, order, page.size, offset, after=page.after, count=count
        )
        rows = read_frame(connection, chosen)
    staff = pl.col("facility").is_in(criteria.seen.facilities)
    rows = rows.with_columns(pl.when(staff).then(pl.col("^cost|reason$")))
    last = None
    if rows.height == page.size and (number < pages or not pages):
        last = rows.select("facility", "charge" if listing is CHARGE_ROWS else "invoice").row(-1)
    return SearchResult(rows, count, sums, number, pages, uncounted, last)


def _order(listing: Listing, sort: tuple[str, ...]) -> list[tuple[str, bool]]:
    order = [(name.removeprefix("-"), name.startswith("-")) for name in sort]
    for name, _ in order:
        if name not in listing.sorts:
            raise InvalidFilter(
                f"the list cannot be sorted by '{name}'",
                remedy=f"sort by {', '.join(listing.sorts)}, with - for descending order",
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
    """Translate a filter for the ledger: add the teams below a team, convert amounts."""
    return Criteria(
        **wanted.model_dump(exclude={"total_from", "total_to", "view", "only_team"}),
        seen=_seen(connection, wanted.facility),
        below={} if wanted.team is None or wanted.only_team else teams_below(books, wanted.team),
        amounts=_amounts(connection, wanted),
        view=_view(wanted.view),
    )


def _view(name: str | None) -> View | None:
    if name == "past":
        return replace(VIEWS[name], before=f"{dt.datetime.now(dt.UTC):%Y-%m}")
    return None if name is None else VIEWS[name]


def _seen(connection: Connection, facility: str | None) -> VisibleRows:
    """The rows a user may see: all rows of facilities where they have a role, and issued invoices
    of their labs.

    Raises NotPermitted if there is none in the named facility.
    """
    known = read_facilities(connection)["code"].to_list()
    whole = readable(connection, known)
    labs = [(code, team) for code in known for team in sorted(labs_of(connection, code))]
    may_see = {*whole, *(code for code, _ in labs)}
    if facility is not None and facility in known and facility not in may_see:
        require(connection, facility, VIEWER)
    return VisibleRows(tuple(whole), tuple(labs))


def teams_below(books: Books, team: str) -> dict[str, tuple[str, ...]]:
    """The teams below a team at any depth, by facility."""
    below: dict[str, tuple[str, ...]] = {}
    for facility, book in books.items():
        tree = [team]
        for above in tree:  # grows during the loop; the price book has no circles
            tree += [other.code for other in book.teams if other.parent == above]
        if tree[1:]:
            below[facility] = tuple(tree[1:])
    return below


def _amounts(connection: Connection, wanted: Filter) -> tuple[Amounts, ...] | None:
    """The bounds of the total per currency, in minor units: from 10.005 USD is from 1001 cents."""
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


@dataclass(frozen=True)
class InvoiceSelection:
    """Conditions on the invoices of a run; one that is empty or None matches all.

    The teams below a team match too, and both bounds of the total are included. ``waiting_for_me``
    keeps invoices whose next reviewer is the user. Without any other condition, ``everything`` must
    confirm that the whole run is meant.
    """

    invoices: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    total_from: Decimal | None = None
    total_to: Decimal | None = None
    everything: bool = False
    waiting_for_me: bool = False

    @property
    def names_each(self) -> bool:
        """Whether each invoice is named, so that none of them may be passed over in silence."""
        return bool(self.invoices)

    def of(self, connection: Connection, book: PriceBook, run: str) -> list[str]:
        """Return the codes of the matching invoices of a run."""
        require(connection, book.facility.code, VIEWER)
        runs.read_run(connection, run)
        if self == InvoiceSelection():
            raise InvalidAdjustment(
                "no invoice is selected",
                remedy="name invoices, give a condition, or choose all of the run",
            )
        facility = book.facility.code
        of_run = ledger_invoices.read_invoices(connection, facility, run=run)
        strange = sorted(set(self.invoices) - set(of_run["code"]))
        if strange:
            raise InvalidAdjustment(f"invoice {strange[0]} is not of run {run}")
        stated = {
            "facility": facility,
            "run": run,
            "states": self.states,
            "total_from": self.total_from,
            "total_to": self.total_to,
        }
        codes = {
            code
            for project, team in product(self.projects or (None,), self.teams or (None,))
            for _, code in find_codes(
                connection,
                Filter.parse(stated | {"project": project, "team": team}),
                {facility: book},
            )
        }
        if self.invoices:
            codes &= set(self.invoices)
        if self.waiting_for_me:
            login = current_login(connection)
            codes &= {
                code
                for code, state, step in of_run.select("code", "state", "step").iter_rows()
                if login in book.reviewers_of(state, step)
            }
        if not codes:
            raise NotReady(
                f"no invoice of run {run} matches", remedy=f"'billing run show {run}' lists them"
            )
        return sorted(codes)


@dataclass(frozen=True)
class ExportSelection:
    """A selection of invoices, and of statements by id.

    Without conditions on the invoices, none are selected unless ``everything`` is set.
    ``with_statements`` adds the statements that contain the selected invoices.
    """

    wanted: Filter = field(default_factory=Filter)
    statements: tuple[str, ...] = ()
    with_statements: bool = False
    everything: bool = False
    numbers: tuple[str, ...] = ()
    """Numbers of invoices, if these are selected one by one."""

    @property
    def words(self) -> str:
        """The selection in words: ``run RC-1993-11-1, with statements``."""
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
        if self.numbers:
            few = len(self.numbers) <= 3
            named = ", ".join(self.numbers) if few else f"{len(self.numbers):,} chosen"
            parts.append(f"invoices {named}")
        parts += [f"statement {statement}" for statement in self.statements]
        return ", ".join([*parts, *(["with statements"] if self.with_statements else [])])


@dataclass(frozen=True)
class Chosen:
    """The invoices and statements of a selection.

    Attributes
    ----------
    invoices
        Schema ARCHIVED, by facility and number.
    statements
        Ids, sorted.
    stated, archived
        The invoices on these statements in schema STATED, and in schema ARCHIVED by facility and
        number.
    drafts
        Number of matching drafts, which are left out.
    """

    invoices: pl.DataFrame
    statements: list[str]
    stated: pl.DataFrame
    archived: pl.DataFrame
    drafts: int

    def on(self, statement: str) -> pl.DataFrame:
        """Return the invoices on a statement (schema ARCHIVED), by facility and number."""
        numbers = self.stated.filter(pl.col("statement") == statement)["number"]
        return self.archived.filter(pl.col("number").is_in(numbers.implode()))


def choose(connection: Connection, export: ExportSelection, books: Books) -> Chosen:
    """Find the issued invoices and the statements of a selection that the current user may see."""
    wanted = export.wanted != Filter() or export.everything or bool(export.numbers)
    if not wanted and not export.statements:
        raise InvalidFilter(
            "no invoice or statement is selected",
            remedy="give a condition, name statements, or choose all invoices",
        )
    codes = find_codes(connection, export.wanted, books) if wanted else []
    pairs = pl.DataFrame(codes, schema={"facility": pl.String, "code": pl.String}, orient="row")
    matching = ledger_invoices.read_invoices(connection, codes=pairs["code"].unique())
    matching = matching.join(pairs, on=["facility", "code"])
    if export.numbers:
        matching = matching.filter(pl.col("number").is_in(export.numbers))
        missing = sorted({*export.numbers} - {*matching["number"]})
        if missing:
            raise UnknownInvoice(f"there is no invoice {missing[0]} that you may see")
    numbers = matching["number"].drop_nulls().to_list()
    invoices = ledger_invoices.read_archived(connection, numbers=numbers)
    for statement in export.statements:
        ledger_statements.require_statement(connection, statement)
    statements = list(export.statements)
    if export.with_statements:
        statements += ledger_statements.statements_with(connection, numbers)
    stated = ledger_statements.read_stated(connection, statements)
    seen = _seen_statements(connection, stated, export.statements)
    stated = stated.filter(pl.col("statement").is_in(seen))
    if not numbers and not seen:
        raise NotReady(
            f"nothing issued matches {export.words}",
            remedy="'billing invoices' lists all invoices, 'billing preview' writes a draft",
        )
    archived = ledger_invoices.read_archived(connection, numbers=stated["number"].to_list())
    return Chosen(invoices, seen, stated, archived, matching.height - len(numbers))


def _seen_statements(
    connection: Connection, stated: pl.DataFrame, named: tuple[str, ...]
) -> list[str]:
    """The statements that the current user may see in every facility on them; raise NotPermitted
    for a ``named`` one that they may not."""
    seen = sorted({*stated["statement"].unique(), *named})
    for statement, facility, team in (
        stated.select("statement", "facility", "team").unique().sort("statement").iter_rows()
    ):
        if statement in named:
            require_team(connection, facility, team)
        elif not may_team(connection, facility, team) and statement in seen:
            seen.remove(statement)
    return seen
