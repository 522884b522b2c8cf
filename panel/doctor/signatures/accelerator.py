"""What CUDA, its drivers and its libraries say, in an engine's log or the kernel's."""

from __future__ import annotations

from ....nic_probe.checks.check import Rule
from ....nic_probe.finding import Severity
from .signature import Signature, Speaker

__all__ = ["SIGNATURES"]

_NO_FILE = r": cannot open shared object file"

SIGNATURES = (
    Signature(
        Rule(
            "log-gpu-memory",
            "Out of GPU memory",
            "The GPU has no memory left for what was asked: another process holds some, prefill and decode share a "
            "GPU, or the share for weights and KV leaves too little for activations and CUDA graphs.",
            ("sgl-project/sglang#23627", "vllm-project/vllm#25850"),
        ),
        Speaker.TORCH,
        Severity.ERROR,
        ("out of memory", "outofmemoryerror", "alloc_failed", "cudaerrormemoryallocation"),
        r"(?:CUDA|HIP|NPU|XPU)(?: error:)? out of memory|(?:torch\.|cuda\.)OutOfMemoryError"
        r"|CU\w{2,12}_STATUS_ALLOC_FAILED"
        r"|cudaErrorMemoryAllocation|hipErrorOutOfMemory",
        "A GPU ran out of memory.",
        "See nvidia-smi for other processes, give each role its own GPUs, and lower --mem-fraction-static "
        "(vLLM: --gpu-memory-utilization).",
    ),
    Signature(
        Rule(
            "log-invalid-device",
            "A GPU number does not exist",
            "CUDA counts the GPUs that CUDA_VISIBLE_DEVICES leaves, NVML and nvidia-smi count all, and without "
            "CUDA_DEVICE_ORDER=PCI_BUS_ID their orders differ. --base-gpu-id counts in CUDA's way.",
            ("gpustack/gpustack#1633", "vllm-project/vllm#6582"),
        ),
        Speaker.TORCH,
        Severity.ERROR,
        ("invalid device",),
        r"invalid device ordinal|CUDA error: invalid device",
        "A GPU was named that the process does not see.",
        "Set CUDA_DEVICE_ORDER=PCI_BUS_ID, name GPUs by UUID in CUDA_VISIBLE_DEVICES, and count --base-gpu-id from 0 "
        "among them.",
    ),
    Signature(
        Rule(
            "log-no-gpu",
            "No GPU is visible",
            "The driver is missing or not loaded, the container was started without GPUs, or CUDA_VISIBLE_DEVICES "
            "hides them all.",
            ("NVIDIA container toolkit documentation",),
        ),
        Speaker.TORCH,
        Severity.ERROR,
        ("no cuda gpus", "no nvidia driver", "no cuda-capable device", "libcuda.so", "failed to infer device type"),
        r"No CUDA GPUs are available|Found no NVIDIA driver|no CUDA-capable device is detected|libcuda\.so[\w.]*"
        + _NO_FILE
        + r"|Failed to infer device type",
        "The process sees no GPU.",
        "Run nvidia-smi as the same user, and start the container with --gpus all.",
    ),
    Signature(
        Rule(
            "log-driver-old",
            "The NVIDIA driver is older than the CUDA runtime",
            "Each CUDA major version needs a driver of its age or newer.",
            ("CUDA documentation: compatibility",),
        ),
        Speaker.TORCH,
        Severity.ERROR,
        ("driver version is insufficient", "driver on your system is too old"),
        r"driver version is insufficient for CUDA runtime|NVIDIA driver on your system is too old",
        "The driver does not support this CUDA version.",
        "Install a newer driver, or the build of the engine for the CUDA version that nvidia-smi shows.",
    ),
    Signature(
        Rule(
            "log-gpu-arch",
            "The build has no code for this GPU",
            "Wheels carry kernels for some generations of GPUs alone.",
            ("sgl-project/sglang installation documentation",),
        ),
        Speaker.TORCH,
        Severity.ERROR,
        ("no kernel image is available", "is not compatible with the current pytorch"),
        r"no kernel image is available|is not compatible with the current PyTorch installation",
        "The installed build has no kernels for this GPU.",
        "Install the build for this GPU's compute capability.",
    ),
    Signature(
        Rule(
            "log-gpu-busy",
            "A GPU does not accept the process",
            "The GPU is in an exclusive compute mode, or another process holds it.",
            ("nvidia-smi documentation: compute mode",),
        ),
        Speaker.TORCH,
        Severity.ERROR,
        ("busy or unavailable",),
        r"CUDA-capable device\(s\) is/are busy or unavailable",
        "A GPU is busy or set to an exclusive mode.",
        "Run nvidia-smi -c 0, and see which processes hold the GPU.",
    ),
    Signature(
        Rule(
            "log-fabric-manager",
            "The NVSwitch fabric is not ready",
            "On HGX boards GPUs cannot be used before the fabric manager has set up the NVSwitches (CUDA error 802).",
            ("NVIDIA Fabric Manager documentation",),
        ),
        Speaker.TORCH,
        Severity.ERROR,
        ("system not yet initialized",),
        r"system not yet initialized",
        "The GPUs' NVSwitch fabric is not set up.",
        "Run systemctl start nvidia-fabricmanager, in the version of the driver.",
    ),
    Signature(
        Rule(
            "log-illegal-access",
            "A kernel touched memory that is not its own",
            "An illegal memory access ends every later call of the process. In PD serving a KV page that was freed "
            "while it was written is one cause, mismatched builds another.",
            ("sgl-project/sglang#15674",),
        ),
        Speaker.TORCH,
        Severity.ERROR,
        ("illegal memory access", "device-side assert"),
        r"illegal memory access was encountered|device-side assert triggered",
        "A GPU kernel failed; the process is of no use any more.",
        "Compare versions and arguments of prefill and decode; CUDA_LAUNCH_BLOCKING=1 shows the kernel.",
    ),
    Signature(
        Rule(
            "log-gpu-hardware",
            "A GPU reports an error of its hardware",
            "Xid lines in the kernel's log and uncorrectable errors come from the GPU itself or its links: 79 is a "
            "GPU that fell off the bus, 48, 63, 64 and 94 memory, 74 NVLink, 31 and 43 often a program's fault.",
            ("NVIDIA documentation: Xid errors",),
        ),
        Speaker.KERNEL,
        Severity.ERROR,
        ("xid", "uncorrectable"),
        r"NVRM: Xid \((?:PCI:)?(?P<gpu>[^)\n]{1,40})\): (?P<xid>\d+)|uncorrectable (?:ECC|NVLink) error",
        "GPU {gpu} reported Xid {xid}.",
        "Look the number up in NVIDIA's list of Xid errors; drain the node for 48, 63, 64, 74, 79, 94 or 95.",
    ),
    Signature(
        Rule(
            "log-cudart-missing",
            "Mooncake's wheel is for another CUDA major version",
            "The wheel mooncake-transfer-engine is built for CUDA 12, mooncake-transfer-engine-cuda13 for CUDA 13. "
            "The wrong one, or the CUDA build on a host without CUDA, does not find libcudart.",
            (
                "kvcache-ai/Mooncake#1298",
                "kvcache-ai/Mooncake#967",
                "kvcache-ai/Mooncake#3314",
                "vllm-project/vllm#42511",
            ),
        ),
        Speaker.PYTHON,
        Severity.ERROR,
        ("libcudart",),
        r"libcudart\.so\.(?P<major>\d+)[\d.]*" + _NO_FILE,
        "A library wants CUDA {major}, which is not installed here.",
        "Install mooncake-transfer-engine for CUDA 12, mooncake-transfer-engine-cuda13 for CUDA 13, or "
        "mooncake-transfer-engine-non-cuda without a GPU; one of them alone.",
    ),
    Signature(
        Rule(
            "log-verbs-library",
            "The user libraries of RDMA are missing",
            "The kernel lists the NICs, but without libibverbs and the library of the NIC's vendor a process finds "
            "none, and says so only once, if at all.",
            ("kvcache-ai/Mooncake#3121",),
        ),
        Speaker.KERNEL,
        Severity.ERROR,
        ("libibverbs", "libmlx5", "device-specific driver", "librdmacm", "rdmav"),
        r"(?P<library>lib(?:ibverbs|mlx\d|rdmacm|efa|erdma|bnxt_re)[\w.+-]{0,40})"
        + _NO_FILE
        + r"|libibverbs: Warning: couldn't (?:load|open)|no userspace device-specific driver found",
        "A user library of RDMA is missing ({library}), so NICs are not found.",
        "Install libibverbs1 and ibverbs-providers (Debian, Ubuntu) or libibverbs (Fedora, Rocky), also in the "
        "container.",
    ),
    Signature(
        Rule(
            "log-library-missing",
            "A shared library is missing",
            "A wheel wants a library that the system lacks. For Mooncake the remedy of its documentation is to build "
            "it from source.",
            ("Mooncake documentation: installation",),
        ),
        Speaker.PYTHON,
        Severity.ERROR,
        ("cannot open shared object file", "undefined symbol", "not found (required by"),
        r"(?P<library>[\w.+-]{1,80}\.so[\w.]{0,20})" + _NO_FILE + r"|undefined symbol: (?P<library_2>\w{1,200})"
        r"|version `(?P<library_3>[\w.]{1,40})' not found",
        "A library cannot be loaded ({library}).",
        "Install the system package that has it; for Mooncake: pip uninstall mooncake-transfer-engine and build from "
        "source.",
    ),
)
