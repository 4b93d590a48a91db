"""The run and approve notebooks: a billing run as a whole, and its invoices one by one.

    RunPanel("RC", "1993-11")                       actions, configuration, report, invoices
    ApprovePanel("RC", "1993-11", "RC-1993-11-1")   the list and the decision on the left,
                                                    the invoice as it will be sent on the right

``RunPanel`` offers the actions that fit the run's state; each has a form and a look at what it
touches. Its parts fold, and follow other people's work while the page is open. In ``ApprovePanel``
Tab leads from the comment to the buttons; each decision shows the next invoice and leaves the focus
in place, so that one key works through a run. Mistakes show as sentences.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ipywidgets as widgets
import polars as pl
from sqlalchemy import Connection

from billing_lib import Site, open_site
from billing_lib.batch.issuing import IssuingResult, IssuingTerms, issue_approved, process_run
from billing_lib.documents.html import render_html
from billing_lib.documents.pictures import with_logo
from billing_lib.documents.text import long_month
from billing_lib.errors import DirtyTree, InvalidAdjustment, NotReady, count_of
from billing_lib.exports.documents import write_run_documents
from billing_lib.ledger.database import trying, writing
from billing_lib.panels.forms import (
    FORMATS,
    Displayed,
    Fold,
    choice,
    date_entry,
    downloads,
    framed,
    remark,
    steps,
    table,
    text_entry,
    tick,
    zipped,
)
from billing_lib.panels.html import amount
from billing_lib.panels.office import ActionForm, Message, ProgressBar, follow
from billing_lib.panels.table import MONEY, Column, PagedTable
from billing_lib.pricing.clock import Period
from billing_lib.pricing.money import minor_places
from billing_lib.workflow import approve
from billing_lib.workflow.adjust import require_reason
from billing_lib.workflow.approve import list_runs, read_run
from billing_lib.workflow.invoice_actions import ACTIONS, Outcome, act, require_entries, sums
from billing_lib.workflow.issue import preview_draft
from billing_lib.workflow.overview import RunReport, report_run
from billing_lib.workflow.review import describe_sign_off
from billing_lib.workflow.runs import RunScope, is_ready, open_run, sign_off
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


NO_RUN = ""


@dataclass(frozen=True)
class Done:
    """The outcome of an action on a run, or of its trial."""

    sentences: list[str]
    files: dict[str, bytes] = field(default_factory=dict)
    run: str = NO_RUN
    """The run that was made or updated."""


_ANY = (NO_RUN, "OPEN", "DISABLED", "CANCELLED", "FINISHED")


@dataclass(frozen=True)
class RunAction:
    """An action on a month or its run: its label, the run's states that it is for, its form."""

    label: str
    states: tuple[str, ...]
    entries: tuple[str, ...] = ()


RUN_ACTIONS = {
    "make": RunAction("Make or update the invoices", _ANY, ("projects", "teams", "description")),
    "sign_off": RunAction("Sign the month off", _ANY, ("comment",)),
    "process": RunAction("Submit, and issue what is approved", ("OPEN",), ("date", "dirty")),
    "disable": RunAction("Disable the run", ("OPEN",)),
    "enable": RunAction("Enable the run", ("DISABLED",)),
    "describe": RunAction(
        "Describe the run", ("OPEN", "DISABLED", "CANCELLED", "FINISHED"), ("description",)
    ),
    "cancel": RunAction("Cancel the run", ("OPEN", "DISABLED"), ("reason", "frees")),
    "write": RunAction(
        "Write the files of its invoices", ("OPEN", "DISABLED", "FINISHED"), ("formats",)
    ),
}
"""The actions of the run page, in the order of work."""


class RunActions(ActionForm):
    """The actions that fit the state of the month's run."""

    def __init__(self, panel: "RunPanel") -> None:
        self.panel = panel
        frees = tick("its charges are free for another run")
        frees.value = True
        super().__init__(
            {
                "projects": text_entry("Only projects", "p1, p2; all unless told"),
                "teams": text_entry("Only teams", "all unless told"),
                "description": text_entry("Description"),
                "comment": text_entry("Comment", "kept with the sign-off"),
                "date": date_entry("Invoice date"),
                "dirty": tick("also from changed files; the record keeps the difference"),
                "reason": text_entry("Reason", "why; kept in the history"),
                "frees": frees,
                "formats": choice("Formats", FORMATS),
            }
        )

    def names(self, key: str) -> Sequence[str]:
        """The names of an action's entries."""
        return RUN_ACTIONS[key].entries

    def choose(self) -> None:
        """Show the form of the action, with the run's description or one that is made up."""
        if "description" in (self.names(self.action.value) if self.action.value else ()):
            run = self.panel.view.run if self.panel.view is not None else {}
            own = str(run.get("description", "")) if self.action.value == "describe" else ""
            self.entries["description"].value = own or long_month(str(self.panel.period))
        super().choose()

    def target(self, key: str, stated: dict[str, Any]) -> str:
        """The chosen run's id; '' for none."""
        if key == "cancel":
            require_reason(stated["reason"], "cancelling")
        return self.panel.run.value or NO_RUN

    def work(
        self, key: str, target: str, stated: dict[str, Any], step: Progress, *, trial: bool
    ) -> Done:
        """Carry an action out on the run, or try it."""
        panel, office = self.panel, self.panel.office
        panel.read_book()
        if key == "sign_off" and trial:
            seen = describe_sign_off(office.engine, panel.book, str(panel.period), step)
            with trying(office.engine) as connection:
                sign_off(connection, panel.book, str(panel.period), stated["comment"])
            return Done(seen)
        if key == "process":
            return self._issue(target, stated, step, trial=trial)
        if key == "write":
            return self._write(target, stated, step, trial=trial)
        opened = trying if trial else writing
        with opened(office.engine) as connection:
            if key == "make":
                return self._make(connection, stated)
            return Done(self._change(connection, key, target, stated))

    def _make(self, connection: Connection, stated: dict[str, Any]) -> Done:
        book, period = self.panel.book, self.panel.period
        projects, teams = (_listed(stated[name]) for name in ("projects", "teams"))
        if projects and teams:
            raise InvalidAdjustment(
                "a run is of projects or of teams", remedy="leave one of them empty"
            )
        scope = RunScope(projects, teams)
        sentences = approve.make_run(connection, book, period, scope, stated["description"])
        return Done(sentences, run=open_run(connection, book, period, scope))

    def _change(
        self, connection: Connection, key: str, run: str, stated: dict[str, Any]
    ) -> list[str]:
        book, period = self.panel.book, self.panel.period
        if key == "sign_off":
            return [sign_off(connection, book, str(period), stated["comment"])]
        if key == "describe":
            return approve.describe(connection, book, run, stated["description"])
        if key == "cancel":
            return approve.cancel(
                connection, book, run, stated["reason"], reopen=bool(stated["frees"])
            )
        return approve.set_enabled(connection, book, run, enabled=key == "enable")

    def _issue(self, run: str, stated: dict[str, Any], step: Progress, *, trial: bool) -> Done:
        panel, office = self.panel, self.panel.office
        if trial:
            step(0, 1, "submitting, which is undone")
            with trying(office.engine) as connection:
                prepared = approve.prepare_run(connection, panel.book, run, RunScope(), [])
                of_run = approve.read_run(connection, panel.book, run).invoices
            ready = of_run.filter(pl.col("code").is_in(prepared.codes))
            total = amount(int(ready["total"].sum()), panel.places)
            if not prepared.codes:
                return Done(["nothing would be issued yet", *prepared.waiting])
            date = stated["date"] or "today"
            touched = f"{count_of(ready.height, 'invoice')}, {total} {panel.book.facility.currency}"
            return Done([f"{touched} would be issued, dated {date}", *prepared.waiting])
        terms = IssuingTerms(stated["date"] or None, bool(stated["dirty"]))
        issued = process_run(
            office.engine, office.settings, panel.book, run, terms=terms, step=step
        )
        return Done(issued.sentences)

    def _write(self, run: str, stated: dict[str, Any], step: Progress, *, trial: bool) -> Done:
        panel, office = self.panel, self.panel.office
        suffixes = stated["formats"].split(",")
        if trial:
            count = 0 if panel.view is None else panel.view.invoices.height
            return Done(
                [f"files of {count_of(count, 'invoice')} would be written, but for closed ones"]
            )
        with TemporaryDirectory(prefix="billing-") as folder:
            written = write_run_documents(
                office.engine, office.settings, panel.book, run, suffixes, Path(folder), step
            )
            return Done(
                [f"{count_of(len(written), 'file')} written"], {f"{run}.zip": zipped(Path(folder))}
            )

    def show(self, key: str, outcome: Done) -> tuple[str, str]:
        """Show the result of the trial."""
        self.message.say(f"Nothing is done yet: {'; '.join(outcome.sentences[-4:])}.")
        self._list(outcome)
        return RUN_ACTIONS[key].label, self.panel.run.value or NO_RUN

    def finish(self, key: str, outcome: Done) -> None:
        """Show the result of the action."""
        for name in ("comment", "reason", "projects", "teams"):
            self.entries[name].value = ""
        self.panel.refresh(outcome.run)
        self.message.say("; ".join(outcome.sentences[-4:]))
        self._list(outcome)

    def failed(self) -> None:
        """Read the run again."""
        self.panel.refresh()

    def _list(self, outcome: Done) -> None:
        parts = []
        if outcome.files:
            office = self.panel.office.settings.office
            parts.append(widgets.HTML(downloads(office, outcome.files, depth=2)))
        if len(outcome.sentences) > 4:
            parts.append(widgets.HTML(steps(outcome.sentences)))
        self.result.children = parts


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


class RunPanel(Displayed):
    """The page of the run notebook for one facility and month."""

    def __init__(
        self, facility: str, period: str, run: str = "", office: Site | None = None
    ) -> None:
        self.office = office or open_site()
        self.book = self.office.book(facility)
        self.period = Period.parse(period)
        self.places = minor_places(self.book.facility.currency)
        self.view: approve.RunView | None = None
        self.heading = widgets.HTML()
        self.run = widgets.Dropdown(description="Billing run", layout=_WIDE, style=_LABEL)
        self.parts = {
            name: widgets.HTML() for name in ("Configuration", "History", "Statistics", "Invoices")
        }
        self.actions = RunActions(self)
        self.message = self.actions.message
        self.folds = {name: Fold(name, part) for name, part in self.parts.items()}
        self.run.observe(lambda _: self.show(), names="value")
        self.refresh(run)
        actions = Fold("Actions", self.actions.widget, opened=True)
        folds = [fold.widget for fold in (actions, *self.folds.values())]
        self.widget = widgets.VBox([self.heading, self.run, *folds])
        self._following = follow(self.office.engine, self.refresh)

    def read_book(self) -> None:
        """Read the price book again, which may have changed since the page was opened."""
        self.book = self.office.book(self.book.facility.code)

    def html(self) -> str:
        """The heading and the parts, without the actions."""
        return "".join(
            [
                str(self.heading.value),
                *(f"<h3>{name}</h3>{it.value}" for name, it in self.parts.items()),
            ]
        )

    def refresh(self, chosen: str = "") -> None:
        """Read the month's runs again."""
        with self.message.sentences():
            facility = self.book.facility.code
            runs = approve.list_runs(self.office.engine, facility, str(self.period))
            known, before = runs["run"].to_list(), chosen or self.run.value
            newest = known[-1] if known else None
            if tuple(known) != tuple(self.run.options):
                self.run.options = known
            self.run.value = before if before in known else newest
            self.show()

    def show(self) -> None:
        """Show the chosen run."""
        with self.message.sentences():
            facility = self.book.facility
            ready = is_ready(self.office.engine, self.book, str(self.period))
            said = "may be issued" if ready else "waits for a reviewer's sign-off"
            self.heading.value = (
                f"<p><b>{escape(facility.name)} · {self.period}</b>: the month {said}.</p>"
            )
            run = self.run.value
            before, self.view = self.view, None
            if run is not None:
                self.view = approve.read_run(self.office.engine, self.book, run)
                if before is None or not before.invoices.equals(self.view.invoices):
                    self.actions.forget()
            state = NO_RUN if self.view is None else str(self.view.run["state"])
            self.actions.offer(
                [(it.label, key) for key, it in RUN_ACTIONS.items() if state in it.states]
            )
            if self.view is None or run is None:
                for name, part in self.parts.items():
                    part.value = "<p>There is no billing run of this month yet.</p>"
                    self.folds[name].heading.title = name
                return
            report = report_run(self.office.engine, self.book, run)
            self.parts["Configuration"].value = self._configuration(self.view.run)
            self.parts["History"].value = self._history(self.view.history)
            self.parts["Statistics"].value = self._statistics(report)
            self.parts["Invoices"].value = self._invoices(self.view.invoices)
            titles = self._titles(self.view, report)
            for fold, title in zip(self.folds.values(), titles, strict=True):
                fold.heading.title = title

    def _titles(self, view: approve.RunView, report: RunReport) -> list[str]:
        """The headings of the folded parts, each with its state."""
        last, count = view.history.tail(1), view.history.height
        step = f", the last '{last['action'][0]}' by {last['by'][0]}" if last.height else ""
        total = amount(report.total, self.places)
        states = ", ".join(
            f"{invoices:,} {state}"
            for state, invoices in report.states.select("state", "invoices").iter_rows()
        )
        return [
            f"Configuration: {view.run['state']}, {view.run['selection'] or 'the whole month'}",
            f"History: {count:,} step{'' if count == 1 else 's'}{step}",
            f"Statistics: {total} {report.currency}",
            f"Invoices: {states or 'none'}",
        ]

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

    def _history(self, history: pl.DataFrame) -> str:
        zone = self.book.facility.timezone
        at = pl.col("at").dt.convert_time_zone(zone).dt.to_string("%Y-%m-%d %H:%M:%S")
        return str(table(history.with_columns(at), f"History (times in {zone})").data)

    def _statistics(self, report: RunReport) -> str:
        total, last = (amount(it, self.places) for it in (report.total, report.last_total))
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
    {
        **dict.fromkeys(("code", "project", "name", "team", "waits"), pl.String()),
        **{"total": pl.Int64(), "step": pl.Int64(), "period": pl.String()},
        **dict.fromkeys(("facility", "invoice", "number", "state", "run", "currency"), pl.String()),
    }
)
"""The list: columns to show, and those of the workflow's actions on invoices."""

_LEFT = {"flex": "0 0 37em", "width": "37em", "margin": "0 20px 0 0"}
_WIDE_LIST = {"width": "34em"}


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
        self.period = period
        self.held = pl.DataFrame()
        self.listed = _LISTED.to_frame()
        self.table = PagedTable(
            "invoices",
            (
                Column("project", "Project"),
                Column("name", "Name", wide=2),
                Column("team", "Team"),
                Column("total", "Total", MONEY, self.places),
                Column("waits", "Waits for"),
            ),
            lambda: self.listed,
            sum_of="total",
            currency=self.book.facility.currency,
            places=self.places,
            key="code",
            on_action=lambda at: self.choose(self.table.rows_at([at])["code"][0]),
            on_tick=self._label_buttons,
            visible=8,
            on_key={"a": self._do("approve"), "r": self._reject_by_key},
        )
        self.comment = widgets.Textarea(
            placeholder="A comment; a reason is needed to reject, quarantine or close",
            continuous_update=False,  # sent when the entry is left, before the click on a button
            layout={"width": "34em", "height": "5em"},
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
                ("Recalculate", "", "recalculate"),
                ("Close", "danger", "close"),
            )
        }
        self.dirty = widgets.Checkbox(
            description="issue from changed files; the record keeps the difference",
            indent=False,
            layout={"width": "34em", "display": "none"},
        )
        self.issue = _approval_button(
            "Issue what all have approved", "primary", self.issue_approved
        )
        self.page = widgets.HTML(layout={"width": "auto"})
        self.history = widgets.HTML()
        self.run.observe(lambda _: self.refresh(), names="value")
        self.show.observe(lambda _: self.refresh(), names="value")
        self.refresh()
        right = widgets.VBox([self.history, self.page], layout={"flex": "1 1 auto"})
        self.widget = widgets.HBox([self._left(), right])
        self._following = follow(self.office.engine, self.follow_others)

    def _first_shown(self) -> str:
        """The first choice that has invoices, beginning with those that wait for approval."""
        there = set(self._held(self.run.value)["stands"]) if self.run.value else set()
        return next((label for label, state in _SHOWN.items() if state in there), self.show.value)

    def html(self) -> str:
        """The counts and the page of the shown invoice."""
        return str(self.said.value) + str(self.history.value) + str(self.page.value)

    def _left(self) -> widgets.VBox:
        row = {"flex_flow": "row wrap"}
        keys = remark("Keys in the list: ↓ next, a approve, r reject, space to tick several.")
        return widgets.VBox(
            [
                *(self.run, self.show, self.so_far, self.said, self.table.widget, keys),
                self.comment,
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
                    "<p>This month has no billing run yet; make one on the page Run.</p>"
                )
                self._enable("")
                return
            held = self.held = self._held(self.run.value)
            self._count(held)
            state = _SHOWN[self.show.value]
            before = self.listed["code"].to_list()
            waits = [" or ".join(names) for names in self._steps()]
            self.listed = (
                held.filter(pl.col("stands") == state)
                .sort("code")
                .with_columns(
                    pl.col("project")
                    .replace_strict(self._names(), default="", return_dtype=pl.String)
                    .alias("name"),
                    pl.col("step").cast(pl.Int64),
                    invoice="code",
                    currency=pl.lit(self.book.facility.currency),
                    waits=pl.when(pl.col("stands") == "APPROVING").then(
                        pl.col("step").replace_strict(
                            dict(enumerate(waits)), default=None, return_dtype=pl.String
                        )
                    ),
                )
                .select(_LISTED.names())
            )
            codes = self.listed["code"].to_list()
            if self.code not in codes:
                place = before.index(self.code) if self.code in before else 0
                self.code = codes[min(place, len(codes) - 1)] if codes else ""
            self.table.tick([code for code in self.table.ticked if code in codes])
            self.table.replace(lambda: self.listed, self.code)
            self._enable(state if codes else "")
            self._label_buttons()
            self._show_invoice()

    def follow_others(self) -> None:
        """Show other people's decisions; the page of an unchanged run stays as it is."""
        with self.message.sentences():
            runs = list_runs(self.office.engine, self.book.facility.code, self.period)
            known = runs["run"].to_list()
            if known != list(self.run.options):
                chosen = self.run.value
                self.run.options = known
                self.run.value = chosen if chosen in known else known[-1]
            if self.run.value and not self._held(self.run.value).equals(self.held):
                self.refresh()

    def read_book(self) -> None:
        """Read the price book again, which may have changed since the page was opened."""
        self.book = self.office.book(self.book.facility.code)

    def choose(self, code: str) -> None:
        """Show the invoice of this code."""
        if code != self.code:
            self.code = self.table.widget.current = code
            self._show_invoice()

    def decide(self, action: str) -> None:
        """Carry out a decision on the ticked invoices, or on the shown one; show the next one."""
        with self.message.sentences():
            codes = self.table.ticked or ([self.code] if self.code else [])
            if not codes:
                raise NotReady("no invoice is chosen", remedy="choose one in the list")
            comment = self.comment.value.strip()
            entries = {"comment": comment, "reason": comment, "frees": self.keep.value}
            rows = self.listed.filter(pl.col("code").is_in(codes))
            self.read_book()
            books = {self.book.facility.code: self.book}
            require_entries(ACTIONS[action], entries)
            self.progress.start(
                lambda step: act(
                    self.office.engine, books, ACTIONS[action], rows, entries, step, trial=False
                ),
                self._decided,
                stopped="what was decided before stays decided",
            )
            if len(codes) == 1:
                self.progress.wait()  # one is quick, and the next one is shown at once

    def _decided(self, outcome: Outcome) -> None:
        self.comment.value = "" if outcome.done.height else self.comment.value
        self.refresh()
        decided = outcome.done["invoice"].to_list()
        codes = self.listed["code"].to_list()
        if outcome.done["state"].eq("APPROVING").any() and self.code in {*codes} & {*decided}:
            place = codes.index(self.code)  # it waits for the next reviewer now
            others = [code for code in codes[place:] + codes[:place] if code not in decided]
            self.choose(others[0] if others else self.code)
        sentences = outcome.sentences
        if len(sentences) > 1:
            sentences = [f"{sums(outcome.done)}: {sentences[0]}, and so on"]
        refused = [f"{name}: {reason}" for name, reason in outcome.refused]
        if refused:
            self.message.refuse("; ".join([*sentences, *refused]))
        else:
            self.message.say("; ".join(sentences))

    def _reject_by_key(self) -> None:
        """Reject, or lead to the entry for the reason."""
        if self.comment.value.strip():
            self.decide("reject")
        else:
            self.comment.focus()

    def _label_buttons(self) -> None:
        """Say on the buttons how many invoices are ticked."""
        count = len(self.table.ticked)
        for name, button in self.buttons.items():
            button.description = f"{name} {count:,}" if count else name

    def _names(self) -> dict[str, str]:
        return {project.code: project.name or "" for project in self.book.projects}

    def issue_approved(self) -> None:
        """Issue the fully approved invoices of the run in the background."""
        terms = IssuingTerms(allow_dirty=self.dirty.value)

        def work(step: Callable[[int, int, str], None]) -> IssuingResult:
            self.read_book()
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
        total = amount(int(held["total"].sum()), self.places)
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
            "Recalculate": ("OPEN", "REJECTED", "ERROR", "QUARANTINED"),
            "Close": tuple(_SHOWN.values()),
        }
        for name, button in self.buttons.items():
            button.disabled = state not in can[name]
            shown = [label for label, of in _SHOWN.items() if of in can[name]]
            button.tooltip = f"For: {', '.join(shown)}" if button.disabled else ""

    def _show_invoice(self) -> None:
        code = self.code
        self.history.value = ""
        if not code:
            self.page.value = "<p>Nothing is left here.</p>"
            return
        with self.message.sentences():
            self.page.value = ""
            self._show_history(code)
            draft = preview_draft(self.office.engine, self.book, code)
            page = render_html(with_logo(draft, self.book.facility.logo))
            self.page.value = framed(page, f"Invoice {code} as it will be sent")

    def _show_history(self, code: str) -> None:
        """Show the last reason, and all comments and reasons folded."""
        told = approve.read_invoice_history(self.office.engine, self.book, code)
        given = told.filter(pl.col("reason") != "").tail(1)
        last = "".join(
            f"<p><b>{escape(row['action'].capitalize())}</b> by {escape(row['by'])}, "
            f"{row['at']}: {escape(row['reason'])}</p>"
            for row in given.iter_rows(named=True)
        )
        shown = table(told, f"Times in {self.book.facility.timezone}").data
        count = f"{told.height:,} step{'' if told.height == 1 else 's'}"
        self.history.value = f"{last}<details><summary>History: {count}</summary>{shown}</details>"


def _chooser(label: str, options: list[str]) -> widgets.Dropdown:
    return widgets.Dropdown(
        description=label, options=options, layout=_WIDE_LIST, style={"description_width": "6em"}
    )


def _approval_button(label: str, style: str, act: Callable[[], None]) -> widgets.Button:
    button = widgets.Button(description=label, button_style=style, layout={"width": "auto"})
    button.on_click(lambda _: act())
    return button
