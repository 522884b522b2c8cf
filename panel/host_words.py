"""What is written in the picture of a host: its device boxes, its legend, its title, and its one sentence.

Pure; called by `host_picture`, which knows where everything stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

from .host_cells import Slot
from .host_devices import Device, Pair
from .host_shapes import Box, Mark, State, Text

__all__ = ["LETTERS", "device_box", "fit", "legend", "name_and_describe", "nothing_box"]

_FOOT = 22
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
LETTERS = {"title": 8.0, "head": 7.8, "soft": 6.8, "code": 6.7}


def device_box(slot: Slot, pairs: Sequence[Pair]) -> Box:
    """Returns the box of a device with its texts and signs, cut to the room there is."""
    device = slot.device
    left, right = slot.x + 10, slot.right - 10
    room = slot.width - 20
    texts: list[Text] = []
    marks: list[Mark] = []
    title_room = room
    if device.word:
        marks.append(Mark(right - 7, slot.y + 15, device.state))
        texts.append(Text(right - 20, slot.y + 19, device.word, "soft", "end"))
        title_room -= 26 + len(device.word) * LETTERS["soft"]
    texts.append(Text(left, slot.y + 19, fit(device.title, title_room, "title"), "title"))
    if len(device.ports) < 2:
        # A GPU with NVLinks shows what they carry, where a NIC shows its only port.
        key = device.ports[0].key if device.ports else f"nvlink {device.id}" if device.aside else ""
        texts.append(Text(left, slot.y + 36, fit(device.text, room, "soft"), "soft"))
        texts.append(Text(left, slot.y + 52, fit(device.address, room, "code"), "code", key=key))
        texts.append(Text(right, slot.y + 52, device.aside, "code", "end"))
        texts.append(Text(left, slot.y + 68, fit(device.note, room, "soft"), "far"))
    for index, port in enumerate(device.ports if len(device.ports) > 1 else ()):
        y = slot.y + 38 + 34 * index
        marks.append(Mark(left + 7, y - 4, port.state))
        texts.append(Text(left + 20, y, fit(f"{port.name}: {port.text}", room - 20, "soft"), "soft"))
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


def nothing_box(width: float, top: float) -> Box:
    """Returns the box that a host without GPU and NIC shows below what it has."""
    said = (
        "No GPU and no RDMA NIC: that is fine.",
        "The bundled engine computes on the CPU, and KV travels over TCP.",
    )
    texts = (Text(25, top + 27, said[0], "head"), Text(25, top + 47, said[1], "soft"))
    return Box("nothing", "note", 1, top + 1, width - 2, 62, " ".join(said), texts=texts)


def name_and_describe(
    document: Mapping[str, Any], devices: Sequence[Device], pairs: Sequence[Pair], name: str
) -> tuple[str, str]:
    """Returns title and description of the picture."""
    host = document.get("host") or {}
    gpus = [device for device in devices if device.kind == "gpu"]
    nics = [device for device in devices if device.kind == "nic"]
    bad = [device.id for device in nics if device.state is State.BAD]
    name = str(host.get("name") or name or "unnamed host")
    title = f"{name}: {_count(gpus, 'GPU')}, {_count(nics, 'RDMA NIC')}"
    if host.get("live") is False:
        title += " (from a file)"
    usable = sum(device.state in (State.GOOD, State.WARN) for device in nics)
    said: list[str] = []
    unknown = sum(device.state is State.UNKNOWN for device in nics)
    if nics:
        said.append(f"{usable} of {_count(nics, 'RDMA NIC')} usable{f', {unknown} not known' if unknown else ''}")
    if bad:
        said.append(f"not usable: {', '.join(bad)}")
    if gpus and nics:
        served = len({pair.gpu for pair in pairs})
        said.append(f"a NIC is chosen for {served} of {_count(gpus, 'GPU')}")
    return title, "; ".join(said) + "." if said else "KV travels over TCP."


def _count(found: Sequence[Device], what: str) -> str:
    return f"{len(found) or 'no'} {what}{'' if len(found) == 1 else 's'}"


def legend(
    width: float, top: float, states: Set[State], levels: Set[str], left_out: str
) -> tuple[tuple[Text, ...], tuple[Mark, ...], float]:
    """Returns what explains the signs and path classes that the picture has, and where it ends."""
    texts: list[Text] = []
    marks: list[Mark] = []
    x, y = 1.0, top + 14
    words: list[tuple[State | None, str]] = [(state, word) for state, word in _SIGNS if state in states]
    words += [(None, f"{level}: {meaning}") for level, meaning in _CLASSES if level in levels]
    for state, word in words:
        needed = len(word) * LETTERS["soft"] + (20 if state else 0)
        if x > 1 and x + needed > width:
            x, y = 1.0, y + _FOOT
        if state:
            marks.append(Mark(x + 8, y - 4, state))
        texts.append(Text(round(x + (20 if state else 0), 1), y, word, "soft"))
        x = round(x + needed + 16, 1)
    if left_out:
        y += _FOOT
        texts.append(Text(1, y, f"Not shown: {left_out}.", "soft"))
    return tuple(texts), tuple(marks), y + 8


def fit(text: str, room: float, style: str) -> str:
    """Returns the text, cut where it would be wider than `room` pixels."""
    most = max(3, int(room / LETTERS[style]))
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"
