"""`xoproxy audit`: the log of who did what."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from xoproxy.cli.access import access
from xoproxy.cli.exits import Exit, fail
from xoproxy.cli.output import Result, cell, print_json
from xoproxy.cli.remote import AsPasswordFile, AsUser, Json, Remote, Url, on_proxy

_PART = 200
_VERIFIED_PART = 1_000

app = typer.Typer(no_args_is_help=True, help="The audit log: export, verify.")


@app.command()
def export(
    since: Annotated[
        str,
        typer.Option(
            "--since",
            metavar="WHEN",
            help="Begin at a moment (2026-01-31T12:00:00Z), or behind the record of a number.",
        ),
    ] = "0",
    url: Url = None,
    as_user: AsUser = None,
    as_password_file: AsPasswordFile = None,
    as_json: Json = False,
) -> None:
    """Print the log, oldest records first, one a line; with --json each as an object."""
    for record in _records(Remote(access(url, as_user, as_password_file)), since):
        if as_json:
            print_json(record)
        else:
            print(_line(record))


@on_proxy(app)
def verify(
    proxy: Remote,
    head: Annotated[
        str,
        typer.Option(
            "--head",
            metavar="NUMBER:HASH",
            help="What an earlier run said of the newest record: it must still be there.",
            show_default=False,
        ),
    ] = "",
) -> Result:
    """Tell whether anything was changed in the log, and where first.

    Note the newest record's number and hash somewhere else: that proves that the log was not put
    back to an older state.
    """
    number, hash_ = _noted(head)
    first, found = _verified(proxy)
    fault = found["fault"]
    if fault is None and number:
        fault = _differs(proxy, number, hash_)
    newest = f"{found['head']}:{found['head_hash']}"

    def show() -> None:
        if fault is not None:
            print(f"Broken at record {fault['number']}: {fault['reason']}.")
        elif not found["head"]:
            print("The log is empty.")
        else:
            print(f"Whole from record {first} to {found['head']}.\nNewest: {newest}")

    value = {"fault": fault, "first": first, "head": newest}
    return Result(value, show, Exit.OK if fault is None else Exit.FAILURE)


def _verified(proxy: Remote) -> tuple[int, dict[str, Any]]:
    """Verify stretch by stretch; return the oldest record's number, and what was said last."""
    first = after = 0
    while True:
        found = proxy.get("audit", "verify", after=str(after), limit=str(_VERIFIED_PART))
        first = first or found["first"]
        if found["fault"] or found["last"] >= found["head"] or found["last"] == after:
            return first, found
        after = found["last"]


def _records(proxy: Remote, since: str) -> Iterator[dict[str, Any]]:
    part = proxy.get("audit", since=since, limit=str(_PART))
    while part:
        yield from part
        part = proxy.get("audit", since=str(part[-1]["number"]), limit=str(_PART))


def _noted(head: str) -> tuple[int, str]:
    number, _, hash_ = head.partition(":")
    if head and not (number.isascii() and number.isdigit() and int(number) and hash_):
        fail("--head: give NUMBER:HASH, as `xoproxy audit verify` prints it", Exit.USAGE)
    return int(number or 0), hash_


def _differs(proxy: Remote, number: int, hash_: str) -> dict[str, Any] | None:
    found = proxy.get("audit", since=str(number - 1), limit="1")
    if found and found[0]["number"] == number and found[0]["hash"] == hash_:
        return None
    if found and found[0]["number"] > number:
        fail(f"record {number} is too old: it was let go, so nothing can be said of it")
    return {"number": number, "reason": "it is not the record that was noted"}


def _line(record: Mapping[str, Any]) -> str:
    """Write a record for people."""
    who = record["user"] or "somebody"
    parts = [
        record["at"],
        f"#{record['number']}",
        f"{who}@{record['peer']}" if record["peer"] else who,
        record["credential"] and f"({record['credential']})",
        record["operation"],
        record["pool"] and f"on {record['pool']}",
        record["object"],
        ", ".join(record["parameters"]) and f"[{', '.join(record['parameters'])}]",
        " ".join(f"{name}={value}" for name, value in record["details"].items()),
        f"-> {record['result']}",
        f"({record['count']} times)" if record["count"] > 1 else "",
    ]
    return cell(" ".join(part for part in parts if part))
