"""Invoices in every state, of two facilities with other currencies, and an obvious search.

    MIC (USD)  bio ─ smith ─ lee    chem       one project for each state, ad hoc invoices in May
    YEN (JPY)  lee                             two drafts; here lee belongs to nobody

The search goes through all rows of the tables one by one, in Python.
"""

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
from sample_facility import BOOK, HEADER, nothing, price_book, usage_file
from sample_issuing import issue_prepared
from sqlalchemy import Connection, Engine

from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.people import read_facilities
from billing_lib.pricing.clock import Period
from billing_lib.pricing.money import minor_places
from billing_lib.workflow.adjust import adjust_charge
from billing_lib.workflow.approve import approved_of, change_invoices, prepare
from billing_lib.workflow.lines import NewLine, add_charge_line
from billing_lib.workflow.load import load_files
from billing_lib.workflow.notes import write_note
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.runs import RunScope, calculate, open_run, submit, take_in
from billing_lib.workflow.search import VIEWS, Filter

APRIL, MAY = Period(2020, 4), Period(2020, 5)

_TEAMS = (
    "teams: [{code: bio, name: Biology}, {code: smith, name: Smith Lab, parent: bio},"
    " {code: lee, name: Lee Lab, parent: smith}, {code: chem, name: Chemistry}]\n"
)
_MEMBERS = {
    **{"open": "bio", "approving": "smith", "approved": "lee", "closed": "chem"},
    **{"quarantined": "smith", "rejected": "lee", "error": "chem", "superseded": "smith"},
    **{"void": "bio", "paid": "lee", "free": "chem", "other": "smith"},
}
"""The team of each project; a project is named by the state of its April invoice."""


def _text(code: str, currency: str, teams: str, members: dict[str, str]) -> str:
    head = BOOK[: BOOK.index("teams:")].replace("code: MIC", f"code: {code}")
    projects = "".join(
        f'  - {{code: {project}, team: {team}, type: faculty, split: [{{expense_code: "{project}-1"'
        ', percent: "60"}, {expense_code: "370-2", percent: "40"}]}\n'
        for project, team in members.items()
    )
    return head.replace("currency: USD", f"currency: {currency}") + teams + "projects:\n" + projects


_JAPAN = "teams: [{code: lee, name: Lee}, {code: kim, name: Kim, parent: lee}]\n"
TEXTS = {
    "MIC": _text("MIC", "USD", _TEAMS, _MEMBERS),
    "YEN": _text("YEN", "JPY", _JAPAN, {"tokyo": "lee", "kyoto": "kim"}),
}
"""The price books as YAML, by facility."""

BOOKS = {code: price_book(text) for code, text in TEXTS.items()}
MIC, YEN = BOOKS["MIC"], BOOKS["YEN"]
_KEPT = {name: team for name, team in _MEMBERS.items() if name != "error"}
_LOST = price_book(_text("MIC", "USD", _TEAMS, _KEPT))
"""The price book without the project whose invoice is in ERROR."""


def fill(ledger: Engine, folder: Path) -> None:
    """Make all of it, by the library's own functions."""
    _load(ledger, folder)
    _april(ledger, folder)
    _may(ledger)
    with writing(ledger) as connection:
        run = open_run(connection, YEN, APRIL, RunScope())
        take_in(connection, YEN, run)
        calculate(connection, YEN, [f"{run}/tokyo", f"{run}/kyoto"])
        submit(connection, YEN, run, [f"{run}/kyoto"])


def _load(ledger: Engine, folder: Path) -> None:
    users = ("ann", "bob", "eve")
    rows = [
        f"{project}-{n},slide,{project},{users[(at + n) % 3]},,,2020-04-0{n + 1},{at + 1 + 8 * n}\n"
        for at, project in enumerate(_MEMBERS)
        if project != "other"
        for n in range(2)
    ]
    may = "m1,slide,open,ann,,,2020-05-02,4\nm2,slide,free,bob,,,2020-05-03,2\n"
    yen = "y1,slide,tokyo,ann,,,2020-04-02,8\ny2,slide,kyoto,eve,,,2020-04-03,16\n"
    for book, text in ((MIC, "".join(rows) + may), (YEN, yen)):
        load_files(ledger, book, [usage_file(folder, HEADER + text)], nothing)
        rate_period(ledger, book, APRIL)
    rate_period(ledger, MIC, MAY)
    adjust_charge(ledger, MIC, "MIC/superseded-1", {"note": 'Frau Müller sagt "gut"'}, "Übergabe")
    adjust_charge(ledger, MIC, "MIC/open-0", {"quantity": "5"}, "the LASER broke")
    adjust_charge(ledger, MIC, "MIC/free-0", {"waived": "yes"}, "agreed (by 50% of us)")
    adjust_charge(ledger, MIC, "MIC/void-1", {"note": "line\\one"}, "why_not")
    write_note(ledger, MIC, "2020-04", "paid", "Danke, ÜBERGABE [erledigt]")


def _april(ledger: Engine, folder: Path) -> None:
    issued = RunScope(projects=("approved", "superseded", "void", "paid"))
    with writing(ledger) as connection:
        prepared = prepare(connection, MIC, APRIL, issued)
    issue_prepared(ledger, MIC, prepared, folder)
    with writing(ledger) as connection:
        rest = RunScope(
            projects=("open", "approving", "closed", "quarantined", "rejected", "error")
        )
        run = open_run(connection, MIC, APRIL, rest)
        take_in(connection, MIC, run)
        codes = [f"{run}/{project}" for project in rest.projects]
        calculate(connection, MIC, codes)
        submit(connection, MIC, run, [f"{run}/approving", f"{run}/rejected", f"{run}/closed"])
        calculate(connection, _LOST, [f"{run}/error"])
    for action, project, reason in (
        ("reject", "rejected", "the laser was off"),
        ("quarantine", "quarantined", "wait for the grant"),
        ("close", "closed", "never agreed"),
    ):
        change_invoices(ledger, MIC, action, [f"{run}/{project}"], reason)
    with writing(ledger) as connection:
        first = prepared.run
        ledger_invoices.move_invoices(connection, "MIC", [f"{first}/void"], "void", "wrong lab")
        payment = (dt.date(2021, 2, 1), "wire 7", None)
        paid = [f"{first}/paid"]
        ledger_invoices.move_invoices(connection, "MIC", paid, "pay", "paid", payment=payment)
        ledger_charges.pay_charges(connection, "MIC", paid)
    _reissue(ledger, folder, f"{first}/superseded")


def _draft(
    connection: Connection, period: Period, code: str, project: str, kind: str, **more: str | None
) -> None:
    """An OPEN invoice that bills nothing yet."""
    draft = {
        "facility": "MIC",
        "code": code,
        "kind": kind,
        "run": None,
        "period": str(period),
        "project": project,
        "team": _MEMBERS[project],
        "covers_from": period.first_day,
        "covers_to": period.last_day,
        "description": "",
    }
    frame = pl.DataFrame([draft | more], schema_overrides={"run": pl.String})
    ledger_invoices.insert_invoices(connection, frame)


def _reissue(ledger: Engine, folder: Path, old: str) -> None:
    """Bill the charges of an issued invoice anew; the copies go on from what was said before."""
    with writing(ledger) as connection:
        known = ledger_invoices.read_invoices(connection, "MIC", codes=[old]).row(0, named=True)
        run = open_run(connection, MIC, APRIL, RunScope(reissue=known["number"]))
        code = f"{run}/superseded"
        _draft(connection, APRIL, code, "superseded", "periodic", run=run, replaces=known["number"])
        copies = ledger_charges.copy_charges(connection, "MIC", old, ("BILLED",))
        placed = copies.select("charge", invoice=pl.lit(code))
        ledger_charges.attach_charges(connection, "MIC", placed)
        calculate(connection, MIC, [code])
        submit(connection, MIC, run, [code])
        prepared = approved_of(connection, MIC, run, [code], [])
    issue_prepared(ledger, MIC, prepared, folder)


def _may(ledger: Engine) -> None:
    """Drafts of the month, and ad hoc invoices: one of a line, an empty one, one below zero."""
    lines = {"PO-12": ("Training, two hours", "150.00"), "PO-14": ("Credit", "-20.00")}
    with writing(ledger) as connection:
        run = open_run(connection, MIC, MAY, RunScope())
        take_in(connection, MIC, run)
        for reference in ("PO-12", "PO-13", "PO-14"):
            _draft(connection, MAY, reference, "other", "ad hoc", reference=reference)
        calculate(connection, MIC, [f"{run}/open", f"{run}/free"])
    for number, (reference, (description, amount)) in enumerate(lines.items(), 1):
        stated = {
            "project": "other",
            "date": "2020-05-04",
            "description": description,
            "amount": amount,
            "expense_code": "T-9",
        }
        add_charge_line(ledger, MIC, NewLine.parse(stated, MIC), "asked for by Frau Müller")
        with writing(ledger) as connection:
            placed = pl.DataFrame({"charge": [f"line-2020-05-{number}"], "invoice": [reference]})
            ledger_charges.attach_charges(connection, "MIC", placed)
            calculate(connection, MIC, [reference])


@dataclass(frozen=True)
class Rows:
    """All rows of the tables, by key where there is one."""

    invoices: list[dict[str, Any]]
    charges: list[dict[str, Any]]
    splits: dict[tuple[str, str], set[str]]
    events: list[dict[str, Any]]
    currencies: dict[str, str]

    @classmethod
    def read(cls, ledger: Engine) -> "Rows":
        """As they stand."""
        charges: list[dict[str, Any]] = []
        splits: dict[tuple[str, str], set[str]] = {}
        told: list[dict[str, Any]] = []
        with reading(ledger) as connection:
            known = read_facilities(connection)
            for code in known["code"]:
                for row in ledger_charges.read_charges(connection, code).to_dicts():
                    charges.append(row | {"facility": code})
                for row in ledger_charges.read_splits(connection, code).to_dicts():
                    splits.setdefault((code, row["charge"]), set()).add(row["expense_code"])
                told += events.read_events(connection, code).to_dicts()
            invoices = ledger_invoices.read_invoices(connection).to_dicts()
        currencies = dict(known.select("code", "currency").iter_rows())
        return cls(invoices, charges, splits, told, currencies)

    def matching_invoices(self, wanted: Filter) -> list[tuple[str, str]]:
        """Facility and code of the invoices that match."""
        return sorted(
            (row["facility"], row["code"])
            for row in self.invoices
            if self._invoice_matches(wanted, row)
        )

    def matching_charges(self, wanted: Filter) -> list[str]:
        """The charges that match, as ``MIC/57``."""
        return sorted(
            f"{row['facility']}/{row['charge']}"
            for row in self.charges
            if self._charge_matches(wanted, row)
        )

    def _invoice_matches(self, wanted: Filter, row: dict[str, Any]) -> bool:
        charges = [
            charge
            for charge in self.charges
            if (charge["facility"], charge["invoice"]) == (row["facility"], row["code"])
        ]
        return (
            self._both_match(wanted, row, row)
            and _part(wanted.number, row["number"], row["code"])
            and wanted.reference in (None, row["reference"])
            and (not wanted.states or row["state"] in wanted.states)
            and wanted.empty in (None, row["charges"] == 0)
            and (wanted.view is None or _in_view(wanted.view, row))
            and all(any(matches(each) for each in charges) for matches in self._of_usage(wanted))
            and (
                wanted.expense_code is None
                or any(wanted.expense_code in self._codes(each) for each in charges)
            )
            and _part(
                wanted.text,
                row["description"],
                row["reason"],
                *self._told_of_invoice(row),
                *(text for each in charges for text in self._texts(each)),
            )
        )

    def _charge_matches(self, wanted: Filter, row: dict[str, Any]) -> bool:
        on = next(
            (
                invoice
                for invoice in self.invoices
                if (invoice["facility"], invoice["code"]) == (row["facility"], row["invoice"])
            ),
            None,
        )
        nothing = dict.fromkeys(("number", "code", "reference", "state", "kind", "run"))
        invoice = on or nothing
        return (
            self._both_match(wanted, row, invoice)
            and _part(wanted.number, row["charge"], invoice["number"], invoice["code"])
            and wanted.reference in (None, row["reference"], invoice["reference"])
            and (
                not wanted.states
                or row["state"] in wanted.states
                or invoice["state"] in wanted.states
            )
            and wanted.empty in (None, row["total"] == 0)
            and (
                wanted.view is None
                or (wanted.view == "live" if on is None else _in_view(wanted.view, on))
            )
            and all(matches(row) for matches in self._of_usage(wanted))
            and (wanted.expense_code is None or wanted.expense_code in self._codes(row))
            and _part(wanted.text, *self._texts(row))
        )

    def _of_usage(self, wanted: Filter) -> list[Callable[[dict[str, Any]], bool]]:
        """What is asked of a charge, or of any of an invoice's, each by itself."""
        first, last = wanted.date_from, wanted.date_to
        return [
            *([lambda each: each["user"] == wanted.user] if wanted.user else []),
            *([lambda each: each["item"] == wanted.item] if wanted.item else []),
            *([lambda each: each["date"] >= first] if first else []),
            *([lambda each: each["date"] <= last] if last else []),
        ]

    def _both_match(self, wanted: Filter, row: dict[str, Any], invoice: dict[str, Any]) -> bool:
        places = minor_places(self.currencies[row["facility"]])
        total = Decimal(row["total"]).scaleb(-places)
        return (
            wanted.facility in (None, row["facility"])
            and (wanted.team is None or wanted.team in _above(row["facility"], row["team"]))
            and wanted.project in (None, row["project"])
            and wanted.run in (None, invoice["run"])
            and (not wanted.kinds or bool(_kinds(invoice) & set(wanted.kinds)))
            and (wanted.total_from is None or wanted.total_from <= total)
            and (wanted.total_to is None or total <= wanted.total_to)
            and (wanted.period_from is None or wanted.period_from <= row["period"])
            and (wanted.period_to is None or row["period"] <= wanted.period_to)
        )

    def _codes(self, charge: dict[str, Any]) -> set[str]:
        return self.splits.get((charge["facility"], charge["charge"]), set())

    def _told_of_invoice(self, row: dict[str, Any]) -> list[str]:
        texts = []
        for event in self.events:
            if event["facility"] != row["facility"]:
                continue
            if event["subject"] == row["code"] and event["kind"] not in ("adjust", "add_line"):
                texts.append(event["reason"])
            if (event["kind"], event["subject"]) == (
                "invoice_note",
                f"{row['period']}/{row['project']}",
            ):
                texts.append(json.loads(event["after"]))
        return texts

    def _texts(self, charge: dict[str, Any]) -> list[str | None]:
        """What a charge says and what was said of it, and of what it is a copy of."""
        family = {charge["charge"]} | {
            other["charge"]
            for other in self.charges
            if charge["original"] is not None
            and (
                other["charge"] == charge["original"]
                or (
                    other["original"] == charge["original"]
                    and other["revision"] < charge["revision"]
                )
            )
        }
        texts = [charge["description"]]
        for event in self.events:
            if event["facility"] == charge["facility"] and event["subject"] in family:
                if event["kind"] in ("adjust", "add_line"):
                    texts.append(event["reason"])
                if event["kind"] == "adjust":
                    texts.append(json.loads(event["after"]).get("note"))
        return texts


def _part(wanted: str | None, *texts: str | None) -> bool:
    return wanted is None or any(
        wanted.lower() in text.lower() for text in texts if text is not None
    )


def _above(facility: str, team: str) -> list[str]:
    """A team and those that it belongs to."""
    parents = {known.code: known.parent for known in BOOKS[facility].teams}
    found, above = [team], parents.get(team)
    while above is not None:
        found.append(above)
        above = parents[above]
    return found


def _in_view(name: str, row: dict[str, Any]) -> bool:
    view = VIEWS[name]
    odd = row["charges"] == 0 or row["total"] < 0
    return row["state"] in view.states or (odd and row["state"] in view.odd)


def _kinds(invoice: dict[str, Any]) -> set[str]:
    return {invoice["kind"]} | ({"reissue"} if invoice.get("replaces") else set())
