import msgspec
import pytest

from xoproxy.errors import PoolUnreachable, XapiFailure
from xoproxy.model import Ref, XapiClass
from xoproxy.pool.legacy_events import LegacyEvents
from xoproxy.pool.replies import Event

VM, SR, MESSAGE = XapiClass("VM"), XapiClass("SR"), XapiClass("message")
RECORD = msgspec.Raw(b'{"uuid":"1"}')


class Pool:
    """Notes what is asked and answers from lists."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.lists: dict[XapiClass, object] = {VM: {"OpaqueRef:v": RECORD}, SR: {}}
        self.queue: list[object] = []

    async def call(self, method, params=()):  # noqa: ARG002 - a port
        self.asked.append(method)
        return msgspec.Raw(b'""')

    async def records(self, cls):
        self.asked.append(f"list {cls}")
        found = self.lists.get(cls, {})
        if isinstance(found, Exception):
            raise found
        return found

    async def next_events(self):
        self.asked.append("next")
        step = self.queue.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


async def test_registering_comes_before_listing():
    pool = Pool()
    reply = await LegacyEvents(pool).events([VM, SR], "")

    assert pool.asked == ["event.unregister", "event.register", "list VM", "list SR"]
    assert reply.events == [Event("add", Ref("OpaqueRef:v"), "vm", RECORD)]
    assert reply.token
    assert reply.valid_ref_counts == {}


async def test_a_class_is_listed_when_it_is_first_asked_for():
    pool = Pool()
    pool.lists[MESSAGE] = {"OpaqueRef:m": RECORD}
    pool.queue = [[]]
    legacy = LegacyEvents(pool)
    token = (await legacy.events([VM], "")).token
    pool.asked.clear()

    reply = await legacy.events([VM, MESSAGE], token)
    assert [e.ref for e in reply.events] == ["OpaqueRef:m"]
    assert (await legacy.events([VM, MESSAGE], token)).events == []
    assert pool.asked == ["list message", "next"]


async def test_only_the_last_event_of_an_object_counts():
    pool = Pool()
    old, new = msgspec.Raw(b"{}"), RECORD
    pool.queue = [
        [
            Event("add", Ref("a"), "vm", old),
            Event("mod", Ref("b"), "vm", old),
            Event("mod", Ref("a"), "vm", new),
            Event("del", Ref("b"), "vm", old),
            Event("mod", Ref("c"), "sr", old),
        ]
    ]
    legacy = LegacyEvents(pool)
    token = (await legacy.events([VM], "")).token

    reply = await legacy.events([VM], token)
    assert [(e.operation, e.ref) for e in reply.events] == [
        ("mod", "a"),
        ("del", "b"),
        ("mod", "c"),
    ]
    assert reply.events[0].record == new
    assert reply.token == token


@pytest.mark.parametrize(
    "failure",
    [
        PoolUnreachable("The pool did not answer in time.", "TIMEOUT"),
        XapiFailure("EVENTS_LOST"),
        XapiFailure("SESSION_NOT_REGISTERED", ("trackid=1",)),
        XapiFailure("SESSION_INVALID", ("OpaqueRef:s",)),
    ],
)
async def test_after_any_failure_the_position_is_lost(failure):
    pool = Pool()
    pool.queue = [failure, []]
    legacy = LegacyEvents(pool)
    token = (await legacy.events([VM], "")).token

    with pytest.raises(type(failure)) as caught:
        await legacy.events([VM], token)
    if getattr(failure, "code", "") == "SESSION_NOT_REGISTERED":
        assert caught.value.code == "EVENTS_LOST"
    pool.asked.clear()
    with pytest.raises(XapiFailure) as lost:
        await legacy.events([VM], token)
    assert lost.value.code == "EVENTS_LOST"
    assert pool.asked == []

    anew = await legacy.events([VM], "")
    assert anew.token != token
    assert (await legacy.events([VM], anew.token)).events == []


async def test_a_position_of_another_registration_does_not_hold():
    legacy = LegacyEvents(Pool())
    await legacy.events([VM], "")

    with pytest.raises(XapiFailure) as caught:
        await legacy.events([VM], "00000000000000000007,0")
    assert caught.value.code == "EVENTS_LOST"


async def test_a_class_that_may_not_be_listed_is_empty_but_a_dead_session_is_not():
    pool = Pool()
    pool.lists[VM] = XapiFailure("RBAC_PERMISSION_DENIED")
    legacy = LegacyEvents(pool)
    assert (await legacy.events([VM, SR], "")).events == []

    pool.lists[VM] = XapiFailure("SESSION_INVALID")
    with pytest.raises(XapiFailure):
        await legacy.events([VM, SR], "")
