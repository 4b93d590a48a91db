"""Something in a notebook that is shown anew when what it shows has changed.

    shown = Later(lambda: table(charges, "Charges"))
    display(shown)     what it is by now
    shown.fill()       the same place, anew

The notebook keeps what was shown last, so that it saves and exports like any other output.
"""

from collections.abc import Callable
from typing import Any

from IPython.display import DisplayHandle, display


class Later:
    """A place in a notebook.

    Parameters
    ----------
    now
        Gives what is to be shown: anything that a notebook can display.
    """

    def __init__(self, now: Callable[[], Any]) -> None:
        self.now = now
        self._handle: DisplayHandle | None = None
        self._last: object = None

    def fill(self) -> None:
        """Show what it is by now, where it is displayed and was another thing."""
        shown = self.now()
        if self._handle is not None and shown is not self._last:
            self._last = shown
            self._handle.update(shown)

    def _ipython_display_(self) -> None:
        self._last = self.now()
        self._handle = display(self._last, display_id=True)
        self.fill()  # it may have changed while it was being displayed
