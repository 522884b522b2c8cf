"""How fast each KV transport writes within one host, as a multiple of plain sockets in the same run.

Run it on a quiet machine: `python tests/benchmarks/transports.py [ROUNDS]`. For each size of block all transports are
measured in turn, ROUNDS times over, each time for some tenths of a second with blocks of that size up to 16 MiB in one
write; the table has medians, and the last line is JSON. NIXL's first column is over sockets, the second is what UCX
chooses by itself, which on one host is shared memory.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

from pdpanel.engine.transfer.api import Endpoint, EndpointInfo, Link, Segment, TicketState
from pdpanel.engine.transfer.memory import SharedMemory, address_of
from pdpanel.engine.transfer.select import open_endpoint
from transports import settings_of

BLOCKS = {"64 KiB": 64 << 10, "1 MiB": 1 << 20, "16 MiB": 16 << 20}
WINDOW_S = 0.3
REGION = 64 << 20
WRITE = 16 << 20
TRANSPORTS = {
    "tcp": ("tcp", {}),
    "mooncake_tcp": ("mooncake_tcp", {}),
    "shm": ("shm", {}),
    "nixl, sockets": ("nixl", {"UCX_TLS": "tcp,self"}),
    "nixl, free": ("nixl", {}),
}


def open_end(name: str) -> tuple[Endpoint, SharedMemory]:
    """Opens an endpoint with REGION bytes."""
    backend, extra = TRANSPORTS[name]
    environ = {**os.environ, **extra} if extra else os.environ
    selection = open_endpoint(backend, host="127.0.0.1", device="", settings=settings_of(backend), environ=environ)
    assert not selection.notice, selection.notice
    memory = SharedMemory(REGION)
    memory.map[:] = os.urandom(1 << 20) * (REGION >> 20)
    selection.endpoint.register(address_of(memory.map), REGION, memory.file)
    return selection.endpoint, memory


def receive(name: str) -> None:
    """The other process: says how it is reached and waits for its end."""
    endpoint, _memory = open_end(name)
    info = endpoint.describe()
    print(json.dumps([info.kind, info.session, info.base, info.length, info.secret]), flush=True)
    sys.stdin.read()
    os._exit(0)


def speed(link: Link, block: int) -> float:
    """GB/s of writes of at most WRITE bytes in blocks of this size, spread over the region."""
    stride = max(block, REGION // max(WRITE // block, 1))
    places = [place for place in range(0, REGION - block + 1, stride)][: max(WRITE // block, 1)]
    segments = [Segment(place, place, block) for place in places]
    moved, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < WINDOW_S:
        ticket = link.write(segments)
        assert ticket.wait(60) and ticket.state is TicketState.DONE, ticket.error
        moved += ticket.bytes
    return moved / elapsed / 1e9


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    links: dict[str, Link] = {}
    ends: list[tuple[Endpoint, SharedMemory]] = []
    others: list[subprocess.Popen[str]] = []
    for name in TRANSPORTS:
        command = [sys.executable, __file__, "receive", name]
        other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        others.append(other)
        info = EndpointInfo(*json.loads(other.stdout.readline()))
        ends.append(open_end(name))
        links[name] = ends[-1][0].connect(info)
        speed(links[name], WRITE)  # meets the peer and touches the memory
    found: dict[str, dict[str, list[float]]] = {size: {name: [] for name in links} for size in BLOCKS}
    for _ in range(rounds):
        for size, block in BLOCKS.items():
            for name, link in links.items():
                found[size][name].append(speed(link, block))
    made = {}
    print("block   " + "".join(f"{name:>22}" for name in links))
    for size, columns in found.items():
        medians = {name: statistics.median(values) for name, values in columns.items()}
        ratios = {
            name: statistics.median(mine / theirs for mine, theirs in zip(values, columns["tcp"], strict=True))
            for name, values in columns.items()
        }
        print(f"{size:8}" + "".join(f"{medians[name]:9.2f} GB/s {ratios[name]:5.2f} x" for name in links))
        made[size] = {name: {"gb_s": round(medians[name], 3), "ratio": round(ratios[name], 3)} for name in links}
    for other in others:
        other.kill()
        other.communicate()
    for endpoint, _ in ends:
        endpoint.close()
    print(json.dumps({"rounds": rounds, "blocks": made}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["receive"]:
        receive(sys.argv[2])
    main()
