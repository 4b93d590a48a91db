"""Cases from public reports (tests/cases/README.md), each worked by the command line."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import Office

CASES = Path(__file__).parents[1] / "cases"
NAMES = sorted(path.parent.name for path in CASES.glob("*/case.yml"))


def _work(name: str, folder: Path, declared: str = "") -> tuple[Office, dict[str, Any], list[str]]:
    """The office in which the case's steps are done, the case, and the output of each step.

    ``declared`` are lines at the end of its price book, in the section ``sources``.
    """
    shutil.copytree(CASES / name, folder)
    book = folder / "parameters" / "f.yml"
    book.write_text(book.read_text(encoding="utf-8") + declared, encoding="utf-8")
    case: dict[str, Any] = yaml.safe_load((folder / "case.yml").read_text(encoding="utf-8"))
    office = Office(folder)
    return office, case, [office.done(*step.split()) for step in case["steps"]]


def test_there_are_cases() -> None:
    assert len(NAMES) >= 12


@pytest.mark.parametrize("name", NAMES)
def test_a_case_comes_out_right(name: str, tmp_path: Path) -> None:
    office, case, _ = _work(name, tmp_path / "office")
    for month, expected in case.get("charges", {}).items():
        charges = office.listed("charges", "F", month)
        totals = {row["charge"].removeprefix("F/"): row["total"] for row in charges}
        assert {code: totals.get(code) for code in expected} == expected
    for month, expected in case.get("totals", {}).items():
        # The cases' currency has cents; sums are counted in them.
        charges = office.listed("charges", "F", month)
        cents = sum(int(row["total"].replace(".", "")) for row in charges)
        assert f"{cents // 100}.{cents % 100:02}" == expected
    for month, expected in case.get("unbilled", {}).items():
        unbilled = office.listed("unbilled", "F", month)
        reasons = {row["record"]: row["reason"] for row in unbilled}
        assert {record: reasons.get(record) for record in expected} == expected
    for step in case.get("refused", ()):
        refused = office.run(*step.split())
        assert refused.returncode == 2
        assert refused.stderr.strip()


def test_a_hidden_sheet_is_named(tmp_path: Path) -> None:
    _, _, printed = _work("06-hidden-first-sheet", tmp_path / "office")
    assert "'old'" in printed[1]
    assert "hidden" in printed[1]


def test_dates_are_read_by_a_declared_pattern(tmp_path: Path) -> None:
    declared = '  csv: {times: "%m/%d/%Y %I:%M %p"}\n'
    office, _, _ = _work("08-us-dates", tmp_path / "office", declared)
    totals = {row["charge"]: row["total"] for row in office.listed("charges", "F", "2025-11")}
    assert totals == {"F/z1": "60.00", "F/z2": "60.00", "F/n1": "1.25"}  # 1.5 h x 40.00


def test_minutes_are_declared_and_waived_rows_left_out(tmp_path: Path) -> None:
    declared = '    measure: minutes\n    where: {waived: ["False"]}\n'
    office, _, _ = _work("09-minutes-as-quantity", tmp_path / "office", declared)
    totals = {row["charge"]: row["total"] for row in office.listed("charges", "F", "2020-04")}
    assert totals == {"F/tool_usage-1": "60.00"}


def test_what_the_user_has_set_changes_nothing_issued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue = ("issue", "F", "2025-11", "--date", "2025-12-01", "--allow-dirty")
    records = []
    for number, hostile in enumerate((False, True)):
        office, _, _ = _work("12-start-up-file", tmp_path / f"office {number}")
        home = office.folder / "home"
        if hostile:
            _make_hostile(home)
            for variable in ("HOME", "PYTHONSTARTUP", "JUPYTER_PATH"):
                monkeypatch.setenv(variable, str(home))
            monkeypatch.setenv("IPYTHONDIR", str(home / ".ipython"))
            monkeypatch.setenv("TZ", "Asia/Kathmandu")
            monkeypatch.setenv("LC_ALL", "C")
        mask = os.umask(0o077 if hostile else 0o022)
        office.done(*issue)
        os.umask(mask)
        records.append(next((office.folder / "runs" / "F" / "2025-11").glob("F-*")))
    clean, tried = ({path.name: path.read_bytes() for path in _results(r)} for r in records)
    assert tried.keys() == clean.keys()
    assert [name for name in clean if clean[name] != tried[name]] == []
    amounts = b"".join(content for name, content in tried.items() if name.endswith(".xml"))
    for amount in (b"12501.88", b"1250001.25"):  # 10001.5 and 1000001 x 1.25
        assert amount in amounts
    reproduced = office.done("reproduce", str(records[1]), "--accept-changes")
    assert "differ" not in reproduced


def _make_hostile(home: Path) -> None:
    """A start-up file, and a kernel python3 of the user's own that would run another program."""
    kernel = home / "kernels" / "python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(
        '{"argv": ["false"], "display_name": "mine", "language": "python"}', encoding="utf-8"
    )
    assert list(home.rglob("startup/*.py"))


def _results(record: Path) -> list[Path]:
    data = record / "data"
    return sorted([*(data / "invoices").iterdir(), *(data / "documents").rglob("*.*")])
