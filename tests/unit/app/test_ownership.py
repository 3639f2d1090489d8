"""What somebody makes is his, while it is there."""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from xoproxy.app.ownership import Ownership
from xoproxy.auth import Account, Administration, Contents, Directory, Kind, Scope
from xoproxy.cache.store import Store
from xoproxy.errors import ErrorCode, RequestRefused, XapiFailure
from xoproxy.model import PoolId, Ref, Removal, Upsert, XapiClass

POOL = PoolId("p")
REF = Ref("OpaqueRef:made")
UUID = "11111111-1111-1111-1111-111111111111"


class Kept:
    """Where grants last; `broken` when it cannot be written."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.broken = False
        self.failed = asyncio.Event()

    async def add_grant(self, grant):
        self._check()
        self.ids.append(grant.id)

    async def remove_grant(self, grant_id):
        self._check()
        self.ids.remove(grant_id)

    async def remove_account(self, account_id): ...

    def _check(self):
        if self.broken:
            self.failed.set()
            raise OSError("the disk is full")


class Told:
    def __init__(self) -> None:
        self.concerned = asyncio.Event()

    def rights_changed(self, account_ids):
        del account_ids
        self.concerned.set()

    def account_ended(self, account_id): ...


class Desk:
    """One pool, one account, and what happens to them."""

    def __init__(self) -> None:
        account = Account("a", "ada", "", "", True, datetime.now(UTC))
        self.directory = Directory(Contents(accounts=(account,)))
        self.kept, self.told = Kept(), Told()
        self.administration = Administration(self.directory, self.kept, None, self.told)  # type: ignore[arg-type]
        self.store = Store(POOL, "epoch")
        self.pools = {POOL: self.store}
        self.ownership = Ownership(self.directory, self.pools)
        self.commit()

    def commit(self, *events):
        prepared = self.store.prepare(events)
        while prepared.step():
            pass
        self.ownership.committed(self.store.commit(prepared, 0.0))

    def appears(self, ref=REF, uuid=UUID, cls="VM"):
        self.commit(Upsert(XapiClass(cls), ref, json.dumps({"uuid": uuid}).encode()))

    @property
    def scopes(self):
        grants = self.directory.grants.values()
        assert self.kept.ids == list(self.directory.grants)
        assert {(g.account_id, g.role, g.deny) for g in grants} <= {("a", "user", False)}
        return [grant.scope for grant in grants]

    async def make(self, result=REF, before=None):
        async def call():
            if before is not None:
                await before.wait()
            if isinstance(result, Exception):
                raise result
            return result

        return await self.ownership.make("a", POOL, call)

    async def until_granted(self, count):
        async with asyncio.timeout(10):
            while len(self.directory.grants) != count:
                self.told.concerned.clear()
                await self.told.concerned.wait()


@pytest.fixture
async def desk():
    async with open_desk() as desk:
        yield desk


@asynccontextmanager
async def open_desk():
    desk = Desk()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(desk.ownership.run(desk.administration))
        await asyncio.sleep(0)
        yield desk
        running.cancel()


HIS = Scope(Kind.OBJECT, POOL, UUID)


async def test_what_is_there_already_is_his_when_he_is_told(desk):
    desk.appears()
    assert await desk.make() == REF
    assert desk.scopes == [HIS]


async def test_what_events_tell_later_is_waited_for(desk):
    answered = asyncio.Event()

    async def call():
        answered.set()
        return REF

    async with asyncio.TaskGroup() as group:
        making = group.create_task(desk.ownership.make("a", POOL, call))
        await answered.wait()
        assert not making.done()
        desk.appears(Ref("OpaqueRef:other"), "other")
        desk.appears()
        assert await making == REF
    assert desk.scopes == [HIS]


async def test_who_leaves_gets_it_all_the_same(desk):
    answered = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        making = group.create_task(desk.make(before=answered))
        await asyncio.sleep(0)
        making.cancel()
    assert making.cancelled()
    desk.appears()
    answered.set()
    await desk.until_granted(1)
    assert desk.scopes == [HIS]


async def test_a_call_that_fails_makes_nothing(desk):
    for error in (XapiFailure("SR_FULL"), RequestRefused(ErrorCode.BUSY, "later")):
        with pytest.raises(type(error)) as raised:
            await desk.make(error)
        assert raised.value is error
    assert await desk.make("") == ""
    assert desk.scopes == []


async def test_a_fault_is_told_to_who_called_and_ends_nothing_else(desk):
    desk.appears()
    desk.kept.broken = True
    with pytest.raises(OSError, match="full"):
        await desk.make()
    desk.kept.broken = False
    assert await desk.make() == REF
    assert desk.scopes == [HIS]


@pytest.mark.looptime
async def test_what_no_event_tells_of_is_nobodys():
    async with open_desk() as desk:
        assert await desk.make() == REF
        desk.pools.clear()
        assert await desk.make() == REF
        assert desk.scopes == []


async def test_a_removed_account_gets_nothing(desk):
    desk.appears()
    await desk.administration.remove_account("a")
    assert await desk.make() == REF
    assert desk.scopes == []


async def test_it_is_his_no_more_when_it_is_gone(desk):
    desk.appears()
    await desk.make()
    desk.appears(Ref("OpaqueRef:other"), "other")
    desk.commit(Removal(Ref("OpaqueRef:other")))
    desk.commit(Removal(REF))
    await desk.until_granted(0)
    assert desk.scopes == []


async def test_what_went_while_it_was_given_is_not_his(desk):
    desk.appears()
    add = desk.kept.add_grant

    async def slowly(grant):
        desk.commit(Removal(REF))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not desk.ownership._gone  # what went was looked at, and nobody had it yet
        await add(grant)

    desk.kept.add_grant = slowly
    assert await desk.make() == REF
    assert desk.scopes == []


async def test_what_comes_back_under_another_reference_stays_his(desk):
    desk.appears()
    await desk.make()
    record = json.dumps({"uuid": UUID}).encode()
    desk.commit(Upsert(XapiClass("VM"), Ref("OpaqueRef:again"), record), Removal(REF))
    desk.appears(Ref("OpaqueRef:x"), "x")
    await desk.administration.add_grant("user", Scope(Kind.OBJECT, POOL, "x"), account_id="a")
    desk.commit(Removal(Ref("OpaqueRef:x")))  # when this one is gone, the other was looked at
    await desk.until_granted(1)
    assert desk.scopes == [HIS]


async def test_a_pool_that_is_listed_anew_without_it_takes_it_back(desk):
    there, gone = (Scope(Kind.OBJECT, POOL, uuid) for uuid in ("there", "gone"))
    elsewhere = Scope(Kind.OBJECT, PoolId("q"), "gone")
    for scope in (there, gone, elsewhere):
        await desk.administration.add_grant("user", scope, account_id="a")
    desk.appears(Ref("OpaqueRef:sr"), "there", "SR")
    desk.ownership.loaded(desk.store)
    await desk.until_granted(2)
    assert desk.scopes == [there, elsewhere]


@pytest.mark.parametrize("more", [{"deny": True}, {"role": "viewer"}])
async def test_other_grants_on_it_stay(desk, more):
    desk.appears()
    more = {"role": "user", "account_id": "a"} | more
    kept = await desk.administration.add_grant(more.pop("role"), HIS, **more)
    await desk.make()
    desk.commit(Removal(REF))
    await desk.until_granted(1)
    assert list(desk.directory.grants) == [kept.id]


async def test_a_grant_that_cannot_be_taken_back_ends_nothing(desk):
    desk.appears()
    await desk.make()
    desk.kept.broken = True
    desk.commit(Removal(REF))
    async with asyncio.timeout(10):
        await desk.kept.failed.wait()
    desk.kept.broken = False
    desk.appears(Ref("OpaqueRef:b"), "b")
    await desk.make(Ref("OpaqueRef:b"))
    desk.ownership.loaded(desk.store)
    await desk.until_granted(1)
    assert desk.scopes == [Scope(Kind.OBJECT, POOL, "b")]
