"""What tests of several packages share as fixtures."""

from collections.abc import Iterator

import pytest

from tests import postgresql


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[postgresql.Server]:
    """A server for all tests of this process; what it keeps need not survive the machine."""
    with postgresql.running("-c", "fsync=off", "-c", "full_page_writes=off") as server:
        yield server
