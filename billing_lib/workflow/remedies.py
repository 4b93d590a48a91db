"""From a finding to its remedy: which charges to change, and what to propose.

    remedy(finding)   Remedy(("RC/u8",), "waived", "yes", "duplicates: slide")

This is the hand-over from review to whatever changes charges: the charges and the change that
workflow/bulk.py takes, as panels/change_charges.py opens with them. Nothing is changed before
staff have seen what it does and say so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Remedy:
    """A change that is proposed.

    Attributes
    ----------
    charges
        The charges to change, ``RC/57``.
    field, value
        What to set (pricing/adjusting.py); None where staff must say.
    reason
        Why, as it would be kept.
    """

    charges: tuple[str, ...]
    field: str | None = None
    value: str | None = None
    reason: str = ""


def remedy(finding: Mapping[str, Any]) -> Remedy | None:
    """The change that a finding (a row of schema FOUND) proposes; None where it is about no
    charge, so that usage, price book or rating must be seen to."""
    if not finding["to_change"]:
        return None
    return Remedy(
        tuple(finding["to_change"]),
        finding["field"],
        finding["value"],
        f"{finding['check']}: {finding['subject']}",
    )
