"""A worker's speed as it was measured, instead of a roofline. Pure; `suggest` calls it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import inf

from ...engine.errors import ConfigError
from .figure import Figure, amount

__all__ = ["BUNDLED_ON_CPU", "Measured", "MeasuredSpeed"]


@dataclass(frozen=True, slots=True)
class Measured:
    """What one worker was seen to do.

    Attributes:
        prefill_tokens_per_s: prompts one after the other.
        decode_tokens_per_s: output tokens per second of the whole batch, by batch.
        where: what was measured and how.
    """

    prefill_tokens_per_s: float
    decode_tokens_per_s: tuple[tuple[int, float], ...]
    where: str = "as measured"

    def __post_init__(self) -> None:
        remedy = "give tokens per second that were measured"
        if not 0 < self.prefill_tokens_per_s < inf:
            raise ConfigError("prefill_tokens_per_s", self.prefill_tokens_per_s, "is no rate", remedy)
        if not self.decode_tokens_per_s:
            raise ConfigError("decode_tokens_per_s", (), "is empty", "give the rate for one batch or more")
        batches = [batch for batch, _ in self.decode_tokens_per_s]
        for batch, rate in self.decode_tokens_per_s:
            if batch < 1 or not 0 < rate < inf:
                raise ConfigError("decode_tokens_per_s", (batch, rate), "is no batch with its rate", remedy)
        if sorted(set(batches)) != batches:
            raise ConfigError("decode_tokens_per_s", batches, "is not in rising order", "sort it by batch")


@dataclass(frozen=True, slots=True)
class MeasuredSpeed:
    """A worker's speed from measurements, in straight lines between them."""

    measured: Measured

    @property
    def largest_batch(self) -> int | None:
        """The largest one that was measured."""
        return self.measured.decode_tokens_per_s[-1][0]

    def prefill_s(self, prompt: int) -> float:
        """See `Speed.prefill_s`."""
        return prompt / self.measured.prefill_tokens_per_s

    def step_s(self, batch: int, context: float) -> float:
        """See `Speed.step_s`; the context of the measurement is taken for the load's."""
        steps = self._steps()
        if batch <= steps[0][0]:
            return steps[0][1]
        for (low, before), (high, after) in pairwise(steps):
            if batch <= high:
                return before + (after - before) * (batch - low) / (high - low)
        return steps[-1][1] * batch / steps[-1][0]

    def prefill(self, prompt: int) -> Figure:
        """See `Speed.prefill`."""
        formula = f"{amount(prompt)} tokens / {amount(self.measured.prefill_tokens_per_s)} tokens/s x 1000"
        return Figure(self.prefill_s(prompt) * 1e3, "ms", formula, self._assumes())

    def step(self, batch: int, context: float) -> Figure:
        """See `Speed.step`."""
        known = ", ".join(f"{amount(rate)} at {size}" for size, rate in self.measured.decode_tokens_per_s)
        formula = f"batch {batch} between the measured tokens/s: {known}"
        return Figure(self.step_s(batch, context) * 1e3, "ms", formula, self._assumes())

    def _steps(self) -> list[tuple[int, float]]:
        """Returns the seconds of a step by batch; neither they nor the tokens per second ever fall."""
        steps: list[tuple[int, float]] = []
        best = 0.0
        for size, rate in self.measured.decode_tokens_per_s:
            # A larger batch takes no less, and who has it may run a smaller one: what says otherwise is noise.
            best = max(best, rate)
            steps.append((size, max(size / best, steps[-1][1] if steps else 0.0)))
        return steps

    def _assumes(self) -> tuple[str, ...]:
        return (f"Measured: {self.measured.where}; prompts and contexts like those of the measurement.",)


BUNDLED_ON_CPU = Measured(
    430.0,
    ((1, 22.0), (8, 69.0), (32, 170.0)),
    "the bundled engine with SmolLM2-135M in float32, one thread of a 2-core x86 server",
)
"""One worker thread; prefill was seen between 400 and 460 tokens/s."""
