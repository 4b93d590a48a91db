"""Usage files as the tests write them: text in, usage frame out."""

from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl
import pytest

from billing_lib.sources import mappings, read_usage

ReadText = Callable[..., pl.DataFrame]

NEW_YORK = "America/New_York"


@pytest.fixture
def read_text(tmp_path: Path) -> ReadText:
    """Write a text as a usage file of this name and read it."""

    def read(
        name: str,
        text: str | bytes,
        sources: Mapping[str, Mapping[str, str]] | None = None,
        timezone: str = NEW_YORK,
    ) -> pl.DataFrame:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
        return read_usage(path, mappings(sources or {}), timezone)

    return read
