"""What a sample of 16 NICs x 4 counters costs, as a multiple of the bare pread calls on the same files in the same run.

`python tests/benchmarks/counters.py [ROUNDS]`. The files are the kernel's own, of the loopback interface, opened once
for each NIC and counter; a datagram before each round makes those of bytes move. What the files held becomes numbers
with the rates, which are made when somebody looks and are timed beside it. On an RDMA NIC each pread may be a firmware
command and costs more, which makes the ratio smaller. Plain files, whose pread costs about half, are a second case.
The two are interleaved; the last line is JSON with medians.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pdpanel.nic_probe.counters import CountedLink, CounterReader, rates
from pdpanel.nic_probe.nics.counter_files import CounterFile, CounterSources

NICS = 16
KERNEL = "sys/class/net/lo/statistics"


def links(folder: Callable[[int], str], moving: Sequence[str], still: Sequence[str]) -> list[CountedLink]:
    """Returns a link for each NIC; `moving` are two files of bytes or four, `still` the others that are read."""
    half = len(moving) // 2
    return [
        CountedLink(
            f"nic{number}:1",
            CounterSources(
                "port counters",
                tuple(CounterFile(f"{folder(number)}/{name}", 4) for name in moving[:half]),
                tuple(CounterFile(f"{folder(number)}/{name}", 4) for name in moving[half:]),
                {name: f"{folder(number)}/{name}" for name in still},
            ),
            also=tuple(still),
        )
        for number in range(NICS)
    ]


@contextmanager
def traffic() -> Iterator[Callable[[], None]]:
    """Yields what moves the counters of the loopback interface."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs,
    ):
        ours.bind(("127.0.0.1", 0))
        ours.settimeout(5)

        def move() -> None:
            theirs.sendto(b"x" * 100, ours.getsockname())
            ours.recv(200)

        yield move


def compare(
    root: str, counted: Sequence[CountedLink], move: Callable[[], None], rounds: int
) -> tuple[float, float, float]:
    """Returns the medians of a sample, of the bare pread calls and of the rates between two samples, in seconds."""
    reader = CounterReader(counted, root)
    assert len(reader.sample().texts) == NICS * 4
    paths = [part.path for link in counted for part in (*link.sources.tx, *link.sources.rx)]
    paths += [path for link in counted for path in link.sources.others.values()]
    descriptors = [os.open(os.path.join(root, path), os.O_RDONLY) for path in paths]

    def bare() -> float:
        began = time.perf_counter()
        for descriptor in descriptors:
            os.pread(descriptor, 64, 0)
        return time.perf_counter() - began

    def sample() -> float:
        began = time.perf_counter()
        reader.sample()
        return time.perf_counter() - began

    samples, calls, made = [], [], []
    before = reader.sample()
    for number in range(rounds):
        move()
        after = reader.sample()
        began = time.perf_counter()
        rates(before, after)
        made.append(time.perf_counter() - began)
        before = after
        if number % 2:
            calls.append(bare())
            samples.append(sample())
        else:
            samples.append(sample())
            calls.append(bare())
    reader.close()
    for descriptor in descriptors:
        os.close(descriptor)
    return statistics.median(samples), statistics.median(calls), statistics.median(made)


def plain_files(root: Path) -> Callable[[], None]:
    """Writes files of counters, and returns what moves those of bytes."""
    count = 1 << 40

    def move() -> None:
        nonlocal count
        count += 4096
        for number in range(NICS):
            for name in ("tx_bytes", "rx_bytes"):
                (root / str(number) / name).write_text(f"{count + number}\n")

    for number in range(NICS):
        (root / str(number)).mkdir()
        for name in ("tx_errors", "rx_errors"):
            (root / str(number) / name).write_text("0\n")
    move()
    return move


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    byte_files, errors = ("tx_bytes", "rx_bytes"), ("tx_errors", "rx_errors")

    # Two names of one file are two files to the reader.
    def apart(number: int) -> str:
        return "./" * number + KERNEL

    everything = ("tx_bytes", "tx_packets", "rx_bytes", "rx_packets")
    cases: dict[str, tuple[float, float, float]] = {}
    with traffic() as move:
        cases["kernel files, 2 of 4 move"] = compare("/", links(apart, byte_files, errors), move, rounds)
        cases["kernel files, 4 of 4 move"] = compare("/", links(apart, everything, ()), move, rounds)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        move_files = plain_files(Path(folder))
        counted = links(str, byte_files, errors)
        cases["plain files, 2 of 4 move"] = compare(folder, counted, move_files, rounds // 5)
    for name, (sample, calls, made) in cases.items():
        costs = f"sample {sample * 1e6:.1f} us, pread calls {calls * 1e6:.1f} us, {sample / calls:.2f} x"
        print(f"{name}: {costs}; rates {made * 1e6:.1f} us")
    sample, calls, _ = cases["kernel files, 2 of 4 move"]
    result = {
        "suite": "counters",
        "case": "16 NICs x 4 counters",
        "metric": "sample",
        "value": round(sample * 1e6, 1),
        "unit": "us",
        "peer": "bare os.pread calls",
        "peer_value": round(calls * 1e6, 1),
        "ratio": round(sample / calls, 3),
        "ratios": {name: round(sample / calls, 3) for name, (sample, calls, _) in cases.items()},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
