"""The request that shows that a deployment answers, as `curl` with SGLang's or OpenAI's body.

Pure. A dialect says which of the two its router speaks and what its documents ask; the deployment's `smoke_test`
goes first.
"""

from __future__ import annotations

import ipaddress
import json

from ..deployment_parts import SmokeTestSpec
from ..launch import Request
from .placement import PlacedRouter, url

__all__ = ["asked_host", "completions_request", "generate_request"]

_JSON = ("-H", "Content-Type: application/json", "-d")


def asked_host(listen: str, loopback: str = "127.0.0.1") -> str:
    """Returns the address that reaches, on its own node, a server that listens on `listen`.

    Args:
        loopback: what stands for 127.0.0.1 and for all addresses, such as localhost.
    """
    try:
        address = ipaddress.ip_address(listen)
    except ValueError:
        return listen
    if address.version == 6:
        return "::1" if address.is_unspecified else listen
    return loopback if address.is_unspecified or listen == "127.0.0.1" else listen


def generate_request(router: PlacedRouter, spec: SmokeTestSpec, prompt: str) -> Request:
    """Returns the `curl` that asks SGLang's /generate through the router; `prompt` is the dialect's own."""
    sampling: dict[str, float | int] = {"temperature": _number(0.0 if spec.temperature is None else spec.temperature)}
    if spec.max_tokens is not None:
        sampling["max_new_tokens"] = spec.max_tokens
    text = prompt if spec.prompt is None else spec.prompt
    body = json.dumps({"text": text, "sampling_params": sampling})
    target = url(asked_host(router.listen), router.port, "/generate")
    return Request(("curl", "-X", "POST", target, *_JSON, body), router.node)


def completions_request(router: PlacedRouter, spec: SmokeTestSpec, model: str, prompt: str, max_tokens: int) -> Request:
    """Returns the `curl` that asks OpenAI's /v1/completions; prompt and length are the dialect's own.

    Args:
        model: the name that the engine serves the model under.
    """
    body: dict[str, object] = {
        "model": model,
        "prompt": prompt if spec.prompt is None else spec.prompt,
        "max_tokens": max_tokens if spec.max_tokens is None else spec.max_tokens,
    }
    if spec.temperature is not None:
        body["temperature"] = _number(spec.temperature)
    target = url(asked_host(router.listen, "localhost"), router.port, "/v1/completions")
    return Request(("curl", "-s", target, *_JSON, json.dumps(body)), router.node)


def _number(value: float) -> float | int:
    """Returns 0 for 0.0, as people write it."""
    return int(value) if value == int(value) else value
