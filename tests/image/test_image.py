"""A month issued inside the container image: its record names the image, and runs in it again.

The real Dockerfile is built, from a clone of this commit, by whichever tool works here; that it
was a stand-in base stands among pytest's warnings. Takes minutes: `pytest -m "not image"`
leaves it out.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from billing_lib.audit.reproduce import find_engine, run_inside
from billing_lib.errors import InvalidRecord

ROOT = Path(__file__).parent.parent.parent
BILLING = Path(sys.executable).with_name("billing")
NAME = "billing-notebooks-test"

CHECK = "from billing_lib.audit.provenance import provenance; provenance()"

# One worker builds the image and looks at it from all sides.
pytestmark = [pytest.mark.image, pytest.mark.xdist_group("image")]


class Issued(NamedTuple):
    clone: Path
    commit: str
    image: str  # name@digest, as the build printed it
    record: Path
    output: str


def environment(**settings: str) -> dict[str, str]:
    """This process's environment, with no setting of billing's but the given ones."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BILLING_")}
    return kept | settings


def image_script(clone: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["scripts/image.sh", *words],
        cwd=clone,
        env=environment(IMAGE_NAME=NAME, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def git(*words: str, folder: Path = ROOT) -> str:
    said = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return said.stdout.strip()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This commit, clean, whatever the working tree looks like."""
    folder = tmp_path_factory.mktemp("image") / "clone"
    git("clone", "--quiet", str(ROOT), str(folder))
    return folder


@pytest.fixture(scope="module")
def issued(clone: Path) -> Iterator[Issued]:
    """The demonstration's month, issued inside the image of this commit."""
    built = image_script(clone, "build")
    if any(words in built.stderr for words in ("works here; as root", "only be made as root")):
        pytest.skip(built.stderr.strip().splitlines()[-1])
    assert built.returncode == 0, built.stderr
    for line in built.stderr.splitlines():
        if "stands in" in line:
            warnings.warn(line, stacklevel=1)
    image = built.stdout.strip()
    try:
        ran = image_script(clone, "demo")
        assert ran.returncode == 0, ran.stdout + ran.stderr
        runs = clone / "build" / "demo" / "billing-demo" / "runs"
        (bag,) = runs.glob("MIC/*/*/bagit.txt")
        yield Issued(clone, git("rev-parse", "HEAD"), image, bag.parent, ran.stdout + ran.stderr)
    finally:
        image_script(clone, "remove")


def test_a_tree_that_differs_from_its_commit_makes_no_image(clone: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    git("clone", "--quiet", str(clone), str(changed))
    (changed / "Makefile").write_text("changed\n")
    refused = image_script(changed, "build")
    assert refused.returncode == 2
    assert refused.stderr.startswith("Files differ from the commit that the image would be")
    assert not (changed / "build").exists()


def test_the_record_names_the_image_by_digest_and_the_commit(issued: Issued) -> None:
    name, at, digest = issued.image.partition("@sha256:")
    assert name.endswith(NAME)
    assert at
    assert len(digest) == 64
    recorded = json.loads((issued.record / "data" / "environment.json").read_text())
    assert recorded["container"] == issued.image
    assert recorded["commit"] == issued.commit
    assert recorded["dirty"] is False
    assert issued.image in issued.output
    assert len(recorded["container_build"]) == 32
    assert recorded["container_told_by"].startswith("scripts/image.sh, by ")


def test_an_invented_digest_is_refused_in_the_image_too(issued: Issued, tmp_path: Path) -> None:
    engine = find_engine(issued.image)
    assert engine is not None
    invented = f"BILLING_IMAGE=localhost/other@sha256:{'a' * 64}"
    words = ["env", invented, "BILLING_IMAGE_BUILD=0123", "python", "-c", CHECK]
    refused = run_inside(engine, issued.image, tmp_path, words)
    assert "build id 0123, and this image has " in refused.stderr


def test_the_record_verifies_outside_the_image(issued: Issued, tmp_path: Path) -> None:
    said = billing("verify", issued.record, tmp_path)
    assert said.returncode == 3, said.stdout + said.stderr  # no ledger here, and unsigned
    assert "wrong: " not in said.stdout


def test_the_record_is_reproduced_inside_the_image_that_it_names(
    issued: Issued, tmp_path: Path
) -> None:
    copy = tmp_path / "archived elsewhere"
    shutil.copytree(issued.record, copy)
    said = billing("reproduce", copy, tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr
    assert f"in the recorded container {issued.image}, by " in said.stdout
    assert "reproduced, every result is the same" in said.stdout


def test_a_commands_status_is_its_own_whatever_the_engine_cannot_clean_up(
    issued: Issued, tmp_path: Path
) -> None:
    """buildah 1.28 panics behind a command whose container was unmounted meanwhile."""
    engine = find_engine(issued.image)
    if engine != "buildah":
        pytest.skip("only buildah mounts containers where others can take them away")
    waiting = "touch started; until [ -e go ]; do sleep 0.1; done; echo done; exit 3"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_inside, engine, issued.image, tmp_path, ["sh", "-c", waiting])
        while not (tmp_path / "started").exists():
            assert not running.done(), running.result()
            time.sleep(0.1)
        subprocess.run(["buildah", "umount", "--all"], env=vfs(), check=True, capture_output=True)
        (tmp_path / "go").touch()
        said = running.result(timeout=60)
    assert said.returncode == 3, said.stderr
    assert said.stdout == "done\n"


def test_an_engine_that_runs_nothing_is_not_held_against_the_record(tmp_path: Path) -> None:
    if shutil.which("buildah") is None:
        pytest.skip("buildah is not here")
    missing = f"localhost/no-such-image@sha256:{'0' * 64}"
    with pytest.raises(InvalidRecord, match=f"{missing}: buildah did not run the container: "):
        run_inside("buildah", missing, tmp_path, ["true"])


def billing(command: str, record: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command on the record, outside the image, with no ledger in reach."""
    return subprocess.run(
        [BILLING, command, record],
        cwd=folder,
        env=environment(BILLING_DATABASE=f"sqlite:///{folder}/nowhere/none.db", COLUMNS="200"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def vfs() -> dict[str, str]:
    return {"STORAGE_DRIVER": "vfs"} | os.environ
