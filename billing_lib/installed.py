"""What installed packages add to the program, by entry points.

Looking through all packages takes as long as writing a document, so it is done once per process.
"""

from functools import cache
from importlib import metadata


@cache
def entry_points(group: str) -> tuple[metadata.EntryPoint, ...]:
    """The entry points of a group, in order of name, those of one name in order of value."""
    found = metadata.entry_points(group=group)
    return tuple(sorted(found, key=lambda point: (point.name, point.value)))
