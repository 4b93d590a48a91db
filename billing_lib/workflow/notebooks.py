"""The notebooks that staff work in: each opened as a copy of its own, with its parameters set.

    office/home.ipynb                            the overview
    office/RC/1993-10/review-RC-1993-10.ipynb    facility = "RC", period = "1993-10"

So the program's own notebooks stay as they are committed, whatever staff run and save. A copy is
written once and again after the program changed; what was run in it until then is kept. It is
signed as this user's own (nbformat.sign), which is what JupyterLab runs when it is opened.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbformat.sign import NotebookNotary

from billing_lib.program import NOTEBOOKS
from billing_lib.settings import settings

JUPYTER = Path(__file__).parent / "jupyter"
"""What JupyterLab gets from the office: settings (it asks about no news and looks for no
updates) and the extension that runs an office notebook when it is opened."""

HOME = "home"
"""The notebook that ``billing lab`` opens."""

MONTHLY = ("review", "adjust", "run", "approve")
"""The notebooks about one facility's month, in the order in which a month is worked."""

GENERAL = ("listing", "invoice", "statement", "audit")
"""The notebooks about a team or a record."""


def open_notebook(office: Path, name: str, parameters: Mapping[str, str], place: str = "") -> str:
    """Write a notebook's copy with these parameters, where it is missing or of an older program.

    Parameters
    ----------
    office
        The folder in which staff work.
    place
        A folder in it, such as ``RC/1993-10``; its words are in the copy's name, which is what
        JupyterLab's tab says.

    Returns
    -------
    str
        The copy's path in the office folder, with slashes.
    """
    source = (NOTEBOOKS / f"{name}.ipynb").read_bytes()
    stated = json.dumps(dict(parameters), sort_keys=True)
    version = hashlib.sha256(source + stated.encode()).hexdigest()
    path = office / place / f"{'-'.join([name, *filter(None, place.split('/'))])}.ipynb"
    if _version_of(path) != version:
        path.parent.mkdir(parents=True, exist_ok=True)
        copy = nbformat.reads(source.decode("utf-8"), as_version=4)
        _set_parameters(copy, parameters)
        copy.metadata["billing"] = {"version": version, "run_when_opened": True}
        NotebookNotary().sign(copy)
        unfinished = path.with_suffix(f".{os.getpid()}.part")
        nbformat.write(copy, unfinished)
        unfinished.replace(path)
    return path.relative_to(office).as_posix()


def open_home(office: Path) -> str:
    """Write the home notebook, and the general ones beside it; its path in the office folder."""
    for name in GENERAL:
        open_notebook(office, name, {})
    return open_notebook(office, HOME, {})


def open_month(office: Path, facility: str, period: str) -> dict[str, str]:
    """Write the notebooks of one facility's month; their paths in the office folder, by name."""
    stated = {"facility": facility, "period": period}
    place = f"{facility}/{period}"
    return {name: open_notebook(office, name, stated, place) for name in MONTHLY}


def _version_of(path: Path) -> str | None:
    try:
        metadata = json.loads(path.read_text("utf-8")).get("metadata", {})
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    version: str | None = metadata.get("billing", {}).get("version")
    return version


def _set_parameters(notebook: nbformat.NotebookNode, parameters: Mapping[str, str]) -> None:
    """Give the cell tagged ``parameters`` these values, keeping what it says of each.

    In place and not in a cell of its own, as papermill would: staff see one value, theirs.
    """
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            lines = cell.source.splitlines()
            cell.source = "\n".join(_stated(line, parameters) for line in lines)


def _stated(line: str, parameters: Mapping[str, str]) -> str:
    name = line.partition(" = ")[0]
    if name not in parameters:
        return line
    _, hash_sign, comment = line.partition("  # ")
    return f"{name} = {json.dumps(parameters[name])}{hash_sign}{comment}"


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
        "BILLING_STORE": str(current.store.absolute()),
        "BILLING_PARAMETERS": str(current.parameters.absolute()),
        "BILLING_OFFICE": str(current.office.absolute()),
        **({"BILLING_SITE": str(current.site)} if current.site else {}),
    }
