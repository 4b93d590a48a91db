"""Search for invoices and charges: a page of matching rows, and the totals of all matches.

    Criteria(states=("OPEN",), text="laser")   page 2 of 50 rows, by total   312 rows, 10,204.11 USD

    text "Müller"   →   x ~ '[mM][üÜ][lL][lL][eE][rR]'

The conditions are SQL for both databases. Texts match in any case; the pattern itself names both
cases of a letter, since the databases' own rules differ and depend on the locale. Both databases
return the same order: texts by code points, nulls last, ties by facility and code.

A page continues after the last row of the one before, by that row's values in the order (a keyset
page), so that a deep page costs no more than the first. Pages by number count rows from the nearer
end. A month of a facility without further criteria is read from one index alone, in any order by
project, date, total or charge.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, NamedTuple

import polars as pl
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Table,
    Text,
    UnaryExpression,
    and_,
    case,
    exists,
    false,
    func,
    or_,
    select,
    tuple_,
)
from sqlalchemy.sql.operators import custom_op

from billing_lib.errors import InvalidFilter
from billing_lib.ledger import frames
from billing_lib.ledger.charges import not_billed_otherwise
from billing_lib.ledger.schema import KEPT, charge, charge_split, event, invoice, issued_invoice
from billing_lib.ledger.schema import facility as facilities
from billing_lib.ledger.states import CLOSED, SUPERSEDED, VOID

Condition = ColumnElement[bool]

_NUMBERS = (invoice.c.number, invoice.c.code)
_OF_CHARGES = ("adjust", "add_line", "delete")
_NOTE = "invoice_note"
_WITHIN = r'(?:[^"\\]|\\u[0-9a-f]{4}|\\[^u])*'
"""Any part of a JSON text, so that the next pattern does not start within an escape."""

REISSUE = "reissue"
"""A further kind in searches: invoices that replace another."""


@dataclass(frozen=True)
class View:
    """A view of invoices by the work that they need.

    It holds invoices in ``states``, invoices in ``odd`` states that have no charges or a negative
    total, and with ``unplaced`` also charges on no invoice. ``before`` is the first month that it
    leaves out.
    """

    title: str
    states: tuple[str, ...]
    odd: tuple[str, ...] = ()
    unplaced: bool = False
    before: str | None = None


@dataclass(frozen=True)
class Amounts:
    """A range of totals in these facilities, in minor units; both ends are included."""

    facilities: tuple[str, ...]
    least: int | None
    most: int | None


@dataclass(frozen=True)
class VisibleRows:
    """The rows a user may see: all rows of ``facilities``, and the issued invoices of ``labs``, as
    ``(facility, team)``, without their cost."""

    facilities: tuple[str, ...]
    labs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Criteria:
    """Search criteria; a criterion that is left out matches all rows.

    ``below`` has the teams under ``team`` at any depth, by facility. ``number`` is part of an
    invoice's number or code, or of a charge's code. A charge matches ``states`` by its own state or
    its invoice's. REISSUE in ``kinds`` matches invoices of any kind that replace another. ``empty``
    says whether an invoice has no charges, or a charge a total of zero. ``amounts`` has one range
    per currency; rows of other facilities do not match. An invoice matches ``user``, ``item``, the
    dates (both included) and ``expense_code`` by any of its charges. ``text`` is part of a
    description, a reason or a note.
    """

    seen: VisibleRows
    facility: str | None = None
    team: str | None = None
    below: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    project: str | None = None
    run: str | None = None
    number: str | None = None
    reference: str | None = None
    states: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    empty: bool | None = None
    amounts: tuple[Amounts, ...] | None = None
    period_from: str | None = None
    period_to: str | None = None
    user: str | None = None
    item: str | None = None
    date_from: date | None = None
    date_to: date | None = None
    expense_code: str | None = None
    text: str | None = None
    view: View | None = None


def invoice_conditions(criteria: Criteria) -> Iterator[Condition]:
    """The conditions that an invoice must meet."""
    yield from _shared(criteria, invoice)
    yield or_(
        invoice.c.facility.in_(criteria.seen.facilities),
        *(
            (invoice.c.facility == facility)
            & (invoice.c.team == team)
            & invoice.c.number.is_not(None)
            for facility, team in criteria.seen.labs
        ),
    )
    if criteria.number is not None:
        yield or_(*(_holds(column, criteria.number) for column in _NUMBERS))
    if criteria.reference is not None:
        yield invoice.c.reference == criteria.reference
    if criteria.states:
        yield invoice.c.state.in_(criteria.states)
    if criteria.empty is not None:
        yield invoice.c.charges == 0 if criteria.empty else invoice.c.charges != 0
    if criteria.view is not None:
        yield _in_view(criteria.view)
    of_invoice = select(charge.c.charge).where(
        charge.c.facility == invoice.c.facility, charge.c.invoice == invoice.c.code
    )
    for condition in _of_usage(criteria):
        yield exists(of_invoice.where(condition))
    if criteria.expense_code is not None:
        yield exists(of_invoice.where(_charged_to(criteria)))
    if criteria.text is not None:
        yield or_(
            _holds(invoice.c.description, criteria.text),
            _holds(invoice.c.reason, criteria.text),
            tuple_(invoice.c.facility, invoice.c.code).in_(_told(criteria.text, of_charges=False)),
            tuple_(invoice.c.facility, invoice.c.period + "/" + invoice.c.project).in_(
                _noted(criteria.text)
            ),
            exists(of_invoice.where(_told_of_charge(criteria.text))),
        )


def charge_conditions(criteria: Criteria) -> Iterator[Condition]:
    """The conditions that a charge must meet; ``invoice`` is the charge's invoice, if any."""
    yield from _shared(criteria, charge)
    yield charge.c.facility.in_(criteria.seen.facilities)
    if criteria.number is not None:
        columns = (charge.c.charge, *_NUMBERS)
        yield or_(*(_holds(column, criteria.number) for column in columns))
    if criteria.reference is not None:
        yield or_(
            charge.c.reference == criteria.reference,
            invoice.c.reference == criteria.reference,
        )
    if criteria.states:
        yield or_(charge.c.state.in_(criteria.states), invoice.c.state.in_(criteria.states))
    if criteria.empty is not None:
        yield charge.c.total == 0 if criteria.empty else charge.c.total != 0
    if criteria.view is not None:
        unplaced = [charge.c.invoice.is_(None)] if criteria.view.unplaced else []
        yield or_(_in_view(criteria.view), *unplaced)
    yield from _of_usage(criteria)
    if criteria.expense_code is not None:
        yield _charged_to(criteria)
    if criteria.text is not None:
        yield _told_of_charge(criteria.text)


def _shared(criteria: Criteria, table: Table) -> Iterator[Condition]:
    """Conditions on columns that both tables have."""
    if criteria.facility is not None:
        yield table.c.facility == criteria.facility
    yield from _within(table, criteria.period_from, criteria.period_to)
    if criteria.project is not None:
        yield table.c.project == criteria.project
    if criteria.team is not None:
        yield or_(
            table.c.team == criteria.team,
            *(
                (table.c.facility == facility) & table.c.team.in_(teams)
                for facility, teams in criteria.below.items()
            ),
        )
    if criteria.run is not None:
        yield invoice.c.run == criteria.run
    if criteria.kinds:
        replacing = invoice.c.replaces.is_not(None)
        of_kind = invoice.c.kind.in_(criteria.kinds)
        yield or_(of_kind, replacing) if REISSUE in criteria.kinds else of_kind
    if criteria.amounts is not None:
        yield or_(false(), *(_between(table, amounts) for amounts in criteria.amounts))


def _of_usage(criteria: Criteria) -> Iterator[Condition]:
    """Conditions on the usage behind a charge."""
    if criteria.user is not None:
        yield charge.c.user == criteria.user
    if criteria.item is not None:
        yield charge.c.item == criteria.item
    if criteria.date_from is not None:
        yield charge.c.date >= criteria.date_from
    if criteria.date_to is not None:
        yield charge.c.date <= criteria.date_to


def _within(table: Table, first: str | None, last: str | None) -> Iterator[Condition]:
    if first is not None and first == last:
        yield table.c.period == first  # an index is used further after =, not after a range
        return
    if first is not None:
        yield table.c.period >= first
    if last is not None:
        yield table.c.period <= last


def _between(table: Table, amounts: Amounts) -> Condition:
    conditions: list[Condition] = [table.c.facility.in_(amounts.facilities)]
    if amounts.least is not None:
        conditions.append(table.c.total >= amounts.least)
    if amounts.most is not None:
        conditions.append(table.c.total <= amounts.most)
    return and_(*conditions)


def _in_view(view: View) -> Condition:
    odd = (invoice.c.charges == 0) | (invoice.c.total < 0)
    in_view = or_(invoice.c.state.in_(view.states), invoice.c.state.in_(view.odd) & odd)
    return in_view if view.before is None else in_view & (invoice.c.period < view.before)


def _charged_to(criteria: Criteria) -> Condition:
    """Charges with this expense code, as a set that is read once, not charge by charge."""
    charged = select(charge_split.c.facility, charge_split.c.charge).where(
        charge_split.c.expense_code == criteria.expense_code
    )
    if criteria.facility is not None:
        charged = charged.where(charge_split.c.facility == criteria.facility)
    return tuple_(charge.c.facility, charge.c.charge).in_(charged)


def _told_of_charge(text: str) -> Condition:
    """The text is in a charge's description, or in events of it or of its earlier copies."""
    told = _told(text, of_charges=True)
    earlier = charge.alias("earlier")
    copied = select(earlier.c.charge).where(
        earlier.c.facility == charge.c.facility,
        (earlier.c.charge == charge.c.original)
        | ((earlier.c.original == charge.c.original) & (earlier.c.revision < charge.c.revision)),
        tuple_(earlier.c.facility, earlier.c.charge).in_(told),
    )
    return or_(
        _holds(charge.c.description, text),
        tuple_(charge.c.facility, charge.c.charge).in_(told),
        charge.c.original.is_not(None) & exists(copied),
    )


def _told(text: str, *, of_charges: bool) -> Select[tuple[str, str]]:
    """``facility`` and ``subject`` of events whose reason or note has the text."""
    return select(event.c.facility, event.c.subject).where(
        event.c.kind.in_(_OF_CHARGES) if of_charges else event.c.kind.not_in(_OF_CHARGES),
        _holds(event.c.reason, text)
        | event.c.after.regexp_match(rf'^\{{"note":"{_WITHIN}{_pattern(_in_json(text))}'),
    )


def _noted(text: str) -> Select[tuple[str, str]]:
    """Month and project of invoices whose notes have the text (workflow/notes.py)."""
    return select(event.c.facility, event.c.subject).where(
        event.c.kind == _NOTE,
        event.c.after.regexp_match(f'^"{_WITHIN}{_pattern(_in_json(text))}'),
    )


def _holds(column: ColumnElement[str], text: str) -> Condition:
    return column.regexp_match(_pattern(text))


def _in_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _pattern(text: str) -> str:
    """A regular expression, for Python and PostgreSQL, that matches this text in any case."""
    return "".join(_either_case(letter) for letter in text)


def _either_case(letter: str) -> str:
    cases = {case for case in (letter, letter.lower(), letter.upper()) if len(case) == 1}
    if len(cases) > 1:
        return f"[{''.join(sorted(cases))}]"
    return f"\\{letter}" if letter.isascii() and not letter.isalnum() else letter


class Listing(NamedTuple):
    """A table to list: its key, the tables joined to it, and its columns by names in lists."""

    table: Table
    key: tuple[ColumnElement[Any], ColumnElement[Any]]
    joined: FromClause
    columns: Mapping[str, ColumnElement[Any]]
    sorts: Mapping[str, ColumnElement[Any]]
    """The columns to sort by, under the names that people write."""


_INVOICE_COLUMNS: dict[str, ColumnElement[Any]] = {
    "number": invoice.c.number,
    "invoice": invoice.c.code,
    "facility": invoice.c.facility,
    "period": invoice.c.period,
    "project": invoice.c.project,
    "team": invoice.c.team,
    "run": invoice.c.run,
    "invoice_date": issued_invoice.c.invoice_date,
    "state": invoice.c.state,
    "kind": invoice.c.kind,
    "reference": invoice.c.reference,
    "description": invoice.c.description,
    "replaces": invoice.c.replaces,
    "step": invoice.c.step,
    "paid_on": invoice.c.paid_on,
    "payment_reference": invoice.c.payment_reference,
    "charges": invoice.c.charges,
    "raw_total": invoice.c.raw_total,
    "adjustment": invoice.c.adjustment,
    "tax": invoice.c.tax,
    "total": invoice.c.total,
    "currency": facilities.c.currency,
    "cost": invoice.c.cost,
    "reason": invoice.c.reason,
}
_CHARGE_COLUMNS: dict[str, ColumnElement[Any]] = {
    "facility": charge.c.facility,
    **{name: charge.c[name] for name in KEPT},
    "currency": facilities.c.currency,
}

_CHARGE_SORTS = (
    *("charge", "facility", "period", "project", "team", "item", "user", "date", "quantity"),
    *("raw_total", "adjustment", "total", "cost", "state", "invoice", "currency"),
)

INVOICE_ROWS = Listing(
    invoice,
    (invoice.c.facility, invoice.c.code),
    invoice.join(facilities, facilities.c.code == invoice.c.facility).outerjoin(
        issued_invoice, issued_invoice.c.number == invoice.c.number
    ),
    _INVOICE_COLUMNS,
    {name: column for name, column in _INVOICE_COLUMNS.items() if name != "reason"}
    | {"date": issued_invoice.c.invoice_date},
)
CHARGE_ROWS = Listing(
    charge,
    (charge.c.facility, charge.c.charge),
    charge.join(facilities, facilities.c.code == charge.c.facility).outerjoin(
        invoice,
        (invoice.c.facility == charge.c.facility) & (invoice.c.code == charge.c.invoice),
    ),
    _CHARGE_COLUMNS,
    {name: _CHARGE_COLUMNS[name] for name in _CHARGE_SORTS},
)


def select_rows(
    connection: Connection,
    listing: Listing,
    criteria: Criteria,
    order: Sequence[tuple[str, bool]],
    limit: int | None = None,
    offset: int = 0,
    *,
    after: tuple[str, str] | None = None,
    count: int | None = None,
) -> Select[Any]:
    """The matching rows (the listing's columns), in order; all of them, or ``limit`` of them.

    ``order`` has names of the listing's ``sorts``, each with True for the largest first. A page
    follows the row ``after`` (its key), or is the one at ``offset``; with the ``count`` of all
    matching rows an offset in their second half is counted from the end.

    Raises
    ------
    InvalidFilter
        The row to continue after is none that the user may see.
    """
    key = listing.key
    terms = [(listing.sorts[name], falling) for name, falling in order]
    terms += [(part, False) for part in key]
    sorting = [_sorted(connection, listing, *term) for term in terms]
    columns = [column.label(name) for name, column in listing.columns.items()]
    if limit is None:
        chosen = _matching(select(*columns), listing, criteria)
    else:
        # Only keys are sorted; the other columns are read for the page's rows alone.
        covered = _of_month_alone(criteria) and all(it.table is charge for it, _ in terms)
        page = _matching(select(*key), listing, criteria, charge if covered else None)
        if after is not None:
            page = page.where(_beyond(connection, listing, criteria.seen, terms, after))
        back = count is not None and offset > count // 2
        if count is not None and back:
            limit = min(limit, count - offset)
            offset = count - offset - limit
        by = [_sorted(connection, listing, *term, back=back, plain=covered) for term in terms]
        on_page = page.order_by(*by).limit(limit).offset(offset).subquery("page")
        same = and_(*(on_page.c[part.name] == part for part in key))
        chosen = select(*columns).select_from(listing.joined.join(on_page, same))
    return chosen.order_by(*sorting)


Terms = Sequence[tuple[ColumnElement[Any], bool]]


def _beyond(
    connection: Connection,
    listing: Listing,
    seen: VisibleRows,
    terms: Terms,
    after: tuple[str, str],
) -> Condition:
    """The condition that a row comes after the one with this key."""
    row = _matching(select(*(column for column, _ in terms)), listing, Criteria(seen))
    same = (part == value for part, value in zip(listing.key, after, strict=True))
    values = connection.execute(row.where(*same)).one_or_none()
    if values is None:
        raise InvalidFilter(f"there is no row {'/'.join(after)} to continue after")
    further: Condition = false()
    for (column, falling), value in reversed(list(zip(terms, values, strict=True))):
        if value is None:
            further = column.is_(None) & further
            continue
        ordered = _ordered(connection, column)
        behind = ordered < value if falling else ordered > value
        if _may_be_null(listing, column):
            behind |= column.is_(None)
        further = behind | ((column == value) & further)
    return further


def _of_month_alone(criteria: Criteria) -> bool:
    """Whether the matches are all of a facility's month, so that an index has their order."""
    month = criteria.period_from is not None and criteria.period_from == criteria.period_to
    others = replace(criteria, facility=None, period_from=None, period_to=None)
    return month and criteria.facility is not None and others == Criteria(criteria.seen)


def read_totals(connection: Connection, listing: Listing, criteria: Criteria) -> pl.DataFrame:
    """The number and total of matching rows: ``currency``, ``count``, ``counted``, ``total``, by
    currency.

    The total is of the ``counted`` rows: without closed, void and replaced invoices, without drafts
    that repeat an invoice which still counts, and without the charges on all these.
    """
    counts = _counts(listing)
    total = func.coalesce(func.sum(case((counts, listing.table.c.total), else_=0)), 0)
    statement = _matching(
        select(
            facilities.c.currency.label("currency"),
            func.count().label("count"),
            func.sum(case((counts, 1), else_=0)).label("counted"),
            total.label("total"),
        ),
        listing,
        criteria,
    ).group_by(facilities.c.currency)
    schema = pl.Schema(
        {"currency": pl.String(), "count": pl.Int64(), "counted": pl.Int64(), "total": pl.Int64()}
    )
    return frames.read_frame(connection, statement, schema).sort("currency")


def _counts(listing: Listing) -> Condition:
    """Whether a row belongs in a total."""
    repeats = invoice.c.replaces.is_not(None) & invoice.c.number.is_(None)
    apart = invoice.c.state.in_((CLOSED, VOID, SUPERSEDED)) | repeats
    if listing is CHARGE_ROWS:
        return or_(invoice.c.state.is_(None), ~apart) & not_billed_otherwise()
    return ~apart


def read_codes(connection: Connection, listing: Listing, criteria: Criteria) -> pl.DataFrame:
    """``facility`` and ``code`` of matching rows, by both."""
    facility, code = listing.key
    keys = _matching(select(facility, code.label("code")), listing, criteria)
    return frames.read_frame(connection, keys).sort("facility", "code")


def _matching(
    statement: Select[Any], listing: Listing, criteria: Criteria, source: Table | None = None
) -> Select[Any]:
    """The statement for matching rows; ``source`` is the one table of whose columns it speaks."""
    conditions = charge_conditions if listing is CHARGE_ROWS else invoice_conditions
    joined = listing.joined if source is None else source
    return statement.select_from(joined).where(*conditions(criteria))


def _sorted(
    connection: Connection,
    listing: Listing,
    column: ColumnElement[Any],
    falling: bool,
    *,
    back: bool = False,
    plain: bool = False,
) -> ColumnElement[Any]:
    """A term of ORDER BY; ``back`` for the opposite order, ``plain`` to let SQLite use an index."""
    value = _ordered(connection, column)
    if connection.dialect.name != "postgresql" and not plain:
        # SQLite uses no index for the order of +x. An index would make it read rows at scattered
        # places, ten times slower than in sequence.
        value = UnaryExpression(column, operator=custom_op("+"), type_=column.type)
    term = value.desc() if falling != back else value.asc()
    if not _may_be_null(listing, column):
        return term
    return term.nulls_first() if back else term.nulls_last()


def _ordered(connection: Connection, column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The column in the collation that both databases order it by."""
    text = connection.dialect.name == "postgresql" and isinstance(column.type, Text)
    return column.collate("C") if text else column


def _may_be_null(listing: Listing, column: ColumnElement[Any]) -> bool:
    return not isinstance(column, Column) or column.nullable or column.table is issued_invoice
