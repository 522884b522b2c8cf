from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from pdpanel.nic_probe.nics import sysfs
from pdpanel.nic_probe.reading import Reading
from pdpanel.nic_probe.sources.files import HostFiles
from rdma_tree import (
    INFINIBAND,
    PORT_GUID,
    ROCE,
    ROOT_PORT,
    LiveTree,
    devices_of,
    netdev,
    rdma_device,
    rdma_port,
    uverbs,
)

Grow = Callable[[Mapping[str, str]], Path]


class _Hanging(HostFiles):
    """Live files; those of one device never answer, as with firmware that died."""

    def __init__(self, root: Path, for_ever: threading.Event) -> None:
        super().__init__(LiveTree(root), facts=dict)
        self._for_ever = for_ever

    def text(self, path: str, *, may_be_empty: bool = False) -> Reading[str]:
        if path.endswith("mlx5_1/ports/1/state"):
            self._for_ever.wait()
        return super().text(path, may_be_empty=may_be_empty)


def _eight(*, gids: Mapping[str, str] = ROCE) -> dict[str, str]:
    files: dict[str, str] = {}
    for number in range(8):
        files |= rdma_device(f"mlx5_{number}", {1: rdma_port(gids)}, pci=f"0000:{number:02x}:00.0")
        files |= uverbs(number, f"mlx5_{number}")
    return files


def test_a_device_that_hangs_hides_no_other(grow: Grow) -> None:
    for_ever = threading.Event()
    try:
        found = devices_of(_Hanging(grow(_eight()), for_ever))
    finally:
        for_ever.set()
    assert [device.ports[0].active for device in found.values() if device.ports] == [True] * 7
    hung = found["mlx5_1"]
    assert (hung.usable, hung.ports, hung.driver.value) == (None, (), None)
    assert hung.why_not.startswith("Its driver did not answer within")


VERBS = """
class Context:
    def __init__(self, name):
        if name == "mlx5_3":
            raise OSError("Failed to open device")
    def query_port(self, number):
        return type("PortAttr", (), {"active_mtu": 4, "gid_tbl_len": 99})
    def close(self):
        pass

def get_device_list():
    return [type("Device", (), {"name": f"mlx5_{number}"}) for number in range(7)]
"""


def test_a_live_host_asks_verbs(grow: Grow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake stands at the boundary of pyverbs: a package of its API that the child process imports."""
    package = tmp_path / "fake" / "pyverbs"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "device.py").write_text(VERBS)
    monkeypatch.setattr(sys, "path", [*sys.path, str(package.parent)])
    nodes = {
        f"/dev/infiniband/uverbs{number}": {"kind": "character", "readable": True, "writable": True}
        for number in range(8)
    }
    found = devices_of(HostFiles(LiveTree(grow(_eight())), facts=lambda: {"devices": nodes}), os.environ)
    assert (found["mlx5_0"].usable, found["mlx5_0"].ports[0].mtu) == (True, Reading(2048, "ibv_query_port"))
    # The table's length is in sysfs, which is asked first.
    assert found["mlx5_0"].ports[0].gid_table_length.value == 8
    assert found["mlx5_3"].why_not == "libibverbs cannot open it: Failed to open device."
    assert found["mlx5_7"].why_not.startswith("libibverbs does not know it")


def test_what_verbs_could_not_say_says_why(grow: Grow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysfs, "find_pyverbs", tuple)
    files = {
        **rdma_device("mlx5_0", {1: rdma_port(PORT_GUID, **INFINIBAND)}),
        **rdma_device("mlx5_1", {1: rdma_port(ROCE)}, pci="0000:19:00.0"),
        **netdev("eth2", f"{ROOT_PORT}/0000:19:00.0"),
    }
    found = devices_of(HostFiles(LiveTree(grow(files)), facts=dict))
    assert found["mlx5_0"].ports[0].mtu.reason.endswith("; pyverbs is not installed")
    assert found["mlx5_1"].ports[0].mtu.value == 1024
    assert found["mlx5_0"].why_not.startswith("/sys/class/infiniband_verbs has no uverbs device")


def test_only_live_hosts_have_verbs(grow: Grow, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> tuple[str, ...]:
        raise AssertionError("pyverbs was looked for")

    monkeypatch.setattr(sysfs, "find_pyverbs", refuse)
    root = grow(rdma_device("mlx5_0", {1: rdma_port(ROCE)}))
    assert devices_of(HostFiles(root))["mlx5_0"].usable is True
    with pytest.raises(AssertionError, match="was looked for"):
        devices_of(HostFiles(LiveTree(root), facts=dict))
