"""How long a worker takes for a prompt and for a decode step, by a roofline.

It takes the longer of arithmetic and memory traffic, each at a stated share of the device's peak, and adds all-reduces
and a fixed cost per step. `measured` is the alternative. Pure; `suggest` calls it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Protocol

from ...engine.errors import ConfigError
from .facts import Layers, Mixer, ModelFacts
from .figure import Figure, amount
from .gpus import Gpu
from .kv import sequence_kv_bytes
from .parallelism import Parallelism
from .precision import Precision
from .weights import weight_reads

__all__ = ["Efficiency", "Roofline", "Speed"]


class Speed(Protocol):
    """How fast one worker is."""

    @property
    def largest_batch(self) -> int | None:
        """The largest batch that it is known for; None when any is."""
        ...

    def prefill_s(self, prompt: int) -> float:
        """Returns the seconds of one prompt alone."""
        ...

    def step_s(self, batch: int, context: float) -> float:
        """Returns the seconds of one decode step of `batch` sequences that are `context` tokens long."""
        ...

    def prefill(self, prompt: int) -> Figure:
        """Returns `prefill_s` in milliseconds with its arithmetic."""
        ...

    def step(self, batch: int, context: float) -> Figure:
        """Returns `step_s` in milliseconds with its arithmetic."""
        ...


@dataclass(frozen=True, slots=True)
class Efficiency:
    """What of the paper values real engines reach; stated in every figure that uses it.

    Attributes:
        mfu: share of the peak arithmetic in a prefill.
        mbu: share of the memory speed in a decode step.
        reduce_s: seconds that an all-reduce costs beside its bytes.
        step_s: seconds that each step costs beside the device's work: scheduling, sampling, launch.
    """

    mfu: float = 0.5
    mbu: float = 0.8
    reduce_s: float = 10e-6
    step_s: float = 1e-3

    def __post_init__(self) -> None:
        for name, value in (("mfu", self.mfu), ("mbu", self.mbu)):
            if not 0 < value <= 1:
                raise ConfigError(name, value, "is not between 0 and 1", "use a share such as 0.5")

    @property
    def assumes(self) -> tuple[str, ...]:
        """The shares in words."""
        return (
            f"Engines reach {self.mfu:.0%} of the peak arithmetic and {self.mbu:.0%} of the memory speed, pay "
            f"{self.reduce_s * 1e6:g} us for each all-reduce and {self.step_s * 1e3:g} ms for each step.",
        )


@dataclass(frozen=True, slots=True)
class Roofline:
    """A worker's speed from the device's peaks.

    Attributes:
        network: bytes per second of a GPU to other nodes, for workers larger than a node.
    """

    facts: ModelFacts
    gpu: Gpu
    parallel: Parallelism
    efficiency: Efficiency
    kv_dtype: str = "bf16"
    precision: Precision | None = None
    network: float = 0.0

    @property
    def largest_batch(self) -> int | None:
        """None: it holds for any batch."""
        return None

    def prefill_s(self, prompt: int) -> float:
        """See `Speed.prefill_s`."""
        return max(self._prefill_parts(prompt)[:2]) + self._reduce_s(prompt) + self.efficiency.step_s

    def step_s(self, batch: int, context: float) -> float:
        """See `Speed.step_s`."""
        memory, arithmetic = self._step_parts(batch, context)[:2]
        return max(memory, arithmetic) + self._reduce_s(batch) + self.efficiency.step_s

    def prefill(self, prompt: int) -> Figure:
        """See `Speed.prefill`."""
        arithmetic, memory, linear, attention = self._prefill_parts(prompt)
        kind, peak = self._peak()
        share = f"{self.efficiency.mfu:g} x tp {self.parallel.tp}"
        formula = (
            f"max(({amount(linear)} / {amount(peak)} {kind} + {amount(attention)} / {amount(self.gpu.peaks['bf16'])} "
            f"attention) FLOP / ({share}) = {arithmetic * 1e3:.4g} ms, weights read once = {memory * 1e3:.4g} ms)"
            f"{self._extra(prompt)}"
        )
        return Figure(self.prefill_s(prompt) * 1e3, "ms", formula, (self._source(), *self.efficiency.assumes))

    def step(self, batch: int, context: float) -> Figure:
        """See `Speed.step`."""
        memory, arithmetic, weights, kv = self._step_parts(batch, context)
        formula = (
            f"max(({amount(round(weights))} B weights + {batch} x {amount(round(kv))} B KV of {amount(context)} tokens)"
            f" / ({amount(self.gpu.memory_speed)} B/s x {self.efficiency.mbu:g}) = {memory * 1e3:.4g} ms, "
            f"arithmetic = {arithmetic * 1e3:.4g} ms){self._extra(batch)}"
        )
        assumes = (self._source(), *self.efficiency.assumes)
        if self.facts.experts:
            assumes = (*assumes, "Each token picks its experts evenly at random.")
        return Figure(self.step_s(batch, context) * 1e3, "ms", formula, assumes)

    def _source(self) -> str:
        return f"{self.gpu.name.upper()}: {self.gpu.source}."

    def _extra(self, tokens: int) -> str:
        reduce = self._reduce_s(tokens)
        text = f" + {reduce * 1e3:.4g} ms in all-reduces" if reduce else ""
        return f"{text} + {self.efficiency.step_s * 1e3:g} ms"

    def _peak(self) -> tuple[str, float]:
        return self.gpu.peak((self.precision or self.facts.precision).computes_in)

    def _prefill_parts(self, prompt: int) -> tuple[float, float, float, float]:
        linear = 2.0 * self.facts.matmul_parameters * prompt + 2.0 * self.facts.head_matmul_parameters
        attention = sum(_pairs(prompt, group) * 2.0 * _width(group) * group.count for group in self.facts.layers)
        rate = self.efficiency.mfu * self.parallel.tp
        arithmetic = (linear / self._peak()[1] + attention / self.gpu.peaks["bf16"]) / rate
        always, routed = weight_reads(self.facts, self.parallel, self.precision)
        memory = (always + routed * self._met(prompt)) / (self.gpu.memory_speed * self.efficiency.mbu)
        return arithmetic, memory, linear, attention

    def _step_parts(self, batch: int, context: float) -> tuple[float, float, float, float]:
        always, routed = weight_reads(self.facts, self.parallel, self.precision)
        weights = always + routed * self._met(batch)
        kv = sequence_kv_bytes(self.facts, context, self.kv_dtype, self.parallel, read=True)[1]
        kv /= self.parallel.attention_dp
        memory = (weights + batch * kv) / (self.gpu.memory_speed * self.efficiency.mbu)
        linear = 2.0 * (self.facts.matmul_parameters + self.facts.head_matmul_parameters)
        attention = sum(
            2.0 * group.count * _step_width(group) * min(context, group.window or inf, group.attended or inf)
            for group in self.facts.layers
        )
        rate = self.efficiency.mfu * self.parallel.tp
        arithmetic = batch * (linear / self._peak()[1] + attention / self.gpu.peaks["bf16"]) / rate
        return memory, arithmetic, weights, kv

    def _met(self, tokens: int) -> float:
        """Returns the share of the experts that `tokens` tokens meet."""
        if not self.facts.experts:
            return 0.0
        return 1 - (1 - self.facts.experts_active / self.facts.experts) ** tokens

    def _reduce_s(self, tokens: int) -> float:
        """Returns the seconds of a pass's all-reduces: two in each layer, in 16-bit numbers, around a ring."""
        tp = self.parallel.tp
        if tp == 1:
            return 0.0
        speed = self.gpu.link_speed if tp <= self.gpu.node_gpus else self.network or self.gpu.link_speed
        size = 2 * tokens * self.facts.hidden * 2 * (tp - 1) / tp
        return 2 * self.facts.layer_count * (self.efficiency.reduce_s + size / speed)


def _pairs(prompt: int, group: Layers) -> float:
    """Returns the pairs of tokens that a causal prefill compares."""
    kept = min(prompt, group.window or prompt, group.attended or prompt)
    return kept * (kept + 1) / 2 + (prompt - kept) * kept


def _width(group: Layers) -> int:
    """Returns the multiplications of one pair of tokens over all heads of a layer."""
    return group.heads * (group.head_dim + group.value_dim) if group.kv_elements else 0


def _step_width(group: Layers) -> int:
    # A decode step of latent attention works on the latent itself, for each head.
    return 2 * group.heads * group.kv_elements if group.mixer is Mixer.LATENT else _width(group)
