"""Default templates of a generated estate, and what a VM inherits from the one it was made from."""

from xoproxy.simulator.estate import names
from xoproxy.simulator.estate.draft import GIB, Draft, Record

_LIMITS = (
    '<restrictions><restriction field="memory-static-max" max="{memory}" />'
    '<restriction field="vcpus-max" max="64" /><restriction property="number-of-vbds" max="255" />'
    '<restriction property="number-of-vifs" max="7" /><restriction field="has-vendor-device" '
    'value="{vendor_device}" /><restriction field="allow-gpu-passthrough" value="1" /><restriction '
    'field="allow-vgpu" value="1" /><restriction field="allow-network-sriov" value="1" />'
    '<restriction field="supports-bios" value="yes" /><restriction field="supports-uefi" '
    'value="yes" /><restriction field="supports-secure-boot" value="yes" />'
    '<restriction max="255" property="number-of-vbds" /></restrictions>'
)
_BIOS: Record = {
    "bios-vendor": "Xen",
    "bios-version": "",
    "system-manufacturer": "Xen",
    "system-product-name": "HVM domU",
    "system-version": "",
    "system-serial-number": "",
    "baseboard-manufacturer": "",
    "baseboard-product-name": "",
    "baseboard-version": "",
    "baseboard-serial-number": "",
    "baseboard-asset-tag": "",
    "baseboard-location-in-chassis": "",
    "enclosure-asset-tag": "",
    "hp-rombios": "",
    "oem-1": "Xen",
    "oem-2": "MS_VM_CERT/SHA1/bdbeb6e0a816d43fa6d3fe8aaef04c2bad9d3e3d",
}


def add_templates(draft: Draft) -> None:
    """Add the default templates."""
    for system in names.SYSTEMS:
        _template(draft, system.template, system)
    for label in names.OTHER_TEMPLATES:
        _template(draft, label, names.SYSTEMS[-1 if label.startswith("Windows") else 0])


def inherited(draft: Draft, system: names.System, cores: int) -> Record:
    """Return the fields that a VM of this system has, whatever it is called and does."""
    windows = system.windows
    platform: Record = {
        "acpi": "1",
        "apic": "true",
        "pae": "true",
        "nx": "true",
        "hpet": "true",
        "viridian": "true" if windows else "false",
        "vga": "std",
        "videoram": "8",
        "device_id": "0002" if windows else "0001",
        "device-model": "qemu-upstream-uefi" if windows else "qemu-upstream-compat",
        "cores-per-socket": str(max(cores // 2, 1)),
        "timeoffset": "3600" if windows else "0",
    }
    if windows:
        extra = ("time_ref_count", "reference_tsc", "apic_assist", "crash_ctl", "stimer")
        platform |= {f"viridian_{feature}": "true" for feature in extra}
        platform |= {"secureboot": "auto", "acpi_laptop_slate": "1"}
    return {
        "HVM_boot_policy": "BIOS order",
        "HVM_boot_params": {"order": "cdn", "firmware": "uefi" if windows else "bios"},
        "HVM_shadow_multiplier": 1.0,
        "domain_type": "hvm",
        "platform": platform,
        "recommendations": _LIMITS.format(memory=1536 * GIB, vendor_device=str(windows).lower()),
        "has_vendor_device": windows,
        "hardware_platform_version": 2 if windows else 0,
        "actions_after_shutdown": "destroy",
        "actions_after_reboot": "restart",
        "actions_after_crash": "restart",
        "actions_after_softreboot": "soft_reboot",
        "bios_strings": dict(_BIOS),
        "VCPUs_params": {"weight": "256"} if draft.chance(0.1) else {},
        "is_control_domain": False,
        "power_state": "Halted",
        "domid": -1,
        "user_version": 1,
    }


def memory(static_max: int, dynamic_min: int | None = None) -> Record:
    """Return the memory fields; without `dynamic_min` the size is fixed."""
    low = dynamic_min or static_max
    return {
        "memory_static_min": min(low, GIB),
        "memory_dynamic_min": low,
        "memory_dynamic_max": static_max,
        "memory_static_max": static_max,
        "memory_target": 0,
        "memory_overhead": 20 * (1 << 20) + static_max // 128,
    }


def _template(draft: Draft, label: str, system: names.System) -> None:
    gib = system.disk_gib
    disks = (
        f'<provision><disk device="0" size="{gib * GIB}" sr="" bootable="true" type="system"/>'
        "</provision>"
    )
    record: Record = {
        **inherited(draft, system, 2),
        **memory(system.memory_gib * GIB),
        "name_label": label,
        "name_description": f"Clones of this template get a disk of {gib} GiB when first booted.",
        "is_a_template": True,
        "is_default_template": True,
        "VCPUs_max": 2,
        "VCPUs_at_startup": 2,
        "metrics": draft.add("VM_metrics", {"current_domain_type": "unspecified"}),
        "other_config": {
            "default_template": "true",
            "mac_seed": draft.uuid(),
            "disks": disks,
            "install-methods": "cdrom" if system.windows else "cdrom,nfs,http,ftp",
            "linux_template": str(not system.windows).lower(),
        },
        "reference_label": label.lower().replace(" ", "-"),
    }
    draft.add("VM", record)
