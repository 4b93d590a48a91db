"""Long work in a notebook: a progress bar, and a button that stops it and leaves all whole.

    work = Work()
    display(work.widget)
    work.start(lambda step: find_discrepancies(engine, book, period, step), show)

In JupyterLab the work goes on in a thread and the cell ends at once, since a kernel hears of no
button while a cell runs; without JupyterLab the cell does it. The work asks between its steps
whether it shall stop.
"""

from collections.abc import Callable
from threading import Thread
from typing import TypeVar

import ipywidgets as widgets

from billing_lib.panels.display import in_jupyterlab
from billing_lib.panels.office import Message

Step = Callable[[int, int, str], None]
Result = TypeVar("Result")


class Stopped(Exception):
    """Somebody pressed the button."""


class Work:
    """A progress bar with a button that stops.

    Attributes
    ----------
    widget
        What the notebook displays; hidden while nothing is being done.
    message
        Says that it was stopped, or a mistake as its sentence.
    """

    def __init__(self) -> None:
        self.bar = widgets.IntProgress(min=0, max=1, layout=widgets.Layout(width="20em"))
        self.stop = widgets.Button(description="Stop", icon="stop", tooltip="Stop; nothing changes")
        self.what = widgets.HTML()
        self.message = Message()
        self._line = widgets.HBox([self.bar, self.stop, self.what])
        self.widget = widgets.VBox([self._line, self.message.widget])
        self.thread: Thread | None = None
        self._wanted = True
        self.stop.on_click(lambda _: self._stop())
        self._show(at_work=False)

    def start(self, task: Callable[[Step], Result], done: Callable[[Result | None], None]) -> None:
        """Begin the work, unless it is going on.

        Parameters
        ----------
        task
            Tells its steps as it goes on.
        done
            Called with what came of it; with None where it was stopped or ended with a mistake,
            which the message then says.
        """
        if self.thread is not None and self.thread.is_alive():
            return
        self._wanted = True
        self.message.clear()
        self._show(at_work=True)
        if in_jupyterlab():
            self.thread = Thread(target=self._do, args=(task, done), daemon=True)
            self.thread.start()
        else:
            self._do(task, done)

    def _do(self, task: Callable[[Step], Result], done: Callable[[Result | None], None]) -> None:
        result = None
        try:
            with self.message.sentences():
                result = task(self._step)
        except Stopped:
            self.message.say("Stopped; nothing was changed.")
        finally:
            self._show(at_work=False)
        done(result)

    def _step(self, done: int, total: int, what: str) -> None:
        self.bar.max, self.bar.value = total, done
        self.what.value = f"<span>{what} …</span>"
        if not self._wanted:
            raise Stopped

    def _stop(self) -> None:
        self._wanted = False

    def _show(self, *, at_work: bool) -> None:
        self._line.layout.display = "flex" if at_work else "none"
