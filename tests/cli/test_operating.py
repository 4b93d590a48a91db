"""docs/operating.md walked as far as one account goes; and its timers, as systemd reads them."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import Office

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("bare_url", ["postgresql"], indirect=True)
def test_the_steps_lead_from_an_empty_server_to_a_verified_backup(
    bare_url: str, tmp_path: Path
) -> None:
    """PostgreSQL's superuser of the test stands for the operator's login ``billing``."""
    page = (ROOT / "docs" / "operating.md").read_text()
    site, _, block = page.partition("## The site and the first grants")[2].partition("```sh\n")
    assert "As `billing`" in site
    lines = block.partition("```")[0].splitlines()
    assert len(lines) > 12
    office = Office(tmp_path)
    said = {}
    for line in lines:
        here = line.replace("/srv/", f"{tmp_path}/").replace("/backup/", f"{tmp_path}/")
        words = shlex.split(here)
        if words[0] == "cd":
            office = Office(Path(words[1]))
        elif words[0] == "echo":
            with (office.folder / "billing.toml").open("a") as settings:
                settings.write(f"\n{words[1]}\n")
        elif words[0] == "chmod":
            subprocess.run(words, cwd=office.folder, check=True)
        else:
            ran = office.run(*words[1:], database=bare_url)
            assert ran.returncode == 0, line + ran.stdout + ran.stderr
            said[line] = ran.stdout
    (backup,) = (text for line, text in said.items() if line.startswith("billing backup"))
    assert re.search(r"[1-9]\d* rows of the ledger", backup)
    assert "wrong" not in said["billing doctor"]


def test_systemd_reads_the_timers_and_each_calls_a_job(tmp_path: Path) -> None:
    """With the job's script, systemd-analyze finds nothing to say about them."""
    deploy = ROOT / "deploy"
    units = sorted(path.name for path in deploy.glob("billing-*"))
    jobs = re.findall(r"^    (\w+)\)", (deploy / "job.sh").read_text(), re.MULTILINE)
    assert units == sorted(f"billing-{job}.{kind}" for job in jobs for kind in ("service", "timer"))
    for unit in deploy.glob("*.service"):
        job = unit.stem.removeprefix("billing-")
        text = unit.read_text()
        assert f"ExecStart=/usr/local/lib/billing-job {job}\n" in text
        (tmp_path / unit.name).write_text(
            text.replace("/usr/local/lib/billing-job", str(deploy / "job.sh"))
        )
        shutil.copy(unit.with_suffix(".timer"), tmp_path)
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here")
    done = subprocess.run(
        ["systemd-analyze", "verify", *sorted(tmp_path.glob("billing-*"))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
