"""Forward pass of a vision tower and its projector, in float32.

CLIP's and SigLIP's towers differ in the class token, a bias and a norm; the projector is LLaVA's. Batches of images go
through together. Called on the encoder's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import ConfigError
from .checkpoint import VISION_TENSORS_FILE, vision_layout
from .embeddings import Rows
from .image import Pixels
from .shape import VisionShape

__all__ = ["ImageEncoder", "load_encoder"]

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": F.relu,
    "silu": F.silu,
}


def load_encoder(directory: Path, shape: VisionShape, device: torch.device | None = None) -> ImageEncoder:
    """Returns the encoder of a converted directory.

    Args:
        device: where it computes; None is the CPU, where its weights stay mapped from the file.

    Raises:
        ConfigError: a tensor is missing or misshaped, or the file is damaged.
    """
    try:
        with safe_open(directory / VISION_TENSORS_FILE, framework="pt") as file:
            stored = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise _refuse(directory, f"{VISION_TENSORS_FILE} is damaged ({error})") from None
    for name, wanted in vision_layout(shape):
        if name not in stored or tuple(stored[name].shape) != wanted:
            raise _refuse(directory, f"tensor {name} of {VISION_TENSORS_FILE} is missing or misshaped")
    return ImageEncoder(shape, {name: one.to(device or "cpu") for name, one in stored.items()})


def _refuse(directory: Path, problem: str) -> ConfigError:
    return ConfigError("--model-path", str(directory), problem, "delete this directory and start again")


class ImageEncoder:
    """A loaded vision tower with its projector.

    Args:
        weights: by the names of `vision_layout`.
    """

    def __init__(self, shape: VisionShape, weights: Mapping[str, Tensor]) -> None:
        self.shape = shape
        self._weights = weights
        self._activation = _ACTIVATIONS[shape.activation]
        self._projector_activation = _ACTIVATIONS[shape.projector_activation]

    def encode(self, images: Sequence[Pixels]) -> list[Rows]:
        """Returns the embeddings of each image, float32 [rows, text_hidden], of images [3, size, size].

        They lie in one piece; what is kept of it must be copied.
        """
        device = self._weights["projector.linear_1.weight"].device
        with torch.inference_mode():
            found = self._project(self._states(torch.from_numpy(np.stack(images)).to(device))).cpu()
        return list(found.numpy())

    def _states(self, pixels: Tensor) -> Tensor:
        """Returns the states that are taken, [images, rows, hidden * number of states]."""
        shape, weights = self.shape, self._weights
        patch = "tower.embeddings.patch_embedding."
        x = F.conv2d(pixels, weights[patch + "weight"], weights.get(patch + "bias"), stride=shape.patch_size)
        x = x.flatten(2).transpose(1, 2)  # [images, patches, hidden]
        if shape.tower == "clip":
            first = weights["tower.embeddings.class_embedding"].expand(len(x), 1, -1)
            x = torch.cat((first, x), dim=1)
        x = x + weights["tower.embeddings.position_embedding.weight"]
        if shape.tower == "clip":
            x = self._norm(x, "tower.pre_layrnorm")
        states = [x]
        for layer in range(shape.layers):
            name = f"tower.encoder.layers.{layer}."
            x = x + self._attention(self._norm(x, name + "layer_norm1"), name + "self_attn.")
            h = self._linear(self._norm(x, name + "layer_norm2"), name + "mlp.fc1")
            x = x + self._linear(self._activation(h), name + "mlp.fc2")
            states.append(x)
        taken = [states[index][:, shape.drop_first :] for index in shape.states]
        return torch.cat(taken, dim=-1)

    def _attention(self, x: Tensor, name: str) -> Tensor:
        heads = self.shape.heads

        def split(projection: str) -> Tensor:
            return self._linear(x, name + projection).unflatten(-1, (heads, -1)).transpose(1, 2)

        found = F.scaled_dot_product_attention(split("q_proj"), split("k_proj"), split("v_proj"))
        return self._linear(found.transpose(1, 2).flatten(2), name + "out_proj")

    def _project(self, states: Tensor) -> Tensor:
        h = self._projector_activation(self._linear(states, "projector.linear_1"))
        return self._linear(h, "projector.linear_2")

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self._weights[name + ".weight"], self._weights.get(name + ".bias"))

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weights = self._weights
        return F.layer_norm(x, (self.shape.hidden,), weights[name + ".weight"], weights[name + ".bias"], self.shape.eps)
