"""The guards between tables: what is approved is what was seen, and issued with what it names.

    charge ─ invoice ─ billing_run ─ issuing ─ number ─ line ─ fund entry

Each table's own guards hold a row; these hold rows of different tables to one another, so that
no client brings them apart by changing one alone.
"""

from collections.abc import Iterable

from billing_lib.ledger.guard import INSERT, UPDATE, Guard, named
from billing_lib.ledger.states import ACTIVE, EDITABLE

_UNFINISHED = named((*EDITABLE, "APPROVING"))
_ITS_CHARGES = "FROM charge c WHERE c.facility = NEW.facility AND c.invoice = NEW.code"


def _any(conditions: Iterable[str]) -> str:
    return " OR ".join(f"({condition})" for condition in conditions)


_CHARGE = (
    Guard(
        "charge",
        (UPDATE,),
        "a charge is bound and freed on the invoice that it stays on",
        "NEW.run IS DISTINCT FROM OLD.run AND NEW.invoice IS DISTINCT FROM OLD.invoice",
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
_INVOICE = (
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
        f"NEW.run IS NOT NULL AND NEW.state IN {_UNFINISHED} AND NOT EXISTS"
        " (SELECT 1 FROM billing_run r WHERE r.id = NEW.run AND r.facility = NEW.facility"
        " AND r.period = NEW.period AND r.state IN ('OPEN', 'DISABLED'))",
        lookup=True,
    ),
    Guard(
        "invoice",
        (UPDATE,),
        "the charges of an invoice that takes in no changes are bound",
        f"NEW.state NOT IN {named(EDITABLE)} AND EXISTS (SELECT 1 {_ITS_CHARGES}"
        " AND c.run IS NULL)",
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
                f"NEW.charges <> (SELECT count(*) {_ITS_CHARGES} AND c.run = NEW.run"
                " AND c.team = NEW.team AND (NEW.kind <> 'periodic' OR c.period = NEW.period))",
                f"NEW.charges <> (SELECT count(*) {_ITS_CHARGES})",
                f"NEW.raw_total <> (SELECT coalesce(sum(c.total), 0) {_ITS_CHARGES})",
            )
        )
        + ")",
        lookup=True,
    ),
    Guard(
        "invoice",
        (UPDATE,),
        "the charges of an invoice that is not paid are not paid",
        "NEW.number IS NOT NULL AND NEW.state <> 'PAID'"
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
_ISSUING = (
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
    Guard(
        "invoice_line",
        (INSERT,),
        "a line bills a charge that its invoice holds, at the charge's total",
        "NOT EXISTS (SELECT 1 FROM issued_invoice i JOIN charge c"
        " ON c.facility = i.facility AND c.invoice = i.invoice"
        " WHERE i.number = NEW.number AND c.facility = NEW.facility AND c.code = NEW.charge"
        " AND c.state = 'PENDING' AND c.run IS NOT NULL AND c.raw_total = NEW.raw_total"
        " AND c.adjustment = NEW.adjustment AND c.total = NEW.total)",
        lookup=True,
    ),
)
_STATEMENT = (
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
_FUND = (
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
    *_CHARGE,
    *_INVOICE,
    *_JOB,
    *_ISSUING,
    *_STATEMENT,
    *_FUND,
)
