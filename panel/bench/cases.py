"""The requests that a benchmark sends: a fixed list of questions on every route, greedy and with a seed.

Pure. The same number gives the same list; what each should be answered, a unified worker says beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Case", "make_cases"]

_OPENINGS = (
    "The capital of France is",
    "Count from one to twenty: one, two,",
    "A short story about a lighthouse keeper and the sea:",
    "Explain in a few sentences why the sky is blue.",
    "List five animals that live in the forest, and what each of them eats in winter.",
    "def fibonacci(n):",
    "The three laws of motion were written down by",
    "Water boils at one hundred degrees, but high in the mountains",
)
_PADDING = " Many people have asked this before, and most of the answers agree on the main points."
# None, about one page, several pages, and more than one prompt chunk of tokens in front of the question.
_PADDINGS = (0, 1, 6, 40)
_ROUTES = ("/generate", "/v1/chat/completions", "/v1/completions")
_LENGTHS = (6, 24, 48)
# Of a context, for what is not padding: opening, images, answer.
_LEFT = 256


@dataclass(frozen=True, slots=True)
class Case:
    """One request.

    Attributes:
        name: unique in its list.
        body: of the POST, without what makes it a stream.
        stream: whether it asks for one.
    """

    name: str
    route: str
    body: Mapping[str, Any]
    stream: bool


def make_cases(count: int, *, longest: int = _LENGTHS[-1], context: int = 4096) -> tuple[Case, ...]:
    """Returns the first `count` cases; their answers have at most `longest` tokens.

    Args:
        context: tokens of the model's context, which a prompt fits into even where each character is a token.
    """
    most = (context - _LEFT) // len(_PADDING)
    return tuple(_case(index, longest, most) for index in range(count))


def _case(index: int, longest: int, most_paddings: int) -> Case:
    route = _ROUTES[index % len(_ROUTES)]
    paddings = min(_PADDINGS[index // 5 % len(_PADDINGS)], most_paddings)
    text = _PADDING * paddings + " " + _OPENINGS[index % len(_OPENINGS)]
    tokens = min(longest, _LENGTHS[index // 2 % len(_LENGTHS)])
    seeded = index % 2 == 1
    sampling = {"temperature": 0.8, "top_p": 0.95} if seeded else {"temperature": 0}
    body: dict[str, Any]
    if route == "/generate":
        own = {"sampling_seed": 1000 + index} if seeded else {}
        body = {"text": text.strip(), "sampling_params": {**sampling, **own, "max_new_tokens": tokens}}
    else:
        body = {**sampling, **({"seed": 1000 + index} if seeded else {}), "max_tokens": tokens, "model": "default"}
        if route == "/v1/completions":
            body["prompt"] = text.strip()
        else:
            body["messages"] = [{"role": "user", "content": text.strip()}]
    return Case(f"{index}{route}{' seeded' if seeded else ''}", route, body, stream=index % 4 != 3)
