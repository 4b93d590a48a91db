"""Everything that repeats the lock says what the lock says, and the lock what the project asks.

The expectations are read from uv.lock itself, by walking from the project to what it depends
on, and not by the script that writes environment.yml.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement

from billing_lib.settings import EXTRAS

ROOT = Path(__file__).parent.parent.parent
PYTHON_3_11_ON_LINUX = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.15",
    "python_version": "3.11",
    "sys_platform": "linux",
}


@pytest.fixture(scope="module")
def lock() -> dict[str, Any]:
    return tomllib.loads((ROOT / "uv.lock").read_text())


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def holds(entry: dict[str, Any]) -> bool:
    return "marker" not in entry or Marker(entry["marker"]).evaluate(PYTHON_3_11_ON_LINUX)


def runtime_pins(lock: dict[str, Any]) -> set[str]:
    """``name==version`` of all that the project needs at run time, found from the project on, its
    extras with it."""
    versions: dict[str, list[dict[str, Any]]] = {}
    for package in lock["package"]:
        versions.setdefault(package["name"], []).append(package)

    def package_for(dependency: dict[str, Any]) -> dict[str, Any]:
        found = versions[dependency["name"]]
        wanted = dependency.get("version", found[0].get("version"))
        return next(package for package in found if package.get("version") == wanted)

    pins: set[str] = set()
    seen: set[tuple[str, str]] = set()
    extras = package_for({"name": "billing-notebooks"})["optional-dependencies"]
    waiting = [({"name": "billing-notebooks"}, extra) for extra in ("", *extras)]
    while waiting:
        dependency, extra = waiting.pop()
        package = package_for(dependency)
        if (dependency["name"], extra) in seen:
            continue
        seen.add((dependency["name"], extra))
        if dependency["name"] != "billing-notebooks":
            pins.add(f"{package['name']}=={package['version']}")
        needs = (
            package.get("optional-dependencies", {}).get(extra, [])
            if extra
            else package.get("dependencies", [])
        )
        for need in filter(holds, needs):
            waiting += [(need, ""), *((need, name) for name in need.get("extra", []))]
    return pins


def test_the_conda_environment_lists_exactly_the_locked_runtime_packages(
    lock: dict[str, Any],
) -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, packages = environment["dependencies"]
    assert (python, pip) == ("python=3.11", "pip")
    *listed, project = packages["pip"]
    assert project == "-e ."
    assert len(listed) == len(set(listed))
    assert set(listed) == runtime_pins(lock), "run `make lock`"


def test_the_lock_was_made_from_what_the_project_asks_for(
    lock: dict[str, Any], project: dict[str, Any]
) -> None:
    locked = next(one for one in lock["package"] if one["name"] == "billing-notebooks")
    entries = locked["metadata"]["requires-dist"]
    recorded = {
        (one["name"], one.get("specifier", ""), one.get("marker", ""), *one.get("extras", []))
        for one in entries
    }
    stated = project["project"]
    asked = set()
    for extra, lines in {"": stated["dependencies"], **stated["optional-dependencies"]}.items():
        for one in map(Requirement, lines):
            marker = f"extra == '{extra}'" if extra else ""
            asked.add((one.name, str(one.specifier), marker, *sorted(one.extras)))
    assert recorded == asked, "run `make lock`"


def test_each_extra_is_asked_for_by_the_packages_that_it_brings(project: dict[str, Any]) -> None:
    imported = {"vl-convert-python": "vl_convert"}
    for extra, lines in project["project"]["optional-dependencies"].items():
        names = {Requirement(line).name for line in lines} - {"configurable-http-proxy"}
        assert {imported.get(name, name) for name in names} == set(EXTRAS[extra])


def test_what_only_a_test_brings_in_is_locked_with_hashes() -> None:
    lines = (ROOT / "tests" / "audit" / "validator.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith(" ")]
    assert any(line.startswith("roc-validator==") for line in pins)
    assert all(re.match(r"[\w.\[\]-]+==\S+ ", line) and line.endswith("\\") for line in pins)


def test_every_download_that_the_lock_names_has_a_hash(lock: dict[str, Any]) -> None:
    downloads = [
        file
        for package in lock["package"]
        for file in [*package.get("wheels", []), *filter(None, [package.get("sdist")])]
    ]
    assert downloads
    assert [file for file in downloads if not file["hash"].startswith("sha256:")] == []


def test_uv_itself_is_brought_in_at_one_version_with_hashes() -> None:
    lines = (ROOT / "scripts" / "uv.txt").read_text().splitlines()
    assert re.fullmatch(r"uv==[\d.]+ \\", lines[0])
    assert len(lines) > 1
    assert all(re.fullmatch(r" +--hash=sha256:[0-9a-f]{64}( \\)?", line) for line in lines[1:])
