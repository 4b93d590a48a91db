"""What holds of a ledger whatever staff do and whatever dies, asked of it in plain SQL.

Each function gives sentences, none where all is well.
"""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from billing_lib.ledger.database import reading

ISSUED = "('APPROVED', 'SUPERSEDED', 'VOID', 'PAID')"
EDITABLE = "('OPEN', 'REJECTED', 'ERROR', 'QUARANTINED')"
WRITTEN_ONCE = {
    "event": "facility, sequence",
    "fund_entry": "facility, project, sequence",
    "issued_invoice": "number",
    "invoice_line": "number, position",
    "invoice_split": "number, expense_code",
    "invoice_adjustment": "number, position",
    "rate": "facility, fingerprint",
    "source_file": "facility, sha256",
    "usage_version": "facility, record, occurrence, version",
}
"""Tables that only grow, and their keys."""

QUERIES = {
    "an invoice does not come to its charges, adjustment and tax": """
        SELECT i.code, i.state, i.charges, i.raw_total, i.total, count(c.charge), sum(c.total)
        FROM invoice i LEFT JOIN charge c ON c.facility = i.facility AND c.invoice = i.code
        WHERE i.state NOT IN ('CLOSED', 'ERROR') GROUP BY i.facility, i.code
        HAVING i.charges <> count(c.charge) OR i.raw_total <> coalesce(sum(c.total), 0)
            OR i.total <> i.raw_total + i.adjustment + coalesce(i.tax, 0)""",
    "a charge is on an invoice of another project, or of none": """
        SELECT c.charge, c.invoice FROM charge c LEFT JOIN invoice i
        ON i.facility = c.facility AND i.code = c.invoice
        WHERE c.invoice IS NOT NULL AND i.project IS DISTINCT FROM c.project""",
    "a charge is bound while its invoice takes in changes, or free while it does not": f"""
        SELECT c.charge, c.state, c.run, i.code, i.state FROM charge c JOIN invoice i
        ON i.facility = c.facility AND i.code = c.invoice
        WHERE (c.run IS NULL) <> (i.state IN {EDITABLE})""",
    "a charge is not as its invoice is": f"""
        SELECT c.charge, c.state, i.code, i.state FROM charge c LEFT JOIN invoice i
        ON i.facility = c.facility AND i.code = c.invoice
        WHERE c.state <> CASE WHEN i.state = 'PAID' THEN 'PAID'
            WHEN i.state IN {ISSUED} THEN 'BILLED'
            WHEN i.state = 'CLOSED' THEN 'CANCELLED' ELSE 'PENDING' END""",
    "usage is billed on two invoices that count": """
        SELECT coalesce(c.original, c.charge), count(*) FROM charge c JOIN invoice i
        ON i.facility = c.facility AND i.code = c.invoice AND i.state IN ('APPROVED', 'PAID')
        GROUP BY c.facility, coalesce(c.original, c.charge) HAVING count(*) > 1""",
    "an issued invoice is not what its lines and splits make": """
        SELECT s.number, s.charges, s.raw_total, s.total FROM issued_invoice s WHERE
        s.charges <> (SELECT count(*) FROM invoice_line l WHERE l.number = s.number)
        OR s.raw_total <> (SELECT sum(l.total) FROM invoice_line l WHERE l.number = s.number)
        OR s.total - coalesce(s.prepaid, 0)
            <> (SELECT sum(p.amount) FROM invoice_split p WHERE p.number = s.number)""",
    "an invoice is not what was issued under its number": f"""
        SELECT i.code, i.number, i.state FROM invoice i
        LEFT JOIN issued_invoice s ON s.number = i.number AND s.invoice = i.code
        AND s.charges = i.charges AND s.total = i.total
        WHERE (i.state IN {ISSUED}) <> (s.number IS NOT NULL)
            OR (i.number IS NULL) <> (s.number IS NULL)""",
    "the numbers of a fiscal year have a gap, or one is not issued": """
        SELECT n.fiscal_year, count(*), count(s.number), max(n.sequence) FROM invoice_number n
        LEFT JOIN issued_invoice s ON s.number = n.number GROUP BY n.facility, n.fiscal_year
        HAVING count(*) <> max(n.sequence) OR count(s.number) <> count(*)
            OR min(n.sequence) <> 1""",
    "prepaid funds are overdrawn, or not drawn as issued": """
        SELECT project, sum(amount) FROM fund_entry GROUP BY facility, project
        HAVING sum(amount) < 0 UNION ALL
        SELECT i.number, s.prepaid FROM issued_invoice s JOIN invoice i ON i.number = s.number
        WHERE coalesce((SELECT sum(f.amount) FROM fund_entry f WHERE f.number = s.number), 0)
            <> CASE WHEN i.state IN ('APPROVED', 'PAID') THEN -coalesce(s.prepaid, 0) ELSE 0 END""",
    "a record that is taken back has a charge, or is in a month or unbilled": """
        SELECT u.record, u.period FROM usage_record u LEFT JOIN charge c
        ON c.facility = u.facility AND c.record = u.record AND c.occurrence = u.occurrence
        LEFT JOIN unbilled b
        ON b.facility = u.facility AND b.record = u.record AND b.occurrence = u.occurrence
        WHERE u.withdrawn IS NOT NULL
            AND (c.charge IS NOT NULL OR b.record IS NOT NULL OR u.period IS NOT NULL)""",
    "a version of a record is missing": """
        SELECT u.record, u.version, count(v.version) FROM usage_record u LEFT JOIN usage_version v
        ON v.facility = u.facility AND v.record = u.record AND v.occurrence = u.occurrence
        GROUP BY u.facility, u.record, u.occurrence
        HAVING coalesce(u.version, 1) <> count(v.version) + 1""",
    "a run that ended has unfinished invoices": f"""
        SELECT r.id, r.state, i.code, i.state FROM billing_run r JOIN invoice i ON i.run = r.id
        WHERE r.state IN ('CANCELLED', 'FINISHED')
            AND (i.state IN {EDITABLE} OR i.state = 'APPROVING')""",
}


def broken(ledger: Engine, rated: set[str]) -> list[str]:
    """What does not hold.

    Parameters
    ----------
    rated
        Months of usage that were rated since usage was loaded or a charge deleted.
    """
    with reading(ledger) as connection:
        found = [
            f"{what}: {row}"
            for what, query in QUERIES.items()
            for row in connection.execute(text(query))
        ]
        return found + [
            f"{month}: {records} records, {charges} charges, {unbilled} unbilled"
            for month, records, charges, unbilled in _counts(connection)
            if month in rated and records != charges + unbilled
        ]


def _counts(connection: Connection) -> Iterator[tuple[str, int, int, int]]:
    query = """SELECT u.period, count(*), count(c.charge),
            (SELECT count(*) FROM unbilled b WHERE b.period = u.period)
        FROM usage_record u LEFT JOIN charge c
            ON c.facility = u.facility AND c.record = u.record AND c.occurrence = u.occurrence
            AND c.original IS NULL
        GROUP BY u.period"""
    for row in connection.execute(text(query)):
        yield tuple(row)


def written_once(ledger: Path) -> dict[tuple[object, ...], str]:
    """The hash of every row that is never to change, by table and key."""
    found: dict[tuple[object, ...], str] = {}
    with closing(sqlite3.connect(ledger)) as connection:
        for table, key in WRITTEN_ONCE.items():
            width = key.count(",") + 1
            for row in connection.execute(f"SELECT {key}, * FROM {table}"):
                found[table, *row[:width]] = hashlib.sha256(repr(row).encode()).hexdigest()
    return found
