"""The program's lock (uv.lock): its packages for an environment, and an environment made from it.

    uv.lock         one package of one version, or of several for different Pythons (forks)
    requirements    polars==1.31.0 --hash=sha256:…    the packages for one environment
    differences     polars is 1.30.0 here and was 1.31.0

The lock of a commit names packages for every Python that the program runs on. An environment
with other packages is still the same lock if each is a version that the lock names. Only packages
that the program needs without extras are compared: the issuing notebook imports no others.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from packaging.markers import Marker, default_environment
from packaging.specifiers import SpecifierSet
from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from billing_lib.errors import InvalidRecord
from billing_lib.program import NAME, ROOT, said_by

PACKAGES = "packages"
"""The folder of wheels beside archived records."""


@dataclass(frozen=True)
class LockedPackage:
    """A package of a lock; ``wheels`` are sha256 by address, ``needs`` are names of packages."""

    name: str
    version: str
    wheels: Mapping[str, str]
    hashes: tuple[str, ...]
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Lock:
    """The content of a uv.lock.

    ``packages`` are its entries by name: one, or a fork for each range of Pythons.
    """

    requires_python: str
    packages: Mapping[str, tuple[Mapping[str, Any], ...]]

    def versions(self, name: str) -> set[str]:
        """The versions of a package that the lock names."""
        return {str(each["version"]) for each in self.packages.get(name, ())}

    def needed(
        self, extras: tuple[str, ...] = (), environment: Mapping[str, str] | None = None
    ) -> dict[str, LockedPackage]:
        """The packages that the program needs, by name; by default in this environment."""
        chosen = environment or _here()
        own = self.packages[NAME][0]
        found: dict[str, LockedPackage] = {}
        waiting = [*own.get("dependencies", ()), *_optional(own, extras)]
        seen: set[tuple[str, str]] = set()
        while waiting:
            dependency = waiting.pop()
            name, wanted = dependency["name"], tuple(dependency.get("extra", ()))
            new = [extra for extra in ("", *wanted) if (name, extra) not in seen]
            if not new or not _holds(dependency, chosen):
                continue
            seen.update((name, extra) for extra in new)
            entry = self._entry(dependency)
            waiting += [*entry.get("dependencies", ()), *_optional(entry, wanted)]
            found[name] = _package(entry, chosen)
        return dict(sorted(found.items()))

    def _entry(self, dependency: Mapping[str, Any]) -> Mapping[str, Any]:
        entries = self.packages[dependency["name"]]
        version = dependency.get("version", entries[0]["version"])
        return next(entry for entry in entries if entry["version"] == version)


@lru_cache(maxsize=4)
def read_lock(content: bytes) -> Lock:
    """Read a uv.lock; InvalidRecord if it is none."""
    try:
        stated = tomllib.loads(content.decode())
        packages: dict[str, tuple[Mapping[str, Any], ...]] = {}
        for each in stated["package"]:
            packages[each["name"]] = (*packages.get(each["name"], ()), each)
        return Lock(stated["requires-python"], packages)
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidRecord(f"the commit's uv.lock cannot be read ({error})") from None


def _here() -> dict[str, str]:
    return {key: str(value) for key, value in default_environment().items()}


def _holds(dependency: Mapping[str, Any], environment: Mapping[str, str]) -> bool:
    return "marker" not in dependency or Marker(dependency["marker"]).evaluate(environment)


def _optional(entry: Mapping[str, Any], extras: tuple[str, ...]) -> Iterator[Mapping[str, Any]]:
    for extra in extras:
        yield from entry.get("optional-dependencies", {}).get(extra, ())


def _package(entry: Mapping[str, Any], environment: Mapping[str, str]) -> LockedPackage:
    wheels = {each["url"]: each["hash"].removeprefix("sha256:") for each in entry.get("wheels", ())}
    source = [entry["sdist"]["hash"]] if "sdist" in entry else []
    needs = {each["name"] for each in entry.get("dependencies", ()) if _holds(each, environment)}
    hashes = (*(each["hash"] for each in entry.get("wheels", ())), *source)
    return LockedPackage(entry["name"], entry["version"], wheels, hashes, tuple(sorted(needs)))


def requirements(lock: Lock) -> str:
    """The packages for this environment, as a requirements file with hashes."""
    return "".join(
        f"{each.name}=={each.version} {' '.join(f'--hash={sha256}' for sha256 in each.hashes)}\n"
        for each in lock.needed().values()
    )


def differences(lock: Lock, recorded: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """Sentences on packages here that are neither the record's nor a version of the lock.

    Parameters
    ----------
    recorded, here
        The installed versions by package, then and now.
    """
    sentences = []
    for name, package in lock.needed().items():
        then, now = recorded.get(name, package.version), here.get(name)
        if now is None:
            sentences.append(f"{name} is not installed here and was {then}")
        elif now != then and not {now, then} <= lock.versions(name):
            sentences.append(f"{name} is {now} here and was {then}")
    version = _here()["python_full_version"]
    if version not in SpecifierSet(lock.requires_python, prereleases=True):
        sentences.append(f"Python is {version} here, and the lock is for {lock.requires_python}")
    return sentences


def make_environment(lock: Path, python: str, target: Path, wheels: Path | None) -> str | None:
    """Install the lock's packages into a new environment.

    Parameters
    ----------
    lock
        The tree of the program, with its uv.lock and pyproject.toml.
    python
        The version or path of a Python, as uv takes it.
    target
        The new folder of the environment.
    wheels
        A folder of wheels to install from without a network; None lets uv find them.

    Returns
    -------
    None, or why it was not made.
    """
    uv = find_uv()
    if uv is None:
        return "there is no uv"
    # No package is built: its build would be a program that runs outside of any sandbox.
    quiet = ("--quiet", "--no-python-downloads")
    if wheels is None:
        sync = ("sync", "--frozen", "--no-dev", "--no-install-project", "--no-build")
        commands = [[uv, *sync, "--project", str(lock), *quiet, "--python", python]]
    else:
        needed = target.with_name("requirements.txt")
        commands = [
            [uv, "venv", "--clear", *quiet, "--python", python, str(target)],
            [
                *(uv, "pip", "sync", *quiet, "--offline", "--no-index", "--no-build"),
                *(
                    "--require-hashes",
                    "--find-links",
                    str(wheels),
                    "--python",
                    str(target / "bin" / "python"),
                ),
                str(needed),
            ],
        ]
        needed.write_text(requirements(read_lock((lock / "uv.lock").read_bytes())))
    kept = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    for words in commands:
        done = subprocess.run(
            words,
            env=kept | {"UV_PROJECT_ENVIRONMENT": str(target)},  # never the one that runs
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            error = subprocess.CalledProcessError(done.returncode, words, stderr=done.stderr)
            return f"uv cannot install them ({said_by(error)})"
    return None


def find_uv() -> str | None:
    """The path of uv, on PATH or in the program's own .tools; None without one."""
    return shutil.which("uv") or shutil.which("uv", path=str(ROOT / ".tools" / "bin"))


def download_wheels(lock: Lock, folder: Path) -> int:
    """Download the lock's wheels for this Python into a folder, and return their number.

    pip downloads, checks each against the lock's hash, and takes again what is there.

    Raises
    ------
    InvalidRecord
        There is no uv to run pip by, or a package cannot be downloaded.
    """
    uv = find_uv()
    if uv is None:
        raise InvalidRecord("there is no uv to download packages with", remedy="install uv")
    folder.mkdir(parents=True, exist_ok=True)
    needed = folder / "requirements.txt"
    needed.write_text(requirements(lock))
    pip = ("tool", "run", "--quiet", "--python", sys.executable, "pip", "download", "--quiet")
    options = ("--require-hashes", "--no-deps", "--only-binary", ":all:", "--no-input")
    words = [uv, *pip, *options, "--disable-pip-version-check", "-d", str(folder), "-r"]
    done = subprocess.run([*words, str(needed)], capture_output=True, check=False)
    if done.returncode != 0:
        error = subprocess.CalledProcessError(done.returncode, words, stderr=done.stderr)
        raise InvalidRecord(
            f"the packages cannot be downloaded ({said_by(error)})",
            remedy="try again where uv can reach the packages",
        )
    return len(list(folder.glob("*.whl")))


def bill_of_materials(
    lock: Lock, version: str, commit: str, python: str, installed: Mapping[str, str]
) -> str:
    """The program's packages as a CycloneDX 1.6 document, the same for the same arguments.

    Lists the installed packages that the program or one of its extras needs. A package of the
    lock's version has the address and sha256 of its wheel for this platform.

    Parameters
    ----------
    python
        Such as ``CPython 3.11.7``.
    installed
        Versions by package.
    """
    own = lock.packages[NAME][0]
    needed = lock.needed(tuple(own.get("optional-dependencies", ())))
    refs = {name: f"pkg:pypi/{name}@{installed[name]}" for name in needed if name in installed}
    direct = {each["name"] for each in own.get("dependencies", ())}
    program = f"{NAME}@{version}"
    implementation, _, python_version = python.partition(" ")
    components = [_component(needed[name], installed[name], ref) for name, ref in refs.items()]
    content = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": program,
                "name": NAME,
                "version": version,
                "pedigree": {"commits": [{"uid": commit}]},
            }
        },
        "components": [
            *components,
            {
                "type": "platform",
                "bom-ref": "python",
                "name": implementation,
                "version": python_version,
            },
        ],
        "dependencies": [
            {"ref": program, "dependsOn": ["python", *_refs(direct, refs)]},
            *(
                {"ref": ref, "dependsOn": _refs(needed[name].needs, refs)}
                for name, ref in refs.items()
            ),
        ],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    return json.dumps(content | {"serialNumber": f"urn:uuid:{serial}"}, indent=1) + "\n"


def _refs(names: set[str] | tuple[str, ...], refs: Mapping[str, str]) -> list[str]:
    return [refs[name] for name in sorted(names) if name in refs]


def _component(package: LockedPackage, version: str, ref: str) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": ref,
        "name": package.name,
        "version": version,
        "purl": ref,
    }
    wheel = _wheel_here(package) if version == package.version else None
    if wheel is not None:
        hashes = [{"alg": "SHA-256", "content": package.wheels[wheel]}]
        component["externalReferences"] = [{"type": "distribution", "url": wheel, "hashes": hashes}]
    return component


def _wheel_here(package: LockedPackage) -> str | None:
    """The address of the wheel that installers choose on this platform, or None without one."""
    fitting = {}
    for address in package.wheels:
        try:
            tags = parse_wheel_filename(re.sub(r".*/", "", address))[3]
        except InvalidWheelFilename:
            continue
        places = [_tag_places()[tag] for tag in tags if tag in _tag_places()]
        if places:
            fitting[address] = min(places)
    return min(fitting, key=lambda address: fitting[address], default=None)


@lru_cache(maxsize=1)
def _tag_places() -> dict[Any, int]:
    return {tag: place for place, tag in enumerate(sys_tags())}
