"""The bundled engine without its HTTP side: core, step loop and executor over random weights, on any device.

What the offline workload and the bandwidth figures run. The parts are a unified worker's; only the listeners differ.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence as Many

import torch

from ....engine.actions import Action, Emit, ExportPages, WritePages
from ....engine.gpu.executor import CudaExecutor
from ....engine.gpu.graphs import CudaRecorder
from ....engine.gpu.paged_attention import PagedAttention, why_no_triton
from ....engine.kv import KVCache
from ....engine.lifecycle import UNIFIED
from ....engine.model.executor import TokenSpan
from ....engine.model.llama import Llama
from ....engine.model.shape import ModelShape
from ....engine.model.weights import LayerWeights, Weights
from ....engine.pages import PagePool
from ....engine.request import GenerateRequest, SamplingParams
from ....engine.schedule import Schedule
from ....engine.sequence import Sequence
from ....engine.statistics import EngineStatistics
from ....engine.step_loop import StepLoop
from ....engine.unified_core import UnifiedCore
from .engine_gpu_workload import TEMPERATURE, Workload

__all__ = ["OfflineEngine", "random_weights"]

_PAGE = 16
_CHUNK = 8192
_PATIENCE_S = 540.0


def random_weights(shape: ModelShape, dtype: torch.dtype, device: torch.device) -> Weights:
    """Returns weights that keep numbers finite; what they say means nothing."""
    made = torch.Generator(device).manual_seed(0)

    def some(*size: int) -> torch.Tensor:
        return torch.empty(size, dtype=dtype, device=device).normal_(0, 0.02, generator=made)

    def ones(size: int) -> torch.Tensor:
        return torch.ones(size, dtype=dtype, device=device)

    rows = shape.q_rows + 2 * shape.kv_rows
    layers = tuple(
        LayerWeights(
            attn_norm=ones(shape.hidden),
            qkv=some(rows, shape.hidden),
            qkv_bias=some(rows) if shape.qkv_bias else None,
            q_norm=ones(shape.head_dim) if shape.qk_norm else None,
            k_norm=ones(shape.head_dim) if shape.qk_norm else None,
            o=some(shape.hidden, shape.q_rows),
            ffn_norm=ones(shape.hidden),
            gate_up=some(2 * shape.ffn, shape.hidden),
            down=some(shape.hidden, shape.ffn),
        )
        for _ in range(shape.layers)
    )
    embedding = some(shape.vocab, shape.hidden)
    head = embedding if shape.tie_embeddings else some(shape.vocab, shape.hidden)
    return Weights(embedding, layers, ones(shape.hidden), head)


class _Listener:
    """Counts what the loop says."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._changed = threading.Condition()
        self.tokens = 0
        self.reason = ""

    def emit(self, emits: Many[Emit]) -> None:
        with self._changed:
            self.tokens += sum(len(emit.token_ids) for emit in emits)
            self._wanted -= sum(emit.finish is not None for emit in emits)
            if self._wanted <= 0:
                self._changed.notify_all()

    def export(self, action: ExportPages | WritePages) -> None:
        raise AssertionError("a unified worker exports nothing")

    def send(self, action: Action) -> None:
        raise AssertionError("a unified worker sends nothing")

    def fatal(self, reason: str) -> None:
        with self._changed:
            self.reason, self._wanted = reason, 0
            self._changed.notify_all()

    def wait(self) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._wanted <= 0, _PATIENCE_S):
                raise TimeoutError(f"the workload took longer than {_PATIENCE_S:g} s")


class OfflineEngine:
    """A model with random weights, ready for `running` sequences of `places` KV places together.

    Args:
        graphs: False launches decode kernel by kernel.
    """

    def __init__(
        self, shape: ModelShape, device: torch.device, *, running: int, places: int, longest: int, graphs: bool = True
    ) -> None:
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.device = device
        self._running = running
        self._pages = -(-places // _PAGE) + running
        self._longest = longest
        reason = why_no_triton() if device.type == "cuda" else "there is no GPU"
        paged = None if reason else PagedAttention(shape, page_size=_PAGE, most_rows=running, device=device)
        weights = random_weights(shape, dtype, device)
        self.weight_bytes = (
            sum(
                tensor.numel() * tensor.element_size()
                for layer in weights.layers
                for tensor in (layer.qkv, layer.o, layer.gate_up, layer.down)
            )
            + weights.lm_head.numel() * weights.lm_head.element_size()
        )
        self.executor = CudaExecutor(
            Llama(shape, weights, longest),
            device,
            page_size=_PAGE,
            longest=longest,
            paged=paged,
            most_rows=running,
            reason=reason,
        )
        self._kv = KVCache(
            shape,
            pages=self._pages,
            page_size=_PAGE,
            dtype=dtype,
            staging=False,
            device=device,
            spare_pages=1,
        )
        self.executor.decode_here(ahead=True)
        self.kv_bytes_per_token = shape.kv_bytes_per_token(dtype.itemsize)
        if graphs and device.type == "cuda":
            with torch.inference_mode():
                self.executor.record(self._kv, CudaRecorder(device), running)

    def run(self, workload: Workload) -> float:
        """Returns the seconds that the whole workload takes, all requests there from the start.

        Raises:
            RuntimeError: the engine broke.
        """
        listener = _Listener(len(workload.prompts))
        schedule = Schedule(
            PagePool(self._pages),
            page_size=_PAGE,
            chunk_tokens=_CHUNK,
            max_running=self._running,
            reserve_tokens=self._longest,
        )
        core = UnifiedCore(schedule)
        loop = StepLoop(core, self.executor, self._kv, listener, EngineStatistics)
        sequences = [self._sequence(key, workload) for key in range(len(workload.prompts))]
        began = time.perf_counter()

        def submit(now: float) -> None:
            for sequence in sequences:
                core.submit(sequence, now)

        loop.post(submit)
        loop.start()
        try:
            listener.wait()
            seconds = time.perf_counter() - began
        finally:
            loop.stop()
        if listener.reason or listener.tokens != workload.output_tokens:
            raise RuntimeError(listener.reason or f"{listener.tokens} tokens came of {workload.output_tokens}")
        return seconds

    def step_seconds(self, batch: int, context: int, steps: int) -> float:
        """Returns the seconds of one decode step of `batch` sequences with `context` tokens each, sampling left out."""
        places = -(-context // _PAGE) * _PAGE
        spans = [TokenSpan([1], context - 1, row * places, logits=True) for row in range(batch)]
        with torch.inference_mode():
            for _ in range(3):
                self.executor.forward(spans, self._kv)
            self._wait()
            began = time.perf_counter()
            for _ in range(steps):
                self.executor.forward(spans, self._kv)
            self._wait()
        return (time.perf_counter() - began) / steps

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _sequence(self, key: int, workload: Workload) -> Sequence:
        prompt, output = workload.prompts[key], workload.outputs[key]
        sampling = SamplingParams(max_new_tokens=output, temperature=TEMPERATURE, ignore_eos=True, seed=key)
        return Sequence(
            key=key,
            request=GenerateRequest(f"offline-{key}", prompt, sampling),
            cycle=UNIFIED,
            seed=key,
            limit=len(prompt) + output,
            stop_ids=frozenset(),
            tokens=list(prompt),
            state=UNIFIED.start,
        )
