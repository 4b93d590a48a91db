"""Who messages are from and where their links lead, as the settings say.

BILLING_SMTP_FROM=billing@example.edu
BILLING_PORTAL_URL=https://billing.example.edu/invoice?number={id}
"""

from urllib.parse import quote, urlsplit

from billing_lib.documents.letter import Link
from billing_lib.errors import InvalidAddress, InvalidSettings
from billing_lib.settings import Settings
from billing_lib.workflow.recipients import Mailbox, parse_mailbox

_PLACE = "{id}"


def sender_of(settings: Settings, name: str) -> Mailbox:
    """Whom messages are from, by this name unless the setting has one.

    Raises
    ------
    InvalidSettings
        The setting is missing, or no address.
    """
    where, remedy = "BILLING_SMTP_FROM", "set it to the address that bounces may go to"
    if settings.smtp_from is None:
        raise InvalidSettings("nobody is named as the sender of mail", where=where, remedy=remedy)
    try:
        stated = parse_mailbox(settings.smtp_from)
    except InvalidAddress as error:
        raise InvalidSettings(error.what, where=where, remedy=remedy) from None
    return stated if stated.name else Mailbox(stated.address, name)


def link_of(settings: Settings) -> Link:
    """The page about an invoice or a statement, by its number or id.

    Raises
    ------
    InvalidSettings
        The setting is no address of a page, or has no place for the number.
    """
    url = settings.portal_url
    if url is None:
        return lambda _: None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or _PLACE not in url:
        raise InvalidSettings(
            f"'{url}' is no address of a page about an invoice",
            where="BILLING_PORTAL_URL",
            remedy=f"write it as https://…/{_PLACE}",
        )
    return lambda key: url.replace(_PLACE, quote(key, safe=""))
