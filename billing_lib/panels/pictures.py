"""Pictures of a month: where it is spent, how it compares, when instruments were used.

Each is an altair chart of a small frame, summed before, drawn here as SVG: the same picture in
JupyterLab and in a page that nbconvert writes, without a network. The colours are of the palette
by Okabe and Ito and of cividis, which colour-blind people can tell apart as well.
"""

import base64
from dataclasses import dataclass
from decimal import Decimal
from html import escape
from typing import Any

import altair as alt
import polars as pl
import vl_convert

from billing_lib.pricing.period import Period

MOST = 15
"""How many bars a picture has; what is less is summed as one."""

_WIDTH = 620
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#8a929c"
_WHOLE = ",.12~g"
"""Of d3: as many digits as there are, in groups of three, and no exponent."""


@dataclass(frozen=True)
class Picture:
    """A picture with a text for those who do not see it.

    Attributes
    ----------
    svg
        The picture; '' where there is nothing to show.
    """

    title: str
    svg: str
    told: str

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/plain": f"{self.title}: {self.told}", "text/html": self.html()}

    def html(self) -> str:
        """The picture as an image that stands in the page itself."""
        if not self.svg:
            return f"<p>{escape(self.title)}: {escape(self.told)}</p>"
        data = base64.b64encode(self.svg.encode()).decode()
        alt_text = escape(f"{self.title}: {self.told}")
        style = "max-width: 100%"
        return f'<img alt="{alt_text}" style="{style}" src="data:image/svg+xml;base64,{data}">'


def spend_by(charges: pl.DataFrame, column: str, currency: str, places: int) -> Picture:
    """What each ``project``, ``user`` or ``item`` comes to, the largest first."""
    sums = (
        charges.group_by(pl.col(column).fill_null("–").alias("name"))
        .agg(pl.col("total").sum())
        .sort("total", "name", descending=[True, False])
    )
    rest = sums.slice(MOST)
    shown = sums.head(MOST)
    if rest.height:
        others = pl.DataFrame(
            {"name": [f"{rest.height:,} others"], "total": [rest["total"].sum()]},
            schema=sums.schema,
        )
        shown = pl.concat([shown, others])
    title = f"Spend by {column}"
    rows = _amounts(shown, places)
    base = alt.Chart(_values(rows), title=title).encode(
        y=alt.Y(
            "name:N",
            sort=None,
            title=column.capitalize(),
            axis=alt.Axis(labelLimit=180, titlePadding=24),
        ),
        x=alt.X(
            "amount:Q", title=f"Total, {currency}", axis=alt.Axis(format=_WHOLE, titlePadding=12)
        ),
    )
    figures = base.mark_text(align="left", dx=4).encode(text=alt.Text("text:N"))
    chart = (base.mark_bar(color=_BLUE) + figures).properties(width=_WIDTH - 100)
    return _picture(title, chart, rows, currency)


def spend_by_day(charges: pl.DataFrame, period: Period, currency: str, places: int) -> Picture:
    """What each day of the month comes to."""
    days = pl.DataFrame({"date": pl.date_range(period.first_day, period.last_day, eager=True)})
    sums = charges.group_by("date").agg(pl.col("total").sum())
    joined = days.join(sums, on="date", how="left").select(
        pl.col("date").dt.strftime("%d").alias("name"), pl.col("total").fill_null(0)
    )
    title = "Spend by day"
    rows = _amounts(joined, places)
    chart = (
        alt.Chart(_values(rows), title=title)
        .mark_bar(color=_BLUE)
        .encode(
            x=alt.X("name:O", title=f"Day of {period}", axis=alt.Axis(labelAngle=0)),
            y=alt.Y(
                "amount:Q",
                title=f"Total, {currency}",
                axis=alt.Axis(format=_WHOLE, titlePadding=12),
            ),
        )
        .properties(width=_WIDTH, height=220)
    )
    return _picture(title, chart, rows if charges.height else rows.clear(), currency)


def months(
    charges: pl.DataFrame, spend: pl.DataFrame, period: Period, currency: str, places: int
) -> Picture:
    """This month against the last twelve; a month without any charge stays out."""
    before = spend.group_by(pl.col("period").alias("name")).agg(pl.col("total").sum())
    now = pl.DataFrame(
        {"name": [str(period)], "total": [charges["total"].sum()]}, schema=before.schema
    )
    rows = _amounts(pl.concat([before, now]).sort("name"), places).with_columns(
        month=pl.when(pl.col("name") == str(period))
        .then(pl.lit("this month"))
        .otherwise(pl.lit("a month before"))
    )
    title = "This month against the last twelve"
    base = alt.Chart(_values(rows), title=title).encode(
        x=alt.X("name:O", title="Month", axis=alt.Axis(labelAngle=0)),
        y=alt.Y(
            "amount:Q", title=f"Total, {currency}", axis=alt.Axis(format=_WHOLE, titlePadding=12)
        ),
    )
    colours = alt.Scale(domain=["this month", "a month before"], range=[_ORANGE, _GREY])
    bars = base.mark_bar().encode(
        color=alt.Color("month:N", title=None, scale=colours, legend=alt.Legend(orient="top"))
    )
    figures = base.mark_text(dy=-6, fontSize=9).encode(text=alt.Text("text:N"))
    chart = (bars + figures).properties(width=_WIDTH, height=220)
    return _picture(title, chart, rows, currency)


def instrument_hours(charges: pl.DataFrame, period: Period) -> Picture:
    """Hours of each item by day, as a heat map: what is sold by the hour, the most used first."""
    hourly = charges.filter((pl.col("unit") == "hour") & (pl.col("kind") == "usage"))
    used = hourly.group_by("item", "date").agg(
        pl.col("quantity").cast(pl.Decimal(38, 9)).sum().alias("hours")
    )
    most = (
        used.group_by("item")
        .agg(pl.col("hours").sum())
        .sort("hours", "item", descending=[True, False])
        .head(2 * MOST)
    )
    in_month = pl.col("date").is_between(period.first_day, period.last_day)
    rows = (
        most.select("item")
        .join(used.filter(in_month), on="item", maintain_order="left")
        .select(
            pl.col("item").alias("name"),
            pl.col("date").dt.strftime("%d").alias("day"),
            pl.col("hours").cast(pl.Float64).round(1).alias("amount"),  # a shade, no money
        )
    )
    days = [f"{day:02d}" for day in range(1, period.last_day.day + 1)]
    title = "Hours by instrument and day"
    chart = (
        alt.Chart(_values(rows), title=title)
        .mark_rect(stroke="white", strokeWidth=1)
        .encode(
            x=alt.X(
                "day:O",
                title=f"Day of {period}, by the start",
                scale=alt.Scale(domain=days),
                axis=alt.Axis(labelAngle=0),
            ),
            y=alt.Y(
                "name:N",
                title="Instrument",
                sort=most["item"].to_list(),
                axis=alt.Axis(titlePadding=24),
            ),
            color=alt.Color(
                "amount:Q",
                title="Hours",
                scale=alt.Scale(scheme="cividis", reverse=True),
                legend=alt.Legend(format=_WHOLE),
            ),
        )
        .properties(width=_WIDTH, height=20 * max(4, most.height))
    )
    largest = most.with_columns(
        name="item", text=pl.col("hours").cast(pl.Float64).round(1).cast(pl.String)
    )
    return _picture(title, chart, largest, "hours")


def _amounts(sums: pl.DataFrame, places: int) -> pl.DataFrame:
    """``total`` (minor units) as ``amount``, by which bars are drawn, and as ``text``."""
    texts = [f"{Decimal(total).scaleb(-places):,.{places}f}" for total in sums["total"]]
    amount = (pl.col("total") / 10**places).alias("amount")  # a length, no money
    return sums.with_columns(amount, text=pl.Series(texts, dtype=pl.String))


def _values(rows: pl.DataFrame) -> alt.InlineData:
    return alt.InlineData(values=rows.to_dicts())


def _picture(title: str, chart: Any, rows: pl.DataFrame, unit: str) -> Picture:
    if rows.height == 0:
        return Picture(title, "", "there is nothing to show")
    drawn = chart.configure(
        background="white",
        font="sans-serif",
        title=alt.TitleConfig(anchor="start"),
        view=alt.ViewConfig(stroke=None),
    )
    svg = vl_convert.vegalite_to_svg(drawn.to_dict(), vl_version=alt.SCHEMA_VERSION[1:4])
    first = ", ".join(f"{name} {text}" for name, text in rows.select("name", "text").head(5).rows())
    return Picture(title, svg, f"{first} {unit}")
