"""Charts as SVG files that need nothing else: bars in groups, distances from goals, and lines. Pure.

No script, no font, no style sheet; light and dark follow the viewer. The values of bars are written beside them, and
lines differ in their dashes, too. What is drawn of which results, `plots` decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

__all__ = ["Bar", "Group", "Panel", "Reach", "bars_svg", "lines_svg", "number", "reach_svg"]

_WIDTH, _MARGIN, _LABELS, _ROW, _GAP, _HEADER = 880, 20, 300, 18, 12, 62
_CHARS, _WIDE_CHARS = 44, 60
_SHADES: Sequence[str] = ("ground", "text", "soft", "line", "good", "bad", "s0", "s1", "s2", "s3", "s4", "s5")
_LIGHT: dict[str, str] = dict(
    zip(
        _SHADES,
        "#ffffff #131a24 #4c5768 #dfe3e9 #0b6b3a #a61b1b #1d4ed8 #b45309 #0f766e #7c3aed #be185d #4c5768".split(),
        strict=True,
    )
)
_DARK: dict[str, str] = dict(
    zip(
        _SHADES,
        "#0b0f17 #e8edf4 #a9b4c4 #263041 #6ee7a8 #fca5a5 #93c5fd #fbbf24 #5eead4 #c4b5fd #f9a8d4 #a9b4c4".split(),
        strict=True,
    )
)
_SERIES = 6
_DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 4", "10 4")
_FIXED = (
    'text{font-family:"IBM Plex Sans",system-ui,sans-serif;font-size:12px}'
    ".big{font-size:16px;font-weight:700}.head{font-weight:700}.end{text-anchor:end}.middle{text-anchor:middle}"
    ".curve{fill:none;stroke-width:2}"
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar; `series` is its place among the names of its chart."""

    series: int
    value: float
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Bars that belong together, such as those of a case."""

    label: str
    bars: Sequence[Bar]


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a figure is from its goal: `over` is 1 where it just meets it, larger is better."""

    label: str
    over: float
    text: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One of several small charts: a line for each series over the same places, None where there is no value."""

    title: str
    places: Sequence[str]
    series: Mapping[int, Sequence[float | None]] = field(default_factory=dict)


def number(value: float) -> str:
    """Returns three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def bars_svg(title: str, about: str, names: Sequence[str], groups: Sequence[Group]) -> str:
    """Returns horizontal bars from 0, all to one scale; a thin line shows from the least to the most of the rounds."""
    longest = max((max(bar.value, bar.most or 0.0) for group in groups for bar in group.bars), default=0.0)
    room = _WIDTH - _LABELS - 2 * _MARGIN - 90

    def length(value: float) -> float:
        return max(1.0, room * (value / longest)) if longest > 0 else 1.0

    parts, y = _legend(names), _HEADER + 22
    for group in groups:
        height = _ROW * len(group.bars)
        parts.append(_text(_MARGIN, y + height / 2 + 4, _cut(group.label)))
        for bar in group.bars:
            width = length(bar.value)
            left = _MARGIN + _LABELS
            parts.append(_rect(left, y + 2, width, _ROW - 5, f"f{bar.series % _SERIES}"))
            end = width
            if bar.least is not None and bar.most is not None and bar.most > bar.least:
                middle = y + _ROW / 2 - 0.5
                parts.append(_line(left + length(bar.least), middle, left + length(bar.most), middle, "spread"))
                end = max(end, length(bar.most))
            parts.append(_text(left + end + 6, y + _ROW - 5, number(bar.value), "soft"))
            y += _ROW
        y += _GAP
    return _document(title, about, parts, y)


def reach_svg(title: str, about: str, rows: Sequence[Reach]) -> str:
    """Returns a bar for each figure from the goal's line: to the right where it is met, to the left where missed."""
    left, room = _MARGIN + _LABELS + 80, _WIDTH - _LABELS - 2 * _MARGIN - 80 - 180
    middle = left + room / 2
    parts = [_text(middle, _HEADER + 12, "the goal", "soft middle")]
    y = _HEADER + 22
    for row in rows:
        share = max(-1.0, min(1.0, math.log2(row.over) / 2)) if row.over > 0 else -1.0
        width = max(1.5, abs(share) * room / 2)
        kind = "good" if row.over >= 1 else "bad"
        parts.append(_rect(middle if share >= 0 else middle - width, y + 2, width, _ROW - 5, kind))
        parts.append(_text(_MARGIN, y + _ROW - 5, _cut(row.label, _WIDE_CHARS)))
        parts.append(
            _text(left + room + 8, y + _ROW - 5, f"{row.text}, {'met' if row.over >= 1 else 'missed'}", "soft")
        )
        y += _ROW + 2
    parts.append(_line(middle, _HEADER + 18, middle, y, "axis"))
    for share, words in ((-0.5, "half"), (0.5, "twice"), (-1.0, "a quarter"), (1.0, "4 times")):
        parts.append(_text(middle + share * room / 2, y + 14, words, "soft middle"))
    return _document(title, about, parts, y + 20)


def lines_svg(title: str, about: str, names: Sequence[str], panels: Sequence[Panel], columns: int) -> str:
    """Returns small charts in rows of `columns`, each from 0 to its own largest value, which is written at its top."""
    width = (_WIDTH - 2 * _MARGIN - 24 * (columns - 1)) / columns
    height, parts, top = 120.0, _legend(names), _HEADER + 34
    for place, panel in enumerate(panels):
        x, y = _MARGIN + place % columns * (width + 24), top + place // columns * (height + 62)
        values = [value for line in panel.series.values() for value in line if value is not None]
        most = max(values, default=0.0)
        parts.append(_text(x, y - 8, f"{panel.title}, up to {number(most)}", "head"))
        parts.append(_line(x, y + height, x + width, y + height, "axis"))
        parts.append(_line(x, y, x + width, y, "grid"))
        step = width / max(1, len(panel.places))
        for spot, words in enumerate(panel.places):
            parts.append(_text(x + step * (spot + 0.5), y + height + 15, words, "soft middle"))
        for series, line in panel.series.items():
            dots = [
                (x + step * (spot + 0.5), y + height * (1 - value / most))
                for spot, value in enumerate(line)
                if value is not None and most > 0
            ]
            points = " ".join(f"{px:.1f},{py:.1f}" for px, py in dots)
            kind = series % _SERIES
            parts.append(f'<polyline class="curve c{kind}" points="{points}" stroke-dasharray="{_DASHES[kind]}"/>')
            parts += [f'<circle class="f{kind}" cx="{px:.1f}" cy="{py:.1f}" r="3"/>' for px, py in dots]
    rows = -(-len(panels) // columns)
    return _document(title, about, parts, top + rows * (height + 62) - 30)


def _document(title: str, about: str, parts: Sequence[str], bottom: float) -> str:
    height = bottom + _MARGIN
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height:g}" '
        f'viewBox="0 0 {_WIDTH} {height:g}" role="img" aria-labelledby="title desc">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="desc">{escape(about)}</desc>',
        f"<style>{_FIXED}{_rules(_LIGHT)}@media (prefers-color-scheme: dark){{{_rules(_DARK)}}}</style>",
        f'<rect class="ground" width="{_WIDTH}" height="{height:g}"/>',
        _text(_MARGIN, _MARGIN + 12, title, "big"),
        _text(_MARGIN, _MARGIN + 32, about, "soft"),
    ]
    return "\n".join([*head, *parts, "</svg>"]) + "\n"


def _rules(colours: Mapping[str, str]) -> str:
    rules = [
        f".ground{{fill:{colours['ground']}}}text{{fill:{colours['text']}}}.soft{{fill:{colours['soft']}}}",
        f".axis,.spread{{stroke:{colours['text']}}}.grid{{stroke:{colours['line']}}}",
        f".good{{fill:{colours['good']}}}.bad{{fill:{colours['bad']}}}",
    ]
    for series in range(_SERIES):
        colour = colours[f"s{series}"]
        rules.append(f".f{series}{{fill:{colour}}}.c{series}{{stroke:{colour}}}")
    return "".join(rules)


def _legend(names: Sequence[str]) -> list[str]:
    parts, x = [], float(_MARGIN)
    for series, name in enumerate(names):
        parts.append(_rect(x, _HEADER, 10, 10, f"f{series % _SERIES}"))
        parts.append(_text(x + 15, _HEADER + 9, name))
        x += 32 + 6.6 * len(name)
    return parts


def _cut(text: str, most: int = _CHARS) -> str:
    return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{named}>{escape(words)}</text>'


def _rect(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="1.5" class="{kind}"/>'


def _line(x: float, y: float, to_x: float, to_y: float, kind: str) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" class="{kind}"/>'
