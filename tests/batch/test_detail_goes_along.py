"""The charges beside an invoice go where the invoice goes: package, message, page, command line."""

import json
from email import message_from_bytes, policy
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import pytest
from dialects import ON_SQLITE
from sample_facility import BOOK, HEADER, nothing, price_book, usage_file
from sample_issuing import issue_here
from sqlalchemy import Engine

from billing_lib.audit.archive import find_record
from billing_lib.audit.bag import payload_files, write_manifests
from billing_lib.audit.verify import Finding, verify
from billing_lib.cli.tables import say_detail
from billing_lib.delivery.queue import preview_invoices
from billing_lib.errors import NotReady, UnknownInvoice
from billing_lib.exports.packages import make_package, read_package
from billing_lib.ledger.database import reading
from billing_lib.ledger.invoices import read_lines
from billing_lib.pricing.clock import Period
from billing_lib.settings import Settings
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.search import ExportSelection, Filter

APRIL, NUMBER = Period(2020, 4), "MIC-2021-00001"
FILE = f"{NUMBER}.charges.csv"
AGGREGATED = BOOK.replace(
    "  issue: scheduled\n", "  issue: scheduled\n  lines: {by: item, above: 2}\n"
)
USAGE = HEADER + "".join(
    f"u{at},slide,p1,{user},,,2020-04-0{at},4\n" for at, user in enumerate(("ann", "bob", "ann"), 1)
)


@ON_SQLITE
def test_every_charge_can_be_followed_wherever_the_invoice_is(
    ledger: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book = price_book(AGGREGATED)
    load_files(ledger, book, [usage_file(tmp_path, USAGE)], nothing)
    rate_period(ledger, book, APRIL)
    here = Settings(
        runs=tmp_path / "runs",
        parameters=tmp_path,
        store=tmp_path / "store",
        smtp_from="billing@example.edu",
    )
    issued = issue_here(ledger, book, APRIL, tmp_path / "issuing", runs=here.runs)
    (line,) = issued[NUMBER]["lines"]
    assert (line["charges"], line["total"], line["several"]) == (3, "15.00", ["user"])

    record = find_record(NUMBER, here.runs, ledger)
    folder = record / "data" / "invoices"
    content = (folder / FILE).read_bytes()
    selection = ExportSelection(Filter.parse({"facility": "MIC"}))
    made = make_package(ledger, here, {"MIC": book}, selection, ("pdf",))
    with ZipFile(BytesIO(read_package(ledger, here, made.id))) as package:
        assert package.read(f"MIC/{FILE}") == content
        assert f"MIC/{NUMBER}.charges.parquet" in package.namelist()
    preview_invoices(ledger, here, book, APRIL, tmp_path / "mail")
    (path,) = (tmp_path / "mail").iterdir()
    mail = message_from_bytes(path.read_bytes(), policy=policy.default)
    assert [it.get_filename() for it in mail.iter_attachments()] == [f"{NUMBER}.pdf", FILE]
    text = mail.get_body(("plain",))
    assert text is not None and f"{FILE} (attached)" in text.get_content()

    files = {FILE: content}
    say_detail(files, issued[NUMBER], 1, as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [(row["charge"], row["user"], row["total"]) for row in rows] == [
        ("MIC/u1", "ann", "5.00"),
        ("MIC/u2", "bob", "5.00"),
        ("MIC/u3", "ann", "5.00"),
    ]
    with pytest.raises(UnknownInvoice, match="no line 2"):
        say_detail(files, issued[NUMBER], 2, as_json=False)
    single = issued[NUMBER] | {"lines": [line | {"charge": "MIC/u1"}]}
    with pytest.raises(NotReady, match="billing explain MIC/u1"):
        say_detail(files, single, 1, as_json=False)
    with reading(ledger) as connection:  # the ledger has a row for each charge
        assert read_lines(connection, [NUMBER])["charge"].to_list() == ["u1", "u2", "u3"]

    (folder / FILE).write_bytes(content.replace(b"5.00", b"6.00"))
    write_manifests(record, payload_files(record))  # as someone does who hides a change
    wrong = Finding(f"data/invoices/{FILE}", "the invoice names another")
    assert wrong in verify(record).findings
