"""What a user can get wrong, each as one sentence: what, where, what to do.

Every class here is a mistake or a refusal that a person can act on. The command line prints
the sentence and exits with 2; a panel shows it; nothing is half written. A defect of ours is
any other exception, and keeps its traceback.

    raise WrongHeader("the column 'end' is missing", where="usage.csv, row 1",
                      remedy="add it or map another column in the price book's sources")
    usage.csv, row 1: the column 'end' is missing; add it or map another column in …
"""


class BillingError(Exception):
    """A mistake or refusal, said in one sentence.

    Parameters
    ----------
    what
        What is wrong, without a capital or a full stop.
    where
        The place: file, row, column or key, as far as known.
    remedy
        What to do about it.
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
    """A price book or scenario says something that cannot be billed by."""


class InvalidPeriod(BillingError):
    """A period is not a month YYYY-MM, or is not over yet."""


class UnreadableFile(BillingError):
    """A usage file is missing, empty, of an unknown format or has a wrong header."""


class UnwritableFile(BillingError):
    """A file cannot be written: the folder may not be written, the disk is full."""


class ChangedRecord(BillingError):
    """A usage record comes again with the same id and other content."""


class InvalidTemplate(BillingError):
    """A facility's template is not there, has a mistake, or asks for what it may not have."""


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
    """A facility has no journal with this number, or a journal no such format."""


class UnknownStatement(BillingError):
    """No statement has this id, or no team this code."""


class UnknownExport(BillingError):
    """No package and no transformation has this id, or its file is gone from the store."""


class InvalidAdjustment(BillingError):
    """An adjustment names a field that does not exist or a value that cannot be."""


class InvalidFilter(BillingError):
    """What is looked for cannot be: a state, an amount, a page that there is not."""


class InvalidPermission(BillingError):
    """A grant or revocation names a role, login or team that cannot be."""


class NotPermitted(BillingError):
    """The login has no role in which this may be done."""


class NotReady(BillingError):
    """The ledger is not in a state in which this can be done."""


class ChangedMeanwhile(BillingError):
    """Another has changed what was shown, before it was said to be done."""


class AlreadyIssued(BillingError):
    """What is to be issued has been issued before."""


class IssuingElsewhere(BillingError):
    """Another process is issuing for this facility at this moment."""


class SendingElsewhere(BillingError):
    """Another process is sending mail at this moment."""


class UnusableMailServer(BillingError):
    """The mail server is not told in the settings, out of reach, or refuses who is sending."""


class InvalidAddress(BillingError):
    """A text is not an e-mail address."""


class UnknownMessage(BillingError):
    """No message in the outbox has this id, or a report names none."""


class InvalidSettings(BillingError):
    """A setting has a value that cannot be, or a site's file of settings cannot be read."""


class NoSite(BillingError):
    """No folder from the working folder upward is a site."""


class MissingExtra(BillingError):
    """A command needs packages of an extra that is not installed."""


class DirtyTree(BillingError):
    """The program's own files differ from the commit that a record would name."""


class RunFailed(BillingError):
    """The issuing notebook or the archiving failed; nothing was issued."""


class InvalidRecord(BillingError):
    """A folder is not an audit record, or cannot be run again here."""


class UnreachableLedger(BillingError):
    """The database's URL cannot be read, or the database cannot be reached or written."""


class UnknownFormat(BillingError):
    """A document is not written in this format."""


class AmbiguousFormat(BillingError):
    """Two installed packages write documents, or read usage files, of the same kind."""
