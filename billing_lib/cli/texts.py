"""Commands about the texts on a facility's invoices: ``text``, ``texts``."""

from pathlib import Path
from typing import Annotated

import typer

from billing_lib.cli.app import AsJson, FacilityCode, app, ledger, price_book, say, say_frame
from billing_lib.cli.runs import Reason
from billing_lib.errors import InvalidAdjustment, UnreadableFile

TextName = Annotated[str, typer.Argument(metavar="NAME", help="instructions or contacts.")]


@app.command(epilog="Example: billing text RC instructions --set 'Please check within 30 days.'")
def text(
    facility: FacilityCode,
    name: TextName,
    words: Annotated[str | None, typer.Option("--set", help="The new text.")] = None,
    file: Annotated[Path | None, typer.Option(help="A file with the new text.")] = None,
    reason: Reason = "",
) -> None:
    """Write a new version of a text; what is issued already keeps its own."""
    from billing_lib.workflow.texts import write_text

    if (words is None) == (file is None):
        raise InvalidAdjustment("say the new text", remedy="add --set TEXT or --file FILE")
    if file is not None:
        try:
            words = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UnreadableFile(f"the file cannot be read: {error}", where=str(file)) from None
    say(write_text(ledger(), price_book(facility), name, str(words), reason))


@app.command(epilog="Example: billing texts RC instructions")
def texts(facility: FacilityCode, name: TextName, as_json: AsJson = False) -> None:
    """List the versions of a text, the last of which stands."""
    from billing_lib.workflow.texts import text_versions

    say_frame(
        text_versions(ledger(), price_book(facility), name),
        title=f"{facility}: {name}",
        as_json=as_json,
        spared=("reason", "at"),
    )
