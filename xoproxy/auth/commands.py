"""What users may call who do not administer: which methods, and what each of them needs.

Theory of operation. A command is an XAPI method with a *subject*: the parameter that names the
object which it is about. Whoever may see the subject, and has the command's permissions on it, may
call it, as long as he may see all else that the parameters name, too. Everything is judged on the
pool as it stands when the call comes, and when it is sent. What he may not see does not exist: the
answer is the same, by the same path. All other methods are for administrators.

A disk goes with each VM that it is attached to, and so does a CD image with those in whose drives
it is. That is reason to show it, not to let it be destroyed: this takes the permission on all of
them, and that it is a disk of each.

Not in the table, on purpose:

- tags, `other_config` and what else scopes of grants are made of: who edits tags edits rights.
  (Names can be edited, so a grant's filter should not ask for names.)
- VM.set_VCPUs_params: weights and pins are at the expense of other VMs.

A task is seen with the objects whose `current_operations` name it (cache/derivation.py). What a
command does to its subject and takes any time stands there as long as it lasts, so whoever began a
task sees it at work, and nothing need be remembered of who that was. How it ended, `result` tells.
(Scans of storage come and go all the time, and are not told of: pool/noise.py.)

What a call gives back, or fails with, names nothing that its user may not see (`shown`); of errors
that carry the output of programs on a host, he gets to know the code.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType

from xoproxy.auth.grants import Rights
from xoproxy.cache.derivation import anchors
from xoproxy.cache.diff import split
from xoproxy.cache.state import State
from xoproxy.cache.view import Visibility
from xoproxy.errors import ErrorCode, RequestRefused, XapiFailure
from xoproxy.model import NULL_REF, Entry, PoolId, Ref, XapiClass

OWNER = "user"
"""The role that somebody has on what he made."""
REFERENCES = 32
"""Objects that the parameters of a command name at most: each is judged."""

_PREFIX = "OpaqueRef:"
_REFERENCE = re.compile(r"OpaqueRef:[0-9A-Za-z-]+")
_NAME = re.compile(
    rf"{_REFERENCE.pattern}|[0-9A-Fa-f]{{8}}(?:-[0-9A-Fa-f]{{4}}){{3}}-[0-9A-Fa-f]{{12}}"
)
_OUTPUT = re.compile(
    "INTERNAL_ERROR|SR_BACKEND_FAILURE.*|XENAPI_PLUGIN_FAILURE|XAPI_HOOK_FAILED"
    "|DOMAIN_BUILDER_ERROR|FAILED_TO_START_EMULATOR|HOST_IS_SLAVE"
)
"""Errors that carry what programs on a host put out: addresses, paths, anything."""
_DISK = b'"Disk"'
"""What a device's `type` is when it is no CD drive."""
_ECHOED = 80


class Made(Enum):
    """What a command makes; its result is a reference to that."""

    NOTHING = auto()
    PART = auto()
    """Something that goes with the subject, a snapshot."""
    OWN = auto()
    """Something that belongs to who called (app/ownership.py)."""


@dataclass(frozen=True, slots=True)
class Command:
    """What a method needs.

    Args:
        permissions: of `permissions.PERMISSIONS`; all of them.
        subject: name of the parameter that is a reference of the method's class, on which they
            are needed.
        alone: whether they are needed on all that the subject goes with, too, and it must be a disk
            of theirs.
    """

    permissions: tuple[str, ...]
    subject: str
    makes: Made = Made.NOTHING
    alone: bool = False


_TABLE: tuple[tuple[str, str, str], ...] = (
    # permissions, subject, methods
    ("vm.power.start", "vm", "VM.start VM.start_on"),
    ("vm.power.shutdown.clean", "vm", "VM.clean_shutdown"),
    ("vm.power.shutdown.hard", "vm", "VM.hard_shutdown"),
    # which asks, and then switches off
    ("vm.power.shutdown.clean vm.power.shutdown.hard", "vm", "VM.shutdown"),
    ("vm.power.reboot.clean", "vm", "VM.clean_reboot"),
    ("vm.power.reboot.hard", "vm", "VM.hard_reboot"),
    ("vm.power.suspend", "vm", "VM.suspend VM.resume VM.resume_on"),
    ("vm.power.pause", "vm", "VM.pause VM.unpause"),
    ("vm.media", "vbd", "VBD.insert VBD.eject"),
    ("vm.snapshot.create", "vm", "VM.snapshot VM.snapshot_with_quiesce VM.checkpoint"),
    ("vm.snapshot.revert", "snapshot", "VM.revert"),
    ("vm.migrate", "vm", "VM.pool_migrate"),
    ("vm.edit.label", "self", "VM.set_name_label VM.set_name_description"),
    ("vm.edit.memory", "self", "VM.set_memory VM.set_memory_limits VM.set_memory_target_live"),
    ("vm.edit.memory", "self", "VM.set_memory_dynamic_min VM.set_memory_dynamic_max"),
    ("vm.edit.memory", "self", "VM.set_memory_static_min VM.set_memory_static_max"),
    ("vm.edit.memory", "self", "VM.set_memory_dynamic_range VM.set_memory_static_range"),
    ("vm.edit.cpus", "self", "VM.set_VCPUs_max VM.set_VCPUs_at_startup VM.set_VCPUs_number_live"),
    ("vm.create", "vm", "VM.clone VM.copy"),
    # It makes the template itself a VM: nothing for those who may only make VMs from it.
    ("vm.provision", "vm", "VM.provision"),
    ("vm.destroy", "self", "VM.destroy VDI.destroy"),
    ("sr.scan", "sr", "SR.scan"),
    ("host.maintenance", "host", "host.disable host.enable host.evacuate"),
    ("task.cancel", "task", "task.cancel"),
)
_MAKES = {
    "VM.clone": Made.OWN,
    "VM.copy": Made.OWN,
    "VM.snapshot": Made.PART,
    "VM.snapshot_with_quiesce": Made.PART,
    "VM.checkpoint": Made.PART,
}
_ALONE = frozenset({"VDI.destroy"})

COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        method: Command(
            tuple(needed.split()), subject, _MAKES.get(method, Made.NOTHING), method in _ALONE
        )
        for needed, subject, methods in _TABLE
        for method in methods.split()
    }
)
"""Method -> what it needs."""


def check(rights: Rights, state: State, method: str, params: Mapping[str, object]) -> None:
    """Refuse a call that somebody may not make.

    Args:
        rights: his.
        state: the pool now; its index of references is built.
        method: XAPI's name.
        params: as the client sent them.

    Raises:
        RequestRefused: NOT_FOUND, FORBIDDEN or BAD_MESSAGE, with what to do.
    """
    if rights.administers:
        return
    visibility = rights.visibility(state.pool)
    if visibility is None:
        raise no_such_pool(state.pool)
    command = COMMANDS.get(method)
    if command is None:
        raise RequestRefused(ErrorCode.FORBIDDEN, "raw XAPI calls are for administrators")
    cls = XapiClass(method.partition(".")[0])
    subject = params.get(command.subject)
    if not (isinstance(subject, str) and subject.startswith(_PREFIX)):
        text = f"{method} needs the parameter {command.subject!r}: the reference of a {cls}"
        raise RequestRefused(ErrorCode.BAD_MESSAGE, text)
    entry = _seen(visibility, state, Ref(subject))
    if entry is None or entry.cls != cls:
        raise _not_found(cls, subject)
    for permission in command.permissions:
        if not rights.allows(permission, state, entry):
            text = f"{method} needs the permission {permission} on this {cls}"
            raise RequestRefused(ErrorCode.FORBIDDEN, text)
        if command.alone and not _is_all_his(rights, permission, state, entry):
            text = f"{method} needs the permission {permission} on all VMs whose disk it is"
            raise RequestRefused(ErrorCode.FORBIDDEN, text)
    _check_named(visibility, state, params)


def shown(visibility: Visibility | None, state: State, value: object) -> object:
    """Take out of what a pool answered the references and uuids of what somebody may not see.

    They become NULL; members of sets and keys of maps are left out. What is not in the cache is
    seen by nobody.

    Args:
        visibility: his rights; None if he sees nothing of the pool.
        state: the pool now; its index of references is built.
        value: decoded JSON.
    """

    def text(value: str) -> str:
        return _NAME.sub(lambda found: found[0] if is_seen(found[0]) else NULL_REF, value)

    def is_seen(name: str) -> bool:
        if visibility is None:
            return False
        if name.startswith(_PREFIX):
            return name == NULL_REF or _seen(visibility, state, Ref(name)) is not None
        entry = state.named(name)
        return entry is not None and _seen(visibility, state, entry.ref) is not None

    def is_hidden(value: object) -> bool:
        return isinstance(value, str) and text(value) != value and bool(_NAME.fullmatch(value))

    def cut(value: object) -> object:
        match value:
            case str():
                return text(value)
            case list():
                return [cut(v) for v in value if not is_hidden(v)]
            case dict():
                return {k: cut(v) for k, v in value.items() if text(k) == k}
            case _:
                return value

    return cut(value)


def shown_failure(visibility: Visibility | None, state: State, failure: XapiFailure) -> XapiFailure:
    """Do the same to an error of the pool, whose parameters keep their places."""
    texts = [str(shown(visibility, state, text)) for text in (failure.code, *failure.params)]
    if _OUTPUT.fullmatch(failure.code):
        texts[1:] = [text if _REFERENCE.fullmatch(text) else "" for text in texts[1:]]
    return XapiFailure(texts[0], tuple(texts[1:]))


def is_reference(value: object) -> bool:
    """Tell whether a result is the reference of one object."""
    return isinstance(value, str) and value != NULL_REF and bool(_REFERENCE.fullmatch(value))


def no_such_pool(pool: PoolId) -> RequestRefused:
    """Say that a pool is not there, or that somebody may not see it."""
    return RequestRefused(ErrorCode.NOT_FOUND, f"there is no pool {pool[:_ECHOED]!r}")


def _is_all_his(rights: Rights, permission: str, state: State, disk: Entry) -> bool:
    """Tell whether a disk is one, and of VMs only on which somebody has the permission."""
    devices = list(anchors(state, disk))
    return bool(devices) and all(
        bytes(split(device.raw).get("type", b"")) == _DISK
        and rights.allows(permission, state, device)
        for device in devices
    )


def _check_named(visibility: Visibility, state: State, params: object) -> None:
    """Refuse parameters that name an object which is not there, as far as he may see."""
    named = dict.fromkeys(_references(params))
    if len(named) > REFERENCES:
        text = f"the parameters of a call name at most {REFERENCES} objects"
        raise RequestRefused(ErrorCode.BAD_MESSAGE, text)
    for ref in named:
        if _seen(visibility, state, ref) is None:
            raise _not_found("object", ref)


def _seen(visibility: Visibility, state: State, ref: Ref) -> Entry | None:
    entry = state.get(ref)
    return entry if entry is not None and visibility.sees(state, entry) else None


def _not_found(what: str, ref: str) -> RequestRefused:
    return RequestRefused(ErrorCode.NOT_FOUND, f"there is no {what} {ref[:_ECHOED]!r}")


def _references(value: object) -> Iterator[Ref]:
    """Find what a value names, however deep, in keys and inside texts too; NULL aside."""
    queue = [value]
    while queue:
        match queue.pop():
            case str() as text if _PREFIX in text:
                # XAPI takes whatever stands there, also what does not look like its references.
                found = {text} if text.startswith(_PREFIX) else set()
                found.update(_REFERENCE.findall(text))
                yield from map(Ref, found - {NULL_REF})
            case list() as members:
                queue += members
            case dict() as members:
                queue += members.keys()
                queue += members.values()
            case _:
                pass
