from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping

import pytest
from pdpanel.nic_probe.gpus.libraries import GpuChild, gpu_facts, start_gpu_child

AMPLE_S = 40.0


def run(program: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True)


def test_a_document_is_handed_on() -> None:
    process = run('print(\'{"libraries": {"x": 1}}\')')
    assert GpuChild(process, time.monotonic() + AMPLE_S).collect() == {"libraries": {"x": 1}}


@pytest.mark.parametrize(("program", "ending"), [("pass", "0"), ("raise SystemExit(3)", "3"), ("print('[1]')", "0")])
def test_an_end_without_a_document_is_a_note(program: str, ending: str) -> None:
    document = GpuChild(run(program), time.monotonic() + AMPLE_S).collect()
    assert document["libraries"] == {}
    assert document["notes"] == [f"The process that asks the GPU libraries ended with status {ending} and no answer."]


def test_a_child_that_hangs_is_left_and_killed() -> None:
    process = run("import time, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)")
    document = GpuChild(process, time.monotonic() + 0.3).collect()
    assert document["notes"] == ["The process that asks the GPU libraries did not answer in time."]
    # A thread waits for its end.
    deadline = time.monotonic() + 20
    while process.returncode is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.returncode == -9


@pytest.mark.parametrize("environ", [{"A\0B": "1"}, {"A": "\0"}])
def test_an_environment_that_cannot_be_is_a_note(environ: Mapping[str, str]) -> None:
    document = start_gpu_child(environ).collect()
    assert document["libraries"] == {}
    assert document["notes"][0].startswith("The GPU libraries cannot be asked: ")


def test_every_library_is_asked() -> None:
    facts = start_gpu_child({"PATH": "/nonexistent"}, limit_s=AMPLE_S).collect()
    assert {"NVML", "AMD SMI", "npu-smi"} <= set(facts["libraries"])
    for answer in facts["libraries"].values():
        assert answer["reason"] or answer["gpus"]


def test_a_dump_keeps_the_same_document() -> None:
    assert "libraries" in gpu_facts({"PATH": "/nonexistent"})
