"""Long work in a panel: a bar that moves, and a button that stops it and leaves everything whole.

    progress = Progress(message)
    progress.start(lambda step: issue_approved(engine, …, step=step), then=show)

The work runs in a thread, so that the notebook can take the click. It tells each step before it
begins; stopping ends it there, as an error would: what it did not finish is rolled back or, where
it is an issuing, settled by the next try.
"""

from collections.abc import Callable
from html import escape
from threading import Event, Thread
from typing import TypeVar

import ipywidgets as widgets

from billing_lib.errors import NotReady
from billing_lib.panels.office import Message

Step = Callable[[int, int, str], None]
"""Told how many steps of how many are done, and what comes next."""

Result = TypeVar("Result")


class Progress:
    """A progress bar with a stop button; hidden while nothing runs.

    Attributes
    ----------
    widget
        What the panel displays.
    """

    def __init__(self, message: Message) -> None:
        self.message = message
        self.bar = widgets.IntProgress(layout={"width": "20em"})
        self.label = widgets.HTML()
        self.stop = widgets.Button(description="Stop", icon="stop", tooltip="Stop; nothing is half")
        self.widget = widgets.HBox([self.bar, self.label, self.stop])
        self.widget.layout.display = "none"
        self._stopped = Event()
        self._thread: Thread | None = None
        self.stop.on_click(lambda _: self._stopped.set())

    @property
    def running(self) -> bool:
        """Whether work is under way."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, work: Callable[[Step], Result], then: Callable[[Result], None]) -> None:
        """Begin work; what it gives goes to ``then``, and a mistake to the panel's message."""
        if self.running:
            self.message.refuse("something is under way; wait for it or stop it")
            return
        self._stopped.clear()
        self.bar.value, self.label.value = 0, "begins"
        self.stop.disabled = False
        self.widget.layout.display = ""

        def run() -> None:
            try:
                with self.message.sentences():
                    then(work(self._step))
            finally:
                self.widget.layout.display = "none"

        self._thread = Thread(target=run, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until the work is done."""
        if self._thread is not None:
            self._thread.join()

    def _step(self, done: int, total: int, what: str) -> None:
        if self._stopped.is_set() and done < total:  # what is done is done
            raise NotReady("stopped; nothing of it was done")
        self.bar.max, self.bar.value = max(total, 1), done
        self.label.value = f"{escape(what)} ({done:,} of {total:,})"
