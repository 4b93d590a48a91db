"""Adjusting: staff change or delete a pending charge, or move it to another project.

Each change is an event with login, time, reason, before and after. The charge is priced again
from its usage, its kept rate and all its changes, and so are the charges coupled to it by tiers,
day passes or snapshots. A charge on an invoice that is submitted or issued is refused.

    RC/57   quantity 388.5 → 194.25   carol   1993-11-02 17:04   half of the nodes failed
    RC/57   of u4 (internal, 0.12) to u22 (industry, 0.42)
    3f9c…   rate → 0.10   128 charges   carol   1993-11-02 17:20   agreed   open

A moved charge takes its team, rate group and rate from today's price book, as if its usage had
named the other project from the start; without a rate there it cannot move. Changes made together
form a group (workflow/bulk.py).
"""

from collections.abc import Mapping

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidAdjustment, NotReady, UnknownCharge
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events, overview, usage
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.database import reading
from billing_lib.ledger.states import APPROVING, PENDING
from billing_lib.pricing.adjusting import (
    LINE_FIELDS,
    NO,
    YES,
    adjustment_value,
    notes_of,
    waived_charges,
)
from billing_lib.pricing.charge import PRICED, as_text
from billing_lib.pricing.clock import Period
from billing_lib.pricing.fields import USAGE, canonical_json
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.pricing.rating import DAY, Catalogue, rate_usage
from billing_lib.workflow.permissions import REVIEWER, VIEWER, changing, require
from billing_lib.workflow.price import (
    changeable_charges,
    changes_in_force,
    differing,
    gather,
    replace_charges,
)
from billing_lib.workflow.runs import follow_changes
from billing_lib.workflow.steps import Progress, unheard

_RECORD = ["record", "occurrence"]


def move_charges(
    connection: Connection, book: PriceBook, charges: pl.DataFrame, to: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Move charges to other projects in memory, with their team, rate group and rate.

    Parameters
    ----------
    charges
        Rows of the charge table.
    to
        ``charge`` and ``project``: the target of each charge that moves.

    Returns
    -------
    tuple[pl.DataFrame, pl.DataFrame]
        All the rows, and the rates they now name (schema RATES), which the caller must keep.
    """
    catalogue, facility = Catalogue.of(book), book.facility.code
    teams = {project.code: project.team for project in book.projects}
    unknown = to.filter(~pl.col("project").is_in(list(teams)))["project"]
    if unknown.len():
        raise InvalidAdjustment(f"the price book has no project '{unknown[0]}'", where="project")
    going = charges.join(to.rename({"project": "target"}), on="charge").filter(
        pl.col("project") != pl.col("target")
    )
    bound = going.drop_nulls("reference").sort("charge")
    if bound.height:
        code, reference = bound.select("charge", "reference").row(0)
        raise InvalidAdjustment(
            f"the charge {facility}/{code} belongs to the ad hoc invoice {reference} and cannot "
            "move to another project",
            where="project",
        )
    records = usage.read_usage(connection, facility, records=going["record"].drop_nulls())
    there = records.join(going.select(*_RECORD, "target"), on=_RECORD, maintain_order="left")
    rating = rate_usage(there.with_columns(project="target").select(USAGE.names()), catalogue)
    if rating.unbilled.height:
        record, detail = rating.unbilled.select("record", "detail").row(0)
        raise InvalidAdjustment(
            f"the charge {facility}/{record} cannot move to that project: {detail}", where="project"
        )
    targets = going.select(
        "charge",
        project="target",
        team=pl.col("target").replace_strict(teams, return_dtype=pl.String),
    )
    rated = rating.rated.select(*_RECORD, "rate_group", "rate")
    rates = catalogue.rates.join(rated.select("rate").unique(), on="rate", how="semi")
    return charges.update(targets, on="charge").update(rated, on=_RECORD), rates


_OF_DELETED = ("project", "item", "quantity", "price", "rate", "total")

_AT_ONCE = 2_000
"""Number of changes recorded in one statement; the work can be stopped between statements."""


def split_code(charge: str) -> tuple[str, str]:
    """Split the name of a charge, ``RC/57``, into facility and code."""
    facility, slash, code = charge.partition("/")
    if not slash or not facility or not code:
        raise UnknownCharge(
            f"'{charge}' is not the name of a charge",
            remedy="write FACILITY/CODE as 'billing charges' lists it, such as RC/57",
        )
    return facility, code


def adjust_charge(
    engine: Engine, book: PriceBook, charge: str, changes: Mapping[str, object], reason: str
) -> list[str]:
    """Set fields of a pending charge (``RC/57``), all or none; return a sentence on each change.

    ``changes`` are values by field (pricing/adjusting.py).
    """
    require_reason(reason)
    facility, code = split_code(charge)
    places = minor_places(book.facility.currency)
    with changing(engine, book, REVIEWER) as connection:
        lock_coupled(connection, book, pl.Series([code]), changes.get("project"))
        frame = _pending(connection, facility, code)
        values = checked_values(book, frame, changes)
        in_force, _ = changes_in_force(connection, facility, frame["charge"])
        if set_before(in_force, values).len():
            stated = ", ".join(f"{field} {value}" for field, value in values.items())
            return [f"{charge}: {stated} was set before, nothing changed"]
        before = record_changes(connection, book, frame, in_force, values, reason)[code]
        moved = move_to(connection, book, frame, values)
        priced = price_coupled(connection, book, frame, moved)
        follow_changes(connection, book, frame)
        total = money_text(priced.filter(pl.col("charge") == code)["total"].item(), places)
    made = [f"{charge}: {field} {before[field]} → {value}" for field, value in values.items()]
    return [*made, f"{charge}: total {before['total']} → {total} {book.facility.currency}"]


def checked_values(
    book: PriceBook, charges: pl.DataFrame, changes: Mapping[str, object]
) -> dict[str, str]:
    """Check the values to set on charges and write them in canonical form."""
    places = minor_places(book.facility.currency)
    values = {field: adjustment_value(field, value, places) for field, value in changes.items()}
    lines = charges.filter(pl.col("kind") == "line")
    missing = [field for field in values if field not in LINE_FIELDS]
    if lines.height and missing:
        raise InvalidAdjustment(
            f"the added line {book.facility.code}/{lines['charge'][0]} has no {missing[0]}",
            remedy=f"set one of {', '.join(LINE_FIELDS)}",
        )
    return values


def set_before(in_force: pl.DataFrame, values: Mapping[str, str]) -> pl.Series:
    """The charges that changes in force (schema ADJUSTMENTS) set to exactly these values."""
    last = in_force.group_by("charge", "field").agg(pl.col("value").last())
    wanted = pl.DataFrame(list(values.items()), schema=["field", "value"], orient="row")
    same = last.join(wanted, on=["field", "value"]).group_by("charge").len()
    return same.filter(pl.col("len") == len(values))["charge"]


def record_changes(
    connection: Connection,
    book: PriceBook,
    charges: pl.DataFrame,
    in_force: pl.DataFrame,
    values: Mapping[str, str],
    reason: str,
    group: str | None = None,
    step: Progress = unheard,
) -> dict[str, dict[str, str | None]]:
    """Record an event per charge and field; return the values before, by code and field.

    ``in_force`` are the earlier changes to the charges (schema ADJUSTMENTS).
    """
    before = current_values(connection, book, charges, in_force)
    changes = [
        {
            "kind": "adjust",
            "subject": code,
            "team": team,
            "group_id": group,
            "reason": reason,
            "before": canonical_json({field: before[code][field]}),
            "after": canonical_json({field: value}),
        }
        for code, team in charges.select("charge", "team").iter_rows()
        for field, value in values.items()
    ]
    for first in range(0, len(changes), _AT_ONCE):
        step(first, len(changes), "recording the changes")
        events.record_events(connection, book.facility.code, changes[first : first + _AT_ONCE])
    return before


def move_to(
    connection: Connection, book: PriceBook, charges: pl.DataFrame, values: Mapping[str, str]
) -> pl.DataFrame:
    """Move charges in memory to the project that the values name, if any; keep its rates."""
    if "project" not in values:
        return charges
    to = charges.select("charge", project=pl.lit(values["project"]))
    moved, rates = move_charges(connection, book, charges, to)
    pairs = rates.select("rate", "body").rows()
    ledger_charges.keep_rates(connection, book.facility.code, pairs)
    return moved


def price_coupled(
    connection: Connection, book: PriceBook, charges: pl.DataFrame, now: pl.DataFrame
) -> pl.DataFrame:
    """Price charges of one month again with their coupled charges, and write the differences.

    ``charges`` and ``now`` are the charges before and after the change; ``now`` is empty if they
    are deleted. Returns the charges and the coupled ones as they are now (schema PRICED).
    """
    facility = book.facility.code
    coupled = coupled_charges(connection, book, pl.concat([charges, now]))
    wanted = pl.concat([now, coupled])
    if wanted.height == 0:
        return PRICED.to_frame()
    standing = pl.concat([charges.join(now, on="charge", how="semi"), coupled])
    priced = gather(connection, book, wanted).price()
    replace_charges(connection, facility, priced, differing(connection, facility, standing, priced))
    return priced.charges


def lock_coupled(
    connection: Connection, book: PriceBook, codes: pl.Series, project: object = None
) -> None:
    """Lock charges and their coupled charges until the end of the transaction.

    They are locked in the order of their codes, so that two transactions wait for each other. If
    the charges move to a project, their coupled charges there are locked too.
    """
    if not ledger_charges.has_row_locks(connection):
        return
    facility = book.facility.code
    charges = ledger_charges.read_charges(connection, facility, codes=codes)
    both = [charges, charges.with_columns(project=pl.lit(str(project)))] if project else [charges]
    coupled = coupled_charges(connection, book, pl.concat(both))
    every = pl.concat([charges["charge"], coupled["charge"]]).unique()
    ledger_charges.lock_charges(connection, facility, every)


def coupled_charges(connection: Connection, book: PriceBook, charges: pl.DataFrame) -> pl.DataFrame:
    """The other changeable charges whose prices may depend on these charges (schema KEPT).

    Some rates couple the charges of a month for one project and item (COUPLED). The other charges
    are not read if no rate of their items couples them.
    """
    facility = book.facility.code
    rates = ledger_charges.read_coupling_rates(connection, facility)
    items = rates["body"].str.json_path_match("$.item").unique()
    by_day = [item.code for item in book.items if item.unit == DAY]
    parts = charges.filter(
        pl.col("item").is_in(items.implode())
        | pl.col("item").is_in(by_day)
        | (pl.col("unit") == DAY)
    ).select("period", "project", "item")
    if parts.height == 0:
        return charges.clear()
    coupled = changeable_charges(
        ledger_charges.read_charges(connection, facility, parts=parts.unique())
    )
    return coupled.join(charges, on="charge", how="anti")


def delete_charge(engine: Engine, book: PriceBook, charge: str, reason: str) -> str:
    """Delete a pending charge and return a sentence; the next rating charges its usage anew."""
    require_reason(reason)
    facility, code = split_code(charge)
    with changing(engine, book, REVIEWER) as connection:
        lock_coupled(connection, book, pl.Series([code]))
        frame = _pending(connection, facility, code)
        row = frame.row(0, named=True)
        before = as_text(frame.select(_OF_DELETED), only=("quantity", "price"))
        events.record_event(
            connection,
            facility,
            kind="delete",
            subject=code,
            reason=reason,
            before=canonical_json(before.row(0, named=True)),
            team=row["team"],
        )
        ledger_charges.delete_charges(connection, facility, frame["charge"])
        price_coupled(connection, book, frame, frame.clear())
        follow_changes(connection, book, frame)
    return f"{charge}: deleted; 'billing rate {facility} {row['period']}' charges its usage anew"


def require_reason(reason: str, action: str = "change") -> None:
    """Refuse an action that has no reason."""
    if not reason.strip():
        raise InvalidAdjustment(f"the {action} has no reason", remedy="say why")


def _pending(connection: Connection, facility: str, code: str) -> pl.DataFrame:
    """Lock a pending charge until the end of the transaction, or refuse it."""
    frame = ledger_charges.lock_charge(connection, facility, code)
    if frame.height == 0:
        raise UnknownCharge(
            f"there is no charge {facility}/{code}", remedy="'billing charges' lists them"
        )
    row = frame.row(0, named=True)
    if row["state"] == PENDING and row["run"] is None:
        return frame
    invoice = ledger_invoices.read_invoices(connection, facility, codes=[row["invoice"]])
    state, number = invoice.select("state", "number").row(0)
    if number is not None:
        raise NotReady(
            f"the charge {facility}/{code} is {row['state']} on invoice {number}",
            remedy="issued charges never change; reissue or credit the invoice",
        )
    raise NotReady(
        f"the charge {facility}/{code} is on invoice {row['invoice']}, which is {state}",
        remedy="reject the invoice first" if state == APPROVING else None,
    )


def current_values(
    connection: Connection, book: PriceBook, charges: pl.DataFrame, in_force: pl.DataFrame
) -> dict[str, dict[str, str | None]]:
    """Read the present values of charges as text, by code and field.

    ``in_force`` are the changes to the charges (schema ADJUSTMENTS).
    """
    facility, places = book.facility.code, minor_places(book.facility.currency)
    splits = ledger_charges.read_splits(connection, facility, codes=charges["charge"])
    shares = (
        as_text(splits.sort("position"), places)
        .group_by("charge")
        .agg(pl.struct("expense_code", "percent").alias("shares"))
    )
    parts = dict(shares.iter_rows())
    waived, notes = set(waived_charges(in_force)), dict(notes_of(in_force).iter_rows())
    values: dict[str, dict[str, str | None]] = {}
    figures = as_text(charges.select("charge", "project", "quantity", "price", "total"), places)
    for row in figures.iter_rows(named=True):
        code, total = row["charge"], row["total"]
        values[code] = {
            "quantity": row["quantity"],
            "rate": row["price"],
            "amount": total,
            "total": total,
            "expense_code": ", ".join(share["expense_code"] for share in parts[code]),
            "split": canonical_json(parts[code]),
            "project": row["project"],
            "waived": YES if code in waived else NO,
            "note": notes.get(code, ""),
        }
    return values


CHANGES = ("adjust", "add_line", "delete", "correct")
"""The kinds of events that change a charge."""

OPEN, UNDONE, KEPT = "open", "undone", "kept"
"""States of a group of changes. KEPT: it cannot be undone, since a charge of it is being approved
or issued, or all its charges are deleted."""

GROUPS = pl.Schema(
    {
        "group": pl.String(),
        "at": pl.String(),
        "by": pl.String(),
        "charges": pl.Int64(),
        "after": pl.List(pl.String()),
        "reason": pl.String(),
        "state": pl.String(),
    }
)


def read_history(engine: Engine, book: PriceBook, charges: list[str]) -> pl.DataFrame:
    """Read the changes of charges (``RC/57``) in order.

    Columns: ``charge``, ``what``, ``before``, ``after``, ``by``, ``at``, ``reason``.
    """
    facility = book.facility.code
    codes = [split_code(charge)[1] for charge in charges]
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        return changes_of(connection, facility, codes)


def read_pending(
    engine: Engine, book: PriceBook, period: str, first: int | None = None
) -> pl.DataFrame:
    """A month's PENDING charges, by project and date, for staff to choose those to change.

    Parameters
    ----------
    first
        Only the first so many.

    Returns
    -------
    pl.DataFrame
        The columns of ledger/overview.py (PENDING_CHARGE), with ``charge`` (``RC/57``) and

        - ``expense_codes``, of its split, with commas between
        - ``draft``: the state and the code of the draft it is on, with a comma between
        - ``changes``: who changed it last and when, then every reason and note ever given
    """
    facility, month = book.facility.code, str(Period.parse(period))
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        found = overview.read_pending(connection, facility, month, first)
        if first is None:
            splits = ledger_charges.read_splits(connection, facility, month, state=PENDING)
        else:
            splits = ledger_charges.read_splits(connection, facility, codes=found["charge"])
        copies = found.filter(pl.col("original").is_not_null())["charge"]
        families = ledger_charges.read_families(connection, facility, copies)
        members = pl.concat([found["charge"], families["member"]]).unique()
        changes = events.read_events(connection, facility, kinds=list(CHANGES), subjects=members)
    codes = splits.group_by("charge").agg(
        expense_codes=pl.col("expense_code").unique(maintain_order=True).str.join(", ")
    )
    return (
        found.join(codes, on="charge", how="left", maintain_order="left")
        .join(_changes_in_words(changes, families), on="charge", how="left", maintain_order="left")
        .with_columns(
            charge=pl.format("{}/{}", pl.lit(facility), "charge"),
            draft=pl.format("{}, {}", "invoice_state", "invoice"),
        )
    )


def _changes_in_words(changes: pl.DataFrame, families: pl.DataFrame) -> pl.DataFrame:
    """The last change of each charge and all reasons and notes: ``charge``, ``changes``."""
    own = changes.select("subject", "sequence", "login", "at", "reason", "after", charge="subject")
    copied = families.filter(pl.col("charge") != pl.col("member")).join(
        changes, left_on="member", right_on="subject"
    )
    every = pl.concat([own.drop("subject"), copied.select(own.drop("subject").columns)])
    note = pl.when(pl.col("after").str.starts_with('{"note":')).then(
        pl.col("after").str.json_path_match("$.note")
    )
    said = pl.concat_list("reason", note).list.eval(pl.element().filter(pl.element() != ""))
    return (
        every.sort("sequence", descending=True)
        .with_columns(said=said)
        .group_by("charge")
        .agg(
            pl.format("{}, {}", "login", pl.col("at").dt.to_string("%Y-%m-%d %H:%M")).first(),
            pl.col("said").explode().drop_nulls().unique(maintain_order=True).str.join("; "),
        )
        .select("charge", changes=pl.concat_str("login", "said", separator="; ", ignore_nulls=True))
    )


def changes_of(connection: Connection, facility: str, codes: pl.Series | list[str]) -> pl.DataFrame:
    """Read the changes of charges by their codes within a transaction, as ``read_history``."""
    changes = events.read_events(connection, facility, kinds=list(CHANGES), subjects=codes)
    undone = events.read_events(
        connection, facility, kinds=["undo"], subjects=changes["group_id"].drop_nulls().unique()
    )
    return (
        pl.concat([changes, undone])
        .sort("sequence")
        .select(
            pl.when(pl.col("kind") == "undo")
            .then(pl.format("group {}", "subject"))
            .otherwise(pl.format("{}/{}", pl.lit(facility), "subject"))
            .alias("charge"),
            pl.col("kind").alias("what"),
            "before",
            "after",
            pl.col("login").alias("by"),
            pl.col("at").dt.to_string("%Y-%m-%d %H:%M:%SZ"),
            "reason",
        )
    )


def list_groups(engine: Engine, book: PriceBook, month: str) -> pl.DataFrame:
    """List the groups of changes to a month's charges (schema GROUPS), the latest first.

    ``after`` holds the values set, each field as JSON; ``state`` is OPEN, UNDONE or KEPT.
    """
    facility, period = book.facility.code, str(Period.parse(month))
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        groups = ledger_charges.read_groups(connection, facility, period)
        grouped = events.read_events(connection, facility, kinds=["adjust"], groups=groups)
        undone = events.read_events(connection, facility, kinds=["undo"], subjects=groups)
        charges = ledger_charges.read_charges(connection, facility, codes=grouped["subject"])
    changeable = pl.col("charge").is_in(changeable_charges(charges)["charge"].implode())
    free = charges.select("charge", free=changeable)
    state = (
        pl.when(pl.col("group").is_in(undone["subject"].implode()))
        .then(pl.lit(UNDONE))
        .when(pl.col("free"))
        .then(pl.lit(OPEN))
        .otherwise(pl.lit(KEPT))
    )
    return (
        grouped.join(free, left_on="subject", right_on="charge", how="left")
        .group_by(pl.col("group_id").alias("group"))
        .agg(
            pl.col("sequence").first(),
            pl.col("at").first().dt.to_string("%Y-%m-%d %H:%M"),
            pl.col("login").first().alias("by"),
            pl.col("subject").n_unique().cast(pl.Int64).alias("charges"),
            pl.col("after").unique(maintain_order=True),
            pl.col("reason").first(),
            free=pl.col("free").any() & pl.col("free").all(),  # deleted charges are null
        )
        .with_columns(state=state)
        .sort("sequence", descending=True)
        .select(GROUPS.names())
    )
