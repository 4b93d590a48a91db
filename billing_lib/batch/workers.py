"""Workers: where the batch issues facilities, on this machine or on a Dask cluster.

    processes(4)                          processes of this machine, for billing month
    dask_workers(4, None, …)              the same with Dask, for billing month --workers 4
    dask_workers(None, "tcp://head:8786", …)   a cluster, for billing month --scheduler

Dask gives the task of a worker that died to another one. That one waits until the dead worker's
lease in the ledger has ended, and finishes or undoes what it finds (batch/issuing.py). A worker
works with the settings of whoever asked, and refuses to if its own differ, or its program.
"""

import logging
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from billing_lib.audit.provenance import provenance
from billing_lib.errors import BillingError, InvalidSettings, NotReady
from billing_lib.program import spare_iri_parsers
from billing_lib.settings import Settings, require_extra, settings
from billing_lib.workflow.steps import Progress, unheard

Watch = Callable[[str, str, str], None]
"""Hears of a step: the facility's month (RC 1993-11), the worker and the step."""

Work = Callable[[str, str, Settings, Progress], Any]
"""Issues a facility's month with these settings, and reports its steps."""

_TOPIC = "billing"
_SAME = (
    *("database", "runs", "parameters", "usage_files", "signing_key", "time_stamps"),
    *("log_name", "log_export"),
)
"""The settings of which an issuing's result depends."""

_one = threading.Lock()


@dataclass(frozen=True)
class Workers:
    """Workers that issue: ``submit`` takes a work, a facility and a month.

    ``died`` is the error of a task whose workers died too often.
    """

    executor: Executor
    submit: Callable[[Work, str, str], Any]
    died: type[Exception]


@contextmanager
def processes(count: int, stated: Settings, watch: Watch) -> Iterator[Workers]:
    """Processes of this machine; one that ends breaks all of them."""
    fresh = multiprocessing.get_context("spawn")  # a fork would copy the locks of other threads
    with ProcessPoolExecutor(count, fresh, spare_iri_parsers) as pool:

        def submit(work: Work, facility: str, period: str) -> Any:
            watch(f"{facility} {period}", "this machine", "waits")
            return pool.submit(work, facility, period, stated, unheard)

        yield Workers(pool, submit, BrokenProcessPool)


@contextmanager
def dask_workers(
    count: int | None, scheduler: str | None, stated: Settings, watch: Watch
) -> Iterator[Workers]:
    """The workers of a Dask scheduler, or of one that is started here with so many processes.

    Raises
    ------
    MissingExtra
        Dask is not installed.
    InvalidSettings
        The ledger is a file, which other machines cannot share.
    NotReady
        The scheduler cannot be reached, or has no workers.
    """
    require_extra("cluster", "issuing by workers")
    from distributed import Client, KilledWorker, LocalCluster  # noqa: PLC0415

    if scheduler is not None and make_url(stated.database).get_backend_name() == "sqlite":
        raise InvalidSettings(
            "a cluster needs a ledger on PostgreSQL, and this one is a file",
            where="BILLING_DATABASE",
            remedy="use processes of this machine, or move the ledger",
        )
    commit = None if scheduler is None else provenance().commit
    sent = stated.model_copy(update=_placed(stated) | {"smtp_password": None})
    try:
        started: AbstractContextManager[Any]
        if scheduler is None:
            started = LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.ERROR,  # it says each worker's end on the terminal
            )
            client = Client(started)
        else:
            started, client = nullcontext(), Client(scheduler)
        client.wait_for_workers(1, timeout=60)
    except (OSError, ValueError) as error:
        raise NotReady(
            f"the Dask scheduler cannot be used ({error})",
            where=scheduler,
            remedy="start it and its workers: docs/scale.md",
        ) from None
    with started, client:
        client.subscribe_topic(_TOPIC, lambda event: watch(*event[1]))
        executor = client.get_executor(pure=False)

        def submit(work: Work, facility: str, period: str) -> Any:
            watch(f"{facility} {period}", "", "waits")
            return executor.submit(_work_here, work, facility, period, sent, commit)

        yield Workers(executor, submit, KilledWorker)


def _work_here(work: Work, facility: str, period: str, stated: Settings, commit: str | None) -> Any:
    """Issue on a Dask worker, one facility at a time in its process."""
    from distributed import get_worker  # noqa: PLC0415 — a worker has it

    worker = get_worker()

    def step(done: int, total: int, what: str) -> None:
        worker.log_event(_TOPIC, (f"{facility} {period}", str(worker.name), what))

    with _one:
        step(0, 1, "begins")
        if commit is not None:
            _require_same(stated, commit, str(worker.name))
        return work(facility, period, stated, step)


def _require_same(stated: Settings, commit: str, worker: str) -> None:
    """Raise NotReady unless this worker's program and settings are those of whoever asked."""
    try:
        mine = settings()
        own = mine.model_copy(update=_placed(mine))
        differs = [name for name in _SAME if getattr(own, name) != getattr(stated, name)]
        differs += ["program"] if provenance().commit != commit else []
    except BillingError as error:
        raise NotReady(str(error), where=f"worker {worker}") from None
    if differs:
        raise NotReady(
            f"its {' and '.join(differs)} differs from that of the machine that asks",
            where=f"worker {worker}",
            remedy="start it in the same site, with the same version of the program",
        )


def _placed(stated: Settings) -> dict[str, Any]:
    """The settings' paths as they are from any folder."""
    paths = {name: getattr(stated, name) for name in Settings.model_fields}
    return {name: path.absolute() for name, path in paths.items() if isinstance(path, Path)}
