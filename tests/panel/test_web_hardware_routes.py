"""The upload of a dump: limits on size and number, files that are deleted, browsers that leave."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pdpanel.nic_probe.errors import SourceError
from pdpanel.panel.web.hardware_routes import hardware_routes
from simulated_source import SimulatedSource
from starlette.testclient import TestClient

RAW = {"Content-Type": "application/octet-stream"}
INSPECT = "/api/hardware/inspect"


class _Keeper(SimulatedSource):
    """Remembers the path of each file that it is shown."""

    path: Path

    def inspect_hardware(self, path: Path, name: str) -> Mapping[str, object]:
        self.path = path
        assert path.read_bytes()
        raise SourceError("file", name, "is refused", "give another one")


def test_a_file_that_is_too_big_is_refused_and_every_file_is_deleted(tmp_path: Path) -> None:
    source = _Keeper(tmp_path)
    app = FastAPI()
    app.include_router(hardware_routes(source, limit=2_000_000))
    with TestClient(app) as client:
        answer = client.post(INSPECT, params={"name": "big"}, content=b"x" * 2_000_001, headers=RAW)
        assert answer.status_code == 413
        assert answer.json()["error"].startswith("file = 'big': has more than 2 MB")
        assert not hasattr(source, "path")
        assert client.post(INSPECT, params={"name": "small"}, content=b"x", headers=RAW).status_code == 422
    assert not source.path.exists()


def test_one_file_is_parsed_at_once_and_those_of_browsers_that_left_never(tmp_path: Path) -> None:
    """Whoever chooses one file after the other must fill neither memory nor disk."""
    reached, free = threading.Event(), threading.Event()
    parsed: list[str] = []

    class Slow(SimulatedSource):
        def inspect_hardware(self, path: Path, name: str) -> Mapping[str, object]:
            parsed.append(name)
            reached.set()
            assert free.wait(50)
            return {}

    app = FastAPI()
    app.include_router(hardware_routes(Slow(tmp_path)))

    async def ask(name: str, stays: bool, taken: list[str], four: asyncio.Event) -> int:
        body = [{"type": "http.request", "body": b"x", "more_body": False}]
        query = f"name={name}".encode()
        scope = {"type": "http", "method": "POST", "path": INSPECT, "query_string": query, "headers": []}
        sent: list[Any] = []

        async def receive() -> Any:
            if body:
                taken.append(name)
                if len(taken) == 4:
                    four.set()
                return body.pop()
            if stays:
                await asyncio.Event().wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await app(scope, receive, send)
        return sent[0]["status"]

    async def main() -> tuple[list[str], list[int]]:
        taken: list[str] = []
        four = asyncio.Event()
        asked = [asyncio.create_task(ask("first", True, taken, four))]
        await asyncio.to_thread(reached.wait, 50)
        asked += [asyncio.create_task(ask(f"gone{number}", False, taken, four)) for number in range(8)]
        asked.append(asyncio.create_task(ask("last", True, taken, four)))
        await asyncio.wait_for(four.wait(), 50)
        for _ in range(100):
            await asyncio.sleep(0)
        waiting = list(taken)
        free.set()
        return waiting, list(await asyncio.gather(*asked))

    waiting, answers = asyncio.run(main())
    assert waiting == ["first", "gone0", "gone1", "gone2"]
    assert answers == [200, *[400] * 8, 200]
    assert parsed == ["first", "last"]


def test_an_upload_that_breaks_off_is_no_accident(tmp_path: Path) -> None:
    """Choosing another host while a file is still being read ends the request in its middle."""
    app = FastAPI()
    app.include_router(hardware_routes(_Keeper(tmp_path)))
    messages = [{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}]
    scope = {
        "type": "http",
        "method": "POST",
        "path": INSPECT,
        "query_string": b"name=x",
        "headers": [(b"content-type", b"application/octet-stream")],
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0) if len(messages) > 1 else messages[0]

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 400
