"""The vision part against transformers: checkpoint, processing, embeddings, greedy tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pdpanel.engine.config import read_environment
from pdpanel.engine.kv import KVCache
from pdpanel.engine.model.executor import TokenSpan
from pdpanel.engine.model.store import ResolvedModel, resolve_model
from pdpanel.engine.model.weights import load_weights
from pdpanel.engine.vision.checkpoint import open_vision, split_names
from pdpanel.engine.vision.embeddings import EmbeddingStore
from pdpanel.engine.vision.encoder import load_encoder
from pdpanel.engine.vision.executor import ImageLlama
from pdpanel.engine.vision.image import process_image
from pdpanel.engine.vision.shape import VisionShape
from tiny_llava import TinyLlava, picture, png, write_tiny_llava


def reference(llava: TinyLlava, images: list[Any]) -> Any:
    with torch.no_grad():
        return llava.model.get_image_features(pixel_values=llava.pixels(images)).pooler_output


@pytest.mark.parametrize("size", [(28, 28), (40, 30), (30, 57), (12, 200), (301, 7), (1, 1), (29, 28)])
def test_processing_is_transformers_bit_by_bit(llava: TinyLlava, vision: VisionShape, size: tuple[int, int]) -> None:
    image = picture(3, *size)
    ours = process_image(png(image), vision.processing, "image")
    assert np.array_equal(ours, llava.pixels([image])[0].numpy())


def test_a_grey_image_is_processed_like_transformers(llava: TinyLlava, vision: VisionShape) -> None:
    image = picture(4).convert("LA")
    assert np.array_equal(process_image(png(image), vision.processing, "image"), llava.pixels([image])[0].numpy())


def test_embeddings_are_transformers(llava: TinyLlava, resolved: ResolvedModel, vision: VisionShape) -> None:
    images = [picture(seed) for seed in (1, 2, 3)]
    encoder = load_encoder(resolved.directory, vision)
    found = encoder.encode([process_image(png(image), vision.processing, "image") for image in images])
    for ours, theirs in zip(found, reference(llava, images), strict=True):
        assert ours.shape == (vision.rows, vision.text_hidden)
        torch.testing.assert_close(torch.from_numpy(ours), theirs, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("tower", "changes"),
    [
        ("siglip", {"vision_feature_select_strategy": "full", "vision_feature_layer": -1}),
        ("siglip", {"multimodal_projector_bias": False}),
        ("clip", {"vision_feature_select_strategy": "full", "vision_feature_layer": [1, -1]}),
    ],
)
def test_other_towers_and_layers(tmp_path: Path, tower: str, changes: dict[str, Any]) -> None:
    llava = write_tiny_llava(tmp_path / "model", tower, **changes)
    resolved = resolve_model(llava.folder, read_environment({"PDPANEL_CACHE_DIR": str(tmp_path / "cache")}))
    shape = open_vision(resolved.directory)
    assert shape is not None
    image = picture(5)
    [ours] = load_encoder(resolved.directory, shape).encode([process_image(png(image), shape.processing, "image")])
    torch.testing.assert_close(torch.from_numpy(ours), reference(llava, [image])[0], atol=2e-5, rtol=1e-5)


def test_greedy_tokens_with_two_images_are_transformers(
    llava: TinyLlava, resolved: ResolvedModel, vision: VisionShape
) -> None:
    images = [picture(1), picture(2, 30, 50)]
    token = vision.image_token
    prompt = [1, 50, 60, token, 70, token, 80, 90]
    store = EmbeddingStore(vision, 1 << 20)
    encoder = load_encoder(resolved.directory, vision)
    keys = [b"a", b"b"]
    for key, image in zip(keys, images, strict=True):
        [rows] = encoder.encode([process_image(png(image), vision.processing, "image")])
        store.put(key, rows)
    left = iter(keys)
    ids = [one for id_ in prompt for one in (store.ids(next(left)) if id_ == token else (id_,))]
    model = ImageLlama(resolved.shape, load_weights(resolved.directory, resolved.shape), 256, store)
    kv = KVCache(resolved.shape, pages=16, page_size=16, dtype=torch.float32, staging=False)
    out: list[int] = []
    with torch.inference_mode():
        model.forward([TokenSpan(ids[:21], 0, 0, False)], kv)  # a cut in the middle of an image
        logits = model.forward([TokenSpan(ids[21:], 21, 0, True)], kv)
        for _ in range(12):
            out.append(int(logits[0].argmax()))
            logits = model.forward([TokenSpan(out[-1:], len(ids) + len(out) - 1, 0, True)], kv)
    assert out == llava.greedy(prompt, images, 12)
    assert out != llava.greedy(prompt, images[::-1], 12)


@pytest.mark.parametrize(
    "form",
    [
        ("model.language_model.layers.0.x", "model.vision_tower.vision_model.y", "model.multi_modal_projector.z"),
        ("model.language_model.layers.0.x", "model.vision_tower.y", "model.multi_modal_projector.z"),
        ("language_model.model.layers.0.x", "vision_tower.vision_model.y", "multi_modal_projector.z"),
    ],
)
def test_names_of_old_and_new_checkpoints(form: tuple[str, str, str]) -> None:
    text, vision = split_names(dict.fromkeys((*form, "language_model.lm_head.weight"), 0))
    assert set(text) == {"model.layers.0.x", "lm_head.weight"}
    assert set(vision) == {"tower.y", "projector.z"}
    assert set(split_names({"lm_head.weight": 0})[0]) == {"lm_head.weight"}
