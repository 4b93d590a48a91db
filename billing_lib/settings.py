"""The site and its settings; the extras that commands need, and additions by other packages.

    BILLING_SITE, else the working folder and those above it   →  the folder with billing.toml
    BILLING_RUNS=…  >  runs = "…" in billing.toml  >  the default, runs
    a relative path is relative to the site:  runs  →  <site>/runs

A site is an institution's own folder: price books, archive, ledger, working notebooks. The file
``billing.toml`` marks it and may hold any setting; environment variables take precedence. Searching
all installed packages for entry points takes as long as writing a document, so it is done once per
process.
"""

import os
import tomllib
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from billing_lib.errors import InvalidSettings, MissingExtra, NoSite
from billing_lib.folders import Folder, local_only, parse_folder

SITE_FILE = "billing.toml"
"""The file that marks a site."""

_LOCAL_PATHS = (
    "parameters",
    "inbox",
    "usage_files",
    "office",
    "signing_key",
    "allowed_signers",
    "time_stamp_ca",
    "smtp_ca",
)
PATHS = ("runs", "store", *_LOCAL_PATHS)
"""The settings that are paths; a relative one is relative to the site."""

_SQLITE = "sqlite:///"

GIT_EXPORT = "git+"
"""The beginning of a ``log_export`` that is a git remote."""


class Settings(BaseSettings):
    """The settings; each is an environment variable ``BILLING_<NAME>`` (docs/settings.md)."""

    model_config = SettingsConfigDict(env_prefix="BILLING_", extra="ignore")

    site: Path | None = None
    """The site's folder; by default the nearest one from the working folder upward."""

    database: str = "sqlite:///billing.db"
    """The ledger, a SQLAlchemy URL; by default SQLite in the site."""

    runs: Folder = Path("runs")
    """The archive of audit records: a folder, or a URL of one."""

    store: Folder = Path("store")
    """The folder or URL of transformations and packages, all of which can be made again."""

    package_days: int = 90
    """The number of days for which a package is valid."""

    parameters: Path = Path("parameters")
    """The folder of the price books; every ``*.yml`` in it is one."""

    inbox: Path = Path("inbox")
    """The folder in which usage files wait, for all facilities or each in a folder of its code."""

    usage_files: Path | None = None
    """The folder that keeps each loaded usage file by its sha256; records then hold theirs."""

    shared: bool = False
    """Whether the accounts of the site's group write the same archive, store and office."""

    largest_file: int = 1_000
    """The largest file that is read, in megabytes; of a packed one, what it unpacks to."""

    most_columns: int = 5_000
    """The most columns that a usage file may have."""

    office: Path = Path("office")
    """The folder that ``billing lab`` opens, with the staff's copies of the notebooks."""

    image: str | None = None
    """``name@sha256:…`` of the container image that runs, as its launcher read it."""

    image_build: str | None = None
    """The build id that the launcher read from that image; it must be the one inside."""

    image_told_by: str | None = None
    """The launcher, and the engine from which it read the digest."""

    commit: str | None = None
    """The program's full commit hash, where neither git nor a wheel has it (in an image)."""

    signing_key: Path | None = None
    """The private SSH key that signs records; without it they are not signed."""

    allowed_signers: Path | None = None
    """An ssh-keygen ``allowed_signers`` file against which ``verify`` checks signatures."""

    log_name: str | None = None
    """The name of the log of records in its heads; by default the site's folder."""

    log_export: str | None = None
    """The file, or after ``git+`` the git remote, to which each issuing appends the log."""

    time_stamps: str | None = None
    """The address of an RFC 3161 authority that stamps records and exported heads."""

    time_stamp_ca: Path | None = None
    """A PEM file with the roots to check time stamps with."""

    smtp_host: str | None = None
    """The mail server; without it no message is sent."""

    smtp_port: int | None = None
    """The mail server's port; by default 587 with STARTTLS, 465 with TLS and 25 with neither."""

    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    """The connection's encryption; ``none`` is only for a server on this machine."""

    smtp_user: str | None = None
    """The user to log in as, if the server needs one."""

    smtp_password: SecretStr | None = None
    """The user's password; never shown, logged or stored."""

    smtp_from: str | None = None
    """The sender's address, optionally with a name; bounces go there."""

    smtp_ca: Path | None = None
    """A file of certificates to check the mail server's with; by default the system's."""

    log: Literal["lines", "json"] | None = None
    """How commands that nobody watches log; without it they print their sentences."""

    portal_url: str | None = None
    """The address of an invoice's or statement's page, with ``{id}`` for its number or id."""

    _folders = field_validator("runs", "store", mode="before")(parse_folder)
    _paths = field_validator("site", *_LOCAL_PATHS, mode="before")(local_only)

    @property
    def log_named(self) -> str:
        """The name of the log of records, without spaces."""
        name = self.log_name or (self.site.name if self.site else "") or "billing"
        return "-".join(name.split())

    @property
    def places_given(self) -> bool:
        """Whether ledger, archive and price books are all set, so that no site is needed."""
        return {"database", "runs", "parameters"} <= self.model_fields_set


def settings() -> Settings:
    """The settings of the site that ``find_site`` finds.

    Raises
    ------
    NoSite
        There is no site, and the settings do not name ledger, archive and price books.
    InvalidSettings
        A setting has an invalid value; the message has its name, not the value.
    """
    current = anywhere()
    if current.site is None and not current.places_given:
        raise NoSite(
            f"there is no site here: neither {Path.cwd()} nor a folder above it has a {SITE_FILE}",
            remedy="run 'billing init' to make one, or set BILLING_SITE to the site's folder",
        )
    return current


def anywhere(site: Path | None = None) -> Settings:
    """The settings of a site, or of no site: enough to verify and reproduce a record.

    ``site`` is its folder, by default the one that ``find_site`` finds. InvalidSettings if a
    setting has an invalid value; the message has its name, not the value.
    """
    site = site.absolute() if site else find_site()
    stated = read_site_file(site / SITE_FILE) if site else {}
    variables = {name.upper() for name in os.environ}  # case-insensitive, as pydantic reads them
    filed = {name: it for name, it in stated.items() if f"BILLING_{name.upper()}" not in variables}
    try:
        current = Settings(**filed)
    except ValidationError as error:
        (wrong, *_) = error.errors(include_input=False, include_url=False)
        name = "_".join(str(part) for part in wrong["loc"])
        raise InvalidSettings(
            f"the setting cannot be read: {wrong['msg'].removeprefix('Value error, ')}",
            where=f"{site}/{SITE_FILE}, {name}" if name in filed else f"BILLING_{name.upper()}",
            remedy="the manual's page 'Settings' lists the valid values",
        ) from None
    return current.model_copy(update=_placed(current, site))


def find_site() -> Path | None:
    """The site that BILLING_SITE names, else the nearest from the working folder upward."""
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


def read_site_file(path: Path) -> dict[str, Any]:
    """The settings that a site's file states, by name."""
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
            remedy=f"the settings are {', '.join(sorted({*Settings.model_fields} - {'site'}))}",
        )
    return stated


def _placed(current: Settings, site: Path | None) -> dict[str, Any]:
    """The site and its paths; they stay relative if the site is the working folder."""
    if site is None:
        return {"site": None}
    if site == Path.cwd():
        return {"site": site}
    paths = {name: getattr(current, name) for name in PATHS}
    placed: dict[str, Any] = {
        name: site / path for name, path in paths.items() if isinstance(path, Path)
    }
    log = current.log_export
    if log is not None and not log.startswith(GIT_EXPORT):
        placed["log_export"] = str(site / log)
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
    "cluster": ("distributed",),
    "remote": ("fsspec", "s3fs", "sshfs"),
    "templates": ("weasyprint",),
}
"""The packages of each extra of pyproject.toml, by the names to import."""


def missing_packages(extra: str) -> list[str]:
    """The packages of an extra that are not installed."""
    return [name for name in EXTRAS[extra] if find_spec(name) is None]


def require_extra(extra: str, needed_by: str) -> None:
    """Raise MissingExtra if a package of an extra is not installed."""
    missing = missing_packages(extra)
    if missing:
        raise MissingExtra(
            f"{needed_by} needs {', '.join(missing)}, which "
            f"{'are' if len(missing) > 1 else 'is'} not installed",
            remedy=f"run: pip install 'billing-notebooks[{extra}]'",
        )


@cache
def entry_points(group: str) -> tuple[metadata.EntryPoint, ...]:
    """The entry points of a group, sorted by name and value."""
    points = metadata.entry_points(group=group)
    return tuple(sorted(points, key=lambda point: (point.name, point.value)))
