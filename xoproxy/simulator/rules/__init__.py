"""What XAPI allows on an object in its present state: one question, asked in two ways.

A module per family of classes tells, for each operation, why it is refused now (`Refusal`: None
when it is not). A call that wants to run asks `check`; what an object advertises in its
`allowed_operations` is what is not refused, so the two cannot disagree. Nothing here waits, and
only `allow` and `drop` write.
"""

from xoproxy.simulator.rules import appliance, devices, host, pool, storage, vm, vtpm
from xoproxy.simulator.rules.registry import (
    RULES,
    Reader,
    Refusal,
    Rules,
    allow,
    allowed,
    check,
    drop,
)

RULES |= {
    "SR": storage.SR,
    "VBD": devices.VBD,
    "VDI": storage.VDI,
    "VIF": devices.VIF,
    "VM": vm.VM,
    "VM_appliance": appliance.VM_APPLIANCE,
    "VTPM": vtpm.VTPM,
    "host": host.HOST,
    "pool": pool.POOL,
}

__all__ = ["RULES", "Reader", "Refusal", "Rules", "allow", "allowed", "check", "drop"]
