"""The parts of forms, at one width: labels to the left of what is filled in, none cut off.

All panels build their entries here, so that they look and behave alike.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

import ipywidgets as widgets

LABEL = "11em"
"""The width of labels: the longest of them is read in full."""

BESIDE_LABEL = f"calc({LABEL} + 8px)"
"""Where entries begin, for what stands below them."""

_ENTRY = "36em"
_STYLE = {"description_width": LABEL}


def heading(text: str) -> widgets.HTML:
    """The heading of a part of a panel."""
    return widgets.HTML(f'<h3 style="margin: 12px 0 4px">{escape(text)}</h3>')


def remark(text: str) -> widgets.HTML:
    """A sentence that explains a part of a panel."""
    return widgets.HTML(f'<p style="margin: 0 0 6px; line-height: 1.5">{escape(text)}</p>')


def text_entry(label: str, placeholder: str = "", *, width: str = _ENTRY) -> widgets.Text:
    """An entry for a line of text."""
    return widgets.Text(
        description=label,
        placeholder=placeholder,
        continuous_update=False,  # told when it is left, not with each letter
        layout=widgets.Layout(width=width),
        style=_STYLE,
    )


def long_text_entry(label: str) -> widgets.Textarea:
    """An entry for several lines of text."""
    return widgets.Textarea(
        description=label,
        rows=4,
        continuous_update=False,
        layout=widgets.Layout(width=_ENTRY),
        style=_STYLE,
    )


def choice(
    label: str, options: Sequence[tuple[str, Any]] = (), *, width: str = _ENTRY
) -> widgets.Dropdown:
    """A list of which one is chosen: what is shown of each, and what it stands for."""
    return widgets.Dropdown(
        description=label,
        options=list(options),
        layout=widgets.Layout(width=width),
        style=_STYLE,
    )


def offer(chooser: widgets.Dropdown, options: Sequence[tuple[str, Any]]) -> None:
    """Have a list offer these; what was chosen stays where it is still there, else the first."""
    kept, values = chooser.value, [value for _, value in options]
    chooser.options = list(options)
    chooser.value = kept if kept in values else next(iter(values), None)


def suggestion(
    label: str, options: Sequence[str] = (), placeholder: str = "", *, width: str = _ENTRY
) -> widgets.Combobox:
    """An entry for a text that offers what there is while it is written."""
    return widgets.Combobox(
        description=label,
        options=list(options),
        placeholder=placeholder,
        ensure_option=False,
        continuous_update=False,
        layout=widgets.Layout(width=width),
        style=_STYLE,
    )


def date_entry(label: str, *, width: str = _ENTRY) -> widgets.DatePicker:
    """An entry for a day."""
    return widgets.DatePicker(description=label, layout=widgets.Layout(width=width), style=_STYLE)


def tick(label: str) -> widgets.Checkbox:
    """A box to tick, set where the other entries are."""
    return widgets.Checkbox(
        description=label,
        indent=True,
        layout=widgets.Layout(width="auto"),
        style={"description_width": LABEL},
    )


def button(label: str, *, primary: bool = False, disabled: bool = False) -> widgets.Button:
    """A button as wide as its words."""
    return widgets.Button(
        description=label,
        button_style="primary" if primary else "",
        disabled=disabled,
        layout=widgets.Layout(width="auto"),
    )


def buttons(*parts: widgets.Widget) -> widgets.HBox:
    """Buttons in a row, below the entries that they belong to."""
    return widgets.HBox(
        list(parts),
        layout=widgets.Layout(flex_flow="row wrap", margin=f"4px 0 4px {BESIDE_LABEL}"),
    )
