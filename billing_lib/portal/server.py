"""Voilà as the portal's server, with JupyterHub's login.

    /user/ada/oauth_callback     the Hub's handler, under the portal's base URL
    /user/ada/                   redirected to the listing, the first page

The Hub names the user and admits only the portal's owner. JupyterHub's classes expect Jupyter
Server, which puts its base URL before their handlers; Voilà does not, so ``HubIdentity`` does.
"""

from typing import Any

from jupyter_server.utils import url_path_join
from jupyterhub.singleuser.extension import JupyterHubAuthorizer, JupyterHubIdentityProvider
from tornado.web import RedirectHandler
from traitlets import Unicode
from voila.app import Voila

from billing_lib.errors import InvalidSettings


class HubIdentity(JupyterHubIdentityProvider):
    """Identifies the user by the Hub's cookie; nobody in another user's portal."""

    token = Unicode("")
    """No token of Voilà's own: the Hub's login replaces it."""

    def get_handlers(self) -> list[Any]:
        """The Hub's callback and logout, under the portal's base URL."""
        base = self.parent.base_url
        return [
            (url_path_join(base, handler[0]), *handler[1:]) for handler in super().get_handlers()
        ]


class HubAuthorizer(JupyterHubAuthorizer):
    """Admits the users whom the Hub admits."""


class Portal(Voila):
    """Voilà with the listing as its first page instead of a list of files."""

    def init_settings(self) -> dict[str, Any]:
        """Voilà's settings; InvalidSettings if options had it let in everybody."""
        settings: dict[str, Any] = super().init_settings()
        if not self.identity_provider.auth_enabled:
            raise InvalidSettings("the portal needs its token", remedy="leave out the option")
        return settings

    def init_handlers(self) -> list[Any]:
        """The redirect from the portal's address to the listing, then Voilà's handlers."""
        first = url_path_join(self.base_url, "voila/render/listing.ipynb")
        redirect = (self.server_url, RedirectHandler, {"url": first, "permanent": False})
        return [redirect, *super().init_handlers()]
