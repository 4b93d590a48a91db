"""An image is known by its digest and says of which commit it is; tests/image runs one."""

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from billing_lib.audit.reproduce import find_engine, image_commit

# With the tests of the real image on one worker: buildah's storage is one for the machine.
pytestmark = pytest.mark.xdist_group("image")

COMMIT = "c0ffee" + "0" * 34


def buildah(*words: str) -> str:
    done = subprocess.run(
        ["buildah", *words],
        env={"STORAGE_DRIVER": "vfs"} | os.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """An image with nothing in it but the statement of its commit, by name and digest."""
    if shutil.which("buildah") is None or os.getuid() != 0:
        pytest.skip("buildah works here only as root")
    container = buildah("from", "scratch")
    name = f"localhost/billing-test-{os.getpid()}"  # other workers test at the same time
    try:
        buildah("config", "--env", f"BILLING_COMMIT={COMMIT}", container)
        buildah("commit", "--quiet", container, name)
        format_ = "{{.FromImageDigest}}"
        yield f"{name}@{buildah('inspect', '--type', 'image', '--format', format_, name)}"
    finally:
        buildah("rm", container)
        buildah("rmi", name)


def test_an_image_is_found_by_its_digest_and_by_no_other(image: str) -> None:
    assert find_engine(image) == "buildah"
    name, _, _ = image.partition("@")
    assert find_engine(f"{name}@sha256:{'0' * 64}") is None


def test_an_image_says_of_which_commit_it_is(image: str) -> None:
    assert image_commit("buildah", image) == COMMIT
    name, _, _ = image.partition("@")
    assert image_commit("buildah", f"{name}@sha256:{'0' * 64}") is None
