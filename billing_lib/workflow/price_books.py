"""The folder of price books: every ``*.yml`` in it is one, named by the code inside."""

from pathlib import Path

from billing_lib.errors import InvalidPriceBook, UnknownFacility
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.expense_codes import with_listed_codes
from billing_lib.workflow.logos import with_logo


def read_price_books(folder: Path) -> dict[str, PriceBook]:
    """All price books of a folder, by facility code.

    Raises
    ------
    InvalidPriceBook
        One cannot be billed by, or two are for one facility.
    """
    return {code: book for code, (_, book) in _read_all(folder).items()}


def read_price_book(folder: Path, facility: str) -> PriceBook:
    """The price book of one facility.

    Raises
    ------
    UnknownFacility
        None in the folder has this code.
    """
    return _require(folder, facility)[1]


def templates_folder(folder: Path, facility: str) -> Path:
    """Where a facility's templates are: beside its price book, in the folder of its name.

    ``parameters/research-computing.yml`` has ``parameters/research-computing/templates/``, which
    need not exist.

    Raises
    ------
    UnknownFacility
        None of the price books has this code.
    """
    return _require(folder, facility)[0].with_suffix("") / "templates"


def _require(folder: Path, facility: str) -> tuple[Path, PriceBook]:
    books = _read_all(folder)
    if facility not in books:
        known = ", ".join(books) or "none"
        raise UnknownFacility(
            f"no price book in {folder}/ is for the facility '{facility}' (known: {known})",
            remedy="correct the code, or set BILLING_PARAMETERS to the right folder",
        )
    return books[facility]


def _read_all(folder: Path) -> dict[str, tuple[Path, PriceBook]]:
    """Each price book with its file, by facility code."""
    books: dict[str, tuple[Path, PriceBook]] = {}
    for path in sorted(folder.glob("*.yml")):
        book = with_listed_codes(PriceBook.parse(read_text(path), str(path)), folder)
        book = with_logo(book, folder)
        code = book.facility.code
        if code in books:
            raise InvalidPriceBook(
                f"the facility '{code}' already has the price book {books[code][0]}",
                where=str(path),
                remedy="keep one of them",
            )
        books[code] = path, book
    return books


def read_text(path: Path) -> str:
    """A YAML file's text.

    Raises
    ------
    InvalidPriceBook
        It is missing, or no text in UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidPriceBook("there is no such file", where=str(path)) from None
    except (IsADirectoryError, PermissionError, UnicodeDecodeError) as error:
        raise InvalidPriceBook(f"the file cannot be read ({error})", where=str(path)) from None
