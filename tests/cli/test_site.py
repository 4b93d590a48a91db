"""A site: made by ``billing init``, found from the working folder upward, with its own settings."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from sample_facility import BOOK

from billing_lib.errors import InvalidSettings, NoSite
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.settings import Settings, anywhere, find_site, settings
from billing_lib.workflow.site import make_site

from .conftest import Office

KEYS = "keys/billing, keys/billing.pub, keys/allowed_signers"
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"BILLING_{name.upper()}", raising=False)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    make_site(tmp_path / "site")
    (tmp_path / "site" / "below" / "deeper").mkdir(parents=True)
    return tmp_path / "site"


def test_a_site_is_found_upward_and_its_paths_are_relative_to_it(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(site / "below" / "deeper")
    here = settings()
    assert here.site == site
    assert (here.runs, here.parameters) == (site / "runs", site / "parameters")
    assert here.database == f"sqlite:///{site}/billing.db"
    monkeypatch.chdir(site)
    assert (settings().runs, settings().database) == (Path("runs"), "sqlite:///billing.db")


def test_a_variable_wins_over_the_sites_file_and_the_file_over_the_default(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site / "billing.toml").write_text(
        'runs = "archive"\nstore = "made"\npackage_days = 7\nsigning_key = "keys/billing"\n'
        'database = "sqlite:///ledgers/core.db"\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BILLING_SITE", "site")
    monkeypatch.setenv("BILLING_STORE", "elsewhere")
    here = settings()
    assert (here.runs, here.store) == (site / "archive", site / "elsewhere")
    assert (here.package_days, here.signing_key) == (7, site / "keys" / "billing")
    assert here.database == f"sqlite:///{site}/ledgers/core.db"
    monkeypatch.setenv("BILLING_DATABASE", "postgresql+psycopg://ann@host/core")
    monkeypatch.setenv("BILLING_RUNS", "/archive")
    assert settings().database == "postgresql+psycopg://ann@host/core"
    assert settings().runs == Path("/archive")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'run = "archive"\n',
            r"billing\.toml: there is no setting 'run'; the settings are allowed_signers, ",
        ),
        ('site = "."\n', r"there is no setting 'site'"),
        ('package_days = "soon"\n', r"billing\.toml, package_days: the setting cannot be read: "),
        ("runs = archive\n", r"billing\.toml: the site's settings cannot be read \("),
    ],
)
def test_a_mistake_in_the_sites_file_is_one_sentence(
    site: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    (site / "billing.toml").write_text(text)
    monkeypatch.chdir(site)
    with pytest.raises(InvalidSettings, match=said):
        settings()


def test_without_a_site_places_that_are_all_given_are_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_site() is None
    assert anywhere().runs == Path("runs")
    for name in ("DATABASE", "RUNS", "PARAMETERS"):
        with pytest.raises(NoSite, match="there is no site here: neither"):
            settings()
        monkeypatch.setenv(f"BILLING_{name}", str(tmp_path / name))
    assert settings().runs == tmp_path / "RUNS"
    monkeypatch.setenv("BILLING_SITE", "nowhere")
    with pytest.raises(InvalidSettings, match=r"no site: it has no billing\.toml; run 'billing in"):
        settings()


def test_a_command_without_a_site_says_in_one_sentence_to_make_one(tmp_path: Path) -> None:
    refused = Office(tmp_path).run("invoices")
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert "there is no site here" in refused.stderr
    assert "run 'billing init' to make one" in refused.stderr


def test_init_makes_a_site_whose_example_bills_and_twice_changes_nothing(tmp_path: Path) -> None:
    made = Office(tmp_path).done("init", "core")
    core = tmp_path / "core"
    names = f"billing.toml, .gitignore, parameters/example.yml, {KEYS}"
    assert made.startswith(f"{core}: a site, with {names} and runs/\n")
    assert made.endswith(f"sqlite:///{core}/billing.db: set up\n")
    before = {path: path.read_bytes() for path in core.rglob("*") if path.suffix != ".db"
              and path.is_file()}  # fmt: skip
    again = Office(core).done("init")
    assert again == "sqlite:///billing.db: set up before, nothing changed\n"
    assert Office(tmp_path).done("init", "core").count("\n") == 1
    assert {path: path.read_bytes() for path in before} == before
    example = (core / "parameters" / "example.yml").read_text()
    lines = re.findall(r"^#   ((?:id|\d),.*)$", example, re.MULTILINE)
    (core / "usage.csv").write_text("\n".join(lines) + "\n")
    office = Office(core)
    office.done("load", "MIC", "usage.csv")
    office.done("rate", "MIC", "2026-01")
    totals = {row["charge"]: row["total"] for row in office.listed("charges", "MIC", "2026-01")}
    assert totals == {"MIC/1": "100.00", "MIC/2": "15.00", "MIC/3": "95.00"}


def test_init_writes_over_no_file_and_brings_no_example_beside_a_price_book(tmp_path: Path) -> None:
    (tmp_path / "parameters").mkdir()
    (tmp_path / "parameters" / "microscopy.yml").write_text(BOOK)
    (tmp_path / ".gitignore").write_text("mine\n")
    made = Office(tmp_path).done("init")
    assert f"a site, with billing.toml, {KEYS} and runs/" in made
    assert (tmp_path / ".gitignore").read_text() == "mine\n"
    assert [path.name for path in (tmp_path / "parameters").iterdir()] == ["microscopy.yml"]


def test_the_demonstrations_price_books_come_with_their_templates(tmp_path: Path) -> None:
    made = make_site(tmp_path, demonstration=True)
    books = [name for name in made if name.startswith("parameters/")]
    assert sorted(name.removeprefix("parameters/") for name in books) == [
        "microscopy.yml",
        "research-computing.svg",
        "research-computing.yml",
        "research-computing/templates/ap-upload.csv.j2",
        "research-computing/templates/cover-letter.html.j2",
        "workshop.yml",
    ]
    text = (tmp_path / "parameters" / "research-computing.yml").read_text()
    assert PriceBook.parse(text, "research-computing.yml").facility.code == "RC"


def test_the_clone_is_a_site_as_init_makes_it() -> None:
    new = ROOT / "billing_lib" / "workflow" / "new_site" / "billing.toml"
    assert (ROOT / "billing.toml").read_bytes() == new.read_bytes()
    assert anywhere(ROOT).site == ROOT


def test_a_records_folder_is_verified_where_no_site_is(tmp_path: Path) -> None:
    refused = Office(tmp_path).run("verify", tmp_path)
    assert "this folder is no audit record" in refused.stderr
    assert "there is no site here" in Office(tmp_path).run("verify", "RC-1994-00001").stderr


def test_version_and_completion(tmp_path: Path) -> None:
    stated = r"billing-notebooks \d+\.\d+\.\d+, commit [0-9a-f]{40}(, with changed files)?\n"
    assert re.fullmatch(stated, Office(tmp_path).done("--version"))
    billing = Path(sys.executable).with_name("billing")
    completed = subprocess.run(
        [billing],
        env={
            "_BILLING_COMPLETE": "complete_bash",
            "COMP_WORDS": "billing repro",
            "COMP_CWORD": "1",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert completed.stdout.split() == ["reproduce"]
