"""Limits and rights of a process, from texts as the kernel writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.nic_probe.sources.memory import MemoryTree
from pdpanel.nic_probe.state.facts import Facts
from pdpanel.nic_probe.state.limits import Limit, Limits, probe_limits, small_set

_LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max stack size            8388608              unlimited            bytes
Max open files            1024                 1048576              files
Max locked memory         65536                65536                bytes
"""
_STATUS = "Name:\tpython3\nCapEff:\t0000000000004000\nCpus_allowed_list:\t0-1,16\nMems_allowed_list:\t1\n"


def _probe(files: dict[str, str], **facts: object) -> Limits:
    tree = MemoryTree({path: text.encode() for path, text in files.items()})
    return probe_limits(HostFiles(tree), Facts(facts))


def test_limits_come_from_the_kernels_table() -> None:
    limits = _probe({"proc/self/limits": _LIMITS})
    assert limits.memlock.value == Limit(65536, 65536)
    assert limits.nofile.value == Limit(1024, 1 << 20)
    assert limits.stack.value == Limit(8 << 20, None)
    assert limits.core.value is None
    assert "Max core file size" in limits.core.reason


def test_facts_come_before_the_table() -> None:
    limits = _probe(
        {"proc/self/limits": _LIMITS}, rlimits={"memlock": [-1, -1], "nofile": [1, "2"], "stack": [True, 1]}
    )
    assert limits.memlock.value == Limit(None, None)
    assert limits.nofile.value == Limit(1024, 1 << 20)
    assert limits.stack.value == Limit(8 << 20, None)


def test_unlimited_covers_everything() -> None:
    assert Limit(None, None).covers(1 << 60)
    assert not Limit(1024, None).covers(65536)
    assert Limit(1024, None).could_cover(65536)
    assert not Limit(1024, 4096).could_cover(65536)


def test_rights_and_places() -> None:
    limits = _probe({"proc/self/status": _STATUS})
    assert limits.capabilities.value == {"IPC_LOCK"}
    assert limits.cpus_allowed.value == {0, 1, 16}
    assert limits.mems_allowed.value == {1}
    assert limits.may("IPC_LOCK")
    assert not limits.may("SYS_RESOURCE")


@pytest.mark.parametrize(
    ("text", "inner"),
    [
        ("         0          0 4294967295", False),
        ("0 100000 65536", True),
        ("0 1000 1\n1 100000 65536", True),
        ("x", None),
    ],
)
def test_a_user_namespace_shows_in_its_map(text: str, inner: bool | None) -> None:
    limits = _probe({"proc/self/status": _STATUS, "proc/self/uid_map": text})
    assert limits.user_namespace.value is inner
    assert limits.may("IPC_LOCK") is not bool(inner)


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("0-2,7", {0, 1, 2, 7}),
        ("5", {5}),
        ("3-1", set()),
        ("a", None),
        ("1-x", None),
        ("", None),
        ("0-999999999", None),
    ],
)
def test_lists_of_the_kernel(text: str, members: set[int] | None) -> None:
    assert small_set(text) == members


@pytest.mark.parametrize(
    "row", ["Max locked memory  " + "9" * 5000 + " 1 bytes", "Max locked memory 1", "Max locked memory x y"]
)
def test_a_row_that_is_none_has_a_reason(row: str) -> None:
    assert _probe({"proc/self/limits": row}).memlock.reason


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_raises(limits: str, status: str) -> None:
    files = {
        "proc/self/limits": f"Max locked memory {limits}",
        "proc/self/status": f"CapEff: {status}\nCpus_allowed_list: {status}",
    }
    probed = _probe(files | {"proc/self/uid_map": limits})
    assert all(
        reading.known or reading.reason for reading in (probed.memlock, probed.capabilities, probed.user_namespace)
    )
