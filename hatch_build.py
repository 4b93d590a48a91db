"""The build hook: what a wheel carries of the files beside billing_lib/, and its commit.

    notebooks/ data/ parameters/ uv.lock pyproject.toml  ─▶  billing_lib/program_files/ of the wheel
    the commit, and how the tree differs from it         ─▶  billing_lib/program_files/build.json
    the commit's source, packed for audit records        ─▶  billing_lib/program_files/program/

An sdist keeps the commit and its source too, so a wheel that is built from it says the same.
"""

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

CARRIED = (
    *("data/NASA-iPSC-1993-3.1-cln.swf.gz", "data/README.md"),
    *("data/microscopy-1993-10.csv", "data/workshop-1993-10.csv"),
    *("jupyterhub_config.py", "notebooks/*.ipynb", "pyproject.toml", "uv.lock"),
    *("parameters/research-computing.*", "parameters/research-computing/templates/*.j2"),
    *("parameters/microscopy.yml", "parameters/workshop.yml"),
)
"""Beside billing_lib/ in a clone and an sdist, in billing_lib/program_files/ in a wheel. Of data/
and parameters/ only the demonstration's: a clone may hold an institution's own."""


class ProgramHook(BuildHookInterface[Any]):
    """Adds the program's files and its commit."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add to what is built; an editable install needs nothing."""
        if version == "editable":
            return
        root = Path(self.root)
        program = _load(root / "billing_lib" / "program.py")
        included = build_data["force_include"]
        if self.target_name == "wheel":
            for pattern in CARRIED:
                for path in root.glob(pattern):
                    place = path.relative_to(root).as_posix()
                    included[str(path)] = f"billing_lib/program_files/{place}"
        try:
            source = program.repository_source(root)
            packed = program.packed_source(root, source.commit) if source else {}
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            raise RuntimeError(f"git cannot read the commit to build from: {error}") from error
        if source is not None:
            self._folder = tempfile.TemporaryDirectory()
            included.update(program.write_build(source, Path(self._folder.name), packed))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was written for the build."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()


def _load(path: Path) -> ModuleType:
    """A module by its file alone: the build has none of the packages that billing_lib imports."""
    spec = importlib.util.spec_from_file_location("billing_program", path)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
