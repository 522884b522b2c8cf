"""The picture of a host: NUMA nodes with their PCI switches, GPUs and NICs, and which NIC each GPU should use.

Pure: the probe's JSON document in, coordinates and texts out, the same for the same document. Called by
`pdpanel topology --svg` and by the Hardware tab; `host_svg` and the tab's scripts draw it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..nic_probe.finding import Finding
from .host_cells import CELL_WIDTH, Cell, Slot, arrange, split_cell
from .host_devices import Device, Pair, read_devices, read_pairs, read_switches
from .host_lines import link_lines, pair_lines
from .host_shapes import Box, Line, Picture, Text
from .host_words import LETTERS, device_box, fit, legend, name_and_describe, nothing_box
from .sizes import sized

__all__ = ["Box", "Line", "Picture", "picture_of"]

_PAD = 12
_HEAD = 40
_GAP = 14
_MOST_EMPTY_NODES = 8
_MOST_NETDEVS = 8


@dataclass(frozen=True, slots=True)
class _Node:
    """A box for a NUMA node, or for what has none; `across` is how many cells stand side by side at most."""

    id: str
    kind: str
    title: str
    aside: str
    label: str
    cells: tuple[Cell, ...]
    across: int = 1

    @property
    def columns(self) -> int:
        return max(1, min(self.across, len(self.cells)))

    @property
    def width(self) -> float:
        return self.columns * CELL_WIDTH + (self.columns - 1) * _GAP + 2 * _PAD


def picture_of(
    document: Mapping[str, Any], findings: Sequence[Finding] = (), *, name: str = "", columns: int = 2
) -> Picture:
    """Returns the picture of a host.

    Args:
        document: the probe's answer, as `nic_probe.document` writes it; every key may be missing.
        findings: marks the devices that an error or a warning names as its subject.
        name: what to call a host that has no name.
        columns: how many NUMA nodes may stand side by side.
    """
    devices = read_devices(document, findings)
    pairs = read_pairs(document, devices)
    nodes, left_out = _nodes(document, devices, pairs, columns)
    drawn, nodes = _tell_far_pairs(nodes, pairs)
    boxes: list[Box] = []
    slots: dict[str, Slot] = {}
    cells: dict[str, int] = {}
    heights = [0.0] * (columns if sum(bool(node.cells) for node in nodes) > 1 else 1)
    for node in nodes:
        place = heights.index(min(heights))
        left, top = 1 + place * (CELL_WIDTH + 2 * _PAD + _GAP), heights[place] + 1
        box, inner, placed = _place_node(node, drawn, left, top)
        boxes += [box, *inner]
        for found in placed:
            cell = len(cells)
            slots.update((slot.device.id, slot) for slot in found)
            cells.update((slot.device.id, cell) for slot in found)
        heights[place] = top - 1 + box.height + _GAP
    width = max((box.x + box.width for box in boxes), default=CELL_WIDTH) + 1
    bottom = max(heights)
    if not any(device.kind != "netdev" for device in devices):
        boxes.append(nothing_box(width, bottom))
        bottom += boxes[-1].height + _GAP
    lines = (*pair_lines(slots, drawn, cells), *link_lines(slots.values()))
    title, description = name_and_describe(document, devices, pairs, name)
    boxes += [device_box(slot, pairs) for slot in slots.values()]
    states = {mark.state for box in boxes for mark in box.marks}
    texts, marks, height = legend(width, bottom, states, {pair.level for pair in pairs}, left_out)
    return Picture(width, height, title, description, tuple(boxes), lines, texts, marks)


def _tell_far_pairs(nodes: Sequence[_Node], pairs: Sequence[Pair]) -> tuple[list[Pair], list[_Node]]:
    """Returns the pairs to draw, and the nodes with the others as notes: lines across the picture say nothing."""
    spot = {
        device.id: (place, 0 if node.columns == 1 else number)
        for place, node in enumerate(nodes)
        for number, cell in enumerate(node.cells)
        for device in cell.devices
    }
    drawn: list[Pair] = []
    far: dict[str, dict[str, list[str]]] = {}
    for pair in pairs:
        if spot[pair.gpu] == spot[pair.nic]:
            drawn.append(pair)
        else:
            far.setdefault(pair.gpu, {}).setdefault(pair.level, []).append(pair.nic)
    notes = {
        gpu: "; ".join(f"\N{RIGHTWARDS ARROW} {level} {', '.join(names)}" for level, names in levels.items())
        for gpu, levels in far.items()
    }

    def noted(cell: Cell) -> Cell:
        return Cell(cell.title, tuple(replace(device, note=notes.get(device.id, "")) for device in cell.devices))

    return drawn, [replace(node, cells=tuple(map(noted, node.cells))) for node in nodes]


def _nodes(
    document: Mapping[str, Any], devices: Sequence[Device], pairs: Sequence[Pair], columns: int
) -> tuple[list[_Node], str]:
    """Returns the boxes to stand side by side, and what is left out, in words."""
    switches = read_switches(document)
    inside = [device for device in devices if device.kind != "netdev"]
    known = [node for node in document.get("numa_nodes") or () if isinstance(node.get("id"), int)]
    ids: list[int] = sorted(
        {int(node["id"]) for node in known} | {device.numa for device in inside if device.numa is not None}
    )
    # On a host with one node a device that names none can be nowhere else.
    only = ids[0] if len(ids) == 1 else None
    members: dict[int | None, list[Device]] = {}
    for device in inside:
        members.setdefault(only if device.numa is None else device.numa, []).append(device)
    cells = {numa: _cells(found, switches, pairs) for numa, found in members.items()}
    across = columns if len(members) <= 1 else 1
    facts = {node["id"]: node for node in known}
    empty = [numa for numa in ids if numa not in members]
    # A node without CPUs is most often the memory of a GPU.
    shown = [numa for numa in empty if facts[numa].get("cpus") != ""][:_MOST_EMPTY_NODES]
    nodes = [
        _numa_node(numa, facts.get(numa, {}), tuple(cells.get(numa, ())), across)
        for numa in ids
        if numa in members or numa in shown
    ]
    if None in members:
        title, aside = "NUMA node unknown", "the platform does not say"
        nodes.append(_Node("numa-unknown", "numa", title, aside, title, tuple(cells[None]), across))
    plain = tuple(device for device in devices if device.kind == "netdev")
    if plain:
        title, aside = "Other interfaces", "TCP alone"
        nodes.append(_Node("interfaces", "group", title, aside, title, (Cell("", plain[:_MOST_NETDEVS]),)))
    rest = {"NUMA nodes without GPU and NIC": len(empty) - len(shown), "more interfaces": len(plain) - _MOST_NETDEVS}
    return nodes, ", ".join(f"{count} {what}" for what, count in rest.items() if count > 0)


def _cells(devices: Sequence[Device], switches: Sequence[Any], pairs: Sequence[Pair]) -> list[Cell]:
    cells: list[Cell] = []
    taken: set[str] = set()
    for switch in switches:
        below = tuple(device for device in devices if device.id in switch.devices)
        taken |= {device.id for device in below}
        if below:
            cells.append(Cell(f"PCIe switch {switch.pci}", below))
    # The switch of the first GPU comes first.
    cells.sort(key=lambda cell: devices.index(cell.devices[0]))
    rest = tuple(device for device in devices if device.id not in taken)
    return cells + (split_cell(Cell("", rest), pairs) if rest else [])


def _numa_node(numa: int, facts: Mapping[str, Any], cells: tuple[Cell, ...], across: int) -> _Node:
    cpus, memory = facts.get("cpus"), facts.get("memory_bytes")
    parts = [f"CPUs {cpus}" if cpus else "", sized(memory) if memory else ""]
    aside = " \N{MIDDLE DOT} ".join(part for part in parts if part)
    title = f"NUMA node {numa}"
    return _Node(f"numa-{numa}", "numa", title, aside, f"{title}, {aside}" if aside else title, cells, across)


def _place_node(node: _Node, pairs: Sequence[Pair], left: float, top: float) -> tuple[Box, list[Box], list[list[Slot]]]:
    """Returns the node's box, the boxes of its switches, and the devices of each cell."""
    boxes: list[Box] = []
    placed: list[list[Slot]] = []
    bottoms = [top + _HEAD] * node.columns
    for cell in node.cells:
        column = bottoms.index(min(bottoms))
        x, y = left + _PAD + column * (CELL_WIDTH + _GAP), bottoms[column]
        slots, height = arrange(cell, pairs)
        if cell.title:
            text = Text(x + 12, y + 18, cell.title, "soft")
            name = f"{node.id}/{cell.title}"
            boxes.append(Box(name, "switch", x, y, CELL_WIDTH, height, cell.title, texts=(text,)))
        placed.append([slot.moved(x, y) for slot in slots])
        bottoms[column] = y + height + _GAP
    height = max(bottoms) - _GAP + _PAD - top if node.cells else _HEAD
    room = node.width - 4 * _PAD - len(node.title) * LETTERS["head"] - 24
    texts = (
        Text(left + 2 * _PAD, top + 25, node.title, "head"),
        Text(left + node.width - 2 * _PAD, top + 25, fit(node.aside, room, "soft"), "soft", "end"),
    )
    return Box(node.id, node.kind, left, top, node.width, height, node.label, texts=texts), boxes, placed
