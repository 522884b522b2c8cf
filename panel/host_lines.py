"""The lines of the picture: from each GPU to the NICs chosen for it, and out of each port.

Single pairs are drawn one by one; GPUs that share NICs get a bus, since forty crossing lines say nothing.
Pure; called by `host_picture` once every device has its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from .host_cells import CHANNEL, LINK, Slot
from .host_devices import Pair
from .host_shapes import Line

__all__ = ["link_lines", "pair_lines", "style_of"]

_MOST_SINGLE = 2
_LABEL_WIDTH = 34
_LABEL_HEIGHT = 16
_STYLES = {"PIX": "near", "PXB": "near", "PHB": "middle", "NODE": "middle", "SYS": "far"}


@dataclass(frozen=True, slots=True)
class _Bus:
    """GPUs that share NICs over paths of one class; `left` is where its channel begins."""

    gpus: tuple[str, ...]
    nics: tuple[str, ...]
    level: str
    left: float
    top: float
    bottom: float


def pair_lines(slots: Mapping[str, Slot], pairs: Sequence[Pair], cells: Mapping[str, int]) -> tuple[Line, ...]:
    """Returns the lines of `pairs`, each of which joins devices of one column.

    Args:
        slots: the place of each device, by its id.
        pairs: those to draw.
        cells: a number for the cell of each device; GPUs of one cell may share a bus.
    """
    chosen: dict[tuple[int, str], list[str]] = {}
    for pair in pairs:
        chosen.setdefault((cells[pair.gpu], pair.gpu), []).append(pair.nic)
    level = {(pair.gpu, pair.nic): pair.level for pair in pairs}
    alike: dict[tuple[int, tuple[str, ...], frozenset[str]], list[str]] = {}
    for (cell, gpu), nics in chosen.items():
        levels = frozenset(level[gpu, nic] for nic in nics)
        alike.setdefault((cell, tuple(nics), levels), []).append(gpu)
    lines: list[Line] = []
    buses: list[_Bus] = []
    for (_, nics, levels), gpus in alike.items():
        if len(gpus) * len(nics) > _MOST_SINGLE and len(levels) == 1:
            rows = [slots[name].middle for name in (*gpus, *nics)]
            buses.append(_Bus(tuple(gpus), nics, next(iter(levels)), slots[gpus[0]].right, min(rows), max(rows)))
        else:
            lines += [_single(slots, gpu, nic, level[gpu, nic]) for gpu in gpus for nic in nics]
    return _without_clashes([*lines, *_draw_buses(slots, buses)])


def style_of(level: str) -> str:
    """Returns how a path of this class is drawn: near, middle, far or unknown."""
    return _STYLES.get(level, "unknown")


def link_lines(slots: Iterable[Slot]) -> tuple[Line, ...]:
    """Returns the link of each port, from the device's right edge outwards."""
    lines: list[Line] = []
    for slot in slots:
        for index, port in enumerate(slot.device.ports):
            y = slot.y + (slot.height / 2 if len(slot.device.ports) == 1 else 42 + 34 * index)
            d = f"M{slot.right:g} {y:g}H{slot.right + LINK - 4:g}"
            style = str(port.state)
            capacity = port.capacity_bytes_per_s
            lines.append(Line("link", d, style, nics=(slot.device.id,), key=port.key, capacity_bytes_per_s=capacity))
    return tuple(lines)


def _single(slots: Mapping[str, Slot], gpu: str, nic: str, level: str) -> Line:
    start, end = slots[gpu], slots[nic]
    x1, y1, x2, y2 = start.right, start.middle, end.x, end.middle
    bend = CHANNEL / 2
    d = f"M{x1:g} {y1:g}C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}"
    return Line("pair", d, style_of(level), (gpu,), (nic,), _word(level), (x1 + x2) / 2, (y1 + y2) / 2)


def _word(level: str) -> str:
    return level if level in _STYLES else "?"


def _draw_buses(slots: Mapping[str, Slot], buses: Sequence[_Bus]) -> list[Line]:
    lines: list[Line] = []
    ends: dict[tuple[float, int], float] = {}
    lanes: list[tuple[_Bus, int]] = []
    for bus in sorted(buses, key=lambda one: (one.left, one.top)):
        lane = 0
        while ends.get((bus.left, lane), -1.0) >= bus.top:
            lane += 1
        ends[bus.left, lane] = bus.bottom
        lanes.append((bus, lane))
    most = max((lane for _, lane in lanes), default=0) + 1
    for bus, lane in lanes:
        style = style_of(bus.level)
        x, right = round(bus.left + CHANNEL * (lane + 1) / (most + 1), 1), bus.left + CHANNEL
        d = f"M{x:g} {bus.top:g}V{bus.bottom:g}"
        lines.append(Line("bus", d, style, bus.gpus, bus.nics, _word(bus.level), x, (bus.top + bus.bottom) / 2))
        ends_of = {name: slots[name].middle for name in (*bus.gpus, *bus.nics)}
        lines += [Line("bus", f"M{bus.left:g} {ends_of[gpu]:g}H{x:g}", style, (gpu,), bus.nics) for gpu in bus.gpus]
        lines += [Line("bus", f"M{x:g} {ends_of[nic]:g}H{right:g}", style, bus.gpus, (nic,)) for nic in bus.nics]
    return lines


def _without_clashes(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Returns the lines without the labels that would cover another one."""
    taken: list[tuple[float, float]] = []
    kept: list[Line] = []
    for line in lines:
        free = all(abs(line.label_x - x) > _LABEL_WIDTH or abs(line.label_y - y) > _LABEL_HEIGHT for x, y in taken)
        if line.label and free:
            taken.append((line.label_x, line.label_y))
            kept.append(line)
        else:
            kept.append(replace(line, label=""))
    return tuple(kept)
