"""The calls of the API: generated ones from the data model, the others a module per family.

Importing this package registers all hand-written calls (see `registry`).
"""

from xoproxy.simulator.calls import (
    data_sources,
    event,
    host,
    message,
    network,
    power,
    role,
    session,
    storage,
    task,
    vbd,
    vif,
    vm,
    vm_settings,
)

__all__ = [
    "data_sources",
    "event",
    "host",
    "message",
    "network",
    "power",
    "role",
    "session",
    "storage",
    "task",
    "vbd",
    "vif",
    "vm",
    "vm_settings",
]
