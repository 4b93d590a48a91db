"""A record with tools that nobody here wrote: bagit, sha256sum, ssh-keygen, rocrate-validator."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from small_run import RUN, files

from billing_lib.audit.provenance import PriceBookOrigin, provenance
from billing_lib.audit.record import seal

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CONTEXT_FILE = ROOT / "billing_lib" / "audit" / "ro-crate-1.1-context.jsonld"


def test_bagit_accepts_the_record(record: Path) -> None:
    subprocess.run([sys.executable, "-m", "bagit", "--validate", record], check=True)


def test_sha256sum_accepts_both_manifests(record: Path) -> None:
    for manifest in ("manifest-sha256.txt", "tagmanifest-sha256.txt"):
        subprocess.run(["sha256sum", "--quiet", "--strict", "-c", manifest], cwd=record, check=True)


def test_ssh_keygen_verifies_the_signature(record: Path, signing_key: Path, tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.write_text(f"office@example.edu {signing_key.with_suffix('.pub').read_text()}")
    words = ["-f", allowed, "-I", "office@example.edu", "-n", "billing-record"]
    with (record / "tagmanifest-sha256.txt").open("rb") as manifest:
        subprocess.run(
            ["ssh-keygen", "-Y", "verify", *words, "-s", record / "tagmanifest-sha256.txt.sig"],
            stdin=manifest,
            check=True,
        )


@pytest.fixture(scope="session")
def validator() -> Path:
    """The validator's command, in an environment of its own: it holds back libraries of ours."""
    folder, wanted = ROOT / "build" / "validator", HERE / "validator.txt"
    uv = shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        made = folder / "made-of.txt"
        if not made.exists() or made.read_bytes() != wanted.read_bytes():
            steps = (
                ("venv", "--clear", "--python", sys.executable, folder),
                ("pip", "sync", "--require-hashes", "--python", folder / "bin" / "python", wanted),
            )
            for words in steps:
                subprocess.run([uv, *words, "--quiet"], check=True)
            shutil.copyfile(wanted, made)
    return folder / "bin" / "rocrate-validator"


@pytest.fixture
def http_cache(validator: Path, tmp_path: Path) -> Path:
    """The validator's HTTP cache with the one document that it needs."""
    cache = tmp_path / "http-cache"
    python = validator.with_name("python")
    subprocess.run([python, HERE / "fill_http_cache.py", cache, CONTEXT_FILE], check=True)
    return cache


@pytest.fixture(params=["clean", "from a changed tree, in a container"])
def crate(request: pytest.FixtureRequest, record: Path, clone: Path, tmp_path: Path) -> Path:
    """A record's crate: of the plain record, or of one with all that a crate can say.

    In a folder without spaces, over which the validator (0.13) stumbles.
    """
    if request.param != "clean":
        image = f"localhost/office/billing@sha256:{'5' * 64}"
        origin = dataclasses.replace(
            provenance(clone),
            changed=("Dockerfile",),
            diff=b"a diff\n",
            container=image,
            price_book=PriceBookOrigin("mic.yml", "6" * 64, "7" * 40, changed=True),
        )
        started = RUN.started.replace(microsecond=123456)
        run = dataclasses.replace(RUN, login="OFFICE\\carol smith", started=started)
        seal(record, run, origin)
    return shutil.copytree(record / "data", tmp_path / "crate")


def failed_checks(
    validator: Path,
    crate: Path,
    http_cache: Path,
    severity: str,
    profile: str = "workflow-run-crate",
) -> dict[str, str]:
    """The checks of the validator, run without a network, that a crate fails."""
    options = ["--profile-identifier", profile, "--requirement-severity", severity]
    caching = ["--offline", "--cache-path", http_cache, "--no-paging", "--output-format", "json"]
    done = subprocess.run(
        [validator, "-y", "validate", *options, *caching, crate],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "{" in done.stdout, done.stdout + done.stderr
    report = json.loads(done.stdout[done.stdout.index("{") :])
    failed = {issue["check"]["identifier"]: issue["message"] for issue in report["issues"]}
    assert done.returncode == (1 if failed else 0)
    assert report["passed"] is not bool(failed)
    return failed


@pytest.mark.parametrize("profile", ["process-run-crate", "workflow-run-crate"])
def test_a_validator_accepts_the_crate_offline(
    validator: Path, crate: Path, http_cache: Path, profile: str
) -> None:
    """All that is required and recommended, but for one: the notebook is a file of the crate, as
    Workflow RO-Crate requires, and so its id is none in the web, as Process Run Crate recommends.
    """
    assert list(failed_checks(validator, crate, http_cache, "RECOMMENDED", profile).values()) == [
        "The SoftwareApplication id SHOULD be an absolute URI"
    ]


def test_the_validator_refuses_a_crate_that_lacks_its_instrument(
    validator: Path, record: Path, http_cache: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(record / "data", tmp_path / "crate")
    path = folder / "ro-crate-metadata.json"
    crate = json.loads(path.read_text())
    for entity in crate["@graph"]:
        entity.pop("instrument", None)
    path.write_text(json.dumps(crate))
    messages = failed_checks(validator, folder, http_cache, "REQUIRED").values()
    assert any("instrument" in message for message in messages)


def entities(record: Path) -> dict[str, dict[str, Any]]:
    graph = json.loads((record / "data" / "ro-crate-metadata.json").read_text())["@graph"]
    return {entity["@id"]: entity for entity in graph}


def test_the_crate_says_who_when_by_which_notebook_from_what_to_what(record: Path) -> None:
    found = entities(record)
    environment = json.loads((record / "data" / "environment.json").read_text())
    action = found["#run-MIC-2020-04-1"]
    instrument = found[action["instrument"]["@id"]]
    assert instrument["@id"] == "notebook/issue.ipynb"
    assert instrument["version"] == environment["commit"]
    assert found[action["agent"]["@id"]]["name"] == "carol"
    assert action["startTime"] == "2020-05-04T10:01:00+00:00"
    assert action["endTime"] == "2020-05-04T10:02:00+00:00"
    assert found["./"]["datePublished"] == "2020-05-04"
    assert {each["@id"] for each in action["object"]} == {
        "parameters.yml",
        "snapshot/usage.parquet",
    }
    assert {each["@id"] for each in action["result"]} == {
        "documents/MIC-2020-00001.html",
        "documents/MIC-2020-00001.pdf",
        "documents/MIC-2020-00002.html",
        "documents/MIC-2020-00002.pdf",
        "invoices/MIC-2020-00001.json",
        "invoices/MIC-2020-00002.json",
        "notebook/issue.executed.ipynb",
    }
    assert "containerImage" not in action


def test_the_crate_lists_every_file_of_the_record_once(record: Path) -> None:
    listed = [each["@id"] for each in entities(record)["./"]["hasPart"]]
    held = {name.removeprefix("data/") for name in files(record) if name.startswith("data/")}
    assert sorted(listed) == sorted(held - {"ro-crate-metadata.json"})


def test_the_crate_names_the_program_and_the_price_book_apart(record: Path, clone: Path) -> None:
    book = PriceBookOrigin("mic.yml", "6" * 64, "7" * 40, changed=True)
    origin = dataclasses.replace(provenance(clone), price_book=book)
    seal(record, RUN, origin)
    found = entities(record)
    action = found["#run-MIC-2020-04-1"]
    named = found[f"#price-book-{'6' * 64}"]
    assert {"@id": named["@id"]} in action["object"]
    assert (named["name"], named["identifier"]) == ("mic.yml", f"sha256:{'6' * 64}")
    assert named["version"] == f"commit {'7' * 40}, with changes"
    instrument = found[action["instrument"]["@id"]]
    assert instrument["softwareVersion"] == origin.version
    assert f"Billing-Price-Book: mic.yml {'6' * 64}" in (record / "bag-info.txt").read_text()


def test_the_crate_names_the_container_image_by_its_digest(record: Path, clone: Path) -> None:
    image = f"localhost/office/billing@sha256:{'5' * 64}"
    seal(record, RUN, dataclasses.replace(provenance(clone), container=image))
    found = entities(record)
    named = found[found["#run-MIC-2020-04-1"]["containerImage"]["@id"]]
    assert (named["registry"], named["name"], named["sha256"]) == (
        "localhost",
        "office/billing",
        "5" * 64,
    )
