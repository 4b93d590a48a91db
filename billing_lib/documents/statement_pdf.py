"""A statement as a PDF, archival and accessible as an invoice's is (documents/pdf.py)."""

from dataclasses import asdict

from billing_lib.documents.pdf import typeset
from billing_lib.documents.statement import Statement, statement_view


def render_statement_pdf(statement: Statement) -> bytes:
    """The statement as PDF bytes: tagged, PDF/A-2a and PDF/UA-1, A4 or US Letter."""
    return typeset("statement.typ", asdict(statement_view(statement)) | {"han": "SC"}, {})
