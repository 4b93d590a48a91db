"""Kernels that are forked: each as if it had been started alone, and none outlives its starter."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import papermill
import pytest
from nbformat import v4
from traitlets.config import Config

from billing_lib.audit import warm_kernel
from billing_lib.audit.clean_room import CleanKernelManager, clean_environment

ASKED = """
import os, sys, threading
from decimal import getcontext
getcontext().prec = 6
print(sorted(os.environ.items()))
print(os.getcwd(), os.getpgid(0) == os.getpid(), "warmed" in globals())
warmed = True
"""


def executed(folder: Path, source: str) -> str:
    """The output of a notebook of one cell, run in the clean room."""
    folder.mkdir()
    notebook = folder / "asked.ipynb"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content = v4.new_notebook(cells=[v4.new_code_cell(source)], metadata={"kernelspec": kernel})
    papermill.execute_notebook(
        content,
        str(notebook),
        cwd=str(folder),
        progress_bar=False,
        log_output=False,
        shutdown_kernel="immediate",
        kernel_manager_class=CleanKernelManager,
        config=Config(
            {
                "KernelManager": {"transport": "ipc"},
                "CleanKernelManager": {"home": str(folder)},
            }
        ),
    )
    (output,) = papermill.iorw.load_notebook_node(str(notebook)).cells[-1].outputs
    return str(output.text)


def test_each_kernel_has_its_own_folder_and_environment_and_nothing_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BILLING_DATABASE", "postgresql://user:secret@db/billing")
    for name in ("one", "two"):
        folder = tmp_path / name
        environment, state = executed(folder, ASKED).splitlines()
        stated = clean_environment(folder, Path(warm_kernel.__file__).parents[2])
        given = dict(eval(environment))
        assert stated.items() <= given.items()
        assert not {name for name in given if name.startswith("BILLING_")}
        assert state == f"{folder} True False"


def test_the_precision_that_one_kernel_sets_does_not_reach_the_next(tmp_path: Path) -> None:
    asked = "from decimal import getcontext\nprint(getcontext().prec)\ngetcontext().prec = 6"
    assert [executed(tmp_path / name, asked) for name in ("one", "two")] == ["28\n", "28\n"]


def test_what_forks_kernels_has_no_threads_that_work(tmp_path: Path) -> None:
    """Polars' pool would not live on in a fork; its allocator's threads know of forks."""
    asked = (
        "import os, pathlib\n"
        "tasks = pathlib.Path(f'/proc/{os.getppid()}/task').iterdir()\n"
        "print(*{(it / 'comm').read_text().strip() for it in tasks})"
    )
    threads = set(executed(tmp_path / "one", asked).split())
    assert threads <= {"python", "python3", "jemalloc_bg_thd", "polars-ooc-clea"}


def test_it_ends_with_the_process_that_started_it() -> None:
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os\nfrom billing_lib.audit import clean_room, warm_kernel\n"
            "clean_room.warm_up()\n"
            "print(warm_kernel._forkers[os.getpid(), warm_kernel.ISSUING]._process.pid)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    pid = int(said.stdout)
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or ended(pid):
            return
        time.sleep(0.1)
    pytest.fail("it still runs")


def ended(pid: int) -> bool:
    """Whether a process has ended and only waits to be forgotten."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_where_it_has_ended_the_next_try_begins_anew(tmp_path: Path) -> None:
    assert executed(tmp_path / "one", "print(1)") == "1\n"
    before = warm_kernel._forkers[os.getpid(), warm_kernel.ISSUING]._process
    before.kill()
    before.wait()
    assert executed(tmp_path / "two", "print(2)") == "2\n"


def test_a_kernel_that_ends_before_it_answers_is_said(tmp_path: Path) -> None:
    async def wait() -> None:
        kernel = CleanKernelManager(
            home=str(tmp_path), transport="ipc", connection_file=str(tmp_path / "kernel.json")
        )
        await kernel.start_kernel(cwd=str(tmp_path))
        await kernel.signal_kernel(signal.SIGKILL)
        client = kernel.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=60)
        finally:
            client.stop_channels()
            await kernel.cleanup_resources()

    # In a thread, for the browser's tests leave a loop in the main one.
    with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError, match="the kernel has ended"):
        pool.submit(lambda: asyncio.run(wait())).result()
