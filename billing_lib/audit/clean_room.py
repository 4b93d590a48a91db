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
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from traitlets import Unicode

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


class CleanKernelManager(AsyncKernelManager):
    """Starts this Python's kernel in the clean room; papermill's ``kernel_manager_class``."""

    home = Unicode(help="An empty folder, in place of the user's home.").tag(config=True)

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

    async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
        """Start the kernel in the clean room, whatever environment is asked for."""
        environment = clean_environment(Path(self.home), _TREE)
        await super().start_kernel(**(options | {"env": environment}))
