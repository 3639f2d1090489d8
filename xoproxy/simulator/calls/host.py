"""Class `host`: clocks and switches. Reboots and evacuations need a lifecycle."""

from xoproxy.simulator.calls.registry import Call, operation


def hosts_that_run(call: Call) -> list[str]:
    """List the hosts on which a VM could start."""
    running = []
    for ref in call.db.refs("host"):
        host = call.db.record("host", ref)
        metrics = host["metrics"]
        live = call.db.exists("host_metrics", metrics) and call.db.get(
            "host_metrics", metrics, "live"
        )
        if host["enabled"] and live:
            running.append(ref)
    return running


@operation("host.get_servertime")
def get_servertime(call: Call, host: str) -> str:
    call.db.row("host", host)
    return call.db.now()


@operation("host.get_server_localtime")
def get_server_localtime(call: Call, host: str) -> str:
    call.db.row("host", host)
    return call.db.now().removesuffix("Z")  # a local time has no zone


@operation("host.enable")
def enable(call: Call, host: str) -> None:
    call.db.write("host", host, "enabled", value=True)


@operation("host.disable")
def disable(call: Call, host: str, _auto_enable: bool) -> None:  # noqa: FBT001
    call.db.write("host", host, "enabled", value=False)


@operation("host.restart_agent")
def restart_agent(call: Call, host: str) -> None:
    """Check the host only: its toolstack has no state of its own here."""
    call.db.row("host", host)


@operation("host.list_methods")
def list_methods(call: Call) -> list[str]:
    classes = call.db.model.classes.values()
    return sorted(m.wire_name for cls in classes for m in cls.messages.values() if not m.removed)
