"""Seeds for requests that sample without one, so that another pair would draw the same tokens again.

The seed is put where SGLang's API has it: `seed` on the OpenAI routes, `sampling_seed` among /generate's
sampling_params. What the client wrote stays as it is, byte for byte, but for a seed of null. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

__all__ = ["asks_for_logprobs", "seeded"]

_BLANKS = " \t\r\n"
_NAMES = ("seed", "sampling_seed")
_decoder = json.JSONDecoder()


def asks_for_logprobs(fields: Mapping[str, object]) -> bool:
    """True when a body of /generate asks for logprobs, of any prompt of a batch."""
    asked = fields.get("return_logprob")
    return asked is True or (isinstance(asked, list) and any(asked))


def _is_greedy(sampling: Mapping[str, object]) -> bool:
    temperature, top_k = sampling.get("temperature"), sampling.get("top_k")
    return (temperature == 0 and temperature is not False) or (top_k == 1 and top_k is not True)


def _skip(text: str, at: int) -> int:
    while text[at] in _BLANKS:
        at += 1
    return at


def _end_of(text: str, name: str) -> int:
    """Returns where the value of the top-level field `name` ends in `text`, a JSON object that has it.

    The text is walked field by field, since a name may stand in a string, too. It has been parsed before.
    """
    at = _skip(text, 1)
    while True:
        key, at = _decoder.raw_decode(text, at)
        at = _skip(text, _skip(text, at) + 1)
        _, at = _decoder.raw_decode(text, at)
        if key == name:
            return at
        at = _skip(text, _skip(text, at) + 1)


def _inserted(text: str, end: int, field: str, *, is_empty: bool) -> str:
    """Returns `text` with `field` as the last one of the object that ends before `end`."""
    return text[: end - 1] + ("" if is_empty else ",") + field + text[end - 1 :]


def seeded(route: str, text: str, fields: dict[str, object], seed: int | None) -> tuple[str, bool]:
    """Returns the body with a seed, if it needs and may get one, and whether its tokens would come again.

    Args:
        text: the body, a JSON object without blanks around it.
        fields: the same, parsed.
        seed: None gives none.
    """
    nested = route == "/generate"
    given = fields.get("sampling_params") if nested else fields
    if nested and "sampling_params" in fields and not isinstance(given, dict):
        return text, False  # A list of them, or a mistake: for the worker to judge.
    sampling = cast("Mapping[str, object]", given or {})
    if any(sampling.get(name) is not None for name in _NAMES) or _is_greedy(sampling):
        return text, True
    if seed is None:
        return text, False
    names = [name for name in _NAMES if name in sampling]
    if names:
        kept: dict[str, object] = {name: value for name, value in sampling.items() if name not in names}
        kept["sampling_seed" if nested else "seed"] = seed
        whole = {**fields, "sampling_params": kept} if nested else kept
        return json.dumps(whole, separators=(",", ":")), True
    if not nested:
        return _inserted(text, len(text), f'"seed":{seed}', is_empty=not fields), True
    if "sampling_params" not in fields:
        added = f'"sampling_params":{{"sampling_seed":{seed}}}'
        return _inserted(text, len(text), added, is_empty=not fields), True
    end = _end_of(text, "sampling_params")
    return _inserted(text, end, f'"sampling_seed":{seed}', is_empty=not sampling), True
