"""Sealing: a run's folder becomes a complete audit record, flushed to the disk.

    environment.json          program, price book, container, lock file and packages
    source.diff               the changes of a dirty program
    program/                  the program's source at its commit, and its packages (SBOM)
    schemas/                  the JSON Schema of invoices, and the context of the metadata
    ro-crate-metadata.json    the run: agent, times, notebook, inputs, results
    manifests and signature   the sha256 of every file; signed if there is a key

Sealing adds these files to a folder whose ``data/`` holds notebook, snapshot, parameters and
results. The metadata is RO-Crate 1.1 with the profiles Process Run Crate and Workflow Run Crate:
each executed notebook is a ``CreateAction`` whose instrument is its source, and the issuing
notebook the workflow. An identifier stands for the web address that a notebook and a facility lack:
the SWHID of the notebook's content (swhid.org), and a UUID of the facility's code and name.
Terms of the profile that RO-Crate 1.1 lacks are defined in the file itself, so readers need no
network.
"""

import datetime as dt
import mimetypes
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rocrate.model import ContextEntity, DataEntity, Person
from rocrate.rocrate import ROCrate

from billing_lib.audit.bag import SIGNATURE, TAG_MANIFEST, TIME_STAMP, write_bag
from billing_lib.audit.lock import bill_of_materials, read_lock
from billing_lib.audit.program_source import object_hash, write_program
from billing_lib.audit.provenance import NO_CONTAINER, PriceBookOrigin, Provenance
from billing_lib.audit.signing import RECORDS, sign, time_stamp
from billing_lib.errors import InvalidRecord
from billing_lib.program import NAME, PACKAGE, PROGRAM, packed_source
from billing_lib.settings import anywhere


@dataclass(frozen=True)
class RunDescription:
    """A run in its record's metadata.

    Attributes
    ----------
    run, facility, facility_name, period
        ``RC-1993-10-1``, ``RC``, its name, ``1993-10``.
    selection
        A project's code, or '' for the whole month.
    login, frozen_at
        The login and time of freezing, from the ledger.
    started, ended
        The notebook's start and end; instants with a time zone.
    """

    run: str
    facility: str
    facility_name: str
    period: str
    selection: str
    invoice_date: dt.date
    login: str
    frozen_at: dt.datetime
    started: dt.datetime
    ended: dt.datetime


PROFILES = (
    ("https://w3id.org/ro/wfrun/process/0.5", "Process Run Crate", "0.5"),
    ("https://w3id.org/ro/wfrun/workflow/0.5", "Workflow Run Crate", "0.5"),
    ("https://w3id.org/workflowhub/workflow-ro-crate/1.0", "Workflow RO-Crate", "1.0"),
)
"""The profiles of RO-Crate that a record keeps."""

METADATA = "ro-crate-metadata.json"
ISSUE = "issue"
EXECUTED_NOTEBOOKS = (ISSUE, "review", "adjust")
"""The notebooks that are executed on the frozen month, in this order."""

NOTEBOOK = "notebook/issue.ipynb"


def executed_path(notebook: str) -> str:
    """The path in a record's data of an executed notebook, by that of its source."""
    return f"{notebook.removesuffix('.ipynb')}.executed.ipynb"


EXECUTED = executed_path(NOTEBOOK)
ENVIRONMENT = "environment.json"
SOURCE_DIFF = "source.diff"
PARAMETERS = "parameters.yml"
README = "README.md"
SBOM = f"{PROGRAM}/sbom.cdx.json"
SCHEMAS_FOLDER = "schemas"
SCHEMAS = (
    PACKAGE / "workflow" / "invoice.schema.json",
    Path(__file__).with_name("ro-crate-1.1-context.jsonld"),
)
"""The files of ``SCHEMAS_FOLDER``."""

_LICENSE = "https://www.apache.org/licenses/LICENSE-2.0"
_ROCRATE = "https://w3id.org/ro/crate/1.1"
_WORKFLOW = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
_PARAMETER = "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"
_PARAMETERS = {"input": ("parameters", "snapshot"), "output": ("invoices", "documents")}
"""The parameters of the issuing notebook as a workflow: a file, or the files of a folder."""
_RUN_TERMS = "https://w3id.org/ro/terms/workflow-run#"
_TYPES = {
    ".parquet": "application/vnd.apache.parquet",
    ".ipynb": "application/x-ipynb+json",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".xml": "application/xml",
    ".yml": "application/yaml",
    ".md": "text/markdown",
    ".gz": "application/gzip",
    ".jsonld": "application/ld+json",
    ".diff": "text/x-diff",
    ".jsonl": "application/jsonl",
}
_DESCRIPTIONS = {
    "snapshot": "part of the frozen snapshot that the notebook read",
    "invoices": "the canonical result of an invoice",
    "documents": "an invoice as it was sent",
    "evidence": "price book, usage files, decisions and events about the run",
    "proof.json": "a proof that the files are part of the run's sealed record",
    PROGRAM: "the program's source at its commit, or a git object that proves it",
    SBOM: "the program's packages, as CycloneDX",
    SCHEMAS_FOLDER: "the form of other files of the record",
    README: "how to check this record and how to run it again",
    ENVIRONMENT: "program, price book, container, lock file and package versions of the run",
    SOURCE_DIFF: "how the program's files differed from the commit",
    PARAMETERS: "the notebook's parameters",
    NOTEBOOK: "the notebook that computes invoices from a snapshot",
    "notebook": "a notebook that shows the frozen month, or one as it was executed",
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
    facility = crate.add(
        ContextEntity(
            crate,
            f"#facility-{quote(run.facility)}",
            {
                "@type": "Organization",
                "name": run.facility_name,
                "url": uuid.uuid5(uuid.NAMESPACE_OID, f"{run.facility} {run.facility_name}").urn,
            },
        )
    )
    crate.publisher = facility
    crate.license = crate.add(
        _work(
            crate,
            "#internal",
            "Internal record",
            f"For {run.facility_name} and its auditors; not licensed for publication.",
        )
    )
    crate.root_dataset["conformsTo"] = [
        crate.add(
            ContextEntity(
                crate, address, {"@type": "CreativeWork", "name": name, "version": version}
            )
        )
        for address, name, version in PROFILES
    ]
    crate.metadata["conformsTo"] = [{"@id": _ROCRATE}, {"@id": PROFILES[-1][0]}]
    files = {path.relative_to(data).as_posix(): path for path in _files(data)}
    entities = {name: _add_file(crate, name, path) for name, path in files.items()}
    agent = crate.add(Person(crate, f"#login-{quote(run.login)}", {"name": run.login}))
    agent["affiliation"] = facility
    crate.root_dataset["author"] = agent
    if README in entities:
        entities[README]["about"] = crate.root_dataset
    read = [entity for name, entity in entities.items() if _is_read(name)]
    book: list[ContextEntity] = []
    if origin.price_book is not None:
        book.append(crate.add(_crate_price_book(crate, origin.price_book)))
    actions = []
    for name in EXECUTED_NOTEBOOKS:
        source = f"notebook/{name}.ipynb"
        if source not in entities:  # an extract has the issuing notebook alone
            continue
        action = crate.add(_action(crate, run, name))
        action["agent"] = agent
        action["instrument"] = _instrument(crate, entities[source], files[source], origin)
        action["object"] = _values([*read, *book] if name == ISSUE else read)
        action["result"] = _values(
            [
                entity
                for made, entity in entities.items()
                if made == executed_path(source) or (name == ISSUE and _is_made(made))
            ]
        )
        if origin.container != NO_CONTAINER:
            action["containerImage"] = crate.add(_image(crate, origin.container))
        actions.append(action)
    crate.root_dataset["mentions"] = _values(actions)
    crate.mainEntity = _workflow(crate, entities)
    crate.metadata.write(data)


def _values(entities: list[Any]) -> Any:
    """Values of a property: RO-Crate recommends no list of one."""
    return entities[0] if len(entities) == 1 else entities


def _workflow(crate: ROCrate, entities: Mapping[str, DataEntity]) -> DataEntity:
    """The issuing notebook as a workflow, with the files of the run as its parameters."""
    workflow = entities[NOTEBOOK]
    workflow["conformsTo"] = {"@id": _WORKFLOW}
    for direction, names in _PARAMETERS.items():
        for name in names:
            parts = [
                entity
                for path, entity in entities.items()
                if (path == PARAMETERS and name == "parameters") or path.startswith(f"{name}/")
            ]
            if not parts:
                continue
            properties = {
                "@type": "FormalParameter",
                "conformsTo": {"@id": _PARAMETER},
                "additionalType": "File",
                "name": name,
                "multipleValues": "False" if name == "parameters" else "True",
            }
            parameter = crate.add(ContextEntity(crate, f"#parameter-{name}", properties))
            parameter["workExample"] = _values(parts)
            for part in parts:
                part["exampleOfWork"] = parameter
            workflow.append_to(direction, parameter)
    return workflow


def _files(data: Path) -> list[Path]:
    return sorted(path for path in data.rglob("*") if path.is_file() and path.name != METADATA)


def _add_file(crate: ROCrate, name: str, path: Path) -> DataEntity:
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name, strict=False)[0]
    about = _DESCRIPTIONS.get(name) or _DESCRIPTIONS.get(name.partition("/")[0])
    properties: dict[str, Any] = {
        "name": path.name,
        "encodingFormat": kind or "application/octet-stream",
        "contentSize": str(path.stat().st_size),
    }
    if about is not None:
        properties["description"] = about
    if name == NOTEBOOK:
        properties["@type"] = ["File", "SoftwareSourceCode", "ComputationalWorkflow"]
    elif name.removeprefix("notebook/") in {f"{each}.ipynb" for each in EXECUTED_NOTEBOOKS}:
        properties["@type"] = ["File", "SoftwareSourceCode"]
    return crate.add_file(path, name, properties=properties)


def _is_read(name: str) -> bool:
    return name.startswith("snapshot/") or name == PARAMETERS


def _is_made(name: str) -> bool:
    return name.startswith(("invoices/", "documents/"))


def _work(crate: ROCrate, identifier: str, name: str, about: str) -> ContextEntity:
    return ContextEntity(
        crate, identifier, {"@type": "CreativeWork", "name": name, "description": about}
    )


def _instrument(crate: ROCrate, notebook: DataEntity, path: Path, origin: Provenance) -> DataEntity:
    notebook["version"] = origin.commit
    notebook["url"] = f"swh:1:cnt:{object_hash('blob', path.read_bytes(), '0' * 40)}"
    notebook["softwareVersion"] = origin.version
    notebook["license"] = crate.add(
        _work(crate, _LICENSE, "Apache License 2.0", "The licence of the program.")
    )
    notebook["programmingLanguage"] = crate.add(
        ContextEntity(
            crate,
            "#python",
            {"@type": "ComputerLanguage", "name": "Python", "version": origin.python},
        )
    )
    return notebook


def _crate_price_book(crate: ROCrate, book: PriceBookOrigin) -> ContextEntity:
    """The price book; the snapshot holds all of its content that the run needed."""
    properties = {
        "@type": "CreativeWork",
        "name": book.file,
        "description": "The price book from which the charges were rated.",
        "identifier": f"sha256:{book.sha256}",
    }
    if book.commit is not None:
        differs = ", with changes" if book.changed else ""
        properties["version"] = f"commit {book.commit}{differs}"
    return ContextEntity(crate, f"#price-book-{book.sha256}", properties)


def _action(crate: ROCrate, run: RunDescription, notebook: str) -> ContextEntity:
    return ContextEntity(
        crate,
        f"#{'run' if notebook == ISSUE else notebook}-{quote(run.run)}",
        {
            "@type": "CreateAction",
            "name": f"{notebook.capitalize()} {run.facility} {run.period}",
            "description": f"Run {run.run}, frozen by {run.login} at {run.frozen_at.isoformat()}.",
            "startTime": run.started.isoformat(timespec="seconds"),
            "endTime": run.ended.isoformat(timespec="seconds"),
            "actionStatus": "http://schema.org/CompletedActionStatus",
        },
    )


def _image(crate: ROCrate, container: str) -> ContextEntity:
    terms = ("containerImage", "ContainerImage", "registry", "sha256")
    crate.metadata.extra_terms.update({term: _RUN_TERMS + term for term in terms})
    address, _, digest = container.partition("@")
    properties: dict[str, Any] = {
        "@type": "ContainerImage",
        "additionalType": {"@id": f"{_RUN_TERMS}DockerImage"},
        "name": address,
        "sha256": digest.removeprefix("sha256:"),
    }
    registry, slash, name = address.partition("/")
    if slash and (registry == "localhost" or {".", ":"} & set(registry)):
        properties |= {
            "registry": registry,
            "name": name,
        }  # container engines split the name in the same way
    return ContextEntity(crate, f"#image-{quote(container)}", properties)


def read_ahead(origin: Provenance) -> None:
    """Read the program's source and lock, of which ``seal`` then knows."""
    packed_source(origin.root, origin.commit)
    read_lock((origin.root / "uv.lock").read_bytes())


def seal(folder: Path, run: RunDescription, origin: Provenance) -> list[str]:
    """Seal a run's folder as an audit record and flush it to the disk.

    Returns a sentence if the site has a time stamp authority that gave no time stamp: the record is
    sealed without one, so that billing does not wait for others.

    Parameters
    ----------
    folder
        The folder with the filled ``data/``; sealing it again writes the same record again.
    origin
        The program and environment by which the results were computed.

    Raises
    ------
    InvalidRecord
        The record cannot be signed with the set key.
    OSError
        The disk is full or fails.
    """
    data = folder / "data"
    (data / ENVIRONMENT).write_text(origin.environment_json(), encoding="utf-8")
    if origin.diff:
        (data / SOURCE_DIFF).write_bytes(origin.diff)
    write_program(data, origin.root, origin.commit, origin.changed)
    _write_descriptions(data, origin)
    return seal_files(folder, run, origin, {})


def seal_files(
    folder: Path, run: RunDescription, origin: Provenance, further: dict[str, str]
) -> list[str]:
    """Seal a folder whose ``data/`` is complete but for the crate, as ``seal`` does.

    ``further`` has lines of bag-info.txt, which replace those of the same key.
    """
    write_crate(folder / "data", run, origin)
    write_bag(
        folder,
        {
            "Source-Organization": run.facility_name,
            "External-Identifier": run.run,
            "External-Description": f"Audit record of billing run {run.run}",
            "Bagging-Date": run.ended.date().isoformat(),
            "Bag-Software-Agent": f"{NAME} {origin.version}, commit {origin.commit}",
            "Billing-Facility": run.facility,
            "Billing-Period": run.period,
            "Billing-Selection": run.selection or "all projects",
            "Billing-Version": origin.version,
            "Billing-Commit": origin.commit,
            **_price_book(origin),
            "Billing-Container": origin.container,
        }
        | further,
    )
    for name in (SIGNATURE, TIME_STAMP):
        (folder / name).unlink(missing_ok=True)
    current = anywhere()
    manifest = (folder / TAG_MANIFEST).read_bytes()
    if current.signing_key is not None:
        (folder / SIGNATURE).write_bytes(sign(manifest, current.signing_key, RECORDS))
    notes = []
    if current.time_stamps is not None:
        try:
            (folder / TIME_STAMP).write_bytes(time_stamp(manifest, current.time_stamps))
        except InvalidRecord as error:
            notes.append(f"the record of {run.run} is not time-stamped: {error}")
    _flush(folder)
    return notes


_README = """# An audit record of internal invoices

`../bag-info.txt` names the facility, the month and the billing run. All of it opens with common
tools:

- Are the files intact? In the folder above: `sha256sum -c manifest-sha256.txt
  tagmanifest-sha256.txt`. `tagmanifest-sha256.txt.sig`, if there is one, is an SSH signature.
- What was billed? `invoices/<number>.json`, by `schemas/invoice.schema.json`; its sha256 is the
  fingerprint on the invoice. `documents/` has what was sent.
- From what? `snapshot/*.parquet` is all that the computation read.
- By which program? `environment.json` names the commit. `program/objects/<commit>.commit` is that
  commit: `git hash-object -t commit FILE` gives its name, the commit names a tree, trees name files
  by their hashes, and `program/source.tar.gz` holds those that run.
- The same again? Unpack `program/source.tar.gz`, install what its `uv.lock` names, and run in that
  folder `python -c "from billing_lib.cli import main; main()" reproduce RECORD`.
"""


def _write_descriptions(data: Path, origin: Provenance) -> None:
    """Write the program's packages, the schemas, and a page for whoever opens the folder."""
    (data / README).write_text(_README, encoding="utf-8")
    lock = read_lock((origin.root / "uv.lock").read_bytes())
    stated = (origin.version, origin.commit, origin.python, origin.packages)
    (data / PROGRAM).mkdir(exist_ok=True)
    (data / SBOM).write_text(bill_of_materials(lock, *stated), encoding="utf-8")
    (data / SCHEMAS_FOLDER).mkdir(exist_ok=True)
    for schema in SCHEMAS:
        shutil.copyfile(schema, data / SCHEMAS_FOLDER / schema.name)


def _price_book(origin: Provenance) -> dict[str, str]:
    if origin.price_book is None:
        return {}
    return {"Billing-Price-Book": f"{origin.price_book.file} {origin.price_book.sha256}"}


def _flush(folder: Path) -> None:
    """Flush every file and every folder's entries to the disk."""
    for path in [*folder.rglob("*"), folder, folder.parent]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
