"""Sampled replicas in a process of their own: what clients of every kind hold after all that.

    python -m tests.soak.readers PROXY_URL TOKEN POOL_URL

Each reader is a replica that shares nothing with the product (tests/properties/replica.py) on a
real WebSocket: steady, dropping and coming back, or not reading for a while. It answers `start`
and `check` with lines of JSON. `check` compares every document with what the pool itself
lists, at a moment when nothing changes.
"""

import asyncio
import json
import os
import random
import sys
from collections import Counter
from contextlib import suppress
from copy import deepcopy
from typing import Any

import aiohttp
import msgpack
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from benchmarks.rig import obey
from tests.integration.support import JSON, MSGPACK, Xapi, logged_in, same
from tests.properties.replica import Document, Fault, Replica
from tests.soak.questions import QUESTIONS, Listing, Question

_NICE = 5
_STEADY, _DROPS, _SLEEPS = "steady", "drops", "sleeps"
_HABITS = [_STEADY, _DROPS, _SLEEPS, _DROPS, _STEADY]
_BETWEEN_S = (5.0, 40.0)
_AWAY_S = (0.0, 1.0, 8.0, 90.0)
"""The last is longer than the history of the proxy reaches back."""
_ASLEEP_S = (2.0, 8.0)
"""Less than the time in which a ping must be answered."""
_CATCH_UP_S = 60.0


class Reader:
    """One client that comes back for ever.

    Args:
        number: of all readers; decides what it asks and how it behaves.
        url, token: of the proxy.
        counts: of all readers together.
    """

    def __init__(self, number: int, url: str, token: str, counts: Counter[str]) -> None:
        self.question: Question = QUESTIONS[number % len(QUESTIONS)]
        self.habit = _HABITS[number // len(QUESTIONS) % len(_HABITS)]
        self.binary = number % 2 == 1
        self.replica = Replica(binary=self.binary, deflate=False)
        self.faults: list[str] = []
        self.settle = asyncio.Event()
        """Set while documents shall be compared: nobody drops or sleeps then."""
        self._random = random.Random(number)
        self._url = url
        self._token = token
        self._counts = counts

    @property
    def name(self) -> str:
        return f"{self.question.name}, {'msgpack' if self.binary else 'json'}, {self.habit}"

    async def run(self, http: ClientSession) -> None:
        while True:
            try:
                await self._connection(http)
            except Fault as fault:
                self.faults.append(f"{self.name}: {fault}")
                self.replica = Replica(binary=self.binary, deflate=False)
            except (aiohttp.ClientError, ConnectionError) as error:
                self._counts[f"lost: {type(error).__name__}"] += 1
                await asyncio.sleep(1)

    async def _connection(self, http: ClientSession) -> None:
        protocol = MSGPACK if self.binary else JSON
        headers = {"Authorization": f"Bearer {self._token}"}
        async with http.ws_connect(
            f"{self._url}/ws", protocols=[protocol], headers=headers, compress=15, max_msg_size=0
        ) as ws:
            await self._subscribe(ws)
            until_s = asyncio.get_running_loop().time() + self._random.uniform(*_BETWEEN_S)
            while True:
                await self._read(ws)
                if asyncio.get_running_loop().time() < until_s or self.settle.is_set():
                    continue
                if self.habit == _DROPS:
                    break
                if self.habit == _SLEEPS:
                    await self._pause(self._random.uniform(*_ASLEEP_S))
                until_s = asyncio.get_running_loop().time() + self._random.uniform(*_BETWEEN_S)
        self._counts["dropped"] += 1
        await self._pause(self._random.choice(_AWAY_S))

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.settle.wait()

    async def _subscribe(self, ws: ClientWebSocketResponse) -> None:
        kept = [d for d in self.replica.documents.values() if d.pool is not None]
        points = [p | {"compare": True} for d in kept if (p := d.resume_point) is not None]
        self.replica = Replica(binary=self.binary, deflate=False)
        self.replica.will_subscribe(1, self.question, kept, compare=True)
        query = self.question.query
        await self._send(ws, {"type": "subscribe", "id": 1, "query": query, "resume": points})

    async def _send(self, ws: ClientWebSocketResponse, message: dict[str, Any]) -> None:
        if self.binary:
            await ws.send_bytes(msgpack.packb(message))
        else:
            await ws.send_str(json.dumps(message))

    async def _read(self, ws: ClientWebSocketResponse) -> None:
        """Take the next message, if one comes within a second."""
        try:
            async with asyncio.timeout(1):
                frame = await ws.receive()
        except TimeoutError:
            return
        if frame.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            self._counts[f"closed: {ws.close_code}"] += 1
            raise ConnectionResetError
        payload = frame.data if isinstance(frame.data, bytes) else frame.data.encode()
        decoded = self.replica._decode(payload)
        for message in decoded if isinstance(decoded, list) else [decoded]:
            self.replica._handle(message)
            self._note(message)
        for document in self.replica.due:
            await self._send(ws, self.replica.digests(document, 256, spoilt=False))

    def _note(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "subscribed":
            self._counts.update(info["mode"] for info in message["views"])
        elif kind in ("error", "reset"):
            self._counts[f"{kind}: {message.get('code') or message.get('reason')}"] += 1
        else:
            self._counts[kind] += 1

    def difference(self, listing: Listing) -> str | None:
        """Tell how a document differs from what the pool says; None when it does not."""
        documents = list(self.replica.documents.values())
        if len(documents) != 1 or not documents[0].complete or documents[0].parts is not None:
            return "not there yet"
        held = _by_ref(documents[0])
        wanted = self.question.expected(listing, documents[0].classes)
        compared = documents[0].was_compared
        for name, expected in wanted.items():
            if name == "SR":
                leave_out_scans(expected, held[name])
            if not (held.get(name) == expected if compared else same(held.get(name), expected)):
                return f"{name} differs"
        return None


def leave_out_scans(expected: dict[str, Any], held: dict[str, Any]) -> None:
    """Do not compare what the proxy holds back on purpose: that a repository is being scanned.

    The pool may rest in the middle of a scan, for its churn stands still between two rounds.
    """
    for ref, record in expected.items():
        if set(record.get("current_operations", {}).values()) == {"scan"}:
            for field in ("current_operations", "allowed_operations"):
                record.pop(field, None)
                held.get(ref, {}).pop(field, None)


def _by_ref(document: Document) -> dict[str, Any]:
    """Return a document with references for keys, the order of a window included."""
    content = deepcopy(document.content)
    found: dict[str, Any] = {
        cls: {
            o["$ref"]: {n: v for n, v in o.items() if not n.startswith("$")}
            for o in content[cls].values()
        }
        for cls in document.classes
    }
    if "order" in content:
        objects = content[document.classes[0]]
        found["order"] = [objects[key]["$ref"] for key in content["order"]]
        found |= {name: content[name] for name in ("total", "facets") if name in content}
    return found


class Readers:
    """The commands."""

    def __init__(
        self, group: asyncio.TaskGroup, http: ClientSession, xapi: Xapi, url: str, token: str
    ) -> None:
        self._group = group
        self._http = http
        self._xapi = xapi
        self._url = url
        self._token = token
        self._counts: Counter[str] = Counter()
        self._readers: list[Reader] = []

    async def start(self, count: int) -> dict[str, Any]:
        for number in range(len(self._readers), len(self._readers) + count):
            reader = Reader(number, self._url, self._token, self._counts)
            self._readers.append(reader)
            self._group.create_task(reader.run(self._http), name=f"reader-{number}")
        return {}

    async def check(self) -> dict[str, Any]:
        """Compare everybody with the pool, until all are there or time is up.

        The pool is listed anew each time: what it had begun may still come to its end.
        """
        for reader in self._readers:
            reader.settle.set()
        differing = dict.fromkeys(range(len(self._readers)), "")
        deadline_s = asyncio.get_running_loop().time() + _CATCH_UP_S
        while differing and asyncio.get_running_loop().time() < deadline_s:
            listing = await self._listing()
            for number in list(differing):
                why = self._readers[number].difference(listing)
                if why is None:
                    del differing[number]
                else:
                    differing[number] = why
                await asyncio.sleep(0)
            await asyncio.sleep(1)
        for reader in self._readers:
            reader.settle.clear()
        return {
            "divergent": [f"{self._readers[n].name}: {why}" for n, why in differing.items()],
            "faults": [fault for reader in self._readers for fault in reader.faults],
            "seq": max((d.position for r in self._readers
                        for d in r.replica.documents.values() if d.pool), default=0),
            "counts": dict(sorted(self._counts.items())),
        }  # fmt: skip

    async def _listing(self) -> Listing:
        documents = [d for r in self._readers for d in r.replica.documents.values()]
        classes = {cls for document in documents for cls in document.classes} - {"task"}
        return {cls: await self._xapi.records(cls) for cls in sorted(classes)}


async def _run(url: str, token: str, pool_url: str) -> None:
    async with ClientSession() as http, logged_in(pool_url) as xapi, asyncio.TaskGroup() as group:
        readers = Readers(group, http, xapi, url, token)
        sys.stdout.write("{}\n")
        sys.stdout.flush()
        await obey({"start": readers.start, "check": readers.check})
        os._exit(0)  # the readers go on for ever


if __name__ == "__main__":
    os.nice(_NICE)
    asyncio.run(_run(*sys.argv[1:4]))
