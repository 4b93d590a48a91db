"""The lock: which packages it names for which Python, what differs, and its bill of materials."""

import hashlib
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from billing_lib.audit.lock import bill_of_materials, differences, make_environment, read_lock
from billing_lib.audit.provenance import installed_packages, python_version


def test_the_bill_of_materials_is_valid_and_the_same_again(clone: Path) -> None:
    lock = read_lock((clone / "uv.lock").read_bytes())
    few = {name: installed_packages()[name] for name in ("orjson", "pandas", "polars", "pytest")}
    stated = ("0.1.0", "3f" * 20, python_version(), few)  # the validator takes long for all
    text = bill_of_materials(lock, *stated)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert bill_of_materials(lock, *stated) == text
    components = {each["name"]: each for each in json.loads(text)["components"]}
    assert components["polars"]["purl"] == f"pkg:pypi/polars@{installed_packages()['polars']}"
    (reference,) = components["orjson"]["externalReferences"]
    assert reference["url"].endswith(".whl")
    assert reference["hashes"][0]["content"] in (clone / "uv.lock").read_text()
    assert "pytest" not in components  # of the tests, not of the program


LOCK = """
requires-python = ">=3.11"

[[package]]
name = "billing-notebooks"
version = "0.1.0"
source = { editable = "." }
dependencies = [
    { name = "sample", version = "1.0", marker = "python_full_version < '3.12'" },
    { name = "sample", version = "2.0", marker = "python_full_version >= '3.12'" },
    { name = "only-there", marker = "sys_platform == 'elsewhere'" },
    { name = "parts", extra = ["more"] },
]

[[package]]
name = "sample"
version = "1.0"
wheels = [{ url = "https://example.org/sample-1.0-py3-none-any.whl", hash = "sha256:11" }]

[[package]]
name = "sample"
version = "2.0"
wheels = [{ url = "https://example.org/sample-2.0-py3-none-any.whl", hash = "sha256:22" }]

[[package]]
name = "only-there"
version = "1.0"

[[package]]
name = "parts"
version = "3.0"
wheels = [{ url = "https://example.org/parts-3.0-py3-none-any.whl", hash = "sha256:33" }]

[package.optional-dependencies]
more = [{ name = "further" }]

[[package]]
name = "further"
version = "4.0"
sdist = { url = "https://example.org/further-4.0.tar.gz", hash = "sha256:44" }
"""


def test_a_locks_forks_are_chosen_by_their_markers() -> None:
    lock = read_lock(LOCK.encode())
    here = {"python_full_version": "3.11.2", "sys_platform": "linux"}
    older = lock.needed(environment=here)
    newer = lock.needed(environment=here | {"python_full_version": "3.13.0"})
    assert {name: each.version for name, each in older.items()} == {
        "further": "4.0",
        "parts": "3.0",
        "sample": "1.0",
    }
    assert newer["sample"].version == "2.0"


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ({"sample": "1.0"}, []),
        ({"sample": "2.0"}, []),  # a fork of the same lock
        ({"sample": "2.1"}, ["sample is 2.1 here and was 1.0"]),
        ({"sample": "1.0", "parts": "3.1"}, ["parts is 3.1 here and was 3.0"]),
        ({}, ["sample is not installed here and was 1.0"]),
        ({"sample": "1.0", "pytest": "0.1"}, []),  # the program does not need it
    ],
)
def test_packages_outside_of_the_lock_are_named(now: dict[str, str], expected: list[str]) -> None:
    lock = read_lock(LOCK.encode())
    here = {"further": "4.0", "parts": "3.0"} | now
    assert differences(lock, {"sample": "1.0"}, here) == expected


def test_packages_that_were_not_the_locks_count_as_they_were() -> None:
    lock = read_lock(LOCK.encode())
    then = {"sample": "0.9", "further": "4.0", "parts": "3.0"}
    assert differences(lock, then, then) == []
    named = differences(lock, then, then | {"sample": "1.0"})
    assert named == ["sample is 1.0 here and was 0.9"]


def _wheel(folder: Path, name: str, version: str) -> str:
    """Write a wheel of one module, and return its sha256."""
    path, about = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", f"version = '{version}'\n")
        stated = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        wheel.writestr(f"{about}/METADATA", stated)
        tag = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr(f"{about}/WHEEL", tag)
        wheel.writestr(f"{about}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_environment_is_made_of_wheels_alone_and_each_is_checked(tmp_path: Path) -> None:
    wheels = tmp_path / "packages"
    wheels.mkdir()
    stated = [
        '[[package]]\nname = "billing-notebooks"\nversion = "1"\ndependencies = [{ name = "one" }]',
        '[[package]]\nname = "one"\nversion = "1.0"\nwheels = [{ url = "https://x/one-1.0.whl", '
        f'hash = "sha256:{_wheel(wheels, "one", "1.0")}" }}]',
    ]
    lock = 'requires-python = ">=3.11"\n' + "\n".join(stated)
    (tmp_path / "uv.lock").write_text(lock)
    made = tmp_path / "environment"
    assert make_environment(tmp_path, sys.executable, made, wheels) is None
    words = [made / "bin" / "python", "-c", "import one; print(one.version)"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "1.0\n"
    others = tmp_path / "others"
    others.mkdir()
    _wheel(others, "one", "1.0")
    with zipfile.ZipFile(others / "one-1.0-py3-none-any.whl", "a") as wheel:
        wheel.writestr("sitecustomize.py", "")
    refused = make_environment(tmp_path, sys.executable, made, others)
    assert refused is not None
    assert refused.startswith("uv cannot install them")


def test_no_package_is_built_from_source_since_that_runs_its_program(tmp_path: Path) -> None:
    marker, packed = tmp_path / "ran", tmp_path / "one-1.0"
    packed.mkdir()
    (packed / "own.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    backend = '[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["."]\n'
    (packed / "pyproject.toml").write_text(f'{backend}[project]\nname = "one"\nversion = "1.0"\n')
    sources = tmp_path / "packages"
    sources.mkdir()
    with tarfile.open(sources / "one-1.0.tar.gz", "w:gz") as archive:
        archive.add(packed, "one-1.0")
    sha256 = hashlib.sha256((sources / "one-1.0.tar.gz").read_bytes()).hexdigest()
    (tmp_path / "uv.lock").write_text(
        'requires-python = ">=3.11"\n'
        '[[package]]\nname = "billing-notebooks"\nversion = "1"\n'
        'dependencies = [{ name = "one" }]\n[[package]]\nname = "one"\nversion = "1.0"\n'
        f'sdist = {{ url = "https://x/one-1.0.tar.gz", hash = "sha256:{sha256}" }}\n'
    )
    refused = make_environment(tmp_path, sys.executable, tmp_path / "environment", sources)
    assert refused is not None
    assert not marker.exists()
