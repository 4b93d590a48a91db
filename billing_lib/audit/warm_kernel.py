"""Warm kernels: forks of one process that has the imports of their notebooks.

    python -m billing_lib.audit.warm_kernel    imports, then forks a kernel for each request

Most of a kernel's start is imports, and this process makes them once. For issuing it runs in the
clean room; for the pages of the office (panels/server.py) in the environment of their server. It
executes nothing else. Beside its own thread it has only threads that take a fork: the allocator's,
the cleaner that polars starts when it is imported, and those of numpy's OpenBLAS. Each kernel gets
a home, a folder and an environment of its own. The process ends with the one that started it.

Forks need the process handles of Linux; elsewhere each kernel starts by itself.
"""

import asyncio
import atexit
import gc
import importlib
import os
import select
import signal
import subprocess
import sys
import time
from importlib.metadata import EntryPoint
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock
from typing import Any, Never

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

ISSUING = (
    "billing_lib.documents.registry",
    "billing_lib.panels.frozen",
    "billing_lib.panels.issue",
)
"""The imports of the issuing notebook."""

LAUNCHER = [sys.executable, "-m", "ipykernel_launcher"]
"""How a kernel of this Python starts."""

NAME = "billing-warm"
"""The name of the provisioner, for a kernel specification's ``metadata``."""


class ForkedKernel:
    """A kernel by its process id, with those methods of Popen that a provisioner calls."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._handle = os.pidfd_open(pid)
        self._ended = select.poll()  # unlike select(), for handles beyond 1,023 too
        self._ended.register(self._handle, select.POLLIN)

    def poll(self, seconds: float = 0) -> int | None:
        """0 if the kernel has ended, or ends in this time, else None."""
        return 0 if self._ended.poll(seconds * 1000) else None

    def wait(self) -> int:
        """Wait until the kernel has ended."""
        self._ended.poll()
        os.close(self._handle)
        return 0

    def send_signal(self, number: int) -> None:
        """Send a signal; none if the kernel has ended."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._handle, number)

    def terminate(self) -> None:
        """Ask the kernel to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the kernel."""
        self.send_signal(signal.SIGKILL)


class Forker:
    """The process that forks kernels, with its whole environment and the modules it imports."""

    def __init__(self, environment: dict[str, str], imports: tuple[str, ...]) -> None:
        self._lock = Lock()
        self._pipe, theirs = Pipe()
        words = [sys.executable, "-m", __name__, str(theirs.fileno()), *imports]
        self._process = subprocess.Popen(words, env=environment, pass_fds=[theirs.fileno()])
        theirs.close()
        atexit.register(self._process.terminate)  # it may still be importing

    def fork(self, words: list[str], folder: Path, environment: dict[str, str]) -> ForkedKernel:
        """Fork a kernel with these arguments, in a folder and with all of its environment.

        Raises
        ------
        OSError
            The process has ended.
        """
        try:
            with self._lock:
                self._pipe.send((words, folder, environment))
                return ForkedKernel(self._pipe.recv())
        except EOFError:
            raise ConnectionResetError("the process that starts kernels has ended") from None

    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None


_forkers: dict[tuple[int, tuple[str, ...]], Forker] = {}
_lock = Lock()


def warm_up(environment: dict[str, str], imports: tuple[str, ...] = ISSUING) -> Forker:
    """This process's forker of these imports, which begins to import at the first call."""
    with _lock:
        own = (os.getpid(), imports)  # a forked worker of the batch has its own
        forker = _forkers.get(own)
        if forker is None or forker.ended():
            forker = _forkers[own] = Forker(environment, imports)
        return forker


class WarmProvisioner(LocalProvisioner):
    """Starts a kernel of this Python as a fork, and any other as usual."""

    imports: tuple[str, ...] = ISSUING

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Fork a kernel; ``cmd`` is that of the kernel's specification."""
        if cmd[:3] != LAUNCHER or not hasattr(os, "pidfd_open"):
            return await super().launch_kernel(cmd, **kwargs)
        environment, self.cwd = kwargs["env"], Path(kwargs.get("cwd") or Path.cwd())
        kernel = warm_up(environment, self.imports).fork(cmd[3:], self.cwd, environment)
        self.process = kernel  # type: ignore[assignment]
        self.pid = self.pgid = kernel.pid
        return self.connection_info

    async def kill(self, restart: bool = False) -> None:
        """Kill the kernel, and see its end at once: Jupyter looks ten times a second."""
        await super().kill(restart)
        if isinstance(self.process, ForkedKernel):
            await asyncio.to_thread(self.process.poll, 1)


KernelProvisionerFactory.instance().provisioners[NAME] = EntryPoint(
    NAME, f"{__name__}:{WarmProvisioner.__name__}", KernelProvisionerFactory.GROUP_NAME
)


def _serve(requests: Connection, imports: list[str]) -> None:
    """Import, then fork a kernel for each request, and answer with its process id."""
    gc.disable()  # nothing of what is imported is garbage, here or in a kernel
    if tuple(imports) == ISSUING:
        sys.modules["debugpy"] = None  # type: ignore[assignment] # nobody debugs it
    for name in ("ipykernel.kernelapp", "ipykernel.debugger", *imports):
        importlib.import_module(name)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no kernel stays a zombie
    while True:
        try:
            words, folder, environment = requests.recv()
            pid = os.fork()
            if pid > 0:
                requests.send(pid)
        except (EOFError, ConnectionError):  # whoever started it has ended
            return
        if pid == 0:
            requests.close()
            _become_kernel(words, folder, environment)


def _become_kernel(words: list[str], folder: Path, environment: dict[str, str]) -> Never:
    gc.enable()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    app = importlib.import_module("ipykernel.kernelapp").IPKernelApp
    app.launch_instance(argv=[*words, f"--IPKernelApp.parent_handle={os.getppid()}"])
    os._exit(0)


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])), sys.argv[2:])
