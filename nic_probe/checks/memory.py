"""Checks of the host's memory: how much there is, how it is mapped, moved between nodes and shared."""

from __future__ import annotations

from ..finding import Finding, Severity
from .check import Check, Rule
from .evidence import in_bytes, seen, setting
from .view import HostView

__all__ = ["CHECKS"]

_GIB = 1 << 30
_MAP_COUNT = 16777216  # What Mooncake's documentation asks for; the kernel's default is 65530.
_ENOUGH_MAPS = 1 << 20
_MIN_SHM = _GIB

_MAX_MAP_COUNT = Rule(
    "max-map-count-low",
    "Memory areas that one process may have (vm.max_map_count)",
    "Registering and pinning memory splits a process's address space into ever more areas. At the kernel's default "
    "of 65530 a worker with a large KV pool reaches the limit, and further registrations fail with ENOMEM or EAGAIN.",
    ("Mooncake documentation: troubleshooting",),
)
_HUGE_PAGES = Rule(
    "huge-pages",
    "Memory set aside as huge pages",
    "Huge pages that are set aside are lost to everything that does not ask for them. Only the Mooncake store uses "
    "them, and only when it is told to; workers do not.",
    ("Mooncake documentation: store",),
)
_TRANSPARENT = Rule(
    "transparent-huge-pages-off",
    "Transparent huge pages",
    "Without transparent huge pages a registered pool consists of 4 KiB pages. Pinning it takes longer, and the NIC's "
    "translation table is hundreds of times larger.",
    ("Linux admin guide: transhuge",),
)
_MEMORY_LOW = Rule(
    "memory-low",
    "Memory that is available",
    "Staging buffers, weights on their way to a GPU and the KV pool of a CPU worker need memory at once. Pinned "
    "memory cannot be swapped out, so that the kernel ends a process when there is no other.",
    ("proc(5): MemAvailable", "cgroup v2: memory.max"),
)
_SWAP = Rule(
    "swap-in-use",
    "Swap space in use",
    "Pages of a worker that were swapped out come back one by one when a request touches them, which shows as "
    "pauses of seconds. Pinned memory stays, the rest of the engine does not.",
    ("proc(5): SwapFree", "proc(5): swappiness"),
)
_OVERCOMMIT = Rule(
    "overcommit-strict",
    "Promises of memory (vm.overcommit_memory)",
    "CUDA and the engines reserve address space many times larger than they use. Under strict accounting (2) the "
    "kernel refuses such a reservation, and a worker ends at its start with `Cannot allocate memory`.",
    ("proc(5): overcommit_memory",),
)
_NUMA_BALANCING = Rule(
    "numa-balancing-on",
    "Automatic moving of pages between NUMA nodes (kernel.numa_balancing)",
    "With several nodes the kernel unmaps pages now and then to see who touches them, and moves them. For a worker "
    "that is pinned to its node this is jitter without a gain.",
    ("Linux admin guide: kernel.numa_balancing", "ROCm: MI300X system optimization"),
)
_SHM = Rule(
    "shm-small",
    "Room in /dev/shm",
    "NCCL, torch and the shared-memory transport put their buffers into /dev/shm. A container has 64 MiB there by "
    "default, and a worker with tensor parallelism ends with `No space left on device` or a bus error.",
    ("NCCL documentation: troubleshooting, sharing data", "Docker documentation: --shm-size"),
)
_DISK = Rule(
    "disk-full",
    "Room on disk",
    "Model files, kernels compiled at run time and logs need room. A full temporary directory makes workers fail "
    "while they start, with messages that name no disk.",
    ("tempfile.gettempdir",),
)


def max_map_count_low(view: HostView) -> list[Finding]:
    """Judges the number of memory areas by whether RDMA would register memory here."""
    count = view.state.kernel.max_map_count
    if count.value is None or count.value >= _ENOUGH_MAPS:
        return []
    return [
        _MAX_MAP_COUNT.finding(
            Severity.WARNING if view.active_nics else Severity.INFO,
            "vm.max_map_count",
            [setting(count)],
            "A worker that registers a large KV pool with RDMA NICs runs out of memory areas (Mooncake: "
            "troubleshooting).",
            f"sysctl -w vm.max_map_count={_MAP_COUNT}; keep it with `vm.max_map_count = {_MAP_COUNT}` in "
            "/etc/sysctl.d/90-rdma.conf, on the host of a container.",
            str(_MAP_COUNT),
        )
    ]


def huge_pages(view: HostView) -> list[Finding]:
    """Reports memory that is set aside."""
    memory = view.host.memory
    pages, size = memory.huge_pages_total, memory.huge_page_bytes.otherwise(0)
    if not pages.value or not size:
        return []
    aside = pages.value * size
    total = memory.total_bytes.otherwise(0)
    large = bool(total) and aside > total // 2
    return [
        _HUGE_PAGES.finding(
            Severity.WARNING if large else Severity.INFO,
            "huge pages",
            [seen(pages, f"{pages.value} pages of {in_bytes(size)}, {memory.huge_pages_free} free")],
            f"{in_bytes(aside)} are set aside for whoever asks for huge pages, which workers do not.",
            "sysctl -w vm.nr_hugepages=0, unless a Mooncake store uses them.",
        )
    ]


def transparent_huge_pages_off(view: HostView) -> list[Finding]:
    """Reports the setting under which pools consist of small pages."""
    choice = view.state.kernel.transparent_huge_pages
    if choice.value != "never" or not view.serves:
        return []
    return [
        _TRANSPARENT.finding(
            Severity.INFO,
            "transparent huge pages",
            [setting(choice)],
            "Registering a KV pool in host memory takes longer, since it consists of small pages.",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
            "madvise",
        )
    ]


def memory_low(view: HostView) -> list[Finding]:
    """Judges what is available now, and a control group that has less than the host."""
    memory, limit = view.host.memory, view.state.container.memory_limit_bytes
    available = memory.available_bytes
    findings: list[Finding] = []
    if available.value is not None and available.value < 2 * _GIB:
        findings.append(
            _MEMORY_LOW.finding(
                Severity.WARNING,
                "memory",
                [
                    seen(available, in_bytes(available.value)),
                    seen(memory.total_bytes, in_bytes(memory.total_bytes.value)),
                ],
                f"Only {in_bytes(available.value)} can be had without swapping, too little for a worker.",
                "End what holds the memory, or choose a smaller model and KV pool.",
            )
        )
    total = memory.total_bytes.value
    if limit.value is not None and total and limit.value < total // 2 and view.serves:
        findings.append(
            _MEMORY_LOW.finding(
                Severity.INFO,
                "memory of the control group",
                [seen(limit, in_bytes(limit.value)), seen(memory.total_bytes, in_bytes(total))],
                f"Workers started here share {in_bytes(limit.value)} of the host's {in_bytes(total)}.",
                "docker run --memory=0 ..., or a larger memory limit of the pod or the unit.",
            )
        )
    return findings


def swap_in_use(view: HostView) -> list[Finding]:
    """Reports swap space that is in use."""
    memory = view.host.memory
    total, free = memory.swap_total_bytes, memory.swap_free_bytes
    if total.value is None or free.value is None or total.value - free.value < _GIB:
        return []
    evidence = [seen(free, f"{in_bytes(total.value - free.value)} of {in_bytes(total.value)} in use")]
    if view.state.kernel.swappiness.known:
        evidence.append(setting(view.state.kernel.swappiness))
    return [
        _SWAP.finding(
            Severity.INFO,
            "swap",
            evidence,
            "Parts of running programs were swapped out, and a request that touches them waits for the disk.",
            "swapoff -a && swapon -a once there is memory; sysctl -w vm.swappiness=10",
        )
    ]


def overcommit_strict(view: HostView) -> list[Finding]:
    """Finds strict accounting of memory."""
    mode = view.state.kernel.overcommit_memory
    if mode.value != 2:
        return []
    return [
        _OVERCOMMIT.finding(
            Severity.WARNING,
            "vm.overcommit_memory",
            [setting(mode)],
            "The kernel refuses the large reservations that CUDA and the engines make at their start.",
            "sysctl -w vm.overcommit_memory=1",
            "1",
        )
    ]


def numa_balancing_on(view: HostView) -> list[Finding]:
    """Finds balancing on a host of several nodes."""
    mode = view.state.kernel.numa_balancing
    nodes = [node for node in view.host.cpu.numa_nodes if node.cpus.value]
    if not mode.value or len(nodes) < 2:
        return []
    return [
        _NUMA_BALANCING.finding(
            Severity.WARNING if view.serves else Severity.INFO,
            "kernel.numa_balancing",
            [setting(mode)],
            f"The kernel moves pages between {len(nodes)} nodes while workers run, which shows as jitter.",
            "sysctl -w kernel.numa_balancing=0",
            "0",
        )
    ]


def shm_small(view: HostView) -> list[Finding]:
    """Judges the size of /dev/shm."""
    space = view.state.space
    shm = space.otherwise({}).get("/dev/shm")
    if shm is None:
        return []
    free = shm.total_bytes if shm.free_bytes is None else shm.free_bytes
    if min(shm.total_bytes, free) >= _MIN_SHM:
        return []
    small = shm.total_bytes < _MIN_SHM
    held = f"{in_bytes(shm.total_bytes)}, {in_bytes(free)} free"
    return [
        _SHM.finding(
            Severity.WARNING if view.host.gpus.devices else Severity.INFO,
            "/dev/shm",
            [seen(space, held)],
            f"/dev/shm has {held}, too little for workers that share memory (NCCL, tensor parallelism, the shm "
            "transport).",
            ("docker run --shm-size 32g ..." if view.in_container else "mount -o remount,size=50% /dev/shm")
            if small
            else "Remove what earlier workers left in /dev/shm once they are gone.",
            "32g" if small else None,
        )
    ]


def disk_full(view: HostView) -> list[Finding]:
    """Finds file systems with hardly any room."""
    return [
        _DISK.finding(
            Severity.WARNING,
            path,
            [seen(view.state.space, f"{in_bytes(space.free_bytes)} free of {in_bytes(space.total_bytes)}")],
            f"{path} has room for {in_bytes(space.free_bytes)}, too little for model files and compiled kernels.",
            "Make room, or point TMPDIR and the caches to a larger disk.",
        )
        for path, space in view.state.space.otherwise({}).items()
        if path != "/dev/shm" and space.free_bytes is not None and space.free_bytes < _GIB
    ]


CHECKS: tuple[Check[HostView], ...] = (
    Check(_MAX_MAP_COUNT, max_map_count_low),
    Check(_HUGE_PAGES, huge_pages),
    Check(_TRANSPARENT, transparent_huge_pages_off),
    Check(_MEMORY_LOW, memory_low),
    Check(_SWAP, swap_in_use),
    Check(_OVERCOMMIT, overcommit_strict),
    Check(_NUMA_BALANCING, numa_balancing_on),
    Check(_SHM, shm_small),
    Check(_DISK, disk_full),
)
