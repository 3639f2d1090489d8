"""Which hosts can be reached, and which of them reach a repository."""

from xoproxy.simulator.calls.registry import Call
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.rules.storage import is_plugged


def require_plugged(call: Call, sr: str) -> None:
    """Refuse what needs storage that no host reaches."""
    if not is_plugged(call.db, sr):
        raise XapiError("SR_HAS_NO_PBDS", sr)


def require_online(call: Call, host: str) -> None:
    """Refuse what a host has to do that does not answer."""
    record = call.db.row("host", host).fields
    known = call.db.exists("host_metrics", record["metrics"])
    machine = call.world.hosts.get(host)
    if (known and not call.db.get("host_metrics", record["metrics"], "live")) or (
        machine is not None and not machine.alive
    ):
        raise XapiError("HOST_OFFLINE", host)


def require_vm_online(call: Call, vm: str) -> None:
    """Refuse what the host of a living VM has to do, if it does not answer."""
    host = call.db.get("VM", vm, "resident_on")
    if call.db.exists("host", host):
        require_online(call, host)


def hosts_of(call: Call, sr: str) -> list[str]:
    """List the hosts that reach a repository, the coordinator first."""
    pbds = [call.db.row("PBD", pbd).fields for pbd in call.db.get("SR", sr, "PBDs")]
    hosts = [pbd["host"] for pbd in pbds if pbd["currently_attached"]]
    masters = {call.db.get("pool", pool, "master") for pool in call.db.refs("pool")}
    return sorted(hosts, key=lambda host: host not in masters)
