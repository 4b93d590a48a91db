"""JupyterLab's server for staff: an office at ``/doc`` beside the ordinary lab at ``/lab``.

    billing lab ─▶ /doc/tree/home.ipynb     pages alone: no toolbars, no code, no kernels to choose
                   /lab                     the ordinary JupyterLab, for those who program

Both are one server and one JupyterLab; at ``/doc`` the plugins that are of no use to staff are
switched off, and the extension ``billing-office`` draws the bar of pages
(workflow/jupyter/labextensions).
"""

import os
from importlib.metadata import EntryPoint
from typing import Any

from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_server.serverapp import ServerApp
from tornado.web import RequestHandler

from billing_lib.audit.warm_kernel import WarmProvisioner, warm_up
from billing_lib.workflow.notebooks import GENERAL, HOME, MONTHLY, titled

_OFF = {
    "@jupyterlab/application-extension": ("logo", "top-bar", "property-inspector", "dirty"),
    "@jupyterlab/apputils-extension": (
        *("palette", "announcements", "kernel-status", "running-sessions-status"),
    ),
    "@jupyterlab/cell-toolbar-extension": ("plugin",),
    "@jupyterlab/celltags-extension": ("plugin",),
    "@jupyterlab/completer-extension": ("",),
    "@jupyterlab/console-extension": ("",),
    "@jupyterlab/debugger-extension": ("",),
    "@jupyterlab/extensionmanager-extension": ("",),
    "@jupyterlab/filebrowser-extension": ("widget",),
    "@jupyterlab/fileeditor-extension": ("language-server",),
    "@jupyterlab/help-extension": ("",),
    "@jupyterlab/inspector-extension": ("",),
    "@jupyterlab/launcher-extension": ("",),
    "@jupyterlab/logconsole-extension": ("",),
    "@jupyterlab/lsp-extension": ("",),
    "@jupyterlab/mainmenu-extension": ("",),
    "@jupyterlab/metadataform-extension": ("",),
    "@jupyterlab/notebook-extension": (
        *("tools", "toc", "kernel-status", "active-cell-tool", "metadata-editor"),
        *("language-server", "update-raw-mimetype"),
    ),
    "@jupyterlab/running-extension": ("",),
    "@jupyterlab/settingeditor-extension": ("",),
    "@jupyterlab/statusbar-extension": ("",),
    "@jupyterlab/terminal-extension": ("",),
    "@jupyterlab/toc-extension": ("",),
    "@jupyterlab/tooltip-extension": ("",),
    "@jupyterlab/workspaces-extension": ("",),
    "nbdime-jupyterlab": ("",),
}
"""The plugins of JupyterLab that are off in the office: all of a package, or the named ones."""

FORGOTTEN_SECONDS = 12 * 60 * 60
"""Seconds after which the kernel of a closed page is shut down, unless the server's configuration
says otherwise; a computer may sleep meanwhile."""


PAGES = ("adjust", "after", "audit", "home", "invoices", "lab", "prices", "review", "run", "usage")
"""The modules of this package that the pages import."""


class OfficeProvisioner(WarmProvisioner):
    """Starts a page's kernel as a fork of a process that has the imports of all pages."""

    imports = tuple(f"{__package__}.{name}" for name in PAGES)


def office_page(handler: RequestHandler, page_config: dict[str, Any]) -> dict[str, Any]:
    """The page configuration of JupyterLab, for the office without the plugins of ``_OFF``."""
    if "/doc" not in (handler.request.path or ""):
        return page_config
    off = [
        f"{package}:{plugin}" if plugin else package
        for package, plugins in _OFF.items()
        for plugin in plugins
    ]
    return page_config | {
        "disabledExtensions": [*page_config.get("disabledExtensions", ()), *off],
        "billingPages": {"home": HOME, "month": MONTHLY, "general": GENERAL},
        "billingTitles": {name: titled(name) for name in (HOME, *MONTHLY, *GENERAL)},
    }


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: ServerApp) -> None:
    server.web_app.settings["page_config_hook"] = office_page
    warm_up(dict(os.environ), OfficeProvisioner.imports)
    factory = KernelProvisionerFactory.instance()
    factory.default_provisioner_name = name = OfficeProvisioner.__name__
    factory.provisioners[name] = EntryPoint(
        name, f"{__name__}:{name}", KernelProvisionerFactory.GROUP_NAME
    )
    warm_up(dict(os.environ), OfficeProvisioner.imports)
    factory = KernelProvisionerFactory.instance()
    factory.default_provisioner_name = name = OfficeProvisioner.__name__
    factory.provisioners[name] = EntryPoint(
        name, f"{__name__}:{name}", KernelProvisionerFactory.GROUP_NAME
    )
    server.kernel_manager.cull_idle_timeout = (
        server.kernel_manager.cull_idle_timeout or FORGOTTEN_SECONDS
    )
