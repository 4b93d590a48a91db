"""Making a site: the folder in which an institution bills (settings.py says how one is found).

billing.toml  .gitignore          the settings, commented; what git is to leave out
parameters/example.yml            an example of a price book, where there is none yet
keys/billing                      the private key that signs records, readable by its owner alone
keys/allowed_signers              the public key, for all who verify
runs/                             the archive
"""

import re
import shutil
import subprocess
from pathlib import Path

from billing_lib.errors import UnwritableFile
from billing_lib.program import PARAMETERS
from billing_lib.settings import SITE_FILE

DEMONSTRATION = ("research-computing", "microscopy", "workshop")
"""The names of the demonstration's price books."""

KEYS = "keys"
KEY, ALLOWED_SIGNERS = f"{KEYS}/billing", f"{KEYS}/allowed_signers"
"""The site's key, and the file of its allowed signer."""

KEY_ADVICE = (
    f"{KEY} signs records and may be read by you alone: keep a copy of it off this machine, and "
    f"give {ALLOWED_SIGNERS} to those who verify"
)
NO_KEY = (
    "records are not signed: ssh-keygen made no key; install openssh-client, make a key and set "
    "signing_key and allowed_signers in billing.toml"
)

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
        patterns = [
            pattern for name in names for pattern in (f"{name}.*", f"{name}/templates/**/*.*")
        ]
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
        if SITE_FILE in made and (keys := _make_key(folder)):
            made += keys
            _set_key(folder / SITE_FILE)
    except OSError as error:
        raise UnwritableFile(
            f"no site can be made here: {error.strerror or error}",
            where=str(folder),
            remedy="choose a folder that you may write to",
        ) from None
    return made


def _make_key(folder: Path) -> list[str]:
    """Make the site's Ed25519 key; its files, or nothing if there is no ssh-keygen that can."""
    key, allowed = folder / KEY, folder / ALLOWED_SIGNERS
    if key.exists() or allowed.exists():
        return []  # from another site: its owner says in billing.toml what it is for
    principal = "billing@" + (re.sub(r"[^\w.-]+", "-", folder.absolute().name) or "site")
    key.parent.mkdir(mode=0o700, exist_ok=True)
    words = ["-q", "-t", "ed25519", "-N", "", "-C", principal, "-f", str(key)]
    try:
        made = subprocess.run(  # noqa: S603 - the words are this module's own
            ["ssh-keygen", *words],  # noqa: S607 - the ssh-keygen that is on PATH
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        return []
    if made.returncode != 0:  # as for a user without a name, in a container
        return []
    key.chmod(0o600)
    key.with_name(".gitignore").write_text(f"/{key.name}\n", encoding="utf-8")
    kind, public, *_ = key.with_name(f"{key.name}.pub").read_text(encoding="ascii").split()
    allowed.write_text(f"{principal} {kind} {public}\n", encoding="utf-8")
    return [KEY, f"{KEY}.pub", ALLOWED_SIGNERS]


def _set_key(file: Path) -> None:
    """Take the comment marks from the two settings of a new site's key."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    set_now = ("# signing_key = ", "# allowed_signers = ")
    text = "".join(line.removeprefix("# ") if line.startswith(set_now) else line for line in lines)
    file.write_text(text, encoding="utf-8")
