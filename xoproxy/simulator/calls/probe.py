"""Class `SR`: what a driver finds before there is a repository, and what it misses when asked.

A driver refuses a configuration with a key missing, and tells in the refusal what that key could
be (clients are guided by it): targets and their disks, exports of a server. Here these are the
ones that other hosts' PBDs use already. Numbers and forms: the storage managers' errors.
"""

from collections.abc import Callable, Iterable
from typing import Final
from xml.sax.saxutils import escape

from xoproxy.simulator.calls.operations import drive
from xoproxy.simulator.calls.pbd import require_driver
from xoproxy.simulator.calls.reach import require_online
from xoproxy.simulator.calls.registry import Call, operation
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.lifecycle import disks
from xoproxy.simulator.lifecycle.writes import Record

PROBE_S: Final = 1.0
_Config = dict[str, str]

# Of each type of repository: (key, number of the error, what it says), in the order of the checks.
_NEEDED: Final[dict[str, tuple[tuple[str, int, str], ...]]] = {
    "ext": (("device", 90, "The request is missing the device parameter"),),
    "lvm": (("device", 90, "The request is missing the device parameter"),),
    "nfs": (
        ("server", 100, "The request is missing the server parameter"),
        ("serverpath", 101, "The request is missing the serverpath parameter"),
    ),
    "lvmohba": (("SCSIid", 107, "The SCSIid parameter is missing or incorrect"),),
    "lvmoiscsi": (
        ("target", 95, "The request is missing the target parameter"),
        ("targetIQN", 96, "The request is missing or has an incorrect target IQN"),
        ("SCSIid", 107, "The SCSIid parameter is missing or incorrect"),
    ),
}


def require_config(call: Call, kind: str, config: _Config) -> None:
    """Refuse a configuration that lacks something, as the driver of the type does."""
    for key, number, text in _NEEDED.get(kind, ()):
        if not config.get(key):
            describe = _OFFERS.get(key)
            offers = "" if describe is None else describe(list(_used(call, kind, config)))
            raise XapiError(f"SR_BACKEND_FAILURE_{number}", "", text, offers)


def _used(call: Call, kind: str, config: _Config) -> Iterable[_Config]:
    """List the configurations in use that agree with what is asked for, each once."""
    seen = []
    for row in call.db.tables["PBD"].rows.values():
        sr, used = row.fields["SR"], row.fields["device_config"]
        if not call.db.exists("SR", sr) or call.db.get("SR", sr, "type") != kind or used in seen:
            continue
        if all(used.get(key) == value for key, value in config.items() if key in used):
            seen.append(used)
    return seen


def _xml(tag: str, item: str, rows: Iterable[Record]) -> str:
    texts = [
        "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in row.items())
        for row in rows
    ]
    inner = "".join(f"<{item}>{text}</{item}>" for text in texts)
    return f'<?xml version="1.0" ?><{tag}>{inner}</{tag}>'


def _exports(used: list[_Config]) -> str:
    rows = [
        {"Target": one["server"], "Path": one.get("serverpath", ""), "Accesslist": "*"}
        for one in used
    ]
    return _xml("nfs-exports", "Export", rows)


def _targets(used: list[_Config]) -> str:
    rows = [
        {"Index": n, "IPAddress": one["target"], "TargetIQN": one.get("targetIQN", "")}
        for n, one in enumerate(used)
    ]
    return _xml("iscsi-target-iqns", "TGT", rows)


def _luns(used: list[_Config]) -> str:
    rows = [
        {"LUNid": n, "vendor": "Example", "serial": one.get("SCSIid", ""), "size": 1 << 40,
         "SCSIid": one.get("SCSIid", "")}
        for n, one in enumerate(used)
    ]  # fmt: skip
    return _xml("iscsi-target", "LUN", rows)


_OFFERS: Final[dict[str, Callable[[list[_Config]], str]]] = {
    "serverpath": _exports,
    "targetIQN": _targets,
    "SCSIid": _luns,
}


@operation("SR.probe")
async def probe(
    call: Call, host: str, device_config: _Config, sr_type: str, sm_config: _Config
) -> str:
    """List the repositories of a type that are there and that the database does not know."""
    del sm_config
    require_online(call, host)
    kind = sr_type.lower()
    require_driver(call, kind)
    await drive(call, disks.working(PROBE_S))
    require_config(call, kind, device_config)
    found = "".join(_described(record) for record in call.world.hardware.repositories(kind))
    return f'<?xml version="1.0" ?>\n<SRlist>\n{found}</SRlist>\n'


def _described(record: Record) -> str:
    names = {"UUID": "uuid", "name_label": "name_label", "name_description": "name_description"}
    tags = "".join(f"<{tag}>{escape(record[name])}</{tag}>" for tag, name in names.items())
    return f"<SR>{tags}</SR>\n"
