"""Which charts a suite's results make. Pure: results in, SVG files by name out. `charts` draws them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from .charts import Bar, Group, Panel, Reach, bars_svg, lines_svg, reach_svg
from .records import Record, Results

__all__ = ["plots_of"]

_OURS = "pdpanel"
_FASTEST = "the fastest peer: "
_BARS: Mapping[str, Sequence[str]] = {
    "engine": ("decode_tokens_per_s", "prefill_tokens_per_s"),
    "pd": ("saturation_tokens_per_s",),
    "transfer": ("goodput", "staging_copy"),
    "router": ("streams_per_s", "added_ttft_ms", "cpu_ms_per_stream"),
    "start": ("phase",),
}
"""Metrics with a chart of their own, by suite; of another suite every metric that has several cases has one."""

_LINES: Mapping[str, Sequence[str]] = {"pd": ("itl_mean", "itl_p99", "ttft_mean")}
"""Metrics that are drawn by load, one small chart for each prompt length."""


def plots_of(results: Results) -> dict[str, str]:
    """Returns the charts of one file of results: the text of each SVG file by its name."""
    found: dict[str, str] = {}
    about = _about(results)
    if reaches := [reach for record in results.goals if (reach := _reach(record)) is not None]:
        found[f"{results.name}-goals.svg"] = reach_svg(f"{results.suite}: how far from each goal", about, reaches)
    for metric in _LINES.get(results.suite, ()):
        if drawn := _by_load(metric, results, about):
            found[f"{results.name}-{_plain(metric)}.svg"] = drawn
    for metric in _BARS.get(results.suite) or _several(results.records):
        if drawn := _bars(metric, results, about):
            found[f"{results.name}-{_plain(metric)}.svg"] = drawn
    if groups := [
        Group(f"{_after(record.case, 'profile=')}: {record.metric}", [_bar(0, record)])
        for record in results.records
        if record.case.startswith("profile=") and record.value is not None
    ]:
        title = f"{results.suite}: where the milliseconds go"
        found[f"{results.name}-profile.svg"] = bars_svg(title, about, ["ms"], groups)
    return found


def _about(results: Results) -> str:
    machine = results.machine
    rounds = results.options.get("rounds")
    said = f"{machine.get('cpu', 'an unknown processor')}, {machine.get('cores', '?')} cores"
    return f"{said}, medians of {rounds} rounds" if rounds else said


def _reach(record: Record) -> Reach | None:
    over, judged = record.over_goal, record.judged
    if over is None or judged is None:
        return None
    named = "fastest peer" if record.peer.startswith(_FASTEST) else _short(record.peer)
    against = f" / {named}" if record.peer else ""
    said = f"{judged:.4g}{'x' if record.peer else ''} (goal {record.goal})"
    return Reach(f"{record.case} {record.metric}{against}", over, said)


def _bars(metric: str, results: Results, about: str) -> str:
    records = [record for record in results.records if record.metric == metric and record.value is not None]
    plain = [record for record in records if ",threads=" not in record.case] or records
    names = [_OURS, *dict.fromkeys(_short(record.peer) for record in plain if _is_peer(record))]
    groups: list[Group] = []
    for case in dict.fromkeys(record.case for record in plain):
        of_case = [record for record in plain if record.case == case]
        peers = [
            Bar(names.index(_short(record.peer)), record.peer_value)
            for record in of_case
            if _is_peer(record) and record.peer_value is not None
        ]
        groups.append(Group(case, [_bar(0, of_case[0]), *peers]))
    if not groups:
        return ""
    title = f"{results.suite}: {metric.replace('_', ' ')}"
    return bars_svg(f"{title}, {plain[0].unit}" if plain[0].unit else title, about, names, groups)


def _bar(series: int, record: Record) -> Bar:
    assert record.value is not None
    return Bar(series, record.value, record.least, record.most)


def _is_peer(record: Record) -> bool:
    return bool(record.peer) and not record.peer.startswith(_FASTEST) and "=" not in record.peer


def _several(records: Iterable[Record]) -> Iterator[str]:
    cases: dict[str, set[str]] = {}
    for record in records:
        cases.setdefault(record.metric, set()).add(record.case)
    yield from (metric for metric, found in cases.items() if len(found) > 1)


def _by_load(metric: str, results: Results, about: str) -> str:
    records = [record for record in results.records if record.metric == metric and "load=" in record.case]
    if not records:
        return ""
    names = [_OURS, *dict.fromkeys(record.peer for record in records if record.peer)]
    prompts = list(dict.fromkeys(_value(record.case, "prompt") for record in records))
    loads = sorted({_value(record.case, "load") for record in records}, key=lambda text: (len(text), text))
    panels = [_panel(prompt, loads, names, records) for prompt in prompts]
    title = f"{results.suite}: {metric.replace('_', ' ')} by load, {records[0].unit}"
    return lines_svg(title, about, names, panels, columns=max(1, min(3, len(panels))))


def _panel(prompt: str, loads: Sequence[str], names: Sequence[str], records: Iterable[Record]) -> Panel:
    lines: dict[int, list[float | None]] = {series: [None] * len(loads) for series in range(len(names))}
    for record in records:
        if _value(record.case, "prompt") == prompt:
            spot = loads.index(_value(record.case, "load"))
            lines[0][spot] = record.value
            if record.peer:
                lines[names.index(record.peer)][spot] = record.peer_value
    return Panel(f"prompt {prompt}", [f"{load} %" for load in loads], lines)


def _value(case: str, key: str) -> str:
    """Returns what a case says of a key, such as 50 for `load`; empty where it says nothing."""
    return next((part.removeprefix(f"{key}=") for part in case.split(",") if part.startswith(f"{key}=")), "")


def _after(text: str, start: str) -> str:
    return text.removeprefix(start)


def _short(peer: str) -> str:
    """Returns a peer without its number of threads."""
    return peer.removeprefix(_FASTEST).rsplit(", ", 1)[0] if peer.endswith(("thread", "threads")) else peer


def _plain(text: str) -> str:
    return text.replace("_per_s", "").replace("_", "-")
