"""Messages that a page may show name no option of the command line."""

import ast
import re
from pathlib import Path

import billing_lib

ROOT = Path(billing_lib.__file__).parent
FLAG = re.compile(r"(^|\w)[\s'\"(]+--[a-z][a-z-]+")
OWN = ("cli", "sources", "audit/sandbox.py")
"""Commands name their options; sacct and the sandbox's shell have options of their own."""


def test_no_text_outside_the_commands_names_an_option() -> None:
    named = []
    for path in sorted(ROOT.rglob("*.py")):
        if path.relative_to(ROOT).as_posix().startswith(OWN):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        apart = {id(it.value) for it in ast.walk(tree) if isinstance(it, ast.Expr)}  # docstrings
        named += [
            f"{path.relative_to(ROOT)}:{it.lineno}: {it.value}"
            for it in ast.walk(tree)
            if isinstance(it, ast.Constant) and isinstance(it.value, str) and id(it) not in apart
            if FLAG.search(it.value)
        ]
    assert named == []
