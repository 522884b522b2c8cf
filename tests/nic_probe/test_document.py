"""The JSON of a probe: its keys, what stands for a value that could not be read, and that it is plain JSON."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe import Host, probe_document, survey_topology
from pdpanel.nic_probe.gpus.gpu import Gpu
from pdpanel.nic_probe.nics.device import RdmaDevice, RdmaPort
from simulated_host import make_gpu, make_host, make_nic, make_pci, make_pci_tree, make_port, read, unread


def _document(host: Host) -> dict[str, Any]:
    document = probe_document(host, survey_topology(host))
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    return document


def _pair(root: Path, **changes: Any) -> Host:
    gpu, nic = "0000:18:00.0", "0000:19:00.0"
    bridges = ("pci0000:16", "0000:16:01.0", "0000:17:00.0")
    tree = make_pci_tree(
        make_pci(gpu, *bridges, "0000:17:01.0"),
        make_pci(nic, *bridges, "0000:17:02.0", vendor=unread(), class_code=unread()),
    )
    return make_host(root, (make_gpu(gpu),), (make_nic("mlx5_0", nic),), pci=tree, **changes)


def test_the_keys_that_others_rely_on(tmp_path: Path) -> None:
    document = _document(_pair(tmp_path))
    assert {"host", "gpus", "nics", "paths", "mooncake_topology", "notes"} <= document.keys()
    (gpu,) = document["gpus"]
    expected = {
        "id": "0000:18:00.0",
        "uuid": "GPU-00000000-0000-0000-0000-000000000000",
        "nvml_index": 0,
        "cuda_index": 0,
        "visible_index": 0,
        "name": "NVIDIA H100 80GB HBM3",
        "vendor": "NVIDIA",
        "memory_total_bytes": 80 << 30,
        "pci": "0000:18:00.0",
        "numa_node": 0,
    }
    assert {key: gpu[key] for key in expected} == expected
    (nic,) = document["nics"]
    assert (nic["name"], nic["driver"], nic["pci"], nic["numa_node"]) == ("mlx5_0", "mlx5_core", "0000:19:00.0", 0)
    assert (nic["usable"], nic["why_not"]) == (True, "")
    (port,) = nic["ports"]
    assert (port["port"], port["state"], port["link_layer"]) == (1, "ACTIVE", "Ethernet")
    assert (port["rate_gbps"], port["mtu"], port["netdevs"]) == (400.0, 4096, ["eth1"])
    assert [(gid["index"], gid["address"], gid["type"]) for gid in port["gids"]] == [(3, "192.168.1.5", "RoCE v2")]
    (path,) = document["paths"]
    assert (path["gpu"], path["nic"], path["class"]) == ("0000:18:00.0", "mlx5_0", "PIX")
    assert (path["mooncake_distance"], path["source"]) == (2, "sysfs")
    assert document["mooncake_topology"]["cuda:0"] == [["mlx5_0"], []]
    assert document["ib_devices"] == {"0000:18:00.0": ["mlx5_0"]}
    assert document["sglang_ib_device"] == "mlx5_0"


def test_a_usable_nic_that_is_not_preferred_says_why_not(tmp_path: Path) -> None:
    management = make_nic("mlx5_0", ports=(make_port(),), usable=True, why_not="", management=read(True))
    down = make_nic("mlx5_1", ports=(make_port(),), usable=False, why_not="The port is DOWN.")
    plain = make_nic("mlx5_2", ports=(make_port(),), usable=True, why_not="")
    nics = {nic["name"]: nic for nic in _document(make_host(tmp_path, (), (management, down, plain)))["nics"]}
    why = "Not for KV: It is the management function of a switch and carries no KV."
    assert [nic["why_not"] for nic in nics.values()] == [why, "The port is DOWN.", ""]
    assert [nic["fit"] for nic in nics.values()] == [False, False, True]


def test_what_could_not_be_read_is_null_with_its_reason(tmp_path: Path) -> None:
    host = make_host(tmp_path, (make_gpu("0000:18:00.0", uuid=unread("needs a driver")),))
    (gpu,) = _document(host)["gpus"]
    assert gpu["uuid"] is None
    assert gpu["unreadable"]["uuid"] == "test needs a driver"
    assert "name" not in gpu["unreadable"]
    assert gpu["health"]["unreadable"] == {"fabric": "test not supported"}


def test_unreadable_rdma_devices_are_a_note(tmp_path: Path) -> None:
    document = _document(make_host(tmp_path, rdma=unread("permission denied")))
    assert document["nics"] == []
    assert "The RDMA devices are not known: test permission denied." in document["notes"]


def test_a_host_with_nothing(tmp_path: Path) -> None:
    document = _document(make_host(tmp_path))
    assert (document["gpus"], document["nics"], document["paths"]) == ([], [], [])
    assert document["sglang_ib_device"] == ""


@given(
    st.sets(
        st.sampled_from(
            [field.name for field in fields(Gpu) if field.name not in {"pci", "vendor", "health", "pcie_link"}]
        )
    )
)
def test_any_gap_in_a_gpu_is_named(tmp_path_factory: Any, missing: set[str]) -> None:
    gpu = replace(make_gpu("0000:18:00.0"), **dict.fromkeys(missing, unread("gone")))
    host = make_host(tmp_path_factory.mktemp("host"), (gpu,))
    (entry,) = _document(host)["gpus"]
    assert entry.get("unreadable", {}) == {name: "test gone" for name in missing}


def test_every_field_of_a_value_has_a_key(tmp_path: Path) -> None:
    host = make_host(tmp_path, (make_gpu("0000:18:00.0"),), (make_nic("mlx5_0", ports=(make_port(),)),))
    document = _document(host)
    assert {field.name for field in fields(Gpu)} <= document["gpus"][0].keys()
    assert {field.name for field in fields(RdmaDevice)} <= document["nics"][0].keys()
    assert {field.name for field in fields(RdmaPort)} - {"number"} <= document["nics"][0]["ports"][0].keys()
