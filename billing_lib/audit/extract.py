"""Extracts: one invoice's own small record, to hand to a stranger.

    data/proof.json             that its files are part of the run's sealed record, and of the log
    data/invoices/  documents/  notebook/issue.ipynb  environment.json  parameters.yml  source.diff
                                as in the run's record, byte for byte
    data/snapshot/*.parquet     the invoice's part of the frozen snapshot

An extract is a record like any other: it verifies, and reproduces the same canonical bytes by the
same program. It has no other lab's data and no internal cost. Where a price depends on the
project's other usage (tiers, means), that usage is in it too; where a rule counts over a team's or
a user's other invoices, their sums are, as those of earlier months. The executed notebook is left
out, since it showed all invoices.
"""

import datetime as dt
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import Engine

from billing_lib.audit.archive import find_record
from billing_lib.audit.bag import (
    INFO,
    MANIFEST,
    SALT,
    SIGNATURE,
    TAG_MANIFEST,
    TREE,
    ManifestTree,
)
from billing_lib.audit.lock import PACKAGES, download_wheels, read_lock
from billing_lib.audit.log import Log, ledger_log
from billing_lib.audit.merkle import inclusion_path
from billing_lib.audit.program_source import read_program
from billing_lib.audit.proof import (
    FORMAT,
    PROOF,
    FileProof,
    LogProof,
    Proof,
    RecordProof,
    proof_json,
)
from billing_lib.audit.provenance import PriceBookOrigin, Provenance
from billing_lib.audit.record import (
    ENVIRONMENT,
    METADATA,
    NOTEBOOK,
    PARAMETERS,
    README,
    SCHEMAS_FOLDER,
    SOURCE_DIFF,
    RunDescription,
    seal_files,
)
from billing_lib.audit.verify import verify
from billing_lib.errors import InvalidRecord, UnknownInvoice, UnwritableFile
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.database import reading
from billing_lib.pricing.charging import targeted
from billing_lib.pricing.invoicing import bases, carried_key, part_in_words
from billing_lib.pricing.rates import INVOICE, Rule
from billing_lib.program import PROGRAM
from billing_lib.settings import Settings
from billing_lib.workflow.invoice import Computation, compute_invoices, invoice_json
from billing_lib.workflow.permissions import require_team
from billing_lib.workflow.snapshot import HISTORY, PERIODIC, Snapshot

_PROGRAM = (NOTEBOOK, ENVIRONMENT, PARAMETERS, README, SOURCE_DIFF)


def prove_invoice(engine: Engine, settings: Settings, number: str) -> Proof:
    """The proof of an issued invoice and its documents.

    Raises
    ------
    InvalidRecord
        The record is not as it was sealed, or of a version without a tree.
    """
    _require_reader(engine, number)
    return make_proof(find_record(number, settings.runs, engine), number, ledger_log(engine))


def extract_invoice(engine: Engine, settings: Settings, number: str, folder: Path) -> Path:
    """Make an issued invoice's extract as a new folder ``<number>`` in a folder; its path."""
    _require_reader(engine, number)
    record = find_record(number, settings.runs, engine)
    return make_extract(record, number, ledger_log(engine), folder)


def archive_records(records: list[Path], folder: Path, *, with_packages: bool) -> list[Path]:
    """Copy records into a folder, from which they reproduce without a network; their new paths.

    Parameters
    ----------
    with_packages
        Download the packages of each record's lock too. They stand beside the records, not in
        them: the lock has their hashes.

    Raises
    ------
    InvalidRecord
        A record is not intact, or holds no program; or a package cannot be downloaded.
    UnwritableFile
        A record is in the folder already, or the folder cannot be written.
    """
    copies = []
    for record in records:
        target = folder / record.name
        if target.exists():
            raise UnwritableFile("this folder is there already", where=str(target))
        _require_intact(record)
        if with_packages:
            commit = json.loads((record / "data" / ENVIRONMENT).read_bytes())["commit"]
            program = read_program(record / "data", commit)
            if program is None:
                raise InvalidRecord(
                    "the record is of an earlier version, which holds no program and no lock",
                    where=str(record),
                    remedy="hand it over without packages",
                )
            download_wheels(read_lock(program.files["uv.lock"]), folder / PACKAGES)
        try:
            with _made(target) as place:
                shutil.copytree(record, place)
        except OSError as error:
            raise UnwritableFile(
                f"the record cannot be copied here: {error.strerror or error}", where=str(folder)
            ) from None
        copies.append(target)
    return copies


@contextmanager
def _made(target: Path) -> Iterator[Path]:
    """The path of a folder to make, which becomes the target when all of it is there.

    Deletes one that a crash has left half made.
    """
    partial = target.with_name(f".{target.name}.partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    if partial.exists():
        shutil.rmtree(partial)
    try:
        yield partial
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _require_reader(engine: Engine, number: str) -> None:
    """Raise NotPermitted unless the user may see the invoice."""
    with reading(engine) as connection:
        invoice = ledger_invoices.require_invoice(connection, number)
        require_team(connection, str(invoice["facility"]), str(invoice["team"]))


def make_extract(record: Path, number: str, log: Log | None, folder: Path) -> Path:
    """Make an extract from a record, and from the log if there is one.

    Raises
    ------
    InvalidRecord
        The record is not intact, or its invoice does not come out the same from its part alone.
    UnwritableFile
        The folder exists already, or cannot be written.
    """
    proof = make_proof(record, number, log)
    target = folder / number
    if target.exists():
        raise UnwritableFile("this folder is there already", where=str(target))
    data = record / "data"
    part = invoice_snapshot(Snapshot.read(data / "snapshot"), number)
    computed = invoice_json(compute_invoices(part).invoices[number]).encode()
    if hashlib.sha256(computed).hexdigest() != proof.fingerprint:
        raise InvalidRecord(
            f"invoice {number} does not come out the same from its part of the snapshot alone",
            where=str(record),
            remedy="take the program's version that issued it, or hand over the whole record",
        )
    try:
        with _made(target) as made:
            for path in proof.sha256:
                (made / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(record / path, made / path)
            part.write(made / "data" / "snapshot")
            (made / "data" / PROOF).write_bytes(proof_json(proof))
            origin = _origin(data)
            further = {
                "External-Description": f"Extract of billing run {proof.record.run}: one invoice",
                "Billing-Extract-Of": proof.record.seal,
            }
            seal_files(made, _description(part, data, number), origin, further)
    except OSError as error:
        raise UnwritableFile(
            f"no extract can be made here: {error.strerror or error}", where=str(folder)
        ) from None
    return target


def make_proof(record: Path, number: str, log: Log | None) -> Proof:
    """The proof of an invoice, its documents and its program in a record.

    ``log`` is None without one. InvalidRecord if the record is not intact, or not the log's.
    """
    _require_intact(record)
    if not (record / TREE).is_file():
        raise InvalidRecord(
            "the record is of an earlier version, whose files cannot be proven one by one",
            where=str(record),
            remedy="hand over the whole record",
        )
    tree = ManifestTree.of((record / MANIFEST).read_bytes(), (record / SALT).read_bytes())
    result = f"data/invoices/{number}.json"
    files = [
        FileProof(
            line=line.decode(),
            salt=salt.hex(),
            index=index,
            path=[it.hex() for it in tree.path(index)],
        )
        for index, (line, salt) in enumerate(zip(tree.lines, tree.salts, strict=True))
        if _is_of(line.decode().partition("  ")[2], number)
    ]
    fingerprint = next((it.line[:64] for it in files if it.line.endswith(f"  {result}")), None)
    if fingerprint is None:
        raise UnknownInvoice(f"the record has no invoice {number}", where=str(record))
    tags, signature = (record / TAG_MANIFEST).read_bytes(), record / SIGNATURE
    seal, run = hashlib.sha256(tags).hexdigest(), _run(record)
    return Proof(
        format=FORMAT,
        number=number,
        fingerprint=fingerprint,
        record=RecordProof(
            run=run,
            seal=seal,
            tag_manifest=tags.decode(),
            signature=signature.read_text(encoding="ascii") if signature.is_file() else None,
            tree=(record / TREE).read_text(encoding="ascii"),
            files=files,
        ),
        log=None if log is None or log.head is None else _in_log(log, run, seal, record),
    )


def _require_intact(record: Path) -> None:
    findings = verify(record).findings
    if findings:
        raise InvalidRecord(
            f"the record is not as it was sealed ({findings[0].file}: {findings[0].what})",
            where=str(record),
            remedy="'billing verify' tells what was changed; restore it from a copy",
        )


def _is_of(path: str, number: str) -> bool:
    """Whether a record's file is handed over with an invoice."""
    folder, _, name = path.removeprefix("data/").partition("/")
    own = folder in ("invoices", "documents") and name.startswith(f"{number}.")
    return own or folder in (PROGRAM, SCHEMAS_FOLDER) or path.removeprefix("data/") in _PROGRAM


def _run(record: Path) -> str:
    for line in (record / INFO).read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(": ")
        if key == "External-Identifier":
            return value
    raise InvalidRecord(f"{INFO} names no run", where=str(record))


def _in_log(log: Log, run: str, seal: str, record: Path) -> LogProof:
    entry = next((entry for entry in log.entries if entry.issuing == run), None)
    if entry is None or entry.seal != seal or log.head is None:
        raise InvalidRecord(
            f"the log has {'no' if entry is None else 'another'} record of {run}",
            where=str(record),
            remedy="restore ledger and archive from one copy",
        )
    path = inclusion_path(log.leaves, entry.position - 1)
    return LogProof(
        position=entry.position,
        path=[it.hex() for it in path],
        head=log.head.line,
        signature=log.head.signature,
    )


def _origin(data: Path) -> Provenance:
    """The origin that a record states."""
    stated = json.loads((data / ENVIRONMENT).read_bytes())
    diff, book = data / SOURCE_DIFF, stated["price_book"]
    return Provenance(
        changed=tuple(stated["changed"]),
        diff=diff.read_bytes() if diff.is_file() else b"",
        price_book=None if book is None else PriceBookOrigin(**book),
        **{name: stated[name] for name in ("version", "commit", "container", "lock_sha256")},
        **{name: stated[name] for name in ("python", "platform", "packages")},
    )


def _description(part: Snapshot, data: Path, number: str) -> RunDescription:
    """The run of the record, as that of one invoice."""
    text, graph = part.text, json.loads((data / METADATA).read_bytes())["@graph"]
    action: dict[str, Any] = next(it for it in graph if it["@type"] == "CreateAction")
    return RunDescription(
        run=text["run"],
        facility=text["facility"],
        facility_name=text["facility_name"],
        period=text["period"],
        selection=f"invoice {number}",
        invoice_date=dt.date.fromisoformat(text["invoice_date"]),
        login=text["frozen_by"],
        frozen_at=dt.datetime.fromisoformat(text["frozen_at"]),
        started=dt.datetime.fromisoformat(action["startTime"]),
        ended=dt.datetime.fromisoformat(action["endTime"]),
    )


def invoice_snapshot(snapshot: Snapshot, number: str) -> Snapshot:
    """The part of a snapshot from which one invoice comes out the same, without other labs' data.

    Costs are null. ``prepaid``, ``history`` and ``year_to_date`` count the snapshot's other
    invoices in, as if they were earlier ones.
    """
    computation = compute_invoices(snapshot)
    (own,) = computation.totals.filter(pl.col("number") == number).iter_rows(named=True)
    of_project = pl.col("project") == own["project"]
    usage, lines = snapshot.usage.filter(of_project), snapshot.lines.filter(of_project)
    charges = pl.concat([usage["charge"], lines["charge"]])
    items = snapshot.items.join(usage.select("item").unique(), on="item", how="semi")
    return replace(
        snapshot,
        usage=usage,
        lines=lines,
        unbilled=snapshot.unbilled.filter(of_project),
        items=items.with_columns(cost=pl.lit(None, items.schema["cost"])),
        resources=snapshot.resources.join(items, on="resource", how="semi"),
        rates=snapshot.rates.join(usage.select("rate").unique(), on="rate", how="semi"),
        accounts=snapshot.accounts.filter(of_project),
        rules=_own_rules(snapshot, own["project"]),
        year_to_date=_carried(snapshot, computation, own, usage),
        notes=snapshot.notes.filter(of_project),
        adjustments=snapshot.adjustments.filter(pl.col("charge").is_in(charges.implode())),
        invoices=snapshot.invoices.filter(pl.col("number") == number).with_columns(
            prepaid=pl.lit(None if own["drawn"] is None else own["drawn"] + own["left"], pl.Int64)
        ),
        assignment=snapshot.assignment.filter(pl.col("invoice") == own["invoice"]),
        history=_history(snapshot, computation, own),
    )


def _own_rules(snapshot: Snapshot, project: str) -> pl.DataFrame:
    """The rules that apply to the project, which name no other project."""
    account = snapshot.accounts.filter(pl.col("project") == project).row(0, named=True)
    tags = set(account["tags"] or ())
    rules = [Rule.model_validate_json(body) for body in snapshot.rules["body"]]
    bodies = [
        (rule if rule.projects is None else rule.model_copy(update={"projects": (project,)})).body
        for rule in rules
    ]
    applies = pl.Series([rule.targets_project(project, tags) for rule in rules], dtype=pl.Boolean)
    return snapshot.rules.with_columns(body=pl.Series(bodies, dtype=pl.String)).filter(applies)


def _history(snapshot: Snapshot, computation: Computation, own: dict[str, Any]) -> pl.DataFrame:
    others = computation.totals.filter(
        pl.col("project") == own["project"], pl.col("number") != own["number"]
    ).select("project", "total", period=pl.lit(snapshot.text["period"]))
    history = snapshot.history.filter(pl.col("project") == own["project"])
    return (
        pl.concat([history, others.select(HISTORY.names())])
        .group_by("project", "period")
        .agg(pl.col("total").sum())
        .sort("project", "period")
    )


def _carried(
    snapshot: Snapshot, computation: Computation, own: dict[str, Any], usage: pl.DataFrame
) -> pl.DataFrame:
    """The totals that rules over a span count: earlier ones, and those of other invoices here.

    A rule over a team's or a user's span goes through the invoices in order; with what it left on
    the others counted before, it leaves the same on this one.
    """
    keys = pl.Series([own["project"], own["team"], *usage["user"].drop_nulls().unique()])
    of_own = pl.col("key").str.replace(r" \d{4}-\d\d-\d\d$", "").is_in(keys.implode())
    carried = [snapshot.year_to_date]
    if own["kind"] == PERIODIC:
        carried += _left_on_others(snapshot, computation, own)
    return (
        pl.concat(carried)
        .filter(of_own)
        .group_by("rule", "key", maintain_order=True)
        .agg(pl.col("amount").sum())
    )


def _left_on_others(
    snapshot: Snapshot, computation: Computation, own: dict[str, Any]
) -> list[pl.DataFrame]:
    """The other invoices' amounts of each rule over a team's or a user's span, by its key."""
    periodic = computation.totals.filter(
        pl.col("kind") == PERIODIC, pl.col("project") != own["project"]
    )
    names = periodic.select("invoice", "project", "team")
    lines = computation.priced.charges.join(names.select("invoice"), on="invoice", how="semi")
    changes = computation.rule_lines.drop("scope").join(
        names, left_on="subject", right_on="invoice"
    )
    catalogue, found = snapshot.catalogue(), []
    for position, rule in catalogue.rules_at(INVOICE):
        if rule.carries_by not in ("team", "user"):
            continue
        projects = targeted(rule, catalogue.projects)
        before = bases(
            rule,
            lines.filter(pl.col("project").is_in(projects.implode())),
            changes.filter(pl.col("position") < position),
            "project",
        ).with_columns(on=part_in_words(rule))
        on = ("project", "on", "user", "day")
        changed = changes.filter(pl.col("position") == position).select(*on, "amount")
        found.append(
            before.join(changed, on=on, how="left", nulls_equal=True)
            .join(names, on="project")
            .select(
                rule=pl.lit(rule.name),
                key=carried_key(rule),
                amount=pl.col("before") + pl.col("amount").fill_null(0),
            )
        )
    return found
