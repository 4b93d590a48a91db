"""Every command has its page, or a reason why not; the two are compared with what there is."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from billing_lib.cli import app
from billing_lib.panels.after import AfterPanel
from billing_lib.panels.forms import on_page, pages_of_commands
from billing_lib.workflow.notebooks import GENERAL, HOME, MONTHLY, titled

ROOT = Path(__file__).parents[2]
ROWS = {name: its for name, its in pages_of_commands().items() if "page" in its}


def commands(group: typer.core.TyperGroup, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from commands(command, f"{before}{name} ")
        else:
            yield before + name


def texts(path: Path) -> Iterator[str]:
    """The literal texts of a module, without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    passed_over = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            passed_over |= {id(part) for part in node.values}
            parts = [p.value if isinstance(p, ast.Constant) else "X" for p in node.values]
            yield "".join(map(str, parts))
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and id(node) not in passed_over:
            yield text


def test_the_table_has_every_command_and_no_other() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    assert sorted(pages_of_commands()) == sorted(commands(group))


def test_each_row_says_a_page_or_a_reason() -> None:
    for name, its in pages_of_commands().items():
        assert ("page" in its) != ("reason" in its), name
        assert its.keys() <= {"page", "button", "reason"}, name


@pytest.mark.parametrize("name", [name for name, its in ROWS.items() if "button" in its])
def test_the_button_is_on_the_page(name: str) -> None:
    its = ROWS[name]
    notebook = json.loads((ROOT / "notebooks" / f"{its['page']}.ipynb").read_text())
    code = "".join("".join(cell["source"]) for cell in notebook["cells"])
    modules = {*re.findall(r"from billing_lib\.panels\.(\w+) import", code)}
    if "frozen" in modules:  # which opens the page's panel
        modules.add(its["page"])
    paths = [ROOT / "billing_lib" / "panels" / f"{module}.py" for module in modules]
    paths += [  # a panel's parts, and the labels of actions
        ROOT / "billing_lib" / "panels" / "change.py",
        ROOT / "billing_lib" / "workflow" / "invoice_actions.py",
    ]
    assert its["button"] in {text for path in paths for text in texts(path)}


def test_each_page_is_one_of_the_office() -> None:
    assert {its["page"] for its in ROWS.values()} <= {HOME, *MONTHLY, *GENERAL}


def test_the_documentation_shows_the_same_table() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    shown = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in text.splitlines()
        if line.startswith("| `")
    ]
    assert shown == [
        (f"`billing {name}`", titled(its["page"]), its.get("button", ""))
        if "page" in its
        else (f"`billing {name}`", "", its["reason"])
        for name, its in pages_of_commands().items()
    ]


def test_no_message_on_a_page_names_a_command_that_has_one() -> None:
    named = 0
    for path in (ROOT / "billing_lib").rglob("*.py"):
        if {"cli", "panels"} & set(path.relative_to(ROOT).parts):
            continue
        for text in texts(path):
            for command in re.findall(r"'billing ([a-z-]+(?: [a-z]+)?)", on_page(text)):
                word = command.split()[0]
                table = pages_of_commands()
                its = table.get(command) or table.get(word)
                assert its is not None, f"{path}: there is no command {command}"
                assert "reason" in its, f"{path}: {text}"
            named += text.count("'billing ")
    assert named > 40


def test_a_refusal_on_a_page_says_the_button(office: object) -> None:
    panel = AfterPanel(month="2020-04", office=office)  # type: ignore[arg-type]
    panel.message.refuse("there is no invoice X; 'billing invoices' lists them")
    assert "the page Invoices lists them" in panel.message.widget.value
    panel.message.refuse("it is not rated; run 'billing rate MIC 2020-04'")
    assert "press &#x27;Rate&#x27; on the page Usage" in panel.message.widget.value
