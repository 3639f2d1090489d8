"""Finding an object by its uuid: in what a pool was listed to hold, and nowhere else."""

import pytest

from tests.unit.auth.estate import POOL, estate
from xoproxy.app.objects import Objects
from xoproxy.cache.store import Store
from xoproxy.errors import ErrorCode, RequestRefused
from xoproxy.model import PoolId
from xoproxy.storage import open_storage


@pytest.fixture
async def stored(tmp_path):
    async with open_storage(f"sqlite:///{tmp_path}/x.db", tmp_path / "key") as storage:
        yield storage.pools


async def test_an_object_is_found_with_its_pool_as_it_is_now(stored):
    objects = Objects(stored, {POOL: estate()}.__getitem__)
    state, entry = await objects.find(POOL, "uuid-of-a")
    assert (entry.cls, state.get(entry.ref)) == ("VDI", entry)


async def test_the_index_of_uuids_is_made_when_it_is_first_needed(stored):
    store = Store.restored(estate().saved(), [])
    assert not store.has_references
    state, entry = await Objects(stored, {POOL: store}.__getitem__).find(POOL, "uuid-a")
    assert state.get(entry.ref) == entry


@pytest.mark.parametrize(
    ("pool", "code"),
    [
        (POOL, ErrorCode.NOT_FOUND),
        (PoolId("new"), ErrorCode.POOL_UNAVAILABLE),
        (PoolId("gone"), ErrorCode.NOT_FOUND),
    ],
)
async def test_what_is_not_there_is_told_apart_from_what_nobody_knows(stored, pool, code):
    stores = {POOL: estate(), PoolId("new"): Store(PoolId("new"), "epoch")}
    with pytest.raises(RequestRefused) as caught:
        await Objects(stored, stores.__getitem__).find(pool, "uuid-nowhere")
    assert caught.value.code is code


async def test_pools_are_known_by_name(stored):
    added = await stored.add("lab", "https://xcp1", "root", "x")
    nothing: dict[PoolId, Store] = {}
    assert await Objects(stored, nothing.__getitem__).pools() == {added.id: "lab"}
