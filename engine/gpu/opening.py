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
from ..kv import KVCache
from ..log import record
from ..model.executor import TokenSpan
from ..model.llama import Llama
from ..model.shape import ModelShape
from ..model.weights import load_weights
from ..transfer.select import SHARED_MEMORY, Selection
from .batch_attention import find_flash
from .executor import CudaExecutor
from .graphs import CudaRecorder
from .memory import GpuMemory, kv_pages
from .paged_attention import PagedAttention, why_no_triton
from .staging import staged_notice, why_on_the_host

__all__ = ["GpuParts", "open_cuda_executor", "open_gpu"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Of the host's free memory, what the staging pages of one worker may pin.
_HOST_SHARE = 0.25


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
    config: ServerConfig, shape: ModelShape, weights_dir: Path, device: torch.device, selection: Selection | None
) -> GpuParts:
    """Loads a model, takes the KV memory, registers its staging pages with the transport and warms everything up.

    Args:
        weights_dir: of the converted model.
        device: as `device_of` returns it.
        selection: the transport; None on a unified worker.

    Raises:
        ConfigError: the GPU's memory does not suffice.
        TransferError: the transport takes no staging memory at all.
    """
    config = _resolved(config, device)
    executor = open_cuda_executor(config, shape, weights_dir, device)
    with _memory_errors(config, device):
        config, kv, staged = _open_kv(config, shape, device, selection)
        with torch.inference_mode(), torch.cuda.device(device):
            executor.forward([TokenSpan([0] * 8, 0, 0, logits=True)], kv)
            executor.forward([TokenSpan([0], 8, 0, logits=True)], kv)
            torch.cuda.synchronize(device)
    executor.decode_here(ahead=not config.disable_overlap_schedule)
    if not config.disable_cuda_graph and config.disaggregation_mode is not Mode.PREFILL:
        _record(executor, kv, config)
    if selection is not None:
        level = logging.WARNING if staged else logging.INFO
        record("staging", level=level, memory="host" if staged else "gpu", reason=staged)
    return GpuParts(config, executor, kv, staged)


def open_cuda_executor(
    config: ServerConfig, shape: ModelShape, weights_dir: Path, device: torch.device
) -> CudaExecutor:
    """Returns the executor with its weights on `device`, and no graphs yet.

    Args:
        config: with a dtype that is not auto.

    Raises:
        ConfigError: the weights do not fit into the GPU's memory.
    """
    longest = min(config.context_length or shape.context_length, shape.context_length)
    with _memory_errors(config, device):
        model = Llama(shape, load_weights(weights_dir, shape, _DTYPES[config.dtype], device), longest)
        reason = why_no_triton()
        paged = None
        if not reason:
            paged = PagedAttention(
                shape, page_size=config.page_size, most_rows=config.max_running_requests, device=device
            )
    return CudaExecutor(
        model,
        device,
        page_size=config.page_size,
        longest=longest,
        paged=paged,
        most_rows=config.max_running_requests,
        flash=find_flash() if _DTYPES[config.kv_cache_dtype].itemsize == 2 else None,
        reason=reason,
    )


def _resolved(config: ServerConfig, device: torch.device) -> ServerConfig:
    """Returns the configuration with device and dtypes resolved: 16 bits, and the KV as the weights."""
    dtype = config.dtype
    if dtype == "auto":
        with torch.cuda.device(device):
            dtype = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    kv_dtype = dtype if config.kv_cache_dtype == "auto" else config.kv_cache_dtype
    return replace(config, device="cuda", dtype=dtype, kv_cache_dtype=kv_dtype)


def _open_kv(
    config: ServerConfig, shape: ModelShape, device: torch.device, selection: Selection | None
) -> tuple[ServerConfig, KVCache, str]:
    why = "" if selection is None else why_on_the_host(selection.endpoint.kind)
    if selection is not None and not why:
        sized = _sized(config, shape, device, copies=2, on_host=False)
        kv = _kv(sized, shape, device, selection, staged_on=device)
        try:
            _register(kv, selection)
        except TransferError as error:
            why = str(error).removesuffix(".")
            kv = None
            torch.cuda.empty_cache()
        else:
            return sized, kv, ""
    config = _sized(config, shape, device, copies=1, on_host=selection is not None)
    kv = _kv(config, shape, device, selection, staged_on=None)
    if selection is not None:
        _register(kv, selection)
    return config, kv, staged_notice(why)


def _register(kv: KVCache, selection: Selection) -> None:
    selection.endpoint.register(kv.staging_address, kv.staging_bytes, kv.staging_file)


def _sized(
    config: ServerConfig, shape: ModelShape, device: torch.device, *, copies: int, on_host: bool
) -> ServerConfig:
    if not config.sized_by_memory:
        return config
    free, total = torch.cuda.mem_get_info(device)
    memory = GpuMemory(torch.cuda.get_device_name(device), total, free, torch.cuda.memory_allocated(device))
    pages = kv_pages(
        memory,
        fraction=config.mem_fraction_static,
        page_bytes=shape.kv_bytes_per_token(_DTYPES[config.kv_cache_dtype].itemsize) * config.page_size,
        copies=copies,
        host_bytes=int(psutil.virtual_memory().available * _HOST_SHARE) if on_host else None,
    )
    return replace(config, max_total_tokens=pages * config.page_size)


def _kv(
    config: ServerConfig,
    shape: ModelShape,
    device: torch.device,
    selection: Selection | None,
    staged_on: torch.device | None,
) -> KVCache:
    return KVCache(
        shape,
        pages=config.max_total_tokens // config.page_size,
        page_size=config.page_size,
        dtype=_DTYPES[config.kv_cache_dtype],
        staging=selection is not None,
        shared=selection is not None and selection.endpoint.kind in SHARED_MEMORY,
        device=device,
        staged_on=staged_on,
        spare_pages=1,
    )


def _record(executor: CudaExecutor, kv: KVCache, config: ServerConfig) -> None:
    """Records the graphs; a GPU without the memory for them decodes without."""
    most = min(config.cuda_graph_max_bs or config.max_running_requests, config.max_running_requests)
    try:
        with torch.inference_mode(), torch.cuda.device(executor.device):
            executor.record(kv, CudaRecorder(executor.device), most)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        executor.explain("the GPU has no memory left for them: lower --mem-fraction-static or --cuda-graph-max-bs")
        record("cuda_graphs", level=logging.WARNING, sizes=0, reason=executor.info.reason)


@contextmanager
def _memory_errors(config: ServerConfig, device: torch.device) -> Iterator[None]:
    """Turns torch's error into words."""
    try:
        yield
    except torch.OutOfMemoryError:
        free, total = torch.cuda.mem_get_info(device)
        problem = f"GPU {device.index} has {free >> 20} of {total >> 20} MiB left, too little for weights and KV"
        remedy = "end what else uses the GPU, lower it, or serve a smaller model"
        raise ConfigError("--mem-fraction-static", config.mem_fraction_static, problem, remedy) from None
