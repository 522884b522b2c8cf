"""Makes models of random weights: folders in Hugging Face's layout, the same each time.

`random:NAME` where a model is named stands for one of `random_shapes`; `store` has it made in the cache on first use,
under a lock and by rename, so that workers which start together make it once. Weights are bfloat16, the tokenizer's
tokens are bytes. transformers, vLLM and the bundled engine open such a folder; none of them is needed to write it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from .disk import disk_errors, file_lock, require_space
from .progress import OnProgress, Progress, no_progress
from .random_shapes import IMAGE_TOKEN, PREFIX, SHAPES, TOKENS, RandomTensor, random_config, random_tensors
from .tensorfile import file_header, write_tensors

if TYPE_CHECKING:
    import numpy as np

__all__ = ["make_random_model", "random_name", "write_random_model"]

_FORMAT = 1
_ELEMENTS_AT_ONCE = 2 << 20
_CHAT = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
_CHAT_WITH_IMAGES = (
    "{% for message in messages %}{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}<image>{% endif %}"
    "{% endfor %}{% endif %}\n{% endfor %}"
)
# CLIP's, as transformers has them.
_MEAN, _DEVIATION = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def random_name(model: str) -> str | None:
    """Returns NAME of `random:NAME`, None for any other text.

    Raises:
        ConfigError: there is no such model.
    """
    if not model.startswith(PREFIX):
        return None
    name = model.removeprefix(PREFIX)
    if name not in SHAPES:
        names = ", ".join(PREFIX + each for each in SHAPES)
        raise ConfigError("--model-path", model, "there is no such model of random weights", f"use one of {names}")
    return name


def make_random_model(name: str, cache_dir: Path, on_progress: OnProgress = no_progress) -> Path:
    """Returns the folder of the random model `name` in the cache, writing it when it is not there.

    Args:
        name: one of `random_shapes.SHAPES`.
        cache_dir: gets models/random/NAME-FORMAT/.
        on_progress: called in this thread with the stages `wait` and `write`.

    Raises:
        ConfigError: there is no such model, or no space for it.
    """
    config = random_config(name)
    folder = cache_dir / "models" / "random"
    target = folder / f"{name}-{_FORMAT}"
    if target.is_dir():
        return target
    with disk_errors(PREFIX + name), file_lock(folder / f"{name}.lock", on_progress):
        if target.is_dir():
            return target
        for stale in folder.glob(f"{name}-{_FORMAT}.tmp-*"):
            shutil.rmtree(stale, ignore_errors=True)
        _, size = file_header(((each.name, each.shape) for each in random_tensors(config)), "BF16")
        require_space(folder, size, field="--model-path", value=PREFIX + name)
        temporary = folder / f"{target.name}.tmp-{os.getpid()}"
        try:
            write_random_model(temporary, name, on_progress=on_progress)
            temporary.rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def write_random_model(folder: Path, name: str, seed: int = 0, on_progress: OnProgress = no_progress) -> Path:
    """Writes a model; the same name and seed give the same files.

    Args:
        folder: is made when it is not there.
        name: one of `random_shapes.SHAPES`. `qwen3-0.6b` takes 1.2 GB and some seconds.
        seed: of the weights.

    Returns:
        The folder.

    Raises:
        ConfigError: there is no such model.
        OSError: the disk is full or cannot be written.
    """
    import numpy as np  # kept out of the imports at the top: the panel's commands start without it

    config = random_config(name)
    tensors = random_tensors(config)
    header, length = file_header(((each.name, each.shape) for each in tensors), "BF16")
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "model.safetensors").open("wb") as file:
        blocks = (block for each in tensors for block in _bfloat16(each, random))
        for done in write_tensors(file, header, length, blocks):
            on_progress(Progress("write", done, length))
    _write_json(folder / "config.json", config)
    sees = "vision_config" in config
    _write_tokenizer(folder, (config["text_config"] if sees else config)["vocab_size"], sees=sees)
    if sees:
        _write_processor(folder, config)
    return folder


def _bfloat16(tensor: RandomTensor, random: np.random.Generator) -> Iterator[memoryview]:
    """Yields a tensor's bytes."""
    import numpy as np

    rows, inner = tensor.shape[0], tensor.shape[1:]
    width = int(np.prod(inner)) if inner else 1
    step = max(_ELEMENTS_AT_ONCE // width, 1)
    for start in range(0, rows, step):
        size = (min(step, rows - start), *inner)
        values = random.standard_normal(size, dtype=np.float32) * np.float32(tensor.spread) + np.float32(tensor.mean)
        yield (values.view(np.uint32) >> 16).astype("<u2").data


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _write_tokenizer(folder: Path, vocabulary: int, *, sees: bool) -> None:
    """Writes a tokenizer of single bytes; the ids above them decode to words of their own, as a real one's do."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    special = [f"<|{place}|>" for place in range(TOKENS.start)]
    if sees:
        special[IMAGE_TOKEN] = "<image>"
    tokens = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokens += [f"Ġw{number}" for number in range(TOKENS.stop, vocabulary)]
    tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "bos_token": special[1],
        "eos_token": special[2],
        "chat_template": _CHAT_WITH_IMAGES if sees else _CHAT,
    }
    _write_json(folder / "tokenizer_config.json", settings)


def _write_processor(folder: Path, config: dict[str, Any]) -> None:
    """Writes how images become pixels, as transformers saves it."""
    vision = config["vision_config"]
    size = vision["image_size"]
    pixels = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": size},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": _MEAN,
        "image_std": _DEVIATION,
    }
    _write_json(folder / "preprocessor_config.json", {**pixels, "processor_class": "LlavaProcessor"})
    settings = {
        "processor_class": "LlavaProcessor",
        "image_token": "<image>",
        "num_additional_image_tokens": 1,
        "patch_size": vision["patch_size"],
        "vision_feature_select_strategy": config["vision_feature_select_strategy"],
    }
    _write_json(folder / "processor_config.json", settings)
