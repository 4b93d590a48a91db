"""What the tables share: their metadata, and the columns that many of them have."""

from sqlalchemy import BigInteger, Column, FetchedValue, ForeignKey, MetaData, Text

from billing_lib.ledger.types import Instant

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""All tables of the ledger, once the modules with tables are imported."""


def facility_key() -> Column[str]:
    """The facility, as the first part of a key."""
    return Column("facility", Text, ForeignKey("facility.code"), primary_key=True)


def of_facility() -> Column[str]:
    """The facility of a row that has another key."""
    return Column("facility", Text, ForeignKey("facility.code"), nullable=False)


def stated(name: str) -> Column[str]:
    """A text that is always there."""
    return Column(name, Text, nullable=False)


def minor(name: str) -> Column[int]:
    """An amount in whole minor units, or a count, that is always there."""
    return Column(name, BigInteger, nullable=False)


def stamped(name: str, kind: type[Text] | type[Instant]) -> Column[object]:
    """Who or when: PostgreSQL's triggers set it, whatever the client sends."""
    return Column(name, kind, FetchedValue(), nullable=False)
