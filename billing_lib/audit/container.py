"""Containers: running a command inside the image that a record names.

Whichever engine is here and has the image by its digest is used: docker, podman, or buildah,
which needs no engine. Nothing is pulled, and the command has no network where the engine can
see to that.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from billing_lib.audit.running import run_watched
from billing_lib.errors import InvalidRecord

MOUNTED = "/work"
"""Where the folder stands inside."""

_STATUS = "/run/billing-status"
_ENGINE_FAILED = 125  # docker's and podman's own status for what they did not even start


def find_engine(image: str) -> str | None:
    """The tool that works here and has this image (``name@sha256:…``); None if none has."""
    for tool in ("docker", "podman", "buildah"):
        if shutil.which(tool) and _has(tool, image):
            return tool
    return None


def image_commit(tool: str, image: str) -> str | None:
    """The commit whose code is in an image (its BILLING_COMMIT); None if it does not say."""
    if tool == "buildah":
        words = ["buildah", "inspect", "--type", "image", "--format", "{{.OCIv1.Config.Env}}"]
        said = _run(*words, image)
    else:
        name = image if tool == "podman" else _docker_name(image)
        said = _run(tool, "image", "inspect", "--format", "{{.Config.Env}}", name)
    found = re.search(r"\bBILLING_COMMIT=([0-9a-f]{40,64})\b", said.stdout)
    return found[1] if said.returncode == 0 and found else None


def run_inside(
    tool: str,
    image: str,
    folder: Path,
    command: Sequence[str],
    *,
    within: str = ".",
    beat: Callable[[], None] = lambda: None,
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, inside the image.

    Parameters
    ----------
    tool
        As ``find_engine`` gives it.
    folder
        Mounted as ``MOUNTED`` for reading and writing.
    within
        The command's working folder, relative to the mounted one.
    beat
        Called twice a second meanwhile; the command is ended if it raises.

    Raises
    ------
    InvalidRecord
        The tool did not come as far as to run the command.
    """
    where = str(PurePosixPath(MOUNTED) / within)
    if tool == "buildah":
        return _buildah(image, folder, where, command, beat)
    name = image if tool == "podman" else _docker_name(image)
    user = f"{os.getuid()}:{os.getgid()}"
    options = ["--rm", "--network", "none", "--user", user, "--workdir", where]
    if tool == "podman" and os.getuid() != 0:
        options += ["--userns", "keep-id"]
    mount = ["--volume", f"{folder}:{MOUNTED}", "--entrypoint", command[0]]
    done = run_watched([tool, "run", *options, *mount, name, *command[1:]], beat)
    if done.returncode == _ENGINE_FAILED:
        raise _not_run(tool, image, done)
    return done


def _buildah(
    image: str, folder: Path, where: str, command: Sequence[str], beat: Callable[[], None]
) -> subprocess.CompletedProcess[str]:
    made = _run("buildah", "from", "--pull-never", image)
    if made.returncode != 0:
        raise _not_run("buildah", image, made)
    container = made.stdout.strip()
    # buildah 1.28 panics, with a status of its own, where it cannot clean up behind a command that
    # ran well (its run_linux.go logs that to no logger): the command's status is kept apart.
    with tempfile.TemporaryDirectory(prefix="billing-status-") as kept:
        try:
            user = f"{os.getuid()}:{os.getgid()}"
            options = ["--isolation", "chroot", "--user", user, "--workingdir", where]
            mounts = ["--volume", f"{folder}:{MOUNTED}", "--volume", f"{kept}:{_STATUS}"]
            keeping = ["sh", "-c", f'"$@"; echo $? >{_STATUS}/status', "sh", *command]
            words = ["buildah", "run", *options, *mounts, container, "--", *keeping]
            done = run_watched(words, beat, env=_environment("buildah"))
        finally:
            _run("buildah", "rm", container)
        status = Path(kept, "status")
        if not status.exists():
            raise _not_run("buildah", image, done)
        done.returncode = int(status.read_text())
        return done


def _not_run(tool: str, image: str, done: subprocess.CompletedProcess[str]) -> InvalidRecord:
    said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
    return InvalidRecord(
        f"{tool} did not run the container: {said[0]}",
        where=image,
        remedy=f"see that {tool} runs this image, or take the image away to run without it",
    )


def _has(tool: str, image: str) -> bool:
    if tool == "docker":
        return _known(tool, "image", "inspect", _docker_name(image))
    if tool == "podman":
        return _known(tool, "image", "exists", image)
    return _known(tool, "inspect", "--type", "image", image)


def _docker_name(image: str) -> str:
    """docker knows an image by its digest once it was pushed, by its bare id until then."""
    return image if _known("docker", "image", "inspect", image) else image.partition("@")[2]


def _known(*words: str) -> bool:
    return _run(*words).returncode == 0


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, env=_environment(words[0]), capture_output=True, text=True, check=False
    )


def _environment(tool: str) -> dict[str, str] | None:
    # Without an engine, as inside another container, no other storage of buildah's works.
    return {"STORAGE_DRIVER": "vfs"} | os.environ if tool == "buildah" else None
