"""What the parts of a panel share: a facility's month, and word of what another part changed."""

from collections.abc import Callable

from billing_lib.panels.office import Office
from billing_lib.pricing.money import minor_places
from billing_lib.pricing.period import Period
from billing_lib.pricing.pricebook import PriceBook


class Desk:
    """A facility's month in an office.

    Raises
    ------
    UnknownFacility, InvalidPeriod
        There is none.
    """

    def __init__(self, facility: str, period: str, office: Office | None = None) -> None:
        self.office = office or Office.open()
        self.engine = self.office.engine
        self.facility = facility
        self.month = Period.parse(period)
        self.period = str(self.month)
        self.currency = self.book.facility.currency
        self.places = minor_places(self.currency)
        self._told: list[Callable[[], None]] = []

    @property
    def book(self) -> PriceBook:
        """The facility's price book as it is at this moment."""
        return self.office.book(self.facility)

    def on_change(self, refresh: Callable[[], None]) -> None:
        """Have this called whenever a part has changed the month."""
        self._told.append(refresh)

    def changed(self) -> None:
        """Tell every part that the month has changed."""
        for refresh in self._told:
            refresh()

    def projects(self) -> list[tuple[str, str]]:
        """The price book's projects, as shown and as named."""
        return [(_shown(it.code, it.name, it.team), it.code) for it in self.book.projects]

    def expense_codes(self) -> list[str]:
        """The expense codes that the price book knows: listed, or in a project's split."""
        allowed = self.book.facility.expense_codes
        listed = () if allowed is None else allowed.codes or ()
        used = {
            share.expense_code
            for project in self.book.projects
            for dated in project.dated_splits()
            for share in dated.split
        }
        return sorted({*used, *(known.code for known in listed)})


def _shown(code: str, name: str | None, team: str) -> str:
    return f"{code} · {name} ({team})" if name else f"{code} ({team})"
