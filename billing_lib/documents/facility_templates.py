"""The templates of a facility: Jinja2 files in the folder of its price book's name.

    parameters/research-computing.yml
    parameters/research-computing/templates/ap-upload.csv.j2     one file of all invoices of a run
                                            cover-letter.html.j2  one page for each invoice
                                            logo.svg              beside it, for its PDF

A template's first line may say what it is for and how its lines end; else it is for an invoice,
and they end as on Unix:

    {# for: run, lines: crlf #}

It may extend, include and import its neighbours, and the program's own templates: a neighbour of
the same name takes the place of the program's, which stays there as ``builtin/…``.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, TemplateSyntaxError
from jinja2.meta import find_referenced_templates

from billing_lib.errors import InvalidTemplate

INVOICE, RUN, STATEMENT = "invoice", "run", "statement"
PURPOSES = (INVOICE, RUN, STATEMENT)
"""What a template can be for."""

_BUILT_IN = Path(__file__).parent / "templates"
_BUILT_IN_PREFIX = "builtin/"
_PAGES = ("invoice.html.j2",)
"""Those of the program's own templates that can be rendered by themselves."""

_SUFFIX = ".j2"
_TAKEN_IN = (_SUFFIX, ".css")
_LINES = {"lf": "\n", "crlf": "\r\n"}
_HEAD = re.compile(r"\A\s*\{#-?\s*((?:for|lines)\s*:[^#]*?)\s*-?#\}\n?")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*\.([A-Za-z0-9]+)")


@dataclass(frozen=True)
class Template:
    """One template that can be rendered.

    Attributes
    ----------
    name
        As it is asked for: ``ap-upload.csv``.
    file
        ``ap-upload.csv.j2``.
    purpose
        What it is for, one of PURPOSES.
    newline
        How its lines end.
    """

    name: str
    file: str
    purpose: str
    newline: str

    @property
    def format(self) -> str:
        """The suffix of what it makes: ``csv``."""
        return self.name.rpartition(".")[2].lower()


@dataclass(frozen=True)
class Templates:
    """A facility's folder of templates, read.

    Attributes
    ----------
    folder
        It need not exist; then there are only the program's own.
    sources
        The text of each template by its file's name, the program's own among them.
    own
        The names of the facility's own files.
    beside
        The sha256 of each other file in the folder: pictures, fonts.
    """

    folder: Path
    sources: Mapping[str, str]
    own: frozenset[str]
    beside: Mapping[str, str]

    def all(self) -> list[Template]:
        """Those that can be rendered, by name."""
        files = {*_PAGES, *(file for file in self.own if file.endswith(_SUFFIX))}
        names = (file.removesuffix(_SUFFIX) for file in files)
        return [self.require(name) for name in sorted(names) if _NAME.fullmatch(name)]

    def has(self, name: str) -> bool:
        """Whether the facility has a template of its own of this name."""
        return _file(name) in self.own

    def require(self, name: str) -> Template:
        """The template of this name.

        Raises
        ------
        InvalidTemplate
            There is none, or its first line says what cannot be.
        """
        file = _file(name)
        plain = file.removesuffix(_SUFFIX)
        if (file not in self.own and file not in _PAGES) or _NAME.fullmatch(plain) is None:
            known = ", ".join(
                sorted(it.removesuffix(_SUFFIX) for it in {*_PAGES, *self.own} if _SUFFIX in it)
            )
            raise InvalidTemplate(
                f"there is no template '{plain}'",
                where=str(self.folder),
                remedy=f"it is one of {known}",
            )
        head = _HEAD.match(self.sources[file])
        stated = {"for": INVOICE, "lines": "lf"} | _stated(head[1] if head else "")
        for key, known_values in (("for", PURPOSES), ("lines", tuple(_LINES))):
            if stated[key] not in known_values or len(stated) > 2:
                raise InvalidTemplate(
                    f"its first line says '{head[1] if head else ''}'",
                    where=f"{self.shown(file)}, line 1",
                    remedy="write {# for: invoice, run or statement, lines: lf or crlf #}",
                )
        return Template(plain, file, stated["for"], _LINES[stated["lines"]])

    def require_page(self, name: str) -> None:
        """Pass if the template makes HTML, of which a PDF can be made.

        Raises
        ------
        InvalidTemplate
            It makes something else.
        """
        template = self.require(name)
        if template.format != "html":
            raise InvalidTemplate(
                f"it makes {template.format}, and a PDF is made of HTML",
                where=self.shown(template.file),
                remedy="leave --pdf out",
            )

    def sha256(self, name: str, *, pdf: bool = False) -> str:
        """The template's hash: the file's own sha256; where it takes others in, that of a list of
        all, as sha256sum writes it. For a PDF the files beside it are in the list.

        Raises
        ------
        InvalidTemplate
            One of them has a mistake.
        """
        first = self.require(name).file
        hashes = {file: _sha256(self.sources[file].encode()) for file in self._taken_in(first)}
        if pdf:
            hashes |= self.beside
        if len(hashes) == 1:
            return hashes[first]
        lines = "".join(f"{hashes[file]}  {file}\n" for file in sorted(hashes))
        return _sha256(lines.encode())

    def shown(self, file: str) -> str:
        """A template's file as a message names it."""
        return str(self.folder / file) if file in self.own else f"{file} of the program"

    def _taken_in(self, first: str) -> set[str]:
        """The template and all that it takes in; all there are where it says which by a value."""
        found, waiting = {first}, [first]
        while waiting:
            file = waiting.pop()
            try:
                named = list(find_referenced_templates(Environment().parse(self.sources[file])))  # noqa: S701 - parsed, not rendered
            except TemplateSyntaxError as error:
                place = f"{self.shown(file)}, line {error.lineno}"
                raise InvalidTemplate(str(error.message), where=place) from None
            if None in named:
                return set(self.sources)
            more = {it for it in named if it is not None and it in self.sources} - found
            found |= more
            waiting += more
        return found


def read_templates(folder: Path) -> Templates:
    """Read a facility's folder of templates, which need not exist.

    Raises
    ------
    InvalidTemplate
        A file cannot be read, is no UTF-8, or is a link that leads out of the folder.
    """
    built_in = {
        path.name: path.read_text(encoding="utf-8")
        for path in sorted(_BUILT_IN.iterdir())
        if path.name.endswith(_TAKEN_IN)
    }
    paths = [path for path in sorted(folder.glob("*")) if path.is_file()] if folder.exists() else []
    for path in paths:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InvalidTemplate("the link leads out of the folder of templates", where=str(path))
    contents = {path.name: _read(path) for path in paths}
    own = {
        name: _text(folder / name, content)
        for name, content in contents.items()
        if name.endswith(_TAKEN_IN)
    }
    beside = {name: _sha256(content) for name, content in contents.items() if name not in own}
    named = {f"{_BUILT_IN_PREFIX}{name}": text for name, text in built_in.items()}
    return Templates(folder, built_in | named | own, frozenset(own), beside)


def _file(name: str) -> str:
    return name if name.endswith(_SUFFIX) else name + _SUFFIX


def _stated(head: str) -> dict[str, str]:
    pairs = (part.partition(":") for part in re.split("[,;]", head) if part.strip())
    return {key.strip(): value.strip().lower() for key, _, value in pairs}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidTemplate(f"it cannot be read ({error.strerror})", where=str(path)) from None


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InvalidTemplate("it is no text in UTF-8", where=f"{path}, line {line}") from None
