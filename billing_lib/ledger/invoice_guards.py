"""The guards of runs, invoices and statements: what is issued stays, the rest only moves.

What an invoice bills is fixed from APPROVING on, and what it was issued with stands in rows of
their own that nothing changes.
"""

from billing_lib.ledger.guard import (
    DELETE,
    INSERT,
    UPDATE,
    Guard,
    differs,
    moves_only,
    named,
    never,
)
from billing_lib.ledger.invoice_tables import billing_run, issuing, job
from billing_lib.ledger.states import ACTIVE, EDITABLE, INVOICE, ISSUED, RUN


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
        f" WHERE i.run = NEW.id AND i.state IN {named((*EDITABLE, 'APPROVING'))})",
        lookup=True,
    ),
    Guard("job", (INSERT,), "a job begins RUNNING", "NEW.state <> 'RUNNING'"),
    Guard(
        "job",
        (UPDATE,),
        "a job that has ended does not change",
        "OLD.state <> 'RUNNING' OR NEW.state NOT IN ('RUNNING', 'DONE', 'FAILED')",
    ),
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
        f"{differs(_WHAT_IT_IS)} OR (OLD.run IS NOT NULL AND NEW.run IS DISTINCT FROM OLD.run)",
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
        f"(NEW.number IS NOT NULL) <> (NEW.state IN {named(ISSUED)})"
        " OR (OLD.number IS NOT NULL AND NEW.number IS DISTINCT FROM OLD.number)",
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
        f"NEW.state IN {named(ISSUED)} AND NOT EXISTS (SELECT 1 FROM issued_invoice s"
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
        f" AND s.state IN {named(ISSUED)})",
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
    Guard("issuing", (INSERT,), "an issuing begins FROZEN", "NEW.state <> 'FROZEN'"),
    Guard(
        "issuing",
        (UPDATE,),
        "an issuing that has ended does not change",
        "OLD.state <> 'FROZEN' OR NEW.state NOT IN ('FROZEN', 'ISSUED', 'FAILED')",
    ),
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
        "it is issued when its invoices have all their lines, and these make their totals",
        "NEW.state = 'ISSUED' AND EXISTS (SELECT 1 FROM issued_invoice i LEFT JOIN"
        " (SELECT number, count(*) AS lines, sum(total) AS total FROM invoice_line"
        " GROUP BY number) l ON l.number = i.number WHERE i.issuing = NEW.id"
        " AND (coalesce(l.lines, 0) <> i.charges OR coalesce(l.total, 0) <> i.raw_total))",
        lookup=True,
    ),
    Guard(
        "issuing",
        (UPDATE,),
        "it is issued when the expense codes of its invoices make what is left to pay",
        "NEW.state = 'ISSUED' AND EXISTS (SELECT 1 FROM issued_invoice i LEFT JOIN"
        " (SELECT number, sum(amount) AS total FROM invoice_split GROUP BY number) s"
        " ON s.number = i.number WHERE i.issuing = NEW.id"
        " AND coalesce(s.total, 0) <> i.total - coalesce(i.prepaid, 0))",
        lookup=True,
    ),
    Guard(
        "issuing",
        (UPDATE,),
        "it is issued when its invoices are APPROVED and their charges BILLED",
        "NEW.state = 'ISSUED' AND EXISTS (SELECT 1 FROM issued_invoice s JOIN invoice i"
        " ON i.facility = s.facility AND i.code = s.invoice WHERE s.issuing = NEW.id"
        " AND (i.state <> 'APPROVED' OR EXISTS (SELECT 1 FROM charge c"
        " WHERE c.facility = i.facility AND c.invoice = i.code AND c.state <> 'BILLED')))",
        lookup=True,
    ),
    Guard(
        "issuing",
        (UPDATE,),
        "it is issued when what it bills is on no other invoice that counts",
        "NEW.state = 'ISSUED' AND EXISTS (SELECT 1 FROM issued_invoice s JOIN charge c"
        " ON c.facility = s.facility AND c.invoice = s.invoice JOIN charge o"
        " ON o.facility = c.facility AND o.code <> c.code"
        " AND (o.code = c.original OR o.original = c.original) JOIN invoice i"
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
_YEAR = "FROM invoice_number n WHERE n.facility = NEW.facility AND n.fiscal_year = NEW.fiscal_year"
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
    *_NUMBER,
    *_ISSUED_INVOICE,
)
