"""Migrations: the tables' history, run by alembic through ledger/database.py."""
