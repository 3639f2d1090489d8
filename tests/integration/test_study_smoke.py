"""The studies behind our decisions can be made again by anybody; no figure is judged here."""

import asyncio
import shutil
import sys
from pathlib import Path

from tests.shared import skip_or_fail

ROOT = Path(__file__).parents[2]


async def printed_by(module: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, "--quick"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_each_way_to_compress_can_be_read_and_has_its_row():
    rows = (await printed_by("benchmarks.compression")).splitlines()
    ways = ("plain", "stateless", "dictionary", "shared stream", "context per client")
    for way in ways:
        assert any(row.startswith(way) for row in rows), way


async def test_each_step_of_a_change_has_its_cost():
    printed = await printed_by("benchmarks.steps")
    for step in ("scan", "compare", "commit", "journal", "log", "deflate", "write to 20"):
        assert f"\n{step}" in printed, step


async def test_pauses_of_the_garbage_collector_are_told_for_each_way_to_freeze():
    if shutil.which("cc") is None:
        skip_or_fail("there is no C compiler")
    printed = await printed_by("benchmarks.collector")
    for state in ("never", "once", "as it goes"):
        assert f"\n{state}" in printed, state
