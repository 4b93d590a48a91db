"""What is exported: issued invoices that a filter matches, statements, or both.

    Export(Filter.parse({"run": "RC-1993-11-1"}))
    Export(Filter.parse({"period_from": "1993-11", …}), with_statements=True)
    Export(statements=("bio-1993-11",))

Only what is issued is exported, and of that what who asks may see.
"""

from dataclasses import dataclass, field

import polars as pl
from sqlalchemy import Connection

from billing_lib.errors import InvalidFilter, NotReady
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import issued as ledger_issued
from billing_lib.ledger import statements as ledger_statements
from billing_lib.workflow.filters import Filter
from billing_lib.workflow.finding import Books, find_codes
from billing_lib.workflow.permissions import may_team, require_team


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
    invoices = ledger_issued.read_archived(connection, numbers=numbers)
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
    archived = ledger_issued.read_archived(connection, numbers=stated["number"].to_list())
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
