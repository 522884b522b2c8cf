"""A panel over simulated runs with a pretended router, as a process of its own for the browser tests.

Usage: panel_process.py FOLDER PORT TOKEN. Run as a file: it is no test and no module.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from pathlib import Path

from aiohttp import web
from pdpanel.panel.config import read_config
from pdpanel.panel.web.serve import serve
from simulated_source import SimulatedSource

HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


async def models(request: web.Request) -> web.Response:
    return web.json_response({"data": [{"id": "simulated"}]})


async def chat(request: web.Request) -> web.StreamResponse:
    """Streams as many words as asked; the prompt chooses what goes wrong."""
    body = await request.json()
    prompt = body["messages"][0]["content"] if "messages" in body else body["prompt"]
    if prompt == "fail":
        return web.json_response({"error": {"message": "the prompt is too long"}}, status=400)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)

    async def send(value: object) -> None:
        await response.write(b"data: " + json.dumps(value).encode() + b"\n\n")

    count = body["max_tokens"]
    for number in range(count):
        text = HOSTILE if prompt == "hostile" else f"word{number} "
        await send({"choices": [{"delta": {"content": text}} if "messages" in body else {"text": text}]})
        await asyncio.sleep(0.02)
    await send({"choices": [{"delta": {}, "finish_reason": "length"}]})
    await send({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": count}})
    await response.write(b"data: [DONE]\n\n")
    return response


def start_router() -> int:
    """Starts the router in a thread and returns its port."""
    loop = asyncio.new_event_loop()
    app = web.Application()
    app.router.add_get("/v1/models", models)
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_post("/v1/completions", chat)
    runner = web.AppRunner(app)
    loop.run_until_complete(runner.setup())
    loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return runner.addresses[0][1]


def main() -> None:
    """Serves until SIGTERM."""
    folder, port, token = sys.argv[1:]
    source = SimulatedSource(Path(folder), f"http://127.0.0.1:{start_router()}", ready_after_s=0.5)
    config = read_config(state_dir=Path(folder), config_dir=Path(folder) / "config")
    serve(config, port=int(port), open_browser=False, source=source, token=token)


if __name__ == "__main__":
    main()
