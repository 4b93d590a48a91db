"""An invoice as one HTML page that needs nothing else: no script, font or network, and its pictures
are in it.

The page is a Jinja2 template over the view with autoescape on, so a note such as
``<script>alert(1)</script>`` is read, not run; a content security policy in the page says the
same to the browser. It prints on paper as it reads on screen.
"""

from base64 import b64encode
from dataclasses import asdict
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from billing_lib.documents.text import Invoice
from billing_lib.documents.view import view
from billing_lib.pricing.logo import Logo


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("billing_lib.documents"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("invoice.html.j2")


def render_html(invoice: Invoice) -> str:
    """The invoice as a self-contained HTML5 page, UTF-8.

    The same invoice gives the same text, whatever the clock, the locale or the time zone.
    """
    return _template().render(page=page_of(invoice))


def page_of(invoice: Invoice) -> dict[str, Any]:
    """What the page shows, as values of JSON: the view, and the logo as an address (``data:``)."""
    shown = view(invoice)
    return asdict(shown) | {"logo": _address(shown.logo) if shown.logo else ""}


def _address(logo: Logo) -> str:
    """The logo within the page; a browser runs no script of a picture and loads nothing for it."""
    kind = {"png": "image/png", "svg": "image/svg+xml"}[logo.suffix]
    return f"data:{kind};base64,{b64encode(logo.content).decode()}"
