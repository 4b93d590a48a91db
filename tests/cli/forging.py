"""Forgeries of a record, each resealed by someone who has every tool but the key.

FORGERIES is the table in docs/audit-record.md: what is changed, and the check that finds it.
"""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import nbformat
import polars as pl

from billing_lib.audit.bag import (
    INFO,
    MANIFEST,
    SALT,
    SIGNATURE,
    TAG_MANIFEST,
    TREE,
    manifest_bytes,
    payload_files,
    tag_files,
    write_manifests,
)
from billing_lib.audit.evidence import events_text, read_segment
from billing_lib.audit.program_source import LARGEST, read_program
from billing_lib.ledger.events import event_hash
from billing_lib.program import OBJECTS, SOURCE, git, pack_source
from billing_lib.program import PROGRAM as PROGRAM_FOLDER

NUMBER, OTHER = "MIC-2020-00001", "MIC-2020-00002"
RESULT, SECOND = f"data/invoices/{NUMBER}.json", f"data/invoices/{OTHER}.json"
PDF, HTML, XML, XLSX = (f"data/documents/{NUMBER}.{it}" for it in ("pdf", "html", "xml", "xlsx"))
ENVIRONMENT, CRATE = "data/environment.json", "data/ro-crate-metadata.json"
NOTEBOOK, EXECUTED = "data/notebook/issue.ipynb", "data/notebook/issue.executed.ipynb"
EVENTS = "data/evidence/events.jsonl"
MARKER = "a-program-of-the-record-ran"
"""The file that a forged program would write in the working folder."""

OWN_COMMIT = "5" * 40
PROGRAM = f"open('{MARKER}', 'w').close()"

Change = Callable[[Path], None]


@dataclass(frozen=True)
class Forgery:
    """What is changed, the check that finds it, and the change; ``sealed`` is whether the forger
    writes the manifests anew."""

    what: str
    check: str
    change: Change
    sealed: bool = True


def replace_file(path: Path, content: bytes) -> None:
    """Write a file anew: the copy's files are hard links, which must not be written into."""
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write(name: str, content: bytes) -> Change:
    """Another content."""
    return lambda record: replace_file(record / name, content)


def append(name: str, content: bytes) -> Change:
    """More at the end of a file."""
    return lambda record: replace_file(record / name, (record / name).read_bytes() + content)


def edit(name: str, old: str, new: str, times: int = -1) -> Change:
    """Another text in a file."""

    def change(record: Path) -> None:
        text = (record / name).read_text()
        assert old in text, (name, old)
        replace_file(record / name, text.replace(old, new, times).encode())

    return change


def edit_json(name: str, change: Callable[[Any], None]) -> Change:
    """Another value in a file of JSON, written in the canonical way."""

    def changed(record: Path) -> None:
        content = json.loads((record / name).read_text())
        before = json.dumps(content)
        change(content)
        assert json.dumps(content) != before
        text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        replace_file(record / name, text.encode())

    return changed


def remove(*names: str) -> Change:
    """Files taken away."""

    def change(record: Path) -> None:
        for name in names:
            (record / name).unlink()

    return change


def copy(source: str, target: str) -> Change:
    """Another file's content."""
    return lambda record: replace_file(record / target, (record / source).read_bytes())


def rename(source: str, target: str) -> Change:
    """Another name."""
    return lambda record: (record / source).rename(record / target) and None


def frame(name: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Change:
    """Other rows in a file of the snapshot."""

    def changed(record: Path) -> None:
        path = record / "data" / "snapshot" / f"{name}.parquet"
        before = pl.read_parquet(path)
        after = change(before).cast(dict(before.schema))
        path.unlink()
        after.write_parquet(path, compression="gzip")

    return changed


def setting(column: str, value: object) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Another value in every row."""
    return lambda rows: rows.with_columns(pl.lit(value).alias(column))


def text(key: str, value: str) -> Change:
    """Another text in the snapshot."""
    return frame(
        "texts",
        lambda rows: rows.with_columns(
            value=pl.when(pl.col("key") == key).then(pl.lit(value)).otherwise("value")
        ),
    )


def info(key: str, value: str) -> Change:
    """Another line in bag-info.txt."""

    def change(record: Path) -> None:
        lines = (record / INFO).read_text().splitlines()
        assert [line for line in lines if line.startswith(f"{key}: ")]
        kept = [f"{key}: {value}" if line.startswith(f"{key}: ") else line for line in lines]
        replace_file(record / INFO, "".join(f"{line}\n" for line in kept).encode())

    return change


def stated(key: str, value: object) -> Change:
    """Another value in environment.json."""
    return edit_json(ENVIRONMENT, lambda content: content.update({key: value}))


def entity(key: str, change: Callable[[dict[str, Any]], None]) -> Change:
    """Another entity in the crate: the one whose id or type is ``key``."""

    def changed(content: dict[str, Any]) -> None:
        (chosen,) = [it for it in content["@graph"] if key in (it["@id"], it["@type"])]
        change(chosen)

    return edit_json(CRATE, changed)


def both(*changes: Change) -> Change:
    """One change after the other."""

    def change(record: Path) -> None:
        for each in changes:
            each(record)

    return change


def everywhere(key: str, line: str, term: str | None, value: str) -> Change:
    """The same statement in all places that name the program."""
    changes = [stated(key, value), info(line, value)]
    if term is not None:
        changes.append(entity("notebook/issue.ipynb", lambda it: it.update({term: value})))
    return both(*changes)


def notebook(name: str, change: Callable[[Any], None]) -> Change:
    """Another notebook."""

    def changed(record: Path) -> None:
        content = nbformat.read(record / name, as_version=4)
        change(content)
        replace_file(record / name, nbformat.writes(content).encode())

    return changed


def run_program(content: Any) -> None:
    """Put a program into a notebook, before all else."""
    content.cells.insert(0, nbformat.v4.new_code_cell(PROGRAM))


def changed_program(record: Path) -> None:
    """Declare the program changed, by a difference that makes it run another one."""
    diff = (
        "diff --git a/billing_lib/forged.py b/billing_lib/forged.py\nnew file mode 100644\n"
        f"--- /dev/null\n+++ b/billing_lib/forged.py\n@@ -0,0 +1 @@\n+{PROGRAM}\n"
    ).encode()
    replace_file(record / "data" / "source.diff", diff)
    edit_json(
        ENVIRONMENT,
        lambda it: it.update(
            dirty=True,
            changed=["billing_lib/forged.py"],
            diff_sha256=hashlib.sha256(diff).hexdigest(),
        ),
    )(record)


def another_number(record: Path) -> None:
    """A third invoice, a copy of the first under the next number."""
    result = (record / RESULT).read_text().replace(NUMBER, "MIC-2020-00003")
    replace_file(record / "data" / "invoices" / "MIC-2020-00003.json", result.encode())


def chained_events(record: Path) -> None:
    """Take an event away and compute the chain of the others again."""
    events = read_segment(record / EVENTS)
    rows, previous = [], None
    for row in events.tail(events.height - 1).iter_rows(named=True):
        row["previous_hash"] = previous or row["previous_hash"]
        previous = row["hash"] = event_hash(row)
        rows.append(row)
    replace_file(record / EVENTS, events_text(pl.DataFrame(rows, schema=events.schema)))


def drop_event(record: Path) -> None:
    """Take an event out of the middle."""
    lines = (record / EVENTS).read_bytes().splitlines(keepends=True)
    replace_file(record / EVENTS, b"".join([*lines[:2], *lines[3:]]))


def link_to(target: str, name: str) -> Change:
    """A link in place of a file or folder."""

    def change(record: Path) -> None:
        path = record / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        path.symlink_to(target)

    return change


def pipe(record: Path) -> None:
    """A named pipe, at which a reader would wait for ever."""
    (record / RESULT).unlink()
    os.mkfifo(record / RESULT)


def holes(record: Path) -> None:
    """A file of a terabyte that takes no place on the disk."""
    with (record / "data" / "snapshot" / "more.parquet").open("wb") as file:
        file.truncate(1 << 40)


def archive_of_archives(record: Path) -> None:
    """An archive of an archive of zeros."""
    inner = record.parent / "inner.zip"
    with ZipFile(inner, "w", compression=8) as archive:
        archive.writestr("zeros", bytes(1 << 22))
    with tarfile.open(record / "data" / "more.tar.gz", "w:gz") as outer:
        outer.add(inner, "inner.zip")


def spoilt_line(record: Path) -> None:
    """A line of the manifest that names a file outside."""
    manifest = (record / MANIFEST).read_bytes()
    replace_file(record / MANIFEST, manifest + f"{'0' * 64}  ../../etc/passwd\n".encode())
    replace_file(record / TAG_MANIFEST, manifest_bytes(record, tag_files(record)))


def shortened(record: Path) -> None:
    """A manifest without a file that is there."""
    lines = (record / MANIFEST).read_bytes().splitlines(keepends=True)
    replace_file(record / MANIFEST, b"".join(lines[1:]))
    replace_file(record / TAG_MANIFEST, manifest_bytes(record, tag_files(record)))


def signed_by_another(record: Path) -> None:
    """Another key's signature."""
    key = record.parent / "another"
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(words, check=True)
    (record / SIGNATURE).unlink()
    words = ["ssh-keygen", "-Y", "sign", "-q", "-n", "billing-record", "-f", str(key)]
    subprocess.run([*words, str(record / TAG_MANIFEST)], check=True)


def own_program(record: Path) -> None:
    """A program of one's own, which its own commit and trees prove, named in all places."""
    data, folder = record / "data", record.parent / "own"
    stated = json.loads((record / ENVIRONMENT).read_text())
    source = read_program(data, stated["commit"])
    assert source is not None
    source.write(folder)
    notebook("notebooks/issue.ipynb", run_program)(folder)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all", "--force")
    who = ("-c", "user.name=m", "-c", "user.email=m@example.edu")
    git(folder, *who, "commit", "--quiet", "--message", "Mine")
    commit = git(folder, "rev-parse", "HEAD").decode().strip()
    for name, content in pack_source(folder, commit).items():
        replace_file(data / PROGRAM_FOLDER / name, content)
    for path in (data / PROGRAM_FOLDER / OBJECTS).iterdir():
        if f"{OBJECTS}/{path.name}" not in pack_source(folder, commit):
            path.unlink()
    replace_file(record / NOTEBOOK, (folder / "notebooks" / "issue.ipynb").read_bytes())
    everywhere("commit", "Billing-Commit", "version", commit)(record)
    stated = json.loads((record / ENVIRONMENT).read_text())
    (data / "source.diff").unlink(missing_ok=True)
    stated |= {"dirty": False, "changed": [], "diff_sha256": None}
    replace_file(record / ENVIRONMENT, json.dumps(stated).encode())


def repacked(change: Callable[[dict[str, bytes]], None]) -> Change:
    """Other files in the archive of the program's source."""

    def changed(record: Path) -> None:
        path = record / "data" / PROGRAM_FOLDER / SOURCE
        with tarfile.open(path) as packed:
            entries = packed.getmembers()
            contents = {it.name: packed.extractfile(it).read() for it in entries}  # type: ignore[union-attr]
        modes = {it.name: it.mode for it in entries}
        change(contents)
        archive = BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as packed:
            for name, content in contents.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), modes.get(name, 0o644)
                packed.addfile(entry, BytesIO(content))
        replace_file(path, archive.getvalue())

    return changed


def spoilt_tree(record: Path) -> None:
    """Another name in a tree of the program's commit."""
    tree = min((record / "data" / PROGRAM_FOLDER / OBJECTS).glob("*.tree"))
    replace_file(tree, tree.read_bytes().replace(b" ", b"  ", 1))


def other_font(record: Path) -> None:
    """A font that is none of the commit's."""
    replace_file(record / "data" / PROGRAM_FOLDER / "fonts" / "NotoSansArabic.ttf", b"none")


def reseal(record: Path) -> None:
    """Describe the files, write all manifests anew and take the signature away."""
    crate = record / CRATE
    try:
        content = json.loads(crate.read_text())
        graph = [it for it in content["@graph"] if "contentSize" not in it or is_in(record, it)]
        described = {it["@id"] for it in graph}
        for path in payload_files(record):
            name, size = path.relative_to(record / "data").as_posix(), str(path.stat().st_size)
            if path != crate and name not in described:
                graph.append({"@id": name, "@type": "File", "contentSize": size})
            for it in graph:
                if it["@id"] == name and "contentSize" in it:
                    it["contentSize"] = size
        replace_file(crate, json.dumps({**content, "@graph": graph}).encode())
    except (OSError, ValueError, KeyError):
        pass  # the forgery is the crate's own
    payload = payload_files(record)
    size = sum(path.stat().st_size for path in payload)
    info("Payload-Oxum", f"{size}.{len(payload)}")(record)
    for name in (MANIFEST, TREE, TAG_MANIFEST, SIGNATURE):
        (record / name).unlink(missing_ok=True)
    write_manifests(record, payload)


def is_in(record: Path, described: dict[str, Any]) -> bool:
    """Whether a described file is there."""
    return (record / "data" / described["@id"]).is_file()


def snapshot(what: str, change: Change) -> Forgery:
    """A forgery of the snapshot."""
    return Forgery(what, "snapshot", change)


def totals(content: dict[str, Any]) -> None:
    """A cent more."""
    content["totals"]["total"] = "148.34"


FORGERIES = (
    Forgery("an invoice's total, a cent more", "results", edit_json(RESULT, totals)),
    Forgery(
        "a line taken off an invoice", "results", edit_json(RESULT, lambda it: it["lines"].pop())
    ),
    Forgery("a line's user", "results", edit(RESULT, '"ann"', '"eve"')),
    Forgery("an invoice's date", "results", edit(RESULT, "2020-05-04", "2020-05-05")),
    Forgery(
        "an invoice's lab",
        "results",
        edit_json(RESULT, lambda it: it["team"].update(name="Jones Lab")),
    ),
    Forgery("an expense code", "results", edit(RESULT, '"A"', '"Z"')),
    Forgery("the currency", "results", edit(RESULT, '"USD"', '"EUR"')),
    Forgery("the way of writing a result, not its values", "results", edit(RESULT, "  ", " ")),
    Forgery(
        "a result of an earlier format",
        "schema",
        edit(RESULT, "billing-invoice/3", "billing-invoice/2"),
    ),
    Forgery(
        "a file of charges that no invoice names",
        "schema",
        write(f"data/invoices/{NUMBER}.charges.csv", b"line,charge"),
    ),
    Forgery("a result without a field", "schema", edit_json(RESULT, lambda it: it.pop("totals"))),
    Forgery("a result that is no JSON", "schema", write(RESULT, b"{")),
    Forgery(
        "a result of brackets, a hundred thousand deep", "schema", write(RESULT, b"[" * 100_000)
    ),
    Forgery("another invoice under the number", "schema", copy(SECOND, RESULT)),
    Forgery(
        "an invoice deleted with its documents", "numbers", remove(RESULT, PDF, HTML, XML, XLSX)
    ),
    Forgery("an invoice with an invented number", "numbers", another_number),
    Forgery(
        "an invoice under another number",
        "numbers",
        both(
            edit(RESULT, NUMBER, "MIC-2020-00009"),
            rename(RESULT, "data/invoices/MIC-2020-00009.json"),
        ),
    ),
    Forgery("a run that was never issued", "numbers", info("External-Identifier", "MIC-2020-04-7")),
    Forgery("a PDF's bytes", "seal", append(PDF, b"%")),
    Forgery("a PDF of another lab", "seal", copy(f"data/documents/{OTHER}.pdf", PDF)),
    Forgery("a page's amount", "seal", edit(HTML, "148.33", "148.34")),
    Forgery("an XML invoice's amount", "seal", edit(XML, "148.33", "148.34")),
    Forgery("a workbook of another lab", "seal", copy(f"data/documents/{OTHER}.xlsx", XLSX)),
    Forgery("a document deleted", "seal", remove(PDF)),
    Forgery("a document more for an invoice", "seal", write(f"data/documents/{NUMBER}.csv", b"x")),
    Forgery(
        "a document of no invoice", "documents", write("data/documents/MIC-2020-00008.pdf", b"%PDF")
    ),
    snapshot(
        "a price",
        frame(
            "rates", lambda it: it.with_columns(pl.lit("99").str.to_decimal(scale=2).alias("price"))
        ),
    ),
    snapshot("a quantity", frame("usage", lambda it: it.with_columns(pl.col("quantity") * 2))),
    snapshot("a usage record taken away", frame("usage", lambda it: it.head(1))),
    snapshot("a usage record more", frame("usage", lambda it: pl.concat([it, it.head(1)]))),
    snapshot("who used it", frame("usage", setting("user", "mallory"))),
    snapshot("the usage file's name", frame("usage", setting("file", "other.csv"))),
    snapshot("the reason why usage is unbilled", frame("unbilled", setting("reason", "none"))),
    snapshot("unbilled usage taken away", frame("unbilled", lambda it: it.clear())),
    snapshot("a project's lab", frame("accounts", setting("team", "smith"))),
    snapshot("an item's name", frame("items", setting("name", "Laser"))),
    snapshot(
        "a number reserved for another project",
        frame("invoices", lambda it: it.with_columns(pl.col("number").reverse())),
    ),
    snapshot(
        "what was billed before",
        frame(
            "history",
            lambda it: pl.DataFrame([("p1", "2020-03", 100)], schema=it.schema, orient="row"),
        ),
    ),
    snapshot(
        "what counts towards a cap",
        frame(
            "year_to_date",
            lambda it: pl.DataFrame([[1] * it.width], schema=it.schema, orient="row", strict=False),
        ),
    ),
    snapshot("who froze the run", text("frozen_by", "mallory")),
    snapshot("when it was frozen", text("frozen_at", "2020-05-01T00:00:00+00:00")),
    snapshot("the instructions on the invoice", text("instructions", "Pay to Mallory.")),
    snapshot("the price book's sha256 in the snapshot", text("price_book_sha256", "0" * 64)),
    snapshot("the same rows, packed otherwise", frame("usage", lambda it: it)),
    snapshot(
        "a table replaced by something else", write("data/snapshot/rates.parquet", b"PAR1 no")
    ),
    snapshot("a table deleted", remove("data/snapshot/rules.parquet")),
    snapshot("a file more", write("data/snapshot/logo.svg", b"<svg/>")),
    Forgery(
        "the commit, in all three places",
        "commit",
        everywhere("commit", "Billing-Commit", "version", OWN_COMMIT),
    ),
    Forgery("the commit in environment.json", "places", stated("commit", OWN_COMMIT)),
    Forgery("the commit in bag-info.txt", "places", info("Billing-Commit", OWN_COMMIT)),
    Forgery(
        "the commit in the crate",
        "places",
        entity("notebook/issue.ipynb", lambda it: it.update(version=OWN_COMMIT)),
    ),
    Forgery(
        "a commit that is an option of git",
        "places",
        everywhere("commit", "Billing-Commit", "version", "--output=x"),
    ),
    Forgery(
        "the version, in all places",
        "seal",
        everywhere("version", "Billing-Version", "softwareVersion", "9.9"),
    ),
    Forgery(
        "the container, in all places",
        "container",
        everywhere("container", "Billing-Container", None, f"x/y@sha256:{'a' * 64}"),
    ),
    Forgery(
        "the container in bag-info.txt",
        "places",
        info("Billing-Container", f"x/y@sha256:{'a' * 64}"),
    ),
    Forgery("the lock's sha256", "seal", stated("lock_sha256", "0" * 64)),
    Forgery(
        "the Python and the packages",
        "seal",
        both(stated("python", "CPython 3.9.1"), stated("packages", {"polars": "0.1"})),
    ),
    Forgery("a difference from the commit that adds a program", "seal", changed_program),
    Forgery("environment.json replaced by something else", "places", write(ENVIRONMENT, b"[]")),
    Forgery("the notebook, with a program of its own", "notebook", notebook(NOTEBOOK, run_program)),
    Forgery(
        "the review notebook, with a program of its own",
        "notebook",
        notebook("data/notebook/review.ipynb", run_program),
    ),
    Forgery(
        "a program that another commit proves, named in all places",
        "commit",
        own_program,
    ),
    Forgery(
        "a file of the program's source",
        "program",
        repacked(lambda it: it.update({"billing_lib/__init__.py": PROGRAM.encode()})),
    ),
    Forgery(
        "a file more in the program's source",
        "program",
        repacked(lambda it: it.update({"sitecustomize.py": PROGRAM.encode()})),
    ),
    Forgery(
        "a file outside of the program's source",
        "program",
        repacked(lambda it: it.update({"../../escaped.py": PROGRAM.encode()})),
    ),
    Forgery(
        "a file less in the program's source",
        "program",
        repacked(lambda it: it.pop("uv.lock") and None),
    ),
    Forgery(
        "a source that unpacks to more than a program",
        "program",
        lambda record: replace_file(
            record / "data" / PROGRAM_FOLDER / SOURCE, gzip.compress(bytes(LARGEST + 1), 1)
        ),
    ),
    Forgery("a tree of the program's commit", "program", spoilt_tree),
    Forgery("a font that is not the program's", "program", other_font),
    Forgery(
        "the list of the program's packages",
        "seal",
        edit(f"data/{PROGRAM_FOLDER}/sbom.cdx.json", "polars", "pollars"),
    ),
    Forgery("the schema of invoices", "seal", write("data/schemas/invoice.schema.json", b"{}")),
    Forgery("the page for whoever opens the record", "seal", write("data/README.md", b"Run it.")),
    Forgery("the notebook deleted", "notebook", remove(NOTEBOOK)),
    Forgery("what the notebook displayed", "seal", edit(EXECUTED, "148.33", "148.34")),
    Forgery("the executed notebook's cells", "seal", notebook(EXECUTED, run_program)),
    Forgery("the parameters", "seal", edit("data/parameters.yml", "MIC", "NF")),
    Forgery(
        "who issued, in the crate", "seal", entity("Person", lambda it: it.update(name="mallory"))
    ),
    Forgery(
        "when it was issued, in the crate",
        "seal",
        entity("#run-MIC-2020-04-1", lambda it: it.update(endTime="2020-05-04T00:00:00+00:00")),
    ),
    Forgery("a crate that is none", "places", write(CRATE, b"{}")),
    Forgery("the facility in bag-info.txt", "seal", info("Source-Organization", "Nanofab")),
    Forgery("the period in bag-info.txt", "seal", info("Billing-Period", "2020-05")),
    Forgery("the date in bag-info.txt", "seal", info("Bagging-Date", "2020-05-01")),
    Forgery("an event taken out of the chain", "evidence", drop_event),
    Forgery("an event's login", "evidence", edit(EVENTS, '"kind":"', '"kind":"x', 1)),
    Forgery("an event taken away, the chain computed again", "seal", chained_events),
    Forgery(
        "the price book's text", "evidence", edit("data/evidence/price-book.yml", "40.00", "41.00")
    ),
    Forgery(
        "a comment on the sign-off",
        "seal",
        edit("data/evidence/decisions.csv", "seen with both labs", "not seen"),
    ),
    Forgery(
        "the sha256 of a usage file", "seal", edit("data/evidence/usage-files.csv", "a", "b", 1)
    ),
    Forgery(
        "why prepaid funds were deposited",
        "seal",
        edit("data/evidence/deposits.csv", "a grant", "a gift"),
    ),
    Forgery("a posting", "seal", edit("data/evidence/journal.csv", "148.33", "148.34")),
    Forgery(
        "a dismissed finding's reason",
        "seal",
        edit("data/evidence/findings.csv", "a colleague of both", "none"),
    ),
    Forgery("the salt of the tree", "seal", write(SALT, f"{'0' * 64}\n".encode())),
    Forgery("a proof that is none", "proof", write("data/proof.json", b"{}")),
    Forgery("a file more, described", "seal", write("data/note.txt", b"seen")),
    Forgery("an archive of an archive of zeros", "seal", archive_of_archives),
    Forgery("one bit of a PDF, not resealed", "bytes", write(PDF, b"%PDF-1.7"), sealed=False),
    Forgery("a file that no manifest lists", "bytes", write("data/note.txt", b"x"), sealed=False),
    Forgery("a manifest without a file that is there", "bytes", shortened, sealed=False),
    Forgery("a manifest with a file outside of the record", "bytes", spoilt_line, sealed=False),
    Forgery(
        "a tree of another manifest",
        "bytes",
        both(
            write(TREE, f"{'0' * 64}  9 lines\n".encode()),
            lambda it: replace_file(it / TAG_MANIFEST, manifest_bytes(it, tag_files(it))),
        ),
        sealed=False,
    ),
    Forgery("a link in place of a document", "bytes", link_to("/etc/passwd", PDF), sealed=False),
    Forgery(
        "a link in place of the snapshot", "bytes", link_to("/etc", "data/snapshot"), sealed=False
    ),
    Forgery("a named pipe in place of a result", "bytes", pipe, sealed=False),
    Forgery("a file of a terabyte of holes", "bytes", holes, sealed=False),
)
"""Changes of one record."""

SIGNED = (
    Forgery(
        "the signature taken away, where signers are known",
        "signature",
        remove(SIGNATURE),
        sealed=False,
    ),
    Forgery("another key's signature", "signature", signed_by_another, sealed=False),
    Forgery(
        "a signature of something else", "signature", edit(SIGNATURE, "U1NI", "U1NJ"), sealed=False
    ),
)
"""Changes of a record's signature, found where allowed signers are known."""
