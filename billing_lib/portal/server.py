"""Voilà as the portal's server, and JupyterHub's login for it.

The Hub says who is asking, and lets in whose portal it is. JupyterHub's own classes are made for
Jupyter Server, which puts its base URL before their handlers; Voilà does not, so it is done here.
"""

from typing import Any

from jupyter_server.utils import url_path_join
from jupyterhub.singleuser.extension import JupyterHubAuthorizer, JupyterHubIdentityProvider
from tornado.web import RedirectHandler
from traitlets import Unicode
from voila.app import Voila


class HubIdentity(JupyterHubIdentityProvider):
    """Who is asking, by the Hub's cookie; nobody where the portal is another's."""

    token = Unicode("")
    """Voilà's own token, which the Hub's login takes the place of."""

    def get_handlers(self) -> list[Any]:
        """The Hub's callback and logout, under the portal's base URL."""
        base = self.parent.base_url
        return [
            (url_path_join(base, handler[0]), *handler[1:]) for handler in super().get_handlers()
        ]


class HubAuthorizer(JupyterHubAuthorizer):
    """Lets in whom the Hub lets in."""


class Portal(Voila):
    """Voilà, whose first page is the listing and not a list of files."""

    def init_handlers(self) -> list[Any]:
        """Voilà's handlers, the portal's own address before them."""
        first = url_path_join(self.base_url, "voila/render/listing.ipynb")
        redirect = (self.server_url, RedirectHandler, {"url": first, "permanent": False})
        return [redirect, *super().init_handlers()]
