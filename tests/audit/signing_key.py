"""SSH keys that records are signed with."""

import subprocess
from pathlib import Path


def new_key(path: Path, passphrase: str = "") -> Path:
    """A new SSH key."""
    words = ["-q", "-t", "ed25519", "-N", passphrase, "-C", "billing office", "-f", str(path)]
    subprocess.run(["ssh-keygen", *words], check=True)
    return path
