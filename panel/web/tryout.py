"""One prompt sent to a run's router for the Try it tab, and what came back, with times.

The browser cannot ask the router itself (another origin, which the router refuses), so the panel relays.
Times are taken here, where each event arrives, and not in the page, which may be busy drawing. Knows nothing
of Gradio.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

import aiohttp
from pydantic import BaseModel, ConfigDict, Field

from ...engine.errors import PdpanelError, PeerError

__all__ = ["TryRequest", "try_prompt"]

_LONGEST_LINE = 1 << 20


class TryRequest(BaseModel):
    """What the Try it tab sends; `chat` applies the model's chat template."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: Annotated[str, Field(min_length=1, max_length=200_000)]
    max_tokens: Annotated[int, Field(ge=1, le=100_000)] = 128
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    chat: bool = True


def _body(request: TryRequest, model: str) -> dict[str, object]:
    body: dict[str, object] = {
        "model": model,
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.chat:
        body["messages"] = [{"role": "user", "content": request.prompt}]
    else:
        body["prompt"] = request.prompt
    return body


async def _model_name(
    session: aiohttp.ClientSession, router_url: str, fallback: str, headers: Mapping[str, str]
) -> str:
    async with session.get(f"{router_url}/v1/models", headers=headers, allow_redirects=False) as response:
        if response.status != 200:
            return fallback
        try:
            return str((await response.json(content_type=None))["data"][0]["id"])
        except (ValueError, LookupError, TypeError):
            return fallback


def _reason(body: str, status: int) -> str:
    """Returns the one sentence of an error body: OpenAI's, SGLang's or plain text."""
    try:
        value: Any = json.loads(body)
    except ValueError:
        value = body.strip().splitlines()[0][:300] if body.strip() else ""
    for key in ("error", "message", "detail"):
        if isinstance(value, Mapping) and key in value:
            value = value[key]
    text = value if isinstance(value, str) and value else "no reason was given"
    return f"The router answered with status {status}: {text}"


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """Yields the JSON events of a server-sent event stream up to [DONE]."""
    buffer = b""
    async for block in response.content.iter_any():
        buffer += block
        *lines, buffer = buffer.split(b"\n")
        if len(buffer) > _LONGEST_LINE:
            raise PeerError("The router sent an event of more than 1 MiB.")
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                return
            try:
                event = json.loads(data)
            except ValueError:
                raise PeerError("The router sent an event that is not JSON.") from None
            if isinstance(event, dict):
                yield event


async def try_prompt(
    session: aiohttp.ClientSession, router_url: str, model: str, request: TryRequest, api_key: str = ""
) -> AsyncIterator[dict[str, object]]:
    """Yields {"type": "text", "ms", "text"} as it comes, then one of type "end" or "error".

    Closing the iterator early closes the connection, which aborts the request in the engine. `ms` counts from
    the moment the request is sent. A redirect is not followed: it would take the key elsewhere.
    """
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        name = await _model_name(session, router_url, model, headers)
        route = "/v1/chat/completions" if request.chat else "/v1/completions"
        begun = time.perf_counter()
        url, sent = f"{router_url}{route}", _body(request, name)
        async with session.post(url, json=sent, headers=headers, allow_redirects=False) as response:
            if response.status != 200:
                yield {"type": "error", "reason": _reason(await response.text(), response.status)}
                return
            finish: object = None
            usage: Mapping[str, object] = {}
            async for event in _events(response):
                elapsed_ms = round((time.perf_counter() - begun) * 1000, 3)
                if "error" in event:
                    yield {"type": "error", "reason": _reason(json.dumps(event), 200)}
                    return
                usage = event.get("usage") or usage
                for choice in event.get("choices") or ():
                    text = (choice.get("delta") or {}).get("content") or choice.get("text") or ""
                    finish = choice.get("finish_reason") or finish
                    if text:
                        yield {"type": "text", "ms": elapsed_ms, "text": text}
            yield {
                "type": "end",
                "ms": round((time.perf_counter() - begun) * 1000, 3),
                "finish": finish,
                "prompt_tokens": usage.get("prompt_tokens"),
                "completion_tokens": usage.get("completion_tokens"),
            }
    except (aiohttp.ClientError, TimeoutError) as error:
        what = str(error) or type(error).__name__
        yield {
            "type": "error",
            "reason": f"The router at {router_url} cannot be reached or went away: {what}.",
        }
    except PdpanelError as error:
        yield {"type": "error", "reason": str(error)}
