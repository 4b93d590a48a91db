"""The clean room: the environment in which the issuing notebook runs, now and when reproduced.

    HOME, IPYTHONDIR, JUPYTER_*   an empty folder: no start-up file, profile or kernel of the user
    PYTHON*                       no user site, no PYTHONPATH but the program's own tree
    LC_ALL C.UTF-8, TZ UTC        no locale, no time zone of the machine
    everything else               unset: no password or setting reaches the notebook

A start-up file in ``~/.ipython`` that set the decimal precision once changed issued invoices. So
nothing is taken from the user's environment, and the kernel is this Python's own, whatever
``python3`` names among the user's kernels.
"""

import os
import time
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from traitlets import List, Type, Unicode

from billing_lib.audit import warm_kernel
from billing_lib.program import INSTALLED, PACKAGE


def clean_environment(folder: Path, tree: Path | None = None) -> dict[str, str]:
    """All variables of a process in the clean room.

    Parameters
    ----------
    folder
        An empty folder, in place of the user's home.
    tree
        A folder to import billing_lib from, before the installed packages.
    """
    stated = {
        "PATH": os.defpath,
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_CONFIG_DIR": str(folder / "jupyter"),
        "JUPYTER_DATA_DIR": str(folder / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONNOUSERSITE": "1",
        "PYTHONSAFEPATH": "1",
        "PYTHONHASHSEED": "0",
    }
    return stated if tree is None else stated | {"PYTHONPATH": str(tree)}


_TREE = None if INSTALLED else PACKAGE.parent


def warm_up() -> None:
    """Begin the notebook's imports, so that its kernel starts at once."""
    warm_kernel.warm_up(clean_environment(Path(os.devnull), _TREE))


class PromptClient(AsyncKernelClient):
    """A kernel's client that begins as soon as the kernel is idle.

    Jupyter's waits 0.2 s for each notebook until it sees that no further message comes.
    """

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait until the kernel answers and its messages arrive here.

        Raises
        ------
        RuntimeError
            The kernel has ended, or does not answer within ``timeout`` seconds.
        """
        until = float("inf") if timeout is None else time.monotonic() + timeout
        while True:
            asked = self.kernel_info()
            try:
                await self.get_shell_msg(timeout=1)
                while True:
                    message = await self.get_iopub_msg(timeout=0.2)
                    of = message["parent_header"].get("msg_id")
                    if of == asked and message["content"].get("execution_state") == "idle":
                        return
            except Empty:  # not started yet, or not connected yet: ask again
                if not await self.is_alive():
                    raise RuntimeError("the kernel has ended") from None
                if time.monotonic() > until:
                    raise RuntimeError(f"the kernel does not answer in {timeout} s") from None


class CleanKernelManager(AsyncKernelManager):
    """Starts this Python's kernel in the clean room; papermill's ``kernel_manager_class``."""

    client_factory = Type(PromptClient)
    home = Unicode(help="An empty folder, in place of the user's home.").tag(config=True)
    clients: List[Any] = List(help="The clients of its kernel, one for each notebook.")

    @property
    def kernel_spec(self) -> KernelSpec:
        """This Python's kernel, not one that the user installed under the same name."""
        argv = [*warm_kernel.LAUNCHER, "-f", "{connection_file}"]
        return KernelSpec(
            argv=argv,
            display_name="Python 3 (ipykernel)",
            language="python",
            metadata={"kernel_provisioner": {"provisioner_name": warm_kernel.NAME}},
        )

    def client(self, **options: Any) -> Any:
        """A client of the kernel, which is remembered to be closed."""
        self.clients = [*self.clients, super().client(**options)]
        return self.clients[-1]

    def close_clients(self) -> None:
        """Close the sockets of all clients, which papermill leaves open."""
        for client in self.clients:
            client.stop_channels()
        self.clients = []

    async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
        """Start the kernel in the clean room, whatever environment is asked for."""
        environment = clean_environment(Path(self.home), _TREE)
        await super().start_kernel(**(options | {"env": environment}))
