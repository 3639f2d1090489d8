"""A command at a terminal, and somebody who answers its questions."""

import asyncio
import contextlib
import os
import pty
import sys


async def answered(arguments: tuple[str, ...], answers: dict[str, str]) -> tuple[str, str]:
    """Run a command and type an answer to each prompt; return stdout and what the terminal showed.

    Args:
        arguments: the command's.
        answers: to each of its prompts, in their order.
    """
    terminal, inside = pty.openpty()
    os.set_blocking(terminal, False)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "xoproxy", *arguments),
        stdin=inside,
        stdout=asyncio.subprocess.PIPE,
        stderr=inside,
        start_new_session=True,
    )
    os.close(inside)
    shown = b""
    readable = asyncio.Event()
    asyncio.get_running_loop().add_reader(terminal, readable.set)
    for prompt, typed in answers.items():
        async with asyncio.timeout(20):
            while not shown.endswith(prompt.encode()):
                await readable.wait()
                readable.clear()
                with contextlib.suppress(BlockingIOError):
                    shown += os.read(terminal, 1000)
        os.write(terminal, typed.encode() + b"\n")
    asyncio.get_running_loop().remove_reader(terminal)
    async with asyncio.timeout(20):
        out, _ = await process.communicate()
    with contextlib.suppress(OSError):  # how Linux says that nobody is inside any more
        while more := os.read(terminal, 1000):
            shown += more
    os.close(terminal)
    return out.decode(), shown.decode()
