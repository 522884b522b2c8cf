"""The end of processes with what they hold: many at once, GPU memory, and what belongs to somebody else."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack

import pytest
from pdpanel.panel.launch import Role
from pdpanel.panel.runner import reaper
from pdpanel.panel.runner.gpu_memory import GpuHolding, gpu_holdings
from pdpanel.panel.runner.procfs import Stat, members_of, read_stat, variables
from pdpanel.panel.runner.reaper import end_processes
from pdpanel.panel.runner.state import ProcessRecord

from ..nic_probe.gpus.conftest import FakeNvml, fake_nvml  # noqa: F401 - a fixture
from .conftest import wait_for

RUN = "reaper-test"
Start = Callable[[str], ProcessRecord]


@pytest.fixture
def start() -> Iterator[Start]:
    """Returns a function that starts a small process of a run, which the test ends."""
    with ExitStack() as stack:

        def start(name: str) -> ProcessRecord:
            env = {**os.environ, "PDPANEL_RUN_ID": RUN, "PDPANEL_PROCESS": name}
            popen = stack.enter_context(subprocess.Popen(["sleep", "600"], env=env, start_new_session=True))
            stack.callback(popen.kill)
            # Until then it is still the interpreter of the tests, with that one's environment.
            wait_for(lambda: variables(popen.pid, ("PDPANEL_PROCESS",)), "the program that was asked for")
            stat = read_stat(popen.pid)
            assert stat is not None
            return ProcessRecord(
                name, Role.DECODE, {}, f"{name}.log", 5.0, pid=popen.pid, start_ticks=stat.start_ticks, gpus=("0",)
            )

        yield start


def alive(record: ProcessRecord) -> bool:
    stat = read_stat(record.pid or 0)
    return stat is not None and stat.alive


def holding(pid: int, gpu: str = "0") -> GpuHolding:
    return GpuHolding(frozenset({gpu, f"GPU-{gpu}"}), f"GPU {gpu}", pid, "python", "ann", 512 << 20)


class Look:
    """Answers one list after the other, the last one for good."""

    def __init__(self, *answers: Sequence[GpuHolding]) -> None:
        self.answers = list(answers)
        self.calls = 0

    def __call__(self) -> Sequence[GpuHolding]:
        self.calls += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def test_the_end_waits_until_the_gpus_memory_is_free(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaper, "_GPU_POLL_S", 0.01)
    record = start("decode-0")
    ours = holding(record.pid or 0)
    look, said = Look([ours], [ours], []), list[str]()
    ending = end_processes(RUN, "127.0.0.1", [record], said.append, look)
    assert (ending.notice, look.calls) == ("", 3)
    assert said.count("waiting for the GPUs' memory") == 1
    assert not alive(record)


def test_memory_that_stays_is_named_with_who_holds_it(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaper, "_GPU_POLL_S", 0.01)
    monkeypatch.setattr(reaper, "_GPU_WAIT_S", 0.05)
    record = start("decode-0")
    ending = end_processes(RUN, "127.0.0.1", [record], look=Look([holding(record.pid or 0)]))
    assert ending.notice == f"Process {record.pid} (python, of ann) holds 512 MiB of GPU 0, although it has ended."


def test_who_is_not_of_the_run_is_named_and_left_alone(start: Start) -> None:
    record = start("decode-0")
    env = {**os.environ, "PDPANEL_RUN_ID": "another", "PDPANEL_PROCESS": "decode-0"}
    with subprocess.Popen(["sleep", "600"], env=env, start_new_session=True) as other:
        look = Look([holding(other.pid), holding(other.pid, "5")])
        ending = end_processes(RUN, "127.0.0.1", [record], look=look)
        assert ending.gpus == (
            f"Process {other.pid} (python, of ann) holds 512 MiB of GPU 0, and is not part of this run.",
        ), "that of another GPU is nobody's business here"
        assert look.calls == 1, "nobody waits for others"
        assert other.poll() is None
        other.kill()


def test_without_a_gpu_nobody_is_asked() -> None:
    record = ProcessRecord("decode-0", Role.DECODE, {}, "log", 1.0)
    look = Look([holding(1)])
    assert end_processes(RUN, "127.0.0.1", [record], look=look).notice == ""
    assert look.calls == 0


def test_holdings_are_read_from_the_driver(fake_nvml: FakeNvml) -> None:  # noqa: F811
    found = {item.pid: item for item in gpu_holdings(fake_nvml())}
    # The driver lists who asks, who is gone by now, and one that belongs to another container.
    hidden = found.pop(4194305)
    assert (hidden.gpu, hidden.command, hidden.owner, hidden.bytes) == ("GPU 1", "", "", None)
    assert "1" in hidden.names and len(hidden.names) == 3
    (asker,) = found.values()
    assert (asker.gpu, asker.bytes) == ("GPU 1", 1 << 30)
    assert gpu_holdings(fake_nvml("no-driver")) == ()


def test_many_processes_cost_few_looks_at_all_of_proc(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def counted(run_id: str, leaders: Mapping[str, tuple[int | None, int | None]]) -> dict[str, list[Stat]]:
        looks.append(len(leaders))
        return members_of(run_id, leaders)

    monkeypatch.setattr(reaper, "members_of", counted)
    records = [start(f"decode-{number}") for number in range(40)]
    assert end_processes(RUN, "127.0.0.1", records, look=Look([])).notice == ""
    assert not any(alive(record) for record in records)
    assert looks[0] == 40
    assert len(looks) <= 20, "not one or two for each process"


def test_a_leader_that_carries_another_runs_mark_is_somebody_else(start: Start) -> None:
    record = start("decode-0")
    assert members_of("another", {"decode-0": (record.pid, record.start_ticks)}) == {"decode-0": []}
    assert [s.pid for s in members_of(RUN, {"decode-0": (None, None)})["decode-0"]] == [record.pid]
