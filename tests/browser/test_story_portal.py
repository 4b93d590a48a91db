"""A lab at the portal: JupyterHub's login, Voilà's pages, its own only, nothing to change."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from office_window import ME, SLOW, free_port, wait_for
from playwright.sync_api import Browser, expect
from sample_facility import BOOK, nothing, price_book, usage_file

from billing_lib.ledger.database import initialise, open_ledger
from billing_lib.pricing.clock import Period
from billing_lib.workflow.load import load_files
from billing_lib.workflow.permissions import grant, revoke
from billing_lib.workflow.rate import rate_period

ROOT = Path(__file__).parent.parent.parent
TWO_LABS = BOOK.replace("teams: [", "teams: [{code: jones, name: Jones Lab}, ").replace(
    "{code: p2, team: smith", "{code: p2, team: jones"
)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    """JupyterHub with the committed configuration, on a ledger in which I am jones's alone."""
    (tmp_path / "parameters").mkdir()
    (tmp_path / "parameters" / "mic.yml").write_text(TWO_LABS)
    database = f"sqlite:///{tmp_path / 'billing.db'}"
    engine = open_ledger(database)
    initialise(engine)
    book = price_book(TWO_LABS)
    load_files(engine, book, [usage_file(tmp_path)], nothing)
    rate_period(engine, book, Period(2020, 4))
    grant(engine, book, ME, "administrator")
    grant(engine, book, ME, "lab_administrator", "jones")
    grant(engine, book, "somebody", "administrator")
    revoke(engine, book, ME, "administrator")
    engine.dispose()
    url = f"http://127.0.0.1:{free_port()}"
    environment = os.environ | {
        "BILLING_DATABASE": database,
        "BILLING_RUNS": str(tmp_path / "runs"),
        "BILLING_PARAMETERS": str(tmp_path / "parameters"),
        "BILLING_OFFICE": str(tmp_path / "office"),
        "BILLING_PORTAL_BIND": url,
        "BILLING_PORTAL_TRY": "a-password-to-try",
    }
    command = [Path(sys.executable).with_name("jupyterhub"), "-f", ROOT / "jupyterhub_config.py"]
    with (tmp_path / "hub.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for(f"{url}/hub/health", process)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def test_a_lab_sees_its_own_only_and_can_run_nothing(hub: str, chromium: Browser) -> None:
    context = chromium.new_context(viewport={"width": 1300, "height": 900})
    page = context.new_page()
    page.set_default_timeout(SLOW)
    page.goto(hub)
    page.locator("#username_input").fill(ME)
    page.locator("#password_input").fill("not-the-password")
    page.locator("#login_submit").click()
    expect(page.get_by_text("Invalid username or password")).to_be_visible()
    page.locator("#password_input").fill("a-password-to-try")
    page.locator("#login_submit").click()
    expect(page.get_by_title("Listing of jones")).to_be_visible(timeout=2 * SLOW)
    labs = page.get_by_label("Lab").locator("option").all_inner_texts()
    assert [lab.replace("\N{NO-BREAK SPACE}", " ") for lab in labs] == ["Jones Lab (jones)"]
    shown = page.frame_locator("iframe").locator("body")
    expect(shown).to_contain_text("12.50")
    expect(shown).not_to_contain_text("148.33")
    assert "billing_lib" not in page.content()  # no source
    base = page.url.rpartition("/voila/")[0]
    assert context.request.get(f"{base}/voila/render/issue.ipynb").status == 404
    assert context.request.get(f"{base}/voila/files/listing.ipynb").status in (403, 404)
    assert context.request.post(f"{base}/api/kernels").status in (403, 404, 405)
    page.goto(f"{base}/voila/render/statement.ipynb")
    expect(page.get_by_text("There is no statement of 2020-04 for the lab jones")).to_be_visible()
    context.close()
