"""Who is let in by HTTP, and what becomes of the tasks."""

import base64
import contextlib

import pytest

from tests.unit.simulator.worlds import Client, client
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.http import Head, PageError
from xoproxy.simulator.http_auth import HttpAuth


def head(*, query: dict[str, str] | None = None, **headers: str) -> Head:
    return Head("GET", "/x", "1.1", headers, query or {})


def auth_of(world: Client) -> HttpAuth:
    return HttpAuth(world.db, world.world.sessions, world.world.tasks)


def basic(text: bytes) -> str:
    return f"Basic {base64.b64encode(text).decode()}"


async def status(world: Client, asked: Head) -> int:
    """Return the status of the page that refuses a request; 200 if none does."""
    try:
        async with auth_of(world).admit(asked, "realm"):
            return 200
    except PageError as error:
        return error.status


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (basic(b"root:secret"), 200),
        (basic(b"root:wrong"), 401),
        (basic(b"root"), 500),  # XAPI fails on credentials of a kind that it does not know
        ("Basic !!!", 500),
        ("Basic \u00e9", 500),
        (basic(b"\xff:\xff"), 500),
        ("Bearer x", 500),
        ("", 401),
    ],
)
@pytest.mark.looptime  # a wrong password is answered late
async def test_passwords(header, expected):
    async with client() as world:
        before = len(world.world.sessions)
        assert await status(world, head(authorization=header)) == expected
        assert len(world.world.sessions) == before


async def test_a_cookie_is_looked_at_before_the_query_and_both_before_a_password():
    async with client() as world:
        good, bad = world.session, "OpaqueRef:none"
        by_query = {"session_id": good}
        assert await status(world, head(query=by_query)) == 200
        assert await status(world, head(cookie=f"session_id={bad}", query=by_query)) == 401
        assert (
            await status(world, head(cookie=f"session_id={good}", query={"session_id": bad})) == 200
        )
        password = basic(b"root:secret")
        assert await status(world, head(query={"session_id": bad}, authorization=password)) == 401
        assert await status(world, head(cookie="pool_secret=x", authorization=password)) == 401


@pytest.mark.parametrize(
    "form",
    [
        "session_id={}",
        'theme={{"a":[1,2]}}; session_id={}; x',
        "a=b;session_id={}",
        "task_id=none&session_id={}",
        "session_id=OpaqueRef%3A{}",
    ],
)
async def test_cookies_come_in_several_forms(form):
    async with client() as world:
        session = world.session
        if "%3A" in form:
            session = session.removeprefix("OpaqueRef:")
        assert await status(world, head(cookie=form.format(session))) == 200


async def test_the_refusal_names_the_handler():
    async with client() as world:
        with pytest.raises(PageError) as caught:
            async with auth_of(world).admit(head(), "rrd_updates"):
                pass

    assert caught.value.headers == {"WWW-Authenticate": 'Basic realm="rrd_updates"'}


async def test_a_labelled_request_shows_as_a_task_while_it_runs():
    async with client() as world:
        parent = world.world.tasks.create("parent")
        asked = head(query={"session_id": world.session, "subtask_of": parent})
        async with auth_of(world).admit(asked, "realm", "Watching"):
            (task,) = [ref for ref in world.db.refs("task") if ref != parent]
            assert world.db.get("task", task, "name_label") == "Watching"
            assert world.db.get("task", parent, "subtasks") == [task]
        assert world.db.refs("task") == [parent]


@pytest.mark.parametrize(
    ("raised", "status_", "error_info"),
    [
        (None, "success", []),
        (PageError(404, bare=True), "success", []),  # an answer like any other
        (PageError(500), "failure", ["INTERNAL_ERROR", "Internal Error"]),
        (XapiError("VM_HALTED", "x"), "failure", ["VM_HALTED", "x"]),
        (ConnectionResetError(), "failure", ["INTERNAL_ERROR", "End_of_file"]),
    ],
)
async def test_a_given_task_ends_as_the_request_does(raised, status_, error_info):
    async with client() as world:
        task = world.world.tasks.create("given")
        asked = head(query={"session_id": world.session, "task_id": task})
        with contextlib.suppress(PageError, ConnectionResetError):
            async with auth_of(world).admit(asked, "realm", "Watching"):
                assert world.db.refs("task") == [task]
                if raised is not None:
                    raise raised
        record = world.db.record("task", task)

    assert (record["status"], record["error_info"]) == (status_, error_info)
    assert record["progress"] == 1.0


async def test_a_failure_of_xapis_becomes_a_page():
    async with client() as world:
        with pytest.raises(PageError) as caught:
            async with auth_of(world).admit(head(query={"session_id": world.session}), "realm"):
                raise XapiError("VM_HALTED", "x")

    assert caught.value.status == 500


async def test_a_refused_request_leaves_its_task_alone():
    async with client() as world:
        task = world.world.tasks.create("given")
        assert await status(world, head(query={"session_id": "none", "task_id": task})) == 401
        assert world.db.get("task", task, "status") == "pending"
