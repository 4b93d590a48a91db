"""The parts that every panel shares: messages, the facility's month, long work, later content.

    progress = ProgressBar(message, start_button)
    progress.start(lambda step: preview(..., step=step), then=show)

    shown = Later(lambda: table(charges, "Charges"))
    display(shown)     the table as it is now
    shown.fill()       the same place, anew

Work runs in a thread, so that the notebook can take the click on Stop; its result is shown in the
thread that takes the clicks, so that no two change a page at once. It announces each step before it
begins; stopping raises an error there, so unfinished work is rolled back or, when
issuing, settled by the next try. ``Later`` fills a place in a notebook again when its content has
changed; the notebook saves and exports the last content like any other output.
"""

import asyncio
import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from html import escape
from threading import Event, Thread
from typing import Any, TypeVar

import ipywidgets as widgets
from IPython.display import DisplayHandle, display
from sqlalchemy import Engine

from billing_lib import Site, open_site
from billing_lib.errors import BillingError, NotReady
from billing_lib.ledger.database import change_mark
from billing_lib.panels.forms import button, buttons, choice, in_browser, offer, on_page
from billing_lib.pricing.clock import Period
from billing_lib.pricing.money import minor_places
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.steps import Progress, Stopped


class Message:
    """A line in a panel that reports a result or a mistake in a sentence."""

    def __init__(self) -> None:
        self.widget = widgets.HTML()

    def say(self, text: str) -> None:
        """Report a result."""
        self.widget.value = f'<span role="status">{escape(on_page(text))}</span>'

    def refuse(self, text: str) -> None:
        """Report a mistake."""
        shown = escape(on_page(text))
        self.widget.value = f'<span role="alert" style="color: #a40000">{shown}</span>'

    @contextmanager
    def sentences(self) -> Iterator[None]:
        """Show a BillingError as its sentence instead of a traceback."""
        try:
            yield
        except BillingError as error:
            self.refuse(str(error))


class Desk:
    """A facility's month in an office, shared by the parts of a panel."""

    def __init__(self, facility: str, period: str, office: Site | None = None) -> None:
        self.office = office or open_site()
        self.engine = self.office.engine
        self.facility = facility
        self.month = Period.parse(period)
        self.period = str(self.month)
        self.currency = self.book.facility.currency
        self.places = minor_places(self.currency)
        self._told: list[Callable[[], None]] = []

    @property
    def book(self) -> PriceBook:
        """The facility's price book, read anew."""
        return self.office.book(self.facility)

    def on_change(self, refresh: Callable[[], None]) -> None:
        """Call ``refresh`` whenever a part has changed the month."""
        self._told.append(refresh)

    def changed(self) -> None:
        """Tell every part that the month has changed."""
        for refresh in self._told:
            refresh()

    def projects(self) -> list[tuple[str, str]]:
        """The price book's projects as pairs of label and code."""
        return [(_shown(it.code, it.name, it.team), it.code) for it in self.book.projects]

    def expense_codes(self) -> list[str]:
        """The expense codes in the price book's list and in its projects' splits."""
        allowed = self.book.facility.expense_codes
        listed = () if allowed is None else allowed.codes or ()
        used = {
            share.expense_code
            for project in self.book.projects
            for dated in project.dated_splits()
            for share in dated.split
        }
        return sorted({*used, *(known.code for known in listed)})


def _shown(code: str, name: str | None, team: str) -> str:
    return f"{code} · {name} ({team})" if name else f"{code} ({team})"


Result = TypeVar("Result")


class ProgressBar:
    """A bar with a stop button, shown while work runs; ``starters`` are disabled meanwhile."""

    def __init__(self, message: Message, *starters: widgets.DOMWidget) -> None:
        self.message = message
        self.starters = starters
        self.bar = widgets.IntProgress(min=0, max=1, layout=widgets.Layout(width="16em"))
        self.label = widgets.HTML()
        self.stop = button("Stop")
        self.stop.on_click(lambda _: self.ask_to_stop())
        self.widget = widgets.HBox([self.bar, self.stop, self.label])
        self.widget.layout.display = "none"
        self._stopping = Event()
        self._stopped = ""
        self._thread: Thread | None = None
        self._outcome: Callable[[], None] | None = None
        self._resting: list[tuple[widgets.DOMWidget, bool]] = []
        self.running = False
        """Whether work is under way or its outcome not yet shown."""

    def start(
        self,
        work: Callable[[Progress], Result],
        then: Callable[[Result], None],
        refused: Callable[[BillingError], None] = lambda error: None,
        stopped: str = "nothing of it was done",
    ) -> None:
        """Begin work; pass its result to ``then`` and its mistake to the panel's message.

        A mistake or a stop calls ``refused`` first; ``stopped`` is the remark on a stop.
        """
        if self.running:
            self.message.refuse("something is under way; wait for it or stop it")
            return
        self._stopping.clear()
        self._stopped = stopped
        resting = [(starter, starter.disabled) for starter in self.starters]
        for starter in self.starters:
            starter.disabled = True
        self.message.say("")
        self.bar.value, self.bar.max, self.label.value = 0, 1, "begins"
        self.stop.disabled = False
        self.widget.layout.display = ""
        loop = _running_loop()
        self._thread = Thread(target=self._work, args=(work, then, refused, loop), daemon=True)
        self._resting = resting
        self.running = True
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Stop the work at its next step."""
        self._stopping.set()
        self.stop.disabled = True
        self.label.value = "stopping …"

    def wait(self) -> None:
        """Wait until the work is done and its result shown."""
        if self._thread is not None:
            self._thread.join()
        self._settle()

    def _work(
        self,
        work: Callable[[Progress], Result],
        then: Callable[[Result], None],
        refused: Callable[[BillingError], None],
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        """Do the work in its thread; its result is shown by the thread that takes the clicks."""

        def refuse(error: BillingError) -> None:
            refused(error)
            self.message.refuse(str(error))

        outcome = partial(self.message.refuse, _defect("nothing was written"))
        try:
            outcome = partial(then, work(self._step))
        except BillingError as error:
            outcome = partial(refuse, error)
        finally:  # the traceback of a defect continues to the log
            self._outcome = outcome
            if loop is None:
                self._settle()
            else:
                loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        """Show the outcome, once."""
        outcome, self._outcome = self._outcome, None
        if outcome is None:
            return
        self.running = False
        self.widget.layout.display = "none"
        for starter, disabled in self._resting:
            starter.disabled = disabled
        told = False
        try:
            with self.message.sentences():
                outcome()
            told = True
        finally:
            if not told:
                self.message.refuse(_defect("the work itself was done"))

    def _step(self, done: int, total: int, what: str) -> None:
        if self._stopping.is_set() and done < total:  # finished work is not stopped
            raise Stopped("stopped", remedy=self._stopped)
        self.bar.max, self.bar.value = max(total, 1), done
        self.label.value = f"{escape(what)} ({done:,} of {total:,})"


def _defect(outcome: str) -> str:
    return f"the program has a defect here; {outcome}, and its log says more"


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class ActionForm:
    """Actions to choose from: each has a form, a trial that shows its effect, and a button.

    A page fills in four steps: ``target`` (that of an action, or a mistake), ``work`` (a trial
    that is undone, or the action itself), ``show`` (the result of the trial) and ``finish``. The
    button works until the form or the target changes.

    Parameters
    ----------
    entries
        The entries of all forms, by name.
    """

    def __init__(self, entries: Mapping[str, Any]) -> None:
        self.entries = entries
        self.message = Message()
        self.action = choice("Action")
        self.form = widgets.VBox()
        self.look = button("Show what it touches")
        self.go = button("Carry it out", primary=True, disabled="look first at what it touches")
        self.progress = ProgressBar(self.message, self.look)
        self.result = widgets.VBox()
        self.seen: tuple[str, Any, dict[str, Any]] | None = None
        self.action.observe(lambda _: self.choose(), names="value")
        for entry in entries.values():
            entry.observe(lambda _: self.forget(), names="value")
        self.look.on_click(lambda _: self.show_effect())
        self.go.on_click(lambda _: self.carry_out())
        self.widget = widgets.VBox(
            [
                *(self.action, self.form, buttons(self.look, self.go)),
                *(self.progress.widget, self.message.widget, self.result),
            ]
        )

    def names(self, key: str) -> Sequence[str]:
        """The names of an action's entries; all of them unless a page says otherwise."""
        return tuple(self.entries)

    def target(self, key: str, stated: dict[str, Any]) -> Any:
        """The target of an action; a mistake in the form is a BillingError."""
        raise NotImplementedError

    def work(
        self, key: str, target: Any, stated: dict[str, Any], step: Progress, *, trial: bool
    ) -> Any:
        """Carry an action out, or try it."""
        raise NotImplementedError

    def show(self, key: str, outcome: Any) -> tuple[str, Any] | None:
        """Show the outcome of a trial; the button's label and the target to carry out, if any."""
        raise NotImplementedError

    def finish(self, key: str, outcome: Any) -> None:
        """Show the outcome of an action."""
        raise NotImplementedError

    def failed(self) -> None:
        """Read again after a refusal."""

    def offer(self, actions: Sequence[tuple[str, str]]) -> None:
        """Offer these actions, pairs of label and key; keep the choice if it is among them."""
        if tuple(actions) != tuple(self.action.options):
            offer(self.action, actions)
            self.choose()

    def choose(self) -> None:
        """Show the form of the chosen action."""
        names = self.names(self.action.value) if self.action.value else ()
        self.form.children = [self.entries[name] for name in names]
        self.forget()

    def forget(self) -> None:
        """Ask for another look, since the form or the target has changed."""
        self.seen = None
        self.go.disabled = True
        self.go.description = "Carry it out"
        self.go.tooltip = "Have it shown first"

    def stated(self) -> dict[str, Any]:
        """The values of the form: texts, dates as texts, and whether boxes are ticked."""
        return {name: _stated(self.entries[name].value) for name in self.names(self.action.value)}

    def show_effect(self) -> None:
        """Try the action, show its effect, and enable it."""
        with self.message.sentences():
            self.forget()
            self.result.children = []
            key, stated = self.action.value, self.stated()
            target = self.target(key, stated)
            self.progress.start(
                lambda step: self.work(key, target, stated, step, trial=True),
                lambda outcome: self._shown(key, stated, outcome),
                stopped="nothing is done",
            )

    def carry_out(self) -> None:
        """Carry the action out as it was shown."""
        with self.message.sentences():
            if self.seen is None:
                raise NotReady("it was not shown yet", remedy="have it shown first")
            key, target, stated = self.seen
            self.forget()
            self.progress.start(
                lambda step: self.work(key, target, stated, step, trial=False),
                lambda outcome: self.finish(key, outcome),
                refused=lambda _: self.failed(),
                stopped="what was done before stays done",
            )

    def _shown(self, key: str, stated: dict[str, Any], outcome: Any) -> None:
        if (key, stated) != (self.action.value, self.stated()):
            return  # the form changed meanwhile
        shown = self.show(key, outcome)
        if shown is not None:
            self.go.description, target = shown
            self.seen = key, target, stated
            self.go.tooltip = ""
            self.go.disabled = False


def _stated(value: object) -> Any:
    if isinstance(value, dt.date):
        return value.isoformat()
    return value.strip() if isinstance(value, str) else value or ""


_SHORTEST = 3.0
"""The least time between two looks at the ledger, in seconds; slow ones have twenty times their
own time between them."""


def follow(
    engine: Engine, refresh: Callable[[], None], since: str = ""
) -> asyncio.Task[None] | None:
    """Refresh a page while it is open in a browser, each time somebody has written to the ledger.

    ``since`` is the ledger's mark from before the page was read; without it the page is read again
    at once. The page keeps the task; otherwise it may end at any moment.
    """
    if not in_browser():
        return None
    return asyncio.get_running_loop().create_task(_follow(engine, refresh, since))


async def _follow(engine: Engine, refresh: Callable[[], None], shown: str) -> None:
    loop = asyncio.get_running_loop()
    while True:
        begun = loop.time()
        with suppress(BillingError):  # a ledger out of reach is asked again
            now = change_mark(engine)
            if now != shown:
                refresh()
                shown = now
        await asyncio.sleep(max(_SHORTEST, 20 * (loop.time() - begun)))


class Later:
    """A place in a notebook that shows the result of ``now``, anything that can be displayed."""

    def __init__(self, now: Callable[[], Any]) -> None:
        self.now = now
        self._handle: DisplayHandle | None = None
        self._last: object = None

    def fill(self) -> None:
        """Show the present content, if the place is displayed and its content has changed."""
        shown = self.now()
        if self._handle is not None and shown is not self._last:
            self._last = shown
            self._handle.update(shown)

    def _ipython_display_(self) -> None:
        self._last = self.now()
        self._handle = display(self._last, display_id=True)
        self.fill()  # it may have changed during display
