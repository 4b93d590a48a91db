"""Guards: what the database itself refuses, whatever client asks.

    UPDATE invoice SET total = 0   →  an issued invoice does not change
    DELETE FROM event              →  events are append-only

A guard says on which table and operations it stands, when it refuses (SQL in terms of NEW and
OLD, the common part of both dialects) and what it says then; guard_sql.py makes triggers of
them. A guard without a condition always refuses. One that looks up other rows is checked after
the rows are in place, on PostgreSQL once per statement, so bulk writes stay fast. A change to
this list comes with a migration, be it an empty one: migrations/env.py puts the guards anew.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from billing_lib.ledger.tables import charge

INSERT, UPDATE, DELETE = "INSERT", "UPDATE", "DELETE"


@dataclass(frozen=True)
class Guard:
    """One refusal.

    Parameters
    ----------
    table, operations
        Where it stands.
    says
        The error's message.
    when
        The condition, in terms of NEW and OLD; '' refuses always.
    lookup
        The condition reads other rows too; then it names only NEW or only OLD.
    """

    table: str
    operations: tuple[str, ...]
    says: str
    when: str = ""
    lookup: bool = False


def _differs(columns: Iterable[str]) -> str:
    return " OR ".join(f'NEW."{name}" IS DISTINCT FROM OLD."{name}"' for name in columns)


def _never(table: str, says: str, *operations: str) -> Guard:
    return Guard(table, operations or (UPDATE, DELETE), says)


_BILLING = ("state", "run", "invoice")
_PRICED = [column.name for column in charge.columns if column.name not in _BILLING]
_RUN_FIXED = (
    "id",
    "facility",
    "period",
    "selection",
    "invoice_date",
    "fiscal_year",
    "login",
    "frozen_at",
)

_FACILITY = (
    Guard(
        "facility",
        (UPDATE,),
        "the code, currency and time zone of a facility do not change after its first use",
        _differs(("code", "currency", "timezone")),
    ),
    _never("facility", "a facility that was used is kept", DELETE),
)
_USAGE = (
    _never("source_file", "the entry of a loaded file does not change"),
    _never("usage_record", "a usage record does not change", UPDATE),
    Guard(
        "usage_record",
        (DELETE,),
        "a usage record is kept while a charge refers to it",
        "EXISTS (SELECT 1 FROM charge c WHERE c.facility = OLD.facility"
        " AND c.record = OLD.record AND c.occurrence = OLD.occurrence)",
        lookup=True,
    ),
    _never("rate", "a kept rate does not change"),
)
_LOCKED_CHARGE = (
    "EXISTS (SELECT 1 FROM charge c WHERE c.facility = ROW.facility"
    " AND c.code = ROW.charge AND (c.state <> 'PENDING' OR c.run IS NOT NULL))"
)
_CHARGE = (
    Guard(
        "charge",
        (INSERT,),
        "a charge begins PENDING, without run and invoice",
        "NEW.state <> 'PENDING' OR NEW.run IS NOT NULL OR NEW.invoice IS NOT NULL",
    ),
    Guard(
        "charge",
        (UPDATE,),
        "a charge goes from PENDING to BILLED to PAID, and never back",
        "NOT ((OLD.state = 'PENDING' AND NEW.state IN ('PENDING', 'BILLED'))"
        " OR (OLD.state = 'BILLED' AND NEW.state = 'PAID'))",
    ),
    Guard(
        "charge",
        (UPDATE,),
        "a charge keeps its facility and code",
        _differs(("facility", "code")),
    ),
    Guard(
        "charge",
        (UPDATE,),
        "a charge that is billed or bound to a run does not change",
        "(OLD.state <> 'PENDING' OR OLD.run IS NOT NULL OR NEW.state <> 'PENDING')"
        f" AND ({_differs(_PRICED)})",
    ),
    Guard(
        "charge",
        (UPDATE,),
        "a billed charge keeps its run and invoice",
        f"OLD.state <> 'PENDING' AND ({_differs(('run', 'invoice'))})",
    ),
    Guard(
        "charge",
        (UPDATE,),
        "a charge has an invoice once it is billed, and not before",
        "(NEW.state = 'PENDING' AND NEW.invoice IS NOT NULL)"
        " OR (NEW.state <> 'PENDING' AND (NEW.run IS NULL OR NEW.invoice IS NULL))",
    ),
    Guard(
        "charge",
        (UPDATE,),
        "a charge is billed on an invoice of its own facility and run",
        "NEW.state = 'BILLED' AND NOT EXISTS (SELECT 1 FROM invoice i"
        " WHERE i.number = NEW.invoice AND i.facility = NEW.facility AND i.run = NEW.run)",
        lookup=True,
    ),
    Guard(
        "charge",
        (DELETE,),
        "a charge that is billed or bound to a run is kept",
        "OLD.state <> 'PENDING' OR OLD.run IS NOT NULL",
    ),
    Guard(
        "charge_split",
        (UPDATE,),
        "a split keeps its charge and position",
        _differs(("facility", "charge", "position")),
    ),
    *(
        Guard(
            "charge_split",
            (operation,),
            "the split of a charge that is billed or bound to a run does not change",
            _LOCKED_CHARGE.replace("ROW", row),
            lookup=True,
        )
        for operation, row in ((INSERT, "NEW"), (UPDATE, "NEW"), (DELETE, "OLD"))
    ),
)
_EVENT = (_never("event", "events are append-only"),)
_RUN = (
    Guard(
        "billing_run",
        (INSERT,),
        "a billing run begins FROZEN",
        "NEW.state <> 'FROZEN'",
    ),
    Guard(
        "billing_run",
        (UPDATE,),
        "a billing run that has ended does not change",
        "OLD.state <> 'FROZEN' OR NEW.state NOT IN ('FROZEN', 'ISSUED', 'FAILED')",
    ),
    Guard(
        "billing_run",
        (UPDATE,),
        "what a billing run was frozen with does not change",
        _differs(_RUN_FIXED),
    ),
    _never("billing_run", "billing runs are kept", DELETE),
    Guard(
        "billing_run",
        (UPDATE,),
        "a run is issued with an invoice for every number it holds, and at least one",
        "NEW.state = 'ISSUED' AND (NOT EXISTS (SELECT 1 FROM invoice i WHERE i.run = NEW.id)"
        " OR EXISTS (SELECT 1 FROM invoice_number n WHERE n.run = NEW.id"
        " AND NOT EXISTS (SELECT 1 FROM invoice i WHERE i.number = n.number)))",
        lookup=True,
    ),
    Guard(
        "billing_run",
        (UPDATE,),
        "a run is issued when its invoices have all their lines, and these make their totals",
        "NEW.state = 'ISSUED' AND EXISTS (SELECT 1 FROM invoice i LEFT JOIN"
        " (SELECT number, count(*) AS lines, sum(total) AS total FROM invoice_line"
        " GROUP BY number) l ON l.number = i.number WHERE i.run = NEW.id"
        " AND (coalesce(l.lines, 0) <> i.charges OR coalesce(l.total, 0) <> i.raw_total))",
        lookup=True,
    ),
    Guard(
        "billing_run",
        (UPDATE,),
        "a run is issued when the expense codes of its invoices make their totals",
        "NEW.state = 'ISSUED' AND EXISTS (SELECT 1 FROM invoice i LEFT JOIN"
        " (SELECT number, sum(amount) AS total FROM invoice_split GROUP BY number) s"
        " ON s.number = i.number WHERE i.run = NEW.id AND coalesce(s.total, 0) <> i.total)",
        lookup=True,
    ),
    Guard(
        "billing_run",
        (UPDATE,),
        "a run ends when it has let go of what it does not bill",
        "(NEW.state <> 'FROZEN' AND EXISTS (SELECT 1 FROM charge c"
        " WHERE c.run = NEW.id AND c.state = 'PENDING'))"
        " OR (NEW.state = 'FAILED' AND EXISTS (SELECT 1 FROM invoice_number n"
        " WHERE n.run = NEW.id))",
        lookup=True,
    ),
)
_YEAR = "FROM invoice_number n WHERE n.facility = NEW.facility AND n.fiscal_year = NEW.fiscal_year"
_NUMBER = (
    _never("invoice_number", "a reserved number does not change", UPDATE),
    Guard(
        "invoice_number",
        (DELETE,),
        "the numbers of an issued run are kept",
        "EXISTS (SELECT 1 FROM billing_run r WHERE r.id = OLD.run AND r.state = 'ISSUED')",
        lookup=True,
    ),
    Guard(
        "invoice_number",
        (INSERT,),
        "invoice numbers follow one another without a gap",
        f"(SELECT count(*) {_YEAR}) <> (SELECT max(n.sequence) {_YEAR}) OR NEW.sequence < 1",
        lookup=True,
    ),
    Guard(
        "invoice_number",
        (INSERT,),
        "only a frozen run of the facility reserves numbers",
        "NOT EXISTS (SELECT 1 FROM billing_run r WHERE r.id = NEW.run AND r.state = 'FROZEN'"
        " AND r.facility = NEW.facility AND r.fiscal_year = NEW.fiscal_year)",
        lookup=True,
    ),
)
_FROZEN_INVOICE = (
    "SELECT 1 FROM invoice i JOIN billing_run r ON r.id = i.run"
    " WHERE i.number = NEW.number AND i.facility = NEW.facility AND i.team = NEW.team"
    " AND r.state = 'FROZEN'"
)
_INVOICE = (
    _never("invoice", "an issued invoice does not change"),
    Guard("invoice", (INSERT,), "an invoice is issued APPROVED", "NEW.state <> 'APPROVED'"),
    Guard(
        "invoice",
        (INSERT,),
        "an invoice comes from a frozen run and has a number that this run reserved",
        "NOT EXISTS (SELECT 1 FROM invoice_number n JOIN billing_run r ON r.id = n.run"
        " WHERE n.number = NEW.number AND n.facility = NEW.facility"
        " AND n.fiscal_year = NEW.fiscal_year AND n.sequence = NEW.sequence"
        " AND n.run = NEW.run AND n.project = NEW.project AND r.state = 'FROZEN'"
        " AND r.period = NEW.period AND r.invoice_date = NEW.invoice_date)",
        lookup=True,
    ),
    _never("invoice_line", "the line of an issued invoice does not change"),
    Guard(
        "invoice_line",
        (INSERT,),
        "an issued invoice gets no further line",
        f"NOT EXISTS ({_FROZEN_INVOICE} AND NEW.position BETWEEN 1 AND i.charges)",
        lookup=True,
    ),
    _never("invoice_split", "the split of an issued invoice does not change"),
    Guard(
        "invoice_split",
        (INSERT,),
        "an issued invoice gets no further split",
        f"NOT EXISTS ({_FROZEN_INVOICE})",
        lookup=True,
    ),
    _never("invoice_adjustment", "the adjustment of an issued invoice does not change"),
    Guard(
        "invoice_adjustment",
        (INSERT,),
        "an issued invoice gets no further adjustment",
        f"NOT EXISTS ({_FROZEN_INVOICE})",
        lookup=True,
    ),
    Guard(
        "invoice",
        (INSERT,),
        "a total is the raw total, the adjustment and the tax",
        "NEW.total <> NEW.raw_total + NEW.adjustment + coalesce(NEW.tax, 0)",
    ),
    Guard(
        "invoice_line",
        (INSERT,),
        "a total is the raw total and the adjustment",
        "NEW.total <> NEW.raw_total + NEW.adjustment",
    ),
)

GUARDS: tuple[Guard, ...] = (
    *_FACILITY,
    *_USAGE,
    *_CHARGE,
    *_EVENT,
    *_RUN,
    *_NUMBER,
    *_INVOICE,
)
"""All guards that both dialects have; guard_sql.py adds what only one of them needs."""
