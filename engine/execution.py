"""Which path a worker computes on: native kernels on a CPU that has vectors, else torch.

The one place that weighs host, model and arguments; what it chose and why is said once, in the log and /server_info.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from .config import ServerConfig
from .model.executor import Executor
from .model.llama import Llama
from .model.progress import OnProgress, no_progress
from .model.shape import ModelShape
from .model.weights import load_weights

__all__ = ["AUTO_KV_DTYPE", "DTYPES", "open_cpu_executor"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""By the names of `--dtype`."""

AUTO_KV_DTYPE = "bfloat16"
"""KV in bfloat16 halves memory and wire at little cost in attention (docs/architecture.md has the measurements)."""

# Prompts in fp32 are 1.5 to 4 times as fast on a CPU as bfloat16 ones without a BF16 instruction set.
_AUTO_DTYPE = "float32"


def open_cpu_executor(
    config: ServerConfig,
    shape: ModelShape,
    directory: Path,
    context_length: int,
    cache_dir: Path,
    on_progress: OnProgress = no_progress,
) -> Executor:
    """Returns what computes the model on this CPU.

    Packed weights are read with `--quantization auto` unless `--dtype` names a type: then, and with `none`, torch
    computes in that type, or in float32.

    Args:
        config: `kv_cache_dtype` is resolved.
        directory: the converted model.
        context_length: positions to prepare rope for.
        cache_dir: where compiled kernels are kept.
        on_progress: told of weights that are packed first.

    Raises:
        ConfigError: the weights are damaged.
    """
    weights = load_weights(directory, shape, DTYPES[_AUTO_DTYPE if config.dtype == "auto" else config.dtype])
    why = _why_torch(config, shape)
    if not why:
        from .native.executor import NativeLlama, heads_of
        from .native.library import open_library
        from .native.machine import open_machine
        from .native.packing import load_packed

        packed = load_packed(directory, config.quantization, on_progress)
        library = open_library(open_machine(), heads_of(shape), config.kv_cache_dtype, cache_dir)
        threads = config.threads or torch.get_num_threads()
        # The kernels have threads of their own. Those of torch would spin for milliseconds behind each of the small
        # operations that are left to it, such as the choice of a token, on a core that the next step needs.
        torch.set_num_threads(1)
        return NativeLlama(
            shape,
            weights,
            packed,
            library,
            context_length=context_length,
            threads=threads,
            niceness=config.niceness,
        )
    if config.threads:
        torch.set_num_threads(config.threads)
    executor = Llama(shape, weights, context_length)
    executor.info = replace(executor.info, reason=why)
    return executor


def _why_torch(config: ServerConfig, shape: ModelShape) -> str:
    """Returns why torch computes; empty when the native kernels do."""
    if config.quantization == "none":
        return "--quantization none asks for weights as they are"
    if config.quantization == "auto" and config.dtype != "auto":
        return f"--dtype {config.dtype} asks for weights of that type"
    if config.dtype not in ("auto", "float32"):
        return f"the native kernels compute in float32, and --dtype {config.dtype} is given"
    try:
        from .native.machine import open_machine
    except ImportError as error:
        return f"llvmlite cannot be imported ({error}); install it for faster kernels"
    from .native.packing import why_not

    machine = open_machine()
    if not machine.has_vectors:
        return f"this CPU ({machine.name}) has no AVX2 with FMA, or NEON"
    if problem := why_not(shape):
        return f"the native kernels cannot compute this model: {problem}"
    return ""
