"""Where the parts of a layer's experts lie in a safetensors model: the names that transformers has given them.

The files on the Hub, and what transformers 4 and 5 save by default, hold one tensor for each projection of each
expert, under names of their class. transformers 5 computes with fused ones, all experts of a layer in one tensor, and
saves those when it is told not to restore the names. Knows nothing of files; `huggingface` looks the places up.
"""

from __future__ import annotations

from dataclasses import dataclass

from .layout import NO_EXPERT, Part

__all__ = ["Place", "places_of"]

_ROUTERS = {
    "MixtralForCausalLM": ("model.layers.{}.block_sparse_moe.gate.weight", "model.layers.{}.mlp.gate.weight"),
    "Qwen3MoeForCausalLM": ("model.layers.{}.mlp.gate.weight",),
}
_PARTS = {
    "MixtralForCausalLM": {
        "expert_gate": "model.layers.{}.block_sparse_moe.experts.{}.w1.weight",
        "expert_up": "model.layers.{}.block_sparse_moe.experts.{}.w3.weight",
        "expert_down": "model.layers.{}.block_sparse_moe.experts.{}.w2.weight",
    },
    "Qwen3MoeForCausalLM": {
        "expert_gate": "model.layers.{}.mlp.experts.{}.gate_proj.weight",
        "expert_up": "model.layers.{}.mlp.experts.{}.up_proj.weight",
        "expert_down": "model.layers.{}.mlp.experts.{}.down_proj.weight",
    },
}
_FUSED = {
    "expert_gate": ("model.layers.{}.mlp.experts.gate_up_proj", 0),
    "expert_up": ("model.layers.{}.mlp.experts.gate_up_proj", 1),
    "expert_down": ("model.layers.{}.mlp.experts.down_proj", 0),
}
"""Each with the part's place among those that an expert has in the tensor, one below the other."""


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor, and where in it a part lies.

    Attributes:
        expert: index along the tensor's first dimension, -1 where the part is all of the tensor.
        half: how many parts of the same size lie above it in that expert's rows.
        halves: parts that an expert's rows hold.
    """

    name: str
    expert: int = NO_EXPERT
    half: int = 0
    halves: int = 1

    def shape(self, part: Part, experts: int) -> tuple[int, ...]:
        """Returns the shape that the tensor must have to hold `part` of one of `experts`."""
        if self.expert == NO_EXPERT:
            return part.shape
        return (experts, part.shape[0] * self.halves, *part.shape[1:])


def places_of(part: Part, architecture: str) -> tuple[Place, ...]:
    """Returns where a router or a part of an expert may lie, the usual place first; empty for any other part."""
    if part.kind == "router":
        return tuple(Place(name.format(part.layer)) for name in _ROUTERS[architecture])
    if part.expert == NO_EXPERT:
        return ()
    fused, half = _FUSED[part.kind]
    halves = 1 if part.kind == "expert_down" else 2
    alone = Place(_PARTS[architecture][part.kind].format(part.layer, part.expert))
    return alone, Place(fused.format(part.layer), part.expert, half, halves)
