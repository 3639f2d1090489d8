"""Networks of a generated estate, and what each host has on them."""

from xoproxy.simulator.estate import names
from xoproxy.simulator.estate.draft import NULL, Draft, Host, Record


class Networks:
    """The pool's networks; each host joins them with two bonded NICs and one for storage."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._eth = [
            self._network(f"Pool-wide network associated with eth{number}", f"xenbr{number}")
            for number in range(3)
        ]
        self._bond = self._network("Bond 0+1", "xapi0")
        self._vlans = [
            (tag, self._network(label, f"xapi{i}", description))
            for i, (tag, label, description) in enumerate(names.NETWORKS, 1)
        ]
        internal: Record = {
            "is_guest_installer_network": "true",
            "is_host_internal_management_network": "true",
            "ip_begin": "169.254.0.1",
            "ip_end": "169.254.255.254",
            "netmask": "255.255.0.0",
        }
        self._network("Host internal management network", "xenapi", other_config=internal)
        private = self._network("Labor (privat)", "xapi20", "Ohne Verbindung nach außen")
        self.for_guests = [self._bond, *(ref for _, ref in self._vlans), private]

    def _network(
        self, label: str, bridge: str, description: str = "", other_config: Record | None = None
    ) -> str:
        record: Record = {
            "name_label": label,
            "name_description": description,
            "bridge": bridge,
            "MTU": 1500,
            "other_config": other_config or {},
        }
        return self._draft.add("network", record)

    def connect(self, host: Host) -> None:
        """Give a host its PIFs."""
        draft = self._draft
        bond = draft.ref()
        nics = [
            self._nic(host, number, slave_of) for number, slave_of in enumerate((bond, bond, NULL))
        ]
        metrics = self._metrics("", "")
        management: Record = {
            "management": True,
            "ip_configuration_mode": "Static",
            "IP": host.address,
            "netmask": "255.255.0.0",
            "gateway": f"{host.address.rpartition('.')[0]}.1",
            "DNS": "9.9.9.9",
        }
        bonded = self._pif(host, "bond0", self._bond, metrics, management)
        draft.add("Bond", {"master": bonded, "primary_slave": nics[0], "links_up": 2}, bond)
        for tag, network in self._vlans:
            vlan = draft.ref()
            # A VLAN's PIF has the metrics of the PIF below it.
            record: Record = {"VLAN": tag, "VLAN_master_of": vlan}
            untagged = self._pif(host, "bond0", network, metrics, record)
            vlan_record = {"tag": tag, "tagged_PIF": bonded, "untagged_PIF": untagged}
            draft.add("VLAN", vlan_record, vlan)

    def _nic(self, host: Host, number: int, bond: str) -> str:
        pci: Record = {
            "host": host.ref,
            "class_id": "02",
            "class_name": "Ethernet controller",
            "vendor_id": "14e4",
            "vendor_name": "Broadcom Inc. and subsidiaries",
            "device_id": "16d7",
            "device_name": "BCM57414 NetXtreme-E 10Gb/25Gb RDMA Ethernet Controller",
            "pci_id": f"0000:31:00.{number}",
            "driver_name": "bnxt_en",
        }
        metrics = self._metrics(pci["vendor_name"], pci["device_name"], pci["pci_id"])
        extra: Record = {
            "physical": True,
            "PCI": self._draft.add("PCI", pci),
            "bond_slave_of": bond,
        }
        return self._pif(host, f"eth{number}", self._eth[number], metrics, extra)

    def _pif(self, host: Host, device: str, network: str, metrics: str, extra: Record) -> str:
        record: Record = {
            "device": device,
            "network": network,
            "host": host.ref,
            "metrics": metrics,
            "MAC": self._draft.mac(),
            "MTU": 1500,
            "VLAN": -1,
            "currently_attached": True,
            "properties": {"gro": "on"},
            "igmp_snooping_status": "disabled",
        }
        return self._draft.add("PIF", {**record, **extra})

    def _metrics(self, vendor: str, device: str, bus: str = "N/A") -> str:
        record: Record = {
            "carrier": True,
            "vendor_id": "14e4" if vendor else "",
            "vendor_name": vendor,
            "device_id": "16d7" if device else "",
            "device_name": device,
            "speed": 25000,
            "duplex": True,
            "pci_bus_path": bus,
            "last_updated": self._draft.past(30),
        }
        return self._draft.add("PIF_metrics", record)
