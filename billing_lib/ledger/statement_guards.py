"""The guards of statements and prepaid funds: what is paid stays, funds are not overdrawn."""

from billing_lib.ledger.guard import (
    DELETE,
    INSERT,
    UPDATE,
    Guard,
    differs,
    moves_only,
    never,
)
from billing_lib.ledger.states import STATEMENT

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
