"""What a benchmark ran on: processor, memory, and the versions of what is compared. Reads, and imports no peer."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

__all__ = ["PEERS", "describe_machine", "isa_of", "machine_text", "model_name"]

PEERS = (
    "transformers",
    "ik-llama-cpp-python",
    "xllamacpp",
    "sglang-router",
    "smg",
    "mooncake-transfer-engine",
    "mooncake-transfer-engine-non-cuda",
    "mooncake-transfer-engine-cuda13",
    "nixl-cu12",
)
"""Packages that a suite may compare with, as `pip` names them."""

# What decides how fast a model computes on a processor, as Linux names it (x86, then ARM).
_ISA = (
    *("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve", "sve2"),
)
_CPUINFO, _NVIDIA = Path("/proc/cpuinfo"), Path("/proc/driver/nvidia/gpus")


def model_name(cpuinfo: str) -> str:
    """Returns the processor's name from the text of /proc/cpuinfo; the architecture where none is given."""
    return _field(cpuinfo, "model name") or _field(cpuinfo, "Processor") or platform.machine()


def isa_of(cpuinfo: str) -> list[str]:
    """Returns the instruction sets that matter here, from the text of /proc/cpuinfo."""
    found = set((_field(cpuinfo, "flags") or _field(cpuinfo, "Features")).split())
    return [name for name in _ISA if name in found]


def _field(cpuinfo: str, name: str) -> str:
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _gpus(folder: Path) -> list[str]:
    """Returns the names of NVIDIA's GPUs, as their driver tells them."""
    found: list[str] = []
    for path in sorted(folder.glob("*/information")):
        try:
            found.append(_field(path.read_text(encoding="utf-8", errors="replace"), "Model") or "a GPU")
        except OSError:
            continue
    return found


def describe_machine() -> dict[str, object]:
    """Returns the machine as plain JSON values; `busy` is the load average of the last minute over the cores."""
    try:
        cpuinfo = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        cpuinfo = ""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = {name: installed for name in PEERS if (installed := _version(name))}
    return {
        "cpu": model_name(cpuinfo),
        "cores": cores,
        "isa": isa_of(cpuinfo),
        "gpus": _gpus(_NVIDIA),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "busy": round(os.getloadavg()[0] / cores, 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": _version("torch"),
        "pdpanel": _version("pdpanel"),
        "peers": found,
    }


def machine_text(machine: Mapping[str, object]) -> str:
    """Returns it in one sentence for people."""
    isa, peers, gpus = machine["isa"], machine["peers"], machine.get("gpus", [])
    assert isinstance(isa, list)
    assert isinstance(peers, dict)
    assert isinstance(gpus, list)
    versions = ", ".join(f"{name} {found}" for name, found in peers.items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(map(str, isa))}), {machine['memory_gib']} GiB, "
        f"{''.join(f'{gpu}, ' for gpu in gpus)}"
        f"load {machine['busy']} a core at the start, {machine['system']}, Python {machine['python']}, "
        f"torch {machine['torch']}, pdpanel {machine['pdpanel']}" + (f", {versions}" if versions else "")
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
