"""`xoproxy demo`: everything at once, on simulated pools, gone without a trace when it ends."""

import asyncio
import contextlib
import json
import os
import secrets
import shlex
import shutil
import sys
import tempfile
import webbrowser
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr

from xoproxy import app
from xoproxy.errors import ConfigError
from xoproxy.settings import Settings, StorageSettings, load
from xoproxy.telemetry import configure_logging

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 5.0
_ADMINISTRATOR = "admin"


@dataclass(frozen=True, slots=True)
class _Pool:
    """A simulated pool that runs: how to reach it."""

    name: str
    url: str
    user: str
    password: str


def demo(
    port: Annotated[int, typer.Option(help="Port of the proxy; 0 takes a free one.")] = 8086,
    pools: Annotated[int, typer.Option(min=1, max=100, help="Simulated pools.")] = 2,
    hosts: Annotated[int, typer.Option(min=1, help="Hosts per pool.")] = 4,
    vms: Annotated[int, typer.Option(min=0, help="Virtual machines per pool.")] = 60,
    rate: Annotated[float, typer.Option(min=0, help="Changes per second and pool.")] = 2.0,
    seed: Annotated[int, typer.Option(help="Same seed, same estates.")] = 1,
    files: Annotated[
        list[Path] | None,
        typer.Option(
            "--load",
            help="XAPI database dump (xapi-db.xml, state.db) or estate file; one pool each.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Do not open a browser.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON when ready.")
    ] = False,
) -> None:
    """Run a proxy on simulated pools: no hypervisor, no set-up, nothing kept.

    It prints the address, the user and the password, and runs until Ctrl-C. The password is taken
    from XOPROXY_ADMIN_PASSWORD if that is set, else a random one.
    """
    configure_logging("auto", "warning")
    estates = _estates(files or [], pools, hosts, vms, seed)
    browser = not no_browser and not as_json and sys.stdout.isatty()
    with (
        contextlib.suppress(KeyboardInterrupt),
        app.new_runner() as runner,
    ):
        runner.run(_run(port, rate, estates, browser=browser, as_json=as_json))


def _estates(
    files: Sequence[Path], pools: int, hosts: int, vms: int, seed: int
) -> list[tuple[str, list[str]]]:
    """Name each pool and say, in options of `simulate`, what is in it."""
    if files:
        return [(path.stem, ["--load", str(path)]) for path in files]
    return [
        (
            f"demo-{number}",
            ["--hosts", str(hosts), "--vms", str(vms), "--seed", str(seed + number - 1)],
        )
        for number in range(1, pools + 1)
    ]


async def _run(
    port: int,
    rate: float,
    estates: Sequence[tuple[str, list[str]]],
    *,
    browser: bool,
    as_json: bool,
) -> None:
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xoproxy-demo-")))
        simulated = await _start_all(stack, estates, rate)
        settings = _settings(port, directory)
        proxy = await stack.enter_async_context(app.running(settings))
        ids = [
            (await proxy.registry.add(pool.name, pool.url, pool.user, pool.password)).id
            for pool in simulated
        ]
        async with asyncio.timeout(_START_TIMEOUT_S):
            await proxy.all_loaded()
        password = settings.admin_password.get_secret_value() if settings.admin_password else ""
        if as_json:
            _print_json(proxy.url, password, ids, simulated)
        else:
            _print_welcome(proxy.url, password, simulated, rate)
        if browser:
            await asyncio.to_thread(webbrowser.open, proxy.url)
        await app.until_signalled()


async def _start_all(
    stack: AsyncExitStack, estates: Sequence[tuple[str, list[str]]], rate: float
) -> list[_Pool]:
    """Start the simulators side by side; each is a process of its own, like a real pool."""
    async with asyncio.TaskGroup() as group:
        starting = [
            group.create_task(_Simulator.start(name, [*options, "--rate", str(rate)]))
            for name, options in estates
        ]
    running = [task.result() for task in starting]
    for simulator in running:
        stack.push_async_callback(simulator.stop)
    return [await simulator.ready() for simulator in running]


class _Simulator:
    """A simulated pool in a child process, which ends with us: it holds our pipe as its stdin."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self._name = name
        self._process = process

    @classmethod
    async def start(cls, name: str, options: Sequence[str]) -> "_Simulator":
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "xoproxy", "simulate", "--listen", "127.0.0.1:0"),
            *("--plain-http", "--json", "--until-stdin-closes", *options),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        return cls(name, process)

    async def ready(self) -> _Pool:
        stdout = self._process.stdout
        if stdout is None:
            raise RuntimeError("started without a pipe")
        async with asyncio.timeout(_START_TIMEOUT_S):
            line = await stdout.readline()
        if not line:
            raise ConfigError(f"the simulated pool {self._name!r} did not start; see above")
        said = json.loads(line)
        return _Pool(self._name, said["url"], said["user"], said["password"])

    async def stop(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


def _settings(port: int, directory: Path) -> Settings:
    """Take the operator's settings, but for what makes a demo: its port, and storage that goes."""
    settings = load()
    return settings.model_copy(
        update={
            "admin_password": settings.admin_password or SecretStr(secrets.token_urlsafe(12)),
            "server": settings.server.model_copy(update={"port": port}),
            "storage": StorageSettings(directory=directory, history=False),
        }
    )


def _print_json(url: str, password: str, ids: Sequence[str], pools: Sequence[_Pool]) -> None:
    shown = [
        {"id": id_, "url": pool.url, "user": pool.user, "password": pool.password}
        for id_, pool in zip(ids, pools, strict=True)
    ]
    ready = {"url": url, "user": _ADMINISTRATOR, "password": password, "pools": shown}
    print(json.dumps(ready), flush=True)


def _print_welcome(url: str, password: str, pools: Sequence[_Pool], rate: float) -> None:
    command = "xoproxy" if shutil.which("xoproxy") else shlex.quote(sys.argv[0])
    names = ", ".join(pool.name for pool in pools)
    changes = f"{rate:g} changes a second each" if rate else "nothing changes by itself"
    quoted = shlex.quote(password)
    print(
        f"""
xoproxy runs, with {len(pools)} simulated pool(s): {names} ({changes}).

  In a browser    {url}
                  user {_ADMINISTRATOR}, password {password}

  In a terminal   XOPROXY_PASSWORD={quoted} {command} watch {url} --as {_ADMINISTRATOR}
                  (one JSON message a line: add --json)

  Administration  XOPROXY_PASSWORD={quoted} XOPROXY_URL={url} \\
                  {command} pool list --as {_ADMINISTRATOR}

  Simulated pools for your own XAPI clients:""",
        flush=True,
    )
    for pool in pools:
        print(f"                  {pool.url}  user {pool.user}, password {pool.password}")
    print("\nNothing is kept. Ctrl-C ends it.", flush=True)
