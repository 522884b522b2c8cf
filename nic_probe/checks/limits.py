"""Checks of what the kernel allows a process: locked memory, open files, CPUs and memory of a node."""

from __future__ import annotations

from ..finding import Evidence, Finding, Severity
from ..reading import Reading
from ..state.limits import Limit, small_set
from .check import Check, Rule
from .evidence import DOCKER_FLAGS, in_bytes, listed, seen
from .view import HostView

__all__ = ["CHECKS"]

_GIB = 1 << 30
_MIN_FILES = 65536
_MIN_STACK = 8 << 20
_MIN_PROCESSES = 4096

_MEMLOCK = Rule(
    "memlock-low",
    "Memory that a process may pin (RLIMIT_MEMLOCK)",
    "RDMA pins every byte that it registers, and the kernel counts pinned memory against RLIMIT_MEMLOCK. With the "
    "common default of 8 MiB the registration of the KV pool fails with ENOMEM (Cannot allocate memory). "
    "CAP_IPC_LOCK lifts the limit, unless the process lives in a user namespace of its own.",
    ("kvcache-ai/Mooncake#1382", "kvcache-ai/Mooncake#1405", "openucx/ucx#8229", "openucx/ucx#7930"),
)
_NOFILE = Rule(
    "nofile-low",
    "Files that a process may open (RLIMIT_NOFILE)",
    "Every connection between workers, every queue pair and every client holds file descriptors. Workers raise "
    "their own limit as far as the hard limit lets them; a low hard limit ends in `Too many open files` under load.",
    ("Mooncake documentation: troubleshooting",),
)
_PROCESS_LIMITS = Rule(
    "process-limits",
    "Stack, core file and number of processes",
    "A small stack crashes code that recurses deeply, and a small number of processes stops an engine of many "
    "threads. Without a core file a crashed worker leaves nothing to look at.",
    ("getrlimit(2)",),
)
_CPUSET = Rule(
    "cpuset-misses-node",
    "CPUs and memory nodes that a process may use, against the nodes of GPUs and NICs",
    "A container or a job may be confined to some CPUs and NUMA nodes. When these are not the nodes of the GPU and "
    "the NIC, every transfer is set up from the far side and its buffers lie there.",
    ("cpuset(7)", "sgl-project/sglang#13973"),
)


def memlock_low(view: HostView) -> list[Finding]:
    """Judges the memory that a worker may pin."""
    limits = view.state.limits
    limit = limits.memlock
    if limit.value is None or limit.value.soft is None or limits.may("IPC_LOCK"):
        return []
    severity = view.by_rdma()
    total = view.host.memory.total_bytes.otherwise(0)
    if severity is Severity.ERROR and limit.value.soft >= _GIB:
        if total and limit.value.soft >= total // 2:
            return []
        severity = Severity.WARNING
    evidence = [seen(limit, _limit(limit.value))]
    if limits.user_namespace.value:
        evidence.append(seen(limits.user_namespace, "a user namespace, in which CAP_IPC_LOCK does not count"))
    elif limits.capabilities.known:
        evidence.append(seen(limits.capabilities, "without CAP_IPC_LOCK"))
    if severity is Severity.ERROR:
        follows = "so the NICs refuse the KV pool with ENOMEM"
    else:
        follows = "so a NIC would refuse a larger KV pool with ENOMEM"
    return [
        _MEMLOCK.finding(
            severity,
            "RLIMIT_MEMLOCK",
            evidence,
            f"A worker may pin {in_bytes(limit.value.soft)}, {follows} (kvcache-ai/Mooncake#1382).",
            DOCKER_FLAGS
            if view.in_container
            else "Run `ulimit -l unlimited` before the workers, put `* soft memlock unlimited` and `* hard memlock "
            "unlimited` into /etc/security/limits.d/rdma.conf, or `LimitMEMLOCK=infinity` into the systemd unit.",
            "unlimited",
        )
    ]


def nofile_low(view: HostView) -> list[Finding]:
    """Judges the number of files that a worker may open."""
    limit = view.state.limits.nofile
    if limit.value is None or limit.value.covers(_MIN_FILES):
        return []
    own = limit.value.could_cover(_MIN_FILES)
    if own:
        reason = "The limit is low, and workers raise it by themselves as far as the hard limit lets them."
    else:
        reason = "Workers cannot raise their limit high enough, and fail with `Too many open files` under load."
    return [
        _NOFILE.finding(
            Severity.WARNING if view.serves and not own else Severity.INFO,
            "RLIMIT_NOFILE",
            [seen(limit, _limit(limit.value, pieces=True))],
            reason,
            "docker run --ulimit nofile=1048576:1048576 ..."
            if view.in_container
            else f"Run `ulimit -n {_MIN_FILES}` before the workers, or put `LimitNOFILE=1048576` into the unit.",
            str(_MIN_FILES),
        )
    ]


def process_limits(view: HostView) -> list[Finding]:
    """Reports the limits that matter when something goes wrong."""
    limits = view.state.limits
    evidence: list[Evidence] = []
    remedies: list[str] = []
    if limits.stack.value is not None and not limits.stack.value.covers(_MIN_STACK):
        evidence.append(seen(limits.stack, f"stack {_limit(limits.stack.value)}"))
        remedies.append("ulimit -s 8192")
    if limits.processes.value is not None and not limits.processes.value.covers(_MIN_PROCESSES):
        evidence.append(seen(limits.processes, f"processes {_limit(limits.processes.value, pieces=True)}"))
        remedies.append("ulimit -u 65536")
    severity = Severity.WARNING if evidence else Severity.INFO
    reason = "Workers of many threads may not start, or crash for want of stack."
    if not evidence and limits.core.value is not None and limits.core.value.soft == 0:
        evidence.append(seen(limits.core, "core file 0 B"))
        remedies.append("ulimit -c unlimited")
        reason = "A worker that crashes leaves no core file to look at."
    if not evidence:
        return []
    remedy = f"Run `{'; '.join(remedies)}` before the workers."
    return [_PROCESS_LIMITS.finding(severity, "process limits", evidence, reason, remedy)]


def cpuset_misses_node(view: HostView) -> list[Finding]:
    """Compares the nodes that a worker may use with those of the GPUs and the chosen NICs."""
    limits = view.state.limits
    nodes = {node.id: small_set(node.cpus.otherwise("")) for node in view.host.cpu.numa_nodes}
    wanted: dict[int, list[str]] = {}
    places: list[tuple[str, Reading[int]]] = [(gpu.pci, gpu.numa_node) for gpu in view.host.gpus.devices]
    places += [(nic.name, nic.numa_node) for nic in view.chosen_nics]
    for name, node in places:
        if node.value is not None:
            wanted.setdefault(node.value, []).append(name)
    findings: list[Finding] = []
    for node, names in sorted(wanted.items()):
        cpus = nodes.get(node)
        evidence: list[Evidence] = []
        if limits.cpus_allowed.value is not None and cpus and not cpus & limits.cpus_allowed.value:
            evidence.append(seen(limits.cpus_allowed, f"none of the CPUs of node {node} is allowed"))
        if limits.mems_allowed.value is not None and node in nodes and node not in limits.mems_allowed.value:
            evidence.append(seen(limits.mems_allowed, f"memory of node {node} is not allowed"))
        if evidence:
            findings.append(
                _CPUSET.finding(
                    Severity.WARNING,
                    f"NUMA node {node}",
                    evidence,
                    f"{listed(names)} {'is' if len(names) == 1 else 'are'} at node {node}, which this process may not "
                    "use, so every transfer crosses the link between the sockets.",
                    f"Start it with `numactl --cpunodebind={node} --membind={node}` in a cpuset with node {node}, "
                    "or give the container `--cpuset-cpus` and `--cpuset-mems` of that node.",
                )
            )
    return findings


def _limit(limit: Limit, *, pieces: bool = False) -> str:
    def show(amount: int | None) -> str:
        return ("unlimited" if amount is None else str(amount)) if pieces else in_bytes(amount)

    return f"soft {show(limit.soft)}, hard {show(limit.hard)}"


CHECKS: tuple[Check[HostView], ...] = (
    Check(_MEMLOCK, memlock_low),
    Check(_NOFILE, nofile_low),
    Check(_PROCESS_LIMITS, process_limits),
    Check(_CPUSET, cpuset_misses_node),
)
