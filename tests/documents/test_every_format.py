"""The same numbers in every format: each is read back and compared with the canonical JSON."""

import shutil
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from drawn_invoice import drawn_invoice
from figures import Figures, figures, figures_in, stated, stated_in
from hypothesis import given, settings
from openpyxl import load_workbook
from sample_invoice import ad_hoc_credit, hourly, invoice, reissue, taxed_invoice
from sample_invoice import stated as placed
from sample_statement import paid, statement_of, three_facilities
from test_ubl import SAMPLES, invoices_of
from workbook_reading import read

from billing_lib.documents import renderers
from billing_lib.documents.statement import FORMATS, render_statement
from billing_lib.workflow.invoice import invoice_json

SCENARIOS = Path(__file__).parent.parent / "scenarios"
PRICED = ("bands", "splits", "tax", "tiers-per-project", "own-subsidy", "added-lines", "rules")
CURRENCIES = ("currency-dinar", "currency-yen")  # three places, and none


def computed() -> Iterator[dict[str, Any]]:
    """Invoices as the library computes them: every way of pricing, every kind of currency."""
    for name in (*PRICED, *CURRENCIES):
        yield from invoices_of(SCENARIOS / f"{name}.yml")


def in_every_format(canonical: dict[str, Any]) -> dict[str, Figures]:
    written = {suffix: render(canonical) for suffix, render in renderers().items()}
    written["json"] = invoice_json(canonical).encode()
    return {suffix: figures_in[suffix](content) for suffix, content in written.items()}


def assert_same(canonical: dict[str, Any]) -> None:
    for suffix, found in in_every_format(canonical).items():
        assert found == figures(canonical), suffix


def test_every_format_of_an_invoice_says_what_its_json_says() -> None:
    samples = [*SAMPLES.values(), ad_hoc_credit(), reissue(), invoice([], notes=[])]
    for canonical in samples:
        assert_same(placed(canonical))
    found = list(computed())
    assert {len(it["totals"]["total"].partition(".")[2]) for it in found} == {0, 2, 3}
    assert any(line["steps"] for it in found for line in it["lines"])
    for canonical in found:
        assert_same(canonical)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(drawn_invoice())
def test_every_format_of_whatever_invoice_says_what_its_json_says(
    canonical: dict[str, Any],
) -> None:
    assert_same(canonical)


def test_a_cent_more_in_one_place_is_found_in_every_format() -> None:
    for more in ("total", "lines", "codes"):
        changed = placed(taxed_invoice())
        if more == "total":
            changed["totals"] |= {"total": "1338.76", "due": "1338.76"}
        elif more == "lines":
            changed["lines"][0]["total"] = "1305.01"
        else:
            changed["summaries"]["by_expense_code"] *= 2
            changed["summaries"]["by_expense_code"][1:] = [{"expense_code": "9", "total": "0.01"}]
        for suffix, found in in_every_format(changed).items():
            assert found != figures(placed(taxed_invoice())), (suffix, more)


def statements() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    open_one, invoices = three_facilities()
    dinar = list(invoices_of(SCENARIOS / "currency-dinar.yml"))
    yen = list(invoices_of(SCENARIOS / "currency-yen.yml"))
    rules = {dinar[0]["facility"]["code"]: [("courtesy", "-0.125")]}
    return {
        "open": (open_one, invoices),
        "paid": (paid(), invoices),
        "three places": (
            statement_of(dinar, rules, places=3),
            {it["number"]: it for it in dinar},
        ),
        "no places": (statement_of(yen, {}, places=0), {it["number"]: it for it in yen}),
    }


def test_every_format_of_a_statement_says_what_its_json_says() -> None:
    for name, (statement, invoices) in statements().items():
        for suffix in FORMATS:
            rendered = render_statement(statement, suffix, invoices)
            assert stated_in[suffix](rendered) == stated(statement), (name, suffix)
            assert rendered == render_statement(statement, suffix, invoices)
    more, invoices = three_facilities()
    more["totals"]["due"] = "240.76"
    for suffix in FORMATS:
        assert stated_in[suffix](render_statement(more, suffix, invoices)) != stated(
            three_facilities()[0]
        )


def test_a_spreadsheet_opens_every_workbook_and_computes_the_same_sums(tmp_path: Path) -> None:
    """LibreOffice Calc loads each, works its formulas out anew, and saves it again."""
    office = shutil.which("soffice")
    assert office is not None, "scripts/test.sh installs libreoffice-calc-nogui"
    awkward = [
        {"expense_code": code, "percent": "50", "amount": "20.00"} for code in ("a'#[1]", "=1")
    ]
    samples = [*SAMPLES.values(), invoice([hourly(expense_codes=awkward)]), *computed()]
    written = {f"invoice {at}": renderers()["xlsx"](it) for at, it in enumerate(samples)}
    for name, (statement, invoices) in statements().items():
        written[name] = render_statement(statement, "xlsx", invoices)
    for name, content in written.items():
        (tmp_path / f"{name}.xlsx").write_bytes(content)
    again = tmp_path / "again"
    subprocess.run(
        [office, f"-env:UserInstallation=file://{tmp_path / 'profile'}", "--headless"]
        + ["--convert-to", "xlsx:Calc MS Excel 2007 XML", "--outdir", str(again)]
        + [str(tmp_path / f"{name}.xlsx") for name in written],
        check=True,
        capture_output=True,
        timeout=300,
    )
    for name, content in written.items():
        before = read(content)
        after = load_workbook(again / f"{name}.xlsx", data_only=True)
        assert after.sheetnames == before.sheetnames
        for sheet in before:
            opened = after[sheet.title]
            for row in sheet.iter_rows():
                for cell in row:
                    assert same(cell.value, opened[cell.coordinate].value), (name, cell.coordinate)
            assert {it.ref for it in opened.tables.values()} == {
                it.ref for it in sheet.tables.values()
            }


def same(before: Any, after: Any) -> bool:
    if isinstance(before, int | float) and isinstance(after, int | float):
        return abs(Decimal(str(before)) - Decimal(str(after))) < Decimal("0.0000005")
    return (before or None) == (after or None)
