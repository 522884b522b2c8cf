"""Checks of the way from a GPU's memory to an RDMA NIC without a copy through the host."""

from __future__ import annotations

import re

from ..finding import Evidence, Finding, Severity
from ..gpus.gpu import Vendor
from .check import Check, Rule
from .evidence import in_bytes, listed, seen, variable
from .view import HostView

__all__ = ["CHECKS"]

_DMA_BUF_KERNEL = (5, 12)
_PEERMEM = ("nvidia_peermem", "nv_peer_mem")
_SETTING = "WITH_NVIDIA_PEERMEM"
_OFF = ("0", "false", "off", "no")
_GIB = 1 << 30

_MISSING = Rule(
    "gpudirect-missing",
    "Whether NICs can reach the memory of NVIDIA GPUs (nvidia_peermem or dma-buf)",
    "A NIC reads a GPU's memory either through the module nvidia_peermem, or through dma-buf, for which NVIDIA's open "
    "kernel modules and Linux 5.12 are needed. With neither, registering the KV pool fails with Bad address [14] or "
    "Invalid argument [22], and no request gets through.",
    ("sgl-project/sglang#6193", "sgl-project/sglang#6894", "kvcache-ai/Mooncake#281", "kvcache-ai/Mooncake#351"),
)
_CONTRADICTION = Rule(
    "peermem-setting",
    "WITH_NVIDIA_PEERMEM against what the host has",
    "Mooncake registers GPU memory through nvidia_peermem unless WITH_NVIDIA_PEERMEM=0 tells it to use dma-buf. Its "
    "documentation states the opposite default, so set the variable. When what it asks for is not there, opening the "
    "NIC fails: DMA BUF supported required for GPU RDMA without nvidia-peermem, then No available RNIC.",
    ("kvcache-ai/Mooncake#3538", "kvcache-ai/Mooncake#281", "sgl-project/sglang#6193"),
)
_AMD = Rule(
    "amd-peer-memory",
    "Kernel options by which NICs reach the memory of AMD GPUs",
    "HIP exports GPU memory to NICs as dma-buf, for which the kernel needs CONFIG_PCI_P2PDMA and "
    "CONFIG_DMABUF_MOVE_NOTIFY. Without them registering the KV pool fails.",
    ("kvcache-ai/Mooncake#751", "ROCm: MI300X system optimization"),
)
_BAR1 = Rule(
    "bar1-small",
    "The window through which NICs reach a GPU's memory (BAR1)",
    "A NIC maps GPU memory through the BAR1 window. Where it is smaller than the memory, as on consumer GPUs (256 "
    "MiB), a KV pool does not fit and its registration fails.",
    ("NVIDIA: GPUDirect RDMA, BAR sizes", "sgl-project/sglang#7118"),
)
_GDRDRV = Rule(
    "gdrdrv-missing",
    "The module for small copies to and from a GPU (gdrdrv)",
    "UCX, and NIXL over it, copy small messages through gdrcopy when its module is loaded, and through slower CUDA "
    "copies otherwise. Mooncake does not use it.",
    ("NVIDIA/gdrcopy",),
)


def gpudirect_missing(view: HostView) -> list[Finding]:
    """Finds a host on which neither way exists, or on which nobody can tell."""
    if not _concerned(view):
        return []
    peermem, dma_buf = _peermem(view), _dma_buf(view)
    if peermem is not False or dma_buf:
        return []
    subject = f"{listed(gpu.pci for gpu in view.nvidia_gpus)} to {listed(nic.name for nic in view.chosen_nics)}"
    return [
        _MISSING.finding(
            Severity.ERROR if dma_buf is False else Severity.WARNING,
            subject,
            [*_peermem_evidence(view), *_dma_buf_evidence(view)],
            "NICs cannot reach the GPUs' memory, so registering the KV pool fails with Bad address [14] "
            "(sgl-project/sglang#6193, kvcache-ai/Mooncake#281)."
            if dma_buf is False
            else "nvidia_peermem is not loaded, and whether dma-buf works is not known; without both the KV pool "
            "cannot be registered (sgl-project/sglang#6193).",
            "sudo modprobe nvidia_peermem; `echo nvidia_peermem > /etc/modules-load.d/peermem.conf` keeps it. "
            "Without it: install NVIDIA's open kernel modules and export WITH_NVIDIA_PEERMEM=0, or export "
            "MC_FORCE_TCP=1.",
            "nvidia_peermem",
        )
    ]


def peermem_setting(view: HostView) -> list[Finding]:
    """Compares the setting with what is there; only one of the two ways is looked at here."""
    if not _concerned(view):
        return []
    peermem, dma_buf = _peermem(view), _dma_buf(view)
    text = view.environ.get(_SETTING)
    wants_peermem = text is None or text.strip().lower() not in _OFF
    set_to = variable(_SETTING, text) if text is not None else Evidence("environment", f"{_SETTING} is not set")
    if wants_peermem and peermem is False and dma_buf:
        return [
            _CONTRADICTION.finding(
                Severity.WARNING if text is None else Severity.ERROR,
                _SETTING,
                [set_to, *_peermem_evidence(view), *_dma_buf_evidence(view)],
                "Mooncake asks nvidia_peermem for GPU memory, which is not loaded, while dma-buf would work: "
                "Bad address [14] (kvcache-ai/Mooncake#281).",
                f"export {_SETTING}=0, or sudo modprobe nvidia_peermem",
                "0",
            )
        ]
    if not wants_peermem and dma_buf is False:
        return [
            _CONTRADICTION.finding(
                Severity.ERROR,
                _SETTING,
                [set_to, *_dma_buf_evidence(view), *_peermem_evidence(view)],
                "Mooncake is told to use dma-buf, which this host does not have: DMA BUF supported required for GPU "
                "RDMA without nvidia-peermem (kvcache-ai/Mooncake#3538).",
                f"export {_SETTING}=1" + ("" if peermem else "; sudo modprobe nvidia_peermem"),
                "1",
            )
        ]
    return []


def amd_peer_memory(view: HostView) -> list[Finding]:
    """Finds a kernel that was built without what AMD GPUs need."""
    options = view.state.kernel.options
    amd = [gpu for gpu in view.host.gpus.devices if gpu.vendor is Vendor.AMD]
    lacking = [name for name, value in options.otherwise({}).items() if value == "n"]
    if not amd or not view.active_nics or not lacking:
        return []
    return [
        _AMD.finding(
            Severity.WARNING,
            listed(lacking),
            [seen(options, f"{name} is not set") for name in lacking],
            "The kernel gives NICs no memory of AMD GPUs by dma-buf, so registering the KV pool fails "
            "(kvcache-ai/Mooncake#751).",
            "Boot a kernel with CONFIG_PCI_P2PDMA=y and CONFIG_DMABUF_MOVE_NOTIFY=y, or export MC_FORCE_TCP=1.",
        )
    ]


def bar1_small(view: HostView) -> list[Finding]:
    """Compares each GPU's window with its memory."""
    small = [
        gpu
        for gpu in view.nvidia_gpus
        if (window := gpu.health.bar1_total_bytes.value) is not None
        and window < min(gpu.memory_total_bytes.otherwise(0) // 2, 8 * _GIB)
    ]
    if not small or not view.active_nics:
        return []
    return [
        _BAR1.finding(
            Severity.WARNING,
            listed(gpu.pci for gpu in small),
            [
                seen(gpu.health.bar1_total_bytes, f"{gpu.pci}: {in_bytes(gpu.health.bar1_total_bytes.value)}")
                for gpu in small
            ],
            "NICs reach only a small window of these GPUs' memory, too small for a KV pool.",
            "Turn on Resizable BAR and Above 4G Decoding in the firmware, or export MC_FORCE_TCP=1.",
        )
    ]


def gdrdrv_missing(view: HostView) -> list[Finding]:
    """Reports the optional module where GPUs and NICs are."""
    modules = view.state.kernel.modules
    if not _concerned(view) or not _listed(view) or "gdrdrv" in modules.otherwise({}):
        return []
    return [
        _GDRDRV.finding(
            Severity.INFO,
            "gdrdrv",
            [seen(modules, "gdrdrv is not loaded")],
            "Small copies of UCX and NIXL take the slower way; Mooncake does not need the module.",
            "Install gdrdrv-dkms, then sudo modprobe gdrdrv.",
        )
    ]


def _concerned(view: HostView) -> bool:
    """EFA has a way of its own, which its driver brings."""
    return bool(view.nvidia_gpus) and any(nic.driver.value != "efa" for nic in view.active_nics)


def _listed(view: HostView) -> bool:
    """True when the list of modules would show what is loaded: it has the GPU's own driver."""
    return "nvidia" in view.state.kernel.modules.otherwise({})


def _peermem(view: HostView) -> bool | None:
    if any(name in view.state.kernel.modules.otherwise({}) for name in _PEERMEM):
        return True
    return False if _listed(view) else None


def _dma_buf(view: HostView) -> bool | None:
    """True when the kernel, the driver and every GPU that tells can do it; None when nobody tells."""
    kernel = _kernel(view)
    if kernel is not None and kernel < _DMA_BUF_KERNEL:
        return False
    said = [gpu.health.dma_buf.value for gpu in view.nvidia_gpus if gpu.health.dma_buf.known]
    is_open = view.state.kernel.nvidia_open.value
    if False in said or is_open is False:
        return False
    return True if kernel is not None and (said or is_open) else None


def _kernel(view: HostView) -> tuple[int, int] | None:
    match = re.match(r"(\d{1,3})\.(\d{1,4})", view.host.kernel.otherwise(""), re.ASCII)
    return (int(match[1]), int(match[2])) if match else None


def _peermem_evidence(view: HostView) -> list[Evidence]:
    modules = view.state.kernel.modules
    loaded = [name for name in _PEERMEM if name in modules.otherwise({})]
    text = f"{loaded[0]} {modules.otherwise({})[loaded[0]]}".strip() if loaded else "nvidia_peermem is not loaded"
    return [seen(modules, text if modules.known else "")]


def _dma_buf_evidence(view: HostView) -> list[Evidence]:
    is_open = view.state.kernel.nvidia_open
    driver = "" if is_open.value is None else f"{'open' if is_open.value else 'proprietary'} kernel modules"
    said = [gpu.health.dma_buf for gpu in view.nvidia_gpus if gpu.health.dma_buf.known]
    evidence = [seen(view.host.kernel, f"Linux {view.host.kernel}"), seen(is_open, driver)]
    return evidence + [
        seen(reading, f"dma-buf {'supported' if reading.value else 'not supported'}") for reading in said[:1]
    ]


CHECKS: tuple[Check[HostView], ...] = (
    Check(_MISSING, gpudirect_missing),
    Check(_CONTRADICTION, peermem_setting),
    Check(_AMD, amd_peer_memory),
    Check(_BAR1, bar1_small),
    Check(_GDRDRV, gdrdrv_missing),
)
