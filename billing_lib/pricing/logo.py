"""The picture over a facility's invoices: the file that its price book names, and what is in it."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Logo:
    """A picture, PNG or SVG.

    Attributes
    ----------
    file
        As the price book has it; once read ``logo.png`` or ``logo.svg``, as a snapshot has it.
    content
        Empty until it is read (workflow/logos.py).
    """

    file: str
    content: bytes = b""

    @property
    def suffix(self) -> str:
        """``png`` or ``svg``."""
        return self.file.rpartition(".")[2].lower()

    @property
    def sha256(self) -> str:
        """By which an invoice names the picture that it was issued with."""
        return hashlib.sha256(self.content).hexdigest()
