"""A host's picture as an SVG file that needs nothing else: no script, no font, no style sheet.

Pure; called by `pdpanel topology --svg` and for the Hardware tab's download. Light and dark follow the viewer.
Rules are written out for both: programs that convert SVG often know media queries but no CSS variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape, quoteattr

from .host_shapes import SIGNS, Box, Line, Mark, Picture, State, Text

__all__ = ["to_svg"]

_MARGIN = 20
_HEADER = 46
_CONTAINERS = ("numa", "group", "switch", "note")
_STYLES = {"near": "good", "middle": "accent", "far": "warn", "unknown": "strong"}

_LIGHT = {
    "ground": "#ffffff",
    "sunken": "#f6f7f9",
    "raised": "#ffffff",
    "line": "#dfe3e9",
    "strong": "#868f9c",
    "text": "#131a24",
    "soft": "#4c5768",
    "accent": "#1d4ed8",
    "good": "#0b6b3a",
    "good-ground": "#def5e8",
    "warn": "#854d0e",
    "warn-ground": "#fdf0cf",
    "bad": "#a61b1b",
    "bad-ground": "#fde4e4",
    "idle-ground": "#e9ecf1",
}
_DARK = {
    "ground": "#0b0f17",
    "sunken": "#131a25",
    "raised": "#1a2331",
    "line": "#263041",
    "strong": "#64748b",
    "text": "#e8edf4",
    "soft": "#a9b4c4",
    "accent": "#93c5fd",
    "good": "#6ee7a8",
    "good-ground": "#0f3323",
    "warn": "#fcd34d",
    "warn-ground": "#3a2c08",
    "bad": "#fca5a5",
    "bad-ground": "#451a1d",
    "idle-ground": "#222c3b",
}
# What has a colour: a selector, the property, and the colour's name.
_COLOURS = (
    (".ground", "fill", "ground"),
    (".numa", "fill", "sunken"),
    (".numa,.group,.note,.switch", "stroke", "line"),
    (".gpu,.nic,.netdev", "fill", "raised"),
    (".gpu,.nic,.netdev", "stroke", "strong"),
    (".gpu", "stroke", "accent"),
    (".is-bad", "stroke", "bad"),
    (".title,.head,.big", "fill", "text"),
    (".soft,.code", "fill", "soft"),
    ("text.far", "fill", "warn"),
    (".good", "stroke", "good"),
    (".accent", "stroke", "accent"),
    (".warn", "stroke", "warn"),
    (".bad", "stroke", "bad"),
    (".strong,.unknown,.off,.plain", "stroke", "strong"),
    (".label", "fill", "text"),
    (".label", "stroke", "sunken"),
    *((f".sign-{state}", "fill", f"{name}-ground") for state, name in (("good",) * 2, ("warn",) * 2, ("bad",) * 2)),
    (".sign-unknown,.sign-off,.sign-plain", "fill", "idle-ground"),
)
_FIXED = """
text{font-family:"IBM Plex Sans",system-ui,sans-serif;font-size:12px}
.code{font-family:"IBM Plex Mono",ui-monospace,monospace;font-size:11px}
.title{font-family:"IBM Plex Mono",ui-monospace,monospace;font-size:13px;font-weight:700}
.head{font-size:13px;font-weight:700}.big{font-size:17px;font-weight:700}
.group,.note,.switch,.wire,.tick{fill:none}.group,.note{stroke-dasharray:4 4}
.wire{stroke-width:2;stroke-linecap:round}.wire.far{stroke-dasharray:2 5}.wire.middle{stroke-dasharray:9 4}
.link{stroke-width:3}.link.bad,.link.unknown{stroke-dasharray:3 4}
.tick{stroke-width:1.8;stroke-linecap:round;stroke-linejoin:round}
.label{font-size:11px;font-weight:700;text-anchor:middle;paint-order:stroke;stroke-width:5px;stroke-linejoin:round}
.end{text-anchor:end}
"""


def to_svg(picture: Picture) -> str:
    """Returns the picture as one SVG document, with title and description; all text is escaped."""
    width, height = picture.width + 2 * _MARGIN, picture.height + 2 * _MARGIN + _HEADER
    containers = [box for box in picture.boxes if box.kind in _CONTAINERS]
    devices = [box for box in picture.boxes if box.kind not in _CONTAINERS]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="img" aria-labelledby="title desc">',
        f'<title id="title">{_plain(picture.title)}</title>',
        f'<desc id="desc">{_plain(picture.description)}</desc>',
        f"<style>{_FIXED}{_rules(_LIGHT)}",
        f"@media (prefers-color-scheme: dark){{{_rules(_DARK)}}}</style>",
        f'<rect class="ground" width="{width:g}" height="{height:g}"/>',
        f'<text class="big" x="{_MARGIN}" y="{_MARGIN + 14}">{_plain(picture.title)}</text>',
        f'<text class="soft" x="{_MARGIN}" y="{_MARGIN + 34}">{_plain(picture.description)}</text>',
        f'<g transform="translate({_MARGIN} {_MARGIN + _HEADER})">',
        *map(_box, containers),
        *map(_wire, picture.lines),
        *map(_box, devices),
        *map(_label, (line for line in picture.lines if line.label)),
        *map(_text, picture.texts),
        *map(_mark, picture.marks),
        "</g>",
        "</svg>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _rules(colours: Mapping[str, str]) -> str:
    return "".join(f"{selector}{{{name}:{colours[colour]}}}" for selector, name, colour in _COLOURS)


def _plain(text: str) -> str:
    """Returns `text` escaped, without the control characters that XML cannot hold."""
    allowed = (char if char.isprintable() or char == " " else "\N{REPLACEMENT CHARACTER}" for char in text)
    return escape("".join(allowed))


def _box(box: Box) -> str:
    state = " is-bad" if box.state is State.BAD else ""
    radius = {"numa": 10, "group": 10, "note": 10, "switch": 8}.get(box.kind, 6)
    return "".join(
        (
            f"<g><title>{_plain(box.label)}</title>",
            f'<rect class="{box.kind}{state}" x="{box.x:g}" y="{box.y:g}" '
            f'width="{box.width:g}" height="{box.height:g}" rx="{radius}"/>',
            *map(_text, box.texts),
            *map(_mark, box.marks),
            "</g>",
        )
    )


def _wire(line: Line) -> str:
    colour = line.style if line.kind == "link" else f"{line.style} {_STYLES[line.style]}"
    kind = " link" if line.kind == "link" else ""
    return f'<path class="wire{kind} {colour}" d={quoteattr(line.d)}/>'


def _label(line: Line) -> str:
    return f'<text class="label" x="{line.label_x:g}" y="{line.label_y + 4:g}">{_plain(line.label)}</text>'


def _text(text: Text) -> str:
    end = " end" if text.anchor == "end" else ""
    return f'<text class="{text.style}{end}" x="{text.x:g}" y="{text.y:g}">{_plain(text.text)}</text>'


def _mark(mark: Mark) -> str:
    outline, sign = SIGNS.get(mark.state, SIGNS[State.OFF])
    return (
        f'<g transform="translate({mark.x:g} {mark.y:g})"><path class="sign-{mark.state} {mark.state}" '
        f'd="{outline}"/><path class="tick {mark.state}" d="{sign}"/></g>'
    )
