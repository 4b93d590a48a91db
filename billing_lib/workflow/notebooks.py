"""Working notebooks: copies of the program's notebooks with their parameters set.

    office/home.ipynb                            the overview
    office/RC/1993-10/review-RC-1993-10.ipynb    facility = "RC", period = "1993-10"

Staff run and save copies, so the program's own notebooks stay as committed. A copy is written
once, and again after the program has changed; until then it keeps its outputs. Each copy is signed
for the current user (nbformat.sign), so JupyterLab runs it when it is opened.
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
"""JupyterLab's settings (no questions about news, no search for updates) and the extension that
runs a working notebook when it is opened."""

HOME = "home"
"""The notebook that ``billing lab`` opens."""

MONTHLY = ("usage", "review", "adjust", "run", "approve")
"""The notebooks about one facility's month, in the order of work."""

GENERAL = ("invoices", "after", "prices", "listing", "statement", "audit")
"""The notebooks about a facility, a team or a record."""

_TITLES = {
    "after": "After issue",
    "prices": "Prices and people",
    "statement": "Statements",
    "listing": "Listings",
}


def titled(name: str) -> str:
    """The name of a notebook's page in the office's bar."""
    return _TITLES.get(name, name.capitalize())


def open_notebook(office: Path, name: str, parameters: Mapping[str, str], place: str = "") -> str:
    """Write a copy with these parameters unless the office folder has it; return its path there.

    ``place`` is a folder in the office, such as ``RC/1993-10``. The copy's file name repeats it,
    since JupyterLab's tab shows only the file name.
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
    """Write the home notebook and the general ones beside it; return its path in the office."""
    for name in GENERAL:
        open_notebook(office, name, {})
    return open_notebook(office, HOME, {})


def open_month(office: Path, facility: str, period: str) -> dict[str, str]:
    """Write the notebooks of one facility's month; return their paths in the office, by name."""
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
    """Set these values in the cell tagged ``parameters`` and keep its comments.

    Papermill would add a second cell; here staff see one value only.
    """
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            lines = cell.source.splitlines()
            cell.source = "\n".join(_set_parameter(line, parameters) for line in lines)


def _set_parameter(line: str, parameters: Mapping[str, str]) -> str:
    name = line.partition(" = ")[0]
    if name not in parameters:
        return line
    _, hash_sign, comment = line.partition("  # ")
    return f"{name} = {json.dumps(parameters[name])}{hash_sign}{comment}"


def lab_environment() -> dict[str, str]:
    """Return the settings with absolute paths, valid in any folder.

    A user's own JupyterLab settings take precedence over the office's.
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
        "BILLING_INBOX": str(current.inbox.absolute()),
        "BILLING_OFFICE": str(current.office.absolute()),
        **({"BILLING_SITE": str(current.site)} if current.site else {}),
    }
