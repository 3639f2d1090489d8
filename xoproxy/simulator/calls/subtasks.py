"""Calls that a call makes: each is a task under the caller's own, until its outcome is known."""

import dataclasses
import inspect

from xoproxy.simulator.calls.registry import OPERATIONS, Call
from xoproxy.simulator.database import RowMissingError
from xoproxy.simulator.failures import XapiError, as_xapi
from xoproxy.simulator.wiretypes import Json


async def run_subtask(call: Call, method: str, *arguments: Json) -> Json:
    """Run a hand-written call for another one, and destroy its task in the end.

    Raises:
        XapiError: what the call fails with.
    """
    tasks = call.world.tasks
    task = tasks.create(f"Async.{method}")
    if call.task:
        call.db.write("task", task, "subtask_of", call.task)
    try:
        value = OPERATIONS[method](dataclasses.replace(call, task=task), *arguments)
        if inspect.isawaitable(value):
            value = await value
    except (XapiError, RowMissingError) as error:
        failure = as_xapi(error)
        tasks.fail(task, failure)
        raise failure from None
    else:
        tasks.succeed(task, "<value></value>")
        return value
    finally:
        tasks.drop(task)
