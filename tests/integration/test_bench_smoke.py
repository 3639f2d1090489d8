"""The benchmarks run and write what they promise; no figure is judged here."""

import asyncio
import shutil
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.figures import Measured
from benchmarks.growth import curves
from benchmarks.growth.sweeps import Curve, Point, collect
from benchmarks.rig import BenchError
from tests.shared import skip_or_fail

ROOT = Path(__file__).parents[2]
BYTES = ("bytes_power_state", "bytes_host_memory")
INGEST = ("ingest_changed_us", "ingest_unchanged_us")


async def run_benchmarks(*options: str, module: str = "benchmarks") -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, "--quick", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
    )
    printed, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, printed.decode()


async def test_the_file_has_the_asked_figures_and_no_others(tmp_path):
    out = tmp_path / "bench.json"
    status, printed = await run_benchmarks("--only", *BYTES, *INGEST, "--out", str(out))
    assert status == 0, printed
    figures = msgspec.json.decode(out.read_bytes())
    assert set(figures) == {*BYTES, *INGEST}
    assert {"value", "unit", "goal"} == set(figures["bytes_power_state"])
    assert {"value", "unit", "goal", "floor"} == set(figures["ingest_changed_us"])
    assert all(figure["value"] > 0 for figure in figures.values())


async def test_frames_reach_real_clients_and_the_floor_is_measured_beside(tmp_path):
    if shutil.which("cc") is None:
        skip_or_fail("there is no C compiler")
    out = tmp_path / "bench.json"
    keys = ("fanout_frames_per_s", "fanout_ratio_send2")
    status, printed = await run_benchmarks("--only", *keys, "--out", str(out))
    assert status == 0, printed
    figures = msgspec.json.decode(out.read_bytes())
    assert set(figures) == set(keys)
    assert figures["fanout_frames_per_s"]["floor"] > 0


@pytest.mark.slow
async def test_other_ways_get_the_same_trace_and_need_more_bytes_for_it(tmp_path):
    if shutil.which("cc") is None:
        skip_or_fail("there is no C compiler")
    out = tmp_path / "bench.json"
    status, printed = await run_benchmarks("--only", "peers", "--out", str(out))
    assert status == 0, printed
    peers = msgspec.json.decode(out.read_bytes())["peers"]
    assert set(peers) == {"ours", "whole_objects", "home_assistant", "broadcast"}
    assert all(peer["cpu_us_per_delivered_change"] > 0 for peer in peers.values())
    assert all(peer["clients"] > 0 for peer in peers.values())
    assert set(peers["ours"]["ratios"].values()) == {1}
    by_bytes = sorted(peers, key=lambda key: peers[key]["bytes_per_change"])
    assert by_bytes == ["ours", "broadcast", "home_assistant", "whole_objects"]


@pytest.mark.slow
async def test_growth_is_measured_and_drawn_where_it_can_be(tmp_path):
    if shutil.which("cc") is None:
        skip_or_fail("there is no C compiler")
    options = ("--only", "clients", "--out", str(tmp_path))
    status, printed = await run_benchmarks(*options, module="benchmarks.growth")
    assert status == 0, printed
    curve = msgspec.json.decode((tmp_path / "growth.json").read_bytes())["curves"]["clients"]
    assert [point["x"] for point in curve["points"]] == [2, 6]
    assert all(point["cpu_us"]["value"] > 0 for point in curve["points"])
    assert all(point["proxy_mb"] > 0 for point in curve["points"])
    if curves.can_draw():
        picture = (tmp_path / "growth-clients.png").read_bytes()
        assert picture.startswith(b"\x89PNG")
    else:
        assert "xoproxy[bench]" in printed


async def test_a_curve_ends_where_a_batch_is_late():
    async def points():
        some = Measured(1.0)
        yield Point(10, some, some, some, 1.0, 1.0)
        raise BenchError("3 of 80 batches did not arrive")

    curve = Curve("clients", "clients", "", [])
    told: list[Point] = []
    await collect(curve, points(), told.append)
    assert [point.x for point in curve.points] == [10]
    assert told == curve.points
    assert curve.ended == "3 of 80 batches did not arrive"


async def test_an_unknown_figure_is_refused_by_name():
    status, printed = await run_benchmarks("--only", "bytes_per_moon")
    assert status == 2
    assert "bytes_per_moon" in printed
