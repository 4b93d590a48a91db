"""Making a site: the folder in which an institution bills (settings.py says how one is found).

billing.toml  .gitignore          the settings, commented; what git is to leave out
parameters/example.yml            an example of a price book, where there is none yet
runs/                             the archive
"""

import shutil
from pathlib import Path

from billing_lib.errors import UnwritableFile
from billing_lib.program import PARAMETERS
from billing_lib.settings import SITE_FILE

DEMONSTRATION = ("research-computing", "microscopy", "workshop")
"""The names of the demonstration's price books."""

_NEW = Path(__file__).parent / "new_site"


def make_site(folder: Path, *, demonstration: bool = False) -> list[str]:
    """Make a folder a site; a file that is there is never written to.

    Parameters
    ----------
    demonstration
        Take the demonstration's price books instead of the example.

    Returns
    -------
    list
        The files that were made, by their paths in the folder.

    Raises
    ------
    UnwritableFile
        The folder cannot be made or written to.
    """
    wanted = {SITE_FILE: _NEW / SITE_FILE, ".gitignore": _NEW / "gitignore"}
    books = PARAMETERS if demonstration else _NEW / "parameters"
    names = DEMONSTRATION if demonstration else ("example",)
    if not any(folder.glob("parameters/*.yml")):
        patterns = [pattern for name in names for pattern in (f"{name}.*", f"{name}/**/*.*")]
        for path in (path for pattern in patterns for path in books.glob(pattern)):
            wanted[f"parameters/{path.relative_to(books).as_posix()}"] = path
    made = []
    try:
        (folder / "runs").mkdir(parents=True, exist_ok=True)
        for place, source in wanted.items():
            target = folder / place
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
                made.append(place)
    except OSError as error:
        raise UnwritableFile(
            f"no site can be made here: {error.strerror or error}",
            where=str(folder),
            remedy="choose a folder that you may write to",
        ) from None
    return made
