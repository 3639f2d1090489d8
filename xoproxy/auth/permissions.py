"""What may be done, and the roles made of it.

A permission is a dotted name, and covers all below it: who has `vm.power` has
`vm.power.shutdown.clean`, and who has `*` has everything. A role is a name for some permissions.
Four roles are built in; others are made by the administrator (auth/directory.py).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from xoproxy.auth.identity import ADMINISTRATOR
from xoproxy.errors import ErrorCode, RequestRefused

ALL = "*"
VIEW = "view"
"""To be shown an object, its secrets excepted."""
SECRETS = "secrets.read"
"""To be shown what is secret by default, on everything or a whole pool."""

PERMISSIONS: Mapping[str, str] = MappingProxyType(
    {
        VIEW: "see the object and what goes with it",
        SECRETS: "see passwords, keys and tokens in records (a grant on everything or on a pool)",
        "vm.power.start": "start a VM",
        "vm.power.shutdown.clean": "ask a VM's system to shut down",
        "vm.power.shutdown.hard": "switch a VM off",
        "vm.power.reboot.clean": "ask a VM's system to reboot",
        "vm.power.reboot.hard": "reset a VM",
        "vm.power.suspend": "suspend a VM, and resume it",
        "vm.power.pause": "pause a VM, and go on with it",
        "vm.console": "use a VM's console",
        "vm.media": "insert and eject CDs",
        "vm.snapshot.create": "take snapshots and checkpoints of a VM",
        "vm.snapshot.revert": "take a VM back to a snapshot",
        "vm.migrate": "move a VM to another host of its pool",
        "vm.edit.label": "change a VM's name and description",
        "vm.edit.memory": "change a VM's memory",
        "vm.edit.cpus": "change a VM's virtual CPUs",
        "vm.create": "make VMs from a template or a VM, and be their owner",
        "vm.provision": "have what was made from a template turned into a VM with its disks",
        "vm.destroy": "destroy VMs, their snapshots and disks",
        "task.cancel": "cancel what is being done to the object",
        "sr.scan": "have a storage repository looked through again",
        "host.maintenance": "disable, enable and evacuate hosts",
    }
)
"""The leaves of the tree, with what each is for."""

_VIEWER = frozenset({VIEW})
_OPERATOR = _VIEWER | {
    "vm.power",
    "vm.console",
    "vm.media",
    "vm.snapshot",
    "vm.migrate",
    "task.cancel",
    "sr.scan",
}
_USER = _VIEWER | {"vm.power", "vm.console", "vm.media", "vm.snapshot", "vm.edit"}
_USER |= {"vm.create", "vm.provision", "vm.destroy", "task.cancel"}


@dataclass(frozen=True, slots=True)
class Role:
    """A name for some permissions.

    Args:
        permissions: of PERMISSIONS, or names above them, or ALL.
        built_in: cannot be changed or removed.
    """

    name: str
    permissions: frozenset[str]
    built_in: bool = False

    def has(self, permission: str) -> bool:
        """Tell whether the role has a permission, by its name or by one above it."""
        if ALL in self.permissions:
            return True
        parts = permission.split(".")
        return any(".".join(parts[:end]) in self.permissions for end in range(1, len(parts) + 1))


BUILT_IN: Mapping[str, Role] = MappingProxyType(
    {
        name: Role(name, permissions, built_in=True)
        for name, permissions in (
            ("viewer", _VIEWER),
            ("operator", _OPERATOR),
            ("user", _USER),
            (ADMINISTRATOR, frozenset({ALL})),
        )
    }
)


def checked(permissions: Iterable[str]) -> frozenset[str]:
    """Return permissions for a role.

    Raises:
        RequestRefused: BAD_MESSAGE, one of them is none.
    """
    found = frozenset(permissions)
    known = {ALL, *PERMISSIONS}
    for name in PERMISSIONS:
        parts = name.split(".")
        known.update(".".join(parts[:end]) for end in range(1, len(parts)))
    if unknown := sorted(found - known):
        raise RequestRefused(
            ErrorCode.BAD_MESSAGE,
            f"there is no permission {unknown[0]!r}; there are {', '.join(sorted(known))}",
        )
    return found
