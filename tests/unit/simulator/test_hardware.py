"""What is there beyond the database, until somebody looks."""

from xoproxy.simulator.hardware import Hardware

VOLUME = {"location": "a.iso", "virtual_size": 5}


def test_volumes_are_found_once():
    hardware = Hardware()
    hardware.put_volume("sr", VOLUME)
    assert hardware.take_volumes("other") == []
    assert hardware.take_volumes("sr") == [VOLUME]
    assert hardware.take_volumes("sr") == []


def test_a_volume_that_is_put_back_is_not_lost():
    hardware = Hardware()
    hardware.lose_volume("sr", "a.iso")
    hardware.put_volume("sr", VOLUME)
    assert hardware.take_losses("sr") == set()
    assert hardware.take_volume("sr", "a.iso") == VOLUME
    assert hardware.take_volume("sr", "a.iso") is None


def test_what_was_never_seen_can_be_lost_without_a_trace():
    hardware = Hardware()
    hardware.put_volume("sr", VOLUME)
    hardware.lose_volume("sr", "a.iso")
    assert (hardware.take_volumes("sr"), hardware.take_losses("sr")) == ([], set())


def test_a_wiped_repository_holds_nothing():
    hardware = Hardware()
    hardware.put_repository("sr", {"uuid": "sr", "type": "nfs"})
    hardware.put_volume("sr", VOLUME)
    assert hardware.repositories("ext") == []
    assert [found["uuid"] for found in hardware.repositories("nfs")] == ["sr"]
    hardware.wipe("sr")
    assert (hardware.repositories("nfs"), hardware.take_volumes("sr")) == ([], [])


def test_nics_by_host_and_device():
    hardware = Hardware()
    nic = {"device": "eth1", "MAC": "02:00:00:00:00:01"}
    hardware.put_nic("host", nic)
    assert hardware.nics("host") == [nic]
    assert hardware.take_nic("host", "eth1") == nic
    assert hardware.nics("host") == hardware.nics("other") == []
