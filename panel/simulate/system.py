"""The files of a simulated node that no PCI device owns: processors, memory, modules, limits, network, facts.

Everything is as a healthy node that serves models would have it, but for what a `Make` says. Used by `node`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Card", "Files", "Make", "system_files"]

Files = dict[str, str]

_CPUS = 16  # of each NUMA node
_SYSCTLS = {
    "kernel/osrelease": "6.8.0-60-generic",
    "kernel/numa_balancing": "0",
    "kernel/random/boot_id": "3f0d5c4e-7a55-4c3e-9d0a-0c6f9e1a2b3c",
    "vm/max_map_count": "16777216",
    "vm/overcommit_memory": "1",
    "vm/swappiness": "10",
    "vm/nr_hugepages": "0",
    "net/core/rmem_max": "268435456",
    "net/core/wmem_max": "268435456",
    "net/core/somaxconn": "4096",
    "net/ipv4/ip_local_port_range": "32768\t60999",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/all/arp_ignore": "1",
    "net/ipv4/conf/all/arp_announce": "2",
}
_LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max stack size            unlimited            unlimited            bytes
Max core file size        0                    unlimited            bytes
Max processes             unlimited            unlimited            processes
Max open files            1048576              1048576              files
Max locked memory         {locked:<21}{locked:<21}bytes
"""


@dataclass(frozen=True, slots=True)
class Make:
    """What tells one make of node from another.

    Attributes:
        hostname: its name.
        product: what the board says.
        cpu: the model of its processors.
        node_bytes: memory of each NUMA node.
        gpu: the model of its GPUs.
        gpu_bytes: memory of each of them; 0 is that of an H100 or MI300X.
        architecture: compute capability of NVIDIA's.
        nvlinks: active links of each GPU; None leaves out all that only NVML or AMD SMI tells.
        peermem: the module is loaded with which NICs reach the memory of NVIDIA GPUs.
        packages: installed Python packages with their versions.
        memlock: the limit of locked memory in bytes, -1 for none.
    """

    hostname: str = "node-1"
    product: str = "Node"
    cpu: str = "Simulated CPU 8480"
    node_bytes: int = 1 << 39
    gpu: str = "NVIDIA H100 80GB HBM3"
    gpu_bytes: int = 0
    architecture: str = "9.0"
    nvlinks: int | None = None
    peermem: bool = True
    packages: Mapping[str, str] = field(
        default_factory=lambda: {"sglang": "0.5.9", "torch": "2.9.1+cu128", "mooncake-transfer-engine": "0.3.13"}
    )
    memlock: int = -1


@dataclass(frozen=True, slots=True)
class Card:
    """One RDMA device with its port and its interface.

    Attributes:
        place: the folder of its PCI function, below `sys/devices`.
        number: the number in its name, also of its verbs device and in its addresses.
    """

    name: str
    number: int
    netdev: str
    pci: str
    place: str
    link_layer: str
    rate: str
    up: bool

    @property
    def ipv4(self) -> str:
        """The address of its interface, in a network of its own."""
        return f"192.168.{self.number}.1"

    def gids(self) -> dict[int, tuple[str, str]]:
        """Returns the entries in use, by index: the GID in sysfs's notation and its type."""
        link_local = f"fe80:0000:0000:0000:a088:c2ff:fe03:{self.number:04x}"
        if self.link_layer != "Ethernet":
            return {0: (link_local, "IB/RoCE v1")}
        mapped = f"0000:0000:0000:0000:0000:ffff:c0a8:{self.number:02x}01"
        kinds = ("IB/RoCE v1", "RoCE v2")
        return {index: ((link_local, mapped)[index // 2], kinds[index % 2]) for index in range(4)}

    def interface(self) -> Files:
        """Returns the files of its interface, relative to the interface's folder."""
        speed = int(float(self.rate.split()[0]) * 1000)
        values = {
            "address": f"a0:88:c2:03:00:{self.number:02x}",
            "mtu": "4092" if self.link_layer == "InfiniBand" else "9000",
            "operstate": "up" if self.up else "down",
            "type": "32" if self.link_layer == "InfiniBand" else "1",
            "device": f"-> ../../../{self.pci}",
            **_interface(number=self.number + 10),
        }
        # An interface that is down answers EINVAL to both.
        return values | ({"speed": str(speed), "carrier": "1"} if self.up else {})


def _interface(number: int) -> Files:
    return {
        "dev_port": "0",
        "dev_id": "0x0",
        "flags": "0x1003",
        "ifindex": str(number),
        "statistics/rx_bytes": str(1 << 30 | number),
        "statistics/tx_bytes": str(1 << 31 | number),
    }


def system_files(
    gpus: Sequence[str],
    cards: Sequence[Card],
    numa_nodes: int,
    gpu_driver: str,
    nic_driver: str,
    storage_nic: bool,
    facts: bool,
    make: Make,
) -> Files:
    """Returns the files by path; `gpus` are PCI addresses in order."""
    files = {f"proc/sys/{name}": value for name, value in _SYSCTLS.items()}
    files |= _processors(numa_nodes, make) | _memory(numa_nodes, make) | _network(cards, storage_nic)
    files |= _modules(gpu_driver, nic_driver, make)
    if gpu_driver == "nvidia":
        files |= _nvidia(gpus, make)
    else:
        files |= _kfd(gpus, make)
    locked = "unlimited" if make.memlock < 0 else str(make.memlock)
    return files | {
        "proc/sys/kernel/hostname": make.hostname,
        "etc/os-release": 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 24.04.2 LTS"\nID=ubuntu',
        "proc/cmdline": "iommu=pt pci=realloc=off",
        "proc/uptime": "86400.00 2000000.00",
        "proc/loadavg": "1.00 1.00 1.00 2/3000 4242",
        "proc/self/limits": _LIMITS.format(locked=locked),
        "proc/self/cgroup": "0::/user.slice",
        "proc/self/status": "Name:\tpython3\nUid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n"
        f"Cpus_allowed_list:\t0-{numa_nodes * _CPUS - 1}\nMems_allowed_list:\t0-{numa_nodes - 1}",
        "sys/class/dmi/id": "-> ../../devices/virtual/dmi/id",
        "sys/devices/virtual/dmi/id/sys_vendor": "Simulated",
        "sys/devices/virtual/dmi/id/product_name": make.product,
        **({"pdpanel/facts.json": json.dumps(_facts(gpus, cards, gpu_driver, make))} if facts else {}),
    }


def _processors(numa_nodes: int, make: Make) -> Files:
    count = numa_nodes * _CPUS
    flags = "fpu sse4_2 avx f16c fma avx2 avx512f avx512_vnni avx512_bf16 amx_tile amx_int8 amx_bf16"
    blocks = [
        f"processor\t: {cpu}\nmodel name\t: {make.cpu}\nphysical id\t: {cpu // _CPUS}\nflags\t\t: {flags}\n"
        for cpu in range(count)
    ]
    files = {"proc/cpuinfo": "\n".join(blocks), "sys/devices/system/cpu/online": f"0-{count - 1}"}
    files["proc/stat"] = "cpu  1000 0 1000 90000 0 0 0 0 0 0\nbtime 1700000000"
    for cpu in range(count):
        place = f"sys/devices/system/cpu/cpu{cpu}"
        files[f"{place}/topology/physical_package_id"] = str(cpu // _CPUS)
        files[f"{place}/topology/core_id"] = str(cpu % _CPUS)
        files[f"{place}/cpufreq/scaling_governor"] = "performance"
    return files


def _memory(numa_nodes: int, make: Make) -> Files:
    kb = make.node_bytes // 1024
    names = {"MemTotal": kb, "MemFree": kb * 3 // 4, "MemAvailable": kb * 7 // 8}
    text = [f"{name}:       {value * numa_nodes} kB" for name, value in names.items()]
    text += ["SwapTotal:             0 kB", "SwapFree:              0 kB"]
    text += ["HugePages_Total:       0", "HugePages_Free:        0", "Hugepagesize:       2048 kB"]
    files = {
        "proc/meminfo": "\n".join(text),
        "sys/devices/system/node/online": f"0-{numa_nodes - 1}",
        "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never",
        "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "0",
        "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": "0",
    }
    for node in range(numa_nodes):
        place = f"sys/devices/system/node/node{node}"
        files[f"{place}/cpulist"] = f"{node * _CPUS}-{node * _CPUS + _CPUS - 1}"
        files[f"{place}/distance"] = " ".join("10" if other == node else "21" for other in range(numa_nodes))
        files[f"{place}/meminfo"] = "\n".join(f"Node {node} {name}:  {value} kB" for name, value in names.items())
    return files


def _network(cards: Sequence[Card], storage_nic: bool) -> Files:
    """Gives the default route to the storage NIC, or else to the interface eth0 of the board."""
    default = "eth0"
    if storage_nic:
        (default,) = (card.netdev for card in cards if card.link_layer == "Ethernet" and card.rate.startswith("25 "))
    files: Files = {}
    for number, name in enumerate(("lo", "eth0")):
        place = f"sys/devices/virtual/net/{name}"
        files |= {f"{place}/{key}": value for key, value in _interface(number=number + 1).items()}
        files |= {f"{place}/address": f"00:00:00:00:00:{number:02x}", f"{place}/mtu": "1500" if number else "65536"}
        files |= {f"{place}/operstate": "up" if number else "unknown", f"{place}/carrier": "1"}
        files |= (
            {f"{place}/type": "1" if number else "772", f"{place}/speed": "10000"}
            if number
            else {f"{place}/type": "772"}
        )
        files[f"sys/class/net/{name}"] = f"-> ../../devices/virtual/net/{name}"
    names = ("lo", "eth0", *(card.netdev for card in cards if card.netdev))
    files["proc/net/dev"] = "\n".join(
        [
            "Inter-|   Receive  |  Transmit",
            " face |bytes packets errs drop fifo frame compressed multicast|bytes packets",
        ]
        + [f"{name:>6}: 1000 10 0 0 0 0 0 0 2000 20 0 0 0 0 0 0" for name in names]
    )
    rows = ["Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT"]
    rows.append(f"{default}\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0")
    rows += [
        f"{card.netdev}\t00{card.number:02X}A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0"
        for card in cards
        if card.netdev and card.up
    ]
    header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
    listening = "   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1"
    return files | {
        "proc/net/route": "\n".join(rows),
        "proc/net/tcp": f"{header}\n{listening}",
        "proc/net/tcp6": header,
        "proc/net/sockstat": "sockets: used 100",
    }


def _modules(gpu_driver: str, nic_driver: str, make: Make) -> Files:
    rdma = {"mlx5_core": "mlx5_ib", "bnxt_en": "bnxt_re", "ionic": "ionic_rdma", "ice": "irdma"}.get(nic_driver)
    names = [
        "ib_core",
        "ib_uverbs",
        "ib_umad",
        "rdma_cm",
        "rdma_ucm",
        nic_driver,
        *([rdma] if rdma else []),
        gpu_driver,
    ]
    if gpu_driver == "nvidia":
        names += ["nvidia_uvm", *(["nvidia_peermem"] if make.peermem else [])]
    names = list(dict.fromkeys(names))
    files = {f"sys/module/{name}/initstate": "live" for name in names}
    versions = {name: "570.86.15" if name.startswith("nvidia") else "24.10-1.1.4" for name in names}
    files |= {f"sys/module/{name}/version": version for name, version in versions.items()}
    files["proc/modules"] = "\n".join(f"{name} 16384 0 - Live 0x0000000000000000" for name in names)
    return files


def _nvidia(gpus: Sequence[str], make: Make) -> Files:
    version = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\nGCC version:  gcc 13"
    files = {"proc/driver/nvidia/version": version, "proc/driver/nvidia/params": "EnablePCIERelaxedOrderingMode: 0"}
    for number, pci in enumerate(gpus):
        files[f"proc/driver/nvidia/gpus/{pci}/information"] = "\n".join(
            (
                f"Model: \t\t {make.gpu}",
                f"GPU UUID: \t {_uuid(number)}",
                "Video BIOS: \t 96.00.74.00.01",
                f"Bus Location: \t {pci}",
                f"Device Minor: \t {number}",
            )
        )
    return files


def _uuid(number: int) -> str:
    return f"GPU-5f0a3c2e-0000-4000-8000-{number:012x}"


def _kfd(gpus: Sequence[str], make: Make) -> Files:
    place = "sys/devices/virtual/kfd/kfd/topology"
    files = {"sys/class/kfd/kfd": "-> ../../devices/virtual/kfd/kfd", f"{place}/system_properties": "num_devices 1"}
    files |= {f"{place}/nodes/0/gpu_id": "0", f"{place}/nodes/0/properties": "cpu_cores_count 32\nsimd_count 0"}
    for number, pci in enumerate(gpus, 1):
        domain, bus, rest = pci.split(":")
        slot, function = rest.split(".")
        location = int(bus, 16) << 8 | int(slot, 16) << 3 | int(function)
        values = {"simd_count": 1216, "vendor_id": 4098, "device_id": 29857, "gfx_target_version": 90402}
        values |= {"location_id": location, "domain": int(domain, 16), "unique_id": 1000 + number}
        files[f"{place}/nodes/{number}/gpu_id"] = str(50000 + number)
        files[f"{place}/nodes/{number}/name"] = "ip discovery"
        files[f"{place}/nodes/{number}/properties"] = "\n".join(f"{key} {value}" for key, value in values.items())
        files[f"{place}/nodes/{number}/mem_banks/0/properties"] = (
            f"heap_type 1\nsize_in_bytes {make.gpu_bytes or 206141652992}"
        )
    return files


def _facts(gpus: Sequence[str], cards: Sequence[Card], gpu_driver: str, make: Make) -> dict[str, object]:
    device = {"kind": "character", "readable": True, "writable": True}
    paths = [f"/dev/infiniband/uverbs{card.number}" for card in cards] + ["/dev/infiniband/rdma_cm"]
    paths += (
        [f"/dev/nvidia{n}" for n in range(len(gpus))] + ["/dev/nvidiactl"] if gpu_driver == "nvidia" else ["/dev/kfd"]
    )
    nics = {"libibverbs.so.1", "libmlx5.so.1", "libnl-3.so.200", "libnl-route-3.so.200", "libnuma.so.1"}
    return {
        "version": 1,
        "taken_at": "2026-01-01T00:00:00Z",
        "python": "3.11.8",
        "addresses": {"lo": ["127.0.0.1/8"], "eth0": ["10.0.0.2/24"]}
        | {card.netdev: [f"{card.ipv4}/24"] for card in cards if card.netdev and card.up},
        "rlimits": {name: [-1, -1] for name in ("stack", "core", "nproc")}
        | {"nofile": [1 << 20, 1 << 20], "memlock": [make.memlock, make.memlock]},
        "space": {path: {"total_bytes": 1 << 39, "free_bytes": 1 << 38} for path in ("/dev/shm", "/tmp")},
        "devices": {path: device for path in paths},
        "libraries": {name: "" for name in sorted(nics | {"libcudart.so.12", "libcuda.so.1", "libcurl.so.4"})},
        "packages": dict(make.packages),
        "missing_libraries": {"mooncake": []},
        "environ": {},
        "hostname_addresses": ["10.0.0.2"],
        "clock": {"synchronised": True, "source": "adjtimex"},
        "gpus": _told_by_nvidia(gpus, make) if gpu_driver == "nvidia" else _told_by_amd(gpus, make),
    }


def _told_by_nvidia(gpus: Sequence[str], make: Make) -> dict[str, object]:
    """Returns what nvidia-smi says of the GPUs, or NVML, which says more."""
    rows: list[dict[str, object]] = [
        {
            "index": number,
            "uuid": _uuid(number),
            "name": make.gpu,
            "pci": pci,
            "memory_total_bytes": make.gpu_bytes or 85520809984,
        }
        for number, pci in enumerate(gpus)
    ]
    if make.nvlinks is None:
        return {"nvidia_smi": rows}
    health = _healthy() | {
        "architecture": make.architecture,
        "compute_mode": "Default",
        "persistence": True,
        "mig": False,
        "mig_uuids": [],
        "nvlinks_active": make.nvlinks,
        "nvlinks_inactive": 0,
        "bar1_total_bytes": 1 << 37,
        "memory_retired_pending": False,
        "fabric": "completed" if make.nvlinks else {"reason": "is not supported by this GPU"},
    }
    rows = [row | health for row in rows]
    said = {"driver_version": "570.86.15", "runtime_version": "12.8", "count": len(rows), "gpus": rows}
    return {"libraries": {"NVML": said}}


def _told_by_amd(gpus: Sequence[str], make: Make) -> dict[str, object]:
    """Returns what AMD SMI says of the GPUs; nothing where only the kernel tells of them."""
    if make.nvlinks is None:
        return {}
    own = {"name": make.gpu, "memory_total_bytes": make.gpu_bytes or 206141652992} | _healthy()
    rows = [{"index": number, "pci": pci} | own for number, pci in enumerate(gpus)]
    said = {"driver_version": "6.12.12", "runtime_version": "6.4.1", "count": len(rows), "gpus": rows}
    return {"libraries": {"AMD SMI": said}}


def _healthy() -> dict[str, object]:
    return {
        "memory_used_bytes": 600 << 20,
        "busy_percent": 0,
        "processes": [],
        "ecc_enabled": True,
        "ecc_uncorrected": 0,
        "throttle_reasons": [],
        "temperature_c": 34,
        "power_w": 82.0,
        "power_limit_w": 700.0,
        "power_limit_default_w": 700.0,
        "pcie_speed_gts": 32.0,
        "pcie_width": 16,
        "pcie_max_speed_gts": 32.0,
        "pcie_max_width": 16,
    }
