import asyncio
import gc
import weakref

import pytest

from xoproxy.app.collector import Collector


class Knot:
    """Dies in a cycle, unless somebody cuts it."""

    def __init__(self):
        self.itself = self


def dead_knot() -> weakref.ref[Knot]:
    """Make a knot that dies when it has survived the collector's middle run."""
    knot = Knot()
    gc.collect(1)
    return weakref.ref(knot)


def test_a_full_run_does_not_look_at_what_lived_through_a_middle_one():
    with Collector():
        kept = [[number] for number in range(1000)]
        gc.collect(1)
        assert not {id(o) for o in gc.get_objects()} & {id(o) for o in kept}


def test_what_is_freed_by_its_count_is_freed_though_frozen():
    with Collector():
        kept = Knot()
        gc.collect(1)
        seen = weakref.ref(kept)
        del kept.itself
        del kept
        assert seen() is None


def test_what_died_in_a_cycle_goes_when_all_is_thawed():
    with Collector() as collector:
        seen = dead_knot()
        gc.collect()
        assert seen() is not None
        collector.thaw()
        assert seen() is None


def test_afterwards_the_collector_is_as_it_was():
    before = list(gc.callbacks)
    with Collector():
        assert gc.get_freeze_count() > 0
    assert gc.callbacks == before
    assert gc.get_freeze_count() == 0
    seen = dead_knot()
    gc.collect()
    assert seen() is None


@pytest.mark.looptime
async def test_once_in_its_time_everything_is_thawed():
    with Collector(thaw_s=100.0) as running:
        seen = dead_knot()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(150.0):
                await running.run()
        assert seen() is None
