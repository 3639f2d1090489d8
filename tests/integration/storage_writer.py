"""Writes to a storage until it is killed, and prints what was acknowledged.

    python -m tests.integration.storage_writer URL KEY FIRST

Each line is what a call had done when it returned, like "account a7".
"""

import asyncio
import itertools
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from xoproxy.auth import Account, Group, KeptGrant
from xoproxy.auth.grants import EVERYTHING
from xoproxy.storage import Storage, open_storage
from xoproxy.telemetry import configure_logging


async def write(url: str, key: Path, first: int) -> None:
    async with open_storage(url, key) as storage:
        _say("open")
        for number in itertools.count(first):
            await _write_one(storage, number)


async def _write_one(storage: Storage, number: int) -> None:
    """One account with what belongs to it: six writes."""
    now, directory, account_id = datetime.now(UTC), storage.directory, f"a{number}"
    account = Account(account_id, f"user {number}", "viewer", "$h", enabled=True, created_at=now)
    await directory.put_account(account)
    _say(f"account {account_id}")
    grant = KeptGrant(f"r{number}", account_id, "", "viewer", EVERYTHING, False, now)
    await directory.add_grant(grant)
    _say(f"grant {grant.id}")
    # one transaction over three tables
    others = frozenset({account_id, f"a{number - 1}"} if number % 100 else {account_id})
    await directory.put_group(Group(f"g{number}", f"group {number}", now, others))
    _say(f"group g{number} {len(others)}")
    await storage.pools.add(f"pool {number}", "https://p", "root", f"secret {number}")
    _say(f"pool {number}")
    await directory.put_account(replace(account, role="operator"))
    _say(f"role {account_id}")
    await directory.remove_grant(grant.id)
    _say(f"gone {grant.id}")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - it is a program


if __name__ == "__main__":
    configure_logging("json", "error")  # to standard error
    asyncio.run(write(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
