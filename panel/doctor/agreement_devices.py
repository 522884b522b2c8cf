"""Rules on GPUs and NICs: who uses which, whether they are there, and whether a NIC is near its GPU."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import combinations

from ...nic_probe.checks.check import Check, Rule
from ...nic_probe.finding import Evidence, Finding, Severity
from ...nic_probe.host import Host
from .command import read_json
from .flag_history import ATTN_DP_SINCE, version_of
from .group import Group, seen
from .worker import Engine, WorkerArguments, WorkerRole

__all__ = ["CHECKS", "gpu_count", "gpus_of"]

_GPU_SHARED = Rule(
    "gpu-shared",
    "Two workers of one host use the same GPU",
    "Prefill and decode both begin at GPU 0 unless told otherwise. On one GPU the second finds too little memory, or "
    "both are slow.",
    ("vllm-project/vllm-ascend#4725", "kvcache-ai/Mooncake#383"),
)
_GPU_MISSING = Rule(
    "gpu-missing",
    "A worker wants GPUs that the host does not have",
    "SGLang counts --base-gpu-id among the GPUs that CUDA_VISIBLE_DEVICES leaves; beyond the last one CUDA answers "
    "invalid device ordinal.",
    ("gpustack/gpustack#1633", "vllm-project/vllm#6582"),
)
_GPU_ORDER = Rule(
    "gpu-named-by-number",
    "CUDA counts the GPUs of this host otherwise than nvidia-smi",
    "CUDA puts the fastest GPU first unless CUDA_DEVICE_ORDER=PCI_BUS_ID is set; nvidia-smi and NVML count by PCI "
    "address. A number taken from one names another GPU, and another NIC beside it, in the other.",
    ("gpustack/gpustack#1633", "vllm-project/vllm#6582"),
)
_DP = Rule(
    "dp-without-attention",
    "--dp-size without DP attention multiplies the GPUs",
    "--dp-size N starts N whole replicas, each on tp x pp GPUs. Only with DP attention do the replicas share the "
    "GPUs of the tensor parallel group.",
    ("SGLang documentation: DP attention",),
)
_IB_UNKNOWN = Rule(
    "ib-device-unknown",
    "A worker names an RDMA device that the host does not have",
    "SGLang compares the names with /sys/class/infiniband and ends with a ValueError; a port suffix such as mlx5_0:1 "
    "counts as unknown. Mooncake takes TCP when none of them exists.",
    ("SGLang source: validation_hook.py", "sgl-project/sglang#23003"),
)
_IB_USABLE = Rule(
    "ib-device-unusable",
    "A worker names an RDMA device that cannot carry KV",
    "The port is down, has no GID, or the process may not open it. SGLang does not check that; Mooncake leaves the "
    "device out and may fall back to TCP.",
    ("kvcache-ai/Mooncake#507", "SGLang source: validation_hook.py"),
)
_IB_RAILS = Rule(
    "ib-device-crosses-rails",
    "One list of NICs for all GPUs crosses PCI switches",
    "With one list every GPU may send through every NIC in it. A NIC behind another switch or CPU socket is several "
    "times slower, and NICs that are near a GPU stay idle. A map of GPUs to their NICs avoids it.",
    (
        "sgl-project/sglang#23003",
        "sgl-project/sglang#8324",
        "kvcache-ai/Mooncake#429",
        "kvcache-ai/Mooncake#813",
        "kvcache-ai/Mooncake#3828",
        "vllm-project/vllm#44919",
    ),
)

_VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ASCEND_RT_VISIBLE_DEVICES")
_MOST_GPUS = 1024
_MOST_ON_A_NODE = 16
_NAME = re.compile(r"[A-Za-z_][\w.-]*\Z")


def gpu_count(worker: WorkerArguments) -> int:
    """Returns how many GPUs a worker uses on its host; 0 for one that computes on the CPU."""
    if worker.engine in {Engine.BUNDLED, Engine.OTHER} or worker.get("device") in {"cpu", "mps"}:
        return 0
    if not worker.serves and worker.role is not WorkerRole.ENCODER:
        return 0
    total = worker.number("tp_size", 1) * worker.number("pp_size", 1)
    shares = worker.is_on("enable_dp_attention") or worker.number("attn_dp_size", 1) > 1
    if worker.engine is Engine.VLLM:
        total *= worker.number("data_parallel_size_local", worker.number("dp_size", 1))
    elif not shares:
        total *= worker.number("dp_size", 1)
    return max(0, min(total // max(1, worker.number("nnodes", 1)), _MOST_GPUS)) or 1


def gpus_of(worker: WorkerArguments) -> tuple[str, ...]:
    """Returns the GPUs that a worker uses, as its variables name them, else by number; past the visible ones `>N`."""
    count = gpu_count(worker)
    if not count:
        return ()
    visible = next((worker.env[name] for name in _VISIBLE if name in worker.env), None)
    base, step = worker.number("base_gpu_id", 0), worker.number("gpu_id_step", 1)
    numbers = [base + place * step for place in range(count)] if worker.engine is Engine.SGLANG else list(range(count))
    if visible is None or "$" in visible:
        return tuple(str(number) for number in numbers)
    names = [name.strip() for name in visible.split(",") if name.strip()]
    return tuple(names[number] if number < len(names) else f">{number}" for number in numbers)


def _neighbours(group: Group) -> Iterator[tuple[WorkerArguments, WorkerArguments]]:
    """Yields the pairs of processes that may share a host, without looking at every pair of a large deployment."""
    by_node: dict[str, list[WorkerArguments]] = {}
    processes = [worker for worker in group.processes if not worker.gpus_apart]
    for worker in processes:
        by_node.setdefault(worker.node, []).append(worker)
    if len(by_node) == 1 or not group.several_nodes:
        yield from combinations(processes, 2)
        return
    for workers in by_node.values():
        yield from combinations(workers, 2)


def gpu_shared(group: Group) -> list[Finding]:
    """Finds GPUs that two workers of one host use."""
    found: list[Finding] = []
    gpus = {id(worker): gpus_of(worker) for worker in group.processes}
    for one, other in _neighbours(group):
        together = group.on_one_host(one, other)
        shared = set(gpus[id(one)]) & set(gpus[id(other)])
        if together is False or not shared or any(name.startswith(">") for name in shared):
            continue
        if together is None and group.several_nodes:
            continue
        names = ", ".join(sorted(shared))
        evidence = (_uses_gpus(one), _uses_gpus(other))
        next_free = max((int(name) for name in gpus_of(one) if name.isdigit()), default=0) + 1
        if other.engine is Engine.VLLM:
            remedy = f"Start {other.name} with CUDA_VISIBLE_DEVICES set to GPUs that {one.name} does not use."
        else:
            remedy = f"Start {other.name} with --base-gpu-id {next_free}."
        reason = f"{one.name} and {other.name} use the same GPU ({names})"
        reason += "." if together else ", if they run on one host."
        if one.resolved or other.resolved:
            # A log does not tell CUDA_VISIBLE_DEVICES, which may have given them different GPUs.
            together = None
            reason += " It is so unless CUDA_VISIBLE_DEVICES gave them different ones."
        severity = Severity.ERROR if together else Severity.WARNING
        found.append(_GPU_SHARED.finding(severity, f"GPU {names}", evidence, reason, remedy, str(next_free)))
    return found


def gpu_missing(group: Group) -> list[Finding]:
    """Finds GPUs that are not visible, or not in this host."""
    found: list[Finding] = []
    local: list[WorkerArguments] = []
    for worker in group.processes:
        names = gpus_of(worker)
        if any(name.startswith(">") for name in names):
            reason = f"{worker.name} counts past the GPUs that its variables leave visible."
            remedy = "Count --base-gpu-id from 0 among the visible GPUs, or name more of them."
            evidence = (_uses_gpus(worker),)
            found.append(_GPU_MISSING.finding(Severity.ERROR, worker.name, evidence, reason, remedy))
        elif names and group.here(worker):
            local.append(worker)
    if group.host is None:
        return found
    known = _known_gpus(group.host)
    absent = {worker.name: [name for name in gpus_of(worker) if not _is_known(name, known)] for worker in local}
    lacking = [worker for worker in local if absent[worker.name]]
    if lacking:
        names = ", ".join(dict.fromkeys(name for worker in lacking for name in absent[worker.name]))
        there = Evidence("GPUs of this host", ", ".join(sorted(known)) or "none")
        who = ", ".join(worker.name for worker in lacking)
        reason = f"GPU {names} is wanted by {who}, and this host does not have it."
        remedy = "Lower --tp-size or --base-gpu-id, or run it on another host."
        evidence = (*(_uses_gpus(worker) for worker in lacking), there)
        found.append(_GPU_MISSING.finding(Severity.ERROR, who, evidence, reason, remedy))
    return found


def _uses_gpus(worker: WorkerArguments) -> Evidence:
    return Evidence(worker.source, f"{worker.name}: GPUs {', '.join(gpus_of(worker))}")


def _known_gpus(host: Host) -> frozenset[str]:
    """Returns the numbers and UUIDs by which a process can name the host's GPUs."""
    readings = (reading for gpu in host.gpus.devices for reading in (gpu.cuda_index, gpu.nvml_index, gpu.uuid))
    return frozenset(str(reading.value) for reading in readings if reading.value is not None)


def _is_known(name: str, known: frozenset[str]) -> bool:
    # CUDA takes the beginning of a UUID, too.
    return name in known or (name.startswith(("GPU-", "MIG-")) and any(one.startswith(name) for one in known))


def gpu_order(group: Group) -> list[Finding]:
    """Finds GPUs named by number where CUDA's numbers are not those of nvidia-smi."""
    if group.host is None:
        return []
    differs = [
        gpu
        for gpu in group.host.gpus.devices
        if gpu.cuda_index.known and gpu.nvml_index.known and gpu.cuda_index.value != gpu.nvml_index.value
    ]
    named = [
        worker
        for worker in group.processes
        if group.here(worker)
        and worker.env.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID"
        and (worker.env.get("CUDA_VISIBLE_DEVICES", "")[:1].isdigit() or worker.number("base_gpu_id", 0))
    ]
    if not differs or not named:
        return []
    evidence = [
        Evidence(gpu.pci, f"CUDA {gpu.cuda_index}, nvidia-smi {gpu.nvml_index}, {gpu.name}") for gpu in differs[:4]
    ]
    reason = "GPUs are named by number, and CUDA's numbers differ from those of nvidia-smi here."
    remedy = "Set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name the GPUs by UUID in CUDA_VISIBLE_DEVICES."
    return [_GPU_ORDER.finding(Severity.WARNING, named[0].name, evidence, reason, remedy)]


def dp_without_attention(group: Group) -> list[Finding]:
    """Finds --dp-size without DP attention."""
    found: list[Finding] = []
    for worker in group.servers:
        dp = worker.number("dp_size", 1)
        if worker.engine is not Engine.SGLANG or dp < 2 or worker.number("attn_dp_size", 1) > 1:
            continue
        if not worker.is_on("enable_dp_attention"):
            nodes = worker.number("nnodes", 1)
            gpus = gpu_count(worker) * nodes
            version = version_of(worker)
            corrected = f"--attn-dp-size {dp}" if version >= ATTN_DP_SINCE else f"--dp-size {dp} --enable-dp-attention"
            # No host has more GPUs than that, and experts over ranks need DP attention.
            meant = gpus > _MOST_ON_A_NODE * nodes or worker.get("moe_a2a_backend", "none") != "none"
            severity = Severity.ERROR if meant else Severity.WARNING
            reason = f"{worker.name} asks for {gpus} GPUs: {dp} replicas of {gpus // dp}."
            remedy = f"For DP attention write {corrected}."
            if not version:
                remedy += f" From 0.5.22 on it is --attn-dp-size {dp}."
            evidence = (seen(worker, "tp_size"), seen(worker, "dp_size"))
            found.append(_DP.finding(severity, worker.name, evidence, reason, remedy, corrected))
    return found


def _named_devices(worker: WorkerArguments) -> dict[str, tuple[str, ...]]:
    """Returns the NICs that a worker names, by GPU; `*` for a list that is for all GPUs."""
    text = worker.get("disaggregation_ib_device") or worker.get("mooncake_ib_device")
    if not text or "$" in text or text.endswith(".json"):
        return {}
    mapping = read_json(text) if text.startswith("{") else None
    if text.startswith("{") and not isinstance(mapping, Mapping):
        # Another rule says that this is no JSON.
        return {}
    if isinstance(mapping, Mapping):
        return {str(gpu): _split(names) for gpu, names in mapping.items() if isinstance(names, str)}
    return {"*": _split(text)}


def _split(names: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))


def ib_device_unknown(group: Group) -> list[Finding]:
    """Finds names of RDMA devices that are not there, or are no names."""
    found: list[Finding] = []
    for worker in group.servers:
        names = list(dict.fromkeys(name for group_ in _named_devices(worker).values() for name in group_))
        wrong = [name for name in names if not _NAME.match(name)]
        available: list[str] = []
        if group.host is not None and group.here(worker) and group.host.rdma.known:
            available = [nic.name for nic in group.host.rdma.otherwise(())]
            wrong += [name for name in names if name not in available and name not in wrong]
        if not wrong or worker.env.get("MC_FORCE_TCP"):
            continue
        evidence = [seen(worker, "disaggregation_ib_device")]
        if group.host is not None and group.here(worker):
            evidence.append(Evidence(group.host.rdma.source, ", ".join(available) or "lists no device"))
        reason = f"{worker.name} names {', '.join(wrong)}, which is no RDMA device of this host, and will not start."
        remedy = "Name devices of /sys/class/infiniband without a port suffix, or leave the option out."
        found.append(_IB_UNKNOWN.finding(Severity.ERROR, worker.name, evidence, reason, remedy))
    return found


def ib_device_unusable(group: Group) -> list[Finding]:
    """Finds named RDMA devices that cannot carry KV."""
    if group.host is None:
        return []
    found: list[Finding] = []
    nics = {nic.name: nic for nic in group.host.rdma.otherwise(())}
    for worker in group.servers:
        if not group.here(worker):
            continue
        names = dict.fromkeys(name for group_ in _named_devices(worker).values() for name in group_)
        bad = [nics[name] for name in names if name in nics and nics[name].usable is False]
        if bad:
            evidence = [Evidence(nic.name, nic.why_not) for nic in bad]
            reason = f"{worker.name} names {', '.join(nic.name for nic in bad)}, which cannot carry KV."
            remedy = "Name usable NICs (`pdpanel topology` shows them), or repair what is said above."
            found.append(_IB_USABLE.finding(Severity.WARNING, worker.name, evidence, reason, remedy))
    return found


def ib_device_crosses_rails(group: Group) -> list[Finding]:
    """Finds one list of NICs for GPUs that have different NICs beside them."""
    if group.host is None or group.topology is None:
        return []
    found: list[Finding] = []
    for worker in group.servers:
        flat = _named_devices(worker).get("*", ())
        if len(flat) < 2 or not group.here(worker):
            continue
        near: dict[str, tuple[str, ...]] = {}
        base, step = worker.number("base_gpu_id", 0), worker.number("gpu_id_step", 1)
        for place, name in enumerate(gpus_of(worker)):
            for gpu in group.host.gpus.devices:
                if name in {str(gpu.cuda_index), str(gpu.uuid)}:
                    near[str(base + place * step)] = group.topology.ib_devices.get(gpu.pci, ())
        far = {gpu: [nic for nic in flat if nic not in nics] for gpu, nics in near.items() if nics}
        if not any(far.values()):
            continue
        corrected = json.dumps({gpu: ",".join(nics) for gpu, nics in near.items() if nics}, separators=(",", ":"))
        evidence = [seen(worker, "disaggregation_ib_device")]
        evidence += [Evidence(f"GPU {gpu}", f"near {', '.join(near[gpu])}") for gpu in list(far)[:8]]
        reason = f"Every GPU of {worker.name} may use every NIC of the list, also those behind another switch."
        remedy = f"Write --disaggregation-ib-device '{corrected}'."
        found.append(_IB_RAILS.finding(Severity.WARNING, worker.name, evidence, reason, remedy, corrected))
    return found


CHECKS: tuple[Check[Group], ...] = (
    Check(_GPU_SHARED, gpu_shared),
    Check(_GPU_MISSING, gpu_missing),
    Check(_GPU_ORDER, gpu_order),
    Check(_DP, dp_without_attention),
    Check(_IB_UNKNOWN, ib_device_unknown),
    Check(_IB_USABLE, ib_device_unusable),
    Check(_IB_RAILS, ib_device_crosses_rails),
)
