"""The calls of the API: generated ones from the data model, the others a module per family.

Importing this package registers all hand-written calls (see `registry`).
"""

from xoproxy.simulator.calls import (
    event,
    host,
    message,
    network,
    pbd,
    power,
    role,
    session,
    sr,
    task,
    vbd,
    vdi,
    vdi_copy,
    vdi_settings,
    vif,
    vm,
    vm_settings,
)

__all__ = [
    "event",
    "host",
    "message",
    "network",
    "pbd",
    "power",
    "role",
    "session",
    "sr",
    "task",
    "vbd",
    "vdi",
    "vdi_copy",
    "vdi_settings",
    "vif",
    "vm",
    "vm_settings",
]
