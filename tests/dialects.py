"""What only one database has is tested on that one: decorators beside the fixture ``ledger``."""

import pytest

ON_SQLITE = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)
