"""The calls of the API: generated ones from the data model, the others a module per family.

Importing this package registers all hand-written calls (see `registry`).
"""

from xoproxy.simulator.calls import (
    bond,
    event,
    host,
    message,
    network,
    pbd,
    pif,
    power,
    role,
    session,
    sr,
    task,
    tunnel,
    vbd,
    vdi,
    vdi_copy,
    vdi_settings,
    vif,
    vlan,
    vm,
    vm_settings,
)

__all__ = [
    "bond",
    "event",
    "host",
    "message",
    "network",
    "pbd",
    "pif",
    "power",
    "role",
    "session",
    "sr",
    "task",
    "tunnel",
    "vbd",
    "vdi",
    "vdi_copy",
    "vdi_settings",
    "vif",
    "vlan",
    "vm",
    "vm_settings",
]
