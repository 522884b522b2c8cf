"""What is asked of the planner of splits, and what it answers. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf

from ...engine.errors import ConfigError
from .bandwidth import Links
from .figure import Figure

__all__ = ["Bound", "Fleet", "Load", "Split", "Suggestion"]

_MOST_GPUS = 65_536
_MOST_TOKENS = 100_000_000


@dataclass(frozen=True, slots=True)
class Load:
    """The requests to serve.

    Attributes:
        prompt: tokens of a prompt that no cache holds.
        output: tokens of an answer, the first one included.
        rate: requests per second; None asks for as many as can be.
        ttft_ms: time to the first token to keep, on average; None for no goal.
        itl_ms: time between tokens to keep, on average; None for no goal.
    """

    prompt: int
    output: int
    rate: float | None = None
    ttft_ms: float | None = None
    itl_ms: float | None = None

    def __post_init__(self) -> None:
        for flag, tokens in (("--prompt", self.prompt), ("--output", self.output)):
            if not 1 <= tokens <= _MOST_TOKENS:
                raise ConfigError(flag, tokens, "is no length in tokens", f"use 1 to {_MOST_TOKENS}")
        for flag, value in (("--rate", self.rate), ("--ttft", self.ttft_ms), ("--itl", self.itl_ms)):
            if value is not None and not 0 < value < inf:
                raise ConfigError(flag, value, "is not positive", "give a positive number, or leave it out")


@dataclass(frozen=True, slots=True)
class Fleet:
    """The GPUs to share out.

    Attributes:
        gpus: how many; with measured speeds, how many workers of the measured kind.
        tp_sizes: GPUs that a worker may have.
        links: the NICs of one GPU; None when the transfer shall not count.
        cores: CPU cores that workers measured on one core each share; None when each has what it was measured with.
            Then splits of fewer workers are looked at as well.
    """

    gpus: int
    tp_sizes: tuple[int, ...] = (1, 2, 4, 8)
    links: Links | None = None
    cores: int | None = None

    def __post_init__(self) -> None:
        if self.cores is not None and self.cores < 1:
            raise ConfigError("--cores", self.cores, "is less than 1", "give the cores that the workers share")
        if not 1 <= self.gpus <= _MOST_GPUS:
            raise ConfigError("--gpus", self.gpus, "is no number of GPUs", f"use 1 to {_MOST_GPUS}")
        if not self.tp_sizes or min(self.tp_sizes) < 1:
            raise ConfigError("--tp", self.tp_sizes, "are no sizes of a worker", "use sizes such as 1,2,4,8")


class Bound(StrEnum):
    """What a split runs out of first."""

    PREFILL = "prefill-bound"
    DECODE = "decode-bound"
    TRANSFER = "transfer-bound"
    CORES = "core-bound"
    WORKERS = "worker-bound"


@dataclass(frozen=True, slots=True)
class Split:
    """One way to share the GPUs out, and what it is expected to do.

    Attributes:
        prefill, decode: workers of each role; 0 for the baseline.
        unified: workers that do both; 0 for a split.
        prefill_tp, decode_tp: GPUs of each worker; a unified worker's are in both.
        batch: sequences that a decode worker has at the predicted rate.
        capacity: requests per second that it serves within the goals.
        rate: requests per second that it is expected to serve: the wanted ones as far as it can.
        ttft: to the first token; None when prefill has no reserve left, so that requests queue up.
        itl: between tokens; None without a second token.
        meets: True when it serves the wanted rate within the goals.
        verdict: what bounds it and by how much, one sentence or two.
        ranked: why it stands where it stands.
        figures: the numbers behind it, by what they say.
        assumes: what all of it takes for granted.
    """

    prefill: int
    decode: int
    unified: int
    prefill_tp: int
    decode_tp: int
    batch: int
    capacity: Figure
    rate: Figure
    ttft: Figure | None
    itl: Figure | None
    bound: Bound
    meets: bool
    verdict: str
    ranked: str = ""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    assumes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Such as `2P1D`, or `3 unified`."""
        return f"{self.unified} unified" if self.unified else f"{self.prefill}P{self.decode}D"

    @property
    def gpus(self) -> int:
        """GPUs that it uses."""
        return self.unified * self.decode_tp + self.prefill * self.prefill_tp + self.decode * self.decode_tp


@dataclass(frozen=True, slots=True)
class Suggestion:
    """The splits, the best first, and the same GPUs without disaggregation.

    Attributes:
        splits: empty when there are too few GPUs for two workers.
        unified: the baseline.
        balance: how the work of a request divides between prefill and decode, and what ratio follows.
        comparison: the best split against the baseline.
    """

    model: str
    load: Load
    fleet: Fleet
    splits: tuple[Split, ...]
    unified: Split
    balance: str
    comparison: str
