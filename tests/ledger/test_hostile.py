"""Staff, labs and strangers with psql and their own logins: what PostgreSQL says to each statement.

``TRIED`` is a table of who, the statement, and the beginning of the one sentence that refuses it;
``""`` stands for a statement that finds no row. SECURITY.md names the groups. The ledger is that of
april.py, made by boss, with a second facility NF made by far.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from april import all_there_is, april_drafts, late_charge, load_and_rate
from sample_logins import let_in, url_as
from sqlalchemy import make_url

from billing_lib.ledger import charges, invoices, people, runs
from billing_lib.ledger.database import open_ledger, writing
from billing_lib.ledger.events import record_event
from billing_lib.ledger.schema import usage_record

pytestmark = pytest.mark.xdist_group("hostile")

ROLES = {
    "vic": ("viewer", ""),
    "rev": ("reviewer", ""),
    "iss": ("issuer", ""),
    "aud": ("auditor", ""),
    "lab": ("lab_administrator", "smith-lab"),
    "other": ("lab_administrator", "jones-lab"),
}
RUN2, RUN3 = "RC-2020-04-2", "RC-2020-04-3"
CHARGE = (
    "INSERT INTO charge (facility, charge, kind, period, project, team, raw_total, adjustment,"
    " total, state) VALUES ('{}', 'x', 'line', '2020-04', 'p1', 'smith-lab', {}, 0, {}, 'PENDING')"
)
USAGE = (
    "INSERT INTO usage_record (facility, record, occurrence, item, project, file, row, period,"
    " file_sha256) VALUES ('{}', 'x', 1, 'slide', 'p1', 'april.csv', 9, '2020-04', '{}')"
)
EVENT = (
    "INSERT INTO event (facility, kind, subject, reason, after) VALUES ('{}', '{}', '{}', '', '{}')"
)
DEPOSIT = (
    "INSERT INTO fund_entry (facility, project, sequence, team, kind, amount, reason)"
    " VALUES ('{}', 'p1', {}, 'smith-lab', 'deposit', 100000000, 'mine')"
)
_SAME = ", ".join(f'"{each.name}"' for each in usage_record.columns if each.name != "version")
KEPT = (
    f"INSERT INTO usage_version ({_SAME}, version, event) SELECT {_SAME}, 2, 1 FROM usage_record"
    " WHERE record = 'u9'"
)
NO_COLUMN = "permission denied for table"
NO_EVENT = "the database itself records an event of the kind"

TRIED: dict[str, list[tuple[str, str, str]]] = {
    "who and when": [
        (
            "rev",
            "INSERT INTO event (facility, kind, subject, reason, login) VALUES ('RC', 'adjust', 'late', '', 'iss')",
            NO_COLUMN,
        ),
        (
            "rev",
            "INSERT INTO event (facility, kind, subject, reason, at) VALUES ('RC', 'adjust', 'late', '', '2019-01-01')",
            NO_COLUMN,
        ),
        (
            "rev",
            "INSERT INTO event (facility, kind, subject, reason, sequence) VALUES ('RC', 'adjust', 'late', '', 1)",
            NO_COLUMN,
        ),
        (
            "rev",
            "INSERT INTO event (facility, kind, subject, reason, hash) VALUES ('RC', 'adjust', 'late', '', 'ff')",
            NO_COLUMN,
        ),
        ("boss", "UPDATE event SET reason = 'x'", NO_COLUMN),
        ("boss", "UPDATE event SET login = 'rev'", NO_COLUMN),
        ("boss", "DELETE FROM event", NO_COLUMN),
        ("boss", "UPDATE source_file SET login = 'rev'", NO_COLUMN),
        ("boss", "UPDATE source_file SET loaded_at = '2019-01-01'", NO_COLUMN),
        ("boss", "UPDATE billing_run SET made_at = '2019-01-01'", NO_COLUMN),
        ("boss", "UPDATE billing_run SET login = 'rev'", NO_COLUMN),
        ("boss", "UPDATE issuing SET frozen_at = '2019-01-01'", NO_COLUMN),
        ("boss", "UPDATE issuing SET login = 'rev'", NO_COLUMN),
        ("boss", "UPDATE fund_entry SET at = '2019-01-01'", NO_COLUMN),
        ("boss", "UPDATE job SET started_at = '2019-01-01'", NO_COLUMN),
        ("boss", "DELETE FROM written", NO_COLUMN),
        (
            "boss",
            "INSERT INTO written VALUES ('RC', now(), 1, 'charge', 'INSERT', 'rev', 1)",
            NO_COLUMN,
        ),
        ("rev", "SET SESSION AUTHORIZATION boss", "permission denied to set session authorization"),
        ("rev", "SET ROLE boss", 'permission denied to set role "boss"'),
        ("rev", "SET ROLE postgres", 'permission denied to set role "postgres"'),
    ],
    "back-dating": [
        ("iss", "UPDATE issuing SET invoice_date = '2019-01-01'", NO_COLUMN),
        ("iss", "UPDATE issued_invoice SET invoice_date = '2019-01-01'", NO_COLUMN),
        ("iss", "UPDATE issued_invoice SET period = '2019-01'", NO_COLUMN),
        (
            "iss",
            "UPDATE invoice SET period = '2019-01' WHERE number IS NOT NULL",
            "an invoice stays in its month",
        ),
        (
            "iss",
            "UPDATE invoice SET covers_from = '2019-01-01' WHERE number IS NOT NULL",
            "what an invoice bills does not change",
        ),
        (
            "iss",
            "UPDATE invoice SET paid_on = '2019-01-01' WHERE number = 'RC-2020-0001'",
            "an invoice has a payment while it is paid",
        ),
        ("iss", "UPDATE journal SET posted_at = '2019-01-01'", NO_COLUMN),
        ("iss", "UPDATE journal_entry SET date = '2019-01-01'", NO_COLUMN),
        (
            "rev",
            "UPDATE charge SET period = '2019-01' WHERE charge = 'u1'",
            "a charge that is billed or bound to a run does not change",
        ),
    ],
    "prices": [
        ("vic", "UPDATE charge SET total = 2, raw_total = 2 WHERE charge = 'late'", NO_COLUMN),
        ("aud", "UPDATE charge SET total = 2, raw_total = 2 WHERE charge = 'late'", NO_COLUMN),
        ("non", "UPDATE charge SET total = 2, raw_total = 2 WHERE charge = 'late'", ""),
        ("far", "UPDATE charge SET total = 2, raw_total = 2 WHERE charge = 'late'", ""),
        (
            "rev",
            "UPDATE charge SET total = 2, raw_total = 2 WHERE charge = 'u1'",
            "a charge that is billed or bound to a run does not change",
        ),
        (
            "rev",
            "UPDATE charge SET total = 2, raw_total = 2 WHERE charge = 'waits'",
            "a charge that is billed or bound to a run does not change",
        ),
        (
            "rev",
            "UPDATE charge_split SET amount = 1 WHERE charge = 'u1'",
            "the split of a charge that is billed or bound",
        ),
        (
            "rev",
            "UPDATE charge_split SET expense_code = 'mine' WHERE charge = 'u1'",
            "the split of a charge that is billed or bound",
        ),
        ("rev", "UPDATE rate SET body = '{}'", NO_COLUMN),
        ("rev", "DELETE FROM rate", NO_COLUMN),
        (
            "far",
            "INSERT INTO rate VALUES ('RC', 'ff', '{}')",
            "far may not write this in rate: it takes the role reviewer",
        ),
        ("vic", "INSERT INTO rate VALUES ('RC', 'ff', '{}')", NO_COLUMN),
        (
            "far",
            CHARGE.format("RC", 2, 2),
            "far may not write this in charge: it takes the role reviewer",
        ),
        (
            "rev",
            CHARGE.format("NF", 2, 2),
            "rev may not write this in charge: it takes the role reviewer",
        ),
        (
            "iss",
            "UPDATE invoice SET total = 200, raw_total = 200 WHERE number = 'RC-2020-0001'",
            "what an invoice bills does not change",
        ),
        (
            "iss",
            f"UPDATE invoice SET total = 2, raw_total = 2 WHERE code = '{RUN3}/p3'",
            "what an invoice bills does not change",
        ),
        ("iss", "UPDATE issued_invoice SET total = 200, raw_total = 200", NO_COLUMN),
        ("iss", "UPDATE invoice_line SET total = 0", NO_COLUMN),
        ("iss", "DELETE FROM invoice_line", NO_COLUMN),
        ("iss", "UPDATE invoice_split SET amount = 0", NO_COLUMN),
        (
            "iss",
            "INSERT INTO invoice_adjustment VALUES ('RC-2020-0001', 2, 'RC', 'smith-lab', 'x', 'discount', '', NULL, NULL, -100)",
            "an issued invoice gets no further adjustment",
        ),
        (
            "iss",
            "INSERT INTO invoice_split VALUES ('RC-2020-0001', 'mine', 'RC', 'smith-lab', 1)",
            "an issued invoice gets no further split",
        ),
    ],
    "usage": [
        ("rev", USAGE.format("RC", "4f"), "rev may not add to a file that was loaded before"),
        ("iss", USAGE.format("RC", "4f"), "iss may not add to a file that was loaded before"),
        ("far", USAGE.format("RC", "4f"), "far may not write this in usage_record"),
        ("vic", USAGE.format("RC", "4f"), NO_COLUMN),
        (
            "rev",
            "UPDATE usage_record SET quantity = '900', version = 2 WHERE record = 'u2'",
            "a usage record changes when the version before it is kept",
        ),
        (
            "rev",
            f"{KEPT}; UPDATE usage_record SET quantity = '900', version = 3 WHERE record = 'u9'",
            "rev may not change usage without an event",
        ),
        (
            "rev",
            "UPDATE usage_record SET quantity = '900' WHERE record = 'u2'",
            "a usage record keeps its id and changes into its next version",
        ),
        (
            "rev",
            "UPDATE usage_record SET file_sha256 = 'ff' WHERE record = 'u2'",
            "a usage record keeps its id",
        ),
        ("rev", "DELETE FROM usage_record", NO_COLUMN),
        (
            "rev",
            "SELECT billing_guard_delete('usage_record', array(SELECT ctid FROM usage_record))",
            "case not found",
        ),
        ("rev", "UPDATE source_file SET records = 4", NO_COLUMN),
        ("rev", "UPDATE usage_version SET quantity = '1'", NO_COLUMN),
        (
            "non",
            "INSERT INTO source_file VALUES ('RC', 'ff', 'x.csv', 'csv', 1, 'rev', now())",
            "non may not write this in source_file",
        ),
        (
            "far",
            "INSERT INTO source_file VALUES ('RC', 'ff', 'x.csv', 'csv', 1, 'rev', now())",
            "far may not write this in source_file",
        ),
        ("rev", "COPY usage_record FROM STDIN", "COPY FROM not supported with row-level security"),
    ],
    "approvals": [
        ("far", f"UPDATE invoice SET step = 1 WHERE code = '{RUN3}/p3'", ""),
        ("non", f"UPDATE invoice SET step = 1 WHERE code = '{RUN3}/p3'", ""),
        ("vic", f"UPDATE invoice SET step = 1 WHERE code = '{RUN3}/p3'", NO_COLUMN),
        (
            "rev",
            f"UPDATE invoice SET step = 2 WHERE code = '{RUN3}/p3'",
            "an invoice is approved by one reviewer after the other",
        ),
        (
            "rev",
            f"UPDATE invoice SET step = 1 WHERE code = '{RUN2}/p2'",
            "an invoice is approved by one reviewer after the other",
        ),
        ("rev", EVENT.format("RC", "approve", f"{RUN3}/p3", '{"step":"1"}'), NO_EVENT),
        ("boss", EVENT.format("RC", "approve", f"{RUN3}/p3", '{"step":"1"}'), NO_EVENT),
        ("rev", EVENT.format("RC", "issue", "x", ""), NO_EVENT),
        ("vic", EVENT.format("RC", "ready", "2020-04", ""), NO_COLUMN),
        (
            "far",
            EVENT.format("RC", "ready", "2020-04", ""),
            "far may not record this in RC: it takes the role reviewer",
        ),
        (
            "rev",
            EVENT.format("NF", "ready", "2020-04", ""),
            "rev may not record this in NF: it takes the role reviewer",
        ),
        (
            "rev",
            EVENT.format("RC", "nonsense", "2020-04", ""),
            "there is no event of the kind nonsense",
        ),
        (
            "rev",
            EVENT.format("RC", "adjust", "u1", '{"quantity":"1"}'),
            "a charge that is billed or bound to a run does not change",
        ),
        (
            "rev",
            EVENT.format("RC", "text", "contacts", "mine"),
            "rev may not record this in RC: it takes the role administrator",
        ),
        (
            "rev",
            EVENT.format("RC", "reissue", "RC-2020-0001", ""),
            "rev may not record this in RC: it takes the role issuer",
        ),
        (
            "rev",
            f'SELECT set_config(\'billing.told\', \'{{"{RUN3}/p3": {{"after": "{{\\"step\\":\\"7\\"}}"}}}}\', true); UPDATE invoice SET step = 1 WHERE code = \'{RUN3}/p3\'',
            "an event says what its row says",
        ),
    ],
    "funds": [
        (
            "rev",
            DEPOSIT.format("RC", 2),
            "rev may not write this in fund_entry: it takes the role issuer",
        ),
        ("non", DEPOSIT.format("RC", 2), "non may not write this in fund_entry"),
        ("far", DEPOSIT.format("RC", 2), "far may not write this in fund_entry"),
        ("lab", DEPOSIT.format("RC", 2), NO_COLUMN),
        (
            "iss",
            DEPOSIT.format("RC", 7),
            "the entries of a project follow one another without a gap",
        ),
        ("iss", DEPOSIT.format("RC", 2).replace("deposit", "gift"), "an entry is a deposit, or"),
        (
            "iss",
            DEPOSIT.format("RC", 2).replace("100000000", "-100000000"),
            "prepaid funds are not overdrawn",
        ),
        ("iss", "UPDATE fund_entry SET amount = 100000000", NO_COLUMN),
        ("iss", "DELETE FROM fund_entry", NO_COLUMN),
    ],
    "states": [
        (
            "rev",
            "UPDATE invoice SET state = 'VOID' WHERE number = 'RC-2020-0001'",
            "rev may not write this in invoice: it takes the role issuer",
        ),
        ("far", "UPDATE invoice SET state = 'VOID' WHERE number = 'RC-2020-0001'", ""),
        ("vic", "UPDATE invoice SET state = 'VOID' WHERE number = 'RC-2020-0001'", NO_COLUMN),
        (
            "iss",
            "UPDATE invoice SET state = 'OPEN' WHERE number = 'RC-2020-0001'",
            "an invoice may not move from its present state",
        ),
        (
            "iss",
            f"UPDATE invoice SET state = 'APPROVED', number = 'RC-2020-0001' WHERE code = '{RUN3}/p3'",
            "duplicate key value",
        ),
        (
            "rev",
            f"UPDATE invoice SET state = 'APPROVED' WHERE code = '{RUN3}/p3'",
            "an invoice has a number once it is issued",
        ),
        (
            "iss",
            "UPDATE invoice SET state = 'PAID', paid_on = '2020-06-01', statement = 'none' WHERE number = 'RC-2020-0001'",
            "an invoice is paid with a statement that it is on",
        ),
        (
            "iss",
            "UPDATE charge SET state = 'PAID' WHERE charge = 'u1'",
            "a charge is billed on an invoice that is issued, and paid with it",
        ),
        (
            "rev",
            "UPDATE charge SET state = 'BILLED' WHERE charge = 'late'",
            "a charge is billed with its run and invoice",
        ),
        (
            "rev",
            "SELECT billing_guard_delete('charge', array(SELECT ctid FROM charge WHERE charge = 'u1'))",
            "a charge that is billed or bound to a run is kept",
        ),
        (
            "rev",
            "UPDATE charge SET invoice = NULL, run = NULL WHERE charge = 'waits'",
            "a charge is bound",
        ),
        ("rev", "UPDATE issuing SET failure = 'x'", "an issuing that has ended does not change"),
        (
            "rev",
            "INSERT INTO issuing (id, facility, run, period, state, invoice_date, fiscal_year) VALUES ('x', 'RC', 'RC-2020-04-2', '2020-04', 'FROZEN', '2020-05-04', 2020)",
            "rev may not write this in issuing: it takes the role issuer",
        ),
        ("iss", "UPDATE issuing SET state = 'FAILED'", "an issuing"),
        (
            "rev",
            "INSERT INTO invoice_number VALUES ('RC', 2020, 3, 'RC-2020-0003', 'RC-2020-04-1', 'x')",
            "insert or update on table",
        ),
        (
            "iss",
            "SELECT billing_guard_delete('invoice_number', array(SELECT ctid FROM invoice_number))",
            "update or delete on table",
        ),
        (
            "iss",
            "UPDATE billing_run SET state = 'OPEN' WHERE state = 'FINISHED'",
            "a billing run may not move",
        ),
        (
            "iss",
            "UPDATE statement SET state = 'OPEN', paid_on = NULL, payment_reference = NULL; UPDATE statement SET total = 0, raw_total = 0, state = 'PAID', paid_on = '2020-01-01'",
            "a paid statement",
        ),
        ("far", "UPDATE statement SET state = 'OPEN'", ""),
        (
            "rev",
            "UPDATE statement SET paid_on = '2019-01-01'",
            "rev may not write this in statement",
        ),
        ("iss", "DELETE FROM invoice", NO_COLUMN),
        ("iss", "TRUNCATE invoice CASCADE", NO_COLUMN),
        ("iss", "UPDATE message SET recipient = 'eve@example.edu'", NO_COLUMN),
        (
            "rev",
            "UPDATE message SET state = 'CANCELLED'",
            "rev may not write this in message: it takes the role issuer",
        ),
        ("far", "UPDATE message SET state = 'CANCELLED'", ""),
        (
            "iss",
            "INSERT INTO attachment VALUES ('RC-2020-0001-3f09ab12cd34', 2, 'x.pdf', 'application/pdf', 'ff', NULL, 'x')",
            "iss may not add to what was made before",
        ),
        (
            "iss",
            "INSERT INTO told VALUES ('invoice', 'RC-2020-0002', 'RC', 'eve@example.edu', 1, 'f0', 'RC-2020-0001-3f09ab12cd34')",
            "iss may not add to what was made before",
        ),
    ],
    "roles": [
        (
            "rev",
            "INSERT INTO permission VALUES ('RC', 'rev', 'administrator', '')",
            "an administrator of the facility gives and takes permissions",
        ),
        (
            "iss",
            "INSERT INTO permission VALUES ('RC', 'iss', 'administrator', '')",
            "an administrator of the facility gives and takes permissions",
        ),
        (
            "non",
            "INSERT INTO permission VALUES ('RC', 'non', 'viewer', '')",
            "an administrator of the facility gives and takes permissions",
        ),
        (
            "boss",
            "INSERT INTO permission VALUES ('NF', 'boss', 'viewer', '')",
            "an administrator of the facility gives and takes permissions",
        ),
        (
            "lab",
            "INSERT INTO permission VALUES ('RC', 'lab', 'lab_administrator', 'jones-lab')",
            NO_COLUMN,
        ),
        ("rev", "UPDATE permission SET role = 'issuer' WHERE login = 'rev'", NO_COLUMN),
        (
            "rev",
            "SELECT billing_guard_delete('permission', array(SELECT ctid FROM permission))",
            "an administrator of the facility gives and takes permissions",
        ),
        (
            "boss",
            "SELECT billing_guard_delete('permission', array(SELECT ctid FROM permission WHERE login = 'boss'))",
            "a facility that has permissions has an administrator",
        ),
        ("boss", EVENT.format("RC", "grant", "rev", '{"role":"issuer"}'), NO_EVENT),
        ("rev", "GRANT billing_staff TO nobody", "permission denied to grant role"),
        ("rev", "ALTER ROLE rev SUPERUSER", "permission denied to alter role"),
        ("rev", "CREATE ROLE mine", "permission denied to create role"),
        ("rev", "INSERT INTO facility VALUES ('RC', 'Mine', 'USD', 'UTC')", "duplicate key value"),
        ("rev", "UPDATE facility SET currency = 'EUR'", NO_COLUMN),
        (
            "far",
            "UPDATE facility SET name = 'Mine' WHERE code = 'RC'",
            "far may not write this in facility",
        ),
    ],
    "other facilities and labs": [
        *(
            ("far", f"SELECT * FROM {table} WHERE facility = 'RC'", "")
            for table in (
                *("charge", "charge_split", "usage_record", "event", "invoice", "issued_invoice"),
                *("invoice_line", "invoice_split", "fund_entry", "permission", "rate", "told"),
                *("source_file", "billing_run", "issuing", "statement_invoice", "written"),
            )
        ),
        *(
            ("far", f"SELECT * FROM {table}", "")
            for table in ("statement", "message", "attachment")
        ),
        *(
            (who, f"SELECT facility FROM {table}", "")
            for who in ("other", "non")
            for table in (
                *("charge", "charge_split", "usage_record", "invoice", "issued_invoice"),
                *("invoice_line", "invoice_split", "invoice_adjustment", "rate"),
            )
        ),
        ("lab", "SELECT team FROM charge WHERE team <> 'smith-lab'", ""),
        ("lab", "SELECT team FROM invoice WHERE number IS NULL OR team <> 'smith-lab'", ""),
        ("lab", "SELECT * FROM event WHERE team IS DISTINCT FROM 'smith-lab'", ""),
        ("lab", "SELECT * FROM usage_record WHERE project = 'p9'", ""),
        *((who, "SELECT * FROM statement", "") for who in ("other", "non")),
        ("lab", "SELECT * FROM fund_entry", ""),
        ("lab", "SELECT * FROM permission WHERE login <> 'lab'", ""),
        ("lab", "SELECT cost FROM charge", NO_COLUMN),
        ("lab", "SELECT cost FROM invoice", NO_COLUMN),
        ("lab", "SELECT * FROM issued_invoice", NO_COLUMN),
        ("lab", "UPDATE charge SET team = 'smith-lab'", NO_COLUMN),
        (
            "lab",
            "INSERT INTO notice VALUES ('RC', '', 'x', 'x', 'pay here', '', now())",
            "lab may not write this in notice",
        ),
        (
            "other",
            "INSERT INTO notice VALUES ('RC', 'smith-lab', 'x', 'x', 'pay here', '', now())",
            "other may not write this in notice",
        ),
        (
            "lab",
            "SET row_security = off; SELECT team FROM charge",
            "query would be affected by row-level security policy",
        ),
        ("nobody", "SELECT * FROM charge", NO_COLUMN),
        ("nobody", "SELECT * FROM facility", NO_COLUMN),
        ("nobody", "SELECT billing_guard_reads()", "permission denied for function"),
        ("nobody", EVENT.format("RC", "ready", "2020-04", ""), NO_COLUMN),
    ],
    "triggers, functions, schemas": [
        ("boss", "ALTER TABLE charge DISABLE TRIGGER ALL", "must be owner of table charge"),
        ("boss", "DROP TRIGGER billing_guard_charge_update_act ON charge", "must be owner"),
        ("boss", "ALTER TABLE charge DISABLE ROW LEVEL SECURITY", "must be owner of table charge"),
        ("boss", "DROP POLICY billing_guard_read ON charge", "must be owner"),
        (
            "boss",
            "CREATE TRIGGER mine BEFORE UPDATE ON charge FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            NO_COLUMN,
        ),
        ("boss", "CREATE RULE mine AS ON INSERT TO event DO INSTEAD NOTHING", "must be owner"),
        ("boss", "ALTER FUNCTION billing_guard_reads() OWNER TO boss", "must be owner of function"),
        (
            "boss",
            "CREATE OR REPLACE FUNCTION billing_guard_reads() RETURNS text[] LANGUAGE sql AS 'SELECT NULL::text[]'",
            "permission denied for schema public",
        ),
        (
            "boss",
            "SET session_replication_role = replica",
            'permission denied to set parameter "session_replication_role"',
        ),
        (
            "boss",
            "CREATE FUNCTION public.text_eq(text, name) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
            "permission denied for schema public",
        ),
        (
            "boss",
            "CREATE OPERATOR public.= (leftarg = text, rightarg = name, function = texteqname)",
            "permission denied for schema public",
        ),
        ("boss", "CREATE CAST (text AS name) WITH INOUT AS IMPLICIT", "must be owner of type"),
        ("boss", "CREATE TYPE public.text AS (a int)", "permission denied for schema public"),
        ("boss", "CREATE SCHEMA mine", "permission denied for database"),
        ("boss", "CREATE TABLE public.mine (a int)", "permission denied for schema public"),
        (
            "boss",
            "CREATE TEMPORARY TABLE permission (facility text, login text, role text, team text)",
            "permission denied to create temporary tables",
        ),
        (
            "boss",
            "CREATE TEMPORARY TABLE event (LIKE public.event)",
            "permission denied to create temporary tables",
        ),
        (
            "rev",
            "CREATE FUNCTION pg_temp.hashtextextended(text, int) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
            "permission denied",
        ),
        (
            "rev",
            "SET search_path = pg_temp, public; UPDATE invoice SET state = 'VOID' WHERE number = 'RC-2020-0001'",
            "rev may not write this in invoice",
        ),
        (
            "rev",
            "SET search_path = ''; UPDATE public.invoice SET state = 'VOID' WHERE number = 'RC-2020-0001'",
            "rev may not write this in invoice",
        ),
        (
            "rev",
            "SET search_path = information_schema, public; INSERT INTO permission VALUES ('RC', 'rev', 'administrator', '')",
            "an administrator of the facility gives",
        ),
        (
            "rev",
            "DO $$ BEGIN UPDATE invoice SET state = 'VOID' WHERE number = 'RC-2020-0001'; END $$",
            "rev may not write this in invoice",
        ),
        ("rev", "CREATE EXTENSION file_fdw", "extension"),
        (
            "rev",
            "CREATE EVENT TRIGGER mine ON ddl_command_start EXECUTE FUNCTION billing_guard_refuse()",
            "permission denied to create event trigger",
        ),
        ("rev", "SELECT billing_guard_refuse()", "permission denied for function"),
        (
            "rev",
            "COPY charge TO PROGRAM 'cat'",
            "permission denied to COPY to or from an external program",
        ),
        ("rev", "COPY (SELECT 1) TO '/tmp/mine'", "permission denied to COPY to a file"),
        ("rev", "UPDATE alembic_version SET version_num = '0'", NO_COLUMN),
        (
            "rev",
            "MERGE INTO charge c USING (SELECT 'u1' AS code) s ON c.charge = s.code WHEN MATCHED THEN UPDATE SET total = 0",
            "a charge that is billed or bound to a run does not change",
        ),
        (
            "rev",
            "INSERT INTO preference VALUES ('NF', 'ann@example.edu', 'none')",
            "rev may not write this in preference",
        ),
        (
            "rev",
            "BEGIN ISOLATION LEVEL SERIALIZABLE; UPDATE charge SET description = 'x' WHERE charge = 'late'",
            "the ledger is written under READ COMMITTED only",
        ),
    ],
    "locks": [
        *(
            ("iss", f"LOCK TABLE {table} IN {mode} MODE", NO_COLUMN)
            for table in ("charge", "event", "invoice", "facility", "permission")
            for mode in ("ACCESS EXCLUSIVE", "SHARE")
        ),
        ("vic", "SELECT pg_advisory_lock(1)", "permission denied for function pg_advisory_lock"),
        (
            "iss",
            "SELECT pg_advisory_lock(hashtextextended('billing.event:RC', 0))",
            "permission denied for function pg_advisory_lock",
        ),
        (
            "iss",
            "SELECT pg_try_advisory_lock(1)",
            "permission denied for function pg_try_advisory_lock",
        ),
        (
            "iss",
            "SELECT pg_advisory_xact_lock(1, 2)",
            "permission denied for function pg_advisory_xact_lock",
        ),
        (
            "iss",
            "SELECT pg_advisory_unlock_all()",
            "permission denied for function pg_advisory_unlock_all",
        ),
        ("vic", "SELECT billing_guard_hold('issuing:RC')", "vic may not hold the lock issuing:RC"),
        ("far", "SELECT billing_guard_hold('issuing:RC')", "far may not hold the lock issuing:RC"),
        ("rev", "SELECT billing_guard_hold('sending')", "rev may not hold the lock sending"),
        ("iss", "SELECT billing_guard_hold('event:RC')", "iss may not hold the lock event:RC"),
    ],
}


@contextmanager
def _as(url: str, login: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(url_as(url, login), autocommit=True) as session:
        yield session


@pytest.fixture(scope="module")
def url(new_postgresql: Callable[[str], str], postgresql_template: str) -> str:
    """A ledger with issued, submitted and open invoices, a pending charge, and a second facility."""
    made = new_postgresql(postgresql_template)
    let_in(made, ("boss", "far", "non", *ROLES))
    with psycopg.connect(made, autocommit=True) as operator:
        operator.execute("CREATE ROLE nobody LOGIN")
        operator.execute(f"GRANT CONNECT ON DATABASE {make_url(made).database} TO nobody".encode())
    engine = open_ledger(url_as(made, "boss"))
    with writing(engine) as connection:
        load_and_rate(connection)
        all_there_is(connection)
        for login, (role, team) in ROLES.items():
            people.insert_permission(connection, "RC", login, role, team)
        late_charge(connection, project="p2")
        late_charge(connection, "waits", project="p3")
        for run, project, code in ((RUN2, "p2", "late"), (RUN3, "p3", "waits")):
            assert runs.make_run(connection, "RC", "2020-04", f"projects: {project}", "") == run
            april_drafts(connection, run, project)
            placed = {"charge": [code], "invoice": [f"{run}/{project}"]}
            charges.attach_charges(connection, "RC", _frame(placed))
        waiting = [f"{RUN3}/p3"]
        charges.bind_charges(connection, "RC", waiting, RUN3)
        total = {"code": waiting, "team": ["smith-lab"], "charges": [1], "raw_total": [100]}
        none = {"adjustment": [0], "tax": [None], "total": [100], "cost": [None]}
        invoices.set_totals(connection, "RC", _frame(total | none))
        invoices.move_invoices(connection, "RC", waiting, "submit")
    engine.dispose()
    engine = open_ledger(url_as(made, "far"))
    with writing(engine) as connection:
        people.know_facility(connection, "NF", "Nanofab", "USD", "America/New_York")
        record_event(connection, "NF", "rules", "2020-04", "")
    engine.dispose()
    return made


def _frame(columns: dict[str, list[object]]) -> object:
    import polars as pl  # noqa: PLC0415

    return pl.DataFrame(columns)


def test_the_table_is_long_enough() -> None:
    assert sum(map(len, TRIED.values())) >= 100


@pytest.mark.parametrize("group", TRIED)
def test_each_statement_is_refused_in_a_sentence(url: str, group: str) -> None:
    wrong = []
    for who in dict.fromkeys(who for who, _, _ in TRIED[group]):
        with _as(url, who) as session:
            for login, statement, says in TRIED[group]:
                if login == who:
                    said = _tried(session, statement)
                    if not (said == "" if says == "" else said.startswith(says)):
                        wrong.append((who, statement, said))
    assert not wrong, "\n".join(map(str, wrong))


def _tried(session: psycopg.Connection[tuple[object, ...]], statement: str) -> str:
    """The database's sentence, '' where no row was found, and else the number of rows."""
    try:
        *before, last = statement.split("; ") if not statement.startswith("DO") else [statement]
        if not before or not before[0].startswith("BEGIN"):
            before.insert(0, "BEGIN")
        for each in before:
            session.execute(each.encode())
        cursor = session.execute(last.encode())
    except psycopg.Error as error:
        said = error.diag.message_primary or str(error)
        assert "\n" not in said
        return said
    else:
        return f"THROUGH: {cursor.rowcount} rows" if cursor.rowcount else ""
    finally:
        session.rollback() if not session.autocommit else session.execute(b"ROLLBACK")
        session.execute(b"RESET ALL")
