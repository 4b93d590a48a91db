"""A command that takes long, and that a person can stop."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_BEAT = 0.5  # seconds


def run_watched(
    words: Sequence[str],
    beat: Callable[[], None],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command, its output kept; ``beat`` is called twice a second meanwhile.

    Where ``beat`` raises, the command is told to end (SIGTERM), waited for, and the error goes on.
    """
    piped = subprocess.PIPE
    with subprocess.Popen(
        words, cwd=cwd, env=env, stdout=piped, stderr=piped, text=True
    ) as process:
        try:
            while True:
                try:
                    output, errors = process.communicate(timeout=_BEAT)
                    return subprocess.CompletedProcess(words, process.returncode, output, errors)
                except subprocess.TimeoutExpired:
                    beat()
        finally:
            if process.poll() is None:
                process.terminate()
