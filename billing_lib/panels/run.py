"""The page of a billing run: what can be done with it, how it is set, what was done, what it
comes to, its invoices; each part folds.

The panel calls what ``billing run`` calls; a mistake shows as a sentence.
"""

from collections.abc import Callable
from html import escape

import ipywidgets as widgets
import polars as pl

from billing_lib.batch import process_run
from billing_lib.errors import DirtyTree, InvalidAdjustment
from billing_lib.issuer import Issued, Terms
from billing_lib.panels.display import Displayed
from billing_lib.panels.office import Message, Office
from billing_lib.panels.progress import Progress
from billing_lib.panels.tables import table
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.pricing.period import Period
from billing_lib.run_documents import write_run_documents
from billing_lib.workflow import run_actions
from billing_lib.workflow.readiness import is_ready, sign_off
from billing_lib.workflow.run_report import RunReport, report_run
from billing_lib.workflow.selection import RunSelection
from billing_lib.workflow.steps import Step

_WIDE = {"width": "34em"}
_LABEL = {"description_width": "9em"}

CONFIGURATION = {
    "currency": "Currency",
    "timezone": "Time zone",
    "issue": "Issued when",
    "crossing": "Usage across months",
    "late_usage": "Late usage goes to",
}
"""The price book's keys that a run goes by, and how the page names them."""


class RunPanel(Displayed):
    """The page of the run notebook for one facility and month.

    Attributes
    ----------
    widget
        What the notebook displays.
    """

    def __init__(
        self, facility: str, period: str, run: str = "", office: Office | None = None
    ) -> None:
        self.office = office or Office.open()
        self.book = self.office.book(facility)
        self.period = Period.parse(period)
        self.places = minor_places(self.book.facility.currency)
        self.message = Message()
        self.progress = Progress(self.message)
        self.heading = widgets.HTML()
        self.run = widgets.Dropdown(description="Billing run", layout=_WIDE, style=_LABEL)
        self.date = widgets.DatePicker(description="Invoice date", style=_LABEL)
        self.text = widgets.Text(
            description="Words", placeholder="a comment, a reason or a description",
            continuous_update=False, layout=_WIDE, style=_LABEL,
        )  # fmt: skip
        self.frees = widgets.Checkbox(
            value=True, description="cancelling frees its charges", indent=False
        )
        self.dirty = widgets.Checkbox(
            description="issue from changed files; the record keeps the difference",
            indent=False,
            layout={"width": "34em", "display": "none"},
        )
        self.buttons = {
            name: _button(name, style, icon, self._act(act))
            for name, style, icon, act in (
                ("Make or update the invoices", "primary", "refresh", self.make),
                ("Say that the month is ready", "", "check", self.ready),
                ("Take the next step", "success", "play", self.process),
                ("Disable or enable", "", "pause", self.switch),
                ("Describe", "", "pencil", self.describe),
                ("Cancel the run", "danger", "times", self.cancel),
                ("Write the PDFs", "", "file-pdf-o", self.write_documents),
            )
        }
        self.parts = {
            name: widgets.HTML()
            for name in ("Configuration", "Execution report", "Statistics", "Invoices")
        }
        self.run.observe(lambda _: self.show(), names="value")
        self.refresh(run)
        self.widget = widgets.VBox([self.heading, self.run, self._folded()])

    def html(self) -> str:
        """What it shows, without the means to change it."""
        return "".join(
            [
                str(self.heading.value),
                *(f"<h3>{name}</h3>{it.value}" for name, it in self.parts.items()),
            ]
        )

    def _folded(self) -> widgets.Accordion:
        row = {"flex_flow": "row wrap"}
        actions = widgets.VBox(
            [
                *(self.text, self.date, self.frees, self.dirty),
                widgets.Box(list(self.buttons.values()), layout=row),
                self.message.widget,
                self.progress.widget,
            ]
        )
        folded = widgets.Accordion([actions, *self.parts.values()])
        for at, title in enumerate(("Actions", *self.parts)):
            folded.set_title(at, title)
        folded.selected_index = 0
        return folded

    def refresh(self, chosen: str = "") -> None:
        """Read the month's runs again."""
        with self.message.sentences():
            facility = self.book.facility.code
            runs = run_actions.list_runs(self.office.engine, facility, str(self.period))
            known, before = runs["run"].to_list(), chosen or self.run.value
            self.run.options = known
            self.run.value = before if before in known else (known[-1] if known else None)
            self.show()

    def show(self) -> None:
        """Show the run that is chosen."""
        with self.message.sentences():
            facility = self.book.facility
            ready = is_ready(self.office.engine, self.book, str(self.period))
            said = "may be issued" if ready else "waits for a reviewer's word that it is ready"
            self.heading.value = (
                f"<p><b>{escape(facility.name)} · {self.period}</b>: the month {said}.</p>"
            )
            if self.run.value is None:
                for part in self.parts.values():
                    part.value = "<p>There is no billing run of this month yet.</p>"
                return
            view = run_actions.read_run(self.office.engine, self.book, self.run.value)
            report = report_run(self.office.engine, self.book, self.run.value)
            self.parts["Configuration"].value = self._configuration(view.run)
            self.parts["Execution report"].value = _jobs(view.jobs)
            self.parts["Statistics"].value = self._statistics(report)
            self.parts["Invoices"].value = self._invoices(view.invoices)

    def make(self) -> list[str]:
        """Make the month's invoices as drafts, or take in what has come since."""
        return run_actions.make_run(
            self.office.engine, self.book, self.period, RunSelection(), self.text.value
        )

    def ready(self) -> list[str]:
        """Say that the month may be issued as it stands."""
        return [sign_off(self.office.engine, self.book, str(self.period), self.text.value)]

    def switch(self) -> list[str]:
        """Disable the run, or enable it again."""
        view = run_actions.read_run(self.office.engine, self.book, self._chosen())
        return run_actions.set_enabled(
            self.office.engine,
            self.book,
            self._chosen(),
            enabled=view.run["state"] == "DISABLED",
        )

    def describe(self) -> list[str]:
        """Edit the run's description."""
        return run_actions.describe(
            self.office.engine, self.book, self._chosen(), self.text.value.strip()
        )

    def cancel(self) -> list[str]:
        """Cancel the run: what it has not issued is closed."""
        return run_actions.cancel(
            self.office.engine,
            self.book,
            self._chosen(),
            self.text.value.strip(),
            reopen=self.frees.value,
        )

    def process(self) -> list[str]:
        """Take the run's next step in the background: submit it, issue what all have approved."""
        terms = Terms(
            None if self.date.value is None else self.date.value.isoformat(), self.dirty.value
        )
        run = self._chosen()

        def work(step: Step) -> Issued:
            try:
                return process_run(
                    self.office.engine, self.office.settings, self.book, run, terms=terms, step=step
                )
            except DirtyTree:
                self.dirty.layout.display = ""
                raise
            finally:
                self.refresh()

        self.progress.start(work, lambda issued: self.message.say("; ".join(issued.sentences)))
        return []

    def write_documents(self) -> list[str]:
        """Write the PDF of every invoice of the run into the office folder, in the background."""
        run = self._chosen()
        folder = self.office.settings.office / self.book.facility.code / str(self.period) / "pdf"

        def work(step: Step) -> int:
            step(0, 1, "reading the invoices")
            office = self.office
            written = write_run_documents(
                office.engine, office.settings, self.book, run, ["pdf"], folder, step
            )
            return len(written)

        self.progress.start(
            work,
            lambda count: self.message.say(f"{count:,} files written to {folder}"),
            stopped=f"what is written already is in {folder}",
        )
        return []

    def _chosen(self) -> str:
        if self.run.value is None:
            raise InvalidAdjustment("this month has no billing run", remedy="make one first")
        return str(self.run.value)

    def _act(self, act: Callable[[], list[str]]) -> Callable[[], None]:
        def click() -> None:
            with self.message.sentences():
                said = act()
                if said:
                    self.text.value = ""
                    self.refresh()
                    self.message.say("; ".join(said[-3:]))

        return click

    def _configuration(self, run: dict[str, object]) -> str:
        facility = self.book.facility
        stated = {label: str(getattr(facility, key)) for key, label in CONFIGURATION.items()}
        approval = facility.approval
        reviewers = "nobody; the issuer issues"
        if approval is not None:
            reviewers = ", then ".join(" or ".join(step) for step in approval.reviewers)
            if approval.two_persons:
                reviewers += "; not on one's own changes"
        stated |= {
            "Reviewers": reviewers,
            "State": str(run["state"]),
            "Of": str(run["selection"]) or "the whole month",
            "Made by": f"{run['login']}, {run['made_at']:%Y-%m-%d %H:%M} UTC",
            "Description": str(run["description"]) or "–",
        }
        frame = pl.DataFrame({"setting": list(stated), "value": list(stated.values())})
        return str(table(frame, "What the run goes by").data)

    def _statistics(self, report: RunReport) -> str:
        total, last = (money_text(it, self.places) for it in (report.total, report.last_total))
        states = report.states if report.states["cost"].sum() else report.states.drop("cost")
        parts = [
            f"<p>The run comes to <b>{total} {report.currency}</b>; the month before came to "
            f"{last} ({report.change}).</p>"
        ]
        for caption, frame, summed in (
            ("Invoices by state", states, ("invoices", "charges", "total")),
            ("The largest invoices", report.largest, ()),
            ("Projects not billed the month before", report.new, ()),
            ("Projects billed the month before and not now", report.missing, ()),
            ("Unbilled", report.unbilled, ("records",)),
        ):
            if frame.height:
                parts.append(str(table(frame, caption, places=self.places, total=summed).data))
        return "".join(parts)

    def _invoices(self, invoices: pl.DataFrame) -> str:
        shown = invoices.select(
            *("code", "project", "team", "state", "charges", "total", "number", "reason")
        )
        return str(table(shown, "Invoices", places=self.places, total=("charges", "total")).data)


def _jobs(jobs: pl.DataFrame) -> str:
    shown = jobs.select(
        "kind",
        "state",
        "login",
        pl.col("started_at", "ended_at").dt.to_string("%Y-%m-%d %H:%M:%S"),
        "log",
    )
    return str(table(shown, "What was done (times in UTC)").data)


def _button(label: str, style: str, icon: str, click: Callable[[], None]) -> widgets.Button:
    button = widgets.Button(
        description=label, button_style=style, icon=icon, layout={"width": "auto"}
    )
    button.on_click(lambda _: click())
    return button
