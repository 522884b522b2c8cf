"""The picture of a host: every device once, where it belongs, with what is chosen for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.finding import Evidence, Finding, Severity
from pdpanel.panel.host_picture import Box, Picture, picture_of
from pdpanel.panel.host_shapes import State
from sample_devices import gpu, host_document, netdev, nic, port
from sample_hosts import HOSTS

DEVICES = ("gpu", "nic", "netdev")
Document = dict[str, Any]


def box_of(picture: Picture, name: str) -> Box:
    (found,) = [box for box in picture.boxes if box.id == name]
    return found


def said(box: Box) -> list[str]:
    return [text.text for text in box.texts]


def inside(box: Box, outer: Box) -> bool:
    return (
        outer.x <= box.x
        and outer.y <= box.y
        and box.x + box.width <= outer.x + outer.width
        and box.y + box.height <= outer.y + outer.height
    )


def holders(picture: Picture, name: str) -> list[str]:
    box = box_of(picture, name)
    return [one.id for one in picture.boxes if one.kind in ("numa", "switch", "group") and inside(box, one)]


def overlap(one: Box, other: Box) -> bool:
    return (
        one.x < other.x + other.width
        and other.x < one.x + one.width
        and one.y < other.y + other.height
        and other.y < one.y + one.height
    )


def check_geometry(picture: Picture) -> None:
    """Nothing leaves the picture, no two devices overlap, and no two boxes have one name."""
    whole = Box("picture", "picture", 0, 0, picture.width, picture.height, "")
    assert all(inside(box, whole) for box in picture.boxes)
    devices = [box for box in picture.boxes if box.kind in DEVICES]
    for place, one in enumerate(devices):
        assert not any(overlap(one, other) for other in devices[place + 1 :]), one.id
    for kind in ("numa", "switch"):
        boxes = [box for box in picture.boxes if box.kind == kind]
        assert not any(overlap(one, other) for i, one in enumerate(boxes) for other in boxes[i + 1 :])
    ids = [box.id for box in picture.boxes]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("make", HOSTS.values(), ids=HOSTS)
def test_every_device_is_there_once_and_none_overlaps(make: Callable[[], Document], columns: int) -> None:
    document = make()
    picture = picture_of(document, columns=columns)
    check_geometry(picture)
    names = [box.id for box in picture.boxes if box.kind in ("gpu", "nic")]
    assert sorted(names) == sorted(one["id"] for one in document["gpus"]) + sorted(
        one["name"] for one in document["nics"]
    )
    assert columns == 2 or picture.width < 500


@pytest.mark.parametrize("make", HOSTS.values(), ids=HOSTS)
def test_same_host_gives_the_same_picture(make: Callable[[], Document]) -> None:
    document = make()
    other = make()
    for key in ("gpus", "nics", "paths", "switches", "numa_nodes"):
        other[key].reverse()
    assert picture_of(document) == picture_of(other)
    assert json.loads(json.dumps(asdict(picture_of(document))))["width"] > 0


@pytest.mark.parametrize("make", HOSTS.values(), ids=HOSTS)
def test_every_chosen_pair_is_a_line_or_told_in_the_box(make: Callable[[], Document]) -> None:
    document = make()
    picture = picture_of(document)
    drawn = {
        (one, other)
        for line in picture.lines
        if line.kind in ("pair", "bus")
        for one in line.gpus
        for other in line.nics
    }
    notes = {box.id: " ".join(text.text for text in box.texts if text.style == "far") for box in picture.boxes}
    for key, names in document["ib_devices"].items():
        for place, name in enumerate(names):
            # A note is cut where the box ends, but always names the first NIC.
            assert (key, name) in drawn or (notes[key] if place else name in notes[key])


def test_a_device_stands_in_its_switch_and_its_node() -> None:
    picture = picture_of(HOSTS["eight_pairs"]())
    assert holders(picture, "0000:18:00.0") == ["numa-0", "numa-0/PCIe switch 0000:16:00.0"]
    assert holders(picture, "mlx5_5") == ["numa-1", "numa-1/PCIe switch 0000:36:00.0"]
    assert holders(picture, "mlx5_8") == ["numa-0"]
    assert holders(picture, "eno1") == ["interfaces"]


def test_what_names_no_node_gets_a_box_of_its_own() -> None:
    picture = picture_of(HOSTS["from_file"]())
    assert holders(picture, "rdmap0s27") == ["numa-0"]
    assert holders(picture, "rdmap3s27") == ["numa-unknown"]
    assert "NUMA node unknown" in said(box_of(picture, "numa-unknown"))


def test_on_a_host_of_one_node_a_device_can_be_nowhere_else() -> None:
    """On machines with one node the kernel often says -1 of every device."""
    document = host_document("one", gpus=[gpu(0, "0000:01:00.0", None)], numa=1)
    assert holders(picture_of(document), "0000:01:00.0") == ["numa-0"]


def test_a_device_below_nested_switches_stands_in_the_inner_one() -> None:
    gpus = [gpu(0, "0000:05:00.0", 0), gpu(1, "0000:06:00.0", 0)]
    switches = {"0000:01:00.0": (["0000:05:00.0", "0000:06:00.0"], []), "0000:03:00.0": (["0000:06:00.0"], [])}
    picture = picture_of(host_document("nested", gpus=gpus, switches=switches))
    assert holders(picture, "0000:05:00.0") == ["numa-0", "numa-0/PCIe switch 0000:01:00.0"]
    assert holders(picture, "0000:06:00.0") == ["numa-0", "numa-0/PCIe switch 0000:03:00.0"]


def test_the_class_of_the_path_stands_on_the_line() -> None:
    labels = [line.label for line in picture_of(HOSTS["eight_pairs"]()).lines if line.kind == "pair"]
    assert labels == ["PIX"] * 8
    unknown = [line for line in picture_of(HOSTS["from_file"]()).lines if line.style == "unknown" and line.label]
    assert {line.label for line in unknown if line.kind == "bus"} == {"?"}


def test_a_virtual_function_is_called_one() -> None:
    nics = [nic("mlx5_0", None, 0, port()), nic("mlx5_1", None, 0, port(), physical_function="mlx5_0")]
    picture = picture_of(host_document("h", nics=nics))
    assert ["VF" in " ".join(said(box_of(picture, name))) for name in ("mlx5_0", "mlx5_1")] == [False, True]


def test_gpus_that_share_nics_get_one_bus_with_one_label() -> None:
    lines = [line for line in picture_of(HOSTS["flat"]()).lines if line.kind == "bus"]
    assert [line.label for line in lines if line.label] == ["PHB"]
    assert len(lines) == 1 + 8 + 8


def test_a_choice_on_another_node_is_told_in_the_box() -> None:
    picture = picture_of(HOSTS["largest"]())
    (note,) = [text.text for text in box_of(picture, "0001:0e:00.0").texts if text.style == "far"]
    assert note.startswith("\N{RIGHTWARDS ARROW} SYS bnxt_re0")


@pytest.mark.parametrize(
    ("ports", "changes", "state", "word"),
    [
        ([port()], {}, State.GOOD, "usable"),
        ([port(state="DOWN")], {}, State.BAD, "down"),
        ([port(state="INIT")], {}, State.BAD, "init"),
        ([port(usable=False)], {}, State.BAD, "not usable"),
        ([port(state="ACTIVE", usable=None)], {"usable": None}, State.UNKNOWN, "unknown"),
        ([port()], {"fit": False}, State.OFF, "not for KV"),
        ([port(), port(2, state="DOWN")], {}, State.GOOD, "usable"),
        ([], {"usable": False}, State.BAD, "not usable"),
    ],
)
def test_state_of_a_nic_has_a_colour_a_sign_and_a_word(
    ports: list[Document], changes: Document, state: State, word: str
) -> None:
    box = box_of(picture_of(host_document("h", nics=[nic("mlx5_0", "0000:01:00.0", 0, *ports, **changes)])), "mlx5_0")
    assert box.state is state
    assert box.marks[0].state is state
    assert word in said(box)


def test_every_port_has_a_link_with_what_it_carries() -> None:
    ports = [port(netdev="a"), port(2, state="DOWN"), port(3, rate_gbps=None)]
    picture = picture_of(host_document("h", nics=[nic("mlx4_0", None, 0, *ports)], netdevs=[netdev("eno1")]))
    links = {line.key: (line.style, line.capacity_bytes_per_s) for line in picture.lines if line.kind == "link"}
    assert links == {
        "mlx4_0:1": ("good", 50e9),
        "mlx4_0:2": ("bad", None),
        "mlx4_0:3": ("good", None),
        "eno1": ("good", 3.125e9),
    }
    keys = {text.key for box in picture.boxes for text in box.texts if text.key}
    assert keys == set(links)


def finding(severity: Severity, subject: str) -> Finding:
    return Finding("x", severity, subject, (Evidence("a", "b"),), "because")


def test_findings_mark_the_device_that_they_name_and_no_other() -> None:
    nics = [nic(name, None, 0, port()) for name in ("mlx5_1", "mlx5_10")]
    document = host_document("h", gpus=[gpu(0, "0000:18:00.0", 0)], nics=nics)
    found = [
        finding(Severity.WARNING, "port 1 of mlx5_10"),
        finding(Severity.ERROR, "GPU 0000:18:00.0"),
        finding(Severity.ERROR, "0000:18:00.0"),
        finding(Severity.INFO, "mlx5_1"),
    ]
    picture = picture_of(document, found)
    assert box_of(picture, "mlx5_1").state is State.GOOD
    assert (box_of(picture, "mlx5_10").state, said(box_of(picture, "mlx5_10"))[0]) == (State.WARN, "1 warning")
    assert (box_of(picture, "0000:18:00.0").state, said(box_of(picture, "0000:18:00.0"))[0]) == (State.BAD, "2 errors")


def test_a_gpu_with_nvlinks_names_their_traffic() -> None:
    gpus = [gpu(0, "0000:01:00.0", 0), gpu(1, "0000:02:00.0", 0, health={"nvlinks_active": 0})]
    picture = picture_of(host_document("h", gpus=gpus))
    keys = {box.id: [text.key for text in box.texts if text.key] for box in picture.boxes if box.kind == "gpu"}
    assert keys == {"0000:01:00.0": ["nvlink 0000:01:00.0"], "0000:02:00.0": []}


def test_gpus_are_numbered_as_cuda_does() -> None:
    gpus = [
        gpu(0, "0000:03:00.0", 0, cuda_index=1, nvml_index=0),
        gpu(1, "0000:02:00.0", 0, cuda_index=None, nvml_index=7),
        gpu(2, "0000:01:00.0", 0, cuda_index=None, nvml_index=None),
    ]
    picture = picture_of(host_document("h", gpus=gpus))
    assert [said(box)[0] for box in picture.boxes if box.kind == "gpu"] == ["GPU 1", "GPU 7 (NVML)", "GPU"]


def test_a_host_with_nothing_says_that_it_is_fine() -> None:
    picture = picture_of(HOSTS["nothing"]())
    assert "KV travels over TCP" in box_of(picture, "nothing").label
    # Where KV stays on the host it travels over lo.
    assert holders(picture, "lo") == ["interfaces"]
    assert picture.title == "laptop: no GPUs, no RDMA NICs"
    assert picture_of({}).boxes[0].id == "nothing"


def test_interfaces_that_belong_to_an_rdma_nic_or_say_nothing_are_left_out() -> None:
    netdevs = [netdev("eth1"), netdev("lo", loopback=True), netdev("veth3", pci=None, addresses=[]), netdev("eno1")]
    document = host_document("h", nics=[nic("mlx5_0", None, 0, port(netdev="eth1"))], netdevs=netdevs)
    assert [box.id for box in picture_of(document).boxes if box.kind == "netdev"] == ["eno1"]


def test_nodes_of_memory_alone_are_counted_and_not_drawn() -> None:
    document = host_document("h", gpus=[gpu(0, "0000:01:00.0", 0)], numa=2)
    document["numa_nodes"] += [{"id": node, "cpus": "", "memory_bytes": 2**30} for node in range(2, 10)]
    picture = picture_of(document)
    assert [box.id for box in picture.boxes if box.kind == "numa"] == ["numa-0", "numa-1"]
    assert picture.texts[-1].text == "Not shown: 8 NUMA nodes without GPU and NIC."


def test_of_many_interfaces_some_are_drawn_and_the_others_counted() -> None:
    names = [f"eth{place}" for place in range(40)]
    picture = picture_of(host_document("h", netdevs=[netdev(name) for name in names]))
    check_geometry(picture)
    assert [box.id for box in picture.boxes if box.kind == "netdev"] == names[:8]
    assert picture.texts[-1].text == "Not shown: 32 more interfaces."


def test_the_label_of_a_device_says_what_the_picture_shows() -> None:
    picture = picture_of(HOSTS["sixteen_nics"]())
    assert "uses rdmap0s0 (PIX), rdmap1s0 (PIX)" in box_of(picture, "0000:59:00.0").label
    assert "port 1 is DOWN" in box_of(picture, "rdmap5s0").label
    assert "13 of 16 RDMA NICs usable" in picture.description


def test_long_names_are_cut_and_whole_in_the_label() -> None:
    name = "a_device_with_a_name_that_no_box_can_hold"
    box = box_of(picture_of(host_document("h", nics=[nic(name, None, 0, port())])), name)
    shown = next(text.text for text in box.texts if text.style == "title")
    assert len(shown) * 8 < box.width
    assert shown.endswith("\N{HORIZONTAL ELLIPSIS}")
    assert box.label.startswith(name)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    node = st.one_of(st.none(), st.integers(0, 3))
    gpus = [gpu(i, f"0000:{i:02x}:00.0", draw(node)) for i in range(draw(st.integers(0, 16)))]
    states = st.sampled_from(["ACTIVE", "DOWN", None])
    nics = [
        nic(f"n{i}", None, draw(node), *(port(p, state=draw(states)) for p in range(draw(st.integers(0, 5)))))
        for i in range(draw(st.integers(0, 24)))
    ]
    gpu_ids, names = [one["id"] for one in gpus], [one["name"] for one in nics]
    some = (lambda of: st.lists(st.sampled_from(of), max_size=8, unique=True)) if names else (lambda of: st.just([]))
    chosen = {one: draw(some(names)) for one in gpu_ids}
    switches = {}
    if gpu_ids and names:
        switches = {f"s{i}": (draw(some(gpu_ids)), draw(some(names))) for i in range(draw(st.integers(0, 4)))}
    level = st.sampled_from(["PIX", "PXB", "PHB", "NODE", "SYS", "UNKNOWN", "new"])
    levels = {(one, other): draw(level) for one, of in chosen.items() for other in of}
    document = host_document(
        "random",
        gpus=gpus,
        nics=nics,
        numa=draw(st.integers(0, 4)),
        switches=switches,
        chosen=chosen,
        levels=lambda one, other: levels.get((one["id"], other["name"]), "SYS"),
    )
    for key in draw(st.sets(st.sampled_from(sorted(document)))):
        del document[key]
    return document


@given(documents(), st.integers(1, 3))
def test_any_host_has_a_picture(document: Document, columns: int) -> None:
    picture = picture_of(document, columns=columns)
    check_geometry(picture)
    assert {box.id for box in picture.boxes if box.kind == "gpu"} == {one["id"] for one in document.get("gpus", ())}
