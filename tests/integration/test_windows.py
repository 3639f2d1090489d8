"""Phones that look at fifty of five thousand machines in two pools, over real connections."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from tests.integration.support import JSON, MSGPACK, Client, View, connected, proxy_on, same
from xoproxy import app
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool

FIELDS = ["name_label", "power_state"]
QUERY = {
    "classes": ["VM"],
    "filter": "!is_a_template !is_a_snapshot !is_control_domain",
    "fields": {"VM": FIELDS},
    "order": ["-power_state", "name_label"],
    "facets": ["power_state", "tags"],
}
KINDS = ("is_a_template", "is_a_snapshot", "is_control_domain")


def crowded(vms: int, seed: int) -> Any:
    """Make an estate of many VMs and few other objects."""
    estate = generate(2, 8, seed)
    (pattern, *_) = (vm for vm in estate["VM"].values() if not any(vm.get(kind) for kind in KINDS))
    related: dict[str, Any] = {
        name: [] for name, value in pattern.items() if name.startswith("V") and value == []
    }
    for number in range(vms):
        ref = f"OpaqueRef:00000000-0000-0000-{seed:04}-{number:012}"
        estate["VM"][ref] = {
            **pattern,
            **related,
            "uuid": ref.removeprefix("OpaqueRef:"),
            "name_label": f"web-{number * 7919 % vms:05}",
            "power_state": "Running" if number % 3 else "Halted",
            "tags": ["prod"] if number % 10 == 0 else [],
        }
    return estate


class Estate:
    """Two pools behind a proxy, and what is in them."""

    def __init__(self, proxy: app.Proxy, pools: dict[str, SimulatedPool]) -> None:
        self.url = proxy.url
        self.pools = pools
        self.vms = [
            (pool, ref)
            for pool, one in pools.items()
            for ref in one.database.refs("VM")
            if not any(one.database.get("VM", ref, kind) for kind in KINDS)
        ]

    def write(self, number: int, field: str, value: Any) -> None:
        pool, ref = self.vms[number % len(self.vms)]
        self.pools[pool].database.write("VM", ref, field, value)

    def document(self, offset: int, count: int) -> dict[str, Any]:
        """Say what a window must show, from the pools' own databases."""
        found = [
            (pool, ref, {f: self.pools[pool].database.get("VM", ref, f) for f in (*FIELDS, "tags")})
            for pool, ref in self.vms
        ]
        found.sort(key=lambda vm: (vm[2]["name_label"].casefold(), *vm[:2]))
        found.sort(key=lambda vm: vm[2]["power_state"].casefold(), reverse=True)
        return {
            "rows": [
                (pool, ref, {f: vm[f] for f in FIELDS})
                for pool, ref, vm in found[offset : offset + count]
            ],
            "total": len(found),
            "facets": {
                "power_state": dict(Counter(vm["power_state"] for *_, vm in found)),
                "tags": dict(Counter(tag for *_, vm in found for tag in vm["tags"])),
            },
        }


@asynccontextmanager
async def two_pools(*sizes: int) -> AsyncIterator[Estate]:
    async with AsyncExitStack() as stack:
        pools = [
            await stack.enter_async_context(SimulatedPool(crowded(vms, seed)))
            for seed, vms in enumerate(sizes)
        ]
        proxy = await stack.enter_async_context(proxy_on(*(pool.url for pool in pools)))
        urls = {info.url: info.id for info in await proxy.registry.list()}
        yield Estate(proxy, {urls[pool.url]: pool for pool in pools})


def held(view: View) -> dict[str, Any]:
    document = view.document
    assert sorted(document["order"]) == sorted(document["VM"])
    objects = [document["VM"][key] for key in document["order"]]
    return {
        "rows": [(o["$pool"], o["$ref"], {f: o[f] for f in FIELDS}) for o in objects],
        "total": document["total"],
        "facets": document["facets"],
    }


async def shows(client: Client, view: View, expected: dict[str, Any]) -> None:
    try:
        await client.until(lambda: view.complete and same(held(view), expected), 5)
    except TimeoutError:
        assert held(view) == expected


async def test_a_phone_gets_what_it_shows_and_nothing_else():
    async with two_pools(4_000, 1_000) as estate:
        for protocol in (JSON, MSGPACK):
            await look_around(estate, protocol)


async def look_around(estate: Estate, protocol: str) -> None:
    async with connected(estate.url, protocol) as phone:
        (view,) = await phone.subscribe(4, **QUERY, window=[0, 50])
        await shows(phone, view, estate.document(0, 50))
        snapshot_bytes = phone.received_bytes
        assert snapshot_bytes < 10_000

        for offset in (50, 100, 4_975, 6_000, 0):
            await phone.send({"type": "window", "id": 4, "window": [offset, 50]})
            await shows(phone, view, estate.document(offset, 50))
        assert phone.received_bytes < 10 * snapshot_bytes  # rows go and come one by one

        for number in range(400):
            estate.write(number * 37, "memory_target", number << 20)
            estate.write(number * 41, "name_description", f"changed {number}")
        before = phone.received_bytes
        estate.write(5, "power_state", "Suspended")
        await shows(phone, view, estate.document(0, 50))
        assert phone.received_bytes - before < 1_500

        for number in range(500):
            states = ("Running", "Halted", "Paused", "Suspended")
            estate.write(number * 13, "power_state", states[number % 4])
            estate.write(number * 17, "name_label", f"Web-{number * 31 % 5_000:05}")
            if number % 25 == 0:
                await asyncio.sleep(0.02)
        await shows(phone, view, estate.document(0, 50))
        assert view.resets == []


async def test_forty_phones_share_what_they_look_at():
    async with two_pools(400, 100) as estate, AsyncExitStack() as stack:
        phones = [
            await stack.enter_async_context(connected(estate.url, (JSON, MSGPACK)[number % 2]))
            for number in range(40)
        ]
        views = []
        for number, phone in enumerate(phones):
            (view,) = await phone.subscribe(1, **QUERY, window=[number // 10 * 50, 50])
            views.append(view)
        for round_ in range(5):
            for number in range(20):
                estate.write(round_ * 200 + number * 11, "power_state", "Paused")
            for phone in phones[::7]:
                await phone.send({"type": "window", "id": 1, "window": [round_ * 20, 50]})
        for number, (phone, view) in enumerate(zip(phones, views, strict=True)):
            offset = number // 10 * 50 if number % 7 else 4 * 20
            await shows(phone, view, estate.document(offset, 50))
