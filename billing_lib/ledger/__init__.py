"""The database: tables, guards, migrations and queries; the only place with SQL."""
