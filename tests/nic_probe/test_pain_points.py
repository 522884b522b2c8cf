"""The pain points that a host shows, each injected into the files of a node that is otherwise in order.

From kernel files and facts to the finding, through every reader. The numbers are those of the list of known pains
of PD serving.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pdpanel.nic_probe.checks.registry import check_host
from pdpanel.nic_probe.finding import Finding, Severity
from pdpanel.nic_probe.host import probe_host
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.nic_probe.topology.survey import survey_topology
from simulated_node import Node, grow_node

_ERROR, _WARNING, _INFO = Severity.ERROR, Severity.WARNING, Severity.INFO


class _Patient:
    """A grown node whose files can be changed."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def write(self, path: str, text: str) -> None:
        place = self.node.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def remove(self, *patterns: str) -> None:
        places = [place for pattern in patterns for place in self.node.root.glob(pattern)]
        assert places
        for place in sorted(places, reverse=True):
            place.rmdir() if place.is_dir() else place.unlink()

    def facts(self, **changes: Any) -> None:
        path = self.node.root / "pdpanel/facts.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    def port(self, name: str, text: str, numbers: range = range(2)) -> None:
        for number in numbers:
            self.write(f"sys/class/infiniband/{self.node.nics[number]}/ports/1/{name}", text)

    def gids(self, *kept: int, numbers: range = range(2)) -> None:
        """Empties every entry of the tables but those at `kept`."""
        for index in set(range(8)) - set(kept):
            self.port(f"gids/{index}", ":".join(["0000"] * 8), numbers)
            for number in numbers:
                folder = f"sys/class/infiniband/{self.node.nics[number]}/ports/1/gid_attrs"
                for kind in ("types", "ndevs"):
                    (self.node.root / folder / kind / str(index)).unlink(missing_ok=True)


@pytest.fixture
def patient(tmp_path: Path) -> _Patient:
    return _Patient(grow_node(tmp_path, gpus=2, nics=2, gpus_per_switch=1, nics_per_switch=1, gids=8))


def _examine(patient: _Patient) -> dict[str, Finding]:
    host = probe_host(HostFiles(patient.node.root), {})
    findings = check_host(host, survey_topology(host))
    return {finding.id: finding for finding in reversed(findings)}


def _no_peermem(patient: _Patient) -> None:
    patient.remove("sys/module/nvidia_peermem/*", "sys/module/nvidia_peermem")


def _no_peermem_and_no_dma_buf(patient: _Patient) -> None:
    _no_peermem(patient)
    patient.write("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Release\n")


def _told_to_use_dma_buf(patient: _Patient) -> None:
    patient.write("proc/sys/kernel/osrelease", "5.4.0-200-generic\n")
    patient.facts(environ={"WITH_NVIDIA_PEERMEM": "0"})


def _crowded(patient: _Patient) -> None:
    patient.write("proc/net/sockstat", "sockets: used 30000\nTCP: inuse 10 orphan 0 tw 28000 alloc 20 mem 1\n")


def _container(patient: _Patient) -> None:
    patient.write(".dockerenv", "")
    patient.write("proc/self/limits", "Max locked memory  65536  65536  bytes\n")
    patient.write("proc/self/status", "CapEff:\t00000000a80425fb\n")
    patient.facts(
        devices={"/dev/infiniband/rdma_cm": {"kind": "absent"}},
        rlimits={"memlock": [65536, 65536]},
        space={"/dev/shm": {"total_bytes": 64 << 20, "free_bytes": 64 << 20}},
    )


def _memlock(patient: _Patient) -> None:
    patient.facts(rlimits={"memlock": [8 << 20, 8 << 20]})
    patient.write("proc/self/status", "CapEff:\t0000000000000000\n")


_INJECTED: list[tuple[int, Callable[[_Patient], None], str, Severity, str]] = [
    (1, _no_peermem_and_no_dma_buf, "gpudirect-missing", _ERROR, "modprobe nvidia_peermem"),
    (2, _told_to_use_dma_buf, "peermem-setting", _ERROR, "WITH_NVIDIA_PEERMEM=1"),
    (2, _no_peermem, "peermem-setting", _WARNING, "WITH_NVIDIA_PEERMEM=0"),
    (3, lambda patient: patient.gids(), "gid-none-usable", _ERROR, "ip addr add"),
    (3, lambda patient: patient.gids(1), "gid-degraded-only", _WARNING, "ip addr add"),
    (3, lambda patient: patient.gids(2), "gid-roce-v1-only", _WARNING, "RoCE v2"),
    (3, lambda patient: patient.facts(environ={"MC_GID_INDEX": "5"}), "gid-index-null", _ERROR, "MC_GID_INDEX=3"),
    (4, lambda patient: patient.facts(hostname_addresses=["127.0.1.1"]), "hostname-loopback", _WARNING, "VLLM_HOST_IP"),
    (4, lambda patient: patient.facts(environ={"VLLM_HOST_IP": "10.9.9.9"}), "address-not-here", _ERROR, "10.0.0.2"),
    (5, lambda patient: patient.port("state", "1: DOWN", range(1)), "port-down", _WARNING, "cable"),
    (
        5,
        lambda patient: patient.port("rate", "100 Gb/sec (1X NDR)", range(1)),
        "nic-unfit-preferred",
        _WARNING,
        "--disaggregation-ib-device",
    ),
    (
        8,
        lambda patient: patient.write("proc/sys/net/ipv4/ip_local_port_range", "1024\t65000\n"),
        "ports-ephemeral",
        _WARNING,
        "ip_local_reserved_ports=15000-17000",
    ),
    (
        15,
        lambda patient: patient.facts(missing_libraries={"mooncake": ["libcudart.so.12"]}),
        "mooncake-libraries-missing",
        _ERROR,
        "nvidia-cuda-runtime-cu12",
    ),
    (
        16,
        lambda patient: (
            patient.write("etc/libibverbs.d/rxe.driver", "driver rxe\n")
            or patient.facts(libraries={"libibverbs.so.1": "", "libmlx5.so.1": "cannot open shared object file"})
        ),
        "verbs-provider-missing",
        _ERROR,
        "ibverbs-providers",
    ),
    (17, _container, "verbs-node-missing", _ERROR, "--device /dev/infiniband"),
    (17, _container, "container-flags", _WARNING, "--cap-add IPC_LOCK --ulimit memlock=-1"),
    (17, _container, "shm-small", _WARNING, "--shm-size"),
    (18, _memlock, "memlock-low", _ERROR, "LimitMEMLOCK=infinity"),
    (19, lambda patient: patient.facts(environ={"MC_FORCE_TCP": "0"}), "variable-off-is-on", _ERROR, "unset"),
    (20, lambda patient: patient.port("state", "1: DOWN"), "rdma-none", _WARNING, "cable"),
    (
        24,
        lambda patient: patient.facts(environ={"MOONCAKE_CONFIG_PATH": "/x.json"}),
        "mooncake-config-ignored",
        _WARNING,
        "--disaggregation-ib-device",
    ),
    (
        25,
        lambda patient: patient.facts(environ={"http_proxy": "http://p:3128"}),
        "proxy-set",
        _WARNING,
        "no_proxy=localhost",
    ),
    (28, _crowded, "time-wait-many", _WARNING, "MC_TCP_ENABLE_CONNECTION_POOL"),
]


@pytest.mark.parametrize(
    ("inject", "id_", "severity", "remedy"),
    [entry[1:] for entry in _INJECTED],
    ids=[f"{number}-{id_}-{severity}" for number, _, id_, severity, _ in _INJECTED],
)
def test_the_pain_is_named_with_its_cure(
    patient: _Patient, inject: Callable[[_Patient], None], id_: str, severity: Severity, remedy: str
) -> None:
    assert id_ not in _examine(patient), "the node is not in order before"
    inject(patient)
    findings = _examine(patient)
    assert id_ in findings
    assert findings[id_].severity is severity
    assert remedy in f"{findings[id_].remedy} {findings[id_].corrected}"


def test_the_node_is_in_order_before(patient: _Patient) -> None:
    assert [finding.id for finding in _examine(patient).values() if finding.severity is _ERROR] == []


def test_the_bridge_of_containers_is_no_address_for_a_peer(patient: _Patient) -> None:
    patient.write("sys/class/net/docker0/mtu", "1500\n")
    patient.facts(addresses={"docker0": ["172.17.0.1/16"], "eth0": ["10.0.0.2/24"]})
    finding = _examine(patient)["addresses-several"]
    assert "docker0" in finding.reason
    assert "--host 10.0.0.2" in finding.remedy
