"""Whatever staff do in whatever order: nothing is lost, billed twice, or changed once issued.

A machine of hypothesis does random things to one facility's ledger, each through the library as
the commands do them. A refusal in a sentence is as good as a success; any other exception is a
failure, and after every step the whole ledger is asked (ledger_invariants.py).

A further action is a further ``@rule`` below; ``allowed`` counts what came of it.

A commit is always held against the same examples, so that its tests come out the same wherever they
run; `make explore` tries 500 others. What that finds becomes a test of its own.
"""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from ledger_invariants import broken, written_once
from sample_facility import BOOK, HEADER, nothing, price_book, usage_file
from sample_issuing import issue_prepared

from billing_lib.errors import BillingError
from billing_lib.ledger import charges, events, invoices, runs
from billing_lib.ledger.database import open_ledger, operating_system_login, reading, writing
from billing_lib.ledger.states import INVOICE
from billing_lib.ledger.states import states as invoice_states
from billing_lib.pricing.clock import Period
from billing_lib.workflow.adjust import adjust_charge, delete_charge
from billing_lib.workflow.after_issue import deposit, pay, reissue, unpay, void
from billing_lib.workflow.approve import (
    Prepared,
    approve,
    approved_of,
    cancel,
    change_invoices,
    make_run,
    prepare,
    prepare_run,
    set_enabled,
)
from billing_lib.workflow.bulk import adjust_many, undo_group
from billing_lib.workflow.correct import undo_unload, unload
from billing_lib.workflow.lines import NewLine, add_charge_line
from billing_lib.workflow.load import load_files
from billing_lib.workflow.notes import write_note
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.runs import RunScope, sign_off
from billing_lib.workflow.search import Filter

REVIEWED = price_book(
    BOOK.replace(
        "  issue: scheduled\n", f"  approval: {{reviewers: [{operating_system_login()}]}}\n"
    ).replace(  # what is used up in a month makes the rest cheaper, so charges change their kin
        '{item: slide, group: internal, price: "1.25"}',
        "{item: slide, group: internal, tiers: {mode: graduated, per: project, "
        'steps: [{up_to: "10", price: "1.25"}, {up_to: null, price: "0.50"}]}}',
    )
    + 'rules: [{name: little, scope: invoice, kind: floor, amount: "10.00"}]\n'
)
MONTHS = st.sampled_from(["2020-04", "2020-05"])
PROJECTS = st.sampled_from(["p1", "p2"])
SELECTIONS = st.sampled_from(
    [RunScope(), RunScope(), RunScope(projects=("p1",)), RunScope(teams=("smith",))]
)
WHICH = st.integers(0, 30)
"""Which of what there is, round and round."""

EXAMPLES = int(os.environ.get("EXPLORE", "0"))
"""How many random examples are tried; with none, the same few ones."""

SEED = 3
"""Draws the same few. Hypothesis' own seed would follow the text of this file, and may draw months
in which hardly anything is issued."""

DONE: Counter[str] = Counter()
"""How often each thing was done and not refused, over all examples."""


@contextmanager
def allowed(what: str) -> Iterator[None]:
    """Do something that may be refused, in one sentence."""
    try:
        yield
    except BillingError as refusal:
        assert "\n" not in str(refusal), refusal
    else:
        DONE[what] += 1


def standing(*states: str) -> Callable[..., Any]:
    """Only where some invoice is in one of these states; none named: where there is any."""
    wanted = frozenset(states or invoice_states(INVOICE))
    return precondition(lambda life: not wanted.isdisjoint(life.states))


class Life(RuleBasedStateMachine):
    """One facility, from usage to payment."""

    template: Path
    """A ledger that is set up and empty."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="billing-life-"))
        self.path = self.folder / "billing.db"
        shutil.copyfile(self.template, self.path)
        self.ledger = open_ledger(f"sqlite:///{self.path}")
        self.loaded = self.corrected = 0
        self.unloads: list[str] = []
        self.rated: set[str] = set()
        self.groups: list[str] = []
        self.kept: dict[tuple[object, ...], str] = {}
        self.states: set[str] = set()

    def teardown(self) -> None:
        self.ledger.dispose()
        shutil.rmtree(self.folder)

    # What there is to choose from.

    def charge(self, which: int) -> str:
        with reading(self.ledger) as connection:
            codes = charges.read_charges(connection, "MIC")["charge"]
        return f"MIC/{codes[which % len(codes)] if len(codes) else 'none'}"

    def invoice(self, which: int, *states: str) -> tuple[str, str | None]:
        """Code and number of an invoice, one in these states if there is any."""
        with reading(self.ledger) as connection:
            found = invoices.read_invoices(connection, "MIC")
        fit = found.filter(found["state"].is_in(states))
        rows = (fit if fit.height else found).select("code", "number").rows()
        return rows[which % len(rows)] if rows else ("none", None)

    def run(self, which: int) -> str:
        with reading(self.ledger) as connection:
            found = runs.read_runs(connection, "MIC")["id"]
        return str(found[which % len(found)]) if len(found) else "none"

    # From usage to charges.

    @initialize()
    def begin(self) -> None:
        for month in ("2020-04", "2020-05"):
            self.load(month, [("slide", "p1", 3), ("scope", "p2", 2)])
            self.rate(month, again=False)

    @rule(
        month=MONTHS,
        rows=st.lists(
            st.tuples(
                st.sampled_from(["slide", "slide", "scope", "unknown"]),
                st.sampled_from(["p1", "p2", "p2", "nobody"]),
                st.integers(0, 15),
            ),
            min_size=1,
            max_size=3,
        ),
    )
    def load(self, month: str, rows: list[tuple[str, str, int]]) -> None:
        text = HEADER
        for item, project, amount in rows:
            self.loaded += 1
            if item == "scope":
                ends = f"{month}-10T{8 + amount % 12:02}:30:00-04:00"
                text += f"r{self.loaded},scope,{project},ann,{month}-10T08:00:00-04:00,{ends},,\n"
            else:
                text += f"r{self.loaded},{item},{project},bob,,,{month}-07,{amount}\n"
        with allowed("load"):
            file = usage_file(self.folder, text, f"usage{self.loaded}.csv")
            load_files(self.ledger, REVIEWED, [file], nothing)
            self.rated.discard(month)

    @rule(
        which=WHICH,
        month=MONTHS,
        project=PROJECTS,
        amount=st.sampled_from(["3", "12", "many"]),
    )
    def correct(self, which: int, month: str, project: str, amount: str) -> None:
        """A later file states a record otherwise, perhaps one that is billed."""
        self.corrected += 1
        row = f"r{1 + which % self.loaded},slide,{project},bob,,,{month}-08,{amount}\n"
        with allowed("correct"):
            file = usage_file(self.folder, HEADER + row, f"corrected{self.corrected}.csv")
            done = load_files(self.ledger, REVIEWED, [file], nothing)[0]
            DONE["corrected"] += done.corrected
            DONE["refused"] += done.refused
            self.rated.clear()

    @rule(which=WHICH, corrections=st.booleans())
    def unload(self, which: int, corrections: bool) -> None:
        numbers = self.corrected if corrections else self.loaded
        name = f"{'corrected' if corrections else 'usage'}{1 + which % max(numbers, 1)}.csv"
        with allowed("unload"):
            done = unload(self.ledger, REVIEWED, name)
            self.unloads += [done.group] if done.group else []
            self.rated.clear()

    @precondition(lambda life: life.unloads)
    @rule(which=WHICH)
    def undo_unload(self, which: int) -> None:
        with allowed("undo_unload"):
            group = self.unloads[which % len(self.unloads)]
            undo_unload(self.ledger, REVIEWED, group, "it was right")
            self.rated.clear()

    @rule(month=MONTHS, again=st.booleans())
    def rate(self, month: str, again: bool) -> None:
        with allowed("rate"):
            rate_period(self.ledger, REVIEWED, Period.parse(month), again=again)
            self.rated.add(month)

    @rule(
        which=WHICH,
        change=st.sampled_from(
            [
                {"quantity": "7"},
                {"rate": "2.00"},
                {"amount": "9.99"},
                {"waived": "yes"},
                {"waived": "no"},
                {"project": "p1"},
                {"project": "p2"},
                {"expense_code": "Z"},
                {"note": "ask Bob"},
            ]
        ),
    )
    def adjust(self, which: int, change: dict[str, str]) -> None:
        with allowed("adjust"):
            adjust_charge(self.ledger, REVIEWED, self.charge(which), change, "agreed")

    @rule(which=WHICH)
    def delete(self, which: int) -> None:
        with allowed("delete"):
            delete_charge(self.ledger, REVIEWED, self.charge(which), "afresh")
            self.rated.clear()

    @rule(project=PROJECTS, month=MONTHS, amount=st.sampled_from(["75.00", "-5.00", "0.00"]))
    def add_line(self, project: str, month: str, amount: str) -> None:
        stated = {"project": project, "date": f"{month}-28", "amount": amount}
        with allowed("add_line"):
            line = NewLine.parse(
                stated | {"description": "Training", "expense_code": None}, REVIEWED
            )
            add_charge_line(self.ledger, REVIEWED, line, "agreed")

    @rule(project=PROJECTS, month=MONTHS, text=st.sampled_from(["Thank you.", ""]))
    def note(self, project: str, month: str, text: str) -> None:
        with allowed("note"):
            write_note(self.ledger, REVIEWED, month, project, text)

    @rule(
        month=MONTHS,
        selection=st.sampled_from([Filter(), Filter(project="p1"), Filter(item="slide")]),
        change=st.sampled_from([{"waived": "yes"}, {"rate": "1.00"}, {"project": "p2"}]),
    )
    def bulk(self, month: str, selection: Filter, change: dict[str, str]) -> None:
        with allowed("bulk"):
            made = adjust_many(self.ledger, REVIEWED, month, selection, change, "agreed")
            self.groups.append(made.group)

    @precondition(lambda life: life.groups)
    @rule()
    def undo(self) -> None:
        with allowed("undo"):
            undo_group(self.ledger, REVIEWED, self.groups.pop(), "not agreed")

    # From charges to approval.

    @rule(month=MONTHS, selection=SELECTIONS)
    def make_run(self, month: str, selection: RunScope) -> None:
        with allowed("make_run"):
            make_run(self.ledger, REVIEWED, Period.parse(month), selection)

    @rule(month=MONTHS)
    def ready(self, month: str) -> None:
        with allowed("ready"):
            sign_off(self.ledger, REVIEWED, month)

    @rule(month=MONTHS, selection=SELECTIONS)
    def submit(self, month: str, selection: RunScope) -> None:
        with allowed("submit"), writing(self.ledger) as connection:
            prepare(connection, REVIEWED, Period.parse(month), selection)

    @standing("APPROVING")
    @rule(which=WHICH)
    def approve(self, which: int) -> None:
        code, _ = self.invoice(which, "APPROVING")
        with allowed("approve"), writing(self.ledger) as connection:
            approve(connection, REVIEWED, code.split("/")[0], [code])

    @standing("APPROVING")
    @rule(which=WHICH)
    def reject(self, which: int) -> None:
        code, _ = self.invoice(which, "APPROVING")
        with allowed("reject"):
            change_invoices(self.ledger, REVIEWED, "reject", [code], "look again")

    @standing("OPEN", "APPROVING", "REJECTED")
    @rule(which=WHICH)
    def quarantine(self, which: int) -> None:
        code, _ = self.invoice(which, "OPEN", "APPROVING", "REJECTED")
        with allowed("quarantine"):
            change_invoices(self.ledger, REVIEWED, "quarantine", [code], "disputed")

    @standing("QUARANTINED")
    @rule(which=WHICH)
    def release(self, which: int) -> None:
        code, _ = self.invoice(which, "QUARANTINED")
        with allowed("release"):
            change_invoices(self.ledger, REVIEWED, "release", [code])

    @standing("OPEN", "APPROVING", "REJECTED", "QUARANTINED")
    @rule(which=WHICH, how=st.sampled_from(["close", "close_and_reopen"]))
    def close(self, which: int, how: str) -> None:
        code, _ = self.invoice(which, "OPEN", "APPROVING", "REJECTED", "QUARANTINED")
        with allowed(how):
            change_invoices(self.ledger, REVIEWED, how, [code], "never ordered")

    @standing()
    @rule(which=WHICH, enabled=st.booleans())
    def enable(self, which: int, enabled: bool) -> None:
        with allowed("enable"):
            set_enabled(self.ledger, REVIEWED, self.run(which), enabled=enabled)

    @standing()
    @rule(which=WHICH, reopen=st.booleans())
    def cancel(self, which: int, reopen: bool) -> None:
        with allowed("cancel"):
            cancel(self.ledger, REVIEWED, self.run(which), "a mistake", reopen=reopen)

    # Issuing, and after it.

    @rule(month=MONTHS, selection=SELECTIONS)
    def issue_month(self, month: str, selection: RunScope) -> None:
        """All that staff do with a month, one after the other."""
        with allowed("issue_month"):
            rate_period(self.ledger, REVIEWED, Period.parse(month))
            self.rated.add(month)
            sign_off(self.ledger, REVIEWED, month)
            with writing(self.ledger) as connection:
                prepared = prepare(connection, REVIEWED, Period.parse(month), selection)
            self._approve_and_issue(prepared)

    @rule(month=MONTHS)
    def issue_whole_month(self, month: str) -> None:
        """The same of all of it, so that it is drawn more often."""
        self.issue_month(month, RunScope())

    @standing()
    @rule(which=WHICH)
    def issue_run(self, which: int) -> None:
        """A run's next step, which is how a reissue is issued."""
        run = self.run(which)
        with allowed("issue_run"):
            with writing(self.ledger) as connection:
                prepared = prepare_run(connection, REVIEWED, run, RunScope(), [])
            self._approve_and_issue(prepared)

    def _approve_and_issue(self, prepared: Prepared) -> None:
        with writing(self.ledger) as connection:
            mine = invoices.read_invoices(connection, run=prepared.run, states=("APPROVING",))
            waiting = mine.filter(mine["step"] == 0)["code"].to_list()
            approve(connection, REVIEWED, prepared.run, waiting)
            done = approved_of(connection, REVIEWED, prepared.run, mine["code"].to_list(), [])
        if done.codes:
            issue_prepared(self.ledger, REVIEWED, done, self.folder)
            DONE["issued"] += len(done.codes)

    @rule(project=PROJECTS, amount=st.sampled_from(["100.00", "3.00", "-2.00"]))
    def deposit(self, project: str, amount: str) -> None:
        with allowed("deposit"):
            deposit(self.ledger, REVIEWED, project, amount, "purchase order")

    @standing("APPROVED")
    @rule(which=WHICH)
    def reissue(self, which: int) -> None:
        _, number = self.invoice(which, "APPROVED")
        with allowed("reissue"):
            reissue(self.ledger, REVIEWED, number or "none", "a slide broke")

    @standing("APPROVED")
    @rule(which=WHICH, reopen=st.booleans())
    def void(self, which: int, reopen: bool) -> None:
        _, number = self.invoice(which, "APPROVED")
        with allowed("void"):
            void(self.ledger, REVIEWED, number or "none", "never ordered", reopen=reopen)

    @standing("APPROVED")
    @rule(which=WHICH)
    def pay(self, which: int) -> None:
        _, number = self.invoice(which, "APPROVED")
        with allowed("pay"):
            pay(self.ledger, REVIEWED, [number or "none"], "2021-02-01", "transfer 8812")

    @standing("PAID")
    @rule(which=WHICH)
    def unpay(self, which: int) -> None:
        _, number = self.invoice(which, "PAID")
        with allowed("unpay"):
            unpay(self.ledger, REVIEWED, number or "none", "another's payment")

    # What holds after each step.

    @invariant()
    def nothing_is_lost_or_billed_twice(self) -> None:
        found = broken(self.ledger, self.rated)
        assert not found, found

    @invariant()
    def what_is_written_once_stays(self) -> None:
        now = written_once(self.path)
        assert self.kept.items() <= now.items()
        self.kept = now

    @invariant()
    def the_chain_of_events_is_whole(self) -> None:
        with reading(self.ledger) as connection:
            assert events.check_chain(connection, "MIC") == []
            self.states = set(invoices.read_invoices(connection)["state"])


@pytest.mark.xdist_group("life")
def test_whatever_staff_do_nothing_is_lost_billed_twice_or_changed(sqlite_template: Path) -> None:
    DONE.clear()
    Life.template = sqlite_template
    run_state_machine_as_test(
        Life if EXAMPLES else seed(SEED)(Life),
        settings=settings(
            max_examples=EXAMPLES or 12,
            database=None,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert DONE["issued"] > 10, DONE
