"""The script that runs before Gradio's own: in the page, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from pdpanel.panel.web.early_script import EarlyScript

PAGE = b"<html><head><title>x</title></head><body></head></body></html>"


def ask(path: str, status: int = 200, parts: tuple[bytes, ...] = (PAGE,)) -> tuple[dict[bytes, bytes], bytes]:
    """Returns headers and body of what an application answers through the middleware."""
    sent: list[MutableMapping[str, Any]] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        coded = [header for header in scope["headers"] if header[0] == b"accept-encoding"]
        length = str(sum(map(len, parts))).encode()
        headers = [(b"Content-Length", length), (b"x-coded", b"yes" if coded else b"no")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for place, part in enumerate(parts):
            await send({"type": "http.response.body", "body": part, "more_body": place + 1 < len(parts)})

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "path": path, "method": "GET", "headers": [(b"accept-encoding", b"gzip")]}
    asyncio.run(EarlyScript(inner, "./early.js")(scope, receive, send))
    headers = {name.lower(): value for name, value in sent[0]["headers"]}
    return headers, b"".join(message["body"] for message in sent[1:])


@pytest.mark.parametrize("parts", [(PAGE,), (PAGE[:20], PAGE[20:33], PAGE[33:])])
def test_the_page_gets_the_script_once(parts: tuple[bytes, ...]) -> None:
    headers, body = ask("/", parts=parts)
    assert body == PAGE.replace(b"</head>", b'<script src="./early.js"></script></head>', 1)
    assert headers[b"content-length"] == str(len(body)).encode()
    assert headers[b"x-coded"] == b"no"


def test_other_files_and_failures_stay_as_they_are() -> None:
    headers, body = ask("/assets/a.js")
    assert body == PAGE and headers[b"x-coded"] == b"yes"
    _, body = ask("/", status=500)
    assert body == PAGE
