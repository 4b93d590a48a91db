"""An archive without a notebook: what ``issue_here`` issued, sealed as issuing seals it.

April 2020 of sample_statements.py, with its statements; records have documents and a manifest.
"""

import shutil
from pathlib import Path
from typing import Any

from sample_issuing import issue_here
from sample_statements import APRIL, books, load_both
from sqlalchemy import Engine

from billing_lib.audit.bag import write_bag
from billing_lib.documents import write_documents
from billing_lib.ledger.database import reading
from billing_lib.ledger.invoices import read_archived
from billing_lib.pricing.fields import Logo
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.settings import Settings
from billing_lib.workflow.detail import detail_names
from billing_lib.workflow.invoice import write_invoices
from billing_lib.workflow.statements import generate_statements

LOGO = Logo("logo.svg", b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"/>')
"""Of the first facility."""


def archive(
    engine: Engine,
    runs: Path,
    invoices: dict[str, dict[str, Any]],
    logo: Logo | None = None,
    details: Path | None = None,
) -> None:
    """Put issued invoices of one issuing into the archive, with the logo and the details that they
    name."""
    with reading(engine) as connection:
        (record,) = set(read_archived(connection, numbers=list(invoices))["record"])
    data = runs / record / "data"
    write_invoices(invoices, data / "invoices")
    write_documents(invoices.values(), data / "documents", logo)
    for name in (name for it in invoices.values() for name in detail_names(it)):
        shutil.copyfile((details or runs) / name, data / "invoices" / name)
    if logo is not None:
        (data / "snapshot").mkdir()
        (data / "snapshot" / logo.file).write_bytes(logo.content)
    write_bag(runs / record, {})


def archived_april(engine: Engine, folder: Path) -> tuple[Settings, dict[str, PriceBook]]:
    """April of both facilities, archived and stated: four invoices, two statements.

    Returns
    -------
    The settings, with a folder of price books in which their templates can be put, and the books.
    """
    both = books()
    facility = both["MIC"].facility.model_copy(update={"logo": LOGO})
    both["MIC"] = both["MIC"].model_copy(update={"facility": facility})
    load_both(engine, both, folder)
    here = Settings(runs=folder / "runs", parameters=folder / "parameters", store=folder / "store")
    here.parameters.mkdir()
    for code, book in both.items():
        issued = issue_here(engine, book, APRIL, folder / code)
        archive(engine, here.runs, issued, book.facility.logo)
    generate_statements(engine, both, APRIL)
    return here, both
