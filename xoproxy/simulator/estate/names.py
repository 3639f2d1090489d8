"""Names for generated estates: what machines and networks are called in real companies."""

from dataclasses import dataclass

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class System:
    """A guest operating system, as templates and guest agents tell of it."""

    template: str
    name: str
    distro: str
    major: str
    minor: str
    kernel: str
    disk_gib: int
    memory_gib: int

    @property
    def windows(self) -> bool:
        return self.distro == "windows"


SYSTEMS = (
    System(
        "Debian Bookworm 12",
        "Debian GNU/Linux 12 (bookworm)",
        "debian",
        "12",
        "5",
        "6.1.0-25-amd64",
        20,
        2,
    ),
    System(
        "Debian Bullseye 11",
        "Debian GNU/Linux 11 (bullseye)",
        "debian",
        "11",
        "9",
        "5.10.0-28-amd64",
        20,
        2,
    ),
    System(
        "Ubuntu Jammy Jellyfish 22.04",
        "Ubuntu 22.04.4 LTS",
        "ubuntu",
        "22",
        "04",
        "5.15.0-101-generic",
        25,
        4,
    ),
    System(
        "Ubuntu Noble Numbat 24.04",
        "Ubuntu 24.04.1 LTS",
        "ubuntu",
        "24",
        "04",
        "6.8.0-45-generic",
        25,
        4,
    ),
    System(
        "Ubuntu Focal Fossa 20.04",
        "Ubuntu 20.04.6 LTS",
        "ubuntu",
        "20",
        "04",
        "5.4.0-174-generic",
        25,
        2,
    ),
    System(
        "Rocky Linux 9",
        "Rocky Linux 9.4 (Blue Onyx)",
        "rocky",
        "9",
        "4",
        "5.14.0-427.el9.x86_64",
        30,
        4,
    ),
    System(
        "AlmaLinux 9",
        "AlmaLinux 9.4 (Seafoam Ocelot)",
        "almalinux",
        "9",
        "4",
        "5.14.0-427.el9.x86_64",
        30,
        4,
    ),
    System(
        "Red Hat Enterprise Linux 8",
        "Red Hat Enterprise Linux 8.9 (Ootpa)",
        "rhel",
        "8",
        "9",
        "4.18.0-513.el8.x86_64",
        40,
        4,
    ),
    System(
        "SUSE Linux Enterprise 15 (64-bit)",
        "SUSE Linux Enterprise Server 15 SP5",
        "sles",
        "15",
        "5",
        "5.14.21-150500.55-default",
        40,
        4,
    ),
    System(
        "Windows Server 2022 (64-bit)",
        "Microsoft Windows Server 2022 Standard",
        "windows",
        "10",
        "0",
        "",
        80,
        8,
    ),
    System(
        "Windows Server 2019 (64-bit)",
        "Microsoft Windows Server 2019 Standard",
        "windows",
        "10",
        "0",
        "",
        60,
        8,
    ),
    System(
        "Windows Server 2016 (64-bit)",
        "Microsoft Windows Server 2016 Standard",
        "windows",
        "10",
        "0",
        "",
        60,
        4,
    ),
    System(
        "Windows 11 (64-bit)", "Microsoft Windows 11 Enterprise", "windows", "10", "0", "", 64, 8
    ),
    System(
        "Windows 10 (64-bit)", "Microsoft Windows 10 Enterprise", "windows", "10", "0", "", 50, 4
    ),
)

OTHER_TEMPLATES = (
    "AlmaLinux 8", "CentOS 7", "CentOS Stream 8", "CentOS Stream 9", "CoreOS",
    "Debian Buster 10", "Generic Linux BIOS", "Generic Linux UEFI", "Gooroom 2",
    "NeoKylin Linux Server 7", "Oracle Linux 7", "Oracle Linux 8", "Oracle Linux 9",
    "Other install media", "Red Hat Enterprise Linux 7", "Red Hat Enterprise Linux 9",
    "Rocky Linux 8", "Scientific Linux 7", "SUSE Linux Enterprise 12 SP5 (64-bit)",
    "Ubuntu Bionic Beaver 18.04", "Windows 10 (32-bit)", "Windows 8.1 (64-bit)",
    "Windows Server 2025 (64-bit)", "Windows Server 2012 R2 (64-bit)",
)  # fmt: skip

# Role -> what it does; German, English and French houses, as they come.
ROLES = (
    ("web", "Webserver hinter dem Load Balancer"),
    ("db", "PostgreSQL-Datenbank"),
    ("mail", "Mailserver (Postfix, Dovecot)"),
    ("app", "Application server"),
    ("dc", "Domänencontroller"),
    ("fs", "Dateiserver der Abteilungen"),
    ("backup", "Backup proxy, nightly jobs"),
    ("buchhaltung", "Buchhaltung und Lohn, nur intern"),
    ("erp", "ERP-System"),
    ("lager", "Lagerverwaltung, Schnittstelle zu den Scannern"),
    ("zeiterfassung", "Zeiterfassung der Werke"),
    ("terminal", "Terminalserver für Außendienst"),
    ("monitoring", "Prometheus and Grafana"),
    ("ci-runner", "Build agent, rebuilt every week"),
    ("git", "Source code hosting"),
    ("proxy", "Reverse proxy, TLS termination"),
    ("ldap", "Directory service"),
    ("compta", "Serveur de comptabilité"),
    ("paie", "Logiciel de paie, accès restreint"),
    ("bureau", "Bureau à distance"),
    ("messagerie", "Serveur de messagerie"),
    ("sauvegarde", "Sauvegarde des agences"),
    ("entrepôt", "Gestion de l'entrepôt"),
    ("vpn", "VPN gateway"),
    ("print", "Druckserver, alle Etagen"),
    ("cam", "Video surveillance recorder"),
    ("redis", "Cache and queues"),
    ("k8s-worker", "Kubernetes worker node"),
    ("log", "Log collector"),
    ("telefon", "Telefonanlage"),
)

COMPANIES = (
    "brandt", "nordlicht", "keller-soehne", "müller", "havel-logistik", "acme", "northwind",
    "blueriver", "stonebridge", "dupont", "lemaire", "atelier-rené", "giraud", "zentral",
)  # fmt: skip
STAGES = ("prod", "prod", "prod", "test", "dev", "staging", "abnahme", "recette")
TAGS = (
    "prod",
    "test",
    "dev",
    "backup",
    "dmz",
    "kritisch",
    "critical",
    "linux",
    "windows",
    "no-backup",
    "projet-phénix",
    "Team Blau",
)
PLACES = {
    "ber": "Berlin",
    "muc": "München",
    "ham": "Hamburg",
    "par": "Paris",
    "lyo": "Lyon",
    "lon": "London",
    "zrh": "Zürich",
    "gva": "Genève",
}
NETWORKS = (
    (10, "VLAN 10 Server", "Serversegment"),
    (20, "VLAN 20 Clients", "Arbeitsplätze"),
    (30, "VLAN 30 DMZ", "Reachable from outside"),
    (40, "VLAN 40 Voix", "Téléphonie"),
    (99, "VLAN 99 Test", ""),
)
APPLIANCES = ("Webshop", "ERP", "Intranet", "Comptabilité", "CI")
GROUPS = ("dc-getrennt", "db-cluster", "k8s")
SNAPSHOTS = (
    "before update",
    "vor dem Update",
    "avant migration",
    "nightly",
    "clean install",
    "Übergabe",
)
CPUS = (
    ("GenuineIntel", "Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz", "2000", "106"),
    ("GenuineIntel", "Intel(R) Xeon(R) Silver 4314 CPU @ 2.40GHz", "2400", "106"),
    ("AuthenticAMD", "AMD EPYC 7443P 24-Core Processor", "2850", "1"),
    ("AuthenticAMD", "AMD EPYC 9354 32-Core Processor", "3250", "17"),
)
CPU_FLAGS = (
    "fpu de tsc msr pae mce cx8 apic sep mca cmov pat clflush acpi mmx fxsr sse sse2 ht syscall nx "
    "rdtscp lm constant_tsc rep_good nopl nonstop_tsc cpuid pni pclmulqdq monitor est ssse3 fma "
    "cx16 sse4_1 sse4_2 movbe popcnt aes xsave avx f16c rdrand hypervisor lahf_lm abm "
    "3dnowprefetch cpuid_fault ibrs ibpb stibp fsgsbase bmi1 avx2 bmi2 erms rdseed adx clflushopt "
    "clwb sha_ni xsaveopt xsavec xgetbv1 arch_capabilities"
)
