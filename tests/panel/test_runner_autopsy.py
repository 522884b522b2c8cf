"""Why a process ended: pure cases on logs that the tests write, and fake counters of the kernel."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
from pdpanel.panel.runner import autopsy
from pdpanel.panel.runner.autopsy import examine
from pdpanel.panel.runner.oom import explain_oom, oom_counts

OOM = {"/sys/fs/cgroup/memory.events": 3}


def ids(log: Path, code: int | None, offset: int = 0, before: Mapping[str, int] | None = None) -> list[str]:
    return [finding.id for finding in examine("decode-0", code, log, offset, before or {}).findings]


def test_a_known_failure_in_the_log_is_explained(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("loading\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\nbye\n")
    found = examine("decode-0", 1, log, 0, {}).findings
    assert found[0].id == "exit-failed"
    assert any("decode-0's log:2" in item.source for finding in found[1:] for item in finding.evidence)
    assert len(found) <= 3


def test_only_the_last_life_counts_and_lines_keep_their_numbers(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("RuntimeError: an old one\n")
    offset = log.stat().st_size
    with log.open("a") as file:
        file.write("starting\nValueError: a new one\n")
    found = examine("decode-0", 1, log, offset, {}).findings
    text = str([item for finding in found for item in finding.evidence])
    assert "a new one" in text and "an old one" not in text
    assert "decode-0's log:3" in text


@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 5000, b"x" * (5 << 20), None])
def test_no_log_breaks_it(tmp_path: Path, content: bytes | None) -> None:
    log = tmp_path / "log"
    if content is not None:
        log.write_bytes(content)
    assert ids(log, 3)[0] == "exit-failed"
    assert "exit-failed" not in ids(log, None)
    assert examine("p", 3, log, 10**9, {}).findings, "an offset behind the end, after the log was cut"


def test_a_kill_by_the_kernel_is_told_from_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    log.write_text("all is well\n")
    monkeypatch.setattr(autopsy, "oom_counts", lambda: {"/sys/fs/cgroup/memory.events": 4})
    found = examine("decode-0", -signal.SIGKILL, log, 0, OOM)
    assert found.memory_ran_out
    assert found.findings[0].id == "exit-out-of-memory"
    assert found.findings[0].evidence[0].value == "oom_kill went from 3 to 4"
    assert "exit-killed" not in ids(log, -signal.SIGKILL, before=OOM)
    assert ids(log, 137, before=OOM)[0] == "exit-out-of-memory", "as a shell tells it"
    assert ids(log, 1, before=OOM)[0] == "exit-failed", "who ends by itself was not killed"
    monkeypatch.setattr(autopsy, "oom_counts", lambda: OOM)
    assert ids(log, -signal.SIGKILL, before=OOM) == ["exit-killed"]


def test_counters_are_found_in_both_kinds_of_cgroups(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    assert oom_counts(proc, groups) == {}
    (proc / "vmstat").write_text("nr_free_pages 5\noom_kill 7\n")
    (proc / "self" / "cgroup").write_text("0::/user.slice/a:b.scope\n")
    inner = groups / "user.slice" / "a:b.scope"
    inner.mkdir(parents=True)
    (inner / "memory.events").write_text("low 0\noom 2\noom_kill 1\noom_group_kill 0\n")
    assert oom_counts(proc, groups) == {str(inner / "memory.events"): 1, str(proc / "vmstat"): 7}
    (proc / "self" / "cgroup").write_text("9:cpu:/x\n4:memory:/docker/12\ngarbage\n")
    (groups / "memory").mkdir()
    (groups / "memory" / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n")
    assert oom_counts(proc, groups) == {
        str(groups / "memory" / "memory.oom_control"): 5,
        str(proc / "vmstat"): 7,
    }


def test_only_growth_means_anything() -> None:
    assert explain_oom("p", {"a": 1}, {"a": 1, "b": 9}) is None
    assert explain_oom("p", {}, {"a": 1}) is None
    assert explain_oom("p", {"a": 2}, {"a": 1}) is None
