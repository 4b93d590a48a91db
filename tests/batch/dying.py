"""What a Dask worker of test_workers.py runs, so that it dies at a named step, as if killed."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distributed import Worker, WorkerPlugin

from billing_lib.batch import issuing
from billing_lib.settings import Settings
from billing_lib.workflow.invoice import compute_invoices, write_invoices
from billing_lib.workflow.snapshot import Snapshot
from billing_lib.workflow.steps import Progress

STEPS = {
    "M1": "freeze:after",  # the transaction is rolled back
    "M2": "execute_notebooks:before",  # frozen
    "M3": "store:before",  # sealed
    "M4": "commit_issuing:after",  # stored; the transaction is rolled back
    "M5": "publish:before",  # issued
    "M6": "publish:after",  # issued and published, and nobody was told
}
"""The step at which the worker of each facility dies."""


def asked(facility: str, period: str, settings: Settings, step: Progress) -> list[object]:
    """A work that issues nothing and says what a worker was given."""
    step(0, 1, "compute")
    return [facility, period, str(settings.runs), settings.smtp_password]


class Dying(WorkerPlugin):
    """Lets a worker die at each of these steps, unless another one has died there.

    A worker that is started anew is let die again.
    """

    def __init__(self, deaths: Path) -> None:
        self.deaths = deaths

    def setup(self, worker: Worker) -> None:
        _arm(self.deaths)


def _arm(deaths: Path) -> None:
    execute = issuing.execute_notebooks

    def executed(data: Path, parameters: dict[str, str]) -> None:
        if STEPS[parameters["facility"]].startswith("publish"):
            execute(data, parameters)
            return
        computed = compute_invoices(Snapshot.read(data / "snapshot"))  # faster than a kernel
        write_invoices(computed.invoices, data / "invoices")
        (data / "notebook").mkdir()
        shutil.copy(issuing.SOURCES["issue"], data / "notebook")

    issuing.execute_notebooks = executed
    for facility, step in STEPS.items():
        name, _, instant = step.partition(":")
        setattr(issuing, name, _dying(getattr(issuing, name), facility, instant, deaths))


def _dying(
    function: Callable[..., Any], facility: str, instant: str, deaths: Path
) -> Callable[..., Any]:
    def called(*args: Any, **kwargs: Any) -> Any:
        if instant == "after":
            result = function(*args, **kwargs)
        if any(facility in str(word) for word in (*args, *kwargs.values())):
            try:
                (deaths / facility).touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return result if instant == "after" else function(*args, **kwargs)

    return called
