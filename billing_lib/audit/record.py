"""Sealing: a run's folder becomes an audit record, whole and on the disk.

Before, ``data/`` holds notebook, snapshot, parameters and results. Sealing adds where they come
from (environment.json, and the diff of a changed tree), what the run was (the crate), the
manifests, and the signature, if there is a key.
"""

import os
from pathlib import Path

from billing_lib.audit.bag import SIGNATURE, write_bag
from billing_lib.audit.crate import ENVIRONMENT, SOURCE_DIFF, write_crate
from billing_lib.audit.description import RunDescription
from billing_lib.audit.provenance import Provenance
from billing_lib.audit.signature import sign
from billing_lib.settings import settings


def seal(folder: Path, run: RunDescription, origin: Provenance) -> None:
    """Seal a run's folder as an audit record and flush it to the disk.

    Parameters
    ----------
    folder
        The folder with the filled ``data/``; sealing it again writes the same record again.
    origin
        By which commit and in which environment the results were computed.

    Raises
    ------
    InvalidRecord
        The record is to be signed and cannot be.
    OSError
        The disk is full or fails.
    """
    data = folder / "data"
    (data / ENVIRONMENT).write_text(origin.environment_json(), encoding="utf-8")
    if origin.dirty:
        (data / SOURCE_DIFF).write_bytes(origin.diff)
    write_crate(data, run, origin)
    write_bag(
        folder,
        {
            "Source-Organization": run.facility_name,
            "External-Identifier": run.run,
            "External-Description": f"Audit record of billing run {run.run}",
            "Bagging-Date": run.ended.date().isoformat(),
            "Bag-Software-Agent": f"billing-notebooks {origin.commit}",
            "Billing-Facility": run.facility,
            "Billing-Period": run.period,
            "Billing-Selection": run.selection or "all projects",
            "Billing-Commit": origin.commit,
            "Billing-Container": origin.container,
        },
    )
    (folder / SIGNATURE).unlink(missing_ok=True)
    key = settings().signing_key
    if key is not None:
        sign(folder, key)
    _flush(folder)


def _flush(folder: Path) -> None:
    """Have the disk take every file and every folder's entries before the record counts."""
    for path in [*folder.rglob("*"), folder, folder.parent]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
