"""A month over a real Dask cluster of three workers, the ledger PostgreSQL, the archive S3.

At each step of an issuing one worker is killed (dying.py), and nothing is issued twice.
"""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import dask
import dying
import nbformat
import pytest
from distributed import Client, LocalCluster
from pydantic import SecretStr
from sample_facility import BOOK, nothing, price_book, usage_file
from sample_stores import s3_client, s3_server
from sqlalchemy import Engine
from typer.testing import CliRunner

from billing_lib.audit.archive import find_record, list_records
from billing_lib.audit.known import known_by
from billing_lib.audit.verify import sealed_invoices, verify
from billing_lib.batch.issuing import IssuingTerms
from billing_lib.batch.month import Journal, issue_all
from billing_lib.batch.workers import dask_workers
from billing_lib.cli import app
from billing_lib.errors import InvalidSettings, NotReady
from billing_lib.ledger import events, invoices, runs
from billing_lib.ledger.database import open_ledger, reading
from billing_lib.pricing.clock import Period
from billing_lib.settings import Settings, settings
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period

APRIL = Period(2020, 4)
TERMS = IssuingTerms("2020-05-04", allow_dirty=True)
CODES = list(dying.STEPS)


@pytest.fixture(scope="module")
def campus(
    tmp_path_factory: pytest.TempPathFactory,
    new_postgresql: Callable[[str], str],
    postgresql_template: str,
) -> Iterator[Settings]:
    """Six facilities with April rated, for this process and for those that it starts."""
    folder = tmp_path_factory.mktemp("campus")
    (folder / "parameters").mkdir()
    with s3_server() as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        s3_client(variables).create_bucket(Bucket="campus")
        patch.setenv("BILLING_DATABASE", new_postgresql(postgresql_template))
        patch.setenv("BILLING_RUNS", "s3://campus/runs")
        patch.setenv("BILLING_PARAMETERS", str(folder / "parameters"))
        patch.setenv("BILLING_OFFICE", str(folder / "office"))
        here = settings()
        engine = open_ledger(here.database)
        usage = usage_file(folder)
        for code in CODES:
            text = BOOK.replace("MIC", code)
            (folder / "parameters" / f"{code}.yml").write_text(text)
            load_files(engine, price_book(text), [usage], nothing)
            rate_period(engine, price_book(text), APRIL)
        engine.dispose()
        yield here


@pytest.fixture(scope="module")
def scheduler(campus: Settings) -> Iterator[str]:
    """The address of a scheduler with three workers, each a process, which are started anew."""
    logging.getLogger("distributed").setLevel(logging.ERROR)  # it says each step
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 9}),
        LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
    ):
        yield cluster.scheduler_address


@pytest.fixture
def engine(campus: Settings) -> Iterator[Engine]:
    engine = open_ledger(campus.database)
    yield engine
    engine.dispose()


def test_a_worker_is_killed_at_each_step_and_nothing_is_issued_twice(
    campus: Settings, scheduler: str, engine: Engine, tmp_path: Path
) -> None:
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    with Client(scheduler) as client:
        client.register_plugin(dying.Dying(deaths), name="dying")
    steps: list[tuple[str, str, str]] = []
    batch = partial(
        issue_all,
        engine,
        campus,
        APRIL,
        terms=TERMS,
        workers=partial(dask_workers, None, scheduler),
        watch=lambda *told: steps.append(told),
    )
    done = batch(journal=Journal(tmp_path / "month.jsonl"))
    assert sorted(path.name for path in deaths.iterdir()) == CODES
    assert not done.failed, [outcome.sentences for outcome in done.facilities]
    assert [outcome.facility for outcome in done.facilities] == CODES
    for code in CODES:
        begun = [
            worker for name, worker, step in steps if (name, step) == (f"{code} 2020-04", "begins")
        ]
        assert len(begun) >= 2, code  # the one that died, and the one that took over

    known, archive = known_by(engine), campus.runs
    with reading(engine) as connection:
        issued = invoices.read_issued(connection)
        assert issued["total"].to_list() == [14833, 1250] * 6  # 133.33 + 15.00; 12.50
        for code in CODES:
            assert issued.filter(facility=code)["number"].to_list() == [
                f"{code}-2020-00001",
                f"{code}-2020-00002",
            ]
            states = runs.read_issuings(connection, code)["state"].to_list()
            assert states[-1] == "ISSUED" and set(states[:-1]) <= {"FAILED"}
            assert events.read_events(connection, code, kinds=["issue"]).height == 2
            assert events.check_chain(connection, code) == []
    assert len(list_records(archive)) == len(CODES)
    with reading(engine) as connection:
        sealed = invoices.read_archived(connection, numbers=issued["number"].to_list())
    assert len(sealed_invoices(archive, sealed)) == 12
    for code in ("M5", "M6"):  # issued by the notebook
        assert verify(find_record(f"{code}-2020-00001", archive, engine), known).findings == []

    # The batch was stopped: two outcomes are written, and a half.
    lines = (tmp_path / "month.jsonl").read_text().splitlines()
    stopped = Journal(tmp_path / "stopped.jsonl", resume=True)
    stopped.path.write_text("\n".join([*lines[:2], lines[2][:30]]))
    steps.clear()
    resumed = batch(journal=stopped)
    assert [outcome.facility for outcome in resumed.facilities] == CODES
    assert not resumed.failed
    assert len({name for name, _, _ in steps}) == 4
    with reading(engine) as connection:
        assert invoices.read_issued(connection).equals(issued)


def test_the_command_goes_on_and_reports(campus: Settings, scheduler: str) -> None:
    words = ["month", "2020-04", "--scheduler", scheduler, "--date", "2020-05-04", "--allow-dirty"]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0, said.output
    assert "(M6-2020-00001 to M6-2020-00002)" in said.output
    report = campus.office / "month-2020-04.ipynb"
    assert f"report: {report}" in said.output
    text = nbformat.writes(nbformat.read(report, as_version=4))
    assert "(M6-2020-00001 to M6-2020-00002)" in text


def test_a_worker_of_another_site_issues_nothing(
    campus: Settings, scheduler: str, engine: Engine
) -> None:
    other = campus.model_copy(update={"log_name": "elsewhere"})
    cluster = partial(dask_workers, None, scheduler)
    done = issue_all(engine, other, APRIL, terms=TERMS, workers=cluster)
    assert done.failed
    for outcome in done.facilities:
        assert "its log_name differs from that of the machine that asks" in outcome.sentences[0]


def test_workers_of_this_machine(campus: Settings) -> None:
    steps: list[tuple[str, str, str]] = []
    mailing = campus.model_copy(update={"smtp_password": SecretStr("not for workers")})
    with dask_workers(1, None, mailing, lambda *told: steps.append(told)) as workers:
        said = workers.submit(dying.asked, "M1", "2020-04").result(timeout=60)
    assert said == ["M1", "2020-04", "s3://campus/runs", None]
    assert steps[0] == ("M1 2020-04", "", "waits")


def test_a_cluster_that_cannot_be_used_is_one_sentence(
    campus: Settings, engine: Engine, tmp_path: Path
) -> None:
    file = campus.model_copy(update={"database": "sqlite:///billing.db"})
    with (
        pytest.raises(InvalidSettings, match="a cluster needs a ledger on PostgreSQL"),
        dask_workers(None, "tcp://127.0.0.1:9", file, lambda *_: None),
    ):
        pass
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.5s"}),
        pytest.raises(NotReady, match="the Dask scheduler cannot be used"),
        dask_workers(None, "tcp://127.0.0.1:9", campus, lambda *_: None),
    ):
        pass
