"""`xoproxy pool`: which pools the proxy watches."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from xoproxy.cli.exits import Exit, fail
from xoproxy.cli.output import Result, cell, row, rows, said
from xoproxy.cli.remote import Remote, on_proxy
from xoproxy.settings import read_secret

PASSWORD_VARIABLE = "XOPROXY_POOL_PASSWORD"  # noqa: S105 - a name

app = typer.Typer(
    no_args_is_help=True,
    help="Pools: add, check, list, show, enable, disable, accept, remove.",
)

_COLUMNS = {
    "id": "ID",
    "name": "NAME",
    "url": "URL",
    "state": "STATE",
    "since": "SINCE",
    "objects": "OBJECTS",
    "error": "ERROR",
}
_MEMBERS = {
    "id": "Id",
    "name": "Name",
    "url": "URL",
    "username": "User",
    "enabled": "Enabled",
    "state": "State",
    "since": "Since",
    "error": "Error",
    "objects": "Objects",
    "created_at": "Added",
}
Fingerprint = Annotated[
    str | None,
    typer.Option(
        "--accept-fingerprint",
        metavar="SHA256",
        help="Trust the host's certificate if it has this fingerprint.",
        show_default=False,
    ),
]
PoolArgument = Annotated[
    str, typer.Argument(metavar="POOL", help="Name or id.", show_default=False)
]


@on_proxy(app)
def add(
    proxy: Remote,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="How to call it.", show_default=False)
    ],
    address: Annotated[
        str,
        typer.Argument(
            metavar="URL", help="Its coordinator: https://xcp1.example.com", show_default=False
        ),
    ],
    username: Annotated[
        str, typer.Option("--user", metavar="USER", help="User on the pool, mostly root.")
    ],
    password_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=f"File with that user's password; else {PASSWORD_VARIABLE}, else a prompt.",
            show_default=False,
        ),
    ] = None,
    fingerprint: Fingerprint = None,
) -> Result:
    """Add a pool; the proxy connects to it at once and keeps its password encrypted.

    XAPI hosts sign their own certificates: compare the fingerprint that is shown with the host's
    console (xe host-get-server-certificate), then accept it once.
    """
    password = _pool_password(username, password_file)
    body = {"name": name, "url": address, "username": username, "password": password}
    if fingerprint:
        body["fingerprint"] = fingerprint
    pool = proxy.post("pools", body=body, expected="" if fingerprint else "CERTIFICATE")
    if "error" in pool and "id" not in pool:
        body["fingerprint"] = _accepted(pool["error"])
        pool = proxy.post("pools", body=body)
    return said(pool, f"Added {pool['name']} ({pool['id']}). See its state: xoproxy pool list")


@on_proxy(app)
def check(
    proxy: Remote,
    pool: Annotated[
        str,
        typer.Argument(
            metavar="POOL|URL",
            help="Name or id of a pool, or the address of one to be added.",
            show_default=False,
        ),
    ],
    username: Annotated[
        str, typer.Option("--user", metavar="USER", help="User on the pool; with a URL.")
    ] = "root",
    password_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=f"File with that user's password; else {PASSWORD_VARIABLE}, else a prompt.",
            show_default=False,
        ),
    ] = None,
    fingerprint: Fingerprint = None,
) -> Result:
    """Look at a pool step by step, and say what to do about what fails."""
    if "://" in pool:
        body = {"url": pool, "username": username}
        body["password"] = _pool_password(username, password_file)
        if fingerprint:
            body["fingerprint"] = fingerprint
        report = proxy.post("pools", "check", body=body)
    else:
        report = proxy.post("pools", _find(proxy, pool)["id"], "check")
    code = Exit.OK if report["good"] else Exit.FAILURE
    return Result(report, partial(_print_report, report), code)


@on_proxy(app)
def reconnect(proxy: Remote, pool: PoolArgument) -> Result:
    """Try to reach a pool now instead of at the next attempt."""
    found = proxy.post("pools", _find(proxy, pool)["id"], "reconnect")
    return said(found, f"Trying {found['name']} ({found['id']}). See its state: xoproxy pool list")


@on_proxy(app)
def accept(
    proxy: Remote,
    pool: PoolArgument,
    fingerprint: Annotated[
        str | None,
        typer.Argument(
            metavar="SHA256", help="What you compared; else you are asked.", show_default=False
        ),
    ] = None,
) -> Result:
    """Accept the certificate that a pool's hosts show now, after it was renewed."""
    found = _find(proxy, pool)
    wanted = (
        [fingerprint] if fingerprint else _asked(proxy.get("pools", found["id"], "certificates"))
    )
    for one in wanted:
        found = proxy.post("pools", found["id"], "accept", body={"fingerprint": one})
    return said(found, f"Accepted for {found['name']} ({found['id']}).")


@on_proxy(app, "list")
def list_pools(proxy: Remote) -> Result:
    """List all pools with the state of their links."""
    pools = proxy.get("pools")
    return rows(pools, _COLUMNS, "No pools yet. Add one: xoproxy pool add NAME URL --user root")


@on_proxy(app)
def show(proxy: Remote, pool: PoolArgument) -> Result:
    """Show one pool."""
    return row(_find(proxy, pool), _MEMBERS)


@on_proxy(app)
def enable(proxy: Remote, pool: PoolArgument) -> Result:
    """Connect to a pool again that was disabled."""
    return _switch(proxy, pool, enabled=True)


@on_proxy(app)
def disable(proxy: Remote, pool: PoolArgument) -> Result:
    """Leave a pool alone; what is known of it stays visible, marked as disabled."""
    return _switch(proxy, pool, enabled=False)


@on_proxy(app)
def rename(
    proxy: Remote,
    pool: PoolArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its new name.", show_default=False)],
) -> Result:
    """Call a pool something else; its id stays."""
    changed = proxy.patch("pools", _find(proxy, pool)["id"], body={"name": name})
    return said(changed, f"Renamed to {changed['name']} ({changed['id']}).")


@on_proxy(app)
def remove(proxy: Remote, pool: PoolArgument) -> Result:
    """Forget a pool and its credentials; nothing changes on the pool itself."""
    found = _find(proxy, pool)
    proxy.delete("pools", found["id"])
    removed = {"id": found["id"], "name": found["name"]}
    return said(removed, f"Removed {found['name']} ({found['id']}).")


def _switch(proxy: Remote, pool: str, *, enabled: bool) -> Result:
    changed = proxy.patch("pools", _find(proxy, pool)["id"], body={"enabled": enabled})
    done = "Enabled" if enabled else "Disabled"
    return said(changed, f"{done} {changed['name']} ({changed['id']}).")


_OWN_CERTIFICATE = "Is this the host's own certificate?"
_MARKS = {"ok": "ok", "warning": "warning", "failed": "FAILED", "skipped": "-"}


def _print_report(report: dict[str, Any]) -> None:
    for step in report["steps"]:
        print(f"{_MARKS[step['outcome']]:<8} {step['name']:<12} {cell(step['message'])}")
        if step["advice"]:
            print(f"{'':<21} {cell(step['advice'])}")


def _accepted(problem: dict[str, Any]) -> str:
    """Ask whether a certificate is the right one; without a terminal, say how to accept it."""
    shown = problem["data"]["certificate"]
    if not sys.stdin.isatty():
        fail(f"{problem['message']} by --accept-fingerprint")
    print("No authority vouches for the certificate of the host.", file=sys.stderr)
    for name in ("subject", "issuer", "not_after", "fingerprint"):
        print(f"  {name + ':':<13} {cell(shown[name])}", file=sys.stderr)
    if not typer.confirm(f"{_OWN_CERTIFICATE} Accept it", err=True):
        fail("not accepted; nothing was added")
    return str(shown["fingerprint"])


def _asked(hosts: list[dict[str, Any]]) -> list[str]:
    """Show what the hosts show now that was not accepted, and let somebody decide on each."""
    new = {
        host["shown"]["fingerprint"]: host
        for host in hosts
        if host["shown"] and host["shown"]["fingerprint"] != host["accepted"]
    }
    if not new:
        fail("every host that answers shows its accepted certificate; there is nothing to accept")
    accepted = []
    for fingerprint, host in new.items():
        print(f"  {host['host']}  SHA-256 {fingerprint}", file=sys.stderr)
        if sys.stdin.isatty() and typer.confirm(f"{_OWN_CERTIFICATE} Accept it", err=True):
            accepted.append(fingerprint)
    if not sys.stdin.isatty():
        fail("compare with the hosts' consoles, then for each: xoproxy pool accept POOL SHA256")
    if not accepted:
        fail("not accepted; nothing has changed")
    return accepted


def _find(proxy: Remote, wanted: str) -> dict[str, Any]:
    """Return the pool with this id, else with this name."""
    pools: list[dict[str, Any]] = proxy.get("pools")
    matches = [pool for pool in pools if pool["id"] == wanted] or [
        pool for pool in pools if pool["name"] == wanted
    ]
    if matches:
        return matches[0]
    return fail(f"there is no pool {wanted!r}; see xoproxy pool list")


def _pool_password(username: str, password_file: Path | None) -> str:
    if password_file is not None:
        return read_secret(password_file, "--password-file")
    if password := os.environ.get(PASSWORD_VARIABLE):
        return password
    if not sys.stdin.isatty():
        fail(f"give the pool's password by --password-file or {PASSWORD_VARIABLE}", Exit.USAGE)
    return str(typer.prompt(f"Password of {username} on the pool", hide_input=True, err=True))
