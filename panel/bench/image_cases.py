"""The requests of `cases` with images in them, for deployments with encoders. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .cases import Case
from .pictures import noise_url

__all__ = ["with_images"]

_IMAGE = "<image>"


def with_images(cases: Sequence[Case]) -> tuple[Case, ...]:
    """Returns the cases, each with one or two images of its own where its route takes any."""
    return tuple(_with_images(case, random.Random(f"images of {case.name}")) for case in cases)


def _with_images(case: Case, choice: random.Random) -> Case:
    urls = [noise_url(choice) for _ in range(choice.randint(1, 2))]
    body: dict[str, Any] = dict(case.body)
    if "text" in body:
        body |= {"text": f"{_IMAGE * len(urls)} {body['text']}", "image_data": urls}
    elif "messages" in body:
        (message,) = body["messages"]
        parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        body["messages"] = [{**message, "content": [*parts, {"type": "text", "text": message["content"]}]}]
    else:
        return case
    return replace(case, name=f"{case.name} {len(urls)} images", body=body)
