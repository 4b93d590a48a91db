"""The crate: what a run was, as RO-Crate 1.1 metadata of the profile Process Run Crate 0.5.

    CreateAction   who (agent), when, with which notebook (instrument)
                   object: snapshot, parameters    result: invoices, documents, executed notebook

The identifiers are those of the profile (w3id.org/ro/wfrun/process/0.5).
"""

import mimetypes
from pathlib import Path
from typing import Any

from rocrate.model import ContextEntity, DataEntity, Person
from rocrate.rocrate import ROCrate

from billing_lib.audit.description import RunDescription
from billing_lib.audit.provenance import NO_CONTAINER, Provenance

PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
LICENSE = "https://www.apache.org/licenses/LICENSE-2.0"
NOTEBOOK = "notebook/issue.ipynb"
EXECUTED = "notebook/issue.executed.ipynb"

_TYPES = {
    ".parquet": "application/vnd.apache.parquet",
    ".ipynb": "application/x-ipynb+json",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".yml": "application/yaml",
    ".diff": "text/x-diff",
}
_DESCRIPTIONS = {
    "snapshot": "part of the frozen snapshot that the notebook read",
    "invoices": "the canonical result of an invoice",
    "documents": "an invoice as it was sent",
}


def write_crate(data: Path, run: RunDescription, origin: Provenance) -> None:
    """Write ``ro-crate-metadata.json`` into a record's ``data/`` folder."""
    crate = ROCrate(version="1.1")
    crate.name = f"Billing run {run.run}"
    crate.description = (
        f"Audit record of the internal invoices of {run.facility_name} for {run.period}, "
        f"issued by run {run.run}."
    )
    crate.datePublished = run.invoice_date.isoformat()
    crate.license = crate.add(
        ContextEntity(
            crate,
            LICENSE,
            {"@type": "CreativeWork", "name": "Apache License 2.0", "description": "Of the code."},
        )
    )
    profile = {"@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}
    crate.root_dataset["conformsTo"] = crate.add(ContextEntity(crate, PROFILE, profile))
    files = {path: _add_file(crate, data, path) for path in _files(data)}
    agent = crate.add(Person(crate, f"#{run.login}", {"name": run.login}))
    crate.publisher = agent
    instrument = _make_instrument(crate, files[data / NOTEBOOK], origin)
    action = crate.add(_action(crate, run, agent, instrument, _split(data, files)))
    if origin.container != NO_CONTAINER:
        action["containerImage"] = crate.add(_image(crate, origin.container))
    crate.root_dataset["mentions"] = [action]
    crate.metadata.write(data)


def _files(data: Path) -> list[Path]:
    return sorted(path for path in data.rglob("*") if path.is_file())


def _add_file(crate: ROCrate, data: Path, path: Path) -> DataEntity:
    relative = path.relative_to(data)
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name, strict=False)[0]
    about = _DESCRIPTIONS.get(relative.parts[0])
    properties: dict[str, Any] = {
        "name": path.name,
        "encodingFormat": kind or "application/octet-stream",
        "contentSize": str(path.stat().st_size),
    }
    if about is not None:
        properties["description"] = about
    return crate.add_file(path, relative.as_posix(), properties=properties)


def _split(data: Path, files: dict[Path, DataEntity]) -> tuple[list[DataEntity], list[DataEntity]]:
    """What the run read, and what it made."""
    made = {"invoices", "documents"}
    read, results = [], []
    for path, entity in files.items():
        relative = path.relative_to(data)
        if relative.parts[0] in made or relative.as_posix() == EXECUTED:
            results.append(entity)
        elif relative.as_posix() != NOTEBOOK:
            read.append(entity)
    return read, results


def _make_instrument(crate: ROCrate, notebook: DataEntity, origin: Provenance) -> DataEntity:
    notebook["@type"] = ["File", "SoftwareSourceCode"]
    notebook["name"] = "issue.ipynb"
    notebook["description"] = "The notebook that computes invoices from a snapshot."
    notebook["version"] = origin.commit
    notebook["programmingLanguage"] = crate.add(
        ContextEntity(
            crate,
            "#python",
            {"@type": "ComputerLanguage", "name": "Python", "version": origin.python},
        )
    )
    return notebook


def _action(
    crate: ROCrate,
    run: RunDescription,
    agent: Person,
    instrument: DataEntity,
    files: tuple[list[DataEntity], list[DataEntity]],
) -> ContextEntity:
    objects, results = files
    action = ContextEntity(
        crate,
        f"#{run.run}",
        {
            "@type": "CreateAction",
            "name": f"Issue {run.facility} {run.period}",
            "description": f"Run {run.run}, frozen at {run.frozen_at.isoformat()}.",
            "startTime": run.started.isoformat(),
            "endTime": run.ended.isoformat(),
            "actionStatus": "http://schema.org/CompletedActionStatus",
        },
    )
    action["agent"] = agent
    action["instrument"] = instrument
    action["object"] = objects
    action["result"] = results
    return action


def _image(crate: ROCrate, container: str) -> ContextEntity:
    name, _, digest = container.partition("@")
    return ContextEntity(
        crate,
        f"#{container}",
        {
            "@type": "ContainerImage",
            "additionalType": "https://w3id.org/ro/terms/workflow-run#DockerImage",
            "name": name,
            "sha256": digest.removeprefix("sha256:"),
        },
    )
