"""Roles and permissions, which XAPI derives from its data model and keeps in no database.

A permission is a role without roles below it, called like a call in lower case; a role is the set
of calls that it may make. References and uuids are MD5 sums of the names, as calls have them, so
they are the same on every pool. Left out are the permissions of HTTP handlers, of single keys of
maps, and of the undocumented calls between hosts.
"""

import functools
import hashlib
from collections.abc import Mapping
from typing import Final

from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.tables import Row
from xoproxy.simulator.wiretypes import Json

# What each role is for, and whether it is for the toolstack's own use.
_ROLES: Final = {
    "pool-admin": ("May do everything, and says who else may do what", False),
    "pool-operator": ("Runs hosts and pools, but not their users", False),
    "vm-power-admin": ("Manages VMs and where and how they run", False),
    "vm-admin": ("Manages VMs and templates", False),
    "vm-operator": ("Uses VMs and their consoles", False),
    "client-cert": ("What those may do who come with a client certificate", True),
    "read-only": ("May look, and change nothing", False),
}


def _uuid(name: str) -> str:
    digest = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
    return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:]))


@functools.cache
def roles(model: DataModel) -> Mapping[str, Row]:
    """Return all permissions and roles of a release by reference."""
    granted: dict[str, list[str]] = {name: [] for name in _ROLES}
    rows = {}
    for name, holders in _permissions(model).items():
        row = _row(name, "A single permission", [], is_internal=True)
        rows[row.ref] = row
        for holder in holders:
            granted[holder].append(row.ref)
    for name, (description, is_internal) in _ROLES.items():
        row = _row(name, description, granted[name], is_internal=is_internal)
        rows[row.ref] = row
    return rows


def _permissions(model: DataModel) -> dict[str, tuple[str, ...]]:
    """Name the calls, and who may make them."""
    permissions = {}
    for cls in model.classes.values():
        for message in cls.messages.values():
            if message.roles:
                permissions[message.wire_name] = message.roles
        if "get_all_records" in cls.messages:
            listing = cls.messages["get_all_records"]
            permissions[f"{listing.wire_name}_where"] = listing.roles
    return permissions


def _row(name: str, description: str, below: list[str], *, is_internal: bool) -> Row:
    uuid = _uuid(name)
    fields: dict[str, Json] = {
        "is_internal": is_internal,
        "name_description": description,
        "name_label": name.lower(),
        "subroles": below,
        "uuid": uuid,
    }
    return Row(f"OpaqueRef:{uuid}", fields, 0, 0)
