"""Guards: the changes that the database itself refuses, whatever client asks.

    UPDATE invoice SET total = 0   →  an issued invoice does not change
    DELETE FROM event              →  events are append-only

    charge ─ invoice ─ billing_run ─ issuing ─ number ─ line ─ fund entry

A guard has a table, operations, a condition in SQL on NEW and OLD (in the common part of both
dialects) and a message; triggers.py makes triggers of it. Issued, paid, posted and told rows stay
as they are, and states only make the moves of states.py. BINDING_GUARDS compare rows of different
tables, so that no client can change one of them alone. A guard with ``lookup`` is checked after
the rows are in place, on PostgreSQL once per statement, so bulk writes stay fast; SQLite checks it
before an insert if it reads other tables alone. A change to this list needs a migration, even an
empty one: migrations/env.py installs the guards anew.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from billing_lib.ledger.schema import billing_run, charge, issuing, job, message, usage_version
from billing_lib.ledger.states import (
    ACTIVE,
    CHARGE,
    EDITABLE,
    FIRST,
    INVOICE,
    ISSUING,
    JOB,
    MESSAGE,
    NUMBERED,
    RUN,
    STATEMENT,
    SUPERSEDED,
    UNFINISHED,
    VOID,
    ends,
    moves,
)

INSERT, UPDATE, DELETE = "INSERT", "UPDATE", "DELETE"


@dataclass(frozen=True)
class Guard:
    """A refusal of operations on a table, with the error's message.

    ``when`` is the condition in terms of NEW and OLD; '' refuses always. With ``lookup`` it reads
    other rows too, and names only NEW or only OLD. ``of`` are columns of which an update must
    change one to be refused; by default all that the condition names.
    """

    table: str
    operations: tuple[str, ...]
    says: str
    when: str = ""
    lookup: bool = False
    of: tuple[str, ...] = ()


def differs(columns: Iterable[str]) -> str:
    """The SQL condition that one of these columns changes."""
    return " OR ".join(f'NEW."{name}" IS DISTINCT FROM OLD."{name}"' for name in columns)


def never(table: str, says: str, *operations: str) -> Guard:
    """Refuse these operations always, by default UPDATE and DELETE."""
    return Guard(table, operations or (UPDATE, DELETE), says)


def named(states: Iterable[str]) -> str:
    """States as a list in SQL."""
    return "(" + ", ".join(f"'{state}'" for state in states) + ")"


def moves_only(table: str, what: str) -> tuple[Guard, Guard]:
    """Let rows begin in their first state and make only the moves of states.py."""
    legal = " OR ".join(
        f"(OLD.state = '{move.before}' AND NEW.state = '{move.after}')" for move in moves(table)
    )
    return (
        Guard(table, (INSERT,), f"{what} begins {FIRST[table]}", f"NEW.state <> '{FIRST[table]}'"),
        Guard(
            table,
            (UPDATE,),
            f"{what} may not move from its present state to this one",
            f"NEW.state <> OLD.state AND NOT ({legal})",
        ),
    )


def ended_stays(table: str, what: str) -> Guard:
    """Refuse every change of a row in a state that no move leaves."""
    when = f"OLD.state IN {named(ends(table))}"
    return Guard(table, (UPDATE,), f"{what} that has ended does not change", when)


_ITS_CHARGES = "FROM charge c WHERE c.facility = NEW.facility AND c.invoice = NEW.code"


def _any(conditions: Iterable[str]) -> str:
    return " OR ".join(f"({condition})" for condition in conditions)


_CHARGE_BINDING = (
    Guard(
        "charge",
        (UPDATE,),
        "a charge on an invoice does not change its run and its invoice at once",
        "NEW.run IS DISTINCT FROM OLD.run AND NEW.invoice IS DISTINCT FROM OLD.invoice"
        " AND (OLD.run IS NOT NULL OR OLD.invoice IS NOT NULL OR NEW.state <> 'PENDING')",
        of=("run", "invoice"),
    ),
    Guard(
        "charge",
        (UPDATE,),
        "a charge is on an invoice of its facility and project",
        "NEW.invoice IS NOT NULL AND NOT EXISTS (SELECT 1 FROM invoice i"
        " WHERE i.facility = NEW.facility AND i.code = NEW.invoice AND i.project = NEW.project)",
        lookup=True,
    ),
)
_INVOICE_BINDING = (
    Guard(
        "invoice",
        (INSERT,),
        "an invoice begins with nothing billed",
        "NEW.charges <> 0 OR NEW.raw_total <> 0 OR NEW.adjustment <> 0 OR NEW.total <> 0"
        " OR NEW.tax IS NOT NULL OR NEW.cost IS NOT NULL",
    ),
    Guard(
        "invoice",
        (INSERT, UPDATE),
        "an invoice that is not paid names no payment",
        "NEW.state <> 'PAID' AND (NEW.payment_reference IS NOT NULL OR NEW.statement IS NOT NULL)",
    ),
    Guard(
        "invoice",
        (INSERT, UPDATE),
        "an invoice is in a run of its facility and month, which ends after it",
        f"NEW.run IS NOT NULL AND NEW.state IN {named(UNFINISHED)} AND NOT EXISTS"
        " (SELECT 1 FROM billing_run r WHERE r.id = NEW.run AND r.facility = NEW.facility"
        " AND r.period = NEW.period AND r.state IN ('OPEN', 'DISABLED'))",
        lookup=True,
    ),
    Guard(
        "invoice",
        (UPDATE,),
        "the charges of a closed invoice are bound",
        f"NEW.state = 'CLOSED' AND EXISTS (SELECT 1 {_ITS_CHARGES} AND c.run IS NULL)",
        lookup=True,
    ),
    Guard(
        "invoice",
        (UPDATE,),
        "an invoice being approved comes to what its charges come to",
        "NEW.state = 'APPROVING' AND ("
        + _any(
            (
                "NEW.run IS NULL",
                "NEW.total <> NEW.raw_total + NEW.adjustment + coalesce(NEW.tax, 0)",
                "(NEW.charges, NEW.charges, NEW.raw_total) <> (SELECT count(*),"
                " count(CASE WHEN c.run = NEW.run AND c.team = NEW.team"
                " AND (NEW.kind <> 'periodic' OR c.period = NEW.period) THEN 1 END),"
                f" coalesce(sum(c.total), 0) {_ITS_CHARGES})",
            )
        )
        + ")",
        lookup=True,
    ),
    Guard(
        "invoice",
        (UPDATE,),
        "the charges of an invoice that is not paid are not paid",
        "NEW.number IS NOT NULL AND NEW.state <> 'PAID' AND NOT EXISTS (SELECT 1"
        " FROM issued_invoice s JOIN issuing r ON r.id = s.issuing"
        " WHERE s.number = NEW.number AND r.state = 'FROZEN')"  # its charges are BILLED at its end
        f" AND EXISTS (SELECT 1 {_ITS_CHARGES} AND c.state = 'PAID')",
        lookup=True,
    ),
    Guard(
        "invoice",
        (UPDATE,),
        "an invoice is paid with a statement that it is on",
        "NEW.statement IS NOT NULL AND NOT EXISTS (SELECT 1 FROM statement_invoice a"
        " WHERE a.statement = NEW.statement AND a.number = NEW.number)",
        lookup=True,
    ),
)
_JOB = (
    Guard(
        "job",
        (INSERT,),
        "a job is of a run of its facility",
        "NOT EXISTS (SELECT 1 FROM billing_run r"
        " WHERE r.id = NEW.run AND r.facility = NEW.facility)",
        lookup=True,
    ),
)
_YEAR = "FROM invoice_number n WHERE n.facility = NEW.facility AND n.fiscal_year = NEW.fiscal_year"
_ISSUING_BINDING = (
    Guard(
        "issuing",
        (INSERT,),
        "an issuing is of an open run of its facility and month",
        "NOT EXISTS (SELECT 1 FROM billing_run r WHERE r.id = NEW.run"
        " AND r.facility = NEW.facility AND r.period = NEW.period AND r.state = 'OPEN')",
        lookup=True,
    ),
    Guard(
        "issuing",
        (UPDATE,),
        "it is issued when the numbers until its own have no gap",
        "NEW.state = 'ISSUED'"
        f" AND (SELECT count(*) {_YEAR}) <> (SELECT coalesce(max(n.sequence), 0) {_YEAR})",
        lookup=True,
    ),
    Guard(
        "issuing",
        (UPDATE,),
        "it is issued when what its invoices replace is superseded",
        "NEW.state = 'ISSUED' AND EXISTS (SELECT 1 FROM issued_invoice s"
        " JOIN invoice i ON i.number = s.number JOIN invoice o ON o.number = i.replaces"
        " WHERE s.issuing = NEW.id AND o.state <> 'SUPERSEDED')",
        lookup=True,
    ),
    Guard(
        "issuing",
        (UPDATE,),
        "it is issued when what its invoices draw from prepaid funds is drawn",
        "NEW.state = 'ISSUED' AND EXISTS (SELECT 1 FROM issued_invoice s"
        " WHERE s.issuing = NEW.id AND s.prepaid <> 0 AND NOT EXISTS (SELECT 1 FROM fund_entry f"
        " WHERE f.facility = s.facility AND f.project = s.project AND f.number = s.number"
        " AND f.kind = 'draw'))",
        lookup=True,
    ),
    Guard(
        "invoice_number",
        (INSERT,),
        "numbers are reserved for invoices of the run that all have approved",
        "NOT EXISTS (SELECT 1 FROM invoice i JOIN issuing r ON r.run = i.run"
        " WHERE r.id = NEW.issuing AND i.facility = NEW.facility AND i.code = NEW.invoice"
        " AND i.state = 'APPROVING')",
        lookup=True,
    ),
    Guard(
        "issued_invoice",
        (INSERT,),
        "an invoice replaces one that counts and is not paid",
        "EXISTS (SELECT 1 FROM invoice i JOIN invoice o ON o.number = i.replaces"
        " WHERE i.facility = NEW.facility AND i.code = NEW.invoice AND o.state <> 'APPROVED')",
        lookup=True,
    ),
)
_STATEMENT_BINDING = (
    Guard(
        "statement_invoice",
        (INSERT,),
        "a statement takes an invoice that counts",
        "NOT EXISTS (SELECT 1 FROM invoice i WHERE i.number = NEW.number"
        f" AND i.state IN {named(ACTIVE)})",
        lookup=True,
    ),
    Guard(
        "statement",
        (UPDATE,),
        "a paid statement has the invoices that it counts, at least one",
        "NEW.state = 'PAID' AND (NEW.invoices < 1 OR NEW.invoices <> (SELECT count(*)"
        " FROM statement_invoice a WHERE a.statement = NEW.id))",
        lookup=True,
    ),
)
_ENTRIES = "FROM fund_entry f WHERE f.facility = NEW.facility AND f.project = NEW.project"
_FUND_BINDING = (
    Guard(
        "fund_entry",
        (INSERT,),
        "an entry is a deposit, or what an invoice draws or gives back",
        "NOT ((NEW.kind = 'deposit' AND NEW.number IS NULL)"
        " OR (NEW.kind = 'draw' AND NEW.number IS NOT NULL AND NEW.amount < 0)"
        " OR (NEW.kind = 'return' AND NEW.number IS NOT NULL AND NEW.amount > 0))",
    ),
    Guard(
        "fund_entry",
        (INSERT,),
        "the entries of a project follow one another without a gap",
        f"(SELECT count(*) {_ENTRIES}) <> (SELECT max(f.sequence) {_ENTRIES}) OR NEW.sequence < 1",
        lookup=True,
    ),
    Guard(
        "fund_entry",
        (INSERT,),
        "an invoice draws once, while it is issued, what it says is prepaid",
        "NEW.kind = 'draw' AND (NOT EXISTS (SELECT 1 FROM issued_invoice i"
        " JOIN issuing r ON r.id = i.issuing WHERE i.number = NEW.number"
        " AND i.facility = NEW.facility AND i.project = NEW.project AND r.state = 'FROZEN'"
        " AND i.prepaid = -NEW.amount)"
        f" OR NEW.amount <> (SELECT sum(f.amount) {_ENTRIES} AND f.number = NEW.number))",
        lookup=True,
    ),
    Guard(
        "fund_entry",
        (INSERT,),
        "an invoice gives back what it drew, once it no longer counts",
        "NEW.kind = 'return' AND (NOT EXISTS (SELECT 1 FROM invoice i"
        " WHERE i.number = NEW.number AND i.facility = NEW.facility AND i.project = NEW.project"
        " AND i.state IN ('SUPERSEDED', 'VOID'))"
        f" OR 0 <> (SELECT sum(f.amount) {_ENTRIES} AND f.number = NEW.number))",
        lookup=True,
    ),
)

BINDING_GUARDS: tuple[Guard, ...] = (
    *_CHARGE_BINDING,
    *_INVOICE_BINDING,
    *_JOB,
    *_ISSUING_BINDING,
    *_STATEMENT_BINDING,
    *_FUND_BINDING,
)


def _but(columns: list[str], *free: str) -> list[str]:
    return [name for name in columns if name not in free]


_RUN = (
    *moves_only(RUN, "a billing run"),
    Guard(
        "billing_run",
        (UPDATE,),
        "of a billing run only the description is edited",
        differs(_but(billing_run.columns.keys(), "state", "description")),
    ),
    never("billing_run", "billing runs are kept", DELETE),
    Guard(
        "billing_run",
        (UPDATE,),
        "a billing run ends when its invoices are issued or closed",
        "NEW.state IN ('FINISHED', 'CANCELLED') AND EXISTS (SELECT 1 FROM invoice i"
        f" WHERE i.run = NEW.id AND i.state IN {named(UNFINISHED)})",
        lookup=True,
    ),
    *moves_only(JOB, "a job"),
    ended_stays(JOB, "a job"),
    Guard(
        "job",
        (UPDATE,),
        "what a job was begun with does not change",
        differs(_but(job.columns.keys(), "state", "ended_at", "log")),
    ),
    never("job", "jobs are kept", DELETE),
)
_WHAT_IT_IS = ("facility", "code", "kind", "project", "reference", "replaces")
_WHAT_IT_BILLS = ("charges", "raw_total", "adjustment", "tax", "total", "cost", "team")
_DATES = ("covers_from", "covers_to")
_PAYMENT = ("paid_on", "payment_reference", "statement")
_INVOICE = (
    *moves_only(INVOICE, "an invoice"),
    Guard(
        "invoice",
        (INSERT,),
        "an invoice begins without number, approvals and payment",
        "NEW.number IS NOT NULL OR NEW.step <> 0 OR NEW.paid_on IS NOT NULL",
    ),
    Guard(
        "invoice",
        (UPDATE,),
        "an invoice stays what it is of",
        f"{differs(_WHAT_IT_IS)} OR (OLD.run IS NOT NULL AND NEW.run IS DISTINCT FROM OLD.run"
        f" AND NOT (OLD.kind = 'ad hoc' AND NEW.run IS NULL"
        f" AND OLD.state IN {named(EDITABLE)}))",
    ),
    Guard(
        "invoice",
        (UPDATE,),
        "an invoice stays in its month; an ad hoc one that is in no run goes with its dates",
        f"({differs(('period',))}) AND (OLD.kind <> 'ad hoc' OR OLD.run IS NOT NULL"
        f" OR OLD.state NOT IN {named(EDITABLE)})",
    ),
    Guard(
        "invoice",
        (UPDATE,),
        "what an invoice bills does not change once it is being approved",
        f"OLD.state NOT IN {named(EDITABLE)}"
        f" AND ({differs((*_WHAT_IT_BILLS, *_DATES, 'description'))})",
    ),
    Guard(
        "invoice",
        (UPDATE,),
        "an invoice is approved by one reviewer after the other",
        f"NEW.step < 0 OR NEW.step > OLD.step + 1 OR (NEW.step <> OLD.step"
        f" AND OLD.state <> 'APPROVING') OR (NEW.state IN {named(EDITABLE)} AND NEW.step <> 0)",
    ),
    Guard(
        "invoice",
        (UPDATE,),
        "an invoice has a number once it is issued, keeps it, and has none before",
        f"(NEW.number IS NOT NULL) <> (NEW.state IN {named(NUMBERED)})"
        " OR (OLD.number IS NOT NULL AND NEW.number IS DISTINCT FROM OLD.number)",
    ),
    Guard(
        "invoice",
        (UPDATE,),
        "an invoice keeps the reason of its last move",
        f"NEW.state = OLD.state AND ({differs(('reason',))})",
    ),
    Guard(
        "invoice",
        (UPDATE,),
        "an invoice has a payment while it is paid",
        f"(NEW.paid_on IS NOT NULL) <> (NEW.state = 'PAID') OR (OLD.state = 'PAID'"
        f" AND NEW.state = 'PAID' AND ({differs(_PAYMENT)}))",
    ),
    Guard(
        "invoice",
        (UPDATE,),
        "an invoice is approved as what was issued under its number",
        f"NEW.state IN {named(NUMBERED)} AND NOT EXISTS (SELECT 1 FROM issued_invoice s"
        " WHERE s.number = NEW.number AND s.facility = NEW.facility AND s.invoice = NEW.code"
        " AND s.total = NEW.total)",
        lookup=True,
    ),
    Guard(
        "invoice",
        (UPDATE,),
        "an invoice is superseded by an issued one that replaces it",
        "NEW.state = 'SUPERSEDED' AND NOT EXISTS (SELECT 1 FROM invoice s"
        " WHERE s.facility = NEW.facility AND s.replaces = NEW.number"
        f" AND s.state IN {named(NUMBERED)})",
        lookup=True,
    ),
    Guard(
        "invoice",
        (INSERT, UPDATE),
        "an invoice replaces an issued one of its facility and project",
        "NEW.replaces IS NOT NULL AND NOT EXISTS (SELECT 1 FROM issued_invoice s"
        " WHERE s.number = NEW.replaces AND s.facility = NEW.facility"
        " AND s.project = NEW.project)",
        lookup=True,
    ),
    Guard(
        "invoice",
        (UPDATE,),
        "an invoice on a paid statement stays paid",
        "NEW.number IS NOT NULL AND NEW.state <> 'PAID' AND EXISTS (SELECT 1"
        " FROM statement_invoice a JOIN statement s ON s.id = a.statement"
        " WHERE a.number = NEW.number AND s.state = 'PAID')",
        lookup=True,
    ),
    never("invoice", "an invoice is kept, if only closed", DELETE),
)
_ISSUING = (
    *moves_only(ISSUING, "an issuing"),
    ended_stays(ISSUING, "an issuing"),
    Guard(
        "issuing",
        (UPDATE,),
        "what was frozen does not change",
        differs(
            _but(
                issuing.columns.keys(),
                *("state", "snapshot_sha256", "commit_hash", "container", "record"),
                *("ended_at", "failure"),
            )
        ),
    ),
    never("issuing", "issuings are kept", DELETE),
    Guard(
        "issuing",
        (UPDATE,),
        "it is issued with an invoice for every number it holds, and at least one",
        "NEW.state = 'ISSUED' AND (NOT EXISTS"
        " (SELECT 1 FROM issued_invoice i WHERE i.issuing = NEW.id)"
        " OR EXISTS (SELECT 1 FROM invoice_number n WHERE n.issuing = NEW.id"
        " AND NOT EXISTS (SELECT 1 FROM issued_invoice i WHERE i.number = n.number)))",
        lookup=True,
    ),
    Guard(
        "issuing",
        (UPDATE,),
        "it is issued when its invoices have a line for each BILLED charge, at the charge's total",
        "NEW.state = 'ISSUED' AND EXISTS (SELECT 1 FROM issued_invoice i"
        " WHERE i.issuing = NEW.id AND (i.charges, i.raw_total) <>"
        " (SELECT count(*), coalesce(sum(l.total), 0) FROM invoice_line l JOIN charge c"
        " ON c.facility = l.facility AND c.charge = l.charge AND c.state = 'BILLED'"
        " AND coalesce(c.invoice, '') = i.invoice"  # so that no index on invoice is taken
        " AND c.raw_total = l.raw_total AND c.adjustment = l.adjustment AND c.total = l.total"
        " WHERE l.number = i.number))",
        lookup=True,
    ),
    Guard(
        "issuing",
        (UPDATE,),
        "it is issued when the expense codes of its invoices make what is left to pay",
        "NEW.state = 'ISSUED' AND EXISTS (SELECT 1 FROM issued_invoice i"
        " WHERE i.issuing = NEW.id AND i.total - coalesce(i.prepaid, 0) <>"
        " (SELECT coalesce(sum(s.amount), 0) FROM invoice_split s WHERE s.number = i.number))",
        lookup=True,
    ),
    Guard(
        "issuing",
        (UPDATE,),
        "it is issued when its invoices are APPROVED",
        "NEW.state = 'ISSUED' AND EXISTS (SELECT 1 FROM issued_invoice s JOIN invoice i"
        " ON i.facility = s.facility AND i.code = s.invoice WHERE s.issuing = NEW.id"
        " AND i.state <> 'APPROVED')",
        lookup=True,
    ),
    Guard(
        "issuing",
        (UPDATE,),
        "it is issued when what it bills is on no other invoice that counts",
        "NEW.state = 'ISSUED' AND EXISTS (SELECT 1 FROM issued_invoice s JOIN charge c"
        " ON c.facility = s.facility AND c.invoice = s.invoice JOIN charge o"
        " ON o.facility = c.facility AND o.charge <> c.charge"
        " AND (o.charge = c.original OR o.original = c.original) JOIN invoice i"
        " ON i.facility = o.facility AND i.code = o.invoice"
        f" WHERE s.issuing = NEW.id AND c.original IS NOT NULL AND i.state IN {named(ACTIVE)})",
        lookup=True,
    ),
    Guard(
        "issuing",
        (UPDATE,),
        "a failed issuing holds no numbers",
        "NEW.state = 'FAILED' AND EXISTS (SELECT 1 FROM invoice_number n WHERE n.issuing = NEW.id)",
        lookup=True,
    ),
)
_LOG = (
    never("log_entry", "the log of records is append-only"),
    Guard(
        "log_entry",
        (INSERT,),
        "the entries of the log follow one another without a gap",
        "NEW.position < 1 OR NEW.position <> (SELECT count(*) FROM log_entry)",
        lookup=True,
    ),
    Guard(
        "log_entry",
        (INSERT,),
        "the log takes the record of what is frozen",
        "NOT EXISTS (SELECT 1 FROM issuing r WHERE r.id = NEW.issuing AND r.state = 'FROZEN'"
        " AND r.facility = NEW.facility)",
        lookup=True,
    ),
    Guard(
        "issuing",
        (UPDATE,),
        "it is issued when the log has its record",
        "NEW.state = 'ISSUED' AND NEW.record IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM log_entry e WHERE e.issuing = NEW.id)",
        lookup=True,
    ),
)
_NUMBER = (
    never("invoice_number", "a reserved number does not change", UPDATE),
    Guard(
        "invoice_number",
        (DELETE,),
        "the numbers of what is issued are kept",
        "EXISTS (SELECT 1 FROM issuing r WHERE r.id = OLD.issuing AND r.state = 'ISSUED')",
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
        "only what is frozen of the facility reserves numbers",
        "NOT EXISTS (SELECT 1 FROM issuing r WHERE r.id = NEW.issuing AND r.state = 'FROZEN'"
        " AND r.facility = NEW.facility AND r.fiscal_year = NEW.fiscal_year)",
        lookup=True,
    ),
)
_FROZEN_INVOICE = (
    "SELECT 1 FROM issued_invoice i JOIN issuing r ON r.id = i.issuing"
    " WHERE i.number = NEW.number AND i.facility = NEW.facility AND i.team = NEW.team"
    " AND r.state = 'FROZEN'"
)
_ISSUED_INVOICE = (
    never("issued_invoice", "an issued invoice does not change"),
    Guard(
        "issued_invoice",
        (INSERT,),
        "an invoice is issued under a number that what is frozen reserved for it",
        "NOT EXISTS (SELECT 1 FROM invoice_number n JOIN issuing r ON r.id = n.issuing"
        " WHERE n.number = NEW.number AND n.facility = NEW.facility"
        " AND n.fiscal_year = NEW.fiscal_year AND n.sequence = NEW.sequence"
        " AND n.issuing = NEW.issuing AND n.invoice = NEW.invoice AND r.state = 'FROZEN'"
        " AND r.invoice_date = NEW.invoice_date)",
        lookup=True,
    ),
    Guard(
        "issued_invoice",
        (INSERT,),
        "an invoice is issued as it was approved",
        "NOT EXISTS (SELECT 1 FROM invoice i WHERE i.facility = NEW.facility"
        " AND i.code = NEW.invoice AND i.state = 'APPROVING' AND i.kind = NEW.kind"
        " AND i.project = NEW.project AND i.team = NEW.team AND i.period = NEW.period"
        " AND i.charges = NEW.charges AND i.raw_total = NEW.raw_total"
        " AND i.adjustment = NEW.adjustment AND coalesce(i.tax, 0) = coalesce(NEW.tax, 0)"
        " AND i.total = NEW.total)",
        lookup=True,
    ),
    never("invoice_line", "the line of an issued invoice does not change"),
    Guard(
        "invoice_line",
        (INSERT,),
        "an issued invoice gets no further line",
        f"NOT EXISTS ({_FROZEN_INVOICE} AND NEW.position BETWEEN 1 AND i.charges)",
        lookup=True,
    ),
    never("invoice_split", "the split of an issued invoice does not change"),
    Guard(
        "invoice_split",
        (INSERT,),
        "an issued invoice gets no further split",
        f"NOT EXISTS ({_FROZEN_INVOICE})",
        lookup=True,
    ),
    never("invoice_adjustment", "the adjustment of an issued invoice does not change"),
    Guard(
        "invoice_adjustment",
        (INSERT,),
        "an issued invoice gets no further adjustment",
        f"NOT EXISTS ({_FROZEN_INVOICE})",
        lookup=True,
    ),
    Guard(
        "issued_invoice",
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
INVOICE_GUARDS: tuple[Guard, ...] = (
    *_RUN,
    *_INVOICE,
    *_ISSUING,
    *_LOG,
    *_NUMBER,
    *_ISSUED_INVOICE,
)


_OPEN_STATEMENT = "SELECT 1 FROM statement s WHERE s.id = {row}.statement AND s.state = 'OPEN'"
_STATEMENT = (
    *moves_only(STATEMENT, "a statement"),
    Guard(
        "statement",
        (UPDATE,),
        "a statement stays what it is of",
        differs(("id", "team", "period", "sequence", "currency")),
    ),
    Guard(
        "statement",
        (UPDATE,),
        "a paid statement does not change",
        "(OLD.state <> 'OPEN' OR NEW.state <> 'OPEN')"
        f" AND ({differs(('invoices', 'raw_total', 'adjustment', 'total'))})",
    ),
    Guard(
        "statement",
        (INSERT, UPDATE),
        "a total is the raw total and the adjustment, and a payment that of a paid statement",
        "NEW.total <> NEW.raw_total + NEW.adjustment"
        " OR (NEW.paid_on IS NOT NULL) <> (NEW.state = 'PAID')",
    ),
    Guard(
        "statement",
        (UPDATE,),
        "a paid statement's invoices make its raw total, and are paid",
        "NEW.state = 'PAID' AND (NEW.raw_total <> (SELECT coalesce(sum(a.total), 0)"
        " FROM statement_invoice a WHERE a.statement = NEW.id)"
        " OR EXISTS (SELECT 1 FROM statement_invoice a JOIN invoice i ON i.number = a.number"
        " WHERE a.statement = NEW.id AND i.state <> 'PAID'))",
        lookup=True,
    ),
    Guard(
        "statement",
        (UPDATE,),
        "a paid statement's adjustments make its adjustment",
        "NEW.state = 'PAID' AND NEW.adjustment <> (SELECT coalesce(sum(a.amount), 0)"
        " FROM statement_adjustment a WHERE a.statement = NEW.id)",
        lookup=True,
    ),
    never("statement", "a statement is kept", DELETE),
    never("statement_invoice", "an invoice is put on a statement, or taken off", UPDATE),
    never("statement_adjustment", "an adjustment is made anew", UPDATE),
    *(
        Guard(
            table,
            (operation,),
            "a paid statement does not change",
            f"NOT EXISTS ({_OPEN_STATEMENT.format(row=row)})",
            lookup=True,
        )
        for table in ("statement_invoice", "statement_adjustment")
        for operation, row in ((INSERT, "NEW"), (DELETE, "OLD"))
    ),
    Guard(
        "statement_invoice",
        (INSERT,),
        "a statement takes an issued invoice of its team and month",
        "NOT EXISTS (SELECT 1 FROM issued_invoice i JOIN statement s ON s.id = NEW.statement"
        " WHERE i.number = NEW.number AND i.facility = NEW.facility AND i.team = s.team"
        " AND i.team = NEW.team AND i.period = s.period AND i.currency = s.currency"
        " AND i.total = NEW.total)",
        lookup=True,
    ),
)
_FUND = (
    never("fund_entry", "an entry of prepaid funds does not change"),
    Guard(
        "fund_entry",
        (INSERT,),
        "prepaid funds are not overdrawn",
        "(SELECT sum(f.amount) FROM fund_entry f WHERE f.facility = NEW.facility"
        " AND f.project = NEW.project) < 0",
        lookup=True,
    ),
)

STATEMENT_GUARDS: tuple[Guard, ...] = (*_STATEMENT, *_FUND)


_MOVING = ("state", "attempts", "next_try", "said", "moved_at")
_FIXED = [column.name for column in message.columns if column.name not in _MOVING]

DELIVERY_GUARDS: tuple[Guard, ...] = (
    *moves_only(MESSAGE, "a message"),
    Guard(
        "message", (UPDATE,), "what a message says, and to whom, does not change", differs(_FIXED)
    ),
    never("message", "a message is kept", DELETE),
    never("told", "what was told does not change"),
    never("attachment", "an attachment does not change"),
    never("notice", "a notice does not change"),
    never("notice_seen", "a notice that is read stays read"),
    Guard(
        "preference",
        (INSERT, UPDATE),
        "a preference is each, digest or none",
        "NEW.invoices NOT IN ('each', 'digest', 'none')",
    ),
    Guard(
        "preference",
        (UPDATE,),
        "a preference stays that of its recipient",
        differs(("facility", "team", "address")),
    ),
    never("preference", "a preference is set otherwise, not deleted", DELETE),
)
"""Guards of messages, notices and preferences."""


_COUNTED = (
    "SELECT count(*) FROM journal_entry e"
    " WHERE e.facility = NEW.facility AND e.journal = NEW.journal"
)

# The key of journal_entry already makes each invoice posted once and reversed once.
JOURNAL_GUARDS: tuple[Guard, ...] = (
    never("journal", "a posted journal does not change"),
    Guard(
        "journal",
        (INSERT,),
        "journals are numbered one after the other",
        "NEW.number <> (SELECT count(*) FROM journal j WHERE j.facility = NEW.facility)"
        " OR NEW.entries < 1",
        lookup=True,
    ),
    never("journal_entry", "what a journal has posted does not change"),
    Guard(
        "journal_entry",
        (INSERT,),
        "a posted journal gets no further entry",
        f"({_COUNTED}) > (SELECT j.entries FROM journal j"
        " WHERE j.facility = NEW.facility AND j.number = NEW.journal)",
        lookup=True,
    ),
    Guard(
        "journal_entry",
        (INSERT,),
        "an invoice is posted, and reversed once it no longer counts",
        "NEW.kind NOT IN ('issue', 'reversal') OR (NEW.kind = 'reversal' AND NOT EXISTS"
        " (SELECT 1 FROM invoice i WHERE i.facility = NEW.facility AND i.number = NEW.number"
        f" AND i.state IN {named((SUPERSEDED, VOID))}))",
        lookup=True,
    ),
)


_BILLING = ("state", "run", "invoice")
_PRICED = [column.name for column in charge.columns if column.name not in _BILLING]

_FACILITY = (
    Guard(
        "facility",
        (UPDATE,),
        "the code, currency and time zone of a facility do not change after its first use",
        differs(("code", "currency", "timezone")),
    ),
    never("facility", "a facility that was used is kept", DELETE),
)
_RECORD = ("facility", "record", "occurrence")
_VERSION = [
    column.name
    for column in usage_version.columns
    if column.name not in (*_RECORD, "version", "event")
]


def _same(columns: Iterable[str], other: str) -> str:
    """The SQL condition that another row has these columns of the new one."""
    return " AND ".join(f'{other}."{name}" = NEW."{name}"' for name in columns)


_USAGE = (
    never("source_file", "the entry of a loaded file does not change"),
    never("usage_record", "a usage record is kept", DELETE),
    Guard(
        "usage_record",
        (UPDATE,),
        "a usage record keeps its id and changes into its next version",
        f"{differs(_RECORD)} OR coalesce(NEW.version, 0) <> coalesce(OLD.version, 1) + 1",
    ),
    Guard(
        "usage_record",
        (UPDATE,),
        "a usage record changes when the version before it is kept",
        f"NOT EXISTS (SELECT 1 FROM usage_version v WHERE {_same(_RECORD, 'v')}"
        " AND v.version = NEW.version - 1)",
        lookup=True,
    ),
    *(
        Guard(
            "usage_record",
            (UPDATE,),
            "usage that is billed or bound to a run does not change",
            f"EXISTS (SELECT 1 FROM charge c WHERE c.facility = NEW.facility AND {code}"
            " AND c.occurrence = NEW.occurrence AND (c.state <> 'PENDING' OR c.run IS NOT NULL))",
            lookup=True,
        )
        # Each by its index: an OR would read all charges, and so does SQLite without > ''.
        for code in ("c.charge = NEW.record", "c.original > '' AND c.original = NEW.record")
    ),
    never("usage_version", "a version of a usage record is kept as it was"),
    Guard(
        "usage_version",
        (INSERT,),
        "a version is kept of a usage record as it stands",
        f"NOT EXISTS (SELECT 1 FROM usage_record u WHERE {_same(_RECORD, 'u')}"
        " AND coalesce(u.version, 1) = NEW.version AND NOT ("
        + " OR ".join(f'u."{name}" IS DISTINCT FROM NEW."{name}"' for name in _VERSION)
        + "))",
        lookup=True,
    ),
    never("rate", "a kept rate does not change"),
)
_LOCKED_CHARGE = (
    "EXISTS (SELECT 1 FROM charge c WHERE c.facility = ROW.facility"
    " AND c.charge = ROW.charge AND (c.state <> 'PENDING' OR c.run IS NOT NULL))"
)
_CHARGE = (
    *moves_only(CHARGE, "a charge"),
    Guard(
        "charge",
        (INSERT,),
        "a charge has the code of its usage, or is a copy of one that has",
        "NEW.record IS NOT NULL AND coalesce(NEW.original, NEW.charge) <> NEW.record",
    ),
    Guard(
        "charge",
        (INSERT,),
        "a charge begins without run and invoice",
        "NEW.run IS NOT NULL OR NEW.invoice IS NOT NULL",
    ),
    Guard(
        "charge",
        (UPDATE,),
        "a charge keeps its code and its usage",
        differs(("facility", "charge", "kind", "record", "occurrence", "original")),
    ),
    Guard(
        "charge",
        (UPDATE,),
        "a charge that is billed or bound to a run does not change",
        "(OLD.state <> 'PENDING' OR OLD.run IS NOT NULL OR NEW.state <> 'PENDING')"
        f" AND ({differs(_PRICED)})",
        of=tuple(_PRICED),
    ),
    Guard(
        "charge",
        (UPDATE,),
        "a billed charge keeps its run and invoice",
        f"OLD.state <> 'PENDING' AND ({differs(('run', 'invoice'))})",
    ),
    Guard(
        "charge",
        (UPDATE,),
        "a charge that is bound to a run is on an invoice, and stays on it",
        "(NEW.run IS NOT NULL AND NEW.invoice IS NULL)"
        f" OR (OLD.run IS NOT NULL AND NEW.run IS NOT NULL AND ({differs(('invoice',))}))",
    ),
    Guard(
        "charge",
        (INSERT, UPDATE),
        "a charge comes to its raw total and its adjustment",
        "NEW.total <> NEW.raw_total + NEW.adjustment",
    ),
    Guard(
        "charge",
        (UPDATE,),
        "a charge is billed with its run and invoice",
        "NEW.state <> 'PENDING' AND (NEW.run IS NULL OR NEW.invoice IS NULL)",
    ),
    Guard(
        "charge",
        (UPDATE,),
        "a charge is bound while its invoice is being approved or closed",
        "NEW.state = 'PENDING' AND NEW.run IS NULL AND NEW.invoice IS NOT NULL AND EXISTS"
        " (SELECT 1 FROM invoice i WHERE i.facility = NEW.facility AND i.code = NEW.invoice"
        f" AND i.state NOT IN {named(EDITABLE)})",
        lookup=True,
    ),
    Guard(
        "charge",
        (UPDATE,),
        "a charge is bound by the run of its invoice, which takes changes until then",
        "NEW.run IS NOT NULL AND NOT EXISTS (SELECT 1 FROM invoice i"
        " WHERE i.facility = NEW.facility AND i.code = NEW.invoice AND i.run = NEW.run"
        f" AND (NEW.state <> 'PENDING' OR i.state IN {named(EDITABLE)}))",
        lookup=True,
        of=("run", "invoice"),
    ),
    Guard(
        "charge",
        (UPDATE,),
        "a charge is billed on an invoice that is issued, and paid with it",
        "NEW.state NOT IN ('PENDING', 'CANCELLED') AND NOT EXISTS (SELECT 1 FROM invoice i"
        " WHERE i.facility = NEW.facility AND i.code = NEW.invoice AND i.number IS NOT NULL"
        " AND (NEW.state <> 'PAID' OR i.state = 'PAID'))",
        lookup=True,
    ),
    Guard(
        "charge",
        (UPDATE,),
        "a charge is cancelled with its invoice, which is closed",
        "NEW.state = 'CANCELLED' AND NOT EXISTS (SELECT 1 FROM invoice i"
        " WHERE i.facility = NEW.facility AND i.code = NEW.invoice AND i.state = 'CLOSED')",
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
        differs(("facility", "charge", "position")),
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
_EVENT = (
    never("event", "events are append-only"),
    never("written", "the record of what was written is append-only"),
)
_ADMINISTRATED = (
    "EXISTS (SELECT 1 FROM permission p WHERE p.facility = {row}.facility"
    " AND p.role = 'administrator')"
)
_PERMISSION = (
    never("permission", "a permission is given or taken back, not changed", UPDATE),
    Guard(
        "permission",
        (INSERT,),
        "a permission names a team where it is a lab administrator's, and only there",
        "(NEW.team <> '') <> (NEW.role = 'lab_administrator')",
    ),
    *(
        Guard(
            "permission",
            (operation,),
            "a facility that has permissions has an administrator",
            f"NOT {_ADMINISTRATED.format(row=row)}",
            lookup=True,
        )
        for operation, row in ((INSERT, "NEW"), (DELETE, "OLD"))
    ),
)

GUARDS: tuple[Guard, ...] = (
    *_FACILITY,
    *_USAGE,
    *_CHARGE,
    *_EVENT,
    *_PERMISSION,
    *INVOICE_GUARDS,
    *STATEMENT_GUARDS,
    *JOURNAL_GUARDS,
    *BINDING_GUARDS,
    *DELIVERY_GUARDS,
)
"""All guards of both dialects; triggers.py adds triggers that only one dialect needs."""
