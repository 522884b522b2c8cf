"""Where devices stand inside one cell of the picture: a PCI switch, or what has none.

GPUs to the left, NICs to the right, a channel for lines between them; all cells are equally wide, so that
the channels of a column lie below each other. Pure; called by `host_picture`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .host_devices import Device, Pair

__all__ = ["CELL_WIDTH", "Cell", "Slot", "arrange", "split_cell"]

GPU_WIDTH = 154
CHANNEL = 64
NIC_WIDTH = 194
LINK = 24
CONTENT = GPU_WIDTH + CHANNEL + NIC_WIDTH + LINK
PAD = 12
HEAD = 26
CELL_WIDTH = CONTENT + 2 * PAD
_ROW_GAP = 10
_PORT_HEIGHT = 34
_DEVICE_HEIGHT = 60
_LINE = 16
_MOST_ROWS = 8


@dataclass(frozen=True, slots=True)
class Cell:
    """Devices that stand together; `title` is empty for a cell without a frame."""

    title: str
    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """A device with its place."""

    device: Device
    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """Half its height."""
        return self.y + self.height / 2

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.width

    def moved(self, x: float, y: float) -> Slot:
        """Returns the same device elsewhere."""
        return Slot(self.device, self.x + x, self.y + y, self.width, self.height)


def split_cell(cell: Cell, pairs: Sequence[Pair]) -> list[Cell]:
    """Returns a frameless cell in parts that can stand in several columns, each with whole groups of pairs."""
    parts: list[Cell] = []
    rows: list[Device] = []
    groups, lonely = _groups(cell, pairs)
    loose = [[device] for device in lonely if device.kind == "gpu"]
    for group in (*groups, *loose):
        if rows and len(rows) + len(group) > 2 * _MOST_ROWS:
            parts.append(Cell("", tuple(rows)))
            rows = []
        rows += group
    others = [device for device in lonely if device.kind != "gpu"]
    if rows and len(others) <= 2:
        rows += others
        others = []
    return parts + [Cell("", tuple(part)) for part in (rows, others) if part]


def arrange(cell: Cell, pairs: Sequence[Pair]) -> tuple[list[Slot], float]:
    """Returns the cell's devices with places from its top left corner, and its height.

    Args:
        cell: what to place.
        pairs: those that are drawn as lines; devices of these stand beside the channel.
    """
    top = HEAD if cell.title else 0
    kinds = {device.kind == "gpu" for device in cell.devices}
    joined = {name for pair in pairs for name in (pair.gpu, pair.nic)}
    if len(kinds) == 1 and not any(device.id in joined for device in cell.devices):
        slots = _grid(cell.devices, top)
    else:
        slots = _columns(cell, pairs, top)
    bottom = max((slot.y + slot.height for slot in slots), default=top)
    return [slot.moved(PAD, 0) for slot in slots], bottom + (PAD if cell.title else 0)


def _columns(cell: Cell, pairs: Sequence[Pair], top: float) -> list[Slot]:
    groups, lonely = _groups(cell, pairs)
    slots: list[Slot] = []
    for group in (*groups, lonely):
        gpus = [device for device in group if device.kind == "gpu"]
        others = [device for device in group if device.kind != "gpu"]
        height = max(_height(gpus), _height(others))
        # The shorter side stands in the middle of the longer one, what has no pair at the top.
        paired = group is not lonely
        slots += _stack(gpus, 0, GPU_WIDTH, top + (height - _height(gpus)) / 2 * paired)
        slots += _stack(others, GPU_WIDTH + CHANNEL, NIC_WIDTH, top + (height - _height(others)) / 2 * paired)
        top += height + (_ROW_GAP if group else 0)
    return slots


def _grid(devices: Sequence[Device], top: float) -> list[Slot]:
    slots: list[Slot] = []
    for start in range(0, len(devices), 2):
        row = devices[start : start + 2]
        for place, device in enumerate(row):
            slots.append(Slot(device, place * (NIC_WIDTH + LINK), top, NIC_WIDTH, _device_height(device)))
        top += max(map(_device_height, row)) + _ROW_GAP
    return slots


def _stack(devices: Sequence[Device], x: float, width: float, top: float) -> list[Slot]:
    slots: list[Slot] = []
    for device in devices:
        slots.append(Slot(device, x, top, width, _device_height(device)))
        top += slots[-1].height + _ROW_GAP
    return slots


def _height(devices: Sequence[Device]) -> float:
    return sum(map(_device_height, devices)) + _ROW_GAP * max(0, len(devices) - 1)


def _device_height(device: Device) -> float:
    if len(device.ports) > 1:
        return 28 + _PORT_HEIGHT * len(device.ports)
    return _DEVICE_HEIGHT + (_LINE if device.note else 0)


def _groups(cell: Cell, pairs: Iterable[Pair]) -> tuple[list[list[Device]], list[Device]]:
    """Returns the groups that pairs within the cell make, and the devices without one."""
    order = {device.id: place for place, device in enumerate(cell.devices)}
    leader = {device.id: device.id for device in cell.devices}

    def find(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    inner = [pair for pair in pairs if pair.gpu in order and pair.nic in order]
    for pair in inner:
        one, other = find(pair.gpu), find(pair.nic)
        first, second = sorted((one, other), key=order.__getitem__)
        leader[second] = first
    gpus_of: dict[str, list[int]] = {}
    for pair in inner:
        gpus_of.setdefault(pair.nic, []).append(order[pair.gpu])

    def place(device: Device) -> tuple[float, int]:
        # NICs in the order of the GPUs that use them, so that lines do not cross without need.
        users = gpus_of.get(device.id, [order[device.id]])
        return (sum(users) / len(users), order[device.id])

    together: dict[str, list[Device]] = {}
    for device in cell.devices:
        together.setdefault(find(device.id), []).append(device)
    groups = [sorted(group, key=place) for group in together.values() if len(group) > 1]
    lonely = [device for group in together.values() if len(group) == 1 for device in group]
    return groups, lonely
