"""Opening a worker's parts on a GPU that is made up: sizes, where the KV is staged, and what is done without."""

from __future__ import annotations

import dataclasses
import logging
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from pdpanel.engine.arguments import parse_server_arguments
from pdpanel.engine.errors import ConfigError, TransferError
from pdpanel.engine.gpu import opening
from pdpanel.engine.gpu.executor import CudaExecutor
from pdpanel.engine.gpu.memory import GpuMemory
from pdpanel.engine.gpu.opening import GpuParts, open_gpu
from pdpanel.engine.transfer.select import Selection
from tiny_gpu_model import SHAPE, Replays, random_weights

MIB = 1 << 20
PAGE_BYTES = SHAPE.kv_bytes_per_token(4) * 16


class MadeUp:
    """A GPU whose memory is the CPU's."""

    device = torch.device("cpu")
    has_bfloat16 = True

    def __init__(self, total: int = 64 * MIB) -> None:
        self.total = total
        self.released = 0

    def memory(self) -> GpuMemory:
        return GpuMemory("GPU 0", self.total, self.total, MIB)

    def chosen(self) -> AbstractContextManager[object]:
        return nullcontext()

    def wait(self) -> None: ...

    def release(self) -> None:
        self.released += 1

    def recorder(self) -> Replays:
        return Replays()


class Endpoint:
    """A transport that takes what it is told to take."""

    failure = ""

    def __init__(self, kind: str = "mooncake", refusals: int = 0) -> None:
        self.kind = kind
        self.refusals = refusals
        self.regions: list[int] = []

    def register(self, address: int, length: int, file: int = -1) -> None:
        self.regions.append(length)
        if len(self.regions) <= self.refusals:
            raise TransferError("Mooncake refused to register 5 bytes (code -1).", quiesced=True)


@pytest.fixture(autouse=True)
def parts_of_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights, no Triton, and the Mooncake build for CUDA."""
    weights = random_weights(SHAPE, torch.device("cpu"))
    monkeypatch.setattr(opening, "load_weights", lambda folder, shape, dtype, device: weights)
    monkeypatch.setattr(opening, "why_no_triton", lambda: "the package triton cannot be imported")
    monkeypatch.setattr(opening, "why_on_the_host", lambda kind: "" if kind == "mooncake" else f"it is {kind}")


def opened(*flags: str, endpoint: Endpoint | None = None, gpu: MadeUp | None = None) -> GpuParts:
    given = ["--model-path", "m", "--dtype", "float32", "--max-running-requests", "4", *flags]
    selection = Selection(cast("Any", endpoint), "mooncake") if endpoint else None
    return open_gpu(
        parse_server_arguments(given), SHAPE, Path(), torch.device("cpu"), selection, cast("Any", gpu or MadeUp())
    )


def test_the_pool_is_what_the_share_leaves_beside_the_weights() -> None:
    made = opened("--mem-fraction-static", "0.5")
    assert made.config.max_total_tokens == 31 * MIB // PAGE_BYTES * 16
    assert made.kv.slots.shape[3] == made.config.max_total_tokens + 16  # and the spare page
    assert (made.config.device, made.config.kv_cache_dtype, made.staged) == ("cuda", "float32", "")


def test_a_persons_pool_stands() -> None:
    assert opened("--max-total-tokens", "512").config.max_total_tokens == 512


def test_staging_pages_lie_on_the_gpu_where_the_transport_takes_them(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    endpoint = Endpoint()
    made = opened("--mem-fraction-static", "0.5", endpoint=endpoint)
    assert made.config.max_total_tokens == 31 * MIB // (2 * PAGE_BYTES) * 16
    assert endpoint.regions == [made.kv.staging_bytes] and made.staged == ""
    (event,) = [one for one in caplog.records if one.getMessage() == "staging"]
    assert event.levelno == logging.INFO


@pytest.mark.parametrize(
    ("endpoint", "word"), [(Endpoint("tcp"), "it is tcp"), (Endpoint(refusals=1), "refused to register")]
)
def test_else_they_lie_on_the_host_and_that_is_told(
    endpoint: Endpoint, word: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    made = opened("--max-total-tokens", "512", endpoint=endpoint)
    assert word in made.staged and "staged through the host" in made.staged
    assert endpoint.regions[-1] == made.kv.staging_bytes
    (event,) = [one for one in caplog.records if one.getMessage() == "staging"]
    assert event.levelno == logging.WARNING


def test_a_gpu_that_is_too_small_is_named_with_a_remedy() -> None:
    with pytest.raises(ConfigError, match=r"--mem-fraction-static.*GPU 0"):
        opened(gpu=MadeUp(MIB))


def test_packed_weights_are_of_cpus_alone() -> None:
    with pytest.raises(ConfigError, match=r"--quantization.*int8.*--device cpu"):
        opened("--quantization", "int8")


def test_memory_that_runs_out_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(opening, "load_weights", no_memory)
    with pytest.raises(ConfigError, match=r"--mem-fraction-static.*GPU 0 has 64 of 64 MiB left"):
        opened()


class Kernels:
    """Kernels that do what they are told to."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def attend(self, q: torch.Tensor, slots: torch.Tensor, rows: object) -> torch.Tensor:
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC environment variable.")


def test_kernels_that_do_not_run_are_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "why_no_triton", lambda: "")
    monkeypatch.setattr(opening, "PagedAttention", Kernels)
    made = opened()
    assert "Failed to find C compiler. Please" in made.executor.info.reason and made.executor.decoder is None
    assert made.executor.info.attention.startswith("sdpa")


@pytest.mark.parametrize(("flags", "recorded"), [((), [2, 1]), (("--disable-cuda-graph",), []), (("prefill",), [])])
def test_graphs_are_recorded_where_decode_runs(
    flags: tuple[str, ...], recorded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def remember(self: CudaExecutor, kv: object, recorder: object, most: int) -> None:
        asked.append(most)

    monkeypatch.setattr(CudaExecutor, "record", remember)
    mode = ("--disaggregation-mode", "prefill") if flags == ("prefill",) else flags
    opened("--cuda-graph-max-bs", "2", *mode, endpoint=Endpoint() if flags == ("prefill",) else None)
    assert asked == recorded[:1]


def test_graphs_that_find_no_memory_are_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(CudaExecutor, "record", no_memory)
    gpu = MadeUp()
    info = opened(gpu=gpu).executor.info
    assert "no memory left" in info.reason and gpu.released == 2  # before it was sized, and what the graphs had taken
    assert dataclasses.asdict(info)["executor"] == "cuda"
