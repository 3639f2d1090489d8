"""A whole estate from a few numbers."""

from xoproxy.simulator.database import Database
from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.estate import guests, hosts, names, templates
from xoproxy.simulator.estate.draft import GIB, NULL, Draft, Estate, Hardware
from xoproxy.simulator.estate.network import Networks
from xoproxy.simulator.estate.storage import add_storage
from xoproxy.simulator.rules import RULES, allowed

_MEMORY_GIB = (64, 128, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 16384, 32768)
_RESTRICTIONS = (
    "vlan", "qos", "pool_attached_storage", "pooling", "email_alerting", "historical_performance",
    "wlb", "rbac", "dmc", "checkpoint", "cpu_masking", "connection", "vmss", "intellicache", "gpu",
    "dr", "vif_locking", "storage_xen_motion", "vgpu", "vss", "xen_motion", "ad", "nested_virt",
    "live_patching", "pvs_proxy", "igmp_snooping", "rpu", "cbt", "usb_passthrough", "network_sriov",
    "corosync", "zstd_export", "certificate_verification", "updates", "vtpm",
)  # fmt: skip


def generate(
    host_count: int = 4,
    vm_count: int = 60,
    seed: int = 1,
    name: str | None = None,
) -> Estate:
    """Make an estate of one pool.

    Args:
        host_count: at least 1.
        vm_count: plain VMs; templates, snapshots and control domains come on top.
        seed: the same seed (and numbers) gives the same estate, byte for byte.
        name: of the pool; None takes that of its city.
    """
    if host_count < 1 or vm_count < 0:
        raise ValueError("an estate needs at least 1 host and no less than 0 VMs")
    draft = Draft(seed)
    plans = guests.plan(draft, vm_count)
    needed = sum(plan.memory_bytes for plan in plans if plan.alive)
    hardware = _hardware(draft, host_count, needed)
    templates.add_templates(draft)
    vms = [guests.add_vm(draft, hardware, plan) for plan in plans]
    _organise(draft, vms)
    _pool(draft, hardware, name or names.PLACES[hardware.place])
    _messages(draft, vms)
    _allow(draft.estate)
    return draft.estate


def _allow(estate: Estate) -> None:
    """Let everything advertise what the rules allow in the state that it was drawn up in."""
    database = Database(DataModel.load())
    database.load(estate)
    for cls in RULES:
        for ref, record in estate.get(cls, {}).items():
            record["allowed_operations"] = allowed(database, cls, ref)


def _hardware(draft: Draft, count: int, needed: int) -> Hardware:
    """Add hosts that hold `needed` bytes of guest memory together, with some room."""
    hardware = Hardware(place=draft.random.choice(list(names.PLACES)))
    cpu = draft.random.choice(names.CPUS)
    wanted_gib = (needed / count + hosts.CONTROL_DOMAIN_BYTES) * 1.4 / GIB
    memory = next((gib for gib in _MEMORY_GIB if gib >= wanted_gib), _MEMORY_GIB[-1]) * GIB
    networks = Networks(draft)
    hardware.guest_networks = networks.for_guests
    subnet = draft.random.randrange(10, 250)
    for number in range(count):
        address = f"10.{subnet}.{number // 200}.{number % 200 + 11}"
        label = f"{hardware.place}-xcp-{number + 1:02}"
        host = hosts.add_host(draft, label, address, memory, cpu)
        hardware.hosts.append(host)
        networks.connect(host)
    add_storage(draft, hardware)
    return hardware


def _organise(draft: Draft, vms: list[str]) -> None:
    """Put some VMs into appliances and placement groups."""
    for label in names.APPLIANCES:
        appliance = draft.add("VM_appliance", {"name_label": label})
        for order, vm in enumerate(draft.random.sample(vms, min(3, len(vms) // 8))):
            draft.estate["VM"][vm] |= {"appliance": appliance, "order": order, "start_delay": 30}
    for label in names.GROUPS:
        group = draft.add("VM_group", {"name_label": label, "placement": "anti_affinity"})
        for vm in draft.random.sample(vms, min(2, len(vms) // 10)):
            draft.estate["VM"][vm]["groups"] = [group]


def _pool(draft: Draft, hardware: Hardware, name: str) -> None:
    nfs = hardware.disk_srs[0]
    cpu = draft.estate["host"][hardware.hosts[0].ref]["cpu_info"]
    record = {
        "name_label": name,
        "name_description": f"{len(hardware.hosts)} hosts in {hardware.place}",
        "master": hardware.hosts[0].ref,
        "default_SR": nfs,
        "suspend_image_SR": nfs,
        "crash_dump_SR": NULL,
        "cpu_info": {**cpu, "cpu_count": str(32 * len(hardware.hosts))},
        "other_config": {
            "auto_poweron": "true",
            "memory-ratio-hvm": "0.25",
            "memory-ratio-pv": "0.25",
        },
        "restrictions": {f"restrict_{name}": "false" for name in _RESTRICTIONS},
        "ha_cluster_stack": "xhad",
        "tls_verification_enabled": True,
        "tags": ["simulator"],
    }
    draft.add("pool", record)
    draft.add("user", {"short_name": "root", "fullname": "superuser"})


def _messages(draft: Draft, vms: list[str]) -> None:
    """Add the alerts of the last days: starts of some VMs, oldest first as XAPI stores them."""
    chosen = draft.random.sample(vms, min(30, len(vms)))
    dates = sorted(draft.past(10) for _ in chosen)
    for vm, date in zip(chosen, dates, strict=True):
        record = draft.estate["VM"][vm]
        message = {
            "name": "VM_STARTED",
            "priority": 5,
            "cls": "VM",
            "obj_uuid": record["uuid"],
            "timestamp": date,
            "body": f"VM '{record['name_label']}' started (uuid: {record['uuid']})",
        }
        draft.add("message", message)
