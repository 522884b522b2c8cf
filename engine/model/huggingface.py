"""A Hugging Face model directory (config.json and safetensors, sharded or not) as a source for conversion.

Owns the names of transformers' tensors and of the files beside them. Reads bfloat16, float16 and float32
without torch. `engine.model.convert` reads models with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..vision.checkpoint import split_names, write_vision
from ..vision.shape import VisionShape, has_vision, text_config, vision_shape
from .expert_tensors import Place, places_of
from .layout import NO_EXPERT, Part, layer_layout
from .shape import shape_from_hf_config
from .source import row_blocks
from .tensorfile import DamagedFileError, StoredTensor, read_header

__all__ = ["HuggingFaceSource"]

_TENSOR_NAMES = {
    "embedding": "model.embed_tokens.weight",
    "norm": "model.norm.weight",
    "lm_head": "lm_head.weight",
    "attn_norm": "model.layers.{}.input_layernorm.weight",
    "q": "model.layers.{}.self_attn.q_proj.weight",
    "k": "model.layers.{}.self_attn.k_proj.weight",
    "v": "model.layers.{}.self_attn.v_proj.weight",
    "q_bias": "model.layers.{}.self_attn.q_proj.bias",
    "k_bias": "model.layers.{}.self_attn.k_proj.bias",
    "v_bias": "model.layers.{}.self_attn.v_proj.bias",
    "q_norm": "model.layers.{}.self_attn.q_norm.weight",
    "k_norm": "model.layers.{}.self_attn.k_norm.weight",
    "o": "model.layers.{}.self_attn.o_proj.weight",
    "ffn_norm": "model.layers.{}.post_attention_layernorm.weight",
    "gate": "model.layers.{}.mlp.gate_proj.weight",
    "up": "model.layers.{}.mlp.up_proj.weight",
    "down": "model.layers.{}.mlp.down_proj.weight",
}

_UNUSED_TENSOR = "model.layers.{}.self_attn.rotary_emb.inv_freq"
"""What old files hold beside the weights, and config.json gives as well."""

_INSIDE_LAYER = re.compile(r"model\.layers\.(\d{1,9})\.")

_SPECIAL_TOKENS = frozenset(f"{role}_token" for role in ("bos", "eos", "pad", "unk", "cls", "sep", "mask"))
_NUMPY_TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


class HuggingFaceSource:
    """An opened model directory.

    Args:
        directory: holds config.json, the weights and tokenizer.json.

    Raises:
        ConfigError: a file is missing or damaged, or the model is not served.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        config = self._json("config.json")
        generation = self._json("generation_config.json", required=False)
        self._vision: VisionShape | None = None
        if has_vision(config):
            self._vision = vision_shape(config, self._image_processor(), source=str(directory))
            config = text_config(config, source=str(directory))
        self.shape = shape_from_hf_config(config, source=str(directory), generation=generation)
        self.chat_template = self._chat_template()
        self._tensors = self._locate()
        self._vision_tensors: dict[str, tuple[Path, StoredTensor]] = {}
        if self._vision is not None:
            self._tensors, self._vision_tensors = split_names(self._tensors)
        self._refuse_unknown_tensors()
        types = sorted({tensor.dtype for _, tensor in self._tensors.values()})
        self.facts: dict[str, object] = {"kind": "safetensors", "tensor_types": types}

    def check(self, part: Part) -> None:
        """See `Source.check`."""
        place = self._place(part)
        name = place.name
        if name not in self._tensors:
            raise self._refuse(f"tensor {name} is missing", "download the model again or use another one")
        tensor = self._tensors[name][1]
        wanted = place.shape(part, self.shape.experts.count if self.shape.experts else 0)
        if tensor.shape != wanted:
            problem = f"tensor {name} has shape {list(tensor.shape)} where {list(wanted)} is expected"
            raise self._refuse(problem, "download the model again or use another one")
        if tensor.dtype not in _NUMPY_TYPES:
            problem = f"tensor {name} has the type {tensor.dtype}, which is not served"
            raise self._refuse(problem, "use weights in bfloat16, float16 or float32")

    def rows(self, part: Part) -> Iterator[NDArray[np.float32]]:
        """See `Source.rows`."""
        place = self._place(part)
        path, tensor = self._tensors[place.name]
        stored = np.memmap(path, dtype=_NUMPY_TYPES[tensor.dtype], mode="r", offset=tensor.start, shape=tensor.shape)
        if place.expert != NO_EXPERT:
            first = place.half * part.shape[0]
            stored = stored[place.expert, first : first + part.shape[0]]
        for block in row_blocks(part.shape):
            rows = stored[block]
            if tensor.dtype == "BF16":
                yield (rows.astype(np.uint32) << 16).view(np.float32)
            else:
                yield rows.astype(np.float32)

    def write_beside(self, directory: Path) -> None:
        """Writes what the model has beside the text model into a directory that is being converted.

        Raises:
            ConfigError: a tensor is missing, misshaped or of a type that is not served.
        """
        if self._vision is not None:
            write_vision(directory, self._vision, self._vision_tensors, str(self._directory))

    def tokenizer_json(self) -> str:
        """See `Source.tokenizer_json`."""
        path = self._directory / "tokenizer.json"
        if not path.is_file():
            remedy = "save it with transformers' AutoTokenizer.save_pretrained, which writes tokenizer.json"
            raise self._refuse("the model has no tokenizer.json", remedy)
        return path.read_text(encoding="utf-8")

    def special_tokens(self) -> dict[str, str]:
        """See `Source.special_tokens`."""
        settings = self._json("tokenizer_config.json", required=False)
        texts = {name: value.get("content") if isinstance(value, dict) else value for name, value in settings.items()}
        return {name: text for name, text in texts.items() if name in _SPECIAL_TOKENS and isinstance(text, str)}

    def _place(self, part: Part) -> Place:
        """Returns where a part lies; where it would usually lie when it is nowhere."""
        places = _places(part, self.shape.architecture)
        return next((place for place in places if place.name in self._tensors), places[0])

    def _refuse(self, problem: str, remedy: str) -> ConfigError:
        return ConfigError("--model-path", str(self._directory), problem, remedy)

    def _json(self, name: str, *, required: bool = True) -> dict[str, Any]:
        try:
            data = json.loads((self._directory / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            if not required:
                return {}
            raise self._refuse(f"{name} is missing", "give a complete model directory") from None
        except ValueError:
            data = None
        if not isinstance(data, dict):
            raise self._refuse(f"{name} is no JSON object", "download the model again")
        return data

    def _refuse_unknown_tensors(self) -> None:
        """Refuses tensors that the forward pass would leave out, since it would then compute another model."""
        inside = [(int(found[1]), name) for name in self._tensors if (found := _INSIDE_LAYER.match(name))]
        known = {
            place.name
            for layer in {layer for layer, _ in inside}
            for tensor in layer_layout(self.shape, layer)
            for part in tensor.parts
            for place in _places(part, self.shape.architecture)
        }
        extra = sorted(name for layer, name in inside if name not in known | {_UNUSED_TENSOR.format(layer)})
        if extra:
            problem = f"tensor {extra[0]} is not served for {self.shape.architecture}"
            raise self._refuse(problem, "use a model whose layers have the tensors of its architecture alone")

    def _image_processor(self) -> dict[str, Any]:
        """Returns what transformers' image processor is set to: in a file of its own, or in the whole processor's."""
        found = self._json("preprocessor_config.json", required=False)
        return found or dict(self._json("processor_config.json", required=False).get("image_processor") or {})

    def _chat_template(self) -> str | None:
        """Returns chat_template.jinja, else the template in tokenizer_config.json (text or named list)."""
        path = self._directory / "chat_template.jinja"
        if path.is_file():
            return path.read_text(encoding="utf-8")
        template = self._json("tokenizer_config.json", required=False).get("chat_template")
        if isinstance(template, list):
            named = {item.get("name"): item.get("template") for item in template if isinstance(item, dict)}
            template = named.get("default")
        return template if isinstance(template, str) else None

    def _locate(self) -> dict[str, tuple[Path, StoredTensor]]:
        """Returns where each tensor lies: in model.safetensors, or in the shards that the index names."""
        index = self._json("model.safetensors.index.json", required=False).get("weight_map")
        names = sorted(set(index.values())) if isinstance(index, dict) else ["model.safetensors"]
        tensors: dict[str, tuple[Path, StoredTensor]] = {}
        for name in names:
            path = self._directory / Path(str(name)).name
            try:
                header = read_header(path)
            except FileNotFoundError:
                raise self._refuse(f"{path.name} is missing", "give a complete safetensors model") from None
            except DamagedFileError as error:
                raise self._refuse(str(error), "download the model again") from None
            tensors.update({tensor: (path, stored) for tensor, stored in header.items()})
        return tensors


def _places(part: Part, architecture: str) -> tuple[Place, ...]:
    """Returns where a part may lie, the usual place first."""
    return places_of(part, architecture) or (Place(_TENSOR_NAMES[part.kind].format(part.layer)),)
