"""How many heads and experts a model has, where that can be known before anything starts.

Pure for models of random weights; `heads_on_disk` reads a config.json or the conversion in the cache, and imports
neither torch nor numpy. The planner's dialects and the pictures of ranks use it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engine.errors import ConfigError
from ..engine.model.random_models import random_name
from ..engine.model.random_shapes import random_config
from ..engine.model.shape import ModelShape

__all__ = ["ModelHeads", "heads_of_config", "heads_of_model", "heads_on_disk"]


@dataclass(frozen=True, slots=True)
class ModelHeads:
    """What is shared out among ranks.

    Attributes:
        experts: of a layer, 0 without.
        expert_ffn: columns of one expert.
        sees: it has a vision tower, which an encoder can run.
    """

    heads: int
    kv_heads: int
    ffn: int
    vocab: int
    experts: int = 0
    expert_ffn: int = 0
    sees: bool = False

    @property
    def shape(self) -> ModelShape:
        """A shape with these numbers, for `engine.parallel.layout`; the others are made up."""
        return ModelShape(
            architecture="",
            layers=1,
            hidden=self.heads,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=2,
            ffn=self.ffn,
            vocab=self.vocab,
            rope_theta=1.0,
            rope_scaling=None,
            rms_eps=0.0,
            tie_embeddings=False,
            context_length=1,
            qkv_bias=False,
            eos_ids=(),
            bos_id=None,
        )


def heads_of_config(config: Mapping[str, Any]) -> ModelHeads | None:
    """Returns what a config.json says; None where it lacks a number or is none of a decoder."""
    text = config.get("text_config", config)
    if not isinstance(text, Mapping):
        return None
    heads, experts = text.get("num_attention_heads"), text.get("num_local_experts") or text.get("num_experts") or 0
    ffn = text.get("intermediate_size")
    numbers = {
        "heads": heads,
        "kv_heads": text.get("num_key_value_heads") or heads,
        "ffn": ffn,
        "vocab": text.get("vocab_size"),
    }
    found = {name: value for name, value in numbers.items() if isinstance(value, int) and value > 0}
    if len(found) < len(numbers) or not isinstance(experts, int) or found["heads"] % found["kv_heads"]:
        return None
    wide = text.get("moe_intermediate_size") or ffn if experts else 0
    return ModelHeads(**found, experts=experts, expert_ffn=int(wide or 0), sees="vision_config" in config)


def heads_of_model(model: str) -> ModelHeads | None:
    """Returns what is known of a model by its name alone.

    Raises:
        ConfigError: it names a model of random weights that there is not.
    """
    try:
        name = random_name(model)
    except ConfigError as error:
        raise ConfigError("model", error.value, error.problem, error.remedy) from None
    return None if name is None else heads_of_config(random_config(name))


def heads_on_disk(model: str, cache_dir: Path) -> ModelHeads | None:
    """Returns what is known of a model on this host: by its name, its config.json, or its conversion in the cache."""
    if (named := heads_of_model(model)) is not None:
        return named
    # Only here: they would cost every start of the command line.
    from ..engine.model.catalog import find_in_catalog
    from ..engine.model.converted import find_converted
    from ..engine.model.fetch import catalog_file

    path = Path(os.path.expanduser(model))
    try:
        if (path / "config.json").is_file():
            config = json.loads((path / "config.json").read_text(encoding="utf-8"))
            return heads_of_config(config) if isinstance(config, dict) else None
        entry = find_in_catalog(model)
        converted = find_converted(catalog_file(entry, cache_dir) if entry else path, cache_dir)
    except (OSError, ValueError):
        return None
    if converted is None:
        return None
    shape = converted.shape
    return ModelHeads(shape.heads, shape.kv_heads, shape.ffn, shape.vocab)
