"""The outbox as people see it: what waits, what failed, and what they say about the uncertain.

billing outbox                          what is not sent
billing outbox --sent RC-1994-00003-…   it arrived after all
billing outbox --again RC-1994-00003-…  send it once more
"""

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidFilter
from billing_lib.ledger import messages
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.messages import INVOICE
from billing_lib.ledger.states import CANCELLED, MESSAGE, SENT, WAITING, states
from billing_lib.workflow.permissions import ISSUER, VIEWER, may, require

CLOSED = (SENT, CANCELLED)
"""States of a message that nobody has to look at."""

_SAID = {
    "send": "a person says that it arrived",
    "again": "a person has it sent once more",
    "withdraw": "a person has it not sent any more",
}


def list_outbox(
    engine: Engine, facility: str | None = None, states_: list[str] | None = None
) -> pl.DataFrame:
    """Messages that may be seen, in the order in which they were queued: ``message``, ``state``,
    ``recipient``, ``subject``, ``attempts``, ``next_try``, ``said``, ``queued_at``.

    Parameters
    ----------
    states_
        Only of these; all that are not SENT or CANCELLED where there are none.

    Raises
    ------
    InvalidFilter
        There is no such state.
    NotPermitted
        The facility may not be read.
    """
    known = states(MESSAGE)
    wanted = tuple(states_ or (state for state in known if state not in CLOSED))
    for state in wanted:
        if state not in known:
            raise InvalidFilter(f"there is no state '{state}'", remedy=f"say {', '.join(known)}")
    with reading(engine) as connection:
        if facility is not None:
            require(connection, facility, VIEWER)
        found = messages.read_messages(connection, states=wanted)
        told = messages.read_told(connection, messages=found["id"].to_list())
        of = told.filter(pl.col("facility") == facility) if facility is not None else told
        hidden = [code for code in told["facility"].unique() if not may(connection, code, VIEWER)]
    theirs = told.filter(pl.col("facility").is_in(hidden))["message"]
    chosen = pl.col("id").is_in(of["message"].implode()) & ~pl.col("id").is_in(theirs.implode())
    moment = pl.col("next_try", "queued_at").dt.to_string("%Y-%m-%d %H:%MZ")
    names = ("state", "recipient", "subject", "attempts", "next_try", "said", "queued_at")
    return (
        found.filter(chosen)
        .with_columns(moment)
        .rename({"id": "message"})
        .select("message", *names)
    )


def settle_message(engine: Engine, message_id: str, action: str, reason: str = "") -> str:
    """What a person says of a message: that it arrived (``send``), is sent once more (``again``)
    or not any more (``withdraw``); what was done, in words.

    Raises
    ------
    UnknownMessage
        There is none with this id.
    NotReady
        It is in a state in which nothing is to be said.
    NotPermitted
        Only an issuer of the facilities that it tells of does this.
    """
    with writing(engine) as connection:
        row = messages.read_message(connection, message_id)
        for facility in messages.facilities_of(connection, message_id):
            require(connection, facility, ISSUER)
        if row["state"] == _led_to(action):
            return f"message {message_id} is {row['state']} already, nothing changed"
        why = f"{_SAID[action]}: {reason}" if reason else _SAID[action]
        state = messages.move_message(connection, message_id, action, why)
    after_that = "; 'billing deliver' sends it" if state == WAITING else ""
    return f"message {message_id} to {row['recipient']} is {state}{after_that}"


def deliveries(connection: Connection, numbers: list[str]) -> pl.DataFrame:
    """What became of the messages on these invoices, withdrawn ones left out: ``number``,
    ``recipient``, ``state``, ``attempts``, ``said``, ``message``."""
    told = messages.standing(messages.read_told(connection, kind=INVOICE, keys=numbers))
    found = messages.read_messages(connection, ids=told["message"].unique().to_list())
    return (
        told.select("message", number="key")
        .join(found.rename({"id": "message"}), on="message", maintain_order="left")
        .select("number", "recipient", "state", "attempts", "said", "message")
    )


def _led_to(action: str) -> str:
    return {"send": SENT, "again": WAITING, "withdraw": CANCELLED}[action]
