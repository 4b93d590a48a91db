"""Renders one template, in a process of its own that holds nothing of value.

templates.py runs this file as a script: a job as JSON on standard input, the results as JSON on
standard output. The process has no settings, no ledger and no module of this program but text.py;
processor time, memory and the length of a result are limited. A template reaches only its values,
the other templates of the job and the filters below.
"""

import base64
import datetime as dt
import importlib.util
import json
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import unquote, urlsplit

from jinja2 import (
    FunctionLoader,
    StrictUndefined,
    TemplateNotFound,
    TemplateSyntaxError,
    Undefined,
    UndefinedError,
)
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MARKUP = (".html", ".htm", ".xhtml", ".xml")
"""Formats in which ``<`` and ``&`` of a value are escaped."""

_LAST_POWER = 64
_AGAIN = 0.5  # seconds until the next alarm, in case a library swallowed the first
_REMAINS = 15  # seconds beyond the limit of all documents until the kernel ends the process
_PANGO = (
    "a PDF of a template is drawn with Pango, which is not here; as root: apt-get install"
    " libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core"
)


class _TooMuch(Exception):
    """A template exceeds a limit or needs a missing library."""


class _Refused(BaseException):
    """A page asks for a forbidden file; WeasyPrint would ignore an Exception."""


def _words() -> Any:
    """text.py by its path: an import by name would load the whole package of documents."""
    path = Path(__file__).parent.parent / "documents" / "text.py"
    spec = importlib.util.spec_from_file_location("billing_text", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WORDS = _words()


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's own sandbox, with small powers only, so that no single sum takes for ever."""

    intercepted_binops = frozenset(("**",))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute ``left ** right`` for a small ``right``."""
        if not isinstance(right, int) or abs(right) > _LAST_POWER:
            raise SecurityError(f"a power above {_LAST_POWER} is not computed here")
        return super().call_binop(context, operator, left, right)


def environment(sources: dict[str, str], newline: str) -> Sandbox:
    """The environment of templates, with these sources alone."""

    def load(name: str) -> tuple[str, str, None] | None:
        return (sources[name], name, None) if name in sources else None

    sandbox = Sandbox(
        loader=FunctionLoader(load),
        autoescape=_is_markup,
        undefined=StrictUndefined,
        finalize=_printed,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        newline_sequence=newline,
    )
    del sandbox.globals["lipsum"], sandbox.filters["random"]  # the same input gives the same bytes
    sandbox.filters |= FILTERS
    return sandbox


def _is_markup(name: str | None) -> bool:
    return name is not None and name.removesuffix(".j2").endswith(MARKUP)


def _printed(value: Any) -> Any:
    """A value for printing: None is empty; lists and objects are refused as mistakes."""
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, str | int | float | Undefined):
        return value
    raise TypeError(f"a {type(value).__name__} is no text; name a part of it, or go through it")


def csv_text(value: Any, delimiter: str = ",") -> str:
    """A field of CSV (RFC 4180), quoted if necessary; a list becomes a row."""
    if isinstance(value, list | tuple):
        return delimiter.join(csv_text(part, delimiter) for part in value)
    text = str(_printed(value))
    quoted = any(mark in text for mark in (delimiter, '"', "\r", "\n")) or text != text.strip()
    return '"' + text.replace('"', '""') + '"' if quoted else text


def decimal(value: Any) -> Decimal:
    """An amount as an exact number."""
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"'{value}' is no amount") from None


def total(values: Iterable[Any]) -> Decimal:
    """The exact sum of amounts."""
    return sum((decimal(value) for value in values), Decimal(0))


def date(value: str | None, pattern: str | None = None) -> str:
    """A day in words, or by a pattern such as ``%d.%m.%Y``; empty for None."""
    if not value:
        return ""
    if pattern is None:
        return str(WORDS.long_date(value[:10]))
    return dt.date.fromisoformat(value[:10]).strftime(pattern)


FILTERS: dict[str, Callable[..., Any]] = {
    "csv": csv_text,
    "date": date,
    "decimal": decimal,
    "instant": WORDS.instant,
    "money": lambda value: WORDS.money(None if value is None else str(value)),
    "total": total,
}
"""Filters of templates besides Jinja's own (docs/templates.md)."""


def render(sandbox: Sandbox, job: dict[str, Any], context: dict[str, Any]) -> bytes:
    """One document."""
    parts, length = [], 0
    for part in sandbox.get_template(job["name"]).generate(context):
        length += len(part)
        if length > job["bytes"]:
            raise _TooMuch(f"it writes more than {job['bytes']:,} characters")
        parts.append(part)
    text = "".join(parts)
    return pdf(text, Path(job["folder"])) if job["pdf"] else text.encode()


def pdf(page: str, folder: Path) -> bytes:
    """An HTML page as PDF; pictures, fonts and style sheets come from the folder alone."""
    from weasyprint import HTML
    from weasyprint.urls import URLFetcher, URLFetcherResponse

    top = folder.resolve()

    class Beside(URLFetcher):  # type: ignore[misc]
        """Gives a page its own data and the files of its folder."""

        def fetch(self, url: str, headers: Any = None) -> Any:
            parts = urlsplit(url)
            if parts.scheme == "data":
                return super().fetch(url, headers)
            path = Path(unquote(parts.path)).resolve()
            if parts.scheme != "file" or parts.netloc or not path.is_relative_to(top):
                raise _Refused(url)
            if not path.is_file():
                raise _Refused(path.name)
            return URLFetcherResponse(url, path.read_bytes())

    document = HTML(
        string=page, base_url=top.as_uri() + "/", url_fetcher=Beside(allowed_protocols=("data",))
    )
    return bytes(document.write_pdf(pdf_tags=True))


def _require_pango() -> None:
    try:
        import weasyprint  # noqa: F401 - loading takes longer than most documents
    except OSError:
        raise _TooMuch(_PANGO) from None


def problem(error: BaseException, job: dict[str, Any]) -> dict[str, Any]:
    """The error in words, its template and its line (None without a line at fault)."""
    sources, name = job["sources"], job["name"]
    if isinstance(error, TemplateSyntaxError):
        return {"what": error.message, "template": error.name or name, "line": error.lineno}
    if isinstance(error, _Refused):
        asked = str(error)
        last = asked.rpartition("/")[2] or asked
        lines = enumerate(sources[name].splitlines(), start=1)
        return {
            "what": f"the page asks for {asked}, and a page has only the files beside its template",
            "template": name,
            "line": next((number for number, line in lines if last in line), None),
        }
    places = [
        (frame.filename, frame.lineno)
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename in sources
    ]
    template, line = places[-1] if places else (name, None)
    return {"what": _sentence(error), "template": template, "line": line}


def _sentence(error: BaseException) -> str:
    if isinstance(error, TemplateNotFound):
        return f"there is no template '{error.name}' to take in"
    if isinstance(error, MemoryError):
        return "it needs more memory than a template may have"
    if isinstance(error, RecursionError):
        return "it takes itself in without end"
    if isinstance(error, UndefinedError | SecurityError | _TooMuch):
        return (
            str(error.args[0]).replace("'dict object' has no attribute", "there is no").rstrip(".")
        )
    return f"it cannot be rendered ({error})"


def main() -> None:
    """Do the job on standard input."""
    job = json.load(sys.stdin)
    seconds, contexts = float(job["seconds"]), job["contexts"]
    resource.setrlimit(resource.RLIMIT_AS, (job["memory"], job["memory"]))
    most = int(seconds * len(contexts)) + _REMAINS
    resource.setrlimit(resource.RLIMIT_CPU, (most, most))

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise _TooMuch(f"it takes longer than {seconds:g} seconds")

    signal.signal(signal.SIGPROF, stop)
    results: list[str] = []
    try:
        sandbox = environment(job["sources"], job["newline"])
        if job["pdf"]:
            _require_pango()
        for context in contexts:
            signal.setitimer(signal.ITIMER_PROF, seconds, _AGAIN)
            results.append(base64.b64encode(render(sandbox, job, context)).decode())
        signal.setitimer(signal.ITIMER_PROF, 0)
        answer: dict[str, Any] = {"results": results}
    except (Exception, _Refused) as error:  # noqa: BLE001 - a template can cause any of them
        signal.setitimer(signal.ITIMER_PROF, 0)
        answer = {"problem": problem(error, job)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
