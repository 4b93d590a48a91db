"""Internal billing for core facilities, reproducible to the cent.

The public names, enough to bill a month in a notebook of one's own (docs/library.md has an example
of each, docs/tutorial.ipynb a whole month):

    site = open_site("core-facility")
    site.load(["usage.csv"])
    site.rate("2025-09")
    site.charges("2025-09", project="cells")      a polars frame
    site.adjust("MIC/2", {"quantity": "10"}, "two slides were broken")
    site.sign_off("2025-09")
    issued = site.issue("2025-09", date="2025-10-02")
    verify(issued.record), reproduce(issued.record)

The command line and the notebooks' panels use the same functions. Importing billing_lib is quick:
polars, SQLAlchemy and the other libraries are imported when a function is called.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date as Date  # noqa: N812
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from billing_lib.errors import BillingError, InvalidFilter, NoSite
from billing_lib.workflow.steps import Progress, unheard

if TYPE_CHECKING:
    import polars as pl
    from sqlalchemy import Engine

    from billing_lib.audit.reproduce import Reproduction, reproduce
    from billing_lib.audit.verify import Verification, verify
    from billing_lib.batch.issuing import IssuingResult
    from billing_lib.pricing.pricebook import PriceBook
    from billing_lib.settings import Settings
    from billing_lib.workflow.correct import TakenBack
    from billing_lib.workflow.load import Loaded
    from billing_lib.workflow.rate import RatedPeriod

    __version__: str

__all__ = [
    "BillingError",
    "IssuingResult",
    "Loaded",
    "RatedPeriod",
    "Reproduction",
    "Site",
    "Verification",
    "__version__",
    "open_site",
    "quote",
    "reproduce",
    "verify",
]

_LATE = {
    "Verification": "audit.verify",
    "IssuingResult": "batch.issuing",
    "Loaded": "workflow.load",
    "RatedPeriod": "workflow.rate",
    "Reproduction": "audit.reproduce",
    "reproduce": "audit.reproduce",
    "verify": "audit.verify",
}
"""The modules of the names that are imported at their first use."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from billing_lib.program import version

        value: Any = version()
    elif name in _LATE:
        value = getattr(import_module(f"billing_lib.{_LATE[name]}"), name)
    else:
        raise AttributeError(f"module 'billing_lib' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


@dataclass(frozen=True)
class Site:
    """An institution's ledger, price books and archive; ``open_site`` opens one.

    ``facility`` may be left out if the site has one price book. A month is ``YYYY-MM``. Amounts and
    quantities in frames are decimals. Every method checks the user's roles, and writes either all
    of its changes or none.

    Attributes
    ----------
    engine
        The ledger.
    settings
        The site's settings (docs/settings.md).
    """

    engine: "Engine"
    settings: "Settings"

    def book(self, facility: str | None = None) -> "PriceBook":
        """Read the facility's price book.

        Raises
        ------
        UnknownFacility
            The facility has no price book.
        InvalidFilter
            No facility is named, and the site has not exactly one price book.
        """
        from billing_lib.workflow.load import read_price_book, read_price_books

        if facility is not None:
            return read_price_book(self.settings.parameters, facility)
        books = read_price_books(self.settings.parameters)
        if len(books) != 1:
            named = f": {', '.join(books)}" if books else ""
            raise InvalidFilter(
                f"there are {len(books)} price books here{named}",
                where=str(self.settings.parameters),
                remedy="name the facility" if books else "add a price book",
            )
        return next(iter(books.values()))

    def load(
        self,
        files: Sequence[str | Path],
        facility: str | None = None,
        step: Progress = unheard,
        *,
        preview: bool = False,
    ) -> "list[Loaded]":
        """Load usage files, all or none; loading a file again changes nothing.

        Usage that stands otherwise in a later file is corrected, and its pending charge with it.
        With ``preview`` the ledger stays as it is.
        """
        from billing_lib.workflow.load import load_files

        paths = [Path(file) for file in files]
        keep = self.settings.usage_files
        return load_files(self.engine, self.book(facility), paths, step, preview=preview, keep=keep)

    def unload(
        self,
        file: str | Path,
        reason: str = "",
        facility: str | None = None,
        *,
        preview: bool = False,
    ) -> "TakenBack":
        """Take back the records that stand as a loaded file states them, unless they are billed."""
        from billing_lib.workflow.correct import unload

        return unload(self.engine, self.book(facility), str(file), reason, preview=preview)

    def rate(
        self, month: str, facility: str | None = None, *, again: bool = False
    ) -> "RatedPeriod":
        """Turn a month's usage into charges.

        Pending charges keep their rates, and the month its rules; ``again`` takes today's rules.
        """
        from billing_lib.pricing.clock import Period
        from billing_lib.workflow.rate import rate_period

        return rate_period(self.engine, self.book(facility), Period.parse(month), again=again)

    def charges(self, month: str, facility: str | None = None, **filters: object) -> "pl.DataFrame":
        """The charges of a month, sorted by project and date.

        ``filters`` are ``project``, ``team``, ``user``, ``item``, ``states``, ``text``,
        ``total_from`` and the other fields of a Filter (workflow/search.py).
        """
        from billing_lib.workflow.search import find_charges

        return find_charges(self.engine, *self._filter(month, facility, filters)).decimals()

    def invoices(
        self, month: str, facility: str | None = None, **filters: object
    ) -> "pl.DataFrame":
        """The invoices of a month, drafts included, by number; filters as for ``charges``."""
        from billing_lib.workflow.search import find_invoices

        return find_invoices(self.engine, *self._filter(month, facility, filters)).decimals()

    def _filter(self, month: str, facility: str | None, filters: Mapping[str, object]) -> Any:
        from billing_lib.workflow.search import Filter

        book = self.book(facility)
        code = book.facility.code
        stated = {"facility": code, "period_from": month, "period_to": month}
        return Filter.parse(stated | dict(filters)), {code: book}

    def unbilled(self, month: str, facility: str | None = None) -> "pl.DataFrame":
        """The usage of a month that is not billed, each record with its reason."""
        from billing_lib.pricing.clock import Period
        from billing_lib.workflow.rate import read_unbilled

        code = self.book(facility).facility.code
        return read_unbilled(self.engine, code, str(Period.parse(month)))

    def findings(
        self, month: str, facility: str | None = None, step: Progress = unheard
    ) -> "pl.DataFrame":
        """The findings of the checks of a month (docs/checks.md), the worst first."""
        from billing_lib.pricing.charge import as_decimals
        from billing_lib.pricing.money import minor_places
        from billing_lib.workflow.review import find_discrepancies

        book = self.book(facility)
        reviewed = find_discrepancies(self.engine, book, month, step)
        return as_decimals(reviewed.findings, minor_places(book.facility.currency))

    def explain(self, charge: str) -> list[str]:
        """The steps from usage to the total of a charge, ``FACILITY/CODE``, as sentences."""
        from billing_lib.workflow.adjust import split_code
        from billing_lib.workflow.review import explain

        return explain(self.engine, self.book(split_code(charge)[0]), charge)

    def adjust(self, charge: str, changes: Mapping[str, object], reason: str) -> list[str]:
        """Change a pending charge, ``FACILITY/CODE``, and return the changes as sentences.

        Parameters
        ----------
        changes
            Values by field: ``quantity``, ``rate``, ``amount``, ``expense_code``, ``split``,
            ``project``, ``waived`` or ``note``.
        reason
            Recorded with the change.
        """
        from billing_lib.workflow.adjust import adjust_charge, split_code

        book = self.book(split_code(charge)[0])
        return adjust_charge(self.engine, book, charge, changes, reason)

    def sign_off(self, month: str, comment: str = "", facility: str | None = None) -> str:
        """Sign a month off for issuing as it stands; a later change needs a new sign-off."""
        from billing_lib.pricing.clock import Period
        from billing_lib.workflow.runs import sign_off

        return sign_off(self.engine, self.book(facility), str(Period.parse(month)), comment)

    def issue(
        self,
        month: str,
        facility: str | None = None,
        *,
        date: str | Date | None = None,
        allow_dirty: bool = False,
        step: Progress = unheard,
    ) -> "IssuingResult":
        """Issue a month's invoices: freeze, compute by papermill, archive, number.

        Parameters
        ----------
        date
            The invoice date; by default today.
        allow_dirty
            Issue although the program differs from its commit; the record holds the difference.
        """
        from billing_lib.batch.issuing import IssuingTerms, issue_month
        from billing_lib.pricing.clock import Period

        terms = IssuingTerms(None if date is None else str(date), allow_dirty)
        book, period = self.book(facility), Period.parse(month)
        return issue_month(self.engine, self.settings, book, period, terms=terms, step=step)

    def record(self, number: str) -> Path:
        """The audit record of an invoice."""
        from billing_lib.audit.archive import find_record

        return find_record(number, self.settings.runs, self.engine)

    def verify(self, record: str | Path) -> "Verification":
        """Check a record against its seal and the ledger; ``findings`` are its faults.

        ``record`` is an invoice's number or a record's folder.
        """
        from billing_lib.audit.known import known_by
        from billing_lib.audit.verify import verify

        return verify(self.record(str(record)), known_by(self.engine))

    def reproduce(
        self,
        record: str | Path,
        step: Progress = unheard,
        *,
        accept_changes: bool = False,
        unsandboxed: bool = False,
    ) -> "Reproduction":
        """Run a record, named as for ``verify``, again and compare every result.

        Parameters
        ----------
        accept_changes
            Run a record that was issued from changed files.
        unsandboxed
            Run without a sandbox where none is there.
        """
        from billing_lib.audit.known import known_by
        from billing_lib.audit.reproduce import reproduce

        return reproduce(
            self.record(str(record)),
            known=known_by(self.engine),
            accept_changes=accept_changes,
            unsandboxed=unsandboxed,
            step=step,
        )


def open_site(folder: str | Path | None = None, *, new: bool = False) -> Site:
    """Open a site.

    Parameters
    ----------
    folder
        The site's folder; by default ``BILLING_SITE``, else the nearest site from the working
        folder upward.
    new
        Make the folder a site first, unless it is one, and set up its ledger.

    Raises
    ------
    NoSite
        The folder is no site, or no site was found.
    NotReady, UnreachableLedger
        The ledger is not set up, or cannot be reached.
    """
    from billing_lib.ledger.database import initialise, open_ledger, require_initialised
    from billing_lib.settings import SITE_FILE, anywhere, settings
    from billing_lib.workflow.site import make_site

    if folder is None and not new:
        current = settings()
    else:
        place = Path(folder or ".")
        if new and not (place / SITE_FILE).is_file():
            make_site(place)
        if not (place / SITE_FILE).is_file():
            raise NoSite(
                f"this folder is no site: it has no {SITE_FILE}",
                where=str(place),
                remedy=f"make it one by 'billing init {place}' or open_site(…, new=True)",
            )
        current = anywhere(place)
    if current.shared:
        os.umask(os.umask(0) & ~0o070)  # what is made here, the group may change
    engine = open_ledger(current.database)
    if new:
        initialise(engine)
    require_initialised(engine)
    return Site(engine, current)


def quote(scenario: str | Path) -> dict[str, dict[str, Any]]:
    """Price a scenario, a YAML file (docs/scenario-format.md), without a database.

    Returns ``charges``, ``splits``, ``invoices``, ``statements`` and ``unbilled``, each by code,
    with money as decimal text.
    """
    from billing_lib.pricing.scenario import quote
    from billing_lib.workflow.load import read_scenario

    return quote(read_scenario(Path(scenario)))
