"""Runs scenarios of faults beside each other, each with a pool, a proxy and two clients of its own.

    python -m tests.integration.survival OUTCOMES SECONDS SEED SCENARIO..

writes to the file OUTCOMES how each scenario ended, one JSON document a line. Who reads them:
test_survival.py.
"""

import asyncio
import json
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector
from yarl import URL

from tests.integration.scenarios import ANY_HOST, MIX, SCENARIOS, Drawn, Scenario, blocks, lasts_s
from tests.integration.support import JSON, MSGPACK, Client, View, connected, fast_settings, same
from xoproxy import app
from xoproxy.errors import RequestRefused
from xoproxy.model import PoolId
from xoproxy.pool.trust import presented
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool

LINK = {"request_timeout_s": 5, "audit_s": 60}
"""A dead list is noticed soon, too, and about one list is made in a second."""
TLS_SHARE = 0.7
CHANGES_PER_S = 15
NOTICED_S = 5.0
"""A dead pool is called live for no longer: a poll is lost after 3 s, the rest is for a machine
that has much to do."""
HEALED_S = 8.0
"""A pool that works again is live again, likewise."""
SETTLED_S = 30.0
POLLED_S = 3.0
"""A poll of the proxy under test is over by then, whoever still wants its answer."""
LEAST_PATCHES = 20
LEAST_KINDS = 4
HOSTS = 3
ATTEMPTS_AT_ONCE, ATTEMPTS_PER_S = 4, 3.5
"""At most so often a pool is tried that answers nothing."""
CALLS_PER_ATTEMPT = 2 * HOSTS
"""An attempt asks each host, one that it does not know yet by both protocols."""
COMMANDS: list[tuple[str, str, dict[str, Any]]] = [
    ("VM", "set_name_description", {"value": "by a command"}),
    ("SR", "scan", {}),
]
LOGIN = "session.login_with_password"

Listed = dict[str, dict[str, Any]]


@dataclass
class Outcome:
    """How a scenario ended; well if nothing is `wrong`."""

    name: str
    seed: int
    wrong: list[str] = field(default_factory=list)
    timeline: list[tuple[float, str]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)


class Witness:
    """Sees a simulated pool from the side: its control surface, and what it holds."""

    def __init__(self, http: ClientSession, url: str) -> None:
        self._http = http
        self._url = URL(url)

    async def ask(self, path: str, body: Drawn | None = None) -> tuple[int, Any]:
        """Use the control surface; it is away during a restart only."""
        method = "GET" if body is None else "POST"
        async with asyncio.timeout(30):
            while True:
                try:
                    async with self._http.request(
                        method, self._url / "_sim" / path, json=body
                    ) as reply:
                        return reply.status, await reply.json()
                except ClientError:
                    await asyncio.sleep(0.05)

    async def stats(self) -> Any:
        return (await self.ask("stats"))[1]

    async def listed(self) -> Listed:
        """List the whole pool at one moment: {class in lower case: {ref: record}}."""
        url = self._url
        answer = await self._call(url, LOGIN, "root", "x", "1.1", "witness")
        if "error" in answer:
            assert answer["error"]["message"] == "HOST_IS_SLAVE", answer
            url = url.with_host(answer["error"]["data"][0])
            answer = await self._call(url, LOGIN, "root", "x", "1.1", "witness")
        session = answer["result"]
        told = (await self._call(url, "event.from", session, ["*"], "", 0.0))["result"]
        await self._call(url, "session.logout", session)
        found: Listed = {}
        for event in told["events"]:
            found.setdefault(event["class"], {})[event["ref"]] = event["snapshot"]
        return found

    async def _call(self, url: URL, method: str, *params: Any) -> Any:
        body = {"jsonrpc": "2.0", "method": method, "params": params, "id": 1}
        async with self._http.post(url / "jsonrpc", json=body) as reply:
            return await reply.json()


def differences(view: View, listed: Listed) -> list[str]:
    """Say where a replica is not what the pool holds, field for field."""
    found = []
    for cls in view.document:
        held, true = view.records(cls), listed.get(cls.lower(), {})
        found += [f"{cls} {ref}: not held" for ref in true.keys() - held.keys()]
        found += [f"{cls} {ref}: a ghost" for ref in held.keys() - true.keys()]
        for ref in held.keys() & true.keys():
            found += [
                f"{cls} {ref} {name}: {held[ref].get(name)!r} instead of {true[ref].get(name)!r}"
                for name in held[ref].keys() | true[ref].keys()
                if not same(held[ref].get(name), true[ref].get(name))
            ]
    return found


_starting = asyncio.Lock()


@asynccontextmanager
async def _proxy_in_turn(url: str) -> AsyncIterator[app.Proxy]:
    """Run a proxy on a pool, whose certificate is accepted if it has one.

    Storage is opened by one at a time, for Alembic has global state.
    """
    with tempfile.TemporaryDirectory() as directory:
        settings = fast_settings(Path(directory))
        link = settings.pool_link.model_copy(update=LINK)
        async with AsyncExitStack() as stack:
            async with _starting:
                running = app.running(settings.model_copy(update={"pool_link": link}))
                proxy = await stack.enter_async_context(running)
            pin = (await presented(URL(url), 10)).fingerprint if url.startswith("https") else None
            await proxy.registry.add("pool", url, "root", "x", pin)
            async with asyncio.timeout(60):
                await proxy.all_loaded()
            yield proxy


class Run:
    """One scenario under way."""

    def __init__(self, outcome: Outcome, scenario: Scenario, seconds: float) -> None:
        self._outcome = outcome
        self._scenario = scenario
        self._seconds = seconds
        self._rng = random.Random(f"{outcome.name} {outcome.seed}")
        self._estate = generate(HOSTS, 10, self._rng.randrange(1000))
        self._tls = scenario.renews or self._rng.random() < TLS_SHARE
        self._began = time.monotonic()
        self._link: View | None = None
        self._commands = 0

    async def run(self) -> None:
        async with (
            SimulatedPool(self._estate, tls=self._tls) as pool,
            _proxy_in_turn(pool.url) as proxy,
            connected(proxy.url, JSON) as first,
            connected(proxy.url, MSGPACK) as second,
            ClientSession(
                timeout=ClientTimeout(total=20), connector=TCPConnector(ssl=False)
            ) as http,
        ):
            views = [(await client.subscribe())[0] for client in (first, second)]
            (self._link,) = await first.subscribe(id_=2, pools=["proxy"], classes=["pool_link"])
            witness = Witness(http, pool.url)
            self._began = time.monotonic()
            self._note(pool.url)
            async with asyncio.TaskGroup() as group:
                beside = [group.create_task(self._follow(first))]
                during = [
                    group.create_task(self._sample(witness)),
                    group.create_task(self._command_on(second, views[1])),
                ]
                if self._scenario.renews:
                    beside.append(group.create_task(self._operate(proxy)))
                await self._shake(witness)
                for task in during:
                    task.cancel()
                await self._settle(witness, first, views)
                await self._answered(second)
                for task in beside:
                    task.cancel()
            await self._count_repairs(http, proxy.url)
            self._judge(views, await witness.stats())

    @property
    def _now(self) -> float:
        return time.monotonic() - self._began

    def _note(self, text: str) -> None:
        self._outcome.timeline.append((round(self._now, 2), text))

    def _require(self, good: object, text: str) -> None:
        if not good:
            self._note(f"WRONG: {text}")
            self._outcome.wrong.append(text)

    # -- while it goes on --------------------------------------------------------------------

    @property
    def _record(self) -> dict[str, Any]:
        assert self._link is not None
        (record,) = self._link.document["pool_link"].values()
        return record

    @property
    def _state(self) -> str:
        return str(self._record["state"])

    async def _follow(self, client: Client) -> None:
        """Write down every state of the link."""
        last = ""

        def look() -> None:
            nonlocal last
            if self._state != last:
                last = self._state
                code = (self._record["error"] or {}).get("code", "")
                self._note(f"link {last} {code}".rstrip())

        await client.until(look, timeout_s=3600)

    async def _sample(self, witness: Witness) -> None:
        """Never is there a second long poll that we keep up."""
        alone_at = self._now
        while True:
            # What was asked on a connection that broke goes on in the pool until it has something
            # to say, or its time is over.
            waits = (await witness.stats())["event_waits"]
            if waits <= 1 or self._scenario.renews:
                alone_at = self._now
            self._require(self._now - alone_at < POLLED_S, f"{waits} long polls at once")
            await asyncio.sleep(0.1)

    async def _command_on(self, client: Client, view: View) -> None:
        """Give commands all the time, half of them tasks; however they end, they do end."""
        rng = random.Random(self._outcome.seed)
        while True:
            await asyncio.sleep(rng.uniform(0.2, 1.5))
            cls, method, params = rng.choice(COMMANDS)
            params = {
                "self" if cls == "VM" else "sr": rng.choice(sorted(view.records(cls)))
            } | params
            self._commands += 1
            call = {"type": "call", "id": f"command {self._commands}", "pool": view.pool}
            await client.send({**call, "method": f"{cls}.{method}", "params": params})

    async def _answered(self, client: Client) -> None:
        def count() -> Counter[str]:
            ids = [str(answer["id"]) for answer in client.answers]
            return Counter(id_ for id_ in ids if id_.startswith("command "))

        with suppress(TimeoutError):
            await client.until(lambda: len(count()) == self._commands, timeout_s=SETTLED_S)
        answers = count()
        self._require(
            len(answers) == self._commands and set(answers.values()) == {1},
            f"{self._commands} commands, {len(answers)} answered",
        )
        ends = Counter(answer.get("code", answer["type"]) for answer in client.answers)
        self._outcome.figures["commands"] = dict(ends)

    async def _operate(self, proxy: app.Proxy) -> None:
        """Accept whatever certificates the pool shows, once the link complains."""
        while True:
            await asyncio.sleep(1)
            if self._state != "error":
                continue
            self._require(self._record["error"]["code"] == "CERTIFICATE", f"{self._record}")
            pool = PoolId((await proxy.registry.list())[0].id)
            for host in await proxy.registry.certificates(pool):
                if host.shown is None or host.shown.fingerprint == host.accepted:
                    continue
                with suppress(RequestRefused):  # it has changed again
                    await proxy.registry.accept(pool, host.shown.fingerprint)
                    self._note(f"accepted a certificate of {host.host}")

    async def _shake(self, witness: Witness) -> None:
        churn = {"rate": CHANGES_PER_S, "seconds": self._seconds, "lifecycle": True}
        await witness.ask("churn", {**churn, "seed": self._outcome.seed})
        while self._now < self._seconds:
            if self._scenario.overlaps:
                await asyncio.sleep(self._rng.uniform(0, 6))
                await self._begin(witness, self._scenario.draw(self._rng))
                continue
            quiet_s = HEALED_S if self._rng.random() < 0.3 else self._rng.uniform(0.3, 4)
            await asyncio.sleep(quiet_s)
            if quiet_s == HEALED_S:
                self._require(self._state == "live", f"{self._state} {HEALED_S} s after a fault")
            await self._strike(witness, self._scenario.draw(self._rng))

    async def _begin(self, witness: Witness, fault: Drawn) -> bool:
        if fault.get("host") == ANY_HOST:
            hosts = self._estate["host"].values()
            fault["host"] = self._rng.choice(sorted(str(host["uuid"]) for host in hosts))
        status, answer = await witness.ask("fault", fault)
        self._note(f"{json.dumps(fault)} {'' if status == 200 else answer}".rstrip())
        self._require(status in {200, 409}, f"{fault} is refused: {answer}")
        return status == 200

    async def _strike(self, witness: Witness, fault: Drawn) -> None:
        """Let a fault happen; watch what the link says and what the pool hears meanwhile."""
        before = await witness.stats()
        if not await self._begin(witness, fault):
            return
        left_s = lasts_s(fault)
        if blocks(fault) and left_s > NOTICED_S:
            await asyncio.sleep(NOTICED_S)
            self._require(self._state != "live", f"live {NOTICED_S} s after {fault}")
            left_s -= NOTICED_S
        await asyncio.sleep(left_s)
        if blocks(fault):
            after = await witness.stats()
            calls = sum(after["calls"].values()) - sum(before["calls"].values())
            bound = CALLS_PER_ATTEMPT * (ATTEMPTS_AT_ONCE + ATTEMPTS_PER_S * lasts_s(fault))
            self._require(calls <= bound, f"{calls} calls during {fault}: too many attempts")

    # -- afterwards --------------------------------------------------------------------------

    async def _settle(self, witness: Witness, client: Client, views: list[View]) -> None:
        """End everything, and wait until the clients hold what the pool has."""
        await witness.ask("fault", {"kind": "none"})
        await witness.ask("churn", {"rate": 0})
        await asyncio.sleep(1)  # so that the last fault is noticed
        ended = self._now
        figures = self._outcome.figures
        try:
            await client.until(lambda: self._state == "live", timeout_s=SETTLED_S)
        except TimeoutError:
            self._require(False, f"still {self._state} {SETTLED_S} s after the last fault")
            return
        figures["live_after_s"] = round(self._now - ended, 2)
        await self._command(client, views[0])
        while True:
            listed = await witness.listed()
            wrong = [text for view in views for text in differences(view, listed)]
            if not wrong or self._now - ended > SETTLED_S:
                break
            await asyncio.sleep(0.3)
        figures["equal_after_s"] = round(self._now - ended, 2)
        figures["objects"] = sum(map(len, listed.values()))
        self._require(not wrong, "the replicas differ:\n    " + "\n    ".join(wrong[:12]))
        await self._one_wait(witness)

    async def _one_wait(self, witness: Witness) -> None:
        """There is one long poll, except for the moments between two."""
        waits = []
        for _ in range(20):
            waits.append((await witness.stats())["event_waits"])
            await asyncio.sleep(0.05)
        self._require(max(waits) == 1, f"long polls, one look after the other: {waits}")

    async def _command(self, client: Client, view: View) -> None:
        """Call as before."""
        params = {"self": min(view.records("VM")), "value": f"survived {self._outcome.name}"}
        call = {"type": "call", "id": 9, "pool": view.pool, "method": "VM.set_name_description"}
        await client.send({**call, "params": params})
        answer = await client.answer(9)
        self._require(answer["type"] == "result", f"a call failed: {answer}")

    async def _count_repairs(self, http: ClientSession, url: str) -> None:
        """Compare what the proxy's own audits did and found: an event that it missed or misread."""
        async with http.get(f"{url}/metrics") as reply:
            lines = (await reply.text()).splitlines()
        counts = {line.split("{")[0]: float(line.split()[-1]) for line in lines if "{pool=" in line}
        self._outcome.figures["audits"] = counts["xoproxy_audits_total"]
        repairs = counts["xoproxy_repairs_total"]
        self._require(repairs == 0, f"audits had to repair {repairs} objects")

    def _judge(self, views: list[View], stats: Any) -> None:
        patches = [view.patches for view in views]
        self._outcome.figures |= {
            "patches": patches,
            "faults": stats["faults"],
            "calls": stats["calls"],
        }
        links = [text.split() for _, text in self._outcome.timeline if text.startswith("link ")]
        states = {words[1] for words in links}
        scenario = self._scenario
        if scenario.breaks is not None:
            self._require(("stale" in states) is scenario.breaks, f"the link was {states}")
        self._require(states <= scenario.states, f"the link was {states}")
        if self._outcome.name == "certificate":
            self._require("error" in states, "another certificate was taken without asking")
        self._require(not any(view.resets for view in views), "clients were reset")
        self._require(min(patches) >= LEAST_PATCHES, f"only {patches} patches")
        lists = stats["calls"]["system.listMethods"]  # a list of all begins with it
        self._require(lists == 1 or scenario.relists, f"listed {lists} times")
        if not scenario.leaks:
            self._require(stats["sessions"] == 1, f"{stats['sessions']} sessions")
        name, struck = self._outcome.name, stats["faults"].keys()
        good = len(struck) >= LEAST_KINDS if name == MIX else name in struck
        self._require(good, f"only {sorted(struck)} struck")


async def run_all(outcomes: Path, seconds: float, seed: int, names: list[str]) -> None:
    async def run_one(name: str) -> None:
        outcome = Outcome(name, seed)
        try:
            await Run(outcome, SCENARIOS[name], seconds).run()
        except Exception:  # noqa: BLE001 - one scenario's failure is not the others'
            outcome.wrong.append(traceback.format_exc())
        with outcomes.open("a") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")

    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(run_one(name))
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks are left: {left}"


def main(outcomes: str, seconds: str, seed: str, *names: str) -> None:
    with app.new_runner() as runner:
        runner.run(run_all(Path(outcomes), float(seconds), int(seed), list(names)))


if __name__ == "__main__":
    main(*sys.argv[1:])
