"""What is written now and then: it outlives a restart, and a database that fails for a while."""

import pytest
from structlog.testing import capture_logs

from xoproxy.app.credentials import credentials
from xoproxy.auth import Throttled
from xoproxy.settings import AccountsSettings
from xoproxy.storage import open_storage


def opened(place):
    return open_storage(f"sqlite:///{place}/x.db", place / "key")


async def test_failures_and_uses_outlive_a_restart(tmp_path):
    async with opened(tmp_path) as storage, credentials(storage, AccountsSettings()) as known:
        await known.accounts.ensure_administrator("hunter2")
        identity = await known.accounts.login_password("admin", "hunter2", "p")
        await known.sessions.open(identity, "p", "Firefox")
        for _ in range(8):
            known.throttle.failed("p", "admin")
        await known.write()
    async with opened(tmp_path) as storage, credentials(storage, AccountsSettings()) as known:
        with pytest.raises(Throttled):
            await known.accounts.login_password("admin", "hunter2", "p")
        assert len(known.sessions.list()) == 1


async def test_what_could_not_be_written_is_written_the_next_time(tmp_path, monkeypatch):
    async with opened(tmp_path) as storage, credentials(storage, AccountsSettings()) as known:
        for _ in range(8):
            known.throttle.failed("p", "admin")
        with monkeypatch.context() as broken, capture_logs() as log:

            async def write(_notes):
                raise TimeoutError

            broken.setattr(storage.sign_ins, "write", write)
            await known.write()
        assert [line["event"] for line in log] == ["sign-ins not written"]
        assert await storage.sign_ins.notes() == []
        await known.write()
        assert [note.failures for note in await storage.sign_ins.notes()] == [8]
