"""From a finding to its remedy: which charges to change, and what to propose.

    remedy(finding)   Remedy(Selection(charges=("RC/u8",)), "waived", "yes", "duplicates: …")

This is the hand-over from review to whatever changes charges: the selection and changes that
workflow/bulk.py takes. A panel opens its form with them; nothing is changed before staff say so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from billing_lib.workflow.bulk import Selection


@dataclass(frozen=True)
class Remedy:
    """A change that is proposed.

    Attributes
    ----------
    selection
        The charges to change; those that cannot change any more are left out when it is made.
    field, value
        What to set (pricing/adjusting.py); None where staff must say.
    reason
        Why, as it would be kept.
    """

    selection: Selection
    field: str | None = None
    value: str | None = None
    reason: str = ""


def remedy(finding: Mapping[str, Any]) -> Remedy | None:
    """The change that a finding (a row of schema FOUND) proposes; None where it is about no
    charge, so that usage, price book or rating must be seen to."""
    if not finding["to_change"]:
        return None
    return Remedy(
        Selection(charges=tuple(finding["to_change"])),
        finding["field"],
        finding["value"],
        f"{finding['check']}: {finding['subject']}",
    )
