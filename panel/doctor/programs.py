"""Which programs a deployment is made of, where one begins in a command, and what its options are called. Pure data.

Called by `command`. A program is a module of Python, a console script, a script file of an example, or the entry point
of an image.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from .worker import Engine, WorkerRole

__all__ = ["PROGRAMS", "canonical", "find_program", "fragment_program"]

# module or program: (engine, role); the role of a worker is in its arguments.
PROGRAMS: Mapping[str, tuple[Engine, WorkerRole]] = {
    "sglang.launch_server": (Engine.SGLANG, WorkerRole.UNIFIED),
    "sglang serve": (Engine.SGLANG, WorkerRole.UNIFIED),
    "sglang.srt.disaggregation.mini_lb": (Engine.SGLANG, WorkerRole.ROUTER),
    "sglang.srt.disaggregation.launch_lb": (Engine.SGLANG, WorkerRole.ROUTER),
    "sglang_router.launch_router": (Engine.SGLANG, WorkerRole.ROUTER),
    "sglang-router": (Engine.SGLANG, WorkerRole.ROUTER),
    "smg launch": (Engine.SGLANG, WorkerRole.ROUTER),
    "amg launch": (Engine.SGLANG, WorkerRole.ROUTER),
    "vllm serve": (Engine.VLLM, WorkerRole.UNIFIED),
    "vllm.entrypoints.openai.api_server": (Engine.VLLM, WorkerRole.UNIFIED),
    "vllm.entrypoints.cli.main serve": (Engine.VLLM, WorkerRole.UNIFIED),
    "vllm-router": (Engine.VLLM, WorkerRole.ROUTER),
    "mooncake_connector_proxy.py": (Engine.VLLM, WorkerRole.ROUTER),
    "vllm_v1_proxy_server.py": (Engine.VLLM, WorkerRole.ROUTER),
    "mooncake.vllm_v1_proxy_server": (Engine.VLLM, WorkerRole.ROUTER),
    "toy_proxy_server.py": (Engine.VLLM, WorkerRole.ROUTER),
    "proxy_server.py": (Engine.VLLM, WorkerRole.ROUTER),
    "disagg_prefill_proxy_server.py": (Engine.VLLM, WorkerRole.ROUTER),
    "load_balance_proxy_server_example.py": (Engine.VLLM, WorkerRole.ROUTER),
    "pdpanel.engine.launch_server": (Engine.BUNDLED, WorkerRole.UNIFIED),
    "pdpanel.engine.launch_router": (Engine.BUNDLED, WorkerRole.ROUTER),
    "etcd": (Engine.OTHER, WorkerRole.METADATA),
    "mooncake_http_metadata_server": (Engine.OTHER, WorkerRole.METADATA),
    "mooncake.http_metadata_server": (Engine.OTHER, WorkerRole.METADATA),
    "mooncake_master": (Engine.OTHER, WorkerRole.STORE),
}
_IMAGES = (("vllm/vllm-openai", "vllm serve"), ("vllm/vllm-openai-rocm", "vllm serve"))
_PYTHON = re.compile(r"(?:.*/)?python[\d.]*$")
_NAMING = frozenset({"-p", "--name", "pkill", "-f", "killall", "-x"})

# Other spellings of an argument, by engine.
_SGLANG_NAMES = {
    "model": "model_path",
    "tp": "tp_size",
    "tensor_parallel_size": "tp_size",
    "pp": "pp_size",
    "pipeline_parallel_size": "pp_size",
    "dp": "dp_size",
    "data_parallel_size": "dp_size",
    "attention_data_parallel_size": "attn_dp_size",
    "nccl_init_addr": "dist_init_addr",
    "mamba_ssm_cache_dtype": "mamba_ssm_dtype",
}
_VLLM_NAMES = {
    "model": "model_path",
    "model_tag": "model_path",
    "tp": "tp_size",
    "tensor_parallel_size": "tp_size",
    "pp": "pp_size",
    "pipeline_parallel_size": "pp_size",
    "dp": "dp_size",
    "data_parallel_size": "dp_size",
    "block_size": "page_size",
    "max_model_len": "context_length",
    "max_seq_len": "context_length",
    "mamba_ssm_cache_dtype": "mamba_ssm_dtype",
    "mamba_cache_dtype": "mamba_conv_dtype",
    "gpu_memory_utilization": "mem_fraction_static",
    "max_num_seqs": "max_running_requests",
}
# Options by which a router, and a server of vLLM, is known where the program is not written.
_ROUTER_OPTIONS = frozenset(
    {
        *("pd-disaggregation", "prefill", "decode", "worker-urls", "policy", "prefill-policy", "decode-policy"),
        *("mini-lb", "prometheus-port", "cache-threshold", "service-discovery", "dp-aware"),
    }
)
_VLLM_OPTIONS = frozenset(
    {
        *("kv-transfer-config", "max-model-len", "gpu-memory-utilization", "block-size", "max-num-seqs"),
        *("max-num-batched-tokens", "enforce-eager", "tensor-parallel-size", "data-parallel-size"),
        *("enable-expert-parallel", "ec-transfer-config"),
    }
)


def canonical(engine: Engine, name: str) -> str:
    """Returns the name under which an engine's argument is compared."""
    plain = name.lstrip("-").replace("-", "_")
    return (_VLLM_NAMES if engine is Engine.VLLM else _SGLANG_NAMES).get(plain, plain)


def fragment_program(options: Sequence[str]) -> str:
    """Returns the program that options without one most likely belong to."""
    if any(name in _ROUTER_OPTIONS for name in options):
        return "sglang_router.launch_router"
    if any(name in _VLLM_OPTIONS for name in options):
        return "vllm serve"
    return "sglang.launch_server"


def find_program(words: list[str]) -> tuple[int, str, list[str]]:
    """Returns where the program begins, its name and its arguments."""
    for place, word in enumerate(words):
        following = words[place + 1] if place + 1 < len(words) else ""
        if _PYTHON.match(word):
            module, after = _python_program(words, place + 1)
            subcommand = words[after] if after < len(words) else ""
            for known, start in ((module, after), (f"{module} {subcommand}", after + 1)):
                if known in PROGRAMS:
                    return place, known, words[start:]
        base = word.rpartition("/")[2]
        if f"{base} {following}" in PROGRAMS:
            return place, f"{base} {following}", words[place + 2 :]
        # A word of prose, or the name that pkill or docker is given, has no option behind it.
        if base in PROGRAMS and "." not in base and (not place or words[place - 1] not in _NAMING):
            if not following or following.startswith("-"):
                return place, base, words[place + 1 :]
        if base.endswith(".py") and base in PROGRAMS:
            return place, base, words[place + 1 :]
        for image, program in _IMAGES:
            if following.startswith("-") and word.split(":")[0].endswith(image):
                return place + 1, program, words[place + 1 :]
    return len(words), "", []


def _python_program(words: list[str], place: int) -> tuple[str, int]:
    """Returns what an interpreter runs, and the place of its first argument; `place` is behind the interpreter."""
    while place < len(words):
        word = words[place]
        if word == "-m" and place + 1 < len(words):
            return words[place + 1], place + 2
        if word in {"-X", "-W"}:
            place += 2
        elif word.startswith("-") and word != "-":
            place += 1
        else:
            return word.rpartition("/")[2], place + 1
    return "", len(words)
