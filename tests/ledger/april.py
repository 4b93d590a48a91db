"""April 2020 of a small facility: what the ledger's tests load, freeze and issue.

u1 scope-1-hour p1 90.00 (60/40)   u2 slide p1 11.25   u3 slide p2 2.50
RC-2020-0001 p1 101.25             RC-2020-0002 p2 2.50
"""

from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
from sqlalchemy import Connection, insert, select, update

from billing_lib.ledger import charges, frames, invoices, messages, people, runs, statements, usage
from billing_lib.ledger.events import record_event
from billing_lib.ledger.invoices import (
    INVOICE_ADJUSTMENT,
    INVOICE_LINE,
    INVOICE_SPLIT,
    ISSUED_INVOICE,
)
from billing_lib.ledger.log import add_entry, lock_log
from billing_lib.ledger.schema import (
    invoice_number,
    statement,
    statement_adjustment,
    statement_invoice,
)
from billing_lib.pricing.charge import SPLIT

KEPT_RATE = '{"group":"internal","item":"slide","price":"1.25"}'
"""The body of the kept rate 3f0c."""


def usage_records(*rows: tuple[str, str, str, str | None]) -> pl.DataFrame:
    """Usage of 6 April 2020, from rows of record, item, project, quantity."""
    start = datetime(2020, 4, 6, 21, 0, tzinfo=UTC)
    return pl.DataFrame(
        [
            {
                "record": record,
                "occurrence": 1,
                "item": item,
                "project": project,
                "user": "ann",
                "start": start,
                "end": start.replace(hour=23),
                "quantity": None if quantity is None else Decimal(quantity),
                "file": "april.csv",
                "row": number,
                "period": "2020-04",
            }
            for number, (record, item, project, quantity) in enumerate(rows, 2)
        ],
        schema_overrides=usage.USAGE_WITH_PERIOD,
    ).select(
        pl.col(name) if name in _GIVEN else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in usage.USAGE_WITH_PERIOD.items()
    )


_GIVEN = {
    *("record", "occurrence", "item", "project", "user", "start", "end"),
    *("quantity", "file", "row", "period"),
}


def load_and_rate(connection: Connection) -> None:
    """The three charges above, PENDING."""
    people.know_facility(connection, "RC", "Research Computing", "USD", "America/New_York")
    usage.insert_file(connection, "RC", "4f", "april.csv", "csv", 3)
    records = usage_records(
        ("u1", "scope-1-hour", "p1", None), ("u2", "slide", "p1", "9"), ("u3", "slide", "p2", "2")
    )
    usage.insert_usage(connection, "RC", "4f", records)
    charges.keep_rates(connection, "RC", [("3f0c", KEPT_RATE)])
    charges.insert_charges(connection, "RC", *three_charges())


def three_charges() -> tuple[pl.DataFrame, pl.DataFrame]:
    """The charges above and their splits."""
    rows = [
        ("u1", "p1", "scope-1-hour", 2_250_000, 9000),
        ("u2", "p1", "slide", 9_000_000, 1125),
        ("u3", "p2", "slide", 2_000_000, 250),
    ]
    priced = pl.DataFrame(
        rows, schema=["charge", "project", "item", "quantity", "total"], orient="row"
    ).with_columns(
        kind=pl.lit("usage"),
        record=pl.col("charge"),
        occurrence=pl.lit(1),
        period=pl.lit("2020-04"),
        team=pl.lit("smith-lab"),
        user=pl.lit("ann"),
        date=pl.lit(date(2020, 4, 6)),
        rate=pl.lit("3f0c"),
        raw_total=pl.col("total"),
        adjustment=pl.lit(0),
    )
    splits = [
        ("u1", 0, "370-1", 600_000, 5400),
        ("u1", 1, "370-2", 400_000, 3600),
        ("u2", 0, "370-1", 1_000_000, 1125),
        ("u3", 0, "370-1", 1_000_000, 250),
    ]
    return priced, pl.DataFrame(splits, schema=SPLIT, orient="row")


RUN = "RC-2020-04-1"
P1, P2 = f"{RUN}/p1", f"{RUN}/p2"
MAIL = "RC-2020-0001-3f09ab12cd34"
"""The invoices of the two projects, by code."""


def late_charge(connection: Connection, code: str = "late", **columns: str) -> None:
    """A further PENDING charge of p1, 1.00."""
    row = {"charge": code, "kind": "line", "period": "2020-04", "project": "p1"} | columns
    frame = pl.DataFrame([row | {"team": "smith-lab"}]).with_columns(
        raw_total=pl.lit(100, pl.Int64), adjustment=pl.lit(0, pl.Int64), total=pl.lit(100, pl.Int64)
    )
    charges.insert_charges(connection, "RC", frame, three_charges()[1].clear())


def draft(connection: Connection) -> list[str]:
    """April's run with an OPEN invoice per project, holding its charges and knowing its total."""
    run = runs.make_run(connection, "RC", "2020-04", "", "")
    totals = pl.DataFrame(
        [("p1", 2, 10125), ("p2", 1, 250)], schema=["project", "charges", "total"], orient="row"
    ).with_columns(
        code=pl.format("{}/{}", pl.lit(run), "project"),
        team=pl.lit("smith-lab"),
        raw_total="total",
        adjustment=pl.lit(0, pl.Int64),
        tax=pl.lit(None, pl.Int64),
        cost=pl.lit(None, pl.Int64),
    )
    april_drafts(connection, run, "p1", "p2")
    placed = [("u1", f"{run}/p1"), ("u2", f"{run}/p1"), ("u3", f"{run}/p2")]
    schema = ["charge", "invoice"]
    charges.attach_charges(connection, "RC", pl.DataFrame(placed, schema=schema, orient="row"))
    invoices.set_totals(connection, "RC", totals)
    return totals["code"].to_list()


def april_drafts(connection: Connection, run: str, *projects: str) -> None:
    """OPEN invoices of these projects in a run of April, that bill nothing yet."""
    drafts = pl.DataFrame({"project": projects}).with_columns(
        code=pl.format("{}/{}", pl.lit(run), "project"),
        team=pl.lit("smith-lab"),
        facility=pl.lit("RC"),
        kind=pl.lit("periodic"),
        run=pl.lit(run),
        period=pl.lit("2020-04"),
        covers_from=pl.lit(date(2020, 4, 1)),
        covers_to=pl.lit(date(2020, 4, 30)),
        description=pl.lit(""),
    )
    invoices.insert_invoices(connection, drafts)


def submit(connection: Connection) -> list[str]:
    """The same being approved, the charges bound."""
    codes = draft(connection)
    charges.bind_charges(connection, "RC", codes, RUN)
    invoices.move_invoices(connection, "RC", codes, "submit")
    return codes


def freeze(connection: Connection, codes: list[str] | None = None, run: str = RUN) -> pl.DataFrame:
    """Freeze April; the numbers reserved for p1 and p2."""
    codes = codes or submit(connection)
    begun = runs.freeze(
        connection,
        facility="RC",
        run=run,
        period="2020-04",
        invoice_date=date(2020, 5, 4),
        fiscal_year=2020,
    )
    return runs.reserve_numbers(
        connection, begun.id, "RC", 2020, codes, lambda n: f"RC-2020-{n:04}"
    )


def issued_frames(
    issuing: str, numbers: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The invoices of p1 (101.25 in two lines) and p2 (2.50), their lines and splits; those of
    them that have a number."""
    totals = {"p1": (2, 10125), "p2": (1, 250)}
    given = {code.rsplit("/")[-1]: number for code, number in _pairs(numbers)}
    bills = [
        {
            "number": number,
            "facility": "RC",
            "invoice": invoice,
            "fiscal_year": 2020,
            "sequence": sequence,
            "issuing": issuing,
            "kind": "periodic",
            "project": invoice.rsplit("/")[-1],
            "team": "smith-lab",
            "period": "2020-04",
            "invoice_date": date(2020, 5, 4),
            "currency": "USD",
            "charges": totals[invoice.rsplit("/")[-1]][0],
            "raw_total": totals[invoice.rsplit("/")[-1]][1],
            "adjustment": 0,
            "tax": None,
            "total": totals[invoice.rsplit("/")[-1]][1],
            "prepaid": None,
            "cost": None,
            "fingerprint": "ab" * 32,
        }
        for invoice, sequence, number in numbers.select("invoice", "sequence", "number").iter_rows()
    ]
    line = {"facility": "RC", "team": "smith-lab", "adjustment": 0}
    lines = [
        line
        | {"number": given[of], "position": at, "charge": code, "raw_total": sum_, "total": sum_}
        for of, at, code, sum_ in (
            ("p1", 1, "u1", 9000),
            ("p1", 2, "u2", 1125),
            ("p2", 1, "u3", 250),
        )
        if of in given
    ]
    splits = [
        {
            "number": given[of],
            "expense_code": code,
            "facility": "RC",
            "team": "smith-lab",
            "amount": cents,
        }
        for of, code, cents in (
            ("p1", "370-1", 6525),
            ("p1", "370-2", 3600),
            ("p2", "370-1", 250),
        )
        if of in given
    ]
    empty = {"item": None, "user": None, "date": None, "description": None, "quantity": None}
    return (
        pl.DataFrame(bills, schema=ISSUED_INVOICE),
        pl.DataFrame([row | empty for row in lines], schema=INVOICE_LINE),
        pl.DataFrame(splits, schema=INVOICE_SPLIT),
    )


def _pairs(numbers: pl.DataFrame) -> list[tuple[str, str]]:
    return numbers.select("invoice", "number").rows()


def adjustments() -> pl.DataFrame:
    """A rule that changed nothing in the end, so that the totals stay as they are."""
    row = ("RC-2020-0001", 1, "RC", "smith-lab", "courtesy", "discount", "", None, None, 0)
    return pl.DataFrame([row], schema=INVOICE_ADJUSTMENT, orient="row")


RECORD = f"RC/2020-04/{RUN}"
"""The path of April's audit record in the archive."""


def read_numbers(connection: Connection, issuing_id: str) -> pl.DataFrame:
    """The numbers reserved by an issuing, in sequence, as reserve_numbers returned them."""
    numbers = invoice_number.c
    statement = select(numbers.invoice, numbers.sequence, numbers.number)
    return frames.read_frame(connection, statement.where(numbers.issuing == issuing_id)).sort(
        "sequence"
    )


def issue(connection: Connection, numbers: pl.DataFrame | None = None) -> None:
    """All of April, issued."""
    numbers = freeze(connection) if numbers is None else numbers
    issuing = runs.frozen(connection, "RC")
    assert issuing is not None
    bills, lines, splits = issued_frames(issuing.id, numbers)
    invoices.insert_issued(connection, bills, lines, splits, adjustments())
    bill(connection, numbers)
    log_record(connection, issuing.id)
    runs.finish(connection, issuing.id, "ab" * 32, RECORD)
    runs.move_run(connection, RUN, "finish")


def log_record(connection: Connection, issuing: str) -> None:
    """The issuing's record as the next entry of the log."""
    position = lock_log(connection).height + 1
    head = f"billing-log core {position} 2020-05-04T10:00:00Z {'cd' * 32}"
    values = {"facility": "RC", "seal": "ab" * 32, "head": head, "signature": None}
    add_entry(connection, position, issuing=issuing, **values)


def bill(connection: Connection, numbers: pl.DataFrame) -> None:
    """The invoices APPROVED and their charges BILLED, once they are inserted as issued."""
    given = dict(numbers.select("invoice", "number").iter_rows())
    invoices.move_invoices(connection, "RC", list(given), "issue", numbers=given)
    charges.bill_charges(connection, "RC", list(given))


def reissue(connection: Connection, number: str = "RC-2020-0001") -> str:
    """A reissue of p1's invoice being approved, with copies of its charges; its code."""
    run = runs.make_run(connection, "RC", "2020-04", f"reissue: {number}", "")
    code = f"{run}/p1"
    old = invoices.read_invoices(connection, "RC", codes=[P1])
    kept = ("facility", "kind", "period", "project", "team", "covers_from", "covers_to")
    draft = old.select(*kept, "description", code=pl.lit(code), run=pl.lit(run))
    invoices.insert_invoices(connection, draft.with_columns(replaces=pl.lit(number)))
    copies = charges.copy_charges(connection, "RC", P1, ("BILLED",))
    charges.attach_charges(connection, "RC", copies.select("charge", invoice=pl.lit(code)))
    charges.bind_charges(connection, "RC", [code], run)
    totals = old.select("team", "charges", "raw_total", "adjustment", "tax", "total", "cost")
    invoices.set_totals(connection, "RC", totals.with_columns(code=pl.lit(code)))
    invoices.move_invoices(connection, "RC", [code], "submit")
    return code


def issue_reissue(connection: Connection, code: str, *, supersede: bool = True) -> None:
    """The reissue issued in place of p1's invoice."""
    numbers = freeze(connection, [code], code.removesuffix("/p1"))
    issuing = runs.frozen(connection, "RC")
    assert issuing is not None
    bills, lines, splits = issued_frames(issuing.id, numbers)
    copied = lines.with_columns(charge=pl.col("charge") + "~2")
    invoices.insert_issued(connection, bills, copied, splits)
    bill(connection, numbers)
    if supersede:
        invoices.move_invoices(connection, "RC", [P1], "supersede", "replaced")
    runs.finish(connection, issuing.id)


def pay(connection: Connection, code: str, statement_id: str | None = None) -> None:
    """An issued invoice and its charges PAID, perhaps with a statement."""
    payment = (date(2020, 6, 2), "transfer 8812", statement_id)
    invoices.move_invoices(connection, "RC", [code], "pay", payment=payment)
    charges.pay_charges(connection, "RC", [code])


def state(connection: Connection) -> str:
    """The OPEN statement of April with the invoice of p2 and a rule that changed nothing."""
    row = {"id": "smith-lab-2020-04", "team": "smith-lab", "period": "2020-04", "sequence": 1}
    totals = {"currency": "USD", "invoices": 1, "raw_total": 250, "adjustment": 0, "total": 250}
    connection.execute(insert(statement).values(**row, **totals, state="OPEN"))
    on_it = {"statement": row["id"], "facility": "RC", "team": "smith-lab"}
    connection.execute(insert(statement_invoice).values(number="RC-2020-0002", total=250, **on_it))
    rule = {"position": 1, "rule": "courtesy", "kind": "discount", "amount": 0}
    connection.execute(insert(statement_adjustment).values(**on_it, **rule))
    return str(row["id"])


def pay_statement(connection: Connection, statement_id: str) -> None:
    """The statement PAID with its invoice."""
    pay(connection, P2, statement_id)
    connection.execute(
        update(statement)
        .where(statement.c.id == statement_id)
        .values(state="PAID", paid_on=date(2020, 6, 2), payment_reference="transfer 8812")
    )


def queue(connection: Connection) -> None:
    """A message on p1's invoice with its PDF, a notice that is read, and a preference."""
    row = {"id": MAIL, "kind": "invoice", "period": "2020-04", "team": "smith-lab"}
    texts = dict.fromkeys(("sender", "recipient", "subject", "text", "html"), "ann@example.edu")
    tell = {"kind": "invoice", "key": "RC-2020-0001", "facility": "RC", "version": 1}
    told = tell | {"address": "ann@example.edu", "fingerprint": "f0", "message": MAIL}
    file = {"message": MAIL, "position": 1, "name": "RC-2020-0001.pdf", "sha256": "a0"}
    pdf = file | {"media_type": "application/pdf", "place": None, "content": b"%PDF"}
    messages.insert_messages(connection, [row | texts], [told], [pdf])
    notice = {"facility": "RC", "team": "smith-lab", "kind": "invoice", "key": "RC-2020-0001"}
    messages.add_notices(connection, [notice | {"text": "It is ready", "link": ""}])
    messages.mark_read(connection, messages.read_notices(connection, "RC", ["smith-lab"]))
    messages.set_preference(connection, "RC", "", "ann@example.edu", "digest")


def correct(connection: Connection, record: str = "u9") -> None:
    """A record without a charge that had one slide and then has two."""
    event = record_event(connection, "RC", "load", "april.csv", "")
    usage.insert_usage(connection, "RC", "4f", usage_records((record, "slide", "p2", "1")))
    standing = usage.read_standing(connection, "RC", [record])
    two = standing.with_columns(quantity=pl.lit(Decimal(2)).cast(standing.schema["quantity"]))
    usage.replace_usage(connection, "RC", standing, two, event)


def all_there_is(connection: Connection) -> None:
    """A row in every table that has guards: April issued, funds, a job, a paid statement."""
    issue(connection)
    runs.end_job(connection, RUN, runs.begin_job(connection, RUN, "issue"), "DONE", "issued")
    statements.insert_entry(connection, "RC", "p1", "smith-lab", "deposit", 5000, "paid in")
    pay_statement(connection, state(connection))
    posted = pl.DataFrame({"number": ["RC-2020-0001"], "kind": "issue", "date": date(2020, 5, 4)})
    statements.insert_journal(connection, "RC", "{'posted': 'so'}", posted)
    queue(connection)
    record_event(connection, "RC", "ready", RUN, "April")
    correct(connection)
