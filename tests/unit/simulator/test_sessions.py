"""Who is logged in, and for how long."""

import asyncio

import pytest

from tests.unit.simulator.worlds import HOST, load
from xoproxy.simulator import sessions as sessions_module
from xoproxy.simulator.database import Database
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.sessions import Sessions

pytestmark = pytest.mark.looptime


class Clock:
    """The time that sessions see."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(sessions_module, "time", made)
    return made


@pytest.fixture
def db() -> Database:
    return load()


def is_valid(sessions: Sessions, ref: str) -> bool:
    try:
        sessions.check(ref)
    except XapiError as error:
        return error.description != ["SESSION_INVALID", ref]
    return True


async def test_a_login_makes_a_session_row(db: Database):
    sessions = Sessions(db, "root", "x")
    ref = await sessions.login("root", "x", "me")
    record = db.record("session", ref)

    assert record["originator"] == "me"
    assert record["this_host"] == HOST
    assert record["is_local_superuser"] is True
    assert record["pool"] is False
    assert is_valid(sessions, ref)


@pytest.mark.parametrize(("user", "password"), [("root", "wrong"), ("nobody", "x"), ("root", "ü")])
@pytest.mark.parametrize(("speed", "seconds"), [(1.0, 5.0), (10.0, 0.5)])
async def test_a_wrong_login_is_answered_late(
    db: Database, user: str, password: str, speed: float, seconds: float
):
    with pytest.raises(XapiError) as caught:
        await Sessions(db, "root", "x", speed).login(user, password, "")

    assert caught.value.description[:2] == ["SESSION_AUTHENTICATION_FAILED", user]
    assert asyncio.get_running_loop().time() == pytest.approx(seconds)
    assert db.count("session") == 0


async def test_logout_ends_the_session_its_row_and_wakes_waiters(db: Database):
    sessions = Sessions(db, "root", "x")
    woken: list[int] = []
    sessions.ended.append(lambda: woken.append(1))
    ref = await sessions.login("root", "x", "")
    sessions.logout(ref)

    assert not is_valid(sessions, ref)
    assert not db.exists("session", ref)
    assert woken == [1]


async def test_idle_sessions_expire_and_used_ones_do_not(db: Database, clock: Clock):
    sessions = Sessions(db, "root", "x")
    idle, used = [await sessions.login("root", "x", "") for _ in range(2)]
    clock.seconds += 20 * 3600
    assert is_valid(sessions, used)
    clock.seconds += 5 * 3600
    sessions.collect()

    assert not is_valid(sessions, idle)
    assert is_valid(sessions, used)


async def test_a_session_whose_row_is_gone_ends(db: Database):
    """As when the database was put back to what it was before the login."""
    sessions = Sessions(db, "root", "x")
    before = db.snapshot()
    ref = await sessions.login("root", "x", "me")
    db.restore(before)
    sessions.collect()

    assert len(sessions) == 0
    assert not is_valid(sessions, ref)


async def test_a_session_whose_task_runs_is_not_idle(db: Database, clock: Clock):
    sessions = Sessions(db, "root", "x")
    busy, idle = [await sessions.login("root", "x", "") for _ in range(2)]
    clock.seconds += 30 * 3600
    sessions.collect({busy})

    assert is_valid(sessions, busy)
    assert not is_valid(sessions, idle)


async def test_last_active_is_written_at_most_every_ten_minutes(db: Database, clock: Clock):
    sessions = Sessions(db, "root", "x")
    ref = await sessions.login("root", "x", "")
    db.write("session", ref, "last_active", "long ago")
    clock.seconds += 599
    sessions.check(ref)
    assert db.get("session", ref, "last_active") == "long ago"

    clock.seconds += 1
    sessions.check(ref)
    assert db.get("session", ref, "last_active") != "long ago"


async def test_the_least_recently_used_of_an_originator_go_first(db: Database, clock: Clock):
    sessions = Sessions(db, "root", "x")
    crowd = []
    for _ in range(501):
        clock.seconds += 1
        crowd.append(await sessions.login("root", "x", "crowd"))
    lonely = await sessions.login("root", "x", "lonely")
    sessions.collect()

    assert [ref for ref in crowd if not is_valid(sessions, ref)] == crowd[:1]
    assert is_valid(sessions, lonely)
    assert len(sessions) == 501


async def test_the_password_can_be_changed(db: Database):
    sessions = Sessions(db, "root", "x")
    sessions.change_password("x", "y")

    assert await sessions.login("root", "y", "")
    with pytest.raises(XapiError):
        sessions.change_password("x", "z")
