"""Virtual machines of a generated estate, with disks, NICs, metrics, guest agents and snapshots."""

from dataclasses import dataclass

from xoproxy.simulator import sexpr
from xoproxy.simulator.estate import names, templates
from xoproxy.simulator.estate.draft import GIB, NULL, Draft, Hardware, Host, Record
from xoproxy.simulator.estate.hosts import add_console

_POWER_STATES = {"Running": 70, "Halted": 24, "Suspended": 4, "Paused": 2}
_MEMORY_FACTORS = (1, 1, 1, 2, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a VM is to be, before it stands on a host."""

    label: str
    description: str
    system: names.System
    power_state: str
    memory_bytes: int
    cores: int
    tools: bool
    address: str
    tags: tuple[str, ...]

    @property
    def alive(self) -> bool:
        """Whether it has a domain, and so memory of a host."""
        return self.power_state in ("Running", "Paused")


def plan(draft: Draft, count: int) -> list[Plan]:
    """Draw up `count` VMs."""
    numbers: dict[str, int] = {}
    return [_plan_one(draft, position, numbers) for position in range(count)]


def _plan_one(draft: Draft, position: int, numbers: dict[str, int]) -> Plan:
    rng = draft.random
    role, description = rng.choice(names.ROLES)
    stage, company = rng.choice(names.STAGES), rng.choice(names.COMPANIES)
    stem = rng.choice((role, f"{role}-{stage}", f"{company}-{role}", f"{role}.{company}"))
    numbers[stem] = numbers.get(stem, 0) + 1
    number = f"{numbers[stem]:02}" if draft.chance(0.7) else str(numbers[stem])
    system = rng.choice(names.SYSTEMS)
    state = rng.choices(list(_POWER_STATES), list(_POWER_STATES.values()))[0]
    tags = [stage] if draft.chance(0.6) else []
    tags += [tag for tag in rng.sample(names.TAGS, 2) if draft.chance(0.3) and tag != stage]
    return Plan(
        label=f"{stem}-{number}",
        description=description if draft.chance(0.8) else "",
        system=system,
        power_state=state,
        memory_bytes=system.memory_gib * rng.choice(_MEMORY_FACTORS) * GIB,
        cores=rng.choice((1, 2, 2, 4, 4, 8, 16)),
        tools=draft.chance(0.92),
        address=f"10.{10 + position // 60000}.{position // 240 % 250}.{position % 240 + 10}",
        tags=tuple(tags),
    )


def add_vm(draft: Draft, hardware: Hardware, plan: Plan) -> str:
    """Add a VM as planned, on the host with the most free memory if it is alive."""
    vm = draft.ref()
    host = max(hardware.hosts, key=lambda host: host.free_bytes)
    record = _record(draft, plan)
    record["metrics"] = draft.add("VM_metrics", _metrics(draft, plan))
    if plan.tools and (plan.alive or draft.chance(0.6)):
        record["guest_metrics"] = draft.add("VM_guest_metrics", _guest_metrics(draft, plan))
    if plan.alive:
        _bring_up(draft, record, plan, host)
        for protocol in ("rfb", "vt100"):
            add_console(draft, vm, host.address, protocol)
    draft.add("VM", record, vm)
    disks = _disks(draft, hardware, plan, vm, host)
    if plan.power_state == "Suspended":
        memory = _vdi(draft, disks[0][1], "Suspend image", plan.memory_bytes, type="suspend")
        record["suspend_VDI"] = memory
    _nics(draft, hardware, plan, vm)
    if draft.chance(0.15):
        _snapshots(draft, vm, record, [vdi for vdi, _ in disks])
    return vm


def _record(draft: Draft, plan: Plan) -> Record:
    other_config: Record = {
        "base_template_name": plan.system.template,
        "mac_seed": draft.uuid(),
        "install-methods": "cdrom" if plan.system.windows else "cdrom,nfs,http,ftp",
        "import_task": draft.ref(),
        "linux_template": str(not plan.system.windows).lower(),
    }
    if draft.chance(0.5):
        other_config["auto_poweron"] = "true"
    if draft.chance(0.3):
        other_config["folder"] = f"/{draft.random.choice(names.COMPANIES)}"
    if draft.chance(0.2):
        other_config["XenCenter.CustomFields.Owner"] = draft.random.choice(
            ("Team Nord", "équipe 2")
        )
    return {
        **templates.inherited(draft, plan.system, plan.cores),
        **templates.memory(plan.memory_bytes),
        "name_label": plan.label,
        "name_description": plan.description,
        "power_state": plan.power_state,
        "is_a_template": False,
        "VCPUs_max": plan.cores,
        "VCPUs_at_startup": plan.cores,
        "tags": list(plan.tags),
        "other_config": other_config,
        "xenstore_data": {"vm-data": "", "vm-data/mmio-hole-size": "268435456"},
        "generation_id": f"{draft.random.getrandbits(62)}:{draft.random.getrandbits(62)}",
        "reference_label": plan.system.template.lower().replace(" ", "-"),
        "last_boot_CPU_flags": {
            "vendor": "GenuineIntel",
            "features": "1fcbfbff-f7fa3203-2c100800-00000021-00000001-000007ab-00000000-00000000",
        },
        "snapshot_info": {},
        "NVRAM": {"EFI-variables": _base64(draft, 900)} if plan.system.windows else {},
        "guest_metrics": NULL,
    }


def _base64(draft: Draft, size: int) -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return "VkFSUwIAAAAs" + "".join(draft.random.choices(alphabet, k=size))


def _bring_up(draft: Draft, record: Record, plan: Plan, host: Host) -> None:
    record["resident_on"] = host.ref
    record["domid"] = host.take(plan.memory_bytes + record["memory_overhead"])
    record["memory_target"] = plan.memory_bytes
    record["affinity"] = host.ref if draft.chance(0.3) else NULL


def _metrics(draft: Draft, plan: Plan) -> Record:
    alive = plan.alive
    return {
        "memory_actual": plan.memory_bytes if alive else 0,
        "VCPUs_number": plan.cores if alive else 0,
        "VCPUs_CPU": {},
        "VCPUs_utilisation": {"0": 0.0},
        "VCPUs_params": {},
        "VCPUs_flags": {},
        "state": [],
        "start_time": draft.past(60) if alive else "19700101T00:00:00Z",
        "install_time": draft.past(900),
        "last_updated": draft.past(1),
        "hvm": True,
        "nested_virt": False,
        "nomigrate": False,
        "current_domain_type": "hvm" if alive else "unspecified",
    }


def _guest_metrics(draft: Draft, plan: Plan) -> Record:
    system = plan.system
    networks = {"0/ip": plan.address, "0/ipv4/0": plan.address}
    if draft.chance(0.5):
        networks["0/ipv6/0"] = (
            f"fe80::{draft.random.getrandbits(16):x}:{draft.random.getrandbits(16):x}"
        )
    features = (
        "balloon",
        "shutdown",
        "reboot",
        "suspend",
        "poweroff",
        "vcpu-hotplug",
        "laptop-slate-mode",
    )
    os_version: Record = {
        "name": system.name
        + (r"|C:\Windows|\Device\Harddisk0\Partition4" if system.windows else ""),
        "distro": system.distro,
        "major": system.major,
        "minor": system.minor,
    }
    if system.windows:
        os_version |= {"spmajor": "0", "spminor": "0"}
    else:
        os_version["uname"] = system.kernel
    return {
        "os_version": os_version,
        "PV_drivers_version": {"major": "8", "minor": "4", "micro": "0", "build": "1"},
        "PV_drivers_up_to_date": True,
        "PV_drivers_detected": True,
        "memory": {},
        "disks": {},
        "networks": networks,
        "other": {
            "platform-feature-multiprocessor-suspend": "1",
            "platform-feature-xs_reset_watches": "1",
            "has-vendor-device": "0",
            "data-updated": "1",
            **{f"feature-{feature}": "1" for feature in features},
        },
        "last_updated": draft.past(2),
        "live": plan.power_state == "Running",
        "can_use_hotplug_vbd": "yes",
        "can_use_hotplug_vif": "yes",
        "netbios_name": {"host_name": plan.label[:15].upper()} if system.windows else {},
    }


def _disks(
    draft: Draft, hardware: Hardware, plan: Plan, vm: str, host: Host
) -> list[tuple[str, str]]:
    """Add the VM's disks and its CD drive; returns the disks as (VDI, SR)."""
    shared = hardware.disk_srs[:2]
    local = hardware.disk_srs[2 + hardware.hosts.index(host)]
    attached = plan.alive or plan.power_state == "Suspended"
    disks = []
    for number in range(draft.random.choice((1, 1, 1, 2, 2, 3))):
        sr = local if draft.chance(0.15) else draft.random.choice(shared)
        size = (
            plan.system.disk_gib * GIB if number == 0 else draft.random.choice((50, 100, 500)) * GIB
        )
        label = f"{plan.label} {number}"
        vdi = _vdi(draft, sr, label, size)
        _vbd(draft, vm, vdi, str(number), attached=attached)
        disks.append((vdi, sr))
    medium = draft.random.choice(hardware.iso_vdis) if draft.chance(0.1) else NULL
    _vbd(draft, vm, medium, "3", attached=attached, cd=True)
    return disks


def _vdi(draft: Draft, sr: str, label: str, size: int, **extra: object) -> str:
    uuid = draft.uuid()
    used = int(size * draft.random.uniform(0.05, 0.9))
    based = {"vhd-parent": draft.uuid(), "image-format": "vhd"}
    record: Record = {
        "uuid": uuid,
        "location": uuid,
        "SR": sr,
        "name_label": label,
        "name_description": "Created by template provisioner",
        "type": "user",
        "managed": True,
        "missing": False,
        "read_only": False,
        "sharable": False,
        "storage_lock": False,
        "virtual_size": size,
        "physical_utilisation": used,
        "parent": NULL,
        "sm_config": based if draft.chance(0.2) else {},
        "other_config": {},
        **extra,
    }
    repository = draft.estate["SR"][sr]
    repository["physical_utilisation"] += used
    repository["virtual_allocation"] += size
    return draft.add("VDI", record)


def _vbd(
    draft: Draft, vm: str, vdi: str, position: str, *, attached: bool, cd: bool = False
) -> None:
    record: Record = {
        "VM": vm,
        "VDI": vdi,
        "userdevice": position,
        "device": f"xvd{'abcd'[int(position)]}",
        "bootable": position == "0",
        "mode": "RO" if cd else "RW",
        "type": "CD" if cd else "Disk",
        "unpluggable": not cd,
        "empty": vdi == NULL,
        "currently_attached": attached,
        "other_config": {} if cd else {"owner": ""},
    }
    draft.add("VBD", record)


def _nics(draft: Draft, hardware: Hardware, plan: Plan, vm: str) -> None:
    attached = plan.alive or plan.power_state == "Suspended"
    for number in range(draft.random.choice((1, 1, 1, 1, 2))):
        record: Record = {
            "VM": vm,
            "network": draft.random.choice(hardware.guest_networks),
            "device": str(number),
            "MAC": draft.mac(),
            "MAC_autogenerated": True,
            "MTU": 1500,
            "currently_attached": attached,
            "locking_mode": "network_default",
            "other_config": {"ethtool-gso": "off"} if draft.chance(0.1) else {},
        }
        draft.add("VIF", record)


def _snapshots(draft: Draft, vm: str, record: Record, disks: list[str]) -> None:
    for _ in range(draft.random.choice((1, 1, 2, 3))):
        _snapshot(draft, vm, record, disks)


def _snapshot(draft: Draft, vm: str, record: Record, disks: list[str]) -> None:
    """Add a snapshot of a VM and of its disks."""
    taken = draft.past(120)
    snapshot: Record = {
        **record,
        "uuid": draft.uuid(),
        "name_label": draft.random.choice(names.SNAPSHOTS),
        "is_a_template": True,
        "is_a_snapshot": True,
        "snapshot_of": vm,
        "snapshot_time": taken,
        "snapshot_info": {
            "power-state-at-snapshot": record["power_state"],
            "disk-snapshot-type": "crash_consistent",
        },
        "snapshot_metadata": sexpr.write_struct(record),
        "transportable_snapshot_id": "",
        "power_state": "Halted",
        "resident_on": NULL,
        "affinity": NULL,
        "domid": -1,
        "suspend_VDI": NULL,
        "guest_metrics": NULL,
        "metrics": draft.add("VM_metrics", {"current_domain_type": "unspecified", "hvm": True}),
        "tags": [],
    }
    ref = draft.add("VM", snapshot)
    record["parent"] = ref
    for position, vdi in enumerate(disks):
        source = draft.estate["VDI"][vdi]
        link: Record = {"is_a_snapshot": True, "snapshot_of": vdi, "snapshot_time": taken}
        size = source["virtual_size"]
        copy = _vdi(draft, source["SR"], source["name_label"], size, **link)
        _vbd(draft, ref, copy, str(position), attached=False)
