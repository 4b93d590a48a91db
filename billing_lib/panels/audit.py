"""The audit notebook: choose a record, look at it, verify it, run it again.

    AuditPanel()                                      the first record in the archive
    AuditPanel("/archive/RC/1993-11/RC-1993-11-1")    this record, wherever it lies

Verifying lists all checks of the record against its seal and the ledger; reproducing runs the
commit's notebook again on the record's snapshot and lists every difference.
"""

import json
from html import escape
from pathlib import Path

import ipywidgets as widgets
import polars as pl

from billing_lib.audit.archive import list_records, open_anew, open_record
from billing_lib.audit.known import known_here
from billing_lib.audit.reproduce import Reproduction, reproduce
from billing_lib.audit.verify import FAULTY, Verification, verify
from billing_lib.errors import count_of
from billing_lib.folders import Folder
from billing_lib.panels.forms import Displayed, button, table
from billing_lib.panels.office import Message, ProgressBar
from billing_lib.settings import settings

_WIDE = {"width": "40em"}


class AuditPanel(Displayed):
    """The form of the audit notebook; ``archive`` is by default the settings' folder of records."""

    def __init__(self, record: str = "", archive: Folder | None = None) -> None:
        self.archive = archive or settings().runs
        self.message = Message()
        found = list_records(self.archive)
        self.record = widgets.Dropdown(
            description="Record", options=found, layout=_WIDE, style={"description_width": "6em"}
        )
        if record:
            place = _place(Path(record), self.archive)
            self.record.options = [place, *(other for other in found if other != place)]
            self.record.value = place
        self.about = widgets.HTML()
        self.findings = widgets.HTML()
        self.verify = button("Verify", primary=True)
        self.reproduce = button("Reproduce")
        self.accept_changes = widgets.Checkbox(
            description="Run it even if it was issued from changed files", indent=False
        )
        self.unsandboxed = widgets.Checkbox(
            description="Run it without a sandbox if none can be made here", indent=False
        )
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
                self.accept_changes,
                self.unsandboxed,
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
            verification = verify(open_anew(self.archive, self.record.value), known_here())
            self.findings.value = _verification(verification)
            sentence = f"{verification.sentence[:1].upper()}{verification.sentence[1:]}."
            if verification.status == FAULTY:
                self.message.refuse(sentence)
            else:
                self.message.say(sentence)

    def reproduce_record(self) -> None:
        """Run the chosen record again in the background and show every difference."""
        record, known = open_anew(self.archive, self.record.value), known_here()
        accepted, alone = self.accept_changes.value, self.unsandboxed.value
        self.findings.value = ""
        self.progress.start(
            lambda step: reproduce(
                record, known=known, accept_changes=accepted, unsandboxed=alone, step=step
            ),
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
            self.about.value = _about(open_record(self.archive, self.record.value))


def _verification(verification: Verification) -> str:
    """A table of the checks, then notes on the invoices."""
    rows = "".join(
        f"<tr><td>{escape(each.name)}</td><td>{'<br>'.join(map(escape, each.said))}</td></tr>"
        for each in verification.checks
    )
    notes = "".join(f"<p>{escape(note)}</p>" for note in verification.notes)
    return (
        f"<table><tr><th>Check</th><th>Result</th></tr>{rows}</table>{notes}"
        "<p>In the record's folder, <code>sha256sum -c manifest-sha256.txt tagmanifest-sha256.txt"
        "</code> checks the bytes too.</p>"
    )


def _place(record: Path, archive: Folder) -> str:
    """The record's place in the archive, or its full path outside."""
    if isinstance(archive, Path) and record.is_relative_to(archive):
        return record.relative_to(archive).as_posix()
    return record.absolute().as_posix()


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
        f"{count_of(len(invoices), 'invoice')}.</p>"
    )
    return f"{lines}{table(frame, 'Invoices of the record', right=('sum',)).data}"
