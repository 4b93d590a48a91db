"""One issuing process per facility."""

import os
import signal
import subprocess
import sys

import pytest
from dialects import ON_POSTGRESQL
from sqlalchemy import Engine

from billing_lib.errors import IssuingElsewhere
from billing_lib.ledger.database import issuing

HOLD = """
import sys
from billing_lib.ledger.database import open_ledger
from billing_lib.ledger.database import issuing
with issuing(open_ledger(sys.argv[1]), "RC"):
    print("held", flush=True)
    sys.stdin.readline()
"""


HOLD_A_SECOND = """
from billing_lib.ledger import database
database._LEASE_SECONDS = 1
"""


def _holder(url: str, before: str = "") -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", before + HOLD, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def _until_free(ledger: Engine) -> None:
    """PostgreSQL notices a dead client within moments; no test waits longer than a minute."""
    for _ in range(600):
        try:
            with issuing(ledger, "RC"):
                return
        except IssuingElsewhere:
            signal.sigtimedwait([], 0.1)
    pytest.fail("the lock of a dead process is still held")


def test_a_second_process_is_told_and_a_killed_one_frees_the_lock(
    ledger: Engine, ledger_url: str
) -> None:
    with _holder(ledger_url) as process:
        with pytest.raises(IssuingElsewhere, match="another process"), issuing(ledger, "RC"):
            pass
        with issuing(ledger, "NF"):
            pass  # another facility is free
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        _until_free(ledger)


def test_the_lock_is_free_after_its_end_also_by_an_exception(ledger: Engine) -> None:
    with pytest.raises(KeyError), issuing(ledger, "RC"):
        raise KeyError
    with issuing(ledger, "RC"), pytest.raises(IssuingElsewhere), issuing(ledger, "RC"):
        pass
    with issuing(ledger, "RC"):
        pass


@ON_POSTGRESQL
def test_a_holder_that_hangs_loses_its_lease_and_one_that_works_keeps_it(
    ledger: Engine, ledger_url: str
) -> None:
    """The lease is a second here; a stopped process answers as little as a lost machine."""
    with _holder(ledger_url, HOLD_A_SECOND) as process:
        with pytest.raises(IssuingElsewhere), issuing(ledger, "RC", wait=1.5):
            pass
        os.kill(process.pid, signal.SIGSTOP)
        with issuing(ledger, "RC", wait=10):
            os.kill(process.pid, signal.SIGCONT)
            signal.sigtimedwait([], 2)  # it beats four times a second, and finds its session ended
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.wait() == 0


@ON_POSTGRESQL
def test_the_session_of_a_lock_ends_with_it(ledger: Engine) -> None:
    with issuing(ledger, "RC"):
        ledger.dispose()  # as issuing does before the kernel starts
    ledger.dispose()
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    with ledger.connect() as connection:
        for _ in range(100):  # the server lets go a moment after the client
            if connection.exec_driver_sql(sessions).scalar() == 1:
                return
            signal.sigtimedwait([], 0.1)
    pytest.fail("a session is left")
