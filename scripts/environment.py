"""The conda environment of the lock: uv's export on standard input, environment.yml out.

Conda brings Python and pip alone; every package comes from the lock's list at the lock's
version, so that a conda user computes with the same code as everyone else.

    polars==2.1.0                                  - polars==2.1.0
    colorama==0.4.6 ; sys_platform == 'win32'      (left out: not for Linux)
"""

import sys
from collections.abc import Iterable

from packaging.requirements import Requirement

LINUX = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.15",
    "python_version": "3.11",
    "sys_platform": "linux",
}
"""What the markers of the export are judged by: the last Python 3.11, on Linux."""

HEAD = """\
# Written by `make lock` from uv.lock: the packages that running needs, at the locked versions.
#   conda env create --file environment.yml && conda activate billing-notebooks
name: billing-notebooks
channels:
  - conda-forge
dependencies:
  - python=3.11
  - pip
  - pip:
"""


def pins(export: Iterable[str]) -> list[str]:
    """The lines ``name==version`` of an export that hold for Linux and Python 3.11, by name."""
    requirements = [Requirement(line) for line in export]
    return sorted(
        f"{one.name}{one.specifier}"
        for one in requirements
        if one.marker is None or one.marker.evaluate(LINUX)
    )


if __name__ == "__main__":
    lines = [*pins(sys.stdin.read().splitlines()), "-e ."]
    sys.stdout.write(HEAD + "".join(f"      - {line}\n" for line in lines))
