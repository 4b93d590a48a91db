"""An archive without a notebook: what ``issue_here`` issued, sealed as issuing seals it.

April 2020 of sample_statements.py, with its statements; records have documents and a manifest.
"""

from pathlib import Path

from sample_issuing import issue_here
from sample_statements import APRIL, books, load_both
from sqlalchemy import Engine

from billing_lib.pricing.fields import Logo
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.settings import Settings
from billing_lib.workflow.statements import generate_statements

LOGO = Logo("logo.svg", b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"/>')
"""Of the first facility."""


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
        issue_here(engine, book, APRIL, folder / code, runs=here.runs)
    generate_statements(engine, both, APRIL)
    return here, both
