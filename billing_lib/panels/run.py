"""The run and approve notebooks: a billing run as a whole, and its invoices one by one.

    RunPanel("RC", "1993-11")                       actions, configuration, report, invoices
    ApprovePanel("RC", "1993-11", "RC-1993-11-1")   the list and the decision on the left,
                                                    the invoice as it will be sent on the right

``RunPanel`` calls the functions behind ``billing run``; its parts fold. In ``ApprovePanel`` Tab
leads from the comment to the buttons; each decision shows the next invoice and leaves the focus in
place, so that one key works through a run. Mistakes show as sentences.
"""

from collections.abc import Callable
from html import escape

import ipywidgets as widgets
import polars as pl

from billing_lib import Site, open_site
from billing_lib.batch.issuing import IssuingResult, IssuingTerms, issue_approved, process_run
from billing_lib.documents.html import render_html
from billing_lib.documents.pictures import with_logo
from billing_lib.errors import DirtyTree, InvalidAdjustment, NotReady
from billing_lib.exports.documents import write_run_documents
from billing_lib.ledger.database import writing
from billing_lib.panels.forms import Displayed, framed, table
from billing_lib.panels.office import Message, ProgressBar
from billing_lib.panels.table import MONEY, Column, PagedTable
from billing_lib.pricing.clock import Period
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.workflow import approve
from billing_lib.workflow.approve import list_runs, read_run
from billing_lib.workflow.issue import preview_draft
from billing_lib.workflow.overview import RunReport, report_run
from billing_lib.workflow.runs import RunScope, is_ready, sign_off
from billing_lib.workflow.steps import Progress

_WIDE = {"width": "34em"}
_LABEL = {"description_width": "9em"}

CONFIGURATION = {
    "currency": "Currency",
    "timezone": "Time zone",
    "issue": "Issued when",
    "crossing": "Usage across months",
    "late_usage": "Late usage goes to",
}
"""The price book's keys that govern a run, with their labels."""


class RunPanel(Displayed):
    """The page of the run notebook for one facility and month."""

    def __init__(
        self, facility: str, period: str, run: str = "", office: Site | None = None
    ) -> None:
        self.office = office or open_site()
        self.book = self.office.book(facility)
        self.period = Period.parse(period)
        self.places = minor_places(self.book.facility.currency)
        self.message = Message()
        self.progress = ProgressBar(self.message)
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
        """The heading and the parts, without the actions."""
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
            runs = approve.list_runs(self.office.engine, facility, str(self.period))
            known, before = runs["run"].to_list(), chosen or self.run.value
            self.run.options = known
            self.run.value = before if before in known else (known[-1] if known else None)
            self.show()

    def show(self) -> None:
        """Show the chosen run."""
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
            view = approve.read_run(self.office.engine, self.book, self.run.value)
            report = report_run(self.office.engine, self.book, self.run.value)
            self.parts["Configuration"].value = self._configuration(view.run)
            self.parts["Execution report"].value = _jobs(view.jobs)
            self.parts["Statistics"].value = self._statistics(report)
            self.parts["Invoices"].value = self._invoices(view.invoices)

    def make(self) -> list[str]:
        """Make the month's invoices as drafts, or update the drafts."""
        return approve.make_run(
            self.office.engine, self.book, self.period, RunScope(), self.text.value
        )

    def ready(self) -> list[str]:
        """Sign the month off as ready to be issued."""
        return [sign_off(self.office.engine, self.book, str(self.period), self.text.value)]

    def switch(self) -> list[str]:
        """Disable the run, or enable it again."""
        view = approve.read_run(self.office.engine, self.book, self._chosen())
        return approve.set_enabled(
            self.office.engine,
            self.book,
            self._chosen(),
            enabled=view.run["state"] == "DISABLED",
        )

    def describe(self) -> list[str]:
        """Edit the run's description."""
        return approve.describe(
            self.office.engine, self.book, self._chosen(), self.text.value.strip()
        )

    def cancel(self) -> list[str]:
        """Cancel the run and close its invoices that are not issued."""
        return approve.cancel(
            self.office.engine,
            self.book,
            self._chosen(),
            self.text.value.strip(),
            reopen=self.frees.value,
        )

    def process(self) -> list[str]:
        """Submit the run's charges and issue its approved invoices, in the background."""
        terms = IssuingTerms(
            None if self.date.value is None else self.date.value.isoformat(), self.dirty.value
        )
        run = self._chosen()

        def work(step: Progress) -> IssuingResult:
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

        def work(step: Progress) -> int:
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


_SHOWN = {
    "Waiting for approval": "APPROVING",
    "Approved by all": "approved",
    "Drafts": "OPEN",
    "Rejected": "REJECTED",
    "In quarantine": "QUARANTINED",
    "In error": "ERROR",
}
"""The choices of the list by state; ``approved`` are APPROVING invoices that wait for nobody."""

_LISTED = pl.Schema(
    {"code": pl.String(), "project": pl.String(), "total": pl.Int64(), "waits": pl.String()}
)

_LEFT = {"flex": "0 0 26em", "width": "26em", "margin": "0 1.5em 0 0"}
_WIDE_LIST = {"width": "24em"}


class ApprovePanel(Displayed):
    """The form of the approve notebook for one facility and month."""

    def __init__(
        self, facility: str, period: str, run: str = "", office: Site | None = None
    ) -> None:
        self.office = office or open_site()
        self.book = self.office.book(facility)
        self.places = minor_places(self.book.facility.currency)
        self.message = Message()
        self.progress = ProgressBar(self.message)
        runs = list_runs(self.office.engine, facility, period)
        self.run = _chooser("Billing run", runs["run"].to_list())
        self.run.value = run or (runs["run"][-1] if runs.height else None)
        self.show = _chooser("Show", list(_SHOWN))
        self.show.value = self._first_shown()
        self.so_far = widgets.IntProgress(description="Decided", layout=_WIDE_LIST)
        self.said = widgets.HTML()
        self.code = ""
        self.listed = _LISTED.to_frame()
        self.table = PagedTable(
            "invoices",
            (
                Column("project", "Project"),
                Column("total", "Total", MONEY, self.places),
                Column("waits", "Waits for"),
            ),
            lambda: self.listed,
            key="code",
            on_action=lambda at: self.choose(self.table.rows_at([at])["code"][0]),
            visible=8,
        )
        self.comment = widgets.Textarea(
            placeholder="A comment; a reason is needed to reject, quarantine or close",
            continuous_update=False,  # sent when the entry is left, before the click on a button
            layout={"width": "24em", "height": "5em"},
        )
        self.keep = widgets.Checkbox(
            value=True, description="closing frees its charges", indent=False, layout=_WIDE_LIST
        )
        self.buttons = {
            name: _approval_button(name, style, self._do(action))
            for name, style, action in (
                ("Approve", "success", "approve"),
                ("Reject", "warning", "reject"),
                ("Quarantine", "", "quarantine"),
                ("Release", "", "release"),
                ("Close", "danger", "close"),
            )
        }
        self.dirty = widgets.Checkbox(
            description="issue from changed files; the record keeps the difference",
            indent=False,
            layout={"width": "24em", "display": "none"},
        )
        self.issue = _approval_button(
            "Issue what all have approved", "primary", self.issue_approved
        )
        self.page = widgets.HTML(layout={"width": "100%"})
        self.run.observe(lambda _: self.refresh(), names="value")
        self.show.observe(lambda _: self.refresh(), names="value")
        self.refresh()
        self.widget = widgets.HBox([self._left(), self.page])

    def _first_shown(self) -> str:
        """The first choice that has invoices, beginning with those that wait for approval."""
        there = set(self._held(self.run.value)["stands"]) if self.run.value else set()
        return next((label for label, state in _SHOWN.items() if state in there), self.show.value)

    def html(self) -> str:
        """The counts and the page of the shown invoice."""
        return str(self.said.value) + str(self.page.value)

    def _left(self) -> widgets.VBox:
        row = {"flex_flow": "row wrap", "width": "25em"}
        return widgets.VBox(
            [
                *(self.run, self.show, self.so_far, self.said, self.table.widget, self.comment),
                widgets.Box(list(self.buttons.values()), layout=row),
                self.keep,
                self.message.widget,
                self.issue,
                self.dirty,
                self.progress.widget,
            ],
            layout=_LEFT,
        )

    def refresh(self) -> None:
        """Read the run again; show the next invoice if the present one has left the list."""
        with self.message.sentences():
            if self.run.value is None:
                self.said.value = (
                    "<p>This month has no billing run yet; make one in the run notebook.</p>"
                )
                self._enable("")
                return
            held = self._held(self.run.value)
            self._count(held)
            state = _SHOWN[self.show.value]
            before = self.listed["code"].to_list()
            waits = [" or ".join(names) for names in self._steps()]
            self.listed = (
                held.filter(pl.col("stands") == state)
                .sort("code")
                .with_columns(
                    waits=pl.when(pl.col("stands") == "APPROVING").then(
                        pl.col("step").replace_strict(
                            dict(enumerate(waits)), default=None, return_dtype=pl.String
                        )
                    )
                )
                .select(_LISTED.names())
            )
            codes = self.listed["code"].to_list()
            if self.code not in codes:
                place = before.index(self.code) if self.code in before else 0
                self.code = codes[min(place, len(codes) - 1)] if codes else ""
            self.table.replace(lambda: self.listed, self.code)
            self._enable(state if codes else "")
            self._show_invoice()

    def choose(self, code: str) -> None:
        """Show the invoice of this code."""
        if code != self.code:
            self.code = self.table.widget.current = code
            self._show_invoice()

    def decide(self, action: str) -> None:
        """Carry out a decision on the shown invoice and show the next one."""
        with self.message.sentences():
            code = self.code
            if not code:
                raise NotReady("no invoice is chosen", remedy="choose one in the list")
            said = self._decide(action, code, self.comment.value.strip())
            self.comment.value = ""
            self.refresh()
            self.message.say("; ".join(said))

    def _decide(self, action: str, code: str, comment: str) -> list[str]:
        engine, book = self.office.engine, self.book
        if action != "approve":
            frees = action == "close" and self.keep.value
            return approve.change_invoices(
                engine, book, "close_and_reopen" if frees else action, [code], comment
            )
        with writing(engine) as connection:
            prepared = approve.approve(connection, book, self.run.value, [code], comment)
        return [f"invoice {code} is approved", *prepared.waiting]

    def issue_approved(self) -> None:
        """Issue the fully approved invoices of the run in the background."""
        terms = IssuingTerms(allow_dirty=self.dirty.value)

        def work(step: Callable[[int, int, str], None]) -> IssuingResult:
            try:
                return issue_approved(
                    self.office.engine,
                    self.office.settings,
                    self.book,
                    self.run.value,
                    terms=terms,
                    step=step,
                )
            except DirtyTree:
                self.dirty.layout.display = ""
                raise

        def then(issued: IssuingResult) -> None:
            self.refresh()
            self.message.say("; ".join(issued.sentences))

        self.progress.start(work, then)

    def _do(self, action: str) -> Callable[[], None]:
        return lambda: self.decide(action)

    def _held(self, run: str) -> pl.DataFrame:
        """The run's invoices with ``stands``: the state, or ``approved`` if all have approved."""
        held = read_run(self.office.engine, self.book, run).invoices
        by_all = (pl.col("state") == "APPROVING") & (pl.col("step") >= len(self._steps()))
        stands = pl.when(by_all).then(pl.lit("approved")).otherwise("state")
        return held.with_columns(stands=stands)

    def _steps(self) -> tuple[tuple[str, ...], ...]:
        approval = self.book.facility.approval
        return approval.reviewers if approval is not None else ()

    def _count(self, held: pl.DataFrame) -> None:
        decided = held.filter(~pl.col("stands").is_in(("OPEN", "APPROVING", "ERROR")))
        approved = held.filter(pl.col("stands") == "approved")
        done, ready = decided.height, approved.height
        self.so_far.max, self.so_far.value = max(held.height, 1), done
        total = money_text(int(held["total"].sum()), self.places)
        self.said.value = (
            f"<p><b>{done:,} of {held.height:,}</b> invoices are decided; the run comes to "
            f"{total} {escape(self.book.facility.currency)}. <b>{ready:,}</b> can be issued.</p>"
        )
        self.issue.disabled = ready == 0

    def _enable(self, state: str) -> None:
        """Enable the actions that this state allows; '' disables all."""
        can = {
            "Approve": ("APPROVING",),
            "Reject": ("APPROVING", "approved"),
            "Quarantine": ("APPROVING", "approved", "OPEN", "REJECTED", "ERROR"),
            "Release": ("QUARANTINED",),
            "Close": tuple(_SHOWN.values()),
        }
        for name, button in self.buttons.items():
            button.disabled = state not in can[name]

    def _show_invoice(self) -> None:
        code = self.code
        if not code:
            self.page.value = "<p>Nothing is left here.</p>"
            return
        with self.message.sentences():
            self.page.value = ""
            draft = preview_draft(self.office.engine, self.book, code)
            page = render_html(with_logo(draft, self.book.facility.logo))
            self.page.value = framed(page, f"Invoice {code} as it will be sent")


def _chooser(label: str, options: list[str]) -> widgets.Dropdown:
    return widgets.Dropdown(
        description=label, options=options, layout=_WIDE_LIST, style={"description_width": "6em"}
    )


def _approval_button(label: str, style: str, act: Callable[[], None]) -> widgets.Button:
    button = widgets.Button(description=label, button_style=style, layout={"width": "auto"})
    button.on_click(lambda _: act())
    return button
