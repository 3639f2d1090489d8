"""Storage of a generated estate: local and shared repositories, ISO libraries, storage managers."""

from xoproxy.simulator.estate.draft import GIB, Draft, Hardware, Record

_TIB = 1024 * GIB
_ISOS = (
    "debian-12.5.0-amd64-netinst.iso",
    "ubuntu-24.04.1-live-server-amd64.iso",
    "Rocky-9.4-x86_64-minimal.iso",
    "SERVER_EVAL_x64FRE_de-de.iso",
    "virtio-rescue-fr.iso",
)
_DISK_FEATURES = (
    "SR_PROBE", "SR_UPDATE", "VDI_CREATE", "VDI_DELETE", "VDI_ATTACH", "VDI_DETACH", "VDI_UPDATE",
    "VDI_CLONE", "VDI_SNAPSHOT", "VDI_RESIZE", "VDI_MIRROR", "VDI_GENERATE_CONFIG",
    "VDI_RESET_ON_BOOT", "VDI_CONFIG_CBT", "ATOMIC_PAUSE",
)  # fmt: skip
_FEATURES = {
    "iso": ("VDI_CREATE", "VDI_DELETE", "VDI_ATTACH", "VDI_DETACH"),
    "udev": ("SR_UPDATE", "VDI_INTRODUCE", "VDI_ATTACH", "VDI_DETACH", "VDI_UPDATE"),
}
_MANAGERS = {
    "ext": ("Local EXT VHD", "local physical disk", ("device",)),
    "lvm": ("Local VHD on LVM", "local physical disk", ("device",)),
    "nfs": ("NFS VHD", "remote NFS filesystem", ("server", "serverpath", "nfsversion")),
    "lvmoiscsi": ("LVHD over iSCSI", "iSCSI volume", ("target", "targetIQN", "SCSIid", "chapuser")),
    "lvmohba": ("LVHD over FC", "Fibre Channel LUN", ("SCSIid",)),
    "smb": ("SMB VHD", "SMB share", ("server", "username", "password")),
    "iso": ("ISO", "remote directory of images", ("location", "type", "nfsversion")),
    "udev": ("udev", "devices that come and go", ("location",)),
    "file": ("File VHD", "directory of the control domain", ("location",)),
}


def add_storage(draft: Draft, hardware: Hardware) -> None:
    """Add the storage of all hosts; the first disk repository is the pool's default."""
    for kind, (label, about, keys) in _MANAGERS.items():
        draft.add("SM", _manager(kind, label, about, keys))
    _shared(draft, hardware)
    for host in hardware.hosts:
        serial = f"{draft.random.getrandbits(48):012x}"
        local = _sr(draft, "Local storage", "ext", 2 * _TIB, description=f"SSD in {host.name}")
        device = f"/dev/disk/by-id/scsi-3{serial}-part3"
        _plug(draft, host.ref, local, {"device": device})
        hardware.disk_srs.append(local)
        for label, location, content in (
            ("DVD drives", "/dev/xapi/cd", "iso"),
            ("Removable storage", "/dev/xapi/block", "disk"),
        ):
            drives = _sr(draft, label, "udev", 0, content=content, description="Physical devices")
            _plug(draft, host.ref, drives, {"location": location})


def _shared(draft: Draft, hardware: Hardware) -> None:
    """Add what every host is plugged into."""
    share = f"/export/{hardware.place}"
    nfs = _sr(draft, "NFS VMs", "nfs", 40 * _TIB, shared=True, description="nas-01, RAID 6")
    iscsi = _sr(
        draft, "iSCSI SSD", "lvmoiscsi", 20 * _TIB, shared=True, description="Nur Datenbanken"
    )
    isos = _sr(draft, "ISO-Bibliothek", "iso", 2 * _TIB, shared=True, content="iso")
    tools = _sr(draft, "XCP-ng Tools", "iso", 0, shared=True, content="iso", is_tools_sr=True)
    iqn = f"iqn.2004-04.com.example:{hardware.place}.{draft.random.getrandbits(24):06x}"
    scsi_id = f"36001405{draft.random.getrandbits(96):024x}"
    configs: tuple[tuple[str, Record], ...] = (
        (nfs, {"server": "10.9.0.10", "serverpath": f"{share}/vms", "nfsversion": "4.1"}),
        (iscsi, {"target": "10.9.0.20", "port": "3260", "targetIQN": iqn, "SCSIid": scsi_id}),
        (isos, {"location": f"10.9.0.10:{share}/iso", "type": "nfs_iso", "nfsversion": "4"}),
        (tools, {"location": "/opt/xensource/packages/iso", "legacy_mode": "true"}),
    )
    for host in hardware.hosts:
        for sr, config in configs:
            _plug(draft, host.ref, sr, dict(config))
    hardware.disk_srs += [nfs, iscsi]
    hardware.iso_vdis = [_iso(draft, isos, name) for name in _ISOS]
    hardware.iso_vdis.append(_iso(draft, tools, "guest-tools.iso", is_tools_iso=True))


def _sr(
    draft: Draft, label: str, kind: str, size: int, content: str = "user", **extra: object
) -> str:
    record: Record = {
        "name_label": label,
        "name_description": extra.pop("description", ""),
        "type": kind,
        "content_type": content,
        "shared": False,
        "physical_size": size,
        "physical_utilisation": 0,
        "virtual_allocation": 0,
        "other_config": {"auto-scan": "true"} if content == "user" else {},
        "sm_config": {"allocation": "thin", "devserial": ""} if kind == "lvmoiscsi" else {},
        **extra,
    }
    return draft.add("SR", record)


def _plug(draft: Draft, host: str, sr: str, config: Record) -> None:
    record: Record = {"host": host, "SR": sr, "device_config": config, "currently_attached": True}
    draft.add("PBD", record)


def _iso(draft: Draft, sr: str, name: str, *, is_tools_iso: bool = False) -> str:
    size = draft.random.randrange(600, 6000) << 20
    record: Record = {
        "SR": sr,
        "name_label": name,
        "location": name,
        "type": "user",
        "managed": True,
        "missing": False,
        "read_only": True,
        "sharable": True,
        "storage_lock": False,
        "virtual_size": size,
        "physical_utilisation": size,
        "is_tools_iso": is_tools_iso,
    }
    for total in ("physical_utilisation", "virtual_allocation"):
        draft.estate["SR"][sr][total] += size
    return draft.add("VDI", record)


def _manager(kind: str, label: str, about: str, keys: tuple[str, ...]) -> Record:
    features = _FEATURES.get(kind, _DISK_FEATURES)
    return {
        "type": kind,
        "name_label": label,
        "name_description": f"Repositories on a {about}",
        "vendor": "Example Storage",
        "copyright": "",
        "version": "3.0",
        "required_api_version": "1.0",
        "driver_filename": f"/opt/xensource/sm/{kind.upper()}SR",
        "capabilities": list(features),
        "features": dict.fromkeys(features, 1),
        "configuration": {key: f"{key} of the {about}" for key in keys},
    }
