"""The mistakes and refusals that a user can act on, each as one sentence.

    raise UnreadableFile("the column 'end' is missing", where="usage.csv, row 1",
                         remedy="add it or map another column in the price book's sources")
    usage.csv, row 1: the column 'end' is missing; add it or map another column in …

The sentence names the place, the mistake and the remedy. The command line prints it and exits with
status 2; a panel shows it; no change is written in part. Any other exception is a defect of the
program and keeps its traceback.
"""


def count_of(number: int, noun: str) -> str:
    """A number and its noun for a sentence: ``1 record``, ``1,200 copies``."""
    several = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else several}"


class BillingError(Exception):
    """A mistake or refusal as one sentence.

    Parameters
    ----------
    what
        The mistake, without a capital letter or a full stop.
    where
        The place, as far as known: file, row, column or key.
    remedy
        The action that corrects it.
    """

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        super().__init__(what)

    def __str__(self) -> str:
        sentence = f"{self.where}: {self.what}" if self.where else self.what
        return f"{sentence}; {self.remedy}" if self.remedy else sentence


class InvalidPriceBook(BillingError):
    """A price book or scenario has an invalid entry."""


class InvalidPeriod(BillingError):
    """A period is not a month YYYY-MM or is not over yet."""


class UnreadableFile(BillingError):
    """A usage file is missing or empty, or has an unknown format or a wrong header."""


class UnwritableFile(BillingError):
    """A file cannot be written: the folder is read-only or the disk is full."""


class InvalidTemplate(BillingError):
    """A facility's template is missing, has a mistake or asks for something not allowed."""


class UnknownFacility(BillingError):
    """No price book has this facility's code."""


class UnknownTeam(BillingError):
    """No price book has this team."""


class UnknownCharge(BillingError):
    """No charge has this code."""


class UnknownRun(BillingError):
    """No billing run has this id."""


class UnknownInvoice(BillingError):
    """No invoice or record has this number."""


class UnknownJournal(BillingError):
    """A facility has no journal with this number, or a journal has no such format."""


class UnknownStatement(BillingError):
    """No statement has this id, or no team has this code."""


class UnknownExport(BillingError):
    """No package or template output has this id, or its file is missing from the store."""


class InvalidAdjustment(BillingError):
    """An adjustment names an unknown field or an invalid value, or has no reason."""


class InvalidFilter(BillingError):
    """A search names an unknown state, an invalid amount or a page that does not exist."""


class InvalidPermission(BillingError):
    """A grant or revocation names an invalid role, login or team."""


class NotPermitted(BillingError):
    """The login has no role that allows the action."""


class NotReady(BillingError):
    """The state of a charge, invoice, run or month does not allow the action."""


class ChangedMeanwhile(BillingError):
    """Another user changed the charges between the preview and the change."""


class AlreadyIssued(BillingError):
    """The selected invoices are issued already."""


class IssuingElsewhere(BillingError):
    """Another process is issuing for this facility."""


class SendingElsewhere(BillingError):
    """Another process is sending mail."""


class UnusableMailServer(BillingError):
    """The mail server is not set, not reachable, or refuses the sender."""


class InvalidAddress(BillingError):
    """A text is not an e-mail address."""


class UnknownMessage(BillingError):
    """The outbox has no message with this id, or a bounce report names none."""


class InvalidSettings(BillingError):
    """A setting has an invalid value, or a site's file of settings cannot be read."""


class NoSite(BillingError):
    """No folder from the working folder upward is a site."""


class MissingExtra(BillingError):
    """A command needs packages of an extra that is not installed."""


class DirtyTree(BillingError):
    """The program's files differ from the commit that the record would name."""


class RunFailed(BillingError):
    """The issuing notebook or the archiving failed; nothing was issued."""


class InvalidRecord(BillingError):
    """A folder is not an audit record, or cannot be reproduced here."""


class UnreachableLedger(BillingError):
    """The database's URL is invalid, or the database cannot be reached or written."""


class UnreachableFolder(BillingError):
    """The archive or the store is elsewhere and cannot be reached, read or written."""


class UnknownFormat(BillingError):
    """No document is written in this format."""


class AmbiguousFormat(BillingError):
    """Two installed packages write documents, or read usage files, of the same kind."""
