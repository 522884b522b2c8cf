"""The flags of images and encoders, with SGLang's names, and which of them go together. Used by `arguments` alone."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigError
from ..flags import FlagParser, choice
from .ways import BACKENDS

__all__ = ["DEFAULT_MOST_IMAGES", "add_image_arguments", "check_images"]

DEFAULT_MOST_IMAGES = 16
_MOST_IMAGES = 1024
_LIMIT = "--limit-mm-data-per-request"


def add_image_arguments(parser: FlagParser) -> None:
    """Adds the flags; their values go into the `ServerConfig` fields of the same names."""
    add = parser.add_argument
    add("--encoder-only", action="store_true", help="an encoder worker: images in, embeddings out, no text")
    text = "leave images to the encoders of --encoder-urls, also on prefill and decode workers"
    add("--language-only", action="store_true", help=text)
    add(
        "--encoder-urls",
        nargs="+",
        default=(),
        action=_Urls,
        metavar="URL",
        help="encoder workers, separated by spaces; all of the same model",
    )
    flag = "--encoder-transfer-backend"
    add(
        flag,
        type=choice(flag, BACKENDS),
        default="auto",
        metavar="NAME",
        help=f"how embeddings travel: {', '.join(BACKENDS)} (by --disaggregation-transfer-backend) [zmq_to_scheduler]",
    )
    text = "get images of http and https addresses, public ones alone [data URLs only]"
    add("--allow-remote-images", action="store_true", help=text)
    add(
        _LIMIT,
        type=_limit,
        default=DEFAULT_MOST_IMAGES,
        metavar="JSON",
        help=f"images of a prompt at most, such as '{{\"image\": 4}}' [{DEFAULT_MOST_IMAGES}]",
    )


class _Urls(argparse.Action):
    """Keeps the addresses as a tuple."""

    def __call__(self, parser: object, namespace: argparse.Namespace, values: Any, option: object = None) -> None:
        setattr(namespace, self.dest, tuple(_url(value) for value in values))


def _url(text: str) -> str:
    try:
        split = urlsplit(text)
        good = split.scheme in ("http", "https") and bool(split.hostname) and split.port is not None
        good = good and split.path in ("", "/") and not split.query
    except ValueError:
        good = False
    if not good:
        raise ConfigError(
            "--encoder-urls",
            text,
            "not the address of a worker",
            "give addresses such as http://gpu3:30002, with spaces between them",
        )
    return text.rstrip("/")


def _limit(text: str) -> int:
    remedy = f'give a JSON object such as {{"image": 4}}, of 1 to {_MOST_IMAGES} images'
    try:
        found: object = json.loads(text)
    except ValueError:
        raise ConfigError(_LIMIT, text, "not JSON", remedy) from None
    if not isinstance(found, Mapping) or set(found) != {"image"}:
        raise ConfigError(_LIMIT, text, "not a limit of images, which are all that is served", remedy)
    count = found["image"]
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _MOST_IMAGES:
        raise ConfigError(_LIMIT, text, "out of range", remedy)
    return count


def check_images(values: Mapping[str, Any]) -> None:
    """Refuses flags that contradict each other.

    Args:
        values: of all flags, by the names of `ServerConfig`'s fields.

    Raises:
        ConfigError: it names one of them and what to do.
    """
    if values["encoder_only"]:
        if values["language_only"]:
            raise ConfigError("--encoder-only", True, "--language-only is given, too", "give one of the two")
        mode = values["disaggregation_mode"]
        if getattr(mode, "value", mode) != "null":
            problem = "an encoder is neither prefill nor decode"
            shown = getattr(mode, "value", mode)
            raise ConfigError("--disaggregation-mode", shown, problem, "leave it out, or --encoder-only")
    urls = values["encoder_urls"]
    if values["language_only"] and not urls:
        remedy = "give --encoder-urls http://HOST:PORT ..., or leave --language-only out: it encodes images itself then"
        raise ConfigError("--language-only", True, "the worker has no encoder to ask", remedy)
    if urls and not values["language_only"]:
        problem, remedy = "the worker would not ask them", "give --language-only, too, or leave it out"
        if values["encoder_only"]:
            problem, remedy = "an encoder asks no other one", "leave it out"
        raise ConfigError("--encoder-urls", " ".join(urls), problem, remedy)
    if len(set(urls)) < len(urls):
        raise ConfigError("--encoder-urls", " ".join(urls), "an address is given twice", "give each once")
