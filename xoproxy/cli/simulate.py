"""`xoproxy simulate`: a XAPI pool to try things on, without any hypervisor."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from xoproxy.cli.exits import Exit, fail
from xoproxy.simulator.control import ChurnAsked
from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.dumps import EstateError, LoadedEstate, load_estate
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool
from xoproxy.simulator.releases import UnknownReleaseError

_WARNINGS_SHOWN = 5
_PORT_MAX = 65535


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to run."""

    listen: tuple[str, int]
    estate: LoadedEstate
    plain_http: bool
    user: str
    password: str
    churn: ChurnAsked
    speed: float
    release: str | None
    as_json: bool
    until_stdin_closes: bool


def simulate(
    listen: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS:PORT",
            help="Where the coordinator listens; port 0 takes a free one. On loopback the other "
            "hosts listen too, on the addresses next to it and the same port; elsewhere they do "
            "not.",
        ),
    ] = "127.0.0.1:8443",
    hosts: Annotated[
        int, typer.Option(min=1, max=1000, help="Hosts of the pool, each an address of its own.")
    ] = 4,
    vms: Annotated[int, typer.Option(min=0, max=100_000, help="Virtual machines.")] = 60,
    load: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Take the pool from a XAPI database dump (xapi-db.xml, state.db) or an estate "
            "file instead of making one up.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    rate: Annotated[
        float, typer.Option(min=0, max=100_000, help="Changes a second that happen by themselves.")
    ] = 0.0,
    lifecycle: Annotated[
        bool, typer.Option("--lifecycle", help="Let changes create and destroy machines too.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Same seed, same pool and same changes.")] = 1,
    name: Annotated[
        str | None, typer.Option(help="Name of the pool.", show_default="made up")
    ] = None,
    speed: Annotated[
        float,
        typer.Option(
            min=0.01,
            max=10_000,
            help="How many times faster than a real pool's the operations are.",
        ),
    ] = 1.0,
    release: Annotated[
        str | None,
        typer.Option(
            metavar="RELEASE",
            help="Of XAPI: code name or number, or a version of XenServer or XCP-ng (7.1, 8.2).",
            show_default="the newest",
        ),
    ] = None,
    plain_http: Annotated[
        bool,
        typer.Option(
            "--plain-http", help="HTTP instead of HTTPS, where each host certifies itself anew."
        ),
    ] = False,
    user: Annotated[str, typer.Option(help="The only account.")] = "root",
    password: Annotated[str, typer.Option(help="Its password.")] = "simulated",  # noqa: S107
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON when ready.")
    ] = False,
    until_stdin_closes: Annotated[bool, typer.Option("--until-stdin-closes", hidden=True)] = False,
) -> None:
    """Run a simulated XAPI pool.

    One can log in to it as to a real one, over JSON-RPC and XML-RPC. It runs until Ctrl-C or
    SIGTERM and keeps nothing. Faults are made under /_sim/fault, one after the other by a timetable
    under /_sim/faults, changes under /_sim/churn, and /_sim/stats counts.
    """
    address = _address(listen)
    try:
        DataModel.load(release)
    except UnknownReleaseError as error:
        fail(f"--release: {error}", Exit.USAGE)
    estate = _loaded(load) if load else LoadedEstate(generate(hosts, vms, seed, name))
    plan = _Plan(
        listen=address,
        estate=estate,
        plain_http=plain_http,
        user=user,
        password=password,
        churn=ChurnAsked(rate=rate, seed=seed, lifecycle=lifecycle),
        speed=speed,
        release=release,
        as_json=as_json,
        until_stdin_closes=until_stdin_closes,
    )
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(plan))


def _address(listen: str) -> tuple[str, int]:
    """Split ADDRESS:PORT; an IPv6 address stands in brackets."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > _PORT_MAX:
        fail(f"--listen takes ADDRESS:PORT, like 127.0.0.1:8443, not {listen!r}", Exit.USAGE)
    bare = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not bare or (":" in bare and bare == host):
        fail(
            f"--listen needs an address before the port ([..] around IPv6): {listen!r}", Exit.USAGE
        )
    return bare, int(port)


def _loaded(path: Path) -> LoadedEstate:
    try:
        estate = load_estate(path)
    except EstateError as error:
        fail(str(error))
    for warning in estate.warnings[:_WARNINGS_SHOWN]:
        print(f"xoproxy: warning: {warning}", file=sys.stderr)
    if (more := len(estate.warnings) - _WARNINGS_SHOWN) > 0:
        print(f"xoproxy: warning: and {more} more", file=sys.stderr)
    return estate


async def _run(plan: _Plan) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    if plan.until_stdin_closes:
        _watch_stdin(loop, ended)
    pool = SimulatedPool(
        plan.estate.estate,
        stamps=plan.estate.stamps,
        generation=plan.estate.generation,
        listen=plan.listen,
        tls=not plan.plain_http,
        user=plan.user,
        password=plan.password,
        speed=plan.speed,
        release=plan.release,
    )
    try:
        await _serve(plan, pool, ended)
    except* OSError as errors:
        reason = errors.exceptions[0]
        where = getattr(reason, "filename", None) or f"{plan.listen[0]}:{plan.listen[1]}"
        fail(f"cannot listen on {where}: {getattr(reason, 'strerror', None) or reason}")


async def _serve(plan: _Plan, pool: SimulatedPool, ended: asyncio.Event) -> None:
    async with pool:
        pool.control.churn(plan.churn)
        if plan.as_json:
            print(json.dumps(_ready(pool)), flush=True)
        else:
            _print_welcome(plan, pool)
        await ended.wait()


def _ready(pool: SimulatedPool) -> dict[str, object]:
    """Say how to reach the pool, and each of its hosts: its URL, if it has one."""
    hosts: list[dict[str, object]] = []
    for host in pool.hosts:
        told = {"address": host.address, "url": pool.hosts.url(host) if host.listens else None}
        fingerprint = {"fingerprint": host.identity.fingerprint} if pool.hosts.tls else {}
        hosts.append({"ref": host.ref, **told, **fingerprint})
    login: dict[str, object] = {"url": pool.url, "user": pool.user, "password": pool.password}
    ready = {**login, "hosts": hosts}
    if pool.hosts.tls:
        ready["fingerprint"] = pool.hosts.coordinator.identity.fingerprint
    return ready


def _print_welcome(plan: _Plan, pool: SimulatedPool) -> None:
    names = [pool.database.get("pool", ref, "name_label") for ref in pool.database.refs("pool")]
    rate = plan.churn.rate
    print(f"Simulated pool {names[0] if names else ''!r} at {pool.url}")
    print(f"  log in      user {pool.user}, password {pool.password}")
    for host in pool.hosts:
        role = "coordinator" if host is pool.hosts.coordinator else "member"
        where = pool.hosts.url(host) if host.listens else f"{host.address}, does not answer"
        print(f"  {role:<11} {where}")
        if pool.hosts.tls and host.listens:
            print(f"              certified by itself, SHA-256 {host.identity.fingerprint}")
    counts = (f"{pool.database.count(cls)} {cls}" for cls in ("host", "VM", "VDI", "SR"))
    print(f"  holds       {', '.join(counts)}")
    print(f"  changes     {f'{rate:g} a second' if rate else 'only what clients do'}")
    print(f"  control     {pool.url}/_sim/fault, /_sim/faults, /_sim/churn, /_sim/stats")
    print("Nothing is kept. Ctrl-C ends it.", flush=True)


def _watch_stdin(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    """Notice the end of standard input: whoever started us is gone."""

    def read() -> None:
        while os.read(0, 4096):
            pass
        with contextlib.suppress(RuntimeError):  # the loop may have ended before
            loop.call_soon_threadsafe(ended.set)

    # A thread, for a loop cannot watch every kind of file (/dev/null) that may stand there.
    threading.Thread(target=read, name="stdin", daemon=True).start()
