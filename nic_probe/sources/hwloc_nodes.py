"""The NUMA nodes of an hwloc topology, and which of them a device is near to.

hwloc gives memory without CPUs of its own (of a GPU, high-bandwidth or CXL memory) the CPUs of the package that it
is near to. The kernel, and with it everybody who pins threads, gives each CPU to one node; so does this. Called by
`hwloc_xml`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..cpu import NumaNode
from ..reading import Reading
from .safe_xml import XmlNode
from .xml_devices import bit_mask, cpu_list, unsaid

__all__ = ["HwlocNodes"]

_TYPES = ("NUMANode", "Node")
# What Linux can be built for.
_MAX_NODE = 1 << 10


class HwlocNodes:
    """The NUMA nodes of one file.

    Attributes:
        values: by number.
    """

    def __init__(self, objects: Sequence[XmlNode], source: str) -> None:
        self._source = source
        self._machine = objects[0] if objects else None
        found: dict[int, XmlNode] = {}
        for node in objects:
            number = node.get("os_index")
            if node.get("type") in _TYPES and number.isdecimal() and len(number) < 6 and int(number) < _MAX_NODE:
                found.setdefault(int(number), node)
        self._with_cpus: dict[int, XmlNode] = {}
        self._known: dict[int, Reading[int]] = {}
        claimed = 0
        values: list[NumaNode] = []
        for number, node in sorted(found.items()):
            mask = bit_mask(node, "cpuset")
            cpus = unsaid(source) if mask is None else Reading(cpu_list(mask), source)
            if _is_gpu_memory(node) or (mask is not None and mask & ~claimed == 0):
                cpus = Reading("", source)
            else:
                self._with_cpus[number] = node
                claimed |= mask or 0
            values.append(NumaNode(number, cpus, self._memory(node)))
        if not values and self._machine is not None:
            # hwloc 1 shows no node on a machine with a single one.
            mask = bit_mask(self._machine, "cpuset") or 0
            cpus = Reading(cpu_list(mask), source) if mask else unsaid(source)
            values.append(NumaNode(0, cpus, self._memory(self._machine)))
        self.values = tuple(values)

    def of(self, near: XmlNode) -> Reading[int]:
        """Returns the node of whatever is attached to the object `near`; unreadable when that spans several."""
        known = self._known.get(id(near))
        if known is None:
            known = self._known[id(near)] = self._find(near)
        return known

    def _find(self, near: XmlNode) -> Reading[int]:
        if len(self.values) == 1:
            return Reading(self.values[0].id, self._source)
        within = self._within(near)
        if len(within) == 1:
            return Reading(within[0], self._source)
        count = len(within) or "no"
        return Reading.unreadable(self._source, f"is attached to an object with {count} NUMA nodes")

    def _within(self, near: XmlNode) -> list[int]:
        nodeset = bit_mask(near, "nodeset")
        if nodeset is not None:
            return [number for number in self._with_cpus if nodeset >> number & 1]
        numbers = {id(node): number for number, node in self._with_cpus.items()}
        for around in (near, *near.above()):
            if id(around) in numbers:
                return [numbers[id(around)]]
            beside = [numbers[id(child)] for child in around.children if id(child) in numbers]
            if beside:
                return beside
        return list(self._with_cpus)

    def _memory(self, node: XmlNode) -> Reading[int]:
        size = node.get("local_memory")
        return Reading(int(size), self._source) if size.isdecimal() and len(size) < 20 else unsaid(self._source)


def _is_gpu_memory(node: XmlNode) -> bool:
    names = {info.get("name") for info in node.each("info")}
    return "GPUMemory" in node.get("subtype") or "PCIBusID" in names
