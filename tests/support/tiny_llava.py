"""A LLaVA model with random weights, written by transformers, what it answers, and images to ask it about."""

from __future__ import annotations

import base64
import io
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["IMAGE", "SIZE", "TinyLlava", "data_url", "picture", "png", "write_tiny_llava"]

SIZE, PATCH = 28, 7  # 16 patches, so 16 tokens an image
VOCABULARY = 320
IMAGE = "<image>"
TEMPLATE = (
    "{% for message in messages %}{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class TinyLlava:
    """The model's folder, and the same model in transformers."""

    folder: Path
    model: Any

    def pixels(self, images: Sequence[Any]) -> Any:
        """Returns what transformers' own processor makes of Pillow images, float32 [images, 3, size, size]."""
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

        processor = CLIPImageProcessorPil.from_pretrained(self.folder)
        return processor(images=list(images), return_tensors="pt")["pixel_values"]

    def greedy(self, ids: Sequence[int], images: Sequence[Any], count: int) -> list[int]:
        """Returns transformers' greedy output for a prompt whose image tokens stand for these images, in order."""
        import torch

        token, rows = self.model.config.image_token_id, (SIZE // PATCH) ** 2
        spread = [one for id_ in ids for one in ([token] * rows if id_ == token else [id_])]
        prompt = torch.tensor([spread])
        with torch.no_grad():
            found = self.model.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                **({"pixel_values": self.pixels(images)} if images else {}),
                do_sample=False,
                max_new_tokens=count,
                min_new_tokens=count,
                pad_token_id=0,
            )
        return found[0, len(spread) :].tolist()


def write_tiny_llava(folder: Path, tower: str = "clip", **changes: Any) -> TinyLlava:
    """Writes the model in transformers' layout and returns it.

    Args:
        tower: clip or siglip.
        changes: of LlavaConfig's arguments.
    """
    import torch
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        SiglipVisionConfig,
    )
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": SIZE,
        "patch_size": PATCH,
    }
    vision = CLIPVisionConfig(**sizes) if tower == "clip" else SiglipVisionConfig(**sizes)
    text = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    image_token = VOCABULARY - 1
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=image_token, **changes)
    torch.manual_seed(7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LlavaForConditionalGeneration(config).eval()
        with torch.no_grad():  # small random weights would make all logits alike
            for name, parameter in model.named_parameters():
                if parameter.ndim == 1:
                    parameter.normal_(float("norm" in name and name.endswith("weight")), 0.2)
                else:
                    inputs = parameter[0].numel()
                    parameter.normal_(0, 1 if "embed" in name and parameter.ndim == 2 else 2 * inputs**-0.5)
        model.save_pretrained(folder)
        processor = CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
        processor.save_pretrained(folder)
    model.generation_config.eos_token_id = None
    _write_tokenizer(folder)
    return TinyLlava(folder, model)


def _write_tokenizer(folder: Path) -> None:
    """Writes a tokenizer of bytes: id 3 + byte, and the image token last."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<pad>", "<s>", "</s>", *letters]
    tokens += [f"<unused{index}>" for index in range(VOCABULARY - 1 - len(tokens))]
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in ("<pad>", "<s>", "</s>", IMAGE)])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))


def picture(seed: int, width: int = 40, height: int = 30) -> Any:
    """Returns a Pillow image of random colours."""
    from PIL import Image

    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (5, 6, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BILINEAR)


def png(image: Any) -> bytes:
    """Returns the file of an image."""
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def data_url(data: bytes, kind: str = "image/png") -> str:
    """Returns a file as a data URL."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
