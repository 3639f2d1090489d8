"""What hosts and pools allow, and why not (semantics of `allowed_operations`)."""

import pytest

from xoproxy.simulator.database import Database
from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.rules import allow, allowed, check

HOST, METRICS, POOL = "OpaqueRef:h", "OpaqueRef:m", "OpaqueRef:p"
BRINGS = {"provision", "vm_resume", "vm_migrate"}
TAKES = {"evacuate", "reboot", "shutdown"}


@pytest.fixture
def db() -> Database:
    made = Database(DataModel.load())
    made.load(
        {
            "pool": {POOL: {"master": HOST}},
            "host": {HOST: {"enabled": True, "metrics": METRICS}},
            "host_metrics": {METRICS: {"live": True}},
        }
    )
    return made


def refused(db: Database, cls: str, ref: str, operation: str) -> list[str] | None:
    try:
        check(db, cls, ref, operation)
    except XapiError as error:
        return error.description
    return None


def test_an_enabled_host_does_not_go_down(db: Database) -> None:
    assert set(allowed(db, "host", HOST)) == BRINGS | {"vm_start", "evacuate"}
    for operation in ("reboot", "shutdown", "apply_updates"):
        assert refused(db, "host", HOST, operation) == ["HOST_NOT_DISABLED"]
    db.write("host", HOST, "enabled", value=False)
    assert {"reboot", "shutdown", "apply_updates"} <= set(allowed(db, "host", HOST))


@pytest.mark.parametrize("running", sorted(BRINGS))
@pytest.mark.parametrize("wanted", sorted(TAKES))
def test_what_brings_vms_and_what_takes_them_away_exclude_each_other(
    db: Database, running: str, wanted: str
) -> None:
    db.write("host", HOST, "enabled", value=False)
    for one, other in ((running, wanted), (wanted, running)):
        db.write("host", HOST, "current_operations", {"OpaqueRef:t": one})
        expected = ["OTHER_OPERATION_IN_PROGRESS", "host", HOST, one, "OpaqueRef:t"]
        assert refused(db, "host", HOST, other) == expected
        assert refused(db, "host", HOST, "vm_start") is None


def test_only_one_thing_is_provisioned_at_a_time(db: Database) -> None:
    db.write("host", HOST, "current_operations", {"OpaqueRef:t": "provision"})
    assert refused(db, "host", HOST, "provision") is not None
    db.write("host", HOST, "current_operations", {"OpaqueRef:t": "vm_migrate"})
    assert refused(db, "host", HOST, "vm_migrate") is None


def test_a_host_is_powered_on_when_it_is_down_and_somebody_can(db: Database) -> None:
    assert refused(db, "host", HOST, "power_on") == ["HOST_IS_LIVE", HOST]
    db.write("host_metrics", METRICS, "live", value=False)
    assert refused(db, "host", HOST, "power_on") == ["HOST_POWER_ON_MODE_DISABLED"]
    db.write("host", HOST, "power_on_mode", "wake-on-lan")
    assert refused(db, "host", HOST, "power_on") is None


def test_a_pool_does_one_thing_at_a_time(db: Database) -> None:
    allow(db, "pool", POOL)
    assert "designate_new_master" in db.get("pool", POOL, "allowed_operations")
    db.write("pool", POOL, "current_operations", {"OpaqueRef:t": "eject"})
    expected = ["OTHER_OPERATION_IN_PROGRESS", "pool", POOL, "eject", "OpaqueRef:t"]
    assert refused(db, "pool", POOL, "designate_new_master") == expected
    assert allowed(db, "pool", POOL) == []
    db.write("pool", POOL, "current_operations", {"OpaqueRef:t": "ha_enable"})
    assert refused(db, "pool", POOL, "eject") == ["HA_ENABLE_IN_PROGRESS"]
    db.write("pool", POOL, "current_operations", {"OpaqueRef:t": "designate_new_master"})
    assert refused(db, "pool", POOL, "eject") == ["DESIGNATE_NEW_MASTER_IN_PROGRESS"]


def test_high_availability_is_on_or_off(db: Database) -> None:
    assert refused(db, "pool", POOL, "ha_disable") == ["HA_NOT_ENABLED"]
    db.write("pool", POOL, "ha_enabled", value=True)
    assert refused(db, "pool", POOL, "ha_enable") == ["HA_IS_ENABLED"]
    assert refused(db, "pool", POOL, "ha_disable") is None
