"""Choosing a lab and a month: two lists, of what who is asking may see, and what follows below."""

from collections.abc import Callable

import ipywidgets as widgets
import polars as pl

from billing_lib.panels.office import Message, Office
from billing_lib.workflow.lab_months import read_lab_months
from billing_lib.workflow.price_books import read_price_books

_WIDE = {"width": "26em"}
_LOOKED_AT = 12  # months


class LabChooser:
    """Two lists, the labs and the months of the one that is chosen.

    Parameters
    ----------
    team, period
        What is chosen at first; the first lab and its newest month where they are empty.
    show
        Told team and month, at first and when another is chosen.
    message
        Where a mistake of ``show`` goes.
    has
        Whether there is something to show of a team and month; where no month is wanted, the
        newest one that has, of the last twelve.
    """

    def __init__(
        self,
        office: Office,
        team: str,
        period: str,
        show: Callable[[str, str], None],
        message: Message,
        has: Callable[[str, str], bool] = lambda team, period: True,
    ) -> None:
        books = read_price_books(office.settings.parameters)
        self.months = read_lab_months(office.engine, books)
        labs = self.months.unique("team", keep="first", maintain_order=True)
        self.team = widgets.Dropdown(
            description="Lab",
            options=[
                (f"{name} ({code})", code) for code, name in labs.select("team", "name").iter_rows()
            ],
            layout=_WIDE,
        )
        self.period = widgets.Dropdown(description="Month", layout={"width": "16em"})
        self.widget = widgets.HBox([self.team, self.period])
        self._show, self._message, self._has = show, message, has
        self._listing = False
        if team in labs["team"]:
            self.team.value = team
        self.team.observe(lambda _: self._list_months(self.period.value or ""), names="value")
        self.period.observe(lambda _: self._tell(), names="value")
        self._list_months(period)

    def _list_months(self, wanted: str) -> None:
        of_team = self.months.filter(pl.col("team") == pl.lit(self.team.value, pl.String))
        months = of_team["period"].to_list()
        self._listing = True  # what comes of it is told once
        self.period.options = months
        self.period.value = wanted if wanted in months else self._newest(months)
        self._listing = False
        self._tell()

    def _newest(self, months: list[str]) -> str | None:
        having = (it for it in months[:_LOOKED_AT] if self._has(self.team.value, it))
        return next(having, next(iter(months), None))

    def _tell(self) -> None:
        if self._listing:
            return
        with self._message.sentences():
            if self.team.value is None or self.period.value is None:
                self._message.say("There is no lab's month that you may see.")
                return
            self._show(self.team.value, self.period.value)
