"""A client that trusts nothing, and the pieces to run a whole proxy against a simulated pool.

The client decodes with `json` and `msgpack`, patches with `jsonpatch`, and checks on the way what
the protocol promises; nothing of the proxy's own code helps it.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jsonpatch
import msgpack
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType
from pydantic import SecretStr

from tests.properties import digests
from xoproxy import app
from xoproxy.settings import LimitsSettings, PoolLinkSettings, Settings, StorageSettings

PASSWORD = "correct horse"
JSON, MSGPACK = "xoproxy.v1.json", "xoproxy.v1.msgpack"
WINDOW = ("order", "total", "facets")
"""Members of a window's document, beside its class."""


class View:
    """One view's document, kept by the rules of docs/protocol.md."""

    def __init__(self, info: dict[str, Any]) -> None:
        self.info = info
        self.number = info["view"]
        self.pool = info["pool"]
        self.document: dict[str, Any] = {cls: {} for cls in info["classes"]}
        self.position = info["seq"]
        self.complete = info["mode"] not in {"snapshot", "compare"}
        self.token: str | None = None
        self.resets: list[str] = []
        self.patches = 0
        self.gone = False
        self.buckets = 0
        """How many digests were said of it."""
        self._parts: list[Any] = []
        self._parts_to: int | None = None

    def handle(self, message: dict[str, Any]) -> None:
        assert not self.gone, message
        getattr(self, f"_{message['type']}")(message)

    def _snapshot(self, message: dict[str, Any]) -> None:
        assert not self.complete
        assert message["class"] in self.document or not message["rows"]
        if "buckets" in message:
            digests.remove_buckets(self.document, self.buckets, message["buckets"])
        for key, row in zip(message["keys"], message["rows"], strict=True):
            assert len(key) <= 12
            assert key not in self.document[message["class"]]
            record = dict(zip(message["fields"], row, strict=True))
            self.document[message["class"]][key] = record
        if message["last"]:
            self.document |= {n: message[n] for n in WINDOW if n in message}
            self.complete = True
            self.position = message["seq"]

    def _patch(self, message: dict[str, Any]) -> None:
        assert self.complete
        assert message["from"] == self.position
        assert message["to"] >= message["from"]
        if self._parts_to is not None:
            assert message["to"] == self._parts_to
        self._parts += message["ops"]
        self._parts_to = message["to"]
        if not message.get("more"):
            jsonpatch.JsonPatch(self._parts).apply(self.document, in_place=True)
            self._parts, self._parts_to = [], None
            self.position = message["to"]
            self.patches += 1

    def _moved(self, message: dict[str, Any]) -> None:
        assert self.complete
        assert not self._parts
        assert message["seq"] == self.position
        self.number = message["as"]
        self.token = None

    def _bookmark(self, message: dict[str, Any]) -> None:
        assert message["seq"] == self.position
        self.token = message["resume"]

    def _reset(self, message: dict[str, Any]) -> None:
        self.resets.append(message["reason"])
        if message.get("gone"):
            self.gone = True
            return
        self._parts, self._parts_to = [], None
        self.document = {cls: {} for cls in self.document if cls not in WINDOW}
        self.complete = False
        self.token = None

    def records(self, cls: str) -> dict[str, Any]:
        """Return the class's objects as XAPI would list them: by reference, without ours."""
        return {
            obj["$ref"]: {name: value for name, value in obj.items() if not name.startswith("$")}
            for obj in self.document[cls].values()
        }


class Client:
    """A WebSocket client of the proxy."""

    def __init__(
        self, ws: ClientWebSocketResponse, protocol: str, view_type: type[View] = View
    ) -> None:
        self.ws = ws
        self._view_type = view_type
        self.views: dict[int, View] = {}
        self.answers: list[dict[str, Any]] = []
        self.welcome: dict[str, Any] | None = None
        self.close_code: int | None = None
        self.kept: dict[str, dict[str, Any]] = {}
        """Documents from an earlier connection by pool, for views that come to be resumed."""
        self.received_bytes = 0
        self._binary = protocol == MSGPACK
        self._arrived = asyncio.Event()

    async def send(self, message: dict[str, Any]) -> None:
        if self._binary:
            await self.ws.send_bytes(msgpack.packb(message))
        else:
            await self.ws.send_str(json.dumps(message))

    async def read(self) -> None:
        """Handle messages until the connection ends."""
        async for frame in self.ws:
            kind = WSMsgType.BINARY if self._binary else WSMsgType.TEXT
            assert frame.type is kind, frame
            self.received_bytes += len(frame.data)
            decoded = msgpack.unpackb(frame.data) if self._binary else json.loads(frame.data)
            for message in decoded if isinstance(decoded, list) else [decoded]:
                self._handle(message)
            self._arrived.set()
        self.close_code = self.ws.close_code
        self._arrived.set()

    def _handle(self, message: dict[str, Any]) -> None:
        if message["type"] == "welcome":
            self.welcome = message
            return
        if message["type"] == "subscribed":
            for info in message["views"]:
                if info["mode"] != "same":
                    view = self.views[info["view"]] = self._view_type(info)
                    if info["mode"] in {"resume", "compare"}:
                        view.document = self.kept[view.pool]
        if "view" in message:
            view = self.views.pop(message["view"])
            view.handle(message)
            self.views[view.number] = view
        else:
            self.answers.append(message)

    async def until(self, condition: Callable[[], Any], timeout_s: float = 20.0) -> Any:
        """Wait until something is true of this client; looks after each frame."""
        async with asyncio.timeout(timeout_s):
            while not (found := condition()):
                self._arrived.clear()
                await self._arrived.wait()
        return found

    async def answer(self, id_: Any, timeout_s: float = 20.0) -> dict[str, Any]:
        """Wait for the first answer with an id."""
        found = await self.until(
            lambda: next((a for a in self.answers if a.get("id") == id_), None), timeout_s
        )
        self.answers.remove(found)
        return found

    async def subscribe(self, id_: Any = 1, **query: Any) -> list[View]:
        """Subscribe and wait for complete snapshots."""
        resume = query.pop("resume", [])
        query.setdefault("classes", ["*"])
        await self.send({"type": "subscribe", "id": id_, "query": query, "resume": resume})
        answer = await self.answer(id_)
        assert answer["type"] == "subscribed", answer
        views = [self.views[info["view"]] for info in answer["views"]]
        # A window has no bookmarks.
        await self.until(lambda: all(v.complete and (v.token or v.pool is None) for v in views))
        return views

    async def resume(
        self, views: list[View], id_: Any = 1, *, compare: bool = False, **query: Any
    ) -> list[View]:
        """Go on with views of an earlier connection; query as then."""
        self.kept = {view.pool: view.document for view in views}
        points = [{"token": v.token, "seq": v.position, "compare": compare} for v in views]
        await self.send({"type": "subscribe", "id": id_, "query": query, "resume": points})
        answer = await self.answer(id_)
        assert answer["type"] == "subscribed", answer
        return [self.views[info["view"]] for info in answer["views"]]

    async def say_digests(self, view: View, buckets: int) -> None:
        """Say what a view's document holds, when it is to be compared."""
        view.buckets = buckets
        said = digests.digests(view.document, buckets)
        message = {"type": "digests", "view": view.number, "buckets": buckets, "digests": said}
        await self.send(message)


@asynccontextmanager
async def connected(
    url: str,
    protocol: str = JSON,
    *,
    compress: bool = True,
    auth: Any = "password",
    view_type: type[View] = View,
) -> AsyncIterator[Client]:
    """Connect, sign in as administrator (unless `auth` is None), and read in the background."""
    async with (
        ClientSession() as session,
        session.ws_connect(
            f"{url}/ws", protocols=[protocol], compress=15 if compress else 0, max_msg_size=0
        ) as ws,
    ):
        client = Client(ws, protocol, view_type)
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(client.read())
            if auth == "password":
                await client.send({"type": "auth", "username": "admin", "password": PASSWORD})
                await client.until(lambda: client.welcome)
            yield client
            await ws.close()
            reader.cancel()


def fast_settings(directory: Path, **limits: Any) -> Settings:
    """Settings of a proxy on a free port that notices a dead link quickly."""
    settings = Settings(
        admin_password=SecretStr(PASSWORD),
        storage=StorageSettings(directory=directory),
        pool_link=PoolLinkSettings(
            event_timeout_s=1,
            event_slack_s=1,
            connect_timeout_s=2,
            request_timeout_s=15,
            backoff_min_s=0.1,
            backoff_max_s=0.5,
        ),
        limits=LimitsSettings(**limits),
    )
    return settings.model_copy(update={"server": settings.server.model_copy(update={"port": 0})})


@asynccontextmanager
async def proxy_on(*urls: str, **limits: Any) -> AsyncIterator[app.Proxy]:
    """Run a proxy on pools that answer to root and "x", and wait until all are loaded."""
    with tempfile.TemporaryDirectory() as directory:
        async with app.running(fast_settings(Path(directory), **limits)) as proxy:
            for number, url in enumerate(urls):
                await proxy.registry.add(f"pool-{number}", url, "root", "x")
            async with asyncio.timeout(30):
                await proxy.all_loaded()
            yield proxy


class Xapi:
    """JSON-RPC to a pool, as any client of it."""

    def __init__(self, session: ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self.ref = ""

    async def call(self, method: str, *params: Any) -> Any:
        body = {"jsonrpc": "2.0", "method": method, "params": params, "id": 0}
        async with self._session.post(f"{self._url}/jsonrpc", json=body) as reply:
            answer = await reply.json()
        assert "error" not in answer, answer
        return answer["result"]

    async def records(self, cls: str) -> dict[str, Any]:
        found: dict[str, Any] = await self.call(f"{cls}.get_all_records", self.ref)
        return found


@asynccontextmanager
async def logged_in(url: str, password: str = "x") -> AsyncIterator[Xapi]:
    async with ClientSession() as session:
        xapi = Xapi(session, url)
        xapi.ref = await xapi.call("session.login_with_password", "root", password, "1.1", "tests")
        yield xapi


def same(a: Any, b: Any) -> bool:
    """Compare decoded values by type and value: True is not 1, and 1 is not 1.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)
