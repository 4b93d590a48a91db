"""A site of each release: today's program upgrades it, verifies it, and shows what it showed then.

scripts/keep-release.sh made each; its amounts: p1 133.33 for 3 h 20 min at 40.00 and 12.50 for ten
slides; p2 25.00 for twenty slides, and 21.25 once three of them were waived.
"""

import json
import tarfile
from pathlib import Path

import pytest
from sample_logins import url_as
from sqlalchemy import text

from billing_lib.audit.known import Known
from billing_lib.audit.reproduce import reproduce
from billing_lib.ledger.database import open_ledger, reading
from billing_lib.ledger.people import read_permissions
from billing_lib.ledger.transfer import copy_ledger
from billing_lib.workflow.invoice import INVOICE_FORMAT

from .conftest import Office

RELEASES = sorted((Path(__file__).parent / "releases").glob("*.tar.xz"))
PROJECT = Path(__file__).parent.parent.parent
SCHEMA = PROJECT / "billing_lib" / "workflow" / "invoice.schema.json"


@pytest.fixture(params=RELEASES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The release's folder, with ``core``, ``shown`` and ``extracted``."""
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def test_a_kept_site_is_upgraded_verified_and_shows_the_same(kept: Path, bare_url: str) -> None:
    office = Office(kept / "core")
    own = f"sqlite:///{kept / 'core' / 'billing.db'}"
    office.done("init", database=own)
    if bare_url.startswith("postgresql"):
        source, target = open_ledger(own), open_ledger(bare_url)
        copy_ledger(source, target)
        with reading(target) as connection:
            (who,) = set(read_permissions(connection, "MIC")["login"])
        with target.connect() as connection:
            if not connection.scalar(text("SELECT to_regrole(:who)"), {"who": f'"{who}"'}):
                connection.execute(text(f'CREATE ROLE "{who}" SUPERUSER LOGIN'))
                connection.commit()
        source.dispose()
        target.dispose()
        own = url_as(bare_url, who)
    said = office.done("verify", "--all", database=own)
    assert "2 records: 2 verified, 0 with faults, 0 not wholly checked" in said
    office.done("journal", "MIC", "--posted", "--to", "journal.csv", database=own)
    office.done("statement", "smith-2020-04", "--to", "statement.json", database=own)
    office.done("focus", "MIC", "2020-04", "--to", "focus.csv", database=own)
    listing = office.done("listing", "smith", "2020-04", "--json", database=own)
    (kept / "core" / "listing.json").write_text(listing, encoding="utf-8")
    for path in (kept / "shown").iterdir():
        assert (kept / "core" / path.name).read_bytes() == path.read_bytes(), path.name
    invoices = json.loads(office.done("invoices", "--json", database=own))
    assert {row["number"]: row["total"] for row in invoices} == {
        "MIC-2020-00001": "145.83",
        "MIC-2020-00002": "25.00",
        "MIC-2020-00003": "21.25",
    }


def test_kept_records_reproduce(kept: Path) -> None:
    """The first has a line of three charges and its detail; the extract is of the reissue."""
    records = [
        kept / "core" / "runs" / "MIC" / "2020-04" / "MIC-2020-04-1",
        kept / "extracted" / "MIC-2020-00003",
    ]
    for record in records:
        assert reproduce(record, known=Known(repository=PROJECT)).differences == ()
    data = records[0] / "data"
    assert (data / "invoices" / "MIC-2020-00002.charges.csv").is_file()
    invoice = json.loads((data / "invoices" / "MIC-2020-00002.json").read_bytes())
    if invoice["format"] == INVOICE_FORMAT:  # another schema is another format
        then, now = data / "schemas" / SCHEMA.name, SCHEMA
        assert then.read_bytes() == now.read_bytes()
