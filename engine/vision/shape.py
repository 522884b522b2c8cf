"""The numbers that describe the vision part of a LLaVA model, and how config.json and the image processor give them.

Owns which vision towers and settings of the processor are served; everything else is refused by name. Knows nothing of
tensors, files or HTTP. Called by the converter, the encoder and whoever counts a prompt's image tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..errors import ConfigError

__all__ = [
    "VISION_ARCHITECTURES",
    "Processing",
    "VisionShape",
    "has_vision",
    "text_config",
    "vision_shape",
    "vision_shape_from_json",
]

VISION_ARCHITECTURES = ("LlavaForConditionalGeneration",)

_FIELD = "--model-path"
_REMEDY = "use a LLaVA model whose vision tower is CLIP's or SigLIP's"
_TOWERS = {"clip_vision_model": "clip", "siglip_vision_model": "siglip"}
_ACTIVATIONS = ("gelu", "quick_gelu", "gelu_pytorch_tanh", "relu", "silu")
_TEXT_CLASSES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
# What transformers takes where a config.json leaves a number out; LLaVA 1.5's does with nearly all of them.
_LLAMA_DEFAULTS = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 32000,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_TOWER_DEFAULTS: dict[str, dict[str, Any]] = {
    "clip": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 224,
        "patch_size": 32,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
    },
    "siglip": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 224,
        "patch_size": 16,
        "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": 1e-6,
    },
}
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_NEAREST, _LANCZOS, _BILINEAR, _BICUBIC = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Processing:
    """What becomes of an image before the vision tower sees it; the steps and names are transformers'.

    Attributes:
        shortest_edge: the image is scaled, in its proportions, so that its shorter edge has so many pixels; 0 where
            `resize` gives both.
        resize: (height, width) to scale to; (0, 0) where `shortest_edge` is given, or for no scaling.
        resample: the filter, by Pillow's number.
        crop: (height, width) that is cut out of the middle; (0, 0) for none.
        rescale: what bytes are multiplied with.
        mean: per channel; empty for no normalisation, and so is `std`.
    """

    shortest_edge: int
    resize: tuple[int, int]
    resample: int
    crop: tuple[int, int]
    rescale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class VisionShape:
    """A vision tower and its projector; everything that the encoder needs beside the weights.

    Attributes:
        tower: `clip` or `siglip`.
        layers: transformer layers that are computed: those up to the last state that is taken.
        states: which states go into the projector, side by side: 0 is the first layer's input, i layer i's output.
        drop_first: whether the first row (CLIP's class token) is left out.
        image_size: height and width of what the tower sees, in pixels.
        projector_activation: between the projector's two linear layers.
        text_hidden: width of an embedding.
        image_token: the id that stands for an image in a prompt.
    """

    tower: str
    layers: int
    hidden: int
    heads: int
    ffn: int
    image_size: int
    patch_size: int
    activation: str
    eps: float
    states: tuple[int, ...]
    drop_first: bool
    projector_activation: str
    projector_bias: bool
    text_hidden: int
    image_token: int
    processing: Processing

    @property
    def patches(self) -> int:
        """Patches of an image."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def positions(self) -> int:
        """Rows that the tower computes: the patches, and CLIP's class token."""
        return self.patches + (self.tower == "clip")

    @property
    def rows(self) -> int:
        """Embeddings of an image, which are as many tokens of the prompt."""
        return self.positions - self.drop_first

    @property
    def image_bytes(self) -> int:
        """Bytes of one image's embeddings, float32 [rows, text_hidden]."""
        return self.rows * self.text_hidden * 4

    def as_json(self) -> dict[str, object]:
        """Returns the shape as plain JSON values; `vision_shape_from_json` reads it back."""
        return asdict(self)


def vision_shape_from_json(data: Mapping[str, Any]) -> VisionShape:
    """Returns the shape that `VisionShape.as_json` wrote.

    Raises:
        KeyError, TypeError: `data` was not written by this version.
    """
    values = {item.name: data[item.name] for item in fields(VisionShape)}
    steps: dict[str, Any] = {item.name: values["processing"][item.name] for item in fields(Processing)}
    steps = {name: tuple(value) if isinstance(value, list) else value for name, value in steps.items()}
    values["processing"] = Processing(**steps)
    values["states"] = tuple(values["states"])
    return VisionShape(**values)


def has_vision(config: Mapping[str, Any]) -> bool:
    """Returns whether a config.json describes a model of text and images that is served."""
    names = config.get("architectures")
    return isinstance(names, list) and bool(names) and names[0] in VISION_ARCHITECTURES


def text_config(config: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Returns the config.json that the text model within would have by itself.

    Raises:
        ConfigError: it is missing, or of an architecture that is not served.
    """
    text = config.get("text_config")
    if not isinstance(text, Mapping):
        raise _refuse(source, "config.json lacks text_config", "use a complete model")
    kind = str(text.get("model_type", "llama"))
    if kind not in _TEXT_CLASSES:
        served = ", ".join(_TEXT_CLASSES)
        raise _refuse(source, f"a text model of type {kind} is not served", f"use one of {served}")
    tied = bool(config.get("tie_word_embeddings") or text.get("tie_word_embeddings"))
    defaults = _LLAMA_DEFAULTS if kind == "llama" else {}
    return {**defaults, **text, "architectures": [_TEXT_CLASSES[kind]], "tie_word_embeddings": tied}


def vision_shape(config: Mapping[str, Any], processor: Mapping[str, Any], *, source: str) -> VisionShape:
    """Returns the vision part of the model that a config.json describes.

    Args:
        processor: the parsed preprocessor_config.json, or `image_processor` of processor_config.json.

    Raises:
        ConfigError: a tower or a setting is not served, or a number is missing.
    """
    tower_config = config.get("vision_config")
    if not isinstance(tower_config, Mapping):
        raise _refuse(source, "config.json lacks vision_config", "use a complete model")
    kind = str(tower_config.get("model_type", "clip_vision_model"))
    if kind not in _TOWERS:
        raise _refuse(source, f"a vision tower of type {kind} is not served", _REMEDY)
    tower = _TOWERS[kind]
    given = {**_TOWER_DEFAULTS[tower], **{k: v for k, v in tower_config.items() if v is not None}}
    layers, states = _states(config, _whole(given, "num_hidden_layers", source), source)
    strategy = config.get("vision_feature_select_strategy", "default")
    if strategy not in ("default", "full"):
        raise _refuse(source, f"vision_feature_select_strategy {strategy!r} is not served", "use default or full")
    if given.get("num_channels", 3) != 3:
        raise _refuse(source, f"images of {given['num_channels']} channels are not served", _REMEDY)
    size, patch = _whole(given, "image_size", source), _whole(given, "patch_size", source)
    hidden, heads = _whole(given, "hidden_size", source), _whole(given, "num_attention_heads", source)
    if size < patch or hidden % heads:
        raise _refuse(source, f"its vision tower has {hidden} channels in {heads} heads, {size} pixels", _REMEDY)
    text = text_config(config, source=source)
    return VisionShape(
        tower=tower,
        layers=layers,
        hidden=hidden,
        heads=heads,
        ffn=_whole(given, "intermediate_size", source),
        image_size=size,
        patch_size=patch,
        activation=_activation(given["hidden_act"], source),
        eps=float(given["layer_norm_eps"]),
        states=states,
        drop_first=strategy == "default",
        projector_activation=_activation(config.get("projector_hidden_act", "gelu"), source),
        projector_bias=bool(config.get("multimodal_projector_bias", True)),
        text_hidden=_whole(text, "hidden_size", source),
        image_token=_whole(config, "image_token_index" if "image_token_index" in config else "image_token_id", source),
        processing=_processing(processor, size, source),
    )


def _states(config: Mapping[str, Any], layers: int, source: str) -> tuple[int, tuple[int, ...]]:
    """Returns how many layers are computed, and which states are taken."""
    given = config.get("vision_feature_layer", -2)
    chosen = given if isinstance(given, list) else [given]
    states: list[int] = []
    for one in chosen:
        if isinstance(one, bool) or not isinstance(one, int) or not -(layers + 1) <= one <= layers:
            raise _refuse(source, f"vision_feature_layer {one!r} is none of its {layers} layers", _REMEDY)
        states.append(one % (layers + 1))
    if not states:
        raise _refuse(source, "vision_feature_layer names no layer", _REMEDY)
    return max(states), tuple(states)


def _processing(given: Mapping[str, Any], image_size: int, source: str) -> Processing:
    """Reads the settings of transformers' CLIP, SigLIP and LLaVA image processors."""
    if given.get("do_pad"):
        raise _refuse(source, "its image processor pads images (do_pad), which is not served", _REMEDY)
    resample = given.get("resample", _BICUBIC)
    if resample not in (_NEAREST, _LANCZOS, _BILINEAR, _BICUBIC):
        raise _refuse(source, f"the filter {resample!r} of its image processor is not served", _REMEDY)
    edge, resize = _size(given.get("size", {"shortest_edge": image_size}), source)
    crop = (0, 0)
    if given.get("do_center_crop", edge > 0):
        both = given.get("crop_size", image_size)
        crop = (both, both) if isinstance(both, int) else _pair(both, source)
    if not given.get("do_resize", True):
        edge, resize = 0, (0, 0)
    seen = crop if crop != (0, 0) else resize
    if seen != (image_size, image_size):
        problem = f"its image processor makes {seen[0]}x{seen[1]} pixels where the tower sees {image_size}x{image_size}"
        raise _refuse(source, problem, _REMEDY)
    normal = given.get("do_normalize", True)
    return Processing(
        shortest_edge=edge,
        resize=resize,
        resample=int(resample),
        crop=crop,
        rescale=float(given.get("rescale_factor", 1 / 255)) if given.get("do_rescale", True) else 1.0,
        mean=_channels(given.get("image_mean", _CLIP_MEAN), source) if normal else (),
        std=_channels(given.get("image_std", _CLIP_STD), source) if normal else (),
    )


def _size(given: object, source: str) -> tuple[int, tuple[int, int]]:
    if isinstance(given, int) and not isinstance(given, bool):
        return given, (0, 0)
    if isinstance(given, Mapping) and isinstance(given.get("shortest_edge"), int) and not given.get("longest_edge"):
        return given["shortest_edge"], (0, 0)
    return 0, _pair(given, source)


def _pair(given: object, source: str) -> tuple[int, int]:
    if isinstance(given, Mapping):
        height, width = given.get("height"), given.get("width")
        if isinstance(height, int) and isinstance(width, int):
            return height, width
    raise _refuse(source, f"the size {given!r} of its image processor is not served", _REMEDY)


def _channels(given: object, source: str) -> tuple[float, ...]:
    values: Any = given if isinstance(given, list | tuple) else (given,) * 3
    if len(values) != 3 or not all(isinstance(value, int | float) for value in values):
        raise _refuse(source, f"{given!r} of its image processor is not one number per channel", _REMEDY)
    return tuple(float(value) for value in values)


def _activation(name: object, source: str) -> str:
    if name not in _ACTIVATIONS:
        raise _refuse(source, f"the activation {name} is not served in a vision tower", _REMEDY)
    return str(name)


def _whole(data: Mapping[str, Any], key: str, source: str) -> int:
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        problem = f"config.json lacks {key}" if value is None else f"{key} {value!r} is not served"
        raise _refuse(source, problem, "use a model with a complete config.json")
    return value


def _refuse(source: str, problem: str, remedy: str) -> ConfigError:
    return ConfigError(_FIELD, source, problem, remedy)
