"""Approving one by one: the invoice as it will be sent on the right, what to do on the left.

Tab leads from the comment to the buttons; after each decision the next invoice is shown and the
focus stays, so that a run is worked through with one key.
"""

from collections.abc import Callable
from html import escape

import ipywidgets as widgets
import polars as pl

from billing_lib.batch import issue_approved
from billing_lib.documents.html import render_html
from billing_lib.documents.logo import with_logo
from billing_lib.errors import DirtyTree, NotReady
from billing_lib.issuer import Issued, Terms
from billing_lib.ledger.database import writing
from billing_lib.panels.display import Displayed
from billing_lib.panels.frame import framed
from billing_lib.panels.office import Message, Office
from billing_lib.panels.progress import Progress
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.workflow import approving
from billing_lib.workflow.preview import preview_draft
from billing_lib.workflow.run_actions import list_runs, read_run

_SHOWN = {
    "Waiting for approval": "APPROVING",
    "Approved by all": "approved",
    "Drafts": "OPEN",
    "Rejected": "REJECTED",
    "In quarantine": "QUARANTINED",
    "In error": "ERROR",
}
"""What the list shows: invoices in a state, of those being approved apart what waits for nobody."""

_LEFT = {"flex": "0 0 26em", "width": "26em", "margin": "0 1.5em 0 0"}
_WIDE = {"width": "24em"}


class ApprovePanel(Displayed):
    """The form of the approve notebook for one facility and month.

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
        self.places = minor_places(self.book.facility.currency)
        self.message = Message()
        self.progress = Progress(self.message)
        runs = list_runs(self.office.engine, facility, period)
        self.run = _chooser("Billing run", runs["run"].to_list())
        self.run.value = run or (runs["run"][-1] if runs.height else None)
        self.show = _chooser("Show", list(_SHOWN))
        self.show.value = self._first_shown()
        self.so_far = widgets.IntProgress(description="Decided", layout=_WIDE)
        self.said = widgets.HTML()
        self.invoice = widgets.Select(description="Invoices", rows=10, layout=_WIDE)
        self.comment = widgets.Textarea(
            placeholder="A comment; a reason is needed to reject, quarantine or close",
            continuous_update=False,  # told when it is left, before the button that is pressed
            layout={"width": "24em", "height": "5em"},
        )
        self.keep = widgets.Checkbox(
            value=True, description="closing frees its charges", indent=False, layout=_WIDE
        )
        self.buttons = {
            name: _button(name, style, self._do(action))
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
        self.issue = _button("Issue what all have approved", "primary", self.issue_approved)
        self.page = widgets.HTML(layout={"width": "100%"})
        self.run.observe(lambda _: self.refresh(), names="value")
        self.show.observe(lambda _: self.refresh(), names="value")
        self.invoice.observe(lambda _: self._show_invoice(), names="value")
        self.refresh()
        self.widget = widgets.HBox([self._left(), self.page])

    def _first_shown(self) -> str:
        """What waits for approval, or where nothing does, what there is."""
        there = set(self._held(self.run.value)["stands"]) if self.run.value else set()
        return next((label for label, state in _SHOWN.items() if state in there), self.show.value)

    def html(self) -> str:
        """What it shows, without the means to change it."""
        return str(self.said.value) + str(self.page.value)

    def _left(self) -> widgets.VBox:
        row = {"flex_flow": "row wrap", "width": "25em"}
        return widgets.VBox(
            [
                *(self.run, self.show, self.so_far, self.said, self.invoice, self.comment),
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
        """Read the run again and show what is left of it; the next invoice where one is gone."""
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
            listed = held.filter(pl.col("stands") == state).sort("code")
            options = [(self._label(row), row["code"]) for row in listed.iter_rows(named=True)]
            codes, before = [code for _, code in options], self.invoice.value
            place = self.invoice.index or 0
            self.invoice.options = options
            if codes:
                at = codes.index(before) if before in codes else min(place, len(codes) - 1)
                self.invoice.value = codes[at]
            self._enable(state if codes else "")
            self._show_invoice()

    def decide(self, action: str) -> None:
        """Do this with the invoice that is shown, and show the next one."""
        with self.message.sentences():
            code = self.invoice.value
            if code is None:
                raise NotReady("no invoice is chosen", remedy="choose one in the list")
            said = self._decide(action, code, self.comment.value.strip())
            self.comment.value = ""
            self.refresh()
            self.message.say("; ".join(said))

    def _decide(self, action: str, code: str, comment: str) -> list[str]:
        engine, book = self.office.engine, self.book
        if action != "approve":
            frees = action == "close" and self.keep.value
            return approving.change_invoices(
                engine, book, "close_and_reopen" if frees else action, [code], comment
            )
        with writing(engine) as connection:
            prepared = approving.approve(connection, book, self.run.value, [code], comment)
        return [f"invoice {code} is approved", *prepared.waiting]

    def issue_approved(self) -> None:
        """Issue what all reviewers of the run have approved, in the background."""
        terms = Terms(allow_dirty=self.dirty.value)

        def work(step: Callable[[int, int, str], None]) -> Issued:
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

        def then(issued: Issued) -> None:
            self.refresh()
            self.message.say("; ".join(issued.sentences))

        self.progress.start(work, then)

    def _do(self, action: str) -> Callable[[], None]:
        return lambda: self.decide(action)

    def _held(self, run: str) -> pl.DataFrame:
        """The run's invoices, with where each ``stands``: its state, or that all approved it."""
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

    def _label(self, row: dict[str, object]) -> str:
        total = money_text(int(str(row["total"])), self.places)
        steps, step = self._steps(), int(str(row["step"]))
        waits = ""
        if row["stands"] == "APPROVING":
            waits = f"  ·  waits for {' or '.join(steps[step])}"
        return f"{row['project']}  ·  {total}{waits}"

    def _enable(self, state: str) -> None:
        """Enable what can be done with invoices that stand so; nothing where there are none."""
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
        code = self.invoice.value
        if code is None:
            self.page.value = "<p>Nothing is left here.</p>"
            return
        with self.message.sentences():
            self.page.value = ""
            draft = preview_draft(self.office.engine, self.book, code)
            page = render_html(with_logo(draft, self.book.facility.logo))
            self.page.value = framed(page, f"Invoice {code} as it will be sent")


def _chooser(label: str, options: list[str]) -> widgets.Dropdown:
    return widgets.Dropdown(
        description=label, options=options, layout=_WIDE, style={"description_width": "6em"}
    )


def _button(label: str, style: str, act: Callable[[], None]) -> widgets.Button:
    button = widgets.Button(description=label, button_style=style, layout={"width": "auto"})
    button.on_click(lambda _: act())
    return button
