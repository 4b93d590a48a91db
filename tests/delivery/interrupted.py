"""Send what waits, as a process of its own that a test's mail server ends: for test_crash.py."""

from billing_lib.delivery.send import send_waiting
from billing_lib.ledger.database import open_ledger
from billing_lib.settings import settings

if __name__ == "__main__":
    its = settings()
    send_waiting(open_ledger(its.database), its)
