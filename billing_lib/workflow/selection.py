"""What a billing run is of: a whole month, some projects or teams of it, one invoice.

''                             the whole month
projects: u4, u22              only these
teams: bio
reference: PO-12               an ad hoc invoice by itself
reissue: RC-1994-00007         what replaces an issued invoice
"""

from dataclasses import dataclass
from typing import Self

import polars as pl


@dataclass(frozen=True)
class RunSelection:
    """What of a month a run is of; nothing stated is all of it."""

    projects: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    reference: str | None = None
    reissue: str | None = None

    @property
    def text(self) -> str:
        """As the ledger keeps it."""
        if self.projects:
            return "projects: " + ", ".join(sorted(self.projects))
        if self.teams:
            return "teams: " + ", ".join(sorted(self.teams))
        if self.reference is not None:
            return f"reference: {self.reference}"
        return "" if self.reissue is None else f"reissue: {self.reissue}"

    @property
    def words(self) -> str:
        """As people read it: ``project u4``, ``teams bio, chem``."""
        kind, _, codes = self.text.partition(": ")
        return f"{kind.removesuffix('s') if ', ' not in codes else kind} {codes}".strip()

    @classmethod
    def parse(cls, text: str) -> Self:
        """From what the ledger keeps."""
        kind, _, rest = text.partition(": ")
        codes = tuple(rest.split(", "))
        return {
            "": cls(),
            "projects": cls(projects=codes),
            "teams": cls(teams=codes),
            "reference": cls(reference=rest),
            "reissue": cls(reissue=rest),
        }[kind]

    @property
    def takes_charges(self) -> bool:
        """Whether charges that are on no invoice yet go on its invoices."""
        return self.reference is None and self.reissue is None

    @property
    def asks_sign_off(self) -> bool:
        """Whether somebody must have said that the month is ready; for a reissue nobody has to."""
        return self.reissue is None

    def of(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Those rows (with ``project``, ``team`` and ``reference``) that are selected."""
        if self.projects:
            return frame.filter(pl.col("project").is_in(self.projects))
        if self.teams:
            return frame.filter(pl.col("team").is_in(self.teams))
        if self.reference is not None:
            return frame.filter(pl.col("reference") == self.reference)
        return frame
