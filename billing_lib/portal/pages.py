"""The portal: Voilà serves the lab's notebooks to one person, and nothing else of Jupyter.

    billing portal                       on this machine, for the user who starts it
    jupyterhub_config.py                 behind JupyterHub's login, one portal per person

Voilà takes no code from the browser and passes only widget messages on to a kernel. Each portal
runs under its user's own account, so the ledger sees their login and shows the rows that it may
see. Under JupyterHub the Hub decides who may enter; its environment variables JUPYTERHUB_* give
its address (https://jupyterhub.readthedocs.io, "Services").
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlparse

from billing_lib.program import NOTEBOOKS
from billing_lib.settings import require_extra
from billing_lib.workflow.notebooks import lab_environment

PAGES = ("listing", "invoice", "statement")
"""The notebooks that the portal serves."""


def portal_settings(environment: Mapping[str, str]) -> dict[str, Any]:
    """The address and login of Voilà: those of the Hub as JUPYTERHUB_SERVICE_URL states it.

    Without a Hub it is this machine alone, and whoever asks needs the token in the printed address.
    """
    stated: dict[str, Any] = {
        "open_browser": False,
        "ip": "127.0.0.1",
        "base_url": "/",
        "port_retries": 0,
        "auto_token": True,  # other accounts of this machine reach it too
    }
    service = environment.get("JUPYTERHUB_SERVICE_URL")
    if service:
        url = urlparse(service)
        stated |= {
            "ip": url.hostname or "127.0.0.1",
            "port": url.port or 80,
            "base_url": environment["JUPYTERHUB_SERVICE_PREFIX"],
            "auto_token": False,
        }
    return stated


def serve(arguments: list[str]) -> None:
    """Serve the portal until it is stopped; ``arguments`` go to Voilà."""
    require_extra("portal", "the portal")
    from traitlets.config import Config  # noqa: PLC0415

    from billing_lib.portal import server  # noqa: PLC0415

    os.environ.update(lab_environment())  # the kernels inherit it
    with TemporaryDirectory(prefix="portal-") as folder:  # Voilà shows every file in its folder
        for name in PAGES:
            shutil.copyfile(NOTEBOOKS / f"{name}.ipynb", Path(folder) / f"{name}.ipynb")
        config = Config()
        config.Portal.update(portal_settings(os.environ) | {"root_dir": folder})
        config.VoilaConfiguration.strip_sources = True
        config.VoilaConfiguration.show_tracebacks = False
        config.VoilaConfiguration.file_allowlist = []  # no file but the pages
        config.VoilaConfiguration.extension_denylist = ["nbdime-jupyterlab"]
        config.VoilaConfiguration.allow_template_override = "NO"
        config.VoilaConfiguration.allow_theme_override = "NO"
        if "JUPYTERHUB_SERVICE_URL" in os.environ:
            config.Portal.identity_provider_class = server.HubIdentity
            config.Portal.authorizer_class = server.HubAuthorizer
        app = server.Portal(config=config)
        app.initialize(arguments)
        app.start()
