"""The audit notebook: choose a record, look at it, verify it, run it again.

    AuditPanel()                                      the first record in the archive
    AuditPanel("/archive/RC/1993-11/RC-1993-11-1")    this record, wherever it lies

Verifying compares every file with its seal; reproducing runs the record's notebook again by the
recorded code and lists every difference.
"""

import json
from html import escape
from pathlib import Path

import ipywidgets as widgets
import polars as pl

from billing_lib.audit.reproduce import Reproduction, reproduce
from billing_lib.audit.verify import Proof, list_records, prove, verify
from billing_lib.panels.forms import Displayed, button, table
from billing_lib.panels.office import Message, ProgressBar
from billing_lib.settings import settings
from billing_lib.workflow.issue import known_fingerprints

_WIDE = {"width": "40em"}


class AuditPanel(Displayed):
    """The form of the audit notebook; ``archive`` is by default the settings' folder of records."""

    def __init__(self, record: str = "", archive: Path | None = None) -> None:
        self.archive = archive or settings().runs
        self.message = Message()
        found = [(_place(path, self.archive), str(path)) for path in list_records(self.archive)]
        self.record = widgets.Dropdown(
            description="Record", options=found, layout=_WIDE, style={"description_width": "6em"}
        )
        if record:
            others = [(label, path) for label, path in found if path != record]
            self.record.options = [(_place(Path(record), self.archive), record), *others]
            self.record.value = record
        self.about = widgets.HTML()
        self.findings = widgets.HTML()
        self.verify = button("Verify", primary=True)
        self.reproduce = button("Reproduce")
        # The list is disabled, too: one record's result must never stand beside another record.
        self.progress = ProgressBar(self.message, self.record, self.verify, self.reproduce)
        self.record.observe(lambda _: self._show_record(), names="value")
        self.verify.on_click(lambda _: self.verify_record())
        self.reproduce.on_click(lambda _: self.reproduce_record())
        self._show_record()
        self.widget = widgets.VBox(
            [
                self.record,
                widgets.HBox([self.verify, self.reproduce]),
                self.progress.widget,
                self.message.widget,
                self.findings,
                self.about,
            ]
        )

    def html(self) -> str:
        """The message, the findings and the description of the record."""
        return str(self.message.widget.value) + str(self.findings.value) + str(self.about.value)

    def verify_record(self) -> None:
        """Verify the chosen record and show the findings."""
        with self.message.sentences():
            record = Path(self.record.value)
            fingerprints = known_fingerprints(settings().database)
            findings = verify(record, fingerprints=fingerprints)
            self._show([f"{finding.file}: {finding.what}" for finding in findings])
            if findings:
                self.message.refuse(f"{len(findings)} differences: the record is not intact")
            else:
                self.findings.value = _proof(prove(record, fingerprints))
                self.message.say("Verified: every byte is as it was sealed.")

    def reproduce_record(self) -> None:
        """Run the chosen record again in the background and show every difference."""
        record = Path(self.record.value)
        self.findings.value = ""
        self.progress.start(
            lambda step: reproduce(record, step=step),
            self._show_reproduction,
            stopped="the record is as it was",
        )

    def _show_reproduction(self, reproduction: Reproduction) -> None:
        self._show([str(difference) for difference in reproduction.differences])
        if reproduction.differences:
            count = len(reproduction.differences)
            self.message.refuse(f"{count} differences: the record does not reproduce")
        else:
            self.message.say(
                "Reproduced: every result is the same byte for byte. "
                f"It ran thus: {reproduction.environment}."
            )

    def _show(self, sentences: list[str]) -> None:
        rows = "".join(f"<pre>{escape(sentence)}</pre>" for sentence in sentences)
        self.findings.value = rows

    def _show_record(self) -> None:
        self.findings.value = ""
        self.about.value = ""
        self.verify.disabled = self.reproduce.disabled = not self.record.value
        if not self.record.value:
            self.message.say(f"There is no record in {self.archive}.")
            return
        self.message.say("")
        with self.message.sentences():
            self.about.value = _about(Path(self.record.value))


def _proof(proof: Proof) -> str:
    return (
        "<h3>What vouches for it</h3>"
        f"<p>sha256 <code>{proof.sha256}</code> of its tag manifest, which covers all "
        f"{proof.files:,} files; {escape(proof.signature)}. "
        "In the record's folder, <code>sha256sum -c manifest-sha256.txt tagmanifest-sha256.txt"
        "</code> checks the same.</p>"
        f"{table(proof.invoices, 'Fingerprints of its invoices').data}"
    )


def _place(record: Path, archive: Path) -> str:
    """The record's label in the list: its path in the archive, or its full path outside."""
    return (record.relative_to(archive) if record.is_relative_to(archive) else record).as_posix()


def _about(record: Path) -> str:
    data = record / "data"
    environment = json.loads((data / "environment.json").read_text(encoding="utf-8"))
    invoices = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((data / "invoices").glob("*.json"))
    ]
    frame = pl.DataFrame(
        [
            (it["number"], it["project"]["code"], it["invoice_date"], it["totals"]["total"])
            for it in invoices
        ],
        schema=dict.fromkeys(("number", "project", "invoice_date", "sum"), pl.String),
        orient="row",
    )
    lines = (
        f"<p>Commit <code>{escape(environment['commit'])}</code>, "
        f"container <code>{escape(environment['container'])}</code>, "
        f"{len(invoices)} invoices.</p>"
    )
    return f"{lines}{table(frame, 'Invoices of the record', right=('sum',)).data}"
