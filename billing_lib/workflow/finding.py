"""Finding invoices and charges: what a filter matches, in pages, in any order.

    wanted = Filter.parse({"team": "bio", "view": "live"})
    find_invoices(engine, wanted, books, Page(2, 50, ("-total",))).sentence("invoices")
                                       page 2 of 7, 312 invoices, total 10,204.11 USD
    find_codes(connection, wanted, books)                 all of them, for what is done with them
    find_values(engine, wanted, "user")                   what to choose from

Who asks sees what their roles let them see.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidFilter
from billing_lib.ledger import finding
from billing_lib.ledger.database import reading
from billing_lib.ledger.facilities import read_facilities
from billing_lib.ledger.finding import CHARGES, INVOICES, Listing
from billing_lib.ledger.matching import Amounts, Criteria, Seen
from billing_lib.ledger.states import INVOICE, states
from billing_lib.pricing.money import minor_places, money_text, money_text_column
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.filters import VIEWS, Filter
from billing_lib.workflow.permissions import VIEWER, labs_of, readable, require

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
    return list(finding.read_codes(connection, INVOICES, criteria).iter_rows())


def find_charge_codes(
    connection: Connection, wanted: Filter, books: Books | None = None
) -> list[tuple[str, str]]:
    """Facility and code of all charges that match, for what is done with a selection."""
    criteria = _criteria(connection, wanted, books or {})
    return list(finding.read_codes(connection, CHARGES, criteria).iter_rows())


def find_values(engine: Engine, wanted: Filter, column: str) -> list[str]:
    """The different values of a column (``project``, ``user``, ``item``) of charges that match."""
    with reading(engine) as connection:
        return finding.read_values(connection, CHARGES, _criteria(connection, wanted, {}), column)


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
        totals = finding.read_totals(connection, listing, criteria)
        count = int(totals["count"].sum())
        pages = 1 if page.size is None else max(1, -(-count // page.size))
        if page.number > pages:
            raise InvalidFilter(f"there is no page {page.number:,}; the last one is {pages:,}")
        offset = (page.number - 1) * (page.size or 0)
        rows = finding.read_rows(connection, listing, criteria, order, page.size, offset)
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
