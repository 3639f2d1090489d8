"""Storage on each database that there is."""

import pytest

from tests.unit.storage.places import Place, sqlite_place


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path) -> Place:
    """Where a new storage may be made."""
    if request.param == "sqlite":
        return sqlite_place(tmp_path / "data")
    return request.getfixturevalue("postgresql_place")


@pytest.fixture
def postgresql_place(postgresql_server, new_database, tmp_path) -> Place:
    return Place(new_database(), tmp_path / "data", postgresql_server)
