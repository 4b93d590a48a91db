"""Events: every action with login, time and reason; append-only and chained by hashes.

    7  adjust  charge 57  carol  2020-05-01T13:00:00.000000Z  two broke
       before {"quantity":"12"}  after {"quantity":"10"}
       previous_hash 3f…  hash 9c…

The hash of an event is the sha256 (hex) of its rendering: the fields in the order of FIELDS, each
as ``<length in UTF-8 bytes>:<text>,`` and a null as ``-,``; the instant in UTC with six places,
the sequence in decimal. So ``RC`` is ``2:RC,`` and no text can move between fields. The first
event of a facility follows sixty-four zeros. PostgreSQL computes the hash in a trigger and sets
sequence, login and time itself; for SQLite this module does.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import polars as pl
from sqlalchemy import Connection, func, insert, select

from billing_lib.ledger import frames
from billing_lib.ledger.database import stamp
from billing_lib.ledger.frames import frame_schema, instant_text
from billing_lib.ledger.schema import event

FIELDS = (
    "facility",
    "sequence",
    "kind",
    "subject",
    "team",
    "group_id",
    "login",
    "at",
    "reason",
    "before",
    "after",
    "previous_hash",
)
"""The fields that the hash covers, in this order."""

BEGINNING = "0" * 64
"""The previous hash of a facility's first event."""

EVENT = frame_schema(event.columns)


def record_event(
    connection: Connection,
    facility: str,
    kind: str,
    subject: str,
    reason: str,
    before: str | None = None,
    after: str | None = None,
    *,
    group: str | None = None,
    team: str | None = None,
) -> int:
    """Append an event to the facility's chain; its sequence number.

    ``kind`` is the action (``adjust``), ``subject`` its object (a charge's code, a run's id).
    ``before`` and ``after`` are JSON text. Events of one ``group`` are undone together.
    """
    values: dict[str, Any] = {
        "facility": facility,
        "kind": kind,
        "subject": subject,
        "team": team,
        "group_id": group,
        "reason": reason,
        "before": before,
        "after": after,
    }
    if connection.dialect.name != "postgresql":
        values |= stamp(connection, who="login", when="at") | _link(connection, facility)
        values["hash"] = event_hash(values)
    added = insert(event).values(values).returning(event.c.sequence)
    return int(connection.scalars(added).one())


def record_events(connection: Connection, facility: str, told: Sequence[Mapping[str, Any]]) -> None:
    """Append many events at once, in this order.

    Each has ``kind``, ``subject``, ``team``, ``group_id``, ``reason``, ``before``, ``after``.
    """
    rows: list[dict[str, Any]] = [{"facility": facility, **values} for values in told]
    if not rows:
        return
    if connection.dialect.name != "postgresql":
        who, link = stamp(connection, who="login", when="at"), _link(connection, facility)
        for row in rows:
            row.update(who | link)
            row["hash"] = event_hash(row)
            link = {"sequence": row["sequence"] + 1, "previous_hash": row["hash"]}
    connection.execute(insert(event), rows)


TOLD = "billing.told"
"""The setting by which PostgreSQL's triggers learn the reasons of the events that they write."""


@contextmanager
def recorded(connection: Connection, told: Sequence[Mapping[str, Any]]) -> Iterator[None]:
    """Record events of the writes inside; PostgreSQL's triggers write them (acts.py).

    Each has ``facility``, ``kind``, ``subject``, ``team``, ``group_id``, ``reason``, ``before``,
    ``after``. Of these the triggers take group, reason and the values after; the rest they know.
    """
    if connection.dialect.name == "postgresql":
        named = {
            row["subject"]: {name: row[name] for name in ("group_id", "reason", "after")}
            for row in told
        }
        connection.execute(select(func.set_config(TOLD, json.dumps(named), True)))
        yield
        connection.execute(select(func.set_config(TOLD, "", True)))
        return
    yield
    for facility in dict.fromkeys(row["facility"] for row in told):
        record_events(connection, facility, [row for row in told if row["facility"] == facility])


def last_sequence(connection: Connection, facility: str) -> int:
    """The number of the facility's last event; 0 before its first."""
    last = select(func.max(event.c.sequence)).where(event.c.facility == facility)
    return connection.scalar(last) or 0


_MANY = 10_000


def read_events(
    connection: Connection,
    facility: str,
    *,
    kinds: list[str] | None = None,
    subjects: pl.Series | list[str] | None = None,
    groups: pl.Series | list[str] | None = None,
    after: int = 0,
) -> pl.DataFrame:
    """A facility's events (schema EVENT) after the number ``after``, in sequence."""
    statement = select(event).where(event.c.facility == facility, event.c.sequence > after)
    # Of so many subjects few have events, which is quicker to find out here.
    apart = kinds is not None and subjects is not None and len(subjects) > _MANY
    asked = (("kind", kinds), ("subject", None if apart else subjects), ("group_id", groups))
    for column, wanted in asked:
        if wanted is not None:
            listed = frames.listed(connection, wanted)
            statement = statement.where(event.c[column].in_(select(listed.c.value)))
    found = frames.read_frame(connection, statement, EVENT)
    if apart:
        found = found.join(pl.DataFrame({"subject": subjects}), on="subject", how="semi")
    return found.sort("sequence")


def read_events_since(connection: Connection, facility: str, since: datetime) -> pl.DataFrame:
    """A facility's events (schema EVENT) from the first one at or after an instant, in sequence."""
    first = select(func.min(event.c.sequence)).where(
        event.c.facility == facility, event.c.at >= since
    )
    number = connection.scalar(first)
    last = last_sequence(connection, facility) if number is None else number - 1
    return read_events(connection, facility, after=last)


def check_chain(
    connection: Connection, facility: str, *, after: int = 0, times: bool = True
) -> list[str]:
    """Recompute a facility's chain: one sentence per break, none if it is whole.

    With ``after`` only from that event on. Without its last events a chain is still whole: compare
    its last hash with a copy elsewhere.
    """
    before = max(0, after - 1)
    events = read_events(connection, facility, after=before)
    return chain_breaks(events, before, None if after else BEGINNING, times=times)


def check_chains(connection: Connection) -> dict[str, list[str]]:
    """Recompute every facility's chain: the sentences on its breaks, by facility."""
    codes = connection.scalars(select(event.c.facility).distinct().order_by(event.c.facility))
    return {code: check_chain(connection, code) for code in list(codes)}


def chain_breaks(
    events: pl.DataFrame,
    sequence: int | None = None,
    previous: str | None = None,
    *,
    times: bool = True,
) -> list[str]:
    """The breaks of a chain or of a segment of it, a sentence each.

    ``events`` (schema EVENT) follow the event of this number and hash; by default they are a
    segment, which begins with whatever event its first one says. ``times`` are checked for running
    backwards, which a clock that is set back makes them do too.
    """
    found: list[str] = []
    moment = None
    for row in events.iter_rows(named=True):
        place = f"{row['facility']}, event {row['sequence']}"
        sequence = (row["sequence"] - 1 if sequence is None else sequence) + 1
        if row["sequence"] != sequence:
            found.append(f"{place}: event {sequence} is missing before it")
            sequence = row["sequence"]
        if previous is not None and row["previous_hash"] != previous:
            found.append(f"{place}: it does not follow from the event before it")
        if row["hash"] != event_hash(row):
            found.append(f"{place}: its content is not what was recorded")
        if times and moment is not None and row["at"] < moment:
            found.append(f"{place}: its time is before that of the event before it")
        previous, moment = row["hash"], row["at"]
    return found


def chain_head(connection: Connection, facility: str) -> tuple[int, str]:
    """The number and the hash of a facility's last event, for a copy elsewhere."""
    head = _link(connection, facility)
    return int(str(head["sequence"])) - 1, str(head["previous_hash"])


def event_hash(fields: Mapping[str, Any]) -> str:
    """The sha256, in hex, of an event's rendering (see the head of this module)."""
    rendering = "".join(_rendered(fields[name]) for name in FIELDS)
    return hashlib.sha256(rendering.encode()).hexdigest()


def _rendered(value: object) -> str:
    if value is None:
        return "-,"
    text = instant_text(value) if isinstance(value, datetime) else str(value)
    return f"{len(text.encode())}:{text},"


def _link(connection: Connection, facility: str) -> dict[str, object]:
    statement = (
        select(event.c.sequence, event.c.hash)
        .where(event.c.facility == facility)
        .order_by(event.c.sequence.desc())
        .limit(1)
    )
    last = connection.execute(statement).one_or_none()
    if last is None:
        return {"sequence": 1, "previous_hash": BEGINNING}
    return {"sequence": last.sequence + 1, "previous_hash": last.hash}
