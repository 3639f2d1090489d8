"""What tests of several packages share as fixtures."""

from collections.abc import Callable, Iterator

import pytest

from tests import postgresql


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[postgresql.Server]:
    """A server for all tests of this process; what it keeps need not survive the machine."""
    with postgresql.running("-c", "fsync=off", "-c", "full_page_writes=off") as server:
        yield server


@pytest.fixture
def new_database(postgresql_server) -> Iterator[Callable[[], str]]:
    """Make empty databases, by their URL; they go with the test."""
    made = []

    def make() -> str:
        made.append(postgresql_server.new_database())
        return made[-1]

    yield make
    for url in made:
        postgresql_server.query("postgres", f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")
