"""What a notebook keeps of a widget: the widget for JupyterLab, and HTML for where there is none.

A page that nbconvert writes has no kernel behind it, and would load the widget's code from a
network. So a notebook that runs without JupyterLab, by papermill or nbconvert, shows the HTML
alone; one that was saved by JupyterLab has both, and nbconvert takes the HTML, since JupyterLab
keeps no widget's state unless told.
"""

import os
from typing import Any

import ipywidgets as widgets


def in_browser() -> bool:
    """Whether somebody has opened the notebook: Jupyter's server names the session then, and
    Voilà itself."""
    voila = os.environ.get("SERVER_SOFTWARE", "").startswith("voila")
    return voila or "JPY_SESSION_NAME" in os.environ


def bundle(widget: widgets.DOMWidget, html: str) -> dict[str, Any]:
    """A widget and the HTML that stands for it, by MIME type."""
    shown: dict[str, Any] = {"text/plain": "", "text/html": html}
    if in_browser():
        made = widget._repr_mimebundle_()
        shown |= made[0] if isinstance(made, tuple) else made
    return shown


class Displayed:
    """A panel that a notebook displays: its widget, and HTML that stands for it."""

    widget: widgets.DOMWidget

    def html(self) -> str:
        """What the panel shows, without the means to change it."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return bundle(self.widget, self.html())
