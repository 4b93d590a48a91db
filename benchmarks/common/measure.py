"""Measuring: each task in a process of its own, the best of several times, its peak memory.

best("ours", rate_all, files, times=3)   →   Measured("ours", seconds=…, peak=…, result=…)
"""

import os
import platform
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

MIB = 2**20
BUSY = "Processes that wanted to run, in the mean of the last 15 minutes"


@dataclass(frozen=True)
class Measured:
    """What a task took.

    Attributes
    ----------
    seconds
        The shortest time of a call, with nothing of the interpreter's start in it.
    peak
        The most memory that the process held, MiB, over all calls.
    result
        What the last call returned.
    """

    seconds: float
    peak: float
    result: Any

    def or_faster(self, other: "Measured") -> "Measured":
        """The faster of two measurements of the same task, with the larger peak."""
        return Measured(min(self.seconds, other.seconds), max(self.peak, other.peak), other.result)


def measure(task: Callable[..., Any], *arguments: object, times: int = 1) -> Measured:
    """Call a task several times in a fresh process."""
    # "spawn", so that the process starts empty and its peak is the task's own.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_timed, task, arguments, times).result()


def _timed(task: Callable[..., Any], arguments: tuple[object, ...], times: int) -> Measured:
    seconds = []
    result = None
    for _ in range(times):
        begun = time.perf_counter()
        result = task(*arguments)
        seconds.append(time.perf_counter() - begun)
    return Measured(min(seconds), _peak_mib(), result)


def _peak_mib() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the parent too, between fork and exec
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) / 1024
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


def machine() -> dict[str, str]:
    """The machine in words: processor, cores that may be used, memory, Python."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory:.0f} GiB",
        BUSY: f"{os.getloadavg()[2]:.1f}",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"
