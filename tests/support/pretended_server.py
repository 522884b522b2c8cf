"""A server of the OpenAI API that computes nothing, in a thread: it streams tokens as a test wants, or goes wrong.

The behaviour is chosen with each server: `gap_s` between tokens, `per_event` tokens in an event, `usage` in each event
(always), at the end (end) or not (none), and `wrong`, a way to fail for every request but the short trial ones.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine, Mapping
from typing import Any

from aiohttp import web

__all__ = ["PretendedServer"]

# A trial asks for fewer tokens than any test does.
_TRIAL = 2


class PretendedServer:
    """One server on 127.0.0.1.

    Attributes:
        url: its address.
        bodies: of all requests, oldest first.
        most: how many requests were under way at once.
    """

    def __init__(
        self,
        *,
        gap_s: float = 0.0,
        per_event: int = 1,
        usage: str = "always",
        wrong: str = "",
        key: str = "",
        pages: Mapping[str, Any] | None = None,
    ) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.most = 0
        self._now = 0
        self._gap_s, self._per_event, self._usage, self._wrong, self._key = gap_s, per_event, usage, wrong, key
        self._pages = {"/v1/models": {"data": [{"id": "pretended"}]}} | dict(pages or {})
        self._loop = asyncio.new_event_loop()
        app = web.Application()
        app.router.add_get("/{path:.*}", self._page)
        app.router.add_post("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._call(self._listen())
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    def close(self) -> None:
        """Ends the server and what it was about to answer."""
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()

    async def _end(self) -> None:
        # A connection that is accepted while the server closes would never be closed: asyncio forgets it.
        await asyncio.sleep(0.1)
        assert self._runner.server is not None
        for connection in self._runner.server.connections:
            if isinstance(connection.transport, asyncio.WriteTransport):
                connection.transport.abort()
        await asyncio.sleep(0.05)
        await self._runner.cleanup()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A connection that is closed lets go of its socket in a later turn of the loop.
        await asyncio.sleep(0.05)

    def __enter__(self) -> PretendedServer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def _page(self, request: web.Request) -> web.StreamResponse:
        if self._key and request.headers.get("Authorization") != f"Bearer {self._key}":
            return web.json_response({"error": {"message": "no such key"}}, status=401)
        found = self._pages.get(request.path)
        if found is None:
            return web.json_response({"error": {"message": "not found"}}, status=404)
        return web.Response(text=found) if isinstance(found, str) else web.json_response(found)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/tokenize" or request.path in self._pages:
            return await self._page(request)
        body = await request.json()
        self.bodies.append(body)
        if self._usage == "none" and "stream_options" in body:
            return web.json_response({"error": {"message": "stream_options: unknown"}}, status=400)
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            return await self._stream(request, body)
        finally:
            self._now -= 1

    async def _stream(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        wanted = body.get("max_tokens") or body["sampling_params"]["max_new_tokens"]
        wrong = self._wrong if wanted > _TRIAL else ""
        if wrong == "refuse":
            return web.json_response({"error": {"message": f"max_tokens = {wanted}: too long"}}, status=400)
        if wrong == "silent":
            await asyncio.sleep(60)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        prompt = body.get("prompt", body.get("messages") or body.get("text") or body.get("input_ids"))
        count = len(prompt) if isinstance(prompt, list) else len(str(prompt).split())
        sent = 0
        while sent < wanted or wrong == "endless":
            await asyncio.sleep(self._gap_s)
            if wrong == "garbage" and sent:
                await response.write(b"data: <html>\n\n")
                return response
            if wrong == "cut" and sent:
                return response
            size = min(self._per_event, max(1, wanted - sent))
            sent += size
            await self._event(response, "messages" in body, "word " * size, count, sent, last=sent >= wanted)
        if self._usage != "none" and "stream_options" in body:
            usage = {"prompt_tokens": count, "completion_tokens": sent}
            await response.write(b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _event(
        self, response: web.StreamResponse, chat: bool, text: str, prompt: int, sent: int, *, last: bool
    ) -> None:
        choice: dict[str, Any] = {"delta": {"content": text}} if chat else {"text": text}
        event: dict[str, Any] = {"choices": [choice | {"finish_reason": "length" if last else None}]}
        if self._usage == "always":
            event["usage"] = {"prompt_tokens": prompt, "completion_tokens": sent}
        await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")
