"""A record handed to a stranger: run again without repository, network, ledger and root."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from small_run import PROJECT, files

from billing_lib.program import PACKAGE

ALONE = """
ip link set lo up
exec unshare --user --map-user=65534 --map-group=65534 "$@"
"""
"""In a network namespace with loopback alone: as nobody, who has no right over the namespace."""

REPRODUCE = """
import os, socket, sys
assert os.getuid() == 65534
try:
    socket.create_connection(("192.0.2.1", 9), 5)
except OSError as error:
    assert error.strerror == "Network is unreachable", error
from billing_lib.cli import main
main()
"""


def test_the_bag_alone_comes_out_the_same(record: Path, tmp_path: Path) -> None:
    """By a copy of the program that is no repository, where there is neither git nor uv."""
    stranger = tmp_path / "Prüfung 2020, 監査 – التدقيق"
    shutil.copytree(record, stranger / record.name)
    program = stranger / "program"
    ignored = shutil.ignore_patterns("__pycache__", "fonts")
    shutil.copytree(PACKAGE, program / "billing_lib", ignore=ignored)
    shutil.copyfile(PROJECT / "pyproject.toml", program / "pyproject.toml")
    commands = stranger / "commands"
    commands.mkdir()
    for name in ("ssh-keygen", "unshare"):
        (commands / name).symlink_to(str(shutil.which(name)))
    before = files(stranger / record.name)
    done = subprocess.run(
        [
            *("unshare", "--user", "--map-root-user", "--net", "sh", "-euc", ALONE, "sh"),
            *("env", "-i", f"PATH={commands}", f"PYTHONPATH={program}", f"HOME={stranger}"),
            *("PYTHONDONTWRITEBYTECODE=1", sys.executable, "-c", REPRODUCE),
            *("reproduce", record.name),
        ],
        cwd=stranger,
        env=os.environ | {"LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the packages here are those of the recorded lock" in done.stdout
    assert "reproduced, every result is the same byte for byte" in done.stdout
    assert files(stranger / record.name) == before
