"""Usage files of every kind, read into one usage frame.

    usage = read_usage(Path("usage.csv"), mappings(price_book.sources), "America/New_York")

A reader per kind (clusters.py, delimited.py, sheets.py) finds fields and rows; records.py makes
usage records of them by the price book's templates. A new kind is a Source (registry.py).
"""

from billing_lib.sources.files import file_hash
from billing_lib.sources.read import (
    Recognised,
    UsageFile,
    file_kind,
    read_file,
    read_usage,
    recognise,
)
from billing_lib.sources.registry import SourceMapping, SourceMappings, mappings

__all__ = [
    "Recognised",
    "SourceMapping",
    "SourceMappings",
    "UsageFile",
    "file_hash",
    "file_kind",
    "mappings",
    "read_file",
    "read_usage",
    "recognise",
]
