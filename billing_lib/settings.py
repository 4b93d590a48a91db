"""Where things are, from the environment: one place, read once per command."""

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


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


def settings() -> Settings:
    """The settings as the environment has them now."""
    return Settings()
