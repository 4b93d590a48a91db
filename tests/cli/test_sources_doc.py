"""The answers of docs/sources.md: each mapping and command is taken from the page and carried out.

The files are those of tests/sources/samples, the prices those below; the totals are worked out by
hand beside each.
"""

import re
import shlex
from pathlib import Path

import pytest

from billing_lib.sources.registry import presets

from .conftest import Office

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sources.md").read_text("utf-8")
SAMPLES = ROOT / "tests" / "sources" / "samples"

BOOK = """
facility: {code: F, name: Cores, currency: USD, timezone: America/New_York}
items:
  - {code: scope, name: Confocal microscope, unit: hour}
  - {code: staff-time, name: Staff, unit: hour}
  - {code: slips, name: Cover slips, unit: each}
  - {code: prep, name: Sample preparation, unit: each}
  - {code: missed-reservation, name: Missed reservation, unit: each}
  - {code: training-minute, name: Training, unit: minute}
  - {code: cpu-hour, name: CPUs, unit: hour}
  - {code: gpu-hour, name: GPUs, unit: hour}
  - {code: k8s-core-hour, name: Cores, unit: core-hour}
  - {code: k8s-gpu-hour, name: GPUs, unit: gpu-hour}
  - {code: kubernetes, name: Kubernetes, unit: cost}
  - {code: cloud, name: Cloud, unit: cost}
  - {code: entry, name: Clean room, unit: hour}
rates:
  - {item: scope, group: internal, price: "60.00"}
  - {item: staff-time, group: internal, price: "50.00"}
  - {item: slips, group: internal, price: "2.50"}
  - {item: prep, group: internal, price: "40.00"}
  - {item: missed-reservation, group: internal, price: "15.00"}
  - {item: training-minute, group: internal, price: "1.00"}
  - {item: cpu-hour, group: internal, price: "0.10"}
  - {item: gpu-hour, group: internal, price: "2.00"}
  - {item: k8s-core-hour, group: internal, price: "0.04"}
  - {item: k8s-gpu-hour, group: internal, price: "1.50"}
  - {item: kubernetes, group: internal, price: "1"}
  - {item: cloud, group: internal, price: "1.05"}
  - {item: entry, group: internal, price: "20.00"}
project_types: [{code: faculty, rate_group: internal}]
teams: [{code: a, name: Lab A}, {code: b, name: Lab B}]
projects:
  - {code: lab-a, team: a, type: faculty, split: [{expense_code: "1", percent: "100"}]}
  - {code: lab-b, team: b, type: faculty, split: [{expense_code: "2", percent: "100"}]}
  - {code: u1, team: a, type: faculty, split: [{expense_code: "1", percent: "100"}]}
  - {code: u2, team: b, type: faculty, split: [{expense_code: "2", percent: "100"}]}
"""

ANSWERS = {
    # 1.5 h × 60 + 0.5 h × 50 + 12 × 2.50 + 15 + 45 min × 1
    "NEMO (CSV)": {
        "tool_usage-101": "90.00",
        "staff_charge-7": "25.00",
        "consumable-31": "30.00",
        "missed_reservation-55": "15.00",
        "training_session-9": "45.00",
    },
    "NEMO (JSON)": {"tool_usage-101": "90.00"},
    "PPMS": {"4711": "90.00", "4712": "45.00"},  # 1.5 h and 45 min × 60
    "iLab": {"880001": "30.00", "880003": "100.00"},  # 12 × 2.50; 2.5 × 40
    # 16 × 2 h × 0.10; 8 × 10 h × 0.10; 2 × 10 h × 2.00; 4 × 0.5 h × 0.10
    "Slurm": {"9001": "3.20", "9002": "8.00", "9002:gpu-hour": "40.00", "9004": "0.20"},
    "Open XDMoD": {
        "cluster-a:9001@1777892400": "3.20",
        "cluster-a:9002@1777953600": "8.00",
        "cluster-a:9002@1777953600:gpu-hour": "40.00",
    },
    "A log in the Standard Workload Format": {"1": "3.20", "2": "0.40"},  # 16 × 2 h, 4 × 1 h
    # 30.25 × 0.04; 12 × 0.04; 24 × 1.50; then 1.72 and 67.363512 passed through, summed in order
    "OpenCost": {
        "chem@2026-05-04T00:00:00Z": "1.21",
        "phys@2026-05-04T00:00:00Z": "0.48",
        "phys@2026-05-04T00:00:00Z:k8s-gpu-hour": "36.00",
        "2026-05-04/chem/solver-0/main": "0.86",
        "2026-05-04/chem/solver-1/main": "0.86",
        "2026-05-04/phys/train-0/main": "67.36",
    },
    # × 1.05, sums 11.2700722929…, the same, 6.0200727304…, 9.5200727304…; the last has no project
    "A cloud bill in FOCUS": {
        "focus.csv:2": "11.27",
        "focus.csv:3": "0.00",
        "focus.csv:4": "-5.25",
        "focus.csv:5": "3.50",
    },
    "A table of our own": {"b1": "90.00", "b2": "15.00"},
    "A REST API of our own": {"c-17": "40.00", "c-18": "10.00"},
    "Another program's output": {"b1": "90.00", "b2": "15.00"},
}
UNBILLED = {"A cloud bill in FOCUS": {"focus.csv:6": "unknown_project"}}


def answers() -> dict[str, tuple[str, str]]:
    """By heading the mapping and the command of each answer on the page."""
    part = PAGE.split("## I have a file from …")[1].split("\n## ")[0]
    found = re.findall(
        r"^### (.+?)$.*?^```yaml\n(.*?)^```\n```console\n\$ (.*?)\n```", part, re.M | re.S
    )
    return {heading: (mapping, command) for heading, mapping, command in found}


def test_each_answer_is_tried_and_has_at_most_ten_lines() -> None:
    assert answers().keys() == ANSWERS.keys()
    for mapping, command in answers().values():
        assert len(mapping.splitlines()) + len(command.splitlines()) <= 10


def test_the_page_names_each_preset_with_its_columns() -> None:
    named = dict(re.findall(r"^\| `([a-z-]+)` \| (`.+?`) \|", PAGE, re.M))
    for name, preset in presets().items():
        assert re.findall("`(.+?)`", named[name]) == preset["header"]


@pytest.mark.parametrize("heading", ANSWERS)
def test_an_answer_of_the_page_works(tmp_path: Path, heading: str) -> None:
    mapping, command = answers()[heading]
    office = Office(tmp_path)
    (tmp_path / "parameters").mkdir()
    (tmp_path / "billing.toml").touch()
    (tmp_path / "parameters" / "f.yml").write_text(BOOK + mapping)
    for sample in SAMPLES.iterdir():
        folder = tmp_path / "parameters" if sample.name == "instruments.csv" else tmp_path
        (folder / sample.name).write_bytes(sample.read_bytes())
    (tmp_path / "invoice.csv").write_bytes(b"invoice\n\n\n" + (tmp_path / "ppms.csv").read_bytes())
    office.done("init")
    load(office, command)
    office.done("rate", "F", "2026-05")
    charges = office.listed("charges", "F", "2026-05")
    assert {row["charge"].removeprefix("F/"): row["total"] for row in charges} == ANSWERS[heading]
    unbilled = office.listed("unbilled", "F", "2026-05")
    assert {row["record"]: row["reason"] for row in unbilled} == UNBILLED.get(heading, {})


def load(office: Office, command: str) -> None:
    """Carry out the command, with its pipe."""
    *before, last = command.split(" | ")
    words = shlex.split(last)
    assert words[0] == "billing"
    typed = b""
    for step in before:
        match shlex.split(step):
            case ["cat", name]:
                typed = (office.folder / name).read_bytes()
            case ["tail", "-n", "+4", name]:
                lines = (office.folder / name).read_bytes().splitlines(keepends=True)
                typed = b"".join(lines[3:])
            case other:
                raise AssertionError(f"the test does not know {other}")
    office.done(*words[1:], typed=typed)
