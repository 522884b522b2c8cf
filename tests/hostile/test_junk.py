"""A real pair and its router under junk, slow clients and huge bodies: a neighbour's answers stay as they are."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import msgspec
import psutil
import pytest
from cluster import Cluster
from junk import connect, is_cut, junk, send_all
from metadata_servers import wait_for
from pd_http import free_port, post
from pdpanel.engine.peer.messages import PROTOCOL, Geometry, Hello, Refused, decode_message, encode_message
from pdpanel.engine.transfer.api import EndpointInfo

CROWD = 60  # connections to each port that say nothing
HUGE = 100 << 20
PROMPT = list(range(200, 240))

pytestmark = pytest.mark.timeout(200)


class Neighbour:
    """Somebody who asks the same thing all the time, in a thread, and compares."""

    def __init__(self, made: Cluster) -> None:
        self._made = made
        self._stop = threading.Event()
        self.expected = self._ask()
        self.answered = 0
        self.complaint = ""
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _ask(self) -> list[int]:
        return self._made.generate(PROMPT, temperature=0, max_new_tokens=8, ignore_eos=True)

    def _run(self) -> None:
        while not self._stop.is_set() and not self.complaint:
            try:
                answer = self._ask()
            except Exception as error:
                self.complaint = repr(error)
                return
            if answer != self.expected:
                self.complaint = f"{answer} is not {self.expected}"
            self.answered += 1
            self._stop.wait(0.1)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)

    def is_well(self) -> None:
        """Waits for another answer that began after now."""
        goal = self.answered + 2
        wait_for(lambda: self.answered >= goal or bool(self.complaint), 60)
        assert not self.complaint


class Size:
    """Descriptors and memory of the processes."""

    def __init__(self, made: Cluster) -> None:
        self._processes = {name: psutil.Process(process.popen.pid) for name, process in made.processes.items()}
        self.fds = self._fds()
        self.memory = {name: process.memory_info().rss for name, process in self._processes.items()}

    def _fds(self) -> dict[str, int]:
        return {name: process.num_fds() for name, process in self._processes.items()}

    def is_as_before(self) -> None:
        """Waits until nobody holds more than a few descriptors more, and memory is about what it was."""

        def settled() -> bool:
            return all(now <= self.fds[name] + 8 for name, now in self._fds().items())

        wait_for(settled, 40)
        for name, process in self._processes.items():
            assert process.memory_info().rss < self.memory[name] + (150 << 20), name


@pytest.fixture(scope="module")
def ports(pair: Cluster) -> dict[str, int]:
    """Every port that the three processes listen on."""
    found = {}
    for name, process in pair.processes.items():
        listening = [c.laddr.port for c in psutil.Process(process.popen.pid).net_connections() if c.status == "LISTEN"]
        found |= {f"{name}:{index}": port for index, port in enumerate(sorted(listening))}
    assert pair.processes["prefill-0"].bootstrap in found.values() and len(found) >= 5, found
    return found


@pytest.fixture(scope="module")
def neighbour(pair: Cluster) -> Iterator[Neighbour]:
    made = Neighbour(pair)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def before(pair: Cluster, neighbour: Neighbour) -> Size:
    neighbour.is_well()
    return Size(pair)


@pytest.fixture(scope="module", autouse=True)
def nothing_is_held(pair: Cluster, neighbour: Neighbour, before: Size, ports: dict[str, int]) -> Iterator[None]:
    """Behind all tests of this file stand connections that say nothing; afterwards everything is as it was."""
    crowd = [connect(port) for port in ports.values() for _ in range(CROWD)]
    yield
    wait_for(lambda: all(is_cut(connection) for connection in crowd), 40)
    for connection in crowd:
        connection.close()
    neighbour.is_well()
    neighbour.stop()
    pair.wait_idle()
    before.is_as_before()
    for name in ("prefill-0", "decode-0"):
        assert pair.metric(name, "pdpanel_integrity_errors_total") == 0


def test_junk_on_every_port_disturbs_nobody(pair: Cluster, ports: dict[str, int], neighbour: Neighbour) -> None:
    answers = set()
    for port in ports.values():
        for name, data in junk():
            with connect(port) as connection:
                send_all(connection, data)
                connection.settimeout(0.02)
                with contextlib.suppress(OSError):
                    answer = connection.recv(65536)
                    answers.add(answer[:12])
                    assert b"Traceback" not in answer, name
    assert all(answer[:5] == b"HTTP/" and answer[9:10] in b"45" for answer in answers if answer), answers
    neighbour.is_well()
    for process in pair.processes.values():
        assert "Traceback" not in process.log.read_text(), process.tail()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_100_megabytes_is_refused_without_being_kept(
    pair: Cluster, ports: dict[str, int], neighbour: Neighbour, chunked: bool
) -> None:
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {HUGE}"
    block = bytes(1 << 16)
    piece = b"%x\r\n%b\r\n" % (len(block), block) if chunked else block
    for target in ("router", "decode-0", "prefill-0"):
        port = int(pair.processes[target].url.rsplit(":", 1)[1])
        head = (
            f"POST /generate HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
        )
        with connect(port) as connection:
            sent, going = 0, send_all(connection, head.encode())
            connection.settimeout(5)
            while going and sent < HUGE:
                going = send_all(connection, piece)
                sent += len(block)
            with contextlib.suppress(OSError):
                answer = connection.recv(65536)
                assert answer[:12] in (b"HTTP/1.1 413", b""), answer
    neighbour.is_well()


def test_clients_that_send_byte_by_byte_or_read_nothing_hold_nobody_up(
    pair: Cluster, ports: dict[str, int], neighbour: Neighbour
) -> None:
    slow = []
    for process in pair.processes.values():
        port = int(process.url.rsplit(":", 1)[1])
        head = f"POST /generate HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        for start in (
            head,
            head + "Content-Length: 5000\r\n\r\n",
            head + "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
        ):
            slow.append(connect(port))
            send_all(slow[-1], start.encode())
    body = json.dumps(
        {"input_ids": PROMPT, "sampling_params": {"max_new_tokens": 100, "ignore_eos": True}, "stream": True}
    )
    for _ in range(4):
        reader = connect(int(pair.url.rsplit(":", 1)[1]))
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        head = f"POST /generate HTTP/1.1\r\nHost: {pair.url[7:]}\r\nContent-Type: application/json\r\n"
        send_all(reader, f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        slow.append(reader)
    for _ in range(20):
        for connection in slow:
            send_all(connection, b"1")
        time.sleep(0.01)
    neighbour.is_well()
    for connection in slow:
        connection.close()


def hello(**changes: object) -> Hello:
    geometry = Geometry("abc", "bfloat16", 16, 30, 3, 64)
    said = Hello("decode", "127.0.0.1:9", 7, geometry, EndpointInfo("tcp", "127.0.0.1:9", 0, 64, "s"))
    return msgspec.structs.replace(said, **changes)


def visit(port: int, *frames: bytes | str, flood: int = 0) -> list[bytes]:
    """Speaks to the channel; returns the frames that came until it was closed."""

    async def talk() -> list[bytes]:
        heard: list[bytes] = []
        async with aiohttp.ClientSession() as session, asyncio.timeout(20):
            async with session.ws_connect(
                f"http://127.0.0.1:{port}/peer", autoping=False, max_msg_size=0
            ) as connection:
                with contextlib.suppress(ConnectionError):
                    for frame in frames:
                        await (connection.send_str(frame) if isinstance(frame, str) else connection.send_bytes(frame))
                    for _ in range(flood):
                        await connection.ping(b"x" * 100)
                async for message in connection:
                    heard += [message.data] if message.type is aiohttp.WSMsgType.BINARY else []
        return heard

    return asyncio.run(talk())


CASES: list[tuple[tuple[bytes | str, ...], tuple[str, ...]]] = [
    (("hello",), ("text frame",)),
    ((b"\xc1",), ("cannot be read",)),
    ((encode_message(hello(protocol=PROTOCOL + 1)),), (f"protocol {PROTOCOL + 1}", f"speaks {PROTOCOL}")),
    ((encode_message(hello(role="prefill")),), ("both are prefill workers",)),
    ((encode_message(hello(geometry=Geometry("abc", "float16", 16, 30, 3, 64))),), ("model_sha is 'abc'",)),
]


@pytest.mark.parametrize(("frames", "words"), CASES)
def test_a_stranger_on_the_channel_is_told_why_it_is_refused(
    pair: Cluster, neighbour: Neighbour, frames: tuple[bytes | str, ...], words: tuple[str, ...]
) -> None:
    heard = [decode_message(frame) for frame in visit(pair.processes["prefill-0"].bootstrap, *frames)]
    assert isinstance(heard[0], Hello) and isinstance(heard[-1], Refused)
    assert all(word in heard[-1].reason for word in words), heard[-1].reason


def test_huge_frames_and_floods_of_pings_end_their_own_connection(pair: Cluster, neighbour: Neighbour) -> None:
    port = pair.processes["prefill-0"].bootstrap
    assert len(visit(port, bytes(3 << 20))) <= 2
    assert len(visit(port, flood=3000)) <= 2
    neighbour.is_well()


def test_workers_of_another_page_size_are_refused_with_both_values(
    pair: Cluster, arguments: list[str], neighbour: Neighbour, tmp_path: Path
) -> None:
    """On both sides' logs, and in what the client is told."""
    prefill = pair.processes["prefill-0"]
    odd = Cluster(tmp_path)
    try:
        decode = odd.worker("decode", "decode", [*arguments, "--page-size", "32"])
        decode.wait_ready("/health")
        pd = ["--pd-disaggregation", "--prefill", prefill.url, str(prefill.bootstrap), "--decode", decode.url]
        odd.spawn("router", "launch_router", pd, free_port()).wait_ready("/readiness")
        body = {"input_ids": PROMPT, "sampling_params": {"temperature": 0, "max_new_tokens": 4}}
        status, answer = post(odd.url + "/generate", body, 30)
        assert status >= 500, answer
        for text in (answer["error"]["message"], decode.log.read_text(), prefill.log.read_text()):
            assert "page_size" in text and "32" in text and "16" in text, text
    finally:
        odd.stop()
    neighbour.is_well()
