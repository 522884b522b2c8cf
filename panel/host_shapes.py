"""The values of a drawn host: boxes, lines, texts and signs, in pixels from the top left corner.

Made by `host_picture.picture_of`; drawn by `host_svg` and by the Hardware tab, which decide colours and fonts and
nothing else. Every field is plain JSON. Knows neither a host nor SVG.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["SIGNS", "Box", "Line", "Mark", "Picture", "State", "Text"]


class State(StrEnum):
    """How a device or link is; `OFF` works and is not for KV, `PLAIN` says nothing."""

    PLAIN = "plain"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    UNKNOWN = "unknown"
    OFF = "off"


# For each state the outline of its sign and what is written inside, around (0, 0): told apart without colour.
SIGNS: Mapping[State, tuple[str, str]] = {
    State.GOOD: ("M-7 0A7 7 0 1 1 7 0A7 7 0 1 1-7 0Z", "M-3.2 0.3L-1 2.6L3.4-2.4"),
    State.WARN: ("M0-7.2L7.6 6.2H-7.6Z", "M0-2.6V1.6M0 3.9V4.1"),
    State.BAD: ("M-6.4-6.4H6.4V6.4H-6.4Z", "M-2.8-2.8L2.8 2.8M2.8-2.8L-2.8 2.8"),
    State.UNKNOWN: ("M0-8L8 0L0 8L-8 0Z", "M-2-1.9C-2-4.6 2.2-4.6 2.1-1.9C2.1-0.3 0-0.3 0 1.5M0 3.7V3.9"),
    State.OFF: ("M-7 0A7 7 0 1 1 7 0A7 7 0 1 1-7 0Z", "M-3 0H3"),
}


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text; `x` and `y` are where its baseline begins (or ends, with anchor `end`).

    Attributes:
        style: title, soft, code or head.
        key: the link whose traffic takes the place of the text while it is known.
    """

    x: float
    y: float
    text: str
    style: str = "soft"
    anchor: str = "start"
    key: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """A sign of `SIGNS` with its centre."""

    x: float
    y: float
    state: State


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with what is written in it; texts and marks have coordinates of the picture.

    Attributes:
        id: unique in the picture; a GPU's PCI address, a NIC's or an interface's name.
        kind: numa, switch, gpu, nic, netdev, group or note.
        label: all that the box says, in one sentence.
    """

    id: str
    kind: str
    x: float
    y: float
    width: float
    height: float
    label: str
    state: State = State.PLAIN
    texts: tuple[Text, ...] = ()
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """A line between devices, or the link of a port.

    Attributes:
        kind: pair (a GPU and a NIC chosen for it), bus (one of several lines that together stand for many
            pairs) or link (what leaves a port).
        d: its path, as SVG writes it.
        style: near, middle, far or unknown for a way through the host; a `State` for a link.
        gpus: ids of the GPUs that use it.
        nics: names of the NICs that it leads to.
        label: the class of the path, such as PIX; empty where another line says it.
        key: the name of the link's traffic, such as mlx5_0:1.
        capacity_bytes_per_s: what the link carries at most in one direction; None when that is not known.
    """

    kind: str
    d: str
    style: str
    gpus: tuple[str, ...] = ()
    nics: tuple[str, ...] = ()
    label: str = ""
    label_x: float = 0
    label_y: float = 0
    key: str = ""
    capacity_bytes_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A host as a picture.

    Attributes:
        title: what is shown, in a few words.
        description: the same as the picture says, in one or two sentences.
        boxes: those that hold others first.
        texts: what belongs to no box, such as the legend.
        marks: the same for signs.
    """

    width: float
    height: float
    title: str
    description: str
    boxes: tuple[Box, ...] = ()
    lines: tuple[Line, ...] = ()
    texts: tuple[Text, ...] = ()
    marks: tuple[Mark, ...] = ()
