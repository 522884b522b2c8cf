"""A model as its sizes: groups of equal layers, each with its parameters and what it keeps of a token.

Values only. `model` makes them from a config.json; memory, bandwidth and speed are computed from them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from .figure import Figure, amount
from .precision import Precision

__all__ = ["Layers", "Mixer", "ModelFacts"]


class Mixer(StrEnum):
    """How a layer looks at earlier tokens."""

    FULL = "full attention"
    SLIDING = "sliding window"
    LATENT = "latent attention"
    LINEAR = "linear attention"
    NONE = "no attention"


@dataclass(frozen=True, slots=True)
class Layers:
    """A group of equal layers. Parameters are those of one layer.

    Attributes:
        count: layers in the group.
        kv_heads: heads of K and V; 1 for latent attention, 0 without KV.
        head_dim: width of a query or key head as attention computes it.
        value_dim: width of a value head.
        kv_elements: numbers kept of each token in the KV dtype, on all GPUs together and without copies.
        index_bytes: bytes beside them that sparse attention keeps of each token to find what to read.
        state_bytes: bytes kept of each sequence, however long it is.
        window: tokens that are kept at most; None for all.
        attended: tokens that are read at most in a step; None for all that are kept.
        split_parameters: of the mixer, divided by tensor parallelism.
        kv_parameters: of the mixer, divided until each GPU has one KV head.
        copied_parameters: present on each GPU: norms, routers, latent down-projections.
        dense_parameters: of the feed-forward part that every token passes, shared experts included.
        expert_parameters: of one routed expert.
        experts: routed experts; 0 without.
        experts_active: routed experts that a token passes.
    """

    count: int
    mixer: Mixer
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    value_dim: int = 0
    kv_elements: int = 0
    index_bytes: int = 0
    state_bytes: int = 0
    window: int | None = None
    attended: int | None = None
    split_parameters: int = 0
    kv_parameters: int = 0
    copied_parameters: int = 0
    dense_parameters: int = 0
    expert_parameters: int = 0
    experts: int = 0
    experts_active: int = 0

    @property
    def mixer_parameters(self) -> int:
        """Everything outside the feed-forward part."""
        return self.split_parameters + self.kv_parameters + self.copied_parameters

    @property
    def parameters(self) -> int:
        """All parameters of one layer."""
        return self.mixer_parameters + self.dense_parameters + self.experts * self.expert_parameters

    @property
    def active_parameters(self) -> int:
        """Parameters of one layer that a token passes."""
        return self.mixer_parameters + self.dense_parameters + self.experts_active * self.expert_parameters


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A decoder's sizes.

    Attributes:
        name: the architecture, or the name that the caller gave.
        attention: `MHA`, `GQA`, `MQA` or `MLA`, with what else its layers do, such as `GQA with sliding window`.
        window: the sliding window in tokens; None without.
        embedding_parameters: of the input table.
        head_parameters: of the output head; 0 when it is the input table.
        context_length: tokens that the model was made for; None when the file does not say.
        dtype_bytes: of a weight before quantisation.
        precision: how the file says that weights are stored.
        experts: routed experts of a layer that has them.
        assumes: what was left out or taken for granted.
    """

    name: str
    layers: tuple[Layers, ...]
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    attention: str
    window: int | None
    kv_lora_rank: int
    qk_rope_head_dim: int
    embedding_parameters: int
    head_parameters: int
    norm_parameters: int
    context_length: int | None
    dtype_bytes: int
    precision: Precision
    experts: int
    experts_active: int
    assumes: tuple[str, ...] = ()

    @property
    def layer_count(self) -> int:
        """All layers."""
        return sum(group.count for group in self.layers)

    @property
    def outer_parameters(self) -> int:
        """Those outside the layers."""
        return self.embedding_parameters + self.head_parameters + self.norm_parameters

    @property
    def parameters(self) -> Figure:
        """All parameters."""
        return self._sum(lambda group: group.parameters)

    @property
    def active_parameters(self) -> Figure:
        """Parameters that one token passes, the whole input table included as model cards count it."""
        return self._sum(lambda group: group.active_parameters)

    @property
    def matmul_parameters(self) -> int:
        """Parameters that one token is multiplied with in the layers: the input table and the head are not in it."""
        return sum(group.count * group.active_parameters for group in self.layers)

    @property
    def head_matmul_parameters(self) -> int:
        """Parameters of the last product, which a prompt needs once and an output token each time."""
        return self.head_parameters or self.embedding_parameters

    def _sum(self, part: Callable[[Layers], int]) -> Figure:
        value = self.outer_parameters + sum(group.count * part(group) for group in self.layers)
        terms = [f"{amount(self.embedding_parameters)} embedding", f"{amount(self.head_parameters)} output head"]
        terms += [f"{amount(self.norm_parameters)} norm"]
        terms += [f"{group.count} x {amount(part(group))} layers of {group.mixer}" for group in self.layers]
        return Figure(value, "parameters", " + ".join(terms), self.assumes)
