"""How one worker is spread over GPUs: tensor, pipeline and expert parallelism, and copies of the attention. A value."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from ...engine.errors import ConfigError

__all__ = ["Parallelism"]


@dataclass(frozen=True, slots=True)
class Parallelism:
    """How one worker is spread over GPUs.

    Attributes:
        tp: GPUs that share each layer.
        pp: groups of them, each with its share of the layers.
        ep: groups that whole experts are dealt to; divides `tp`, and the rest of `tp` splits each expert.
        attention_dp: copies of the attention part (`--enable-dp-attention`); divides `tp`.
        redundant_experts: extra copies of experts in each layer.
    """

    tp: int = 1
    pp: int = 1
    ep: int = 1
    attention_dp: int = 1
    redundant_experts: int = 0

    def __post_init__(self) -> None:
        for name in ("tp", "pp", "ep", "attention_dp"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "is less than 1", "use 1 or more")
        for name in ("ep", "attention_dp"):
            if self.tp % getattr(self, name):
                raise ConfigError(name, getattr(self, name), f"does not divide tp {self.tp}", "use a divisor of tp")
        if self.redundant_experts < 0:
            raise ConfigError("redundant_experts", self.redundant_experts, "is negative", "use 0 or more")

    @property
    def gpus(self) -> int:
        """GPUs of the worker."""
        return self.tp * self.pp

    @property
    def attention_tp(self) -> int:
        """GPUs that share the attention of one sequence."""
        return self.tp // self.attention_dp

    def stage_share(self, layers: int) -> Fraction:
        """Returns the share of the layers that the largest stage has."""
        return Fraction(ceil(layers / self.pp), layers)
