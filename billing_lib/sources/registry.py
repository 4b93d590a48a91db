"""The kinds of usage files, each a Source; an institution can add its own.

A Source is a reader with what must be known about its fields. The built-in five are listed
here; an installed package adds one, or takes the place of one, by an entry point that names a
Source:

    [project.entry-points."billing_lib.sources"]
    badge = "our_billing.badges:SOURCE"     # Source("badge", read_badges, (".badge",))
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path

from billing_lib.errors import AmbiguousFormat
from billing_lib.installed import entry_points
from billing_lib.sources.csv_file import read_csv
from billing_lib.sources.excel import read_excel
from billing_lib.sources.parquet import read_parquet
from billing_lib.sources.sacct import SACCT_FIELDS, read_sacct
from billing_lib.sources.swf import SWF_FIELDS, read_swf
from billing_lib.sources.table import SourceTable

GROUP = "billing_lib.sources"
"""The entry points' group."""


@dataclass(frozen=True)
class Source:
    """One kind of usage file.

    Parameters
    ----------
    name
        The kind, as the price book's ``sources`` section names it.
    read
        From a file to its table; raises UnreadableFile.
    endings
        File name endings in lower case, each with its dot. ``.gz`` behind them is told apart
        by whoever reads.
    fields
        The names of its fields, where the format fixes them; None where a header tells.
    defaults
        Templates of usage fields that a mapping need not give. Where a header tells the
        fields, a column with a usage field's own name is that field.
    own
        Usage fields that the source gives by itself, so that no mapping may.
    any_case
        Whether fields are found whatever their case, as sacct does.
    """

    name: str
    read: Callable[[Path], SourceTable]
    endings: tuple[str, ...]
    fields: tuple[str, ...] | None = None
    defaults: Mapping[str, str] = field(default_factory=dict)
    own: frozenset[str] = frozenset()
    any_case: bool = False

    def knows(self, name: str) -> bool:
        """Whether a file of this kind can have this field."""
        if self.fields is None:
            return True
        if self.any_case:
            return name.lower() in {known.lower() for known in self.fields}
        return name in self.fields


BUILT_IN = (
    Source(
        "swf",
        read_swf,
        (".swf",),
        SWF_FIELDS,
        {"id": "{job}", "user": "{user}", "start": "{start}", "end": "{end}"},
        own=frozenset({"start", "end", "date"}),
    ),
    Source(
        "sacct",
        read_sacct,
        (".sacct",),
        SACCT_FIELDS,
        {"id": "{JobID}", "user": "{User}", "start": "{Start}", "end": "{End}"},
        any_case=True,
    ),
    Source("csv", read_csv, (".csv", ".tsv")),
    Source("excel", read_excel, (".xlsx",)),
    Source("parquet", read_parquet, (".parquet",)),
)


def registered() -> dict[str, Source]:
    """Kind → source: the built-in ones, then the installed ones, in order of name.

    Raises
    ------
    AmbiguousFormat
        Two installed packages read the same kind: which one reads must not be chance.
    """
    offered: dict[str, EntryPoint] = {}
    for entry in entry_points(GROUP):
        before = offered.setdefault(entry.name, entry)
        if before.value != entry.value:
            raise AmbiguousFormat(
                f"{before.value} and {entry.value} both read {entry.name} files",
                where=f"entry points {GROUP}",
                remedy="uninstall one of the two packages",
            )
    added: dict[str, Source] = {name: entry.load() for name, entry in offered.items()}
    return {source.name: source for source in BUILT_IN} | added
