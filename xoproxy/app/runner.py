"""The process: its event loop, its collector, its signals."""

import asyncio
import gc
import signal


async def until_signalled() -> None:
    """Wait for SIGINT or SIGTERM."""
    signalled = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, signalled.set)
    try:
        await signalled.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def new_runner() -> asyncio.Runner:
    """Make the runner of a process that serves: the fastest loop, and a collector that keeps still.

    Records are bytes, which the collector does not follow, and a batch makes and drops containers
    by the ten thousand without a single cycle: the default thresholds would walk over all of them
    again and again, for up to 70 ms at a time.
    """
    gc.set_threshold(20_000, 20, 100)
    return asyncio.Runner(loop_factory=new_event_loop)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Make the fastest event loop that there is here: 10 to 20 % less per write with uvloop."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
