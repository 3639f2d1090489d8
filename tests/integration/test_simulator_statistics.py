"""The statistics of a simulated pool, over real sockets."""

import asyncio
import base64
import itertools
import json
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from xoproxy.simulator.estate import generate
from xoproxy.simulator.hosts import Host
from xoproxy.simulator.pool import SimulatedPool
from xoproxy.simulator.statistics.sources import vms_on

NOW = 1_790_000_003.0
LAST = 1_790_000_000
HANDLERS = ("rrd_updates", "host_rrd", "vm_rrd", "sr_rrd")


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: str

    @property
    def columns(self) -> list[str]:
        return json.loads(self.body)["meta"]["legend"]

    @property
    def rows(self) -> dict[int, list[str]]:
        return {int(row["t"]): row["values"] for row in json.loads(self.body)["data"]}


class Asker:
    """Asks the hosts of a pool, logged in."""

    def __init__(self, pool: SimulatedPool, session: str) -> None:
        self.pool = pool
        self.db = pool.database
        self.session = session
        self.coordinator, self.member = list(pool.hosts)

    async def get(
        self,
        path: str,
        *headers: str,
        host: Host | None = None,
        method: str = "GET",
        **query: Any,
    ) -> Answer:
        """Send one request, without credentials unless they are given."""
        address = (host or self.coordinator).bind
        target = f"/{path}?{urlencode(query)}" if query else f"/{path}"
        reader, writer = await asyncio.open_connection(address, self.pool.address[1])
        try:
            lines = [f"{method} {target} HTTP/1.1", "Host: pool", *headers, "", ""]
            writer.write("\r\n".join(lines).encode())
            async with asyncio.timeout(10):
                answer = await reader.read()  # handlers close
        finally:
            writer.close()
        head, _, body = answer.decode().partition("\r\n\r\n")
        first, *fields = head.split("\r\n")
        named = {k.lower(): v for k, v in (field.split(": ", 1) for field in fields)}
        return Answer(int(first.split(" ")[1]), named, body)

    async def ask(self, path: str, *headers: str, host: Host | None = None, **query: Any) -> Answer:
        return await self.get(path, *headers, host=host, session_id=self.session, **query)

    async def updates(self, *, host: Host | None = None, **query: Any) -> Answer:
        return await self.ask("rrd_updates", host=host, json="true", **query)

    def vm_on(self, host: Host) -> str:
        """Return the uuid of a plain VM that runs on a host."""
        vms = [vm for vm in vms_on(self.db, host.ref) if self.db.get("VM", vm, "domid") > 0]
        return self.db.get("VM", vms[0], "uuid")


@pytest.fixture
async def asker(monkeypatch) -> AsyncIterator[Asker]:
    async with SimulatedPool(generate(2, 12, seed=2), speed=100) as pool:
        monkeypatch.setattr(pool.database, "time", lambda: NOW)
        yield Asker(pool, await pool.sessions.login("root", "x", "test"))


# -- who may ask -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HANDLERS)
async def test_without_credentials_the_realm_is_the_handlers_name(asker, name):
    answer = await asker.get(name)

    assert answer.status == 401
    assert answer.headers["www-authenticate"] == f'Basic realm="{name}"'
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-type"] == "text/html"


@pytest.mark.parametrize(
    "header",
    [
        "Cookie: session_id=OpaqueRef:none",
        "Cookie: pool_secret=guess",
        f"Authorization: Basic {base64.b64encode(b'root:wrong').decode()}",
    ],
)
async def test_wrong_credentials_are_as_good_as_none(asker, header):
    assert (await asker.get("host_rrd", header)).status == 401


async def test_a_session_comes_by_query_by_cookie_or_is_made_for_a_password(asker):
    basic = base64.b64encode(b"root:x").decode()
    before = len(asker.pool.sessions)

    answers = [
        await asker.get("host_rrd", session_id=asker.session),
        await asker.get("host_rrd", f"Cookie: a=b; session_id={asker.session}"),
        await asker.get("host_rrd", f"Authorization: Basic {basic}"),
    ]

    assert [answer.status for answer in answers] == [200, 200, 200]
    assert len(asker.pool.sessions) == before  # the one that was made has ended


async def test_a_cookie_counts_before_the_query(asker):
    answer = await asker.ask("host_rrd", "Cookie: session_id=OpaqueRef:none")

    assert answer.status == 401


async def test_an_unknown_kind_of_credentials_is_an_error(asker):
    assert (await asker.get("host_rrd", "Authorization: Bearer x")).status == 500


async def test_a_session_that_ended_is_refused(asker):
    asker.pool.sessions.logout(asker.session)

    assert (await asker.updates(start=-10)).status == 401


async def test_a_given_task_ends_with_the_request(asker):
    done = asker.pool.tasks.create("transfer")
    failed = asker.pool.tasks.create("transfer")

    await asker.ask("host_rrd", task_id=done)
    await asker.ask("sr_rrd", task_id=failed, uuid="none")

    task = asker.db.record("task", done)
    assert (task["status"], task["progress"], task["result"]) == ("success", 1.0, "")
    task = asker.db.record("task", failed)
    assert (task["status"], task["error_info"]) == ("failure", ["INTERNAL_ERROR", "Internal Error"])


async def test_a_handlers_own_task_is_not_shown(asker):
    before = asker.db.generation

    await asker.updates(start=-10)

    assert asker.db.generation == before  # no task, no session


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "nothing", 403), ("PUT", "nothing", 403), ("DELETE", "rrd_updates", 501)],
)
async def test_what_nothing_answers(asker, method, path, status):
    answer = await asker.get(path, method=method)

    assert (answer.status, answer.headers["content-type"]) == (status, "text/html")


# -- updates -----------------------------------------------------------------------------------


async def test_an_update_has_the_vms_of_the_asked_host_and_the_host_if_wanted(asker):
    for host in (asker.coordinator, asker.member):
        here = {asker.db.get("VM", vm, "uuid") for vm in vms_on(asker.db, host.ref)}
        uuid = asker.db.get("host", host.ref, "uuid")

        plain = await asker.updates(host=host, start=LAST - 5)
        query = urlencode(
            {"session_id": asker.session, "start": LAST - 5, "host": "true", "json": 1}
        )
        with_host = await asker.get(f"rrd_updates?{query}", host=host)

        assert {column.split(":")[2] for column in plain.columns} == here
        assert {column.split(":")[1] for column in plain.columns} == {"vm"}
        assert next(c for c in with_host.columns if ":host:" in c) == f"AVERAGE:host:{uuid}:cpu0"
        assert [c for c in with_host.columns if ":vm:" in c] == plain.columns


async def test_vms_and_srs_are_chosen_by_uuid(asker):
    vm = asker.vm_on(asker.coordinator)

    one = await asker.updates(start=-10, vm_uuid=vm)
    srs = await asker.updates(start=-10, vm_uuid="none", sr_uuid="all")
    elsewhere = await asker.updates(start=-10, vm_uuid=asker.vm_on(asker.member))

    assert {column.split(":")[2] for column in one.columns} == {vm}
    assert {column.split(":")[1] for column in srs.columns} == {"sr"}
    sr = srs.columns[0].split(":")[2]
    assert (await asker.updates(start=-10, vm_uuid="none", sr_uuid=sr)).columns[0] == srs.columns[0]
    assert elsewhere.status == 500  # there is nothing to tell


async def test_of_a_parameter_given_twice_the_first_counts(asker):
    query = f"session_id={asker.session}&start=-10&start=x&json&session_id=none"

    assert (await asker.get(f"rrd_updates?{query}")).status == 200


async def test_polling_yields_every_step_once_and_always_the_same(asker, monkeypatch):
    seen: dict[int, list[str]] = {}
    start = LAST - 60
    for moment in range(LAST - 50, LAST + 60, 7):
        monkeypatch.setattr(asker.db, "time", lambda now=moment: now)
        answer = await asker.updates(start=start, interval=5)
        for t, values in answer.rows.items():
            assert seen.setdefault(t, values) == values
        start = int(json.loads(answer.body)["meta"]["end"]) + 5

    moments = sorted(seen)
    assert {b - a for a, b in itertools.pairwise(moments)} == {5}
    whole = await asker.updates(start=moments[0], interval=5)
    assert {t: values for t, values in whole.rows.items() if t in seen} == seen


@pytest.mark.parametrize(
    ("query", "step"),
    [
        ({"start": LAST - 5}, "5"),
        ({"start": LAST - 5, "interval": 60}, "60"),
        ({"start": LAST - 3600}, "60"),
        ({"start": LAST - 86_400, "interval": "none"}, "3600"),
        ({"start": 0}, "86400"),
        ({"start": -30}, "5"),
    ],
)
async def test_the_step_follows_from_start_and_interval(asker, query, step):
    meta = json.loads((await asker.updates(**query)).body)["meta"]

    assert meta["step"] == step
    assert int(meta["end"]) == LAST // int(step) * int(step)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({}, 400),
        ({"start": "soon"}, 500),
        ({"start": 1 << 63}, 500),
        ({"start": LAST, "cf": "LAST"}, 500),
        ({"start": LAST, "cf": "MAX"}, 500),  # of VMs only averages are kept
        ({"start": LAST, "vm_uuid": "none"}, 500),
        ({"start": LAST, "interval": 1_000_000}, 500),
        ({"start": LAST, "cf": "MEDIAN"}, 200),  # as if it had not been asked for
    ],
)
async def test_questions_that_have_no_answer(asker, query, status):
    assert (await asker.updates(**query)).status == status


async def test_extremes_of_the_host_enclose_its_average(asker):
    query = {"session_id": asker.session, "start": LAST - 7000, "vm_uuid": "none", "json": 1}
    answer = await asker.get(f"rrd_updates?{urlencode({**query, 'host': 'true'})}")
    third = len(answer.columns) // 3

    assert [c.split(":")[0] for c in answer.columns[::third]] == ["AVERAGE", "MIN", "MAX"]
    for values in answer.rows.values():
        numbers = list(map(float, values))
        for average, low, high in zip(
            numbers[:third], numbers[third : 2 * third], numbers[2 * third :], strict=True
        ):
            assert low <= average <= high


async def test_a_pool_may_keep_extremes_of_vms_too(asker):
    config = {"create_min_max_in_new_VM_RRDs": "true"}
    asker.db.write("pool", asker.db.refs("pool")[0], "other_config", config)

    answer = await asker.updates(start=LAST - 7000, cf="MAX")

    assert {column.split(":")[0] for column in answer.columns} == {"MAX"}


# -- forms -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "query", "kind"),
    [
        ((), {}, "text/xml"),
        ((), {"json": "true"}, "application/json"),
        (("Accept: */*",), {}, "application/json"),
        (("Accept: text/xml",), {"json": "true"}, "text/xml"),
        (("Accept: image/png",), {"json": "true"}, "application/json"),
    ],
)
async def test_the_accept_header_counts_before_the_query(asker, headers, query, kind):
    answer = await asker.ask("rrd_updates", *headers, start=-10, **query)

    assert answer.headers["content-type"] == kind
    if kind == "text/xml":
        assert ET.fromstring(answer.body).tag == "xport"  # noqa: S314
    else:
        assert answer.columns


async def test_a_senseless_accept_header_is_an_error(asker):
    assert (await asker.ask("rrd_updates", "Accept: json", start=-10)).status == 500


@pytest.mark.parametrize(
    ("release", "begins"),
    [("8.2", "{meta: {start:"), ("24.10.0", '{"meta":{"start":"'), ("8.3", '{"meta":{"start":"')],
)
async def test_json_looks_as_the_release_writes_it(release, begins):
    async with SimulatedPool(generate(1, 3), release=release) as pool:
        asker_ = object.__new__(Asker)
        asker_.pool, asker_.db, (asker_.coordinator,) = pool, pool.database, list(pool.hosts)
        asker_.session = await pool.sessions.login("root", "x", "test")
        answer = await asker_.ask("rrd_updates", "Accept: text/xml", start=-10, json="true")
        negotiated = answer.body.startswith("<?xml")
        answer = await asker_.updates(start=-10)

    assert answer.body.startswith(begins)
    assert negotiated == (release != "8.2")
    assert ("content-type" in answer.headers) == (release != "8.2")
    if release != "8.2":
        told = json.loads(answer.body)
        assert ("data" in told) == (release == "8.3")


# -- whole archives ----------------------------------------------------------------------------


async def test_a_host_dumps_its_archives(asker):
    root = ET.fromstring((await asker.ask("host_rrd")).body)  # noqa: S314

    assert root.findtext("version") == "0003"
    assert root.findtext("lastupdate") == str(int(NOW))
    shapes = [
        (e.findtext("cf"), e.findtext("pdp_per_row"), len(e.findall("database/row")))
        for e in root.findall("rra")
    ]
    coarse = [(cf, size, n) for size, n in (("12", 120), ("720", 168), ("17280", 366))
              for cf in ("AVERAGE", "MIN", "MAX")]  # fmt: skip
    assert shapes == [("AVERAGE", "1", 120), *coarse]


async def test_a_dump_holds_the_values_of_updates(asker):
    vm = asker.vm_on(asker.coordinator)
    dump = json.loads((await asker.ask("vm_rrd", uuid=vm, json=1)).body)
    update = await asker.updates(start=LAST - 595, vm_uuid=vm)

    assert [ds["name"] for ds in dump["ds"]] == [c.split(":")[3] for c in update.columns]
    newest_last = [update.rows[t] for t in sorted(update.rows)]
    assert dump["rra"][0]["database"][-len(newest_last) :] == newest_last


async def test_a_vm_elsewhere_is_found_by_following_the_answer(asker):
    vm = asker.vm_on(asker.member)

    first = await asker.ask("vm_rrd", uuid=vm, json=1)
    parts = urlsplit(first.headers["location"])
    second = await asker.get(f"{parts.path[1:]}?{parts.query}", host=asker.member)

    assert (first.status, parts.hostname, parts.port) == (
        302,
        asker.member.address,
        asker.pool.address[1],
    )
    assert second.status == 200
    assert json.loads(second.body)["version"] == "0003"


async def test_a_halted_vm_is_asked_for_at_the_coordinator(asker):
    vm = asker.vm_on(asker.member)
    ref = asker.db.by_uuid("VM", vm)
    start = "20260401T12:00:00Z"
    asker.db.write("VM_metrics", asker.db.get("VM", ref, "metrics"), "start_time", start)
    asker.db.write("VM", ref, "resident_on", "OpaqueRef:NULL")
    asker.db.write("VM", ref, "power_state", "Halted")
    asker.db.message_create("VM_SHUTDOWN", 5, "VM", vm, "", timestamp="20260401T13:00:00Z")

    first = await asker.ask("vm_rrd", host=asker.member, uuid=vm)
    parts = urlsplit(first.headers["location"])
    second = await asker.get(f"{parts.path[1:]}?{parts.query}")

    assert parts.hostname == asker.coordinator.address
    root = ET.fromstring(second.body)  # noqa: S314
    assert root.findtext("lastupdate") == "1775048400"
    minutes = root.findall("rra")[1].findall("database/row")
    known = [row[0].text != "NaN" for row in minutes]
    assert known == [False] * 60 + [True] * 60


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("vm_rrd", {}, 400),
        ("vm_rrd", {"uuid": "none"}, 500),
        ("vm_rrd", {"uuid": "none", "rrd_unarchive": ""}, 404),
        ("sr_rrd", {}, 400),
        ("sr_rrd", {"uuid": "none"}, 500),
    ],
)
async def test_archives_that_are_not_there(asker, path, query, status):
    answer = await asker.ask(path, **query)

    assert answer.status == status
    assert (answer.body == "") == (status in {400, 404})  # these come without a page


async def test_an_sr_dumps_its_archives_where_it_is_plugged(asker):
    uuid = next(
        asker.db.get("SR", asker.db.get("PBD", pbd, "SR"), "uuid")
        for pbd in asker.db.get("host", asker.coordinator.ref, "PBDs")
        if asker.db.get("PBD", pbd, "currently_attached")
    )

    root = ET.fromstring((await asker.ask("sr_rrd", uuid=uuid)).body)  # noqa: S314

    assert "latency" in [e.text for e in root.findall("ds/name")]
