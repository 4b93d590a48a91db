"""Guards: what the database itself refuses, whatever client asks.

    UPDATE invoice SET total = 0   →  an issued invoice does not change
    DELETE FROM event              →  events are append-only

A guard says on which table and operations it stands, when it refuses (SQL in terms of NEW and
OLD, the common part of both dialects) and what it says then; guard_sql.py makes triggers of
them. A guard without a condition always refuses. One that looks up other rows is checked after
the rows are in place, on PostgreSQL once per statement, so bulk writes stay fast. A change to
this list comes with a migration, be it an empty one: migrations/env.py puts the guards anew.
"""

from billing_lib.ledger.binding_guards import BINDING_GUARDS
from billing_lib.ledger.delivery_guards import DELIVERY_GUARDS
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
from billing_lib.ledger.invoice_guards import INVOICE_GUARDS
from billing_lib.ledger.journal_guards import JOURNAL_GUARDS
from billing_lib.ledger.statement_guards import STATEMENT_GUARDS
from billing_lib.ledger.states import CHARGE, EDITABLE
from billing_lib.ledger.tables import charge

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
_USAGE = (
    never("source_file", "the entry of a loaded file does not change"),
    never("usage_record", "a usage record does not change", UPDATE),
    Guard(
        "usage_record",
        (DELETE,),
        "a usage record is kept while a charge refers to it",
        "EXISTS (SELECT 1 FROM charge c WHERE c.facility = OLD.facility"
        " AND c.record = OLD.record AND c.occurrence = OLD.occurrence)",
        lookup=True,
    ),
    never("rate", "a kept rate does not change"),
)
_LOCKED_CHARGE = (
    "EXISTS (SELECT 1 FROM charge c WHERE c.facility = ROW.facility"
    " AND c.code = ROW.charge AND (c.state <> 'PENDING' OR c.run IS NOT NULL))"
)
_CHARGE = (
    *moves_only(CHARGE, "a charge"),
    Guard(
        "charge",
        (INSERT,),
        "a charge begins without run and invoice",
        "NEW.run IS NOT NULL OR NEW.invoice IS NOT NULL",
    ),
    Guard(
        "charge",
        (UPDATE,),
        "a charge keeps its facility and code",
        differs(("facility", "code")),
    ),
    Guard(
        "charge",
        (UPDATE,),
        "a charge that is billed or bound to a run does not change",
        "(OLD.state <> 'PENDING' OR OLD.run IS NOT NULL OR NEW.state <> 'PENDING')"
        f" AND ({differs(_PRICED)})",
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
        "a charge is bound by the run of its invoice",
        "NEW.run IS NOT NULL AND NOT EXISTS (SELECT 1 FROM invoice i"
        " WHERE i.facility = NEW.facility AND i.code = NEW.invoice AND i.run = NEW.run)",
        lookup=True,
    ),
    Guard(
        "charge",
        (UPDATE,),
        "a charge is billed on an invoice that is issued, and paid with it",
        "NEW.state <> 'PENDING' AND NOT EXISTS (SELECT 1 FROM invoice i"
        " WHERE i.facility = NEW.facility AND i.code = NEW.invoice AND i.number IS NOT NULL"
        " AND (NEW.state <> 'PAID' OR i.state = 'PAID'))",
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
_EVENT = (never("event", "events are append-only"),)
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
"""All guards that both dialects have; guard_sql.py adds what only one of them needs."""
