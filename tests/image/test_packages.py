"""The packages of scripts/test-packages.txt are all that the tests need on a bare Debian.

The machine is a container of the base that scripts/base.sh makes by debootstrap, with the README's
git, make and Python and then exactly the listed packages. Which libraries are needed is asked of
the files in .venv themselves, whatever the list says.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent.parent
SITE_PACKAGES = Path(pytest.__file__).parent.parent

# With the tests of the image on one worker: buildah's storage is one for the machine.
pytestmark = [pytest.mark.image, pytest.mark.xdist_group("image")]


class Machine(NamedTuple):
    container: str
    missing_at_first: list[str]

    def run(self, *words: str) -> str:
        """The output of a command in the container, which has the clone and .venv where we have."""
        mounts = [word for path in (ROOT, SITE_PACKAGES) for word in ("-v", f"{path}:{path}:ro")]
        options = ("--isolation", "chroot", *mounts, "--workingdir", str(ROOT))
        return buildah("run", *options, self.container, "--", *words)

    def install(self, *packages: str) -> None:
        """Installs packages and what they depend on, and nothing that they only recommend."""
        words = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)
        self.run("env", "DEBIAN_FRONTEND=noninteractive", *words)

    def missing_packages(self) -> list[str]:
        """The listed packages that scripts/test.sh would install here."""
        return self.run("bash", "-c", ". scripts/lib.sh; missing_packages").split()


def buildah(*words: str) -> str:
    done = subprocess.run(
        ["buildah", *words],
        env={"STORAGE_DRIVER": "vfs"} | os.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def listed() -> list[str]:
    """The packages of the list, read otherwise than the script reads it."""
    text = (ROOT / "scripts" / "test-packages.txt").read_text()
    return re.findall(r"^([a-z][^ ]*) +[^ ]", text, re.MULTILINE)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A bare machine, and then the listed packages installed."""
    if os.getuid() != 0:
        pytest.skip("a base image by debootstrap is made as root")
    base = subprocess.run(
        ["scripts/base.sh"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert base.returncode == 0, base.stderr
    bare = Machine(buildah("from", "--pull-never", base.stdout.strip()), [])
    try:
        bare.run("apt-get", "update", "-qq")
        bare.install("make", "python3", "python3-venv")
        missing = bare.missing_packages()
        bare.install(*listed())
        yield bare._replace(missing_at_first=missing)
    finally:
        buildah("rm", bare.container)


def test_what_a_bare_machine_lacks_is_named_and_its_installing_suffices(machine: Machine) -> None:
    brought = {"openssl"}  # by python3-venv, through ca-certificates
    assert machine.missing_at_first == [it for it in listed() if it not in brought]
    assert machine.missing_packages() == []


def test_every_library_that_a_wheel_loads_is_found(machine: Machine) -> None:
    files = [path for path in SITE_PACKAGES.rglob("*") if path.is_file() and is_elf(path)]
    driver = SITE_PACKAGES / "playwright" / "driver" / "node"
    assert driver in files
    found = machine.run("sh", "-c", 'ldd "$@" 2>&1 || true', "ldd", *map(str, files))
    missing = set(re.findall(r"^\s+(\S+) => not found", found, re.MULTILINE))
    # Some wheels bring a library under a name with a hash, and an unused file that wants the plain.
    brought = {re.split(r"[-.]", path.name)[0] for path in files}
    assert {name for name in missing if name.split(".")[0] not in brought} == set()
    assert re.fullmatch(r"v\d+\.\d+\.\d+", machine.run(str(driver), "--version"))


def test_every_library_that_weasyprint_opens_is_found(machine: Machine) -> None:
    """By its names, since what opens it at run time is not in the file for ldd to read."""
    source = (SITE_PACKAGES / "weasyprint" / "text" / "ffi.py").read_text()
    names = set(re.findall(r"'(lib[\w.-]+\.so\.\d+)'", source)) - {"libharfbuzz-vector.so.0"}
    assert "libpango-1.0.so.0" in names
    there = machine.run("/sbin/ldconfig", "-p")
    assert {name for name in names if f"\t{name} " not in there} == set()


def is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"
