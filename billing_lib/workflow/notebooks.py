"""The notebooks that staff work in, and what JupyterLab needs to know to run them."""

import os
from pathlib import Path

from billing_lib.settings import settings

NOTEBOOKS = Path(__file__).parent.parent.parent / "notebooks"
"""The folder of the notebooks."""

JUPYTER = Path(__file__).parent / "jupyter"
"""JupyterLab's settings for the office: it asks about no news and looks for no updates."""


def lab_environment() -> dict[str, str]:
    """The settings as absolute places, so that a notebook finds them from any folder.

    A user's own settings of JupyterLab win over the office's.
    """
    current = settings()
    database = current.database
    if database.startswith("sqlite:///") and not database.startswith("sqlite:////"):
        database = f"sqlite:///{Path(database.removeprefix('sqlite:///')).absolute()}"
    configured = os.environ.get("JUPYTER_CONFIG_PATH")
    return {
        "JUPYTER_CONFIG_PATH": os.pathsep.join([str(JUPYTER), *filter(None, [configured])]),
        "BILLING_DATABASE": database,
        "BILLING_RUNS": str(current.runs.absolute()),
        "BILLING_PARAMETERS": str(current.parameters.absolute()),
    }
