"""What staff changed, in words: the trail of a month with who, when and why.

RC/4   quantity   388.5   194.25   carol   1993-11-02 …   half of the nodes failed
"""

import json
from collections.abc import Iterator

import polars as pl
from IPython.display import HTML

from billing_lib.documents.text import value_of
from billing_lib.panels.tables import table

_COLUMNS = ("charge", "what", "before", "after", "by", "at", "reason")


def changes_table(changes: pl.DataFrame, caption: str = "Changes by staff") -> HTML:
    """Changes (``Month.changes``, or the history of a charge), one row per field changed."""
    rows = [row for change in changes.iter_rows() for row in _fields(*change)]
    schema = dict.fromkeys(_COLUMNS, pl.String)
    return table(pl.DataFrame(rows, schema=schema, orient="row"), caption)


def _fields(
    charge: str, what: str, before: str | None, after: str | None, by: str, at: str, reason: str
) -> Iterator[tuple[str | None, ...]]:
    was, now = json.loads(before or "{}"), json.loads(after or "{}")
    if what == "adjust":
        for field in now:
            values = (value_of(field, was[field]), value_of(field, now[field]))
            yield charge, field.replace("_", " "), *values, by, at, reason
    else:
        said = {"add_line": "line added", "delete": "deleted", "undo": "group undone"}[what]
        yield charge, said, _listed(was), _listed(now), by, at, reason


def _listed(values: dict[str, str | None]) -> str:
    return ", ".join(str(value) for value in values.values() if value is not None)
