"""Containers and control groups, from files as the kernel writes them."""

from __future__ import annotations

import pytest
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.nic_probe.sources.memory import MemoryTree
from pdpanel.nic_probe.state.container import Container, RdmaQuota, probe_container

_OVERLAY = "35 36 0:30 / / rw,relatime shared:1 - overlay overlay rw,lowerdir=/x\n"
_DISK = "35 36 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n40 35 0:9 / /mnt rw - overlay overlay rw\n"


def _probe(files: dict[str, str]) -> Container:
    return probe_container(HostFiles(MemoryTree({path: text.encode() for path, text in files.items()})))


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({".dockerenv": ""}, "docker"),
        ({"run/.containerenv": "engine=podman"}, "podman"),
        ({"proc/self/cgroup": "0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-1.scope"}, "kubepods"),
        ({"proc/self/cgroup": "4:memory:/docker/0a1b"}, "docker"),
        ({"proc/self/cgroup": "0::/", "proc/self/mountinfo": _OVERLAY}, "overlay"),
        ({"proc/self/cgroup": "0::/user.slice", "proc/self/mountinfo": _DISK}, ""),
        ({"proc/self/cgroup": "0::/user.slice"}, ""),
        ({}, None),
    ],
)
def test_what_tells_a_container(files: dict[str, str], kind: str | None) -> None:
    assert _probe(files).kind.value == kind


def test_quotas_of_nics_where_the_process_is() -> None:
    container = _probe(
        {
            "proc/self/cgroup": "0::/pod/one",
            "sys/fs/cgroup/pod/one/rdma.max": "mlx5_0 hca_handle=2 hca_object=2000\nmlx5_1 hca_handle=max\n",
            "sys/fs/cgroup/pod/one/rdma.current": "mlx5_0 hca_handle=1 hca_object=20\n",
            "sys/fs/cgroup/pod/one/memory.max": "1073741824\n",
        }
    )
    assert container.rdma_max.value == {"mlx5_0": RdmaQuota(2, 2000), "mlx5_1": RdmaQuota(None, None)}
    assert container.rdma_current.value == {"mlx5_0": RdmaQuota(1, 20)}
    assert container.memory_limit_bytes.value == 1 << 30


def test_a_capture_may_hold_the_limits_of_the_process_at_the_top() -> None:
    container = _probe({"proc/self/cgroup": "0::/pod/one", "sys/fs/cgroup/rdma.max": "mlx5_0 hca_handle=2\n"})
    assert container.rdma_max.value == {"mlx5_0": RdmaQuota(2, None)}


@pytest.mark.parametrize(("text", "limit"), [("max", None), ("9223372036854771712", None), ("1024", 1024), ("x", None)])
def test_the_first_generation_has_its_own_folder(text: str, limit: int | None) -> None:
    files = {"proc/self/cgroup": "4:memory:/a\n0::/", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": text}
    assert _probe(files).memory_limit_bytes.value == limit


@pytest.mark.parametrize("text", ["mlx5_0 hca_handle=x", "\n\n mlx5_0", "mlx5_0 =", "mlx5_0 hca_handle"])
def test_no_quota_raises(text: str) -> None:
    _probe({"proc/self/cgroup": "0::/", "sys/fs/cgroup/rdma.max": text})


def test_a_path_that_leads_up_is_not_followed() -> None:
    container = _probe({"proc/self/cgroup": "0::/../..", "sys/fs/cgroup/memory.max": "5"})
    assert container.memory_limit_bytes.value == 5
