"""The sandbox: what a program inside may see and do, by each kind that works on this machine."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from billing_lib.audit import sandbox
from billing_lib.audit.sandbox import (
    BUBBLEWRAP,
    NAMESPACES,
    limited,
    python_folders,
    run_watched,
    sandbox_kind,
    wrapped,
)

PROGRAM = """
import os, socket, sys
from pathlib import Path

inputs, work, secret = (Path(it) for it in sys.argv[1:])
(work / "made").write_text((inputs / "given").read_text())

def refused(act):
    try:
        act()
    except OSError:
        return True
    return False

elsewhere = socket.socket()
elsewhere.settimeout(3)
here = socket.socket()
here.bind(("127.0.0.1", 0))
here.listen()
socket.create_connection(here.getsockname()).close()
print("input written", not refused(lambda: (inputs / "given").write_text("x")))
print("input added", not refused(lambda: (inputs / "more").write_text("x")))
print("system written", not refused(lambda: Path("/usr/billing").write_text("x")))
print("secret read", secret.exists())
print("home", [str(it) for it in Path("/home").glob("*")] if Path("/home").exists() else [])
print("network", not refused(lambda: elsewhere.connect(("192.0.2.1", 80))))
print("capabilities", int(Path("/proc/self/status").read_text().split("CapEff:")[1].split()[0], 16))
print("remounted", os.system("mount -o remount,rw,bind /usr 2>/dev/null") == 0)
print("processes", len([it for it in os.listdir("/proc") if it.isdigit()]) < 5)
print("too much memory", not refused(lambda: bytearray(1 << 45)))
"""
EXPECTED = """\
input written False
input added False
system written False
secret read False
home []
network False
capabilities 0
remounted False
processes True
"""


@pytest.mark.parametrize("kind", [BUBBLEWRAP, NAMESPACES])
def test_a_program_sees_its_own_files_alone(
    tmp_path: Path, kind: str, record_property: Callable[[str, object], None]
) -> None:
    sandbox.sandbox_kind.cache_clear()
    record_property("sandbox", str(sandbox_kind()))
    if not sandbox.works(kind):
        pytest.skip(f"{kind} cannot be used here; {sandbox_kind()} is")
    inputs, work, secret = (tmp_path / name for name in ("a folder", "work", "secret"))
    inputs.mkdir()
    work.mkdir()
    (inputs / "given").write_text("given")
    secret.write_text("a password")
    words = [sys.executable, "-c", PROGRAM, str(inputs), str(work), str(secret)]
    read = [*python_folders(sys.executable), inputs]
    command = limited(wrapped(kind, words, read, [work], work))
    done = run_watched(command, lambda: None, cwd=work, env={"PATH": os.defpath})
    assert done.stdout == EXPECTED, done.stderr
    assert "MemoryError" in done.stderr
    assert (work / "made").read_text() == "given"


def test_what_takes_too_long_is_ended(tmp_path: Path) -> None:
    waits = [sys.executable, "-c", "import time; time.sleep(600)"]
    done = run_watched(waits, lambda: None, cwd=tmp_path, env={}, seconds=1)
    assert done.returncode == -9


def test_endless_output_does_not_fill_the_memory(tmp_path: Path) -> None:
    says = [sys.executable, "-c", "print('x' * (3 << 20))"]
    done = run_watched(says, lambda: None, cwd=tmp_path, env={})
    assert len(done.stdout) == 1 << 20
