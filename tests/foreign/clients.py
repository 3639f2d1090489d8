"""Clients of XAPI that nobody here wrote, under one interface for the tests.

- `NodeClient` runs npm's xen-api (xen_api.mjs) and lets it keep its own cache of all objects.
- `PythonClient` uses PyPI's XenAPI as its users do: a loop over event.from that keeps records,
  logs in again where it has to and follows HOST_IS_SLAVE; calls go over a session of their own.

Both give what they hold as {class: {ref: record}} (see `held`).
"""

import asyncio
import json
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.parsers.expat import ExpatError
from xmlrpc.client import ProtocolError

import XenAPI

from tests.foreign.held import State, converted, in_16_digits
from tests.shared import skip_or_fail
from xoproxy.simulator.wiretypes import DateType, IntType, Json, WireType

HERE = Path(__file__).parent
JS_EXACT = 1 << 53


class CallError(Exception):
    """A call failed as XAPI says it."""

    def __init__(self, code: str, params: list[str]) -> None:
        super().__init__(code, params)
        self.code = code
        self.params = params


# -- npm xen-api ---------------------------------------------------------------------------


class NodeClient:
    """npm's xen-api in a process of its own. `xml`: it has fallen back to XML-RPC."""

    def __init__(self, process: asyncio.subprocess.Process, *, xml: bool) -> None:
        self._process = process
        self._xml = xml
        self._next_id = 0
        self._waiting: dict[int, asyncio.Future[Json]] = {}

    async def read(self) -> None:
        assert self._process.stdout
        async for line in self._process.stdout:
            said = json.loads(line, parse_int=_js_number)
            if "error" in said:
                error = said["error"]
                failure = CallError(error.get("code", error["message"]), error.get("params", []))
                self._waiting.pop(said["id"]).set_exception(failure)
            else:
                self._waiting.pop(said["id"]).set_result(said["result"])
        for future in self._waiting.values():
            future.set_exception(ConnectionError("the Node process ended"))

    async def ask(self, do: str, **options: Json) -> Json:
        self._next_id += 1
        future = asyncio.get_running_loop().create_future()
        self._waiting[self._next_id] = future
        assert self._process.stdin
        line = {"id": self._next_id, "do": do, **options}
        self._process.stdin.write(json.dumps(line).encode() + b"\n")
        async with asyncio.timeout(60):
            return await future

    async def call(self, method: str, *args: Json) -> Json:
        return await self.ask("call", method=method, args=args)

    async def call_async(self, method: str, *args: Json) -> Json:
        return await self.ask("callAsync", method=method, args=args)

    async def state(self) -> State:
        state: State = await self.ask("state")
        return state

    def holds(self, kind: WireType, value: Json) -> Json:
        """Show ints as JavaScript's numbers, exact to 2^53; XML-RPC's are texts, dates objects."""

        def scalar(kind: WireType, value: Json) -> Json:
            if isinstance(kind, IntType):
                return str(value) if self._xml else _js_number(value)
            if isinstance(kind, DateType) and self._xml:
                return f"{value[:4]}-{value[4:6]}-{value[6:17]}.000Z"
            return in_16_digits(value) if self._xml else value

        return converted(kind, value, scalar)


def _js_number(value: str | int) -> int | float:
    """Read an int as JavaScript does."""
    number = int(value)
    return number if abs(number) <= JS_EXACT else float(number)


@asynccontextmanager
async def node_client(url: str, *, xml: bool = False) -> AsyncIterator[NodeClient]:
    """Connect xen-api and let it load all objects."""
    if not (HERE / "node_modules" / "xen-api").is_dir():
        skip_or_fail("npm's xen-api is not installed (make foreign)")
    try:
        process = await asyncio.create_subprocess_exec(
            "node",
            HERE / "xen_api.mjs",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            limit=1 << 28,  # one line holds the whole state
        )
    except FileNotFoundError:
        skip_or_fail("there is no node to run npm's xen-api")
        raise
    client = NodeClient(process, xml=xml)
    try:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(client.read())
            await client.ask("connect", url=url, user="root", password="x")
            yield client
            assert process.stdin
            process.stdin.close()
            await process.wait()
            await reading
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


# -- PyPI XenAPI ---------------------------------------------------------------------------

_LOST = (OSError, HTTPException, ProtocolError, ExpatError)


class PythonClient:
    """PyPI's XenAPI: blocking, so its watching and each of its calls run in threads."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._calls = self._open()
        self._calling = threading.Lock()
        self._state: State = {}
        self._classes: dict[str, str] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.loaded = threading.Event()

    async def call(self, method: str, *args: Json) -> Json:
        """Call; ints go as texts, for Python's XML-RPC knows 32 bits only."""
        texts = [str(arg) if type(arg) is int else arg for arg in args]
        return await asyncio.to_thread(self._call, method, *texts)

    async def call_async(self, method: str, *args: Json) -> Json:
        return await asyncio.to_thread(self._follow, method, args)

    async def state(self) -> State:
        with self._lock:
            return {cls: dict(records) for cls, records in self._state.items() if records}

    def holds(self, kind: WireType, value: Json) -> Json:
        """Show ints as texts, which is what XAPI sends; dates stay texts inside DateTime."""

        def scalar(kind: WireType, value: Json) -> Json:
            return str(value) if isinstance(kind, IntType) else in_16_digits(value)

        return converted(kind, value, scalar)

    def stop(self) -> None:
        """End the watching soon."""
        self._stopped.set()

    def close(self) -> None:
        _closed(self._calls)

    def _call(self, method: str, *args: Json) -> Json:
        with self._calling:
            try:
                return _method(self._calls, method)(*args)
            except XenAPI.Failure as failure:
                if failure.details[0] != "HOST_IS_SLAVE":
                    raise CallError(failure.details[0], failure.details[1:]) from None
            except _LOST:
                pass
            _closed(self._calls)
            self._calls = self._open()
            return _method(self._calls, method)(*args)

    def _follow(self, method: str, args: tuple[Json, ...]) -> Json:
        """Follow a task by what the watcher sees of it."""
        task = self._call(f"Async.{method}", *args)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with self._lock:
                record = self._state.get("task", {}).get(task, {"status": "pending"})
            if record["status"] not in {"pending", "cancelling"}:
                self._call("task.destroy", task)
                if record["status"] == "success":
                    return record["result"].removeprefix("<value>").removesuffix("</value>")
                raise CallError(record["error_info"][0], record["error_info"][1:])
            time.sleep(0.005)
        raise TimeoutError(f"{method} did not end")

    def _open(self) -> Any:
        """Log in; a member says at which address, on the same port."""
        try:
            return _logged_in(self._url)
        except XenAPI.Failure as failure:
            code, *params = failure.details
            if code != "HOST_IS_SLAVE":
                raise
        parts = urlsplit(self._url)
        self._url = f"{parts.scheme}://{params[0]}:{parts.port}"
        return _logged_in(self._url)

    # -- the watcher's thread --------------------------------------------------------------

    def watch(self) -> None:
        while not self._stopped.is_set():
            try:
                session = self._open()
                try:
                    self._watch(session)
                finally:
                    _closed(session)
            except (XenAPI.Failure, *_LOST):
                time.sleep(0.05)

    def _watch(self, session: Any) -> None:
        """Load everything, then follow events; returns when it is to stop."""
        if not self._classes:
            listed = [m for m in session.system.listMethods() if m.endswith(".get_all_records")]
            self._classes = {m.split(".")[0].lower(): m.split(".")[0] for m in listed}
        token, first = "", True
        while not self._stopped.is_set():
            batch = session.xenapi.event_from(["*"], token, 0.3)
            token = batch["token"]
            with self._lock:
                if first:  # what was there before is not there any more unless it comes now
                    self._state, first = {}, False
                for event in batch["events"]:
                    self._apply(event)
            self._compare(session, batch["valid_ref_counts"])
            self.loaded.set()

    def _apply(self, event: Mapping[str, Any]) -> None:
        records = self._state.setdefault(self._classes.get(event["class"], event["class"]), {})
        if event["operation"] == "del":
            records.pop(event["ref"], None)
        else:
            records[event["ref"]] = event["snapshot"]

    def _compare(self, session: Any, counts: Mapping[str, int]) -> None:
        """List again what lost deletions have left, as the counts tell."""
        for table, count in counts.items():
            cls = self._classes.get(table)
            if cls in self._state and cls != "message" and len(self._state[cls]) != count:
                records = _method(session, f"{cls}.get_all_records")()
                with self._lock:
                    self._state[cls] = records


def _logged_in(url: str) -> Any:
    session = XenAPI.Session(url, ignore_ssl=True)
    try:
        session.xenapi.login_with_password("root", "x")
    except BaseException:
        _closed(session)
        raise
    return session


def _closed(session: Any) -> None:
    """Close the connection, which XenAPI's Session leaves to chance."""
    session("close")()


def _method(session: Any, name: str) -> Callable[..., Json]:
    method = session.xenapi
    for part in name.split("."):
        method = getattr(method, part)
    called: Callable[..., Json] = method
    return called


@asynccontextmanager
async def python_client(url: str) -> AsyncIterator[PythonClient]:
    """Log in with XenAPI and watch all classes."""
    client = await asyncio.to_thread(PythonClient, url)
    watcher = threading.Thread(target=client.watch, name="foreign-watch", daemon=True)
    watcher.start()
    try:
        assert await asyncio.to_thread(client.loaded.wait, 30)
        yield client
    finally:
        client.stop()
        await asyncio.to_thread(watcher.join)
        client.close()
