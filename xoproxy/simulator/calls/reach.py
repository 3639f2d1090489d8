"""Which hosts reach a repository."""

from xoproxy.simulator.calls.registry import Call
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.rules.storage import is_plugged


def require_plugged(call: Call, sr: str) -> None:
    """Refuse what needs storage that no host reaches."""
    if not is_plugged(call.db, sr):
        raise XapiError("SR_HAS_NO_PBDS", sr)


def hosts_of(call: Call, sr: str) -> list[str]:
    """List the hosts that reach a repository, the coordinator first."""
    pbds = [call.db.row("PBD", pbd).fields for pbd in call.db.get("SR", sr, "PBDs")]
    hosts = [pbd["host"] for pbd in pbds if pbd["currently_attached"]]
    masters = {call.db.get("pool", pool, "master") for pool in call.db.refs("pool")}
    return sorted(hosts, key=lambda host: host not in masters)
