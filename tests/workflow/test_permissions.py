"""Who may do what: every role and every guarded action, as real logins of PostgreSQL."""

import inspect
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import psycopg
import pytest
from sample_facility import BOOK, HEADER, nothing, price_book, usage_file
from sample_issuing import issue_here, issue_prepared
from sample_logins import PEOPLE, let_in, url_as
from sqlalchemy import Engine, delete, insert, make_url, select, update
from sqlalchemy.exc import IntegrityError

import billing_lib.workflow
from billing_lib.audit.known import known_by
from billing_lib.batch import issuing
from billing_lib.batch.issuing import issue_approved, issue_month, issued_records, process_run
from billing_lib.delivery import bounce, queue, send
from billing_lib.errors import (
    InvalidAddress,
    InvalidPeriod,
    InvalidPermission,
    InvalidSettings,
    NotPermitted,
    NotReady,
    UnknownExport,
    UnknownInvoice,
    UnknownMessage,
    UnknownRun,
    UnknownStatement,
)
from billing_lib.exports import documents, packages, templates
from billing_lib.ledger import messages, runs
from billing_lib.ledger.database import open_ledger, reading, writing
from billing_lib.ledger.events import check_chain, read_events
from billing_lib.ledger.people import current_login, know_facility, read_permissions
from billing_lib.ledger.schema import metadata, permission
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.settings import Settings
from billing_lib.workflow import approve as workflow_approve
from billing_lib.workflow import permissions
from billing_lib.workflow.adjust import (
    adjust_charge,
    delete_charge,
    list_groups,
    read_history,
    read_pending,
)
from billing_lib.workflow.after_issue import deposit, list_funds, pay, reissue, unpay, void
from billing_lib.workflow.approve import Prepared, approve, change_invoices, prepare
from billing_lib.workflow.bulk import (
    adjust_many,
    preview,
    preview_new_rates,
    preview_undo,
    take_new_rates,
    undo_group,
)
from billing_lib.workflow.correct import is_unload, undo_unload, unload
from billing_lib.workflow.journal import list_journals, post_journal, read_costs, read_journal
from billing_lib.workflow.lines import NewLine, add_charge_line, credit_invoice
from billing_lib.workflow.listing import read_listing
from billing_lib.workflow.load import load_files
from billing_lib.workflow.notes import read_notes, text_versions, write_note, write_text
from billing_lib.workflow.outbox import (
    list_notices,
    list_outbox,
    list_own_preferences,
    list_preferences,
    prefer,
    settle_message,
    wishes,
)
from billing_lib.workflow.permissions import (
    grant,
    list_permissions,
    note_facility,
    read_trail,
    revoke,
    with_below,
)
from billing_lib.workflow.rate import rate_period, read_unbilled, unbilled_by_reason
from billing_lib.workflow.review import (
    dismiss,
    explain,
    find_discrepancies,
    read_charges,
    read_month,
    summarise_month,
)
from billing_lib.workflow.runs import RunScope, is_ready, sign_off
from billing_lib.workflow.search import (
    ExportSelection,
    Filter,
    InvoiceSelection,
    find_charges,
    list_invoices,
)
from billing_lib.workflow.statements import generate_statements, list_statements, read_statement

# One worker makes the ledger, and tests all of it.
pytestmark = pytest.mark.xdist_group("permissions")

TREE = BOOK.replace(
    "teams: [",
    "teams: [{code: dept, name: Department}, {code: jones, name: Jones Lab},\n  ",
).replace("name: Smith Lab,", "name: Smith Lab, parent: dept,")
LABS = (
    TREE
    + "  - {code: p3, team: jones, type: faculty, split: [{expense_code: D, percent: '100'}]}\n"
)
USAGE = (
    HEADER
    + (
        "u1,scope,p1,ann,2020-04-06T17:00:00-04:00,2020-04-06T20:20:00-04:00,,\n"
        "u2,slide,p1,bob,,,2020-04-07,12\n"
        "u3,slide,p2,eve,,,2020-04-08,10\n"
        "u4,slide,p3,joe,,,2020-04-08,10\n"
        "u5,slide,nobody,eve,,,2020-04-08,10\n"
    )
    + "".join(f"m{month},slide,p2,eve,,,2020-{month:02}-02,4\n" for month in range(5, 13))
)
"""April for three projects, and 4 slides of p2 for each month after it."""

BOOK_HERE = price_book(LABS)
ANYBODY = "[vic, rev, iss, boss, aud, lab, nob]"


def approved_by(steps: str) -> PriceBook:
    """The facility with these reviewers."""
    approval = f"  issue: scheduled\n  approval: {{reviewers: [{steps}]}}\n"
    return price_book(LABS.replace("  issue: scheduled\n", approval))


APPROVED_BY_ANY = approved_by(f"{ANYBODY}, {ANYBODY}")
"""Names everybody as reviewer, so that only the role keeps them from approving."""

ISSUED = {9: "MIC-2021-00001", 10: "MIC-2021-00002", 11: "MIC-2021-00003"}
"""The months that are issued, with the numbers of their invoices."""

DECEMBER = Prepared("MIC-2020-12-1", ["MIC-2020-12-1/p2"], [])
"""What of December can be issued."""

UNKNOWN = (UnknownExport, UnknownInvoice, UnknownMessage, UnknownRun, UnknownStatement)

READ = {"viewer", "reviewer", "issuer", "administrator", "auditor"}
CHANGE = {"reviewer", "issuer", "administrator"}
ISSUE = {"issuer", "administrator"}
ADMINISTER = {"administrator"}
AUDIT = {"auditor", "administrator"}
LAB = READ | {"lab_administrator"}

OF_P2 = Filter(project="p2")
OF_APRIL = Filter(facility="MIC", period_from="2020-04", period_to="2020-04")

Action = Callable[[Engine, Path], object]


def code(month: int) -> str:
    return f"MIC-2020-{month:02}-1/p2"


def settings(folder: Path) -> Settings:
    return Settings(runs=folder / "runs", parameters=folder, smtp_from="billing@example.edu")


ARCHIVE: list[Path] = []
"""Where the issued months are archived, and a store."""


def exporting(folder: Path) -> Settings:
    """A template of the facility's own, beside its price book, and what is archived."""
    beside = folder / "mic" / "templates"
    beside.mkdir(parents=True)
    (folder / "mic.yml").write_text(LABS)
    (beside / "number.txt.j2").write_text("{{ invoice.number }}")
    return Settings(runs=ARCHIVE[0], parameters=folder, store=ARCHIVE[0] / "store")


def of_invoice(number: str) -> ExportSelection:
    return ExportSelection(Filter.parse({"facility": "MIC", "number": number}))


def transform_one(engine: Engine, folder: Path) -> None:
    here, books = exporting(folder), {"MIC": BOOK_HERE}
    templates.transform(engine, here, books, "number.txt", of_invoice(ISSUED[11]))


def package_one(engine: Engine, folder: Path) -> None:
    export, books = of_invoice(ISSUED[11]), {"MIC": BOOK_HERE}
    packages.make_package(engine, exporting(folder), books, export, ["json"])


def delete_first(kind: str, delete: Callable[..., object]) -> Action:
    """Delete the package or result that the ledger began with."""

    def run(engine: Engine, folder: Path) -> None:
        with reading(engine) as connection:
            first = connection.scalars(select(metadata.tables[kind].c.id)).first()
        delete(engine, exporting(folder), first)

    return run


def line() -> NewLine:
    stated = {"project": "p2", "date": "2020-04-30", "description": "Training", "amount": "75.00"}
    return NewLine.parse(stated | {"expense_code": None}, BOOK_HERE)


def made_before(engine: Engine) -> str:
    """The group of changes that the ledger began with."""
    with reading(engine) as connection:
        made = read_events(connection, "MIC", kinds=["adjust"])
    return str(made["group_id"][0]) if made.height else "none"


def unloaded(engine: Engine) -> str:
    """The group of the last unloading; one that there is not for who may not unload."""
    with reading(engine) as connection:
        made = read_events(connection, "MIC", kinds=["unload"])["group_id"]
    return str(made[-1]) if made.len() else "none"


def found_first(engine: Engine) -> str:
    """The key of a finding of April."""
    return str(find_discrepancies(engine, BOOK_HERE, "2020-04").findings["key"][0])


def approve_may(engine: Engine, folder: Path) -> None:
    with writing(engine) as connection:
        approve(connection, APPROVED_BY_ANY, "MIC-2020-05-1", [code(5)])


def approve_last(engine: Engine, folder: Path) -> None:
    """The second of two steps, after approve_may made the first."""
    approve_may(engine, folder)


def choose(engine: Engine, folder: Path) -> None:
    with reading(engine) as connection:
        InvoiceSelection(everything=True).of(connection, BOOK_HERE, "MIC-2020-05-1")


def prepare_april(engine: Engine, folder: Path) -> None:
    with writing(engine) as connection:
        prepare(connection, APPROVED_BY_ANY, Period(2020, 4), RunScope(projects=("p3",)))


def of_a_month_to_come(issue: Callable[..., object]) -> Action:
    def run(engine: Engine, folder: Path) -> None:
        with pytest.raises(InvalidPeriod):  # asked only of who may issue
            issue(engine, settings(folder))

    return run


WAITS = "MIC-2021-00001-3f09ab12cd34"


def queue_one(engine: Engine) -> None:
    """A message that waits, on the first invoice that is issued."""
    row = {"id": WAITS, "kind": "invoice", "period": "2020-09", "team": "smith"}
    texts = dict.fromkeys(("sender", "recipient", "subject", "text", "html"), "ann@example.edu")
    tell = {"kind": "invoice", "key": ISSUED[9], "facility": "MIC", "version": 1}
    told = tell | {"address": "ann@example.edu", "fingerprint": "f0", "message": WAITS}
    with writing(engine) as connection:
        messages.insert_messages(connection, [row | texts], [told], [])


def send_what_waits(engine: Engine, folder: Path) -> None:
    with pytest.raises(InvalidSettings, match="no mail server is named"):  # not said to others
        send.send_waiting(engine, settings(folder))


def come_back(engine: Engine, folder: Path) -> None:
    report = folder / "report.eml"
    report.write_text(
        "Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status"
        "\n\nReporting-MTA: dns; mx\n\nAction: failed\n\n--b\nContent-Type: text/rfc822-headers"
        f"\n\nMessage-ID: <{WAITS}@example.edu>\n\n--b--\n"
    )
    with pytest.raises(NotReady, match="is WAITING"):  # asked only of who may issue
        bounce.note_bounce(engine, report)


def changed(action: str, month: int) -> Action:
    return lambda engine, folder: change_invoices(engine, BOOK_HERE, action, [code(month)], "why")


ACTIONS: dict[str, tuple[set[str], Action]] = {
    "charges": (READ, lambda e, f: find_charges(e, OF_APRIL)),
    "unbilled": (READ, lambda e, f: read_unbilled(e, "MIC", "2020-04")),
    "unbilled by reason": (READ, lambda e, f: unbilled_by_reason(e, "MIC", "2020-04")),
    "review": (READ, lambda e, f: read_month(e, BOOK_HERE, "2020-04")),
    "explain": (READ, lambda e, f: explain(e, BOOK_HERE, "MIC/u1")),
    "invoices": (LAB, lambda e, f: list_invoices(e, "MIC")),
    "runs": (READ, lambda e, f: workflow_approve.list_runs(e, "MIC")),
    "run": (READ, lambda e, f: workflow_approve.read_run(e, BOOK_HERE, "MIC-2020-05-1")),
    "choose": (READ, choose),
    "records": (READ, lambda e, f: issued_records(e, f, "MIC", Period(2020, 9))),
    "texts": (READ, lambda e, f: text_versions(e, BOOK_HERE, "contacts")),
    "is ready": (READ, lambda e, f: is_ready(e, BOOK_HERE, "2020-04")),
    "funds": (READ, lambda e, f: list_funds(e, BOOK_HERE)),
    "check": (READ, lambda e, f: find_discrepancies(e, BOOK_HERE, "2020-04")),
    "add up": (READ, lambda e, f: summarise_month(e, BOOK_HERE, "2020-04")),
    "read what counts": (READ, lambda e, f: read_charges(e, BOOK_HERE, "2020-04")),
    "dismiss": (CHANGE, lambda e, f: dismiss(e, BOOK_HERE, "2020-04", found_first(e), "why")),
    "journal": (READ, lambda e, f: read_journal(e, BOOK_HERE)),
    "journals": (READ, lambda e, f: list_journals(e, BOOK_HERE)),
    "costs": (READ, lambda e, f: read_costs(e, {"MIC": BOOK_HERE}, Period(2020, 9), "MIC")),
    "history": (READ, lambda e, f: read_history(e, BOOK_HERE, ["MIC/u3"])),
    "groups": (READ, lambda e, f: list_groups(e, BOOK_HERE, "2020-04")),
    "pending": (READ, lambda e, f: read_pending(e, BOOK_HERE, "2020-04")),
    "notes": (READ, lambda e, f: read_notes(e, BOOK_HERE, "2020-04")),
    "events": (AUDIT, lambda e, f: read_trail(e, "MIC")),
    "listing": (LAB, lambda e, f: read_listing(e, {"MIC": BOOK_HERE}, "smith", "2020-04")),
    "listing of another": (
        READ,
        lambda e, f: read_listing(e, {"MIC": BOOK_HERE}, "jones", "2020-04", "MIC"),
    ),
    "statement": (LAB, lambda e, f: read_statement(e, {"MIC": BOOK_HERE}, "smith-2020-10")),
    "outbox": (READ, lambda e, f: list_outbox(e, "MIC")),
    "preferences": (READ, lambda e, f: list_preferences(e, BOOK_HERE)),
    "notices of a team": (LAB, lambda e, f: list_notices(e, team="smith")),
    "prefer": (CHANGE, lambda e, f: prefer(e, BOOK_HERE, "ann@example.edu", "none")),
    "package": (LAB, package_one),
    "transform": (READ, transform_one),
    "delete a package": (CHANGE, delete_first("package", packages.delete_package)),
    "delete a transformation": (
        CHANGE,
        delete_first("transformation", templates.delete_transformation),
    ),
    "load": (CHANGE, lambda e, f: load_files(e, BOOK_HERE, [usage_file(f, USAGE)], nothing)),
    "preview a loading": (
        CHANGE,
        lambda e, f: load_files(e, BOOK_HERE, [usage_file(f, USAGE)], nothing, preview=True),
    ),
    "preview an unloading": (
        CHANGE,
        lambda e, f: unload(e, BOOK_HERE, "usage.csv", "why", preview=True),
    ),
    "is an unloading": (READ, lambda e, f: is_unload(e, BOOK_HERE, "none")),
    "rate": (CHANGE, lambda e, f: rate_period(e, BOOK_HERE, Period(2020, 4))),
    "adjust": (
        CHANGE,
        lambda e, f: adjust_charge(e, BOOK_HERE, "MIC/u2", {"quantity": "9"}, "why"),
    ),
    "add line": (CHANGE, lambda e, f: add_charge_line(e, BOOK_HERE, line(), "why")),
    "bulk": (
        CHANGE,
        lambda e, f: adjust_many(e, BOOK_HERE, "2020-04", OF_P2, {"note": "late"}, "why"),
    ),
    "preview": (
        CHANGE,
        lambda e, f: preview(e, BOOK_HERE, "2020-04", OF_P2, {"rate": "2.00"}),
    ),
    "preview new rates": (
        CHANGE,
        lambda e, f: preview_new_rates(e, BOOK_HERE, "2020-04", OF_P2),
    ),
    "new rates": (CHANGE, lambda e, f: take_new_rates(e, BOOK_HERE, "2020-04", OF_P2)),
    "preview undo": (CHANGE, lambda e, f: preview_undo(e, BOOK_HERE, made_before(e))),
    "undo": (CHANGE, lambda e, f: undo_group(e, BOOK_HERE, made_before(e), "why")),
    "delete": (CHANGE, lambda e, f: delete_charge(e, BOOK_HERE, "MIC/u1", "why")),
    "note": (CHANGE, lambda e, f: write_note(e, BOOK_HERE, "2020-04", "p1", "Thanks")),
    "ready": (CHANGE, lambda e, f: sign_off(e, BOOK_HERE, "2020-04")),
    "prepare": (CHANGE, prepare_april),
    "approve": (CHANGE, approve_may),
    "approve as the last": (ISSUE, approve_last),
    "reject": (CHANGE, changed("reject", 6)),
    "quarantine": (CHANGE, changed("quarantine", 7)),
    "release": (CHANGE, changed("release", 7)),
    "close": (CHANGE, changed("close", 8)),
    "make run": (
        CHANGE,
        lambda e, f: workflow_approve.make_run(e, BOOK_HERE, Period(2020, 4), RunScope()),
    ),
    "describe": (
        CHANGE,
        lambda e, f: workflow_approve.describe(e, BOOK_HERE, "MIC-2020-06-1", "June"),
    ),
    "disable": (
        CHANGE,
        lambda e, f: workflow_approve.set_enabled(e, BOOK_HERE, "MIC-2020-06-1", enabled=False),
    ),
    "cancel": (
        CHANGE,
        lambda e, f: workflow_approve.cancel(e, BOOK_HERE, "MIC-2020-06-1", "why", reopen=True),
    ),
    "deposit": (ISSUE, lambda e, f: deposit(e, BOOK_HERE, "p1", "5.00", "paid in")),
    "issue": (ISSUE, lambda e, f: issue_prepared(e, BOOK_HERE, DECEMBER, f)),
    "issue a month": (  # or submit it
        CHANGE,
        of_a_month_to_come(lambda e, s: issue_month(e, s, BOOK_HERE, Period(2999, 1))),
    ),
    "process a run": (
        CHANGE,
        of_a_month_to_come(lambda e, s: process_run(e, s, BOOK_HERE, "MIC-2999-01-1")),
    ),
    "issue what is approved": (
        ISSUE,
        of_a_month_to_come(lambda e, s: issue_approved(e, s, BOOK_HERE, "MIC-2999-01-1")),
    ),
    "credit": (ISSUE, lambda e, f: credit_invoice(e, BOOK_HERE, ISSUED[11], "1.00", "why")),
    "pay": (ISSUE, lambda e, f: pay(e, BOOK_HERE, [ISSUED[11]], "2021-02-01", "transfer 8812")),
    "unpay": (ISSUE, lambda e, f: unpay(e, BOOK_HERE, ISSUED[11], "why")),
    "state": (
        ISSUE,
        lambda e, f: generate_statements(e, {"MIC": BOOK_HERE}, Period(2020, 11)),
    ),
    "send": (ISSUE, send_what_waits),
    "bounce": (ISSUE, come_back),
    "withdraw": (ISSUE, lambda e, f: settle_message(e, WAITS, "withdraw")),
    "preview mail": (
        ISSUE,
        lambda e, f: queue.preview_invoices(e, settings(f), BOOK_HERE, Period(2020, 11), f),
    ),
    "deliver": (
        ISSUE,
        lambda e, f: queue.queue_invoices(e, settings(f), BOOK_HERE, Period(2020, 11)),
    ),
    "deliver statements": (
        ISSUE,
        lambda e, f: queue.queue_statements(e, settings(f), {"MIC": BOOK_HERE}, Period(2020, 10)),
    ),
    "void": (ISSUE, lambda e, f: void(e, BOOK_HERE, ISSUED[10], "why")),
    "reissue": (ISSUE, lambda e, f: reissue(e, BOOK_HERE, ISSUED[9], "why")),
    "post": (ISSUE, lambda e, f: post_journal(e, BOOK_HERE)),
    "unload": (CHANGE, lambda e, f: unload(e, BOOK_HERE, "usage.csv", "why")),
    "undo an unloading": (
        CHANGE,
        lambda e, f: undo_unload(e, BOOK_HERE, unloaded(e), "why"),
    ),
    "text": (ADMINISTER, lambda e, f: write_text(e, BOOK_HERE, "contacts", "new", "why")),
    "grant": (ADMINISTER, lambda e, f: grant(e, BOOK_HERE, "new", "viewer")),
    "revoke": (ADMINISTER, lambda e, f: revoke(e, BOOK_HERE, "new", "viewer")),
}
"""What may be done, by which roles, in an order in which all of it can be done."""


@contextmanager
def ledger_as(url: str, login: str | None = None) -> Iterator[Engine]:
    """The ledger as this login opens it; as the operator's where none is told."""
    engine = open_ledger(url if login is None else url_as(url, login))
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def staffed(
    new_postgresql: Callable[[str], str],
    postgresql_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """The URL of a ledger with a person for each role, and something to do for each action."""
    url, folder = new_postgresql(postgresql_template), tmp_path_factory.mktemp("staffed")
    let_in(url, (*PEOPLE, "other", "head"))
    with ledger_as(url) as engine:
        load_files(engine, BOOK_HERE, [usage_file(folder, USAGE)], nothing)
        for month in range(4, 13):
            rate_period(engine, BOOK_HERE, Period(2020, month))
        for month in range(5, 9):
            with writing(engine) as connection:
                prepare(connection, APPROVED_BY_ANY, Period(2020, month), RunScope())
        with writing(engine) as connection:
            assert prepare(connection, BOOK_HERE, Period(2020, 12), RunScope()) == DECEMBER
        for month, number in ISSUED.items():
            issued = issue_here(
                engine, BOOK_HERE, Period(2020, month), folder / str(month), runs=folder / "runs"
            )
            assert list(issued) == [number]
        adjust_many(engine, BOOK_HERE, "2020-04", OF_P2, {"note": "first"}, "why")
        generate_statements(engine, {"MIC": BOOK_HERE}, Period(2020, 10))
        queue_one(engine)
        with writing(engine) as connection:
            runs.make_run(connection, "MIC", "2999-01", "", "")
        ARCHIVE[:] = [folder / "runs"]
        package_one(engine, folder / "first")
        transform_one(engine, folder / "again")
        grant(engine, BOOK_HERE, "boss", "administrator")
    with ledger_as(url, "boss") as engine:
        for login, role in PEOPLE.items():
            if role in permissions.ROLES:
                team = "smith" if role == "lab_administrator" else None
                grant(engine, BOOK_HERE, login, role, team)
        grant(engine, BOOK_HERE, "other", "lab_administrator", "jones")
        grant(engine, BOOK_HERE, "head", "lab_administrator", "dept")
    return url


@pytest.fixture
def new_staffed(staffed: str, new_postgresql: Callable[[str], str]) -> str:
    """The URL of a ledger of the test's own, as ``staffed`` left it."""
    url = new_postgresql(str(make_url(staffed).database))
    let_in(url, ())
    return url


def contents(url: str) -> list[tuple[Any, ...]]:
    """Everything that stands in a ledger, as one hash per table."""
    each = (
        f"SELECT '{name}', md5(string_agg(t::text, '' ORDER BY t::text)) FROM {name} t"
        for name in sorted(metadata.tables)
    )
    with psycopg.connect(url) as session:
        return session.execute(" UNION ALL ".join(each).encode()).fetchall()


@pytest.mark.parametrize("login", PEOPLE)
def test_each_role_may_do_what_is_its_and_nothing_else(
    new_staffed: str, tmp_path: Path, login: str
) -> None:
    role, done = PEOPLE[login], set()
    with ledger_as(new_staffed, login) as engine:
        before = contents(new_staffed)
        for name, (_, action) in ACTIONS.items():
            folder = tmp_path / name
            folder.mkdir()
            try:
                action(engine, folder)
            except NotPermitted as error:
                assert f"{login} may not " in str(error), name  # the library's word, in time
                assert contents(new_staffed) == before, name
            except UNKNOWN:  # nor is it told that there is one
                assert role in {"none", "lab_administrator"}
            else:
                done.add(name)
                before = contents(new_staffed)
    assert done == {name for name, (roles, _) in ACTIONS.items() if role in roles}


ASKING = {
    *(permissions.roles_of, permissions.may, permissions.may_team, permissions.labs_of),
    *(permissions.require, permissions.require_team, permissions.require_some),
    *(permissions.readable, permissions.visible, permissions.changing),
}
"""The functions of permissions.py that look up the user's roles."""


def opening() -> dict[str, FunctionType]:
    """The functions that get a ledger to open, ``module.name``."""
    paths = pkgutil.walk_packages(billing_lib.workflow.__path__, "billing_lib.workflow.")
    modules = [import_module(found.name) for found in paths]
    others = (issuing, bounce, queue, send, packages, documents, templates)
    return {
        f"{module.__name__.split('.')[-1]}.{name}": function
        for module in (*modules, *others)
        for name, function in vars(module).items()
        if isinstance(function, FunctionType)
        and function.__module__ == module.__name__
        and not name.startswith("_")
        and function not in ASKING
        and "engine" in inspect.signature(function).parameters
    }


def test_every_function_that_opens_the_ledger_asks() -> None:
    """Whatever module it is in, and also when it asks by way of another function."""
    silent = {name for name, function in opening().items() if not asks(function, set())}
    # The first goes on with what Issuer.begin let through, the second only deletes files without a
    # reference; of people the server asks.
    of_people = {f"permissions.{name}" for name in ("let_in", "keep_out", "list_people")}
    assert silent == {"issuing.end_interrupted", "packages.sweep"} | of_people


def test_every_function_that_opens_a_facility_for_writing_notes_its_price_book() -> None:
    """By way of ``changing``, so that a price book changed by hand becomes an event."""
    writers = {
        name
        for name, function in opening().items()
        if "book" in inspect.signature(function).parameters
        and "writing" in names_in(function.__code__)
    }
    # Rating notes it within its transaction, which the preview of a price book shares; viewers may
    # write documents, of which only the run's log is kept; labs may not note a price book.
    assert writers == {"rate.rate_period", "documents.write_run_documents", "outbox.prefer"}


def asks(function: FunctionType, seen: set[FunctionType]) -> bool:
    """Whether a function calls one of ASKING, directly or by way of another."""
    if function in seen:
        return False
    seen.add(function)
    for name in names_in(function.__code__):
        called = function.__globals__.get(name)
        begun = getattr(called, "begin", None)  # of a class that is begun, as Issuer is
        called = getattr(begun, "__func__", called)
        if not isinstance(called, FunctionType) or not called.__module__.startswith("billing_lib."):
            continue
        if called in ASKING or asks(called, seen):
            return True
    return False


def names_in(body: CodeType) -> set[str]:
    inner = (part for part in body.co_consts if isinstance(part, CodeType))
    return set(body.co_names).union(*map(names_in, inner))


def test_a_list_of_several_facilities_shows_those_that_may_be_read(
    new_staffed: str, tmp_path: Path
) -> None:
    nanofab = price_book(LABS.replace("code: MIC", "code: NF"))
    with ledger_as(new_staffed) as engine:
        load_files(engine, nanofab, [usage_file(tmp_path, USAGE)], nothing)
        rate_period(engine, nanofab, Period(2020, 4))
        issue_here(engine, nanofab, Period(2020, 4), tmp_path)
        grant(engine, nanofab, "nob", "administrator")
    seen = {}
    for login in ("vic", "nob", "lab", "head", "other", "rev"):
        with ledger_as(new_staffed, login) as engine:
            rows = list_invoices(engine)
            seen[login] = {
                "facilities": sorted(set(rows["facility"])),
                "drafts": rows["number"].null_count() > 0,
                "fingerprints": sum(
                    len(run.invoices) for run in (known_by(engine).runs or {}).values()
                ),
                "runs": sorted(set(workflow_approve.list_runs(engine)["facility"])),
                "permissions": sorted(set(list_permissions(engine)["facility"])),
                "statements": list_statements(engine, "2020-10")["statement"].to_list(),
            }
    none: list[str] = []
    mic, nf = ["MIC"], ["NF"]
    own = {"fingerprints": 3, "permissions": mic, "statements": ["smith-2020-10"]}
    staff = {"facilities": mic, "drafts": True, "runs": mic, **own}
    labs = {"facilities": mic, "drafts": False, "runs": none, **own}
    assert seen == {
        "vic": staff,
        "rev": staff,
        "nob": {
            "facilities": nf,
            "drafts": False,
            "fingerprints": 3,
            "runs": nf,
            "permissions": nf,
            "statements": none,
        },
        "lab": labs,
        "head": labs,  # of the department above it
        "other": labs | {"facilities": none, "fingerprints": 0, "statements": none},
    }


def test_a_lab_sees_its_own_permission_and_staff_see_all(new_staffed: str) -> None:
    with ledger_as(new_staffed, "lab") as engine:
        assert list_permissions(engine).select("login", "role", "team").rows() == [
            ("lab", "lab_administrator", "smith")
        ]
        with pytest.raises(NotPermitted, match="lab may not do this in MIC"):
            workflow_approve.list_runs(engine, "MIC")
    with ledger_as(new_staffed, "vic") as engine:
        assert list_permissions(engine, "MIC").height == 9  # with the maker's


def test_a_lab_chooses_how_it_is_told_and_no_other_lab_does(new_staffed: str) -> None:
    address, books = "admin@example.edu", {"MIC": BOOK_HERE}
    with ledger_as(new_staffed, "lab") as engine:
        assert list_own_preferences(engine, books).rows() == [("MIC", "smith", address, None)]
        said = prefer(engine, BOOK_HERE, address, "digest", "smith")
        assert said.startswith(f"MIC: {address} receives all invoices of smith in one message;")
        assert list_own_preferences(engine, books)["invoices"].to_list() == ["digest"]
        for team in ("jones", None):
            with pytest.raises(NotPermitted, match="lab may not "):
                prefer(engine, BOOK_HERE, address, "none", team)
        with pytest.raises(InvalidAddress, match="names no administrator eve"):
            prefer(engine, BOOK_HERE, "eve@example.edu", "none", "smith")
    with ledger_as(new_staffed, "other") as engine:
        assert address not in list_own_preferences(engine, books)["address"]
    with ledger_as(new_staffed) as engine, reading(engine) as connection:
        chosen = read_events(connection, "MIC", kinds=["prefer"], subjects=[address])
        assert chosen.select("login", "team", "before", "after").rows() == [
            ("lab", "smith", None, '{"invoices":"digest"}')
        ]
        wished = wishes(connection, "MIC")
    assert (wished.of("smith", address), wished.of("jones", address)) == ("digest", "each")


def test_costs_are_for_staff(new_staffed: str) -> None:
    with psycopg.connect(new_staffed, autocommit=True) as operator:
        operator.execute("ALTER TABLE invoice DISABLE TRIGGER USER")
        operator.execute("UPDATE invoice SET cost = 77")
    for login, shown in (("vic", ["0.77"]), ("lab", [None])):
        with ledger_as(new_staffed, login) as engine:
            rows = list_invoices(engine, "MIC", "2020-09")
            assert rows["cost"].to_list() == shown
            assert rows["total"].to_list() == ["5.00"]


def test_a_raw_client_gives_itself_no_role(new_staffed: str) -> None:
    own = "INSERT INTO permission VALUES ('MIC', 'iss', 'administrator', '')"
    others = "DELETE FROM permission WHERE login = 'vic'"
    for statement, says in (
        (own, "an administrator of the facility gives and takes"),
        (others, "permission denied for table permission"),
    ):
        with (
            psycopg.connect(url_as(new_staffed, "iss")) as session,
            pytest.raises(psycopg.Error, match=says),
        ):
            session.execute(statement.encode())
    with psycopg.connect(url_as(new_staffed, "boss")) as session:
        session.execute(
            own.replace("'iss'", "'amy'").encode()
        )  # boss may, and the database records it
    with ledger_as(new_staffed) as engine, reading(engine) as connection:
        given = read_events(connection, "MIC", kinds=["grant"], subjects=["amy"])
        assert given.select("login", "after").rows() == [("boss", '{"role":"administrator"}')]


def test_what_the_database_refuses_to_a_login_is_said_in_a_sentence(new_staffed: str) -> None:
    with psycopg.connect(new_staffed, autocommit=True) as operator:
        operator.execute("REVOKE SELECT ON charge FROM billing_lab, billing_reader")
    with (
        ledger_as(new_staffed, "vic") as engine,
        pytest.raises(
            NotPermitted, match="permission denied for table charge; 'billing people add' lets"
        ),
    ):
        find_charges(engine, OF_APRIL)


def test_the_maker_of_a_facility_is_its_administrator_and_only_administrators_give(
    ledger: Engine,
) -> None:
    book = price_book()
    said = grant(ledger, book, "ann", "administrator", reason="runs the office")
    assert said.startswith("MIC: ann is an administrator, who does all of this")
    with reading(ledger) as connection:
        me = current_login(connection)
    revoke(ledger, book, me, "administrator")
    for refused in (grant, revoke):
        with pytest.raises(NotPermitted, match="it takes the role administrator"):
            refused(ledger, book, "ann", "administrator")
    with reading(ledger) as connection:
        given = read_events(connection, "MIC", kinds=["grant", "revoke"])
    role = '{"role":"administrator"}'
    assert given.select("kind", "login", "subject", "before", "after", "reason").rows() == [
        ("grant", me, me, None, role, ""),
        ("grant", me, "ann", None, role, "runs the office"),
        ("revoke", me, me, role, None, ""),
    ]
    assert given["team"].null_count() == 3


def test_permissions_are_given_and_taken_once_and_the_last_administrator_stays(
    ledger: Engine,
) -> None:
    book = price_book()
    with reading(ledger) as connection:
        me = current_login(connection)
    assert revoke(ledger, book, "ann", "viewer") == "MIC: ann is no viewer, nothing changed"
    assert grant(ledger, book, me, "administrator") == (
        f"MIC: {me} is an administrator already, nothing changed"
    )
    grant(ledger, book, "li", "lab_administrator", "smith")
    assert "li is a lab_administrator of smith already" in grant(
        ledger, book, "li", "lab_administrator", "smith"
    )
    with pytest.raises(NotReady, match=f"{me} is the last administrator of MIC; make another"):
        revoke(ledger, book, me, "administrator")
    assert list_permissions(ledger, "MIC").select("login", "role", "team").sort("login").rows() == (
        sorted([(me, "administrator", ""), ("li", "lab_administrator", "smith")])
    )
    revoke(ledger, book, "li", "lab_administrator", "smith")
    said = revoke(ledger, book, "li", "lab_administrator", "smith")
    assert said == "MIC: li is no lab_administrator of smith, nothing changed"
    grant(ledger, book, "ann", "administrator")
    revoke(ledger, book, me, "administrator")
    with pytest.raises(NotPermitted):
        find_charges(ledger, OF_APRIL)
    with reading(ledger) as connection:
        made = read_events(connection, "MIC", kinds=["grant", "revoke"])
        assert made["kind"].to_list() == ["grant", "grant", "revoke", "grant", "revoke"]
        assert made["team"].to_list() == [None, "smith", "smith", None, None]
        assert check_chain(connection, "MIC") == []
        assert read_permissions(connection)["login"].to_list() == ["ann"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ann", "boss"), "there is no role 'boss'; name one of viewer, reviewer"),
        (("ann", "lab_administrator"), "a lab_administrator needs a team; name the team"),
        (("ann", "viewer", "smith"), "the role viewer has no team; leave the team out"),
        (("ann", "lab_administrator", "none"), "the price book has no team 'none'"),
        ((" ", "viewer"), "' ' is not a login"),
    ],
)
def test_a_permission_that_cannot_be(ledger: Engine, words: tuple[str, ...], said: str) -> None:
    with pytest.raises(InvalidPermission, match=said):
        grant(ledger, price_book(), *words)
    with reading(ledger) as connection:
        assert read_permissions(connection).height == 0


def test_the_database_keeps_an_administrator_whoever_asks(ledger: Engine) -> None:
    def refused(statement: Any, says: str) -> None:
        with pytest.raises(IntegrityError, match=says), writing(ledger) as connection:
            connection.execute(statement)

    row = {"facility": "MIC", "login": "ann", "role": "viewer", "team": ""}
    with writing(ledger) as connection:
        know_facility(connection, "MIC", "Microscopy", "USD", "America/New_York")
    refused(delete(permission), "has an administrator")
    refused(update(permission).values(login="ann"), "given or taken back, not changed")
    lab = insert(permission).values(row | {"role": "lab_administrator"})
    refused(lab, "names a team where it is a lab administrator's")
    refused(insert(permission).values(row | {"team": "smith"}), "names a team where it is a lab")


def test_the_tree_of_teams_is_told_by_the_ledger(ledger: Engine, tmp_path: Path) -> None:
    with writing(ledger) as connection:
        note_facility(connection, BOOK_HERE)
        note_facility(connection, BOOK_HERE)  # again changes nothing
    with reading(ledger) as connection:
        assert with_below(connection, "MIC", {"dept"}) == {"dept", "smith"}
        assert with_below(connection, "MIC", {"jones"}) == {"jones"}
        assert read_events(connection, "MIC", kinds=["teams"]).height == 1
    with writing(ledger) as connection:
        note_facility(connection, price_book(LABS.replace("parent: dept,", "parent: jones,")))
    with reading(ledger) as connection:
        assert with_below(connection, "MIC", {"dept", "jones"}) == {"dept", "jones", "smith"}
        assert with_below(connection, "MIC", {"dept"}) == {"dept"}
