"""The recipe `smoke-test`: one request to a router, to see that an answer comes; and the request for other recipes.

Pure. Knows two dialects of HTTP: SGLang's /generate and OpenAI's /v1/completions.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ...engine.errors import ConfigError
from .recipe import Command, Kind, Parameter, Recipe, Rendered, TextRule
from .settings import Settings, url_host

__all__ = ["MODEL", "RECIPES", "generate_request"]

MODEL = TextRule(
    re.compile(r"(?!-)[^\s\x00-\x1f\x7f]{1,400}"),
    "is not the name of a model",
    "write it without spaces and line breaks, and not beginning with a dash",
)


def generate_request(
    host: str, port: int, prompt: str, sampling: dict[str, Any], *, node: str | None = None
) -> Command:
    """Returns the `curl` that asks SGLang's /generate, on `node`."""
    body = json.dumps({"text": prompt, "sampling_params": sampling})
    url = f"http://{url_host(host)}:{port}/generate"
    return Command("smoke-test", ("curl", "-X", "POST", url, *_json(body)), node=node)


def _json(body: str) -> tuple[str, ...]:
    # A body of ours begins with a brace, so that curl never takes it for the @name of a file.
    return ("-H", "Content-Type: application/json", "-d", body)


def _render(settings: Settings) -> Rendered:
    host, port, prompt = settings.text("host"), settings.count("port"), settings.text("prompt")
    node = settings.text("node") if settings.has("node") else None
    sampling: dict[str, Any] = {}
    if settings.has("temperature"):
        sampling["temperature"] = settings.number("temperature")
    if settings.text("api") == "generate":
        if settings.has("model"):
            raise ConfigError("model", settings.text("model"), "is not sent to /generate", "set api=completions")
        if settings.has("max_tokens"):
            sampling["max_new_tokens"] = settings.count("max_tokens")
        return Rendered((generate_request(host, port, prompt, sampling, node=node),))
    if not settings.has("model"):
        raise ConfigError("model", "", "is missing; /v1/completions needs it", "add --set model=NAME")
    body: dict[str, Any] = {"model": settings.text("model"), "prompt": prompt}
    if settings.has("max_tokens"):
        body["max_tokens"] = settings.count("max_tokens")
    url = f"http://{url_host(host)}:{port}/v1/completions"
    return Rendered((Command("smoke-test", ("curl", "-s", url, *_json(json.dumps(body | sampling))), node=node),))


RECIPES = (
    Recipe(
        "smoke-test",
        "Ask a router for one answer",
        "The request of the documents: SGLang's /generate, or /v1/completions of vLLM and of every OpenAI API.",
        (
            Parameter("api", Kind.CHOICE, "generate", "which of the two is asked", ("generate", "completions")),
            Parameter("host", Kind.HOST, "127.0.0.1", "where the router listens"),
            Parameter("port", Kind.PORT, "8000", "the router's port"),
            Parameter("prompt", Kind.TEXT, "Tell me a long story", "what is asked"),
            Parameter("temperature", Kind.NUMBER, None, "0 for the likeliest answer; without it, the server's default"),
            Parameter("max_tokens", Kind.COUNT, None, "how long the answer may be"),
            Parameter("model", Kind.TEXT, None, "the served model's name, for completions", rule=MODEL),
            Parameter("node", Kind.HOST, None, "the host on which curl runs"),
        ),
        "Mooncake's SGLang and vLLM V0 documents; ROCm's SGLang and Mooncake document",
        _render,
    ),
)
