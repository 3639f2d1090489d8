"""A moment of the soak: everything runs, nobody diverges. Memory is judged by the long one."""

import asyncio
import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.shared import skip_or_fail
from tests.soak.__main__ import growth
from tests.soak.readers import leave_out_scans

ROOT = Path(__file__).parents[2]


async def run(*argv: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *argv),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
    )
    printed, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, printed.decode()


@pytest.mark.slow
async def test_sampled_clients_of_every_kind_hold_what_the_pool_lists(tmp_path):
    if shutil.which("cc") is None:
        skip_or_fail("there is no C compiler")
    out = tmp_path / "soak.json"
    few = ("--minutes", "0.1", "--clients", "20", "--replicas", "14", "--journal-mib", "1")
    _, printed = await run("tests.soak", *few, "--out", str(out))
    result = json.loads(out.read_text())
    assert (result["divergent"], result["faults"]) == ([], []), printed
    assert result["counts"]["patch"] > 50
    assert result["batches"] > 50
    assert result["memory_mb"]


@pytest.mark.slow
async def test_storms_are_repeated_by_their_seed():
    one, two = [await run("tests.soak.storms", "--steps", "60", "--seed", "7") for _ in range(2)]
    assert one == two == (0, "seed 7\n60 steps, no fault\n")


def test_a_scan_that_is_held_back_is_no_divergence():
    rest = {"current_operations": {}, "allowed_operations": ["scan"], "name_label": "nfs"}
    scan = {"current_operations": {"t": "scan"}, "allowed_operations": [], "name_label": "nfs"}
    for held, listed, equal in (
        (rest, scan, True),
        (rest, {**scan, "current_operations": {"t": "scan", "u": "destroy"}}, False),
        ({**rest, "name_label": "x"}, scan, False),
    ):
        expected, found = {"a": dict(listed)}, {"a": dict(held)}
        leave_out_scans(expected, found)
        assert (expected == found) is equal


def test_growth_is_of_the_last_fifth_against_the_second():
    filling = [(float(n), 100.0 + n) for n in range(20)]
    full = [(float(n), 120.0) for n in range(20, 80)]
    assert growth(filling + full) == 0
    assert growth([(0.0, 100.0)] * 90 + [(0.0, 110.0)] * 20) == pytest.approx(0.1)
