"""The notebooks that staff work in, and what JupyterLab needs to know to run them."""

from pathlib import Path

from billing_lib.settings import settings

NOTEBOOKS = Path(__file__).parent.parent.parent / "notebooks"
"""The folder of the notebooks."""


def lab_environment() -> dict[str, str]:
    """The settings as absolute places, so that a notebook finds them from any folder."""
    current = settings()
    database = current.database
    if database.startswith("sqlite:///") and not database.startswith("sqlite:////"):
        database = f"sqlite:///{Path(database.removeprefix('sqlite:///')).absolute()}"
    return {
        "BILLING_DATABASE": database,
        "BILLING_RUNS": str(current.runs.absolute()),
        "BILLING_PARAMETERS": str(current.parameters.absolute()),
    }
