"""docs/operating.md walked as far as one account goes; the files of deploy/, as far as is known."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

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
    """With the job's script and a JupyterHub, systemd-analyze finds nothing to say about them."""
    deploy = ROOT / "deploy"
    hub = deploy / "billing-hub.service"
    here = hub.read_text().replace("/opt/billing/bin/jupyterhub", "/bin/true")
    (tmp_path / hub.name).write_text(here)
    units = sorted(path.name for path in deploy.glob("billing-*") if path != hub)
    jobs = re.findall(r"^    (\w+)\)", (deploy / "job.sh").read_text(), re.MULTILINE)
    assert units == sorted(f"billing-{job}.{kind}" for job in jobs for kind in ("service", "timer"))
    for unit in set(deploy.glob("*.service")) - {hub}:
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


def test_the_compose_file_names_images_by_digest_and_mounts_what_is_there() -> None:
    """Checked as well by docker-compose 1.29 and compose-spec 0.2 when it was written."""
    deploy = ROOT / "deploy"
    services = yaml.safe_load((deploy / "compose.yml").read_text())["services"]
    script = (ROOT / "scripts" / "image.sh").read_text()
    written = set(re.findall(r'"(\w+_IMAGE|BILLING_IMAGE)=\$', script))
    images = {
        service.get("image") or service["build"]["args"]["BASE"] for service in services.values()
    }
    assert images == {f"${{{name}:?run scripts/image.sh compose}}" for name in written}
    assert {name for name, service in services.items() if "ports" in service} == {"proxy"}
    assert "--listen_addresses=" in services["ledger"]["command"]
    for service in services.values():
        for mount in service.get("volumes", ()):
            if mount.startswith("./"):
                assert (deploy / mount.partition(":")[0]).is_file()
