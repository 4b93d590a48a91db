"""``billing preview``: a draft as it would be issued now."""

from pathlib import Path
from typing import Annotated

import typer

from billing_lib.cli.app import AsJson, app, ledger, price_book, say


@app.command(epilog="Example: billing preview RC-1993-11-1/u4 --pdf draft.pdf")
def preview(
    code: Annotated[
        str,
        typer.Argument(
            metavar="INVOICE", help="A draft, as 'billing invoices' lists it under 'invoice'."
        ),
    ],
    as_json: AsJson = False,
    pdf: Annotated[Path | None, typer.Option(help="Write it as PDF into this file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write it as HTML into this file.")] = None,
    xlsx: Annotated[Path | None, typer.Option(help="Write it as XLSX into this file.")] = None,
    facility: Annotated[
        str | None, typer.Option(help="Whose, where several facilities have this code.")
    ] = None,
) -> None:
    """Show a draft as it would be issued now; nothing is issued and no number is given."""
    from billing_lib.workflow.canonical import invoice_json
    from billing_lib.workflow.preview import facility_of, preview_draft

    engine = ledger()
    book = price_book(facility or facility_of(engine, code))
    draft = preview_draft(engine, book, code)
    if as_json:
        say(invoice_json(draft).rstrip())
    files = {"pdf": pdf, "html": html, "xlsx": xlsx}
    wanted = {suffix: path for suffix, path in files.items() if path is not None}
    if not as_json and not wanted:
        from billing_lib.cli.invoice_view import say_invoice

        say_invoice(draft)
    for suffix, path in wanted.items():
        from billing_lib.documents import with_logo, write_document

        written = write_document(with_logo(draft, book.facility.logo), suffix, path)
        # Beside JSON the sentence goes where it breaks no JSON.
        typer.echo(
            f"{path}: {'written' if written else 'is so already, nothing changed'}", err=as_json
        )
