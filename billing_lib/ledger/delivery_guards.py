"""The guards of delivery: what was queued and told stays, and a message moves by the table."""

from billing_lib.ledger.delivery_tables import message
from billing_lib.ledger.guard import (
    DELETE,
    INSERT,
    UPDATE,
    Guard,
    differs,
    moves_only,
    never,
)
from billing_lib.ledger.states import MESSAGE

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
        differs(("facility", "address")),
    ),
    never("preference", "a preference is set otherwise, not deleted", DELETE),
)
"""Messages, notices and preferences."""
