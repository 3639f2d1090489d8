"""Hosts of a generated estate, with their CPUs, control domains, certificates and devices."""

from xoproxy.simulator.estate import names
from xoproxy.simulator.estate.draft import GIB, Draft, Host, Record

CONTROL_DOMAIN_BYTES = 8 * GIB
_HOST_OVERHEAD_BYTES = 1 * GIB
_RELEASE = {
    "product_version": "8.3.0",
    "product_version_text": "8.3",
    "product_version_text_short": "8.3",
    "product_brand": "XCP-ng",
    "platform_name": "XCP",
    "platform_version": "3.4.0",
    "build_number": "cloud",
    "git_id": "0",
    "network_backend": "openvswitch",
    "xapi": "26.17",
    "xapi_build": "26.17.0",
    "xen": "4.17.5-20",
    "linux": "4.19.0+1",
    "xencenter_min": "2.21",
    "xencenter_max": "2.21",
    "dbv": "0.0.1",
    "date": "2026-01-19",
    "db_schema": "5.802",
}


def add_host(draft: Draft, name: str, address: str, memory: int, cpu: tuple[str, ...]) -> Host:
    """Add a host with everything that stands in its own case."""
    free = memory - CONTROL_DOMAIN_BYTES - _HOST_OVERHEAD_BYTES
    metrics: Record = {
        "live": True,
        "memory_total": memory,
        "memory_free": free,
        "last_updated": draft.past(40),
    }
    host = Host(draft.ref(), name, address, metrics, free)
    metrics_ref = draft.add("host_metrics", metrics)
    dom0 = draft.ref()
    draft.add("host", _host_record(draft, host, metrics_ref, dom0, cpu), host.ref)
    _control_domain(draft, host, dom0)
    for number in range(16):
        draft.add("host_cpu", _host_cpu(host, number, cpu))
    for kind in ("host", "host_internal"):
        draft.add("Certificate", _certificate(draft, host, kind))
    display = draft.add("PCI", _display_adapter(host))
    group = next(iter(draft.estate.get("GPU_group", ())), None)
    if group is None:
        group = draft.add("GPU_group", dict(_GPU_GROUP))
    pgpu: Record = {"host": host.ref, "PCI": display, "GPU_group": group}
    draft.add("PGPU", {**pgpu, "is_system_display_device": True, "dom0_access": "enabled"})
    return host


def _host_record(draft: Draft, host: Host, metrics: str, dom0: str, cpu: tuple[str, ...]) -> Record:
    boot = 1_767_225_600 + draft.random.randrange(4_000_000)
    iqn = f"iqn.2026-01.com.example:{draft.random.getrandbits(32):08x}"
    return {
        "name_label": host.name,
        "name_description": "Default install",
        "hostname": host.name,
        "address": host.address,
        "API_version_major": 2,
        "API_version_minor": 21,
        "API_version_vendor": "XenSource",
        "enabled": True,
        "metrics": metrics,
        "control_domain": dom0,
        "memory_overhead": _HOST_OVERHEAD_BYTES,
        "software_version": {**_RELEASE, "hostname": host.name},
        "other_config": {
            "agent_start_time": f"{boot + 90}.",
            "boot_time": f"{boot}.",
            "iscsi_iqn": iqn,
            "rpm_patch_installation_time": f"{boot - 600}.",
        },
        "iscsi_iqn": iqn,
        "capabilities": [
            "xen-3.0-x86_64",
            "hvm-3.0-x86_32",
            "hvm-3.0-x86_32p",
            "hvm-3.0-x86_64",
            "",
        ],
        "cpu_info": cpu_info(cpu),
        "sched_policy": "credit",
        "supported_bootloaders": ["pygrub", "eliloader"],
        "license_params": {"sku_type": "XCP-ng", "sku_marketing_name": "XCP-ng", "expiry": "never"},
        "license_server": {"address": "localhost", "port": "27000"},
        "edition": "xcp-ng",
        "editions": ["xcp-ng"],
        "bios_strings": {
            "bios-vendor": "Dell Inc.",
            "bios-version": "2.19.1",
            "system-manufacturer": "Dell Inc.",
            "system-product-name": "PowerEdge R650",
            "system-version": "",
            "system-serial-number": f"{draft.random.getrandbits(35):07X}",
            "baseboard-manufacturer": "Dell Inc.",
            "baseboard-product-name": "0PJ7YJ",
            "oem-1": "Xen",
            "oem-2": "MS_VM_CERT/SHA1/bdbeb6e0a816d43fa6d3fe8aaef04c2bad9d3e3d",
            "hp-rombios": "",
        },
        "chipset_info": {"iommu": "true"},
        "display": "enabled",
        "virtual_hardware_platform_versions": [0, 1, 2],
        "https_only": True,
        "ssl_legacy": False,
        "tls_verification_enabled": True,
        "numa_affinity_policy": "default_policy",
        "tags": draft.random.sample(["rack-1", "rack-2", "amd", "ssd"], draft.random.randrange(3)),
        "logging": {},
    }


def cpu_info(cpu: tuple[str, ...], sockets: int = 2, cores: int = 32) -> Record:
    vendor, model_name, speed, model = cpu
    features = (
        "1fcbfbff-f7fa3223-2d93fbff-00000523-00000001-000007ab-00000000-00000000-00001000-0c000004"
    )
    return {
        "cpu_count": str(cores),
        "socket_count": str(sockets),
        "threads_per_core": "2",
        "vendor": vendor,
        "speed": f"{speed}.112",
        "modelname": model_name,
        "family": "6" if vendor == "GenuineIntel" else "25",
        "model": model,
        "stepping": "6",
        "flags": names.CPU_FLAGS,
        "features": features,
        "features_pv": features,
        "features_hvm": features,
        "features_hvm_host": features,
        "features_pv_host": features,
    }


def _host_cpu(host: Host, number: int, cpu: tuple[str, ...]) -> Record:
    vendor, model_name, speed, model = cpu
    return {
        "host": host.ref,
        "number": number,
        "vendor": vendor,
        "speed": int(speed),
        "modelname": model_name,
        "family": 6 if vendor == "GenuineIntel" else 25,
        "model": int(model),
        "stepping": "6",
        "flags": names.CPU_FLAGS,
        "utilisation": 0.0,
    }


def _certificate(draft: Draft, host: Host, kind: str) -> Record:
    digest = draft.random.randbytes(32)
    return {
        "host": host.ref,
        "type": kind,
        "not_before": "20260105T00:00:00Z",
        "not_after": "20360103T00:00:00Z",
        "fingerprint": digest.hex(":").upper(),
        "fingerprint_sha256": digest.hex(":").upper(),
        "fingerprint_sha1": digest[:20].hex(":").upper(),
    }


def _display_adapter(host: Host) -> Record:
    return {
        "host": host.ref,
        "class_id": "03",
        "class_name": "VGA compatible controller",
        "vendor_id": "102b",
        "vendor_name": "Matrox Electronics Systems Ltd.",
        "device_id": "0536",
        "device_name": "Integrated Matrox G200eW3 Graphics Controller",
        "subsystem_vendor_id": "1028",
        "subsystem_vendor_name": "Dell",
        "subsystem_device_id": "0a6b",
        "subsystem_device_name": "",
        "pci_id": "0000:03:00.0",
        "driver_name": "mgag200",
    }


_GPU_GROUP: Record = {
    "name_label": "Group of Matrox Electronics Systems Ltd. Integrated Matrox G200eW3 GPUs",
    "GPU_types": ["102b/0536"],
}


def _control_domain(draft: Draft, host: Host, dom0: str) -> None:
    metrics: Record = {
        "memory_actual": CONTROL_DOMAIN_BYTES,
        "VCPUs_number": 8,
        "start_time": draft.past(40),
        "last_updated": draft.past(40),
        "current_domain_type": "pv",
    }
    record: Record = {
        "name_label": f"Control domain on host: {host.name}",
        "name_description": "The domain which manages physical devices and manages other domains",
        "is_control_domain": True,
        "is_a_template": False,
        "power_state": "Running",
        "resident_on": host.ref,
        "affinity": host.ref,
        "domid": 0,
        "domain_type": "pv",
        "VCPUs_max": 8,
        "VCPUs_at_startup": 8,
        "metrics": draft.add("VM_metrics", metrics),
        "other_config": {
            "is_system_domain": "true",
            "storage_driver_domain": dom0,
            "perfmon": '<config><variable><name value="fs_usage"/></variable></config>',
        },
        "platform": {"cores-per-socket": "8"},
        "user_version": 1,
        "has_vendor_device": False,
    }
    for bound in ("static_min", "dynamic_min", "dynamic_max", "static_max", "target"):
        record[f"memory_{bound}"] = CONTROL_DOMAIN_BYTES
    draft.add("VM", record, dom0)
    for protocol in ("rfb", "vt100"):
        add_console(draft, dom0, host.address, protocol)


def add_console(draft: Draft, vm: str, address: str, protocol: str) -> str:
    """Add a console of a running VM; its location names the host where the VM runs."""
    uuid = draft.uuid()
    location = f"https://{address}/console?uuid={uuid}"
    return draft.add(
        "console", {"uuid": uuid, "VM": vm, "protocol": protocol, "location": location}
    )
