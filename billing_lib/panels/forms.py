"""The parts of panels: entries of one width, frames for whole pages, links to files, tables.

    text_entry("Reason", "why; kept with every change")       label on the left, never cut off
    framed(page, "Invoice RC-1994-00001")                     neither page reaches the other
    keep({"RC-1994-00001.pdf": pdf})                          the link holds the file itself
    table(charges, "Charges", places=2, total=("total",))     1080 -> 10.80, to the right

``bundle`` gives a notebook the widget for JupyterLab and HTML for elsewhere. A page by nbconvert
has no kernel and would load the widget's code from a network, so a notebook run by papermill or
nbconvert shows the HTML alone; of one saved by JupyterLab, nbconvert takes the HTML, since
JupyterLab stores no widget state unless told. The same frame always gives the same HTML, so that
a notebook run again is the same byte for byte.
"""

import os
import re
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from html import escape
from io import BytesIO
from mimetypes import guess_type
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote
from zipfile import ZIP_DEFLATED, ZipFile

import anywidget
import ipywidgets as widgets
import pandas as pd
import polars as pl
import traitlets
import yaml
from IPython.display import HTML

from billing_lib.panels.html import label_of, shown_texts, table_name
from billing_lib.workflow.notebooks import titled

if TYPE_CHECKING:
    from pandas.io.formats.style_render import CSSDict


LABEL = "11em"
"""The width of labels, enough for the longest."""

BESIDE_LABEL = f"calc({LABEL} + 8px)"
"""The left edge of entries, for parts that stand below them."""

STATIC = Path(__file__).parent / "static"

FORMATS = (
    ("PDF", "pdf"),
    ("XLSX", "xlsx"),
    ("XML (UBL)", "xml"),
    ("HTML", "html"),
    ("PDF, XLSX and XML", "pdf,xlsx,xml"),
)
"""The choices of formats of invoices."""

_LISTED = 500
"""The most sentences that are listed."""

_KEPT_SECONDS = 24 * 60 * 60

_ENTRY = "36em"

PAIR = "calc(30em - 8px)"
"""The width of an entry of which several stand side by side."""

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
        continuous_update=False,  # sent when the entry is left, not with each letter
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
    """A list to choose one of ``options``, pairs of label and value."""
    return widgets.Dropdown(
        description=label,
        options=list(options),
        layout=widgets.Layout(width=width),
        style=_STYLE,
    )


def offer(chooser: widgets.Dropdown, options: Sequence[tuple[str, Any]]) -> None:
    """Replace the options of a list; choose the first if the present choice is gone."""
    kept, values = chooser.value, [value for _, value in options]
    chooser.options = list(options)
    chooser.value = kept if kept in values else next(iter(values), None)


def suggestion(
    label: str, options: Sequence[str] = (), placeholder: str = "", *, width: str = _ENTRY
) -> widgets.Combobox:
    """An entry for a text that suggests options while it is typed."""
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
    """A box to tick, in line with the other entries."""
    return widgets.Checkbox(
        description=label,
        indent=True,
        layout=widgets.Layout(width="auto"),
        style={"description_width": LABEL},
    )


def button(
    label: str,
    then: Callable[[], object] | None = None,
    *,
    primary: bool = False,
    disabled: str = "",
) -> widgets.Button:
    """A button as wide as its label; ``disabled`` says why it is greyed at first."""
    made = widgets.Button(
        description=label,
        button_style="primary" if primary else "",
        disabled=bool(disabled),
        tooltip=disabled or None,
        layout=widgets.Layout(width="auto"),
    )
    if then is not None:
        made.on_click(lambda _: then())
    return made


def show(part: widgets.DOMWidget, *, shown: bool) -> None:
    """Show a part of a page, or hide it."""
    part.layout.display = None if shown else "none"


def paired(*entries: widgets.DOMWidget) -> widgets.GridBox:
    """Entries of the width PAIR, as many beside each other as the window has room for."""
    columns = "repeat(auto-fill, 30em)"
    return widgets.GridBox(
        entries, layout={"grid_template_columns": columns, "grid_gap": "0 1em", "width": "100%"}
    )


def buttons(*parts: widgets.Widget) -> widgets.HBox:
    """Buttons in a row, below their entries."""
    return widgets.HBox(
        list(parts),
        layout=widgets.Layout(flex_flow="row wrap", margin=f"4px 0 4px {BESIDE_LABEL}"),
    )


def framed(page: str, title: str) -> str:
    """An HTML page in a frame: its style stays inside and its scripts do not run."""
    style = (
        "box-sizing: border-box; width: 100%; height: max(46em, calc(100vh - 22em)); "
        "border: 1px solid #c8ced6; "
        "background: #fff"
    )
    return (
        f'<iframe title="{escape(title)}" sandbox="" style="{style}" '
        f'srcdoc="{escape(page)}"></iframe>'
    )


def keep(files: Mapping[str, bytes]) -> str:
    """A line of links, one to each file by name, which hold the files' content."""
    links = " ".join(_link(name, content) for name, content in files.items())
    return f"<p>Keep it: {links}</p>"


def _link(name: str, content: bytes) -> str:
    kind = guess_type(name)[0] or "application/octet-stream"
    text = b64encode(content).decode("ascii")
    return (
        f'<a download="{escape(name)}" href="data:{kind};base64,{text}" '
        f'style="text-decoration: underline; margin-right: 1em">{escape(name)}</a>'
    )


class _Drop(anywidget.AnyWidget):
    """The place where files are dropped."""

    _esm = STATIC / "drop.js"
    _css = STATIC / "drop.css"
    label = traitlets.Unicode().tag(sync=True)
    accept = traitlets.Unicode().tag(sync=True)


class Upload:
    """A place to drop files; the browser sends them into a folder, and ``then`` gets the path.

    ``accept`` lists the suffixes that the browser offers, such as ``.png,.svg``.
    """

    def __init__(
        self, label: str, folder: Path, then: Callable[[Path], None], accept: str = ""
    ) -> None:
        self.folder, self._then = folder, then
        self.widget = _Drop(label=label, accept=accept)
        self.widget.on_msg(lambda _widget, content, buffers: self.received(content, buffers))
        self._name, self._size, self._done = "", 0, 0
        self._file: IO[bytes] | None = None

    def received(self, content: dict[str, Any], buffers: Sequence[bytes | memoryview]) -> None:
        """Take the beginning of a file, or its next piece."""
        try:
            if content.get("kind") == "begin":
                self._begin(str(content["name"]), int(content["size"]))
            elif self._file is not None:
                for piece in buffers:
                    self._done += self._file.write(piece)
                self._go_on()
        except OSError as error:
            self._end()
            told = f"{self._name} could not be kept: {error.strerror or error}"
            self.widget.send({"kind": "refused", "told": told})

    def _begin(self, name: str, size: int) -> None:
        self._end()
        self._name, self._size, self._done = Path(name).name.lstrip("."), size, 0
        if not self._name:
            self.widget.send({"kind": "refused", "told": "the file has no name"})
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = self._part.open("wb")
        self._go_on()

    def _go_on(self) -> None:
        if self._done < self._size:
            self.widget.send({"kind": "more", "received": self._done})
            return
        self._end()
        path = self.folder / self._name
        self._part.replace(path)
        self.widget.send({"kind": "done", "told": f"{self._name} is here ({self._size:,} bytes)."})
        self._then(path)

    def _end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def _part(self) -> Path:
        return self.folder / f".{self._name}.part"


class _Heading(anywidget.AnyWidget):
    """A heading that opens and closes the part below it."""

    _esm = STATIC / "fold.js"
    _css = STATIC / "fold.css"
    title = traitlets.Unicode().tag(sync=True)
    opened = traitlets.Bool(default_value=False).tag(sync=True)


class Fold:
    """A part of a page below a heading that opens and closes it, by mouse or keyboard."""

    def __init__(self, title: str, part: widgets.DOMWidget, *, opened: bool = False) -> None:
        self.heading = _Heading(title=title, opened=opened)
        inside = widgets.Box([part], layout={"display": "block", "padding": "6px 14px 10px"})
        self.widget = widgets.VBox()
        self._parts = (self.heading, inside)
        self.heading.observe(lambda _: self._show(), names="opened")
        self._show()

    def _show(self) -> None:
        self.widget.children = self._parts if self.heading.opened else self._parts[:1]


class Place(anywidget.AnyWidget):
    """A place in a page to which ``go`` brings the reader and the keyboard."""

    _esm = """
    export default { render({ model, el }) {
      el.tabIndex = -1;
      const go = () => {
        el.scrollIntoView({ block: "start" });
        el.focus({ preventScroll: true });
      };
      model.on("msg:custom", go);
      return () => model.off("msg:custom", go);
    } };
    """

    def go(self) -> None:
        """Scroll to it; Tab leads on from there."""
        self.send({"kind": "go"})


def zipped(files: Path | Mapping[str, bytes]) -> bytes:
    """A zip of all files in a folder, or of contents by name."""
    if isinstance(files, Path):
        paths = (path for path in sorted(files.rglob("*")) if path.is_file())
        files = {path.relative_to(files).as_posix(): path.read_bytes() for path in paths}
    content = BytesIO()
    with ZipFile(content, "w", ZIP_DEFLATED) as target:
        for name, each in files.items():
            target.writestr(name, each)
    return content.getvalue()


@cache
def pages_of_commands() -> dict[str, dict[str, str]]:
    """Each command's ``page`` and perhaps ``button``, or the ``reason`` why it has no page."""
    text = Path(__file__).with_name("commands.yml").read_text(encoding="utf-8")
    table: dict[str, dict[str, str]] = yaml.safe_load(text)
    return table


_COMMAND = re.compile(r"(run )?'billing ([a-z-]+)( [a-z]+)?[^']*'")


def on_page(text: str) -> str:
    """A sentence with pages and buttons in place of the commands that it names."""

    def place(found: re.Match[str]) -> str:
        table = pages_of_commands()
        its = table.get(found[2] + (found[3] or "")) or table.get(found[2], {})
        if "page" not in its:
            return found[0]
        page = f"the page {titled(its['page'])}"
        if "button" not in its:
            return f"see {page}" if found[1] else page
        return f"{'press ' if found[1] else ''}'{its['button']}' on {page}"

    return _COMMAND.sub(place, text)


def steps(sentences: Sequence[str]) -> str:
    """Sentences in a list that is folded; of very many the first ones."""
    items = "".join(f"<li>{escape(on_page(sentence))}</li>" for sentence in sentences[:_LISTED])
    more = len(sentences) - _LISTED
    rest = f"<p>… and {more:,} more</p>" if more > 0 else ""
    return (
        f"<details><summary>Step by step: {len(sentences):,}</summary>"
        f'<ul style="line-height: 1.5">{items}</ul>{rest}</details>'
    )


def downloads(office: Path, files: Mapping[str, bytes], depth: int = 0) -> str:
    """Links to files, which are written into the office's folder ``downloads``.

    A large file goes from there to the browser without a detour over the kernel. ``depth`` counts
    the folders from the office's to the page's; files of earlier days are deleted.
    """
    up = "../" * (depth + 2)
    folder = office / "downloads"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.stat().st_mtime < time.time() - _KEPT_SECONDS:
            path.unlink(missing_ok=True)
    links = []
    for name, content in files.items():
        file = name.replace("/", "_")
        (folder / file).write_bytes(content)
        links.append(
            f'<a download="{escape(file)}" href="{up}files/downloads/{quote(file)}?download=1" '
            f'style="text-decoration: underline; margin-right: 1em">{escape(file)}</a>'
        )
    return f'<p style="line-height: 1.6">Keep it: {" ".join(links)}</p>'


def in_portal() -> bool:
    """Whether the notebook is a page of the portal; Voilà sets a variable then."""
    return os.environ.get("SERVER_SOFTWARE", "").startswith("voila")


def in_browser() -> bool:
    """Whether a browser shows the notebook; Jupyter's server sets a variable then, too."""
    return in_portal() or "JPY_SESSION_NAME" in os.environ


def bundle(widget: widgets.DOMWidget, html: str) -> dict[str, Any]:
    """A widget and the HTML in its place, by MIME type."""
    shown: dict[str, Any] = {"text/plain": "", "text/html": html}
    if in_browser():
        made = widget._repr_mimebundle_()
        shown |= made[0] if isinstance(made, tuple) else made
    return shown


class Displayed:
    """A panel that a notebook displays: a widget, and HTML where there is no kernel."""

    widget: widgets.DOMWidget

    def html(self) -> str:
        """The panel's content without its controls."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return bundle(self.widget, self.html())


_STYLES: list["CSSDict"] = [
    # ipywidgets would make each row 28 px high, twice as much as reading needs.
    {"selector": "th, td", "props": "padding: 2px 10px; line-height: 1.4;"},
    {
        "selector": "caption",
        "props": "text-align: left; font-weight: bold; padding: 6px 10px; caption-side: top;",
    },
]

_UNBROKEN = ("charge", "invoice", "number", "date", "at")
"""Columns of names and times, which stay on one line."""

_LEFT = "text-align: left;"
_RIGHT = "text-align: right; font-variant-numeric: tabular-nums;"


def table(
    frame: pl.DataFrame,
    caption: str,
    *,
    places: int = 2,
    total: Sequence[str] = (),
    right: Sequence[str] = (),
) -> HTML:
    """A frame as an HTML table for people (``.data`` is its text).

    Integers in columns named in MONEY are minor units, of ``places`` decimals. A last row sums the
    columns ``total``; columns ``right`` are aligned as numbers; HTML ids come from ``caption``.
    """
    texts, numbers = shown_texts(frame, places, total)
    numbers |= {label_of(name) for name in right}
    pandas = pd.DataFrame({name: texts[name].to_list() for name in texts.columns}, dtype=object)
    columns: list[CSSDict] = [
        {"selector": f"th.col{at}, td.col{at}", "props": _RIGHT if name in numbers else _LEFT}
        for at, name in enumerate(texts.columns)
    ]
    columns += [
        {"selector": f"td.col{at}", "props": "white-space: nowrap;"}
        for at, name in enumerate(frame.columns)
        if name in _UNBROKEN
    ]
    styler = (
        pandas.style.hide(axis="index")
        .set_uuid(table_name(caption).removeprefix("T_"))
        .set_caption(caption)
        .format(na_rep="", escape="html")  # texts that people wrote are shown, never run
        .set_table_styles([*_STYLES, *columns])
    )
    return HTML(styler.to_html())
