"""Class `host`: what it tells, and settings that write more than one field."""

import re
import zoneinfo
from typing import Final

from xoproxy.simulator.calls.registry import Call, operation
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.hosts import Host
from xoproxy.simulator.rules import allow
from xoproxy.simulator.rules.placement import is_live
from xoproxy.simulator.wiretypes import NULL, Json

_HOSTNAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}(\.[A-Za-z0-9][A-Za-z0-9-]{0,62})*")
_HOSTNAME_LENGTH: Final = 253


def machine(call: Call, host: str) -> Host:
    """Return a host that its coordinator can reach; raises HOST_OFFLINE."""
    call.db.row("host", host)
    found = call.world.hosts.get(host)
    coordinator = call.world.hosts.coordinator
    if found is None or (found is not coordinator and not (found.alive and is_live(call.db, host))):
        raise XapiError("HOST_OFFLINE", host)
    return found


def asked(call: Call) -> Host:
    """Return the host that a call was made at."""
    return call.world.hosts.get(call.here) or call.world.hosts.coordinator


# -- what a host tells ---------------------------------------------------------------------


@operation("host.get_servertime")
def get_servertime(call: Call, host: str) -> str:
    machine(call, host)
    return call.db.now()


@operation("host.get_server_localtime")
def get_server_localtime(call: Call, host: str) -> str:
    machine(call, host)
    return call.db.now().removesuffix("Z")  # a local time has no zone


@operation("host.list_methods")
def list_methods(call: Call) -> list[str]:
    classes = call.db.model.classes.values()
    return sorted(m.wire_name for cls in classes for m in cls.messages.values() if not m.removed)


@operation("host.get_management_interface")
def get_management_interface(call: Call, host: str) -> str:
    for pif in call.db.get("host", host, "PIFs"):
        if call.db.exists("PIF", pif) and call.db.get("PIF", pif, "management"):
            return str(pif)
    raise XapiError("INTERNAL_ERROR", "Could not find management interface")


@operation("host.compute_free_memory")
def compute_free_memory(call: Call, host: str) -> int:
    metrics = call.db.get("host", host, "metrics")
    free: int = call.db.get("host_metrics", metrics, "memory_free")
    return free


@operation("host.compute_memory_overhead")
def compute_memory_overhead(call: Call, host: str) -> int:
    overhead: int = call.db.get("host", host, "memory_overhead")
    return overhead


@operation("host.get_uncooperative_resident_VMs")
def get_uncooperative_resident_vms(call: Call, host: str) -> list[str]:
    call.db.row("host", host)
    return []  # XAPI no longer keeps count of them


@operation("host.get_sched_gran")
def get_sched_gran(call: Call, host: str) -> str:
    machine(call, host)
    return "cpu"


@operation("host.get_ntp_synchronized")
def get_ntp_synchronized(call: Call, host: str) -> bool:
    machine(call, host)
    return call.db.clock_skew_s == 0


@operation("host.get_tracked_user_agents")
def get_tracked_user_agents(call: Call, host: str) -> dict[str, str]:
    machine(call, host)
    return {}


@operation("host.list_timezones")
def list_timezones(call: Call, host: str) -> list[str]:
    machine(call, host)
    return sorted(zoneinfo.available_timezones())


@operation("host.get_log")
def get_log(call: Call, host: str) -> str:
    return f"xapi: {machine(call, host).address} is simulated: it writes no log\n"


@operation("host.dmesg")
def dmesg(call: Call, host: str) -> str:
    machine(call, host)
    return "(XEN) There is no hypervisor here\n"


@operation("host.has_extension")
def has_extension(call: Call, host: str, _name: str) -> bool:
    machine(call, host)
    return False


@operation("host.call_extension")
def call_extension(call: Call, host: str, name: str) -> str:
    machine(call, host)
    raise XapiError("MESSAGE_METHOD_UNKNOWN", name)


@operation("host.call_plugin")
def call_plugin(
    call: Call, host: str, plugin: str, _function: str, _arguments: dict[str, str]
) -> str:
    """Refuse, as a host does on which nobody has installed the plugin."""
    machine(call, host)
    raise XapiError("XENAPI_MISSING_PLUGIN", plugin)


# -- settings ------------------------------------------------------------------------------


@operation("host.set_hostname_live")
def set_hostname_live(call: Call, host: str, name: str) -> None:
    if not name or len(name) > _HOSTNAME_LENGTH or not _HOSTNAME.fullmatch(name):
        raise XapiError("HOST_NAME_INVALID", f"{name!r} is no host name")
    machine(call, host)
    call.db.write("host", host, "hostname", name)
    software = call.db.get("host", host, "software_version")
    call.db.write("host", host, "software_version", {**software, "hostname": name})


@operation("host.set_iscsi_iqn")
def set_iscsi_iqn(call: Call, host: str, value: str) -> None:
    """Set the name also where clients of older releases look for it."""
    if not value:
        raise XapiError("INVALID_VALUE", "value", value)
    other = call.db.get("host", host, "other_config")
    call.db.write("host", host, "other_config", {**other, "iscsi_iqn": value})
    call.db.write("host", host, "iscsi_iqn", value)


@operation("host.set_multipathing")
def set_multipathing(call: Call, host: str, value: bool) -> None:  # noqa: FBT001
    other = call.db.get("host", host, "other_config")
    told = {"multipathing": str(value).lower(), "multipathhandle": "dmp"}
    call.db.write("host", host, "other_config", {**other, **told})
    call.db.write("host", host, "multipathing", value)


@operation("host.set_power_on_mode")
def set_power_on_mode(call: Call, host: str, mode: str, config: dict[str, str]) -> None:
    call.db.write("host", host, "power_on_mode", mode)
    call.db.write("host", host, "power_on_config", config)
    allow(call.db, "host", host)


@operation("host.set_ssl_legacy")
def set_ssl_legacy(call: Call, host: str, value: bool) -> None:  # noqa: FBT001
    call.db.row("host", host)
    if value:
        raise XapiError(
            "VALUE_NOT_SUPPORTED", "value", "true", "Legacy SSL support has been removed"
        )


@operation("host.set_console_idle_timeout")
def set_console_idle_timeout(call: Call, host: str, value: int) -> None:
    if value < 0:
        raise XapiError("VALUE_NOT_SUPPORTED", "value", str(value), "must not be negative")
    call.db.write("host", host, "console_idle_timeout", value)


@operation("host.enable_ssh")
def enable_ssh(call: Call, host: str) -> None:
    machine(call, host)
    call.db.write("host", host, "ssh_enabled", value=True)


@operation("host.disable_ssh")
def disable_ssh(call: Call, host: str) -> None:
    machine(call, host)
    call.db.write("host", host, "ssh_enabled", value=False)


@operation("host.emergency_disable_tls_verification")
def emergency_disable_tls_verification(call: Call) -> None:
    call.db.write("host", asked(call).ref, "tls_verification_enabled", value=False)


@operation("host.emergency_reenable_tls_verification")
def emergency_reenable_tls_verification(call: Call) -> None:
    call.db.write("host", asked(call).ref, "tls_verification_enabled", value=True)


@operation("host.enable_display")
def enable_display(call: Call, host: str) -> str:
    return _switch_display(call, host, {"disabled": "enable_on_reboot"}, "enabled")


@operation("host.disable_display")
def disable_display(call: Call, host: str) -> str:
    return _switch_display(call, host, {"enabled": "disable_on_reboot"}, "disabled")


def _switch_display(call: Call, host: str, at_reboot: dict[str, str], else_: str) -> str:
    """Switch what only a reboot changes really: until then it says what is to come."""
    present = call.db.get("host", host, "display")
    value = present if present in at_reboot.values() else at_reboot.get(present, else_)
    call.db.write("host", host, "display", value)
    return value


@operation("host.enable_local_storage_caching")
def enable_local_storage_caching(call: Call, host: str, sr: str) -> None:
    _require_disabled(call, host)
    call.db.row("SR", sr)
    pbds = [pbd for pbd in call.db.get("SR", sr, "PBDs") if call.db.exists("PBD", pbd)]
    if not any(call.db.get("PBD", pbd, "host") == host for pbd in pbds):
        raise XapiError("SR_OPERATION_NOT_SUPPORTED", sr)
    call.db.write("host", host, "local_cache_sr", sr)
    call.db.write("SR", sr, "local_cache_enabled", value=True)


@operation("host.disable_local_storage_caching")
def disable_local_storage_caching(call: Call, host: str) -> None:
    _require_disabled(call, host)
    sr = call.db.get("host", host, "local_cache_sr")
    call.db.write("host", host, "local_cache_sr", NULL)
    if call.db.exists("SR", sr):
        call.db.write("SR", sr, "local_cache_enabled", value=False)


def _require_disabled(call: Call, host: str) -> None:
    if call.db.get("host", host, "enabled"):
        raise XapiError("HOST_NOT_DISABLED")


def _only_reached(call: Call, host: str, *_arguments: Json) -> None:
    """Change nothing that can be seen here; but the host must answer."""
    machine(call, host)


for _name in (
    *("sync_data", "backup_rrds", "syslog_reconfigure", "send_debug_keys"),
    *("refresh_pack_info", "rescan_drivers"),
):
    operation(f"host.{_name}")(_only_reached)
