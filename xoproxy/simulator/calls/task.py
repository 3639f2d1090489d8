"""Class `task`, as far as it is not generated: setters are plain writes."""

from xoproxy.simulator.calls.registry import Call, operation


@operation("task.create")
def create(call: Call, label: str, description: str) -> str:
    return call.world.tasks.create(label, description, call.session)


@operation("task.destroy")
def destroy(call: Call, task: str) -> None:
    call.world.tasks.destroy(task)


@operation("task.cancel")
def cancel(call: Call, task: str) -> None:
    call.world.tasks.cancel(task)
