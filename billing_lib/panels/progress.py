"""Long work in a panel: a bar that shows how far it is, and a button that stops it.

    progress = Progress(message, start_button)
    progress.start(lambda step: preview(..., step=step), then=show)

The work runs in a thread, so that the notebook can take the click. It tells each step before it
begins; stopping ends it there, as an error would: what it did not finish is rolled back or, where
it is an issuing, settled by the next try.
"""

from collections.abc import Callable
from html import escape
from threading import Event, Thread
from typing import TypeVar

import ipywidgets as widgets

from billing_lib.errors import BillingError
from billing_lib.panels.forms import button
from billing_lib.panels.office import Message
from billing_lib.workflow.steps import Step, Stopped

Result = TypeVar("Result")


class Progress:
    """A bar with a stop button, hidden while nothing runs.

    Parameters
    ----------
    message
        Where it is said how the work ended.
    starters
        Buttons that start work, and what it is about; they rest while some runs.

    Attributes
    ----------
    widget
        What a panel shows.
    """

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

    @property
    def running(self) -> bool:
        """Whether work is under way."""
        return self._thread is not None and self._thread.is_alive()

    def start(
        self,
        work: Callable[[Step], Result],
        then: Callable[[Result], None],
        refused: Callable[[BillingError], None] = lambda error: None,
        stopped: str = "nothing of it was done",
    ) -> None:
        """Begin work; what it gives goes to ``then``, and a mistake to the panel's message.

        Parameters
        ----------
        refused
            Called where the work was refused or stopped, before it is said.
        stopped
            What is said of it where it is stopped.
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
        self._thread = Thread(target=self._run, args=(work, then, refused, resting), daemon=True)
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Have the work stopped at its next step."""
        self._stopping.set()
        self.stop.disabled = True
        self.label.value = "stopping …"

    def wait(self) -> None:
        """Wait until the work is done."""
        if self._thread is not None:
            self._thread.join()

    def _run(
        self,
        work: Callable[[Step], Result],
        then: Callable[[Result], None],
        refused: Callable[[BillingError], None],
        resting: list[tuple[widgets.Button, bool]],
    ) -> None:
        told = False
        try:
            try:
                result = work(self._step)
            finally:
                self.widget.layout.display = "none"
                for starter, disabled in resting:
                    starter.disabled = disabled
            then(result)
            told = True
        except BillingError as error:
            refused(error)
            self.message.refuse(str(error))
            told = True
        finally:
            if not told:  # the traceback goes on to the log
                self.message.refuse(
                    "the program has a defect here; nothing was written, and its log says more"
                )

    def _step(self, done: int, total: int, what: str) -> None:
        if self._stopping.is_set() and done < total:  # what is done is done
            raise Stopped("stopped", remedy=self._stopped)
        self.bar.max, self.bar.value = max(total, 1), done
        self.label.value = f"{escape(what)} ({done:,} of {total:,})"
