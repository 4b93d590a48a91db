"""The settings, and the site whose settings they are.

A site is an institution's own folder: price books, archive, ledger, working notebooks. The file
``billing.toml`` marks it, and may set any setting; an environment variable wins over it.

    BILLING_SITE, else the working folder and those above it   →  the folder with billing.toml
    BILLING_RUNS=…  >  runs = "…" in billing.toml  >  the default, runs
    a relative path is relative to the site:  runs  →  <site>/runs

Installed packages: the extras that a command needs, and additions by entry points.

Looking through all packages takes as long as writing a document, so it is done once per process.
"""

import os
import sys
import tomllib
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from billing_lib.errors import InvalidSettings, MissingExtra, NoSite

SITE_FILE = "billing.toml"
"""The file that marks a site."""

_PATHS = ("runs", "store", "parameters", "office", "signing_key", "allowed_signers", "smtp_ca")
_SQLITE = "sqlite:///"


class Settings(BaseSettings):
    """The settings, each an environment variable ``BILLING_<NAME>`` (docs/settings.md)."""

    model_config = SettingsConfigDict(env_prefix="BILLING_", extra="ignore")

    site: Path | None = None
    """The site's folder; the nearest one with a ``billing.toml`` from the working folder upward."""

    database: str = "sqlite:///billing.db"
    """The ledger, a SQLAlchemy URL: SQLite in the site unless told."""

    runs: Path = Path("runs")
    """The archive of audit records."""

    store: Path = Path("store")
    """Where transformations and packages are kept; it may be emptied, and they be made again."""

    package_days: int = 90
    """For how many days a package is valid."""

    parameters: Path = Path("parameters")
    """The folder of the price books; every ``*.yml`` in it is one."""

    office: Path = Path("office")
    """The folder that ``billing lab`` opens: copies of the notebooks, with what staff ran."""

    image: str | None = None
    """``name@sha256:…`` of the container image this runs in, set by the container's launcher."""

    commit: str | None = None
    """The full commit hash of the program where neither git nor a wheel says it (in an image)."""

    signing_key: Path | None = None
    """A private SSH key with which records are signed; without it they are not."""

    allowed_signers: Path | None = None
    """An ssh-keygen ``allowed_signers`` file against which ``verify`` checks signatures."""

    smtp_host: str | None = None
    """The mail server that takes messages; without it none is sent."""

    smtp_port: int | None = None
    """Its port: 587 with STARTTLS, 465 with TLS and 25 without unless told."""

    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection is encrypted; ``none`` is for a server on this machine only."""

    smtp_user: str | None = None
    """The user to log in as, where the server asks for one."""

    smtp_password: SecretStr | None = None
    """The user's password; never shown, logged or kept."""

    smtp_from: str | None = None
    """The address that messages are from, perhaps with a name; bounces go there."""

    smtp_ca: Path | None = None
    """A file with the certificates that the server's is checked against; the system's unless
    told."""

    portal_url: str | None = None
    """The page of an invoice or statement, with ``{id}`` where its number or id stands."""

    @property
    def places_given(self) -> bool:
        """Whether ledger, archive and price books are each set, so that no site is needed."""
        return {"database", "runs", "parameters"} <= self.model_fields_set


def settings() -> Settings:
    """The settings of the site that this is.

    Raises
    ------
    NoSite
        There is no site here, and the settings do not say where everything is.
    InvalidSettings
        One has a value that cannot be; it is named, the value is not shown.
    """
    current = anywhere()
    if current.site is None and not current.places_given:
        raise NoSite(
            f"there is no site here: neither {Path.cwd()} nor a folder above it has a {SITE_FILE}",
            remedy="run 'billing init' to make one, or set BILLING_SITE to the site's folder",
        )
    return current


def anywhere(site: Path | None = None) -> Settings:
    """The settings, also where no site is: enough to verify and reproduce a record.

    Parameters
    ----------
    site
        A site's folder; found as ``find_site`` does unless told.

    Raises
    ------
    InvalidSettings
        One has a value that cannot be; it is named, the value is not shown.
    """
    site = site.absolute() if site else find_site()
    stated = _read_site_file(site / SITE_FILE) if site else {}
    variables = {name.upper() for name in os.environ}  # case-insensitive, as pydantic reads them
    filed = {name: it for name, it in stated.items() if f"BILLING_{name.upper()}" not in variables}
    try:
        current = Settings(**filed)
    except ValidationError as error:
        (wrong, *_) = error.errors(include_input=False, include_url=False)
        name = "_".join(str(part) for part in wrong["loc"])
        raise InvalidSettings(
            f"the setting cannot be read: {wrong['msg']}",
            where=f"{site}/{SITE_FILE}, {name}" if name in filed else f"BILLING_{name.upper()}",
            remedy="docs/settings.md tells what it may be",
        ) from None
    return current.model_copy(update=_placed(current, site))


def find_site() -> Path | None:
    """The site that BILLING_SITE names, else the nearest from the working folder upward.

    Raises
    ------
    InvalidSettings
        BILLING_SITE names a folder that is no site.
    """
    named = os.environ.get("BILLING_SITE")
    if named:
        site = Path(named).absolute()
        if not (site / SITE_FILE).is_file():
            raise InvalidSettings(
                f"the folder {site} is no site: it has no {SITE_FILE}",
                where="BILLING_SITE",
                remedy=f"run 'billing init {named}' to make it one",
            )
        return site
    here = Path.cwd()
    return next(
        (folder for folder in (here, *here.parents) if (folder / SITE_FILE).is_file()), None
    )


def _read_site_file(path: Path) -> dict[str, Any]:
    try:
        stated = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidSettings(
            f"the site's settings cannot be read ({error})", where=str(path)
        ) from None
    unknown = sorted(set(stated) - set(Settings.model_fields) | {"site"} & set(stated))
    if unknown:
        raise InvalidSettings(
            f"there is no setting '{unknown[0]}'",
            where=str(path),
            remedy="docs/settings.md lists the settings; each stands here in lower case",
        )
    return stated


def _placed(current: Settings, site: Path | None) -> dict[str, Any]:
    """The site, and the paths relative to it; as they stand where it is the working folder."""
    if site is None:
        return {"site": None}
    if site == Path.cwd():
        return {"site": site}
    paths = {name: getattr(current, name) for name in _PATHS}
    placed: dict[str, Any] = {name: site / path for name, path in paths.items() if path is not None}
    file = current.database.removeprefix(_SQLITE)
    if current.database.startswith(_SQLITE) and not file.startswith(("/", ":", "file:")) and file:
        placed["database"] = f"{_SQLITE}{site / file}"
    return placed | {"site": site}


EXTRAS = {
    "lab": (
        *("jupyterlab", "ipywidgets", "anywidget", "altair", "vl_convert"),
        *("nbconvert", "pandas"),
    ),
    "portal": ("voila", "jupyterhub", "ipywidgets", "anywidget", "pandas"),
    "templates": ("weasyprint",),
}
"""The packages of each extra of pyproject.toml, as they are imported."""


def require_extra(extra: str, needed_by: str) -> None:
    """Pass if the packages of an extra are installed.

    Raises
    ------
    MissingExtra
        Some are not.
    """
    missing = [name for name in EXTRAS[extra] if find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"{needed_by} needs {', '.join(missing)}, which "
            f"{'are' if len(missing) > 1 else 'is'} not installed",
            remedy=f"run: pip install 'billing-notebooks[{extra}]'",
        )


def spare_iri_parsers() -> None:
    """Keep jsonschema from building parsers of IRIs when this process imports it; call it in
    processes of the program's own: the command line, its workers, the kernels of the office.

    jsonschema comes with all that reads notebooks, and no notebook holds an IRI. The parsers take a
    second of every start, and six more at an unlucky depth of calls (its issue 1428). A module that
    is None counts as not installed, and jsonschema does without.
    """
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]


@cache
def entry_points(group: str) -> tuple[metadata.EntryPoint, ...]:
    """The entry points of a group, in order of name, those of one name in order of value."""
    found = metadata.entry_points(group=group)
    return tuple(sorted(found, key=lambda point: (point.name, point.value)))
