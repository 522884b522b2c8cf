"""Opens what a worker has on a GPU: weights, executor, KV memory, CUDA graphs.

`loading` calls `open_gpu` once, after the transport, which registers the staging pages. What a GPU lacks is an error
with a remedy where nothing works without it, else a slower path with its reason in `ExecutorInfo`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch

from ..config import Mode, ServerConfig
from ..errors import ConfigError, TransferError
from ..execution import DTYPES
from ..kv import KVCache, bounce_pages_of
from ..log import record
from ..model.executor import TokenSpan
from ..model.llama import Llama
from ..model.shape import ModelShape
from ..model.weights import load_weights
from ..transfer.select import SHARED_MEMORY, Selection
from .batch_attention import find_flash
from .device import Gpu, TorchGpu
from .executor import CudaExecutor
from .memory import kv_pages
from .paged_attention import PagedAttention, why_no_triton
from .staging import staged_notice, why_on_the_host

__all__ = ["GpuParts", "open_cuda_executor", "open_gpu"]

# Of the host's free memory, what the staging pages of one worker may pin.
_HOST_SHARE = 0.25
_MOST_SHOWN = 200


@dataclass(frozen=True, slots=True)
class GpuParts:
    """What a worker has on a GPU.

    Attributes:
        config: as given, with device, dtypes and `max_total_tokens` resolved.
        staged: why the KV passes through the host's memory, for people; empty when it does not.
    """

    config: ServerConfig
    executor: CudaExecutor
    kv: KVCache
    staged: str


def open_gpu(
    config: ServerConfig,
    shape: ModelShape,
    weights_dir: Path,
    device: torch.device,
    selection: Selection | None,
    gpu: Gpu | None = None,
) -> GpuParts:
    """Loads a model, takes the KV memory, registers its staging pages with the transport and warms everything up.

    Args:
        weights_dir: of the converted model.
        device: as `device_of` returns it.
        selection: the transport; None on a unified worker.

    Raises:
        ConfigError: the GPU's memory does not suffice, or the weights are asked for in a format that it has not.
        TransferError: the transport takes no staging memory at all.
    """
    gpu = gpu or TorchGpu(device)
    config = _resolved(config, gpu)
    executor = open_cuda_executor(config, shape, weights_dir, gpu)
    with _memory_errors(config, gpu):
        config, kv, staged = _open_kv(config, shape, gpu, selection)
        with torch.inference_mode(), gpu.chosen():
            _warm_up(executor, kv, gpu)
    executor.decode_here(ahead=not config.disable_overlap_schedule)
    if not config.disable_cuda_graph and config.disaggregation_mode is not Mode.PREFILL:
        _record(executor, kv, config, gpu)
    if selection is not None:
        level = logging.WARNING if staged else logging.INFO
        record("staging", level=level, memory="host" if staged else "gpu", reason=staged)
    return GpuParts(config, executor, kv, staged)


def open_cuda_executor(config: ServerConfig, shape: ModelShape, weights_dir: Path, gpu: Gpu) -> CudaExecutor:
    """Returns the executor with its weights on the GPU, and no graphs yet.

    Args:
        config: with dtypes that are not auto.

    Raises:
        ConfigError: the weights do not fit into the GPU's memory.
    """
    longest = min(config.context_length or shape.context_length, shape.context_length)
    most, reason, paged = config.max_running_requests, why_no_triton(), None
    with _memory_errors(config, gpu):
        model = Llama(shape, load_weights(weights_dir, shape, DTYPES[config.dtype], gpu.device), longest)
        if not reason:
            paged = PagedAttention(shape, page_size=config.page_size, most_rows=most, device=gpu.device)
    return CudaExecutor(
        model,
        gpu.device,
        page_size=config.page_size,
        longest=longest,
        paged=paged,
        most_rows=most,
        flash=find_flash() if DTYPES[config.kv_cache_dtype].itemsize == 2 else None,
        reason=reason,
    )


def _resolved(config: ServerConfig, gpu: Gpu) -> ServerConfig:
    """Returns the configuration with device and dtypes resolved: 16 bits, and the KV as the weights."""
    if config.quantization not in ("auto", "none"):
        problem = "a GPU computes with weights of 16 bits or 32"
        raise ConfigError("--quantization", config.quantization, problem, "leave it out, or use --device cpu")
    dtype = config.dtype
    if dtype == "auto":
        dtype = "bfloat16" if gpu.has_bfloat16 else "float16"
    kv_dtype = dtype if config.kv_cache_dtype == "auto" else config.kv_cache_dtype
    return replace(config, device="cuda", dtype=dtype, kv_cache_dtype=kv_dtype)


def _open_kv(
    config: ServerConfig, shape: ModelShape, gpu: Gpu, selection: Selection | None
) -> tuple[ServerConfig, KVCache, str]:
    """Returns the configuration with the pool's size, the memory, and why staging pages lie on the host."""
    why = "" if selection is None else why_on_the_host(selection.endpoint.kind)
    if selection is not None and not why:
        sized = _sized(config, shape, gpu, copies=2, on_host=False)
        kv = _kv(sized, shape, gpu, selection, staged_on=gpu.device)
        try:
            _register(kv, selection)
            return sized, kv, ""
        except TransferError as error:
            why = str(error).removesuffix(".")
        del kv  # here, where the error's frames hold it no longer
    config = _sized(config, shape, gpu, copies=1, on_host=selection is not None)
    kv = _kv(config, shape, gpu, selection, staged_on=None)
    if selection is not None:
        _register(kv, selection)
    return config, kv, staged_notice(why)


def _register(kv: KVCache, selection: Selection) -> None:
    selection.endpoint.register(kv.staging_address, kv.staging_bytes, kv.staging_file)


def _sized(config: ServerConfig, shape: ModelShape, gpu: Gpu, *, copies: int, on_host: bool) -> ServerConfig:
    if not config.sized_by_memory:
        return config
    gpu.release()
    pages = kv_pages(
        gpu.memory(),
        fraction=config.mem_fraction_static,
        page_bytes=shape.kv_bytes_per_token(DTYPES[config.kv_cache_dtype].itemsize) * config.page_size,
        copies=copies,
        host_bytes=int(psutil.virtual_memory().available * _HOST_SHARE) if on_host else None,
    )
    if copies > 1 and config.disaggregation_mode is Mode.PREFILL:
        pages -= -(-bounce_pages_of(pages) // copies)
    return replace(config, max_total_tokens=pages * config.page_size)


def _kv(
    config: ServerConfig, shape: ModelShape, gpu: Gpu, selection: Selection | None, staged_on: torch.device | None
) -> KVCache:
    pages = config.max_total_tokens // config.page_size
    return KVCache(
        shape,
        pages=pages,
        page_size=config.page_size,
        dtype=DTYPES[config.kv_cache_dtype],
        staging=selection is not None,
        shared=selection is not None and selection.endpoint.kind in SHARED_MEMORY,
        device=gpu.device,
        staged_on=staged_on,
        spare_pages=1,
        bounce_pages=bounce_pages_of(pages) if config.disaggregation_mode is Mode.PREFILL else 0,
    )


def _warm_up(executor: CudaExecutor, kv: KVCache, gpu: Gpu) -> None:
    """Runs a prompt and a token through slot 0; kernels that do not run here are done without."""
    executor.forward([TokenSpan([0] * 8, 0, 0, logits=True)], kv)
    gpu.wait()
    token = [TokenSpan([0], 8, 0, logits=True)]
    try:
        executor.forward(token, kv)
        gpu.wait()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # Triton's many: no compiler for C on this host, a GPU that it does not know
        executor.without_kernels(f"Triton's kernels do not run here: {' '.join(str(error).split())[:_MOST_SHOWN]}")
        executor.forward(token, kv)
        gpu.wait()


def _record(executor: CudaExecutor, kv: KVCache, config: ServerConfig, gpu: Gpu) -> None:
    """Records the graphs; a GPU without the memory for them decodes without."""
    most = min(config.cuda_graph_max_bs or config.max_running_requests, config.max_running_requests)
    try:
        with torch.inference_mode(), gpu.chosen():
            executor.record(kv, gpu.recorder(), most)
    except torch.OutOfMemoryError:
        gpu.release()
        executor.explain("the GPU has no memory left for them: lower --mem-fraction-static or --cuda-graph-max-bs")


@contextmanager
def _memory_errors(config: ServerConfig, gpu: Gpu) -> Iterator[None]:
    """Turns torch's error into words."""
    try:
        yield
    except torch.OutOfMemoryError:
        memory = gpu.memory()
        left = f"{memory.free >> 20} of {memory.total >> 20} MiB"
        problem = f"{memory.name} has {left} left, too little for weights and KV"
        remedy = "end what else uses the GPU, lower it, or serve a smaller model"
        raise ConfigError("--mem-fraction-static", config.mem_fraction_static, problem, remedy) from None
