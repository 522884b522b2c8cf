from __future__ import annotations

import pytest
from pdpanel.nic_probe.sources.hwloc_nodes import HwlocNodes
from pdpanel.nic_probe.sources.safe_xml import XmlNode, parse_xml


def nodes(text: str) -> tuple[HwlocNodes, dict[str, XmlNode]]:
    """Returns the nodes of a machine, and its objects by their gp_index."""
    objects = [node for node in parse_xml(text.encode()).walk() if node.tag == "object"]
    return HwlocNodes(objects, "file.xml"), {node.get("gp_index"): node for node in objects}


TWO = """<object type="Machine" gp_index="m" nodeset="0x3">
  <object type="Package" gp_index="p0" nodeset="0x1">
    <object type="NUMANode" os_index="0" cpuset="0x000000ff" local_memory="1024"/>
    <object type="L3Cache" gp_index="l0" nodeset="0x1"/>
  </object>
  <object type="Package" gp_index="p1" nodeset="0x2">
    <object type="NUMANode" os_index="1" cpuset="0x0000ff00"/>
  </object>
</object>"""


def test_a_device_has_the_node_of_what_it_is_attached_to() -> None:
    found, objects = nodes(TWO)
    assert [(node.id, node.cpus.value, node.memory_bytes.value) for node in found.values] == [
        (0, "0-7", 1024),
        (1, "8-15", None),
    ]
    assert [found.of(objects[name]).value for name in ("p0", "l0", "p1", "m")] == [0, 0, 1, None]
    assert found.of(objects["m"]).reason == "is attached to an object with 2 NUMA nodes"


def test_without_sets_of_nodes_the_nesting_decides() -> None:
    found, objects = nodes(TWO.replace("nodeset", "unknown"))
    assert [found.of(objects[name]).value for name in ("p0", "l0", "p1", "m")] == [0, 0, 1, None]


def test_in_hwloc_1_nodes_are_above_their_packages() -> None:
    found, objects = nodes(
        """<object type="Machine" gp_index="m">
        <object type="NUMANode" os_index="0" cpuset="0xf" gp_index="n0"><object type="Socket" gp_index="s0"/></object>
        <object type="NUMANode" os_index="1" cpuset="0xf0" gp_index="n1"/></object>"""
    )
    assert [found.of(objects[name]).value for name in ("n0", "s0", "n1", "m")] == [0, 0, 1, None]


def test_a_machine_without_nodes_is_one() -> None:
    found, objects = nodes('<object type="Machine" gp_index="m" cpuset="0xff" local_memory="2048"/>')
    assert [(node.id, node.cpus.value, node.memory_bytes.value) for node in found.values] == [(0, "0-7", 2048)]
    assert found.of(objects["m"]).value == 0


@pytest.mark.parametrize(
    "memory",
    [
        '<object type="NUMANode" os_index="255" cpuset="0x0"/>',
        '<object type="NUMANode" os_index="255" subtype="GPUMemory" cpuset="0x00ff0000"/>',
        '<object type="NUMANode" os_index="255"><info name="PCIBusID" value="0004:05:00.0"/></object>',
        # High-bandwidth memory: hwloc gives it the CPUs of the package.
        '<object type="NUMANode" os_index="255" cpuset="0xff"/>',
    ],
)
def test_memory_without_cpus_of_its_own_is_no_place(memory: str) -> None:
    everywhere = "0x80000001," + ",".join(["0x0"] * 6) + ",0x00000001"
    found, objects = nodes(
        f"""<object type="Machine" gp_index="m" nodeset="{everywhere}">
        <object type="NUMANode" os_index="0" cpuset="0xff"/>{memory}</object>"""
    )
    assert [(node.id, node.cpus.value) for node in found.values] == [(0, "0-7"), (255, "")]
    assert found.of(objects["m"]).value == 0


def test_numbers_that_make_no_sense_are_left_out() -> None:
    found, _ = nodes(
        """<object type="Machine" gp_index="m">
        <object type="NUMANode" os_index="-1"/><object type="NUMANode" os_index="99999999999"/>
        <object type="NUMANode" os_index="3" cpuset="0xf...f" local_memory="much"/></object>"""
    )
    assert [(node.id, node.cpus.value, node.memory_bytes.value) for node in found.values] == [(3, None, None)]
