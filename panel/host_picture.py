"""The picture of a host: NUMA nodes with their PCI switches, GPUs and NICs, and which NIC each GPU should use.

Pure: the probe's JSON document in, coordinates and texts out, the same for the same document. Called by
`pdpanel topology --svg` and by the Hardware tab; `host_svg` and the tab's scripts draw it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from ..nic_probe.finding import Finding
from .host_cells import CELL_WIDTH, Cell, Slot, arrange, split_cell
from .host_devices import Device, Pair, read_devices, read_pairs, read_switches
from .host_lines import link_lines, pair_lines
from .host_shapes import Box, Line, Mark, Picture, State, Text

__all__ = ["Box", "Line", "Picture", "picture_of"]

_PAD = 12
_HEAD = 40
_GAP = 14
_FOOT = 22
_MOST_EMPTY_NODES = 8
_DASH = "\N{MIDDLE DOT}"
_SIGNS = (
    (State.GOOD, "usable"),
    (State.BAD, "down or not usable"),
    (State.WARN, "warning"),
    (State.UNKNOWN, "unknown"),
    (State.OFF, "not for KV"),
)
_CLASSES = (
    ("PIX", "same PCIe switch"),
    ("PXB", "several PCIe switches"),
    ("PHB", "same host bridge"),
    ("NODE", "same NUMA node"),
    ("SYS", "another NUMA node"),
    ("UNKNOWN", "not known how far"),
)
# Widths of one letter, in pixels, of the fonts that the drawings ask for.
_LETTERS = {"title": 8.0, "head": 7.8, "soft": 6.8, "code": 6.7}


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


def picture_of(document: Mapping[str, Any], findings: Sequence[Finding] = (), columns: int = 2) -> Picture:
    """Returns the picture of a host.

    Args:
        document: the probe's answer, as `nic_probe.document` writes it; every key may be missing.
        findings: marks the devices that an error or a warning names as its subject.
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
        boxes.append(_nothing(width, bottom))
        bottom += boxes[-1].height + _GAP
    lines = (*pair_lines(slots, drawn, cells), *link_lines(slots.values()))
    title, description = _words(document, devices, pairs)
    boxes += [_device_box(slot, pairs) for slot in slots.values()]
    states = {mark.state for box in boxes for mark in box.marks}
    texts, marks, height = _legend(width, bottom, states, {pair.level for pair in pairs}, left_out)
    return Picture(width, height, title, description, tuple(boxes), lines, texts, marks)


def _tell_far_pairs(nodes: Sequence[_Node], pairs: Sequence[Pair]) -> tuple[list[Pair], list[_Node]]:
    """Returns the pairs to draw, and the nodes with the other pairs as notes: a line across the picture says nothing."""
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
    """Returns the boxes to stand side by side, and a sentence on what is left out."""
    switches = read_switches(document)
    inside = [device for device in devices if device.kind != "netdev"]
    known = [node for node in document.get("numa_nodes") or () if isinstance(node.get("id"), int)]
    ids = sorted({node["id"] for node in known} | {device.numa for device in inside if device.numa is not None})
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
    plain = [device for device in devices if device.kind == "netdev"]
    if plain:
        title, aside = "Other interfaces", "TCP alone"
        nodes.append(_Node("interfaces", "group", title, aside, title, (Cell("", tuple(plain)),)))
    rest = len(empty) - len(shown)
    return nodes, f"{rest} NUMA nodes without GPU and NIC are not shown." if rest else ""


def _cells(devices: Sequence[Device], switches: Sequence[Any], pairs: Sequence[Pair]) -> list[Cell]:
    cells: list[Cell] = []
    taken: set[str] = set()
    for switch in switches:
        below = tuple(device for device in devices if device.id in switch.devices)
        taken |= {device.id for device in below}
        if below:
            cells.append(Cell(f"PCIe switch {switch.pci}", below))
    rest = tuple(device for device in devices if device.id not in taken)
    return cells + (split_cell(Cell("", rest), pairs) if rest else [])


def _numa_node(numa: int, facts: Mapping[str, Any], cells: tuple[Cell, ...], across: int) -> _Node:
    cpus, memory = facts.get("cpus"), facts.get("memory_bytes")
    parts = [f"CPUs {cpus}" if cpus else "", f"{memory / 2**30:.4g} GiB" if memory else ""]
    aside = f" {_DASH} ".join(part for part in parts if part)
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
    room = node.width - 4 * _PAD - len(node.title) * _LETTERS["head"] - 24
    texts = (
        Text(left + 2 * _PAD, top + 25, node.title, "head"),
        Text(left + node.width - 2 * _PAD, top + 25, _fit(node.aside, room, "soft"), "soft", "end"),
    )
    return Box(node.id, node.kind, left, top, node.width, height, node.label, texts=texts), boxes, placed


def _device_box(slot: Slot, pairs: Sequence[Pair]) -> Box:
    device = slot.device
    left, right = slot.x + 10, slot.right - 10
    room = slot.width - 20
    texts: list[Text] = []
    marks: list[Mark] = []
    title_room = room
    if device.word:
        marks.append(Mark(right - 7, slot.y + 15, device.state))
        texts.append(Text(right - 20, slot.y + 19, device.word, "soft", "end"))
        title_room -= 26 + len(device.word) * _LETTERS["soft"]
    texts.append(Text(left, slot.y + 19, _fit(device.title, title_room, "title"), "title"))
    if len(device.ports) < 2:
        key = device.ports[0].key if device.ports else ""
        texts.append(Text(left, slot.y + 36, _fit(device.text, room, "soft"), "soft"))
        texts.append(Text(left, slot.y + 52, _fit(device.address, room, "code"), "code", key=key))
        texts.append(Text(right, slot.y + 52, device.aside, "code", "end"))
        texts.append(Text(left, slot.y + 68, _fit(device.note, room, "soft"), "far"))
    for index, port in enumerate(device.ports if len(device.ports) > 1 else ()):
        y = slot.y + 38 + 34 * index
        marks.append(Mark(left + 7, y - 4, port.state))
        texts.append(Text(left + 20, y, _fit(f"{port.name}: {port.text}", room - 20, "soft"), "soft"))
        texts.append(Text(left + 20, y + 15, port.word, "code", key=port.key))
    return Box(
        id=device.id,
        kind=device.kind,
        x=slot.x,
        y=slot.y,
        width=slot.width,
        height=slot.height,
        label=_label(device, pairs),
        state=device.state,
        texts=tuple(text for text in texts if text.text),
        marks=tuple(marks),
    )


def _label(device: Device, pairs: Sequence[Pair]) -> str:
    """Returns all that the picture says of a device, for those who cannot see it."""
    if device.kind == "gpu":
        chosen = ", ".join(f"{pair.nic} ({pair.level})" for pair in pairs if pair.gpu == device.id)
        parts = [device.title, device.text, device.address, device.word]
        parts.append(f"uses {chosen}" if chosen else "no NIC is chosen for it")
    else:
        users = sum(pair.nic == device.id for pair in pairs)
        parts = [device.title, device.text, device.word, device.reason]
        parts.append(f"used by {users} GPU{'s' if users > 1 else ''}" if users else "")
    return ", ".join(part for part in parts if part)


def _nothing(width: float, top: float) -> Box:
    said = (
        "No GPU and no RDMA NIC: that is fine.",
        "The bundled engine computes on the CPU, and KV travels over TCP.",
    )
    texts = (Text(25, top + 27, said[0], "head"), Text(25, top + 47, said[1], "soft"))
    return Box("nothing", "note", 1, top + 1, width - 2, 62, " ".join(said), texts=texts)


def _words(document: Mapping[str, Any], devices: Sequence[Device], pairs: Sequence[Pair]) -> tuple[str, str]:
    host = document.get("host") or {}
    gpus = [device for device in devices if device.kind == "gpu"]
    nics = [device for device in devices if device.kind == "nic"]
    bad = [device.id for device in nics if device.state is State.BAD]
    name = str(host.get("name") or "unnamed host")
    title = f"{name}: {_count(gpus, 'GPU')}, {_count(nics, 'RDMA NIC')}"
    if host.get("live") is False:
        title += " (from a file)"
    usable = sum(device.state in (State.GOOD, State.WARN) for device in nics)
    said: list[str] = []
    if nics:
        said.append(f"{usable} of {_count(nics, 'RDMA NIC')} usable")
    if bad:
        said.append(f"not usable: {', '.join(bad)}")
    if gpus and nics:
        served = len({pair.gpu for pair in pairs})
        said.append(f"a NIC is chosen for {served} of {_count(gpus, 'GPU')}")
    return title, "; ".join(said) + "." if said else "KV travels over TCP."


def _count(found: Sequence[Device], what: str) -> str:
    return f"{len(found) or 'no'} {what}{'' if len(found) == 1 else 's'}"


def _legend(
    width: float, top: float, states: Set[State], levels: Set[str], left_out: str
) -> tuple[tuple[Text, ...], tuple[Mark, ...], float]:
    """Returns what explains the signs and path classes that the picture has, and where it ends."""
    texts: list[Text] = []
    marks: list[Mark] = []
    x, y = 1.0, top + 14
    words: list[tuple[State | None, str]] = [(state, word) for state, word in _SIGNS if state in states]
    words += [(None, f"{level}: {meaning}") for level, meaning in _CLASSES if level in levels]
    for state, word in words:
        needed = len(word) * _LETTERS["soft"] + (20 if state else 0)
        if x > 1 and x + needed > width:
            x, y = 1.0, y + _FOOT
        if state:
            marks.append(Mark(x + 8, y - 4, state))
        texts.append(Text(round(x + (20 if state else 0), 1), y, word, "soft"))
        x = round(x + needed + 16, 1)
    if left_out:
        y += _FOOT
        texts.append(Text(1, y, left_out, "soft"))
    return tuple(texts), tuple(marks), y + 8


def _fit(text: str, room: float, style: str) -> str:
    most = max(3, int(room / _LETTERS[style]))
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"
