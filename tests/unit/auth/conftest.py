"""A real database, and a clock that a test turns."""

from datetime import UTC, datetime

import pytest

from xoproxy.auth import Tokens
from xoproxy.storage import open_storage


class Now:
    value = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self):
        return self.value


@pytest.fixture
def now():
    return Now()


@pytest.fixture
async def storage(tmp_path):
    async with open_storage(f"sqlite:///{tmp_path}/x.db", tmp_path / "key") as opened:
        yield opened


@pytest.fixture
def tokens(storage, now):
    return Tokens(storage.tokens, now=now)
