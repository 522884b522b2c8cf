"""The routes of the Logs tab, and how much of a long log they read."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pdpanel.panel.logs import log_file
from pdpanel.panel.web.app import build_api
from pdpanel.panel.web.port import DeployForm
from simulated_source import SimulatedSource

LINE = "2026-11-21 05:05:38 INFO  step of a healthy log, number {:010d}\n"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    source = SimulatedSource(tmp_path)
    source.start(DeployForm("pd", "m", 1, 1, "tcp"))
    with TestClient(build_api(source)) as client:
        yield client


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "demo-1-model.log"


@pytest.fixture
def bytes_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts what is read of logs."""
    counted: list[int] = []
    read = log_file.LogFile.read

    def count(self: log_file.LogFile, start: int, end: int) -> bytes:
        data = read(self, start, end)
        counted.append(len(data))
        return data

    monkeypatch.setattr(log_file.LogFile, "read", count)
    return counted


def ask(client: TestClient, what: str, status: int = 200, **values: Any) -> Any:
    answer = client.get(f"/api/runs/demo-1/logs/model/{what}", params=values)
    assert answer.status_code == status, answer.text
    return answer.json()


def search_all(client: TestClient, **values: Any) -> list[int]:
    hits: list[int] = []
    at = 0
    while True:
        found = ask(client, "search", at=at, **values)
        hits += found["hits"]
        if found["done"]:
            return hits
        assert found["at"] > at
        at = found["at"]


def test_windows(client: TestClient, log: Path) -> None:
    log.write_text("".join(LINE.format(number) for number in range(3000)))
    end = ask(client, "rows", at=1 << 40, side="before")
    assert end["rows"][-1]["text"].endswith("2999")
    assert end["rows"][-1]["level"] == "info"
    before = ask(client, "rows", at=end["start"], side="before")
    assert before["end"] == end["start"]
    assert ask(client, "rows", at=end["end"], side="after")["rows"] == []
    around = ask(client, "rows", at=len(LINE.format(0)) * 1500 + 7, side="around")
    assert any(row["at"] == len(LINE.format(0)) * 1500 for row in around["rows"])


def test_a_finding_travels_once(client: TestClient, log: Path) -> None:
    log.write_text("E1121 05:05:38.0 1 a.cpp:1] Failed to register memory 0x7f: Bad address [14]\n" * 50)
    window = ask(client, "rows", at=0, side="after")
    assert len(window["findings"]) == 1
    assert {row["finding"] for row in window["rows"]} == {0}


def test_search_time_and_file(client: TestClient, log: Path) -> None:
    text = "".join(LINE.format(number) for number in range(100)) + "2026-11-21 06:00:00 ERROR bad\n"
    log.write_text(text)
    assert search_all(client, text="NUMBER 000000009") == [len(LINE.format(0)) * number for number in range(90, 100)]
    assert search_all(client, text="NUMBER", case=True) == []
    assert search_all(client, text=r"number 0+42$", regex=True) == [len(LINE.format(0)) * 42]
    (error,) = search_all(client, level="error")
    assert ask(client, "time", text="06:00:00")["at"] == error
    assert client.get("/api/runs/demo-1/logs/model/file").text == text


def test_the_next_hit_after_an_unfinished_last_line_is_none(client: TestClient, log: Path) -> None:
    log.write_text("hit\nlast hit")
    found = ask(client, "search", at=4, text="hit", most=1)
    assert found["hits"] == [4]
    assert ask(client, "search", at=12, text="hit", most=1)["hits"] == []
    assert ask(client, "search", at=12, text="hit", most=1, backward=True)["hits"] == [4]


@pytest.mark.parametrize(
    ("what", "values", "status"),
    [
        ("rows", {"at": -1, "side": "before"}, 422),
        ("rows", {"at": 0, "side": "beside"}, 422),
        ("search", {"at": 0, "text": "(", "regex": True}, 400),
        ("search", {"at": 0, "text": "x" * 501}, 400),
        ("time", {"text": "noon"}, 400),
    ],
)
def test_bad_questions_get_one_sentence(
    client: TestClient, log: Path, what: str, values: dict[str, Any], status: int
) -> None:
    log.write_text(LINE.format(1))
    assert ask(client, what, status, **values)["error"].endswith(".")


@pytest.mark.parametrize("name", ["none", "..%2f..%2fetc%2fpasswd", "%2Fetc%2Fpasswd", "model%00"])
def test_only_logs_of_the_run_are_served(client: TestClient, log: Path, name: str) -> None:
    log.write_text("x\n")
    for what in ("rows?at=0&side=after", "file", "search?at=0&text=x"):
        assert client.get(f"/api/runs/demo-1/logs/{name}/{what}").status_code in {404, 400}
    assert client.get("/api/runs/none/logs/model/file").status_code == 404


def test_a_log_that_cannot_be_shown_is_said(client: TestClient, log: Path) -> None:
    assert "is not there" in ask(client, "rows", 404, at=0, side="after")["error"]
    os.mkfifo(log)
    assert "is not a plain file" in ask(client, "rows", 400, at=0, side="after")["error"]


def check_cost(client: TestClient, log: Path, bytes_read: list[int], size: int) -> None:
    """Asserts that showing any part of a log of `size` bytes reads no more than of a small one."""
    tail = LINE.format(7) * 2000
    with log.open("wb") as file:
        file.truncate(size - len(tail))  # a hole: one line without end, as far as a reader knows
    with log.open("ab") as file:
        file.write(tail.encode())
    for at, side in ((1 << 60, "before"), (0, "after"), (size // 2, "around"), (size - 100, "around")):
        bytes_read.clear()
        answer = client.get("/api/runs/demo-1/logs/model/rows", params={"at": at, "side": side})
        assert answer.status_code == 200
        assert len(answer.content) < 1 << 20
        # The window, what stands around it, and the region that is explained.
        assert sum(bytes_read) < 1 << 20
    bytes_read.clear()
    ask(client, "search", at=0, text="nowhere")
    assert sum(bytes_read) < 200 << 20
    ask(client, "time", text="05:05:38")


def test_a_long_log_costs_no_more_than_a_small_one(client: TestClient, log: Path, bytes_read: list[int]) -> None:
    check_cost(client, log, bytes_read, 40 << 20)


@pytest.mark.slow
def test_a_log_of_1_gib_costs_no_more_than_a_small_one(client: TestClient, log: Path, bytes_read: list[int]) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check_cost(client, log, bytes_read, 1 << 30)
    with client.websocket_connect("/api/log?run=demo-1&process=model") as socket:
        assert socket.receive_json() == {"type": "open"}
        assert socket.receive_json()["rows"][-1]["text"].endswith("7")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
    with log.open("ab") as file:
        file.write(b"ERROR: the needle\n")
    assert search_all(client, text="the NEEDLE") == [(1 << 30)]
