"""Where things are, from the environment: one place, read once per command.

What installed packages add to the program, by entry points.

Looking through all packages takes as long as writing a document, so it is done once per process.
"""

from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Literal

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from billing_lib.errors import InvalidSettings


class Settings(BaseSettings):
    """The settings, each an environment variable ``BILLING_<NAME>`` (docs/settings.md)."""

    model_config = SettingsConfigDict(env_prefix="BILLING_", extra="ignore")

    database: str = "sqlite:///billing.db"
    """The ledger, a SQLAlchemy URL: SQLite in the working folder unless told."""

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
    """The full commit hash of the program, for where no git repository is (inside an image)."""

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


def settings() -> Settings:
    """The settings as the environment has them now.

    Raises
    ------
    InvalidSettings
        One has a value that cannot be; it is named, the value is not shown.
    """
    try:
        return Settings()
    except ValidationError as error:
        (wrong, *_) = error.errors(include_input=False, include_url=False)
        name = "_".join(str(part) for part in wrong["loc"]).upper()
        raise InvalidSettings(
            f"the setting cannot be read: {wrong['msg']}",
            where=f"BILLING_{name}",
            remedy="docs/settings.md tells what it may be",
        ) from None


@cache
def entry_points(group: str) -> tuple[metadata.EntryPoint, ...]:
    """The entry points of a group, in order of name, those of one name in order of value."""
    found = metadata.entry_points(group=group)
    return tuple(sorted(found, key=lambda point: (point.name, point.value)))
