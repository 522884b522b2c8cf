"""Sizing values as text for a terminal: a table of splits, then each number with its arithmetic. Pure.

Names may come from a file of somebody else, so control characters are removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap

from ..probe_text import table
from ..runner.journal import one_line
from .bandwidth import Transfer
from .facts import ModelFacts
from .figure import Figure, amount, shown
from .memory import Memory
from .split import Split, Suggestion

__all__ = ["figures_text", "memory_text", "suggestion_text", "transfer_text"]

_WIDTH = 110


def figures_text(figures: Mapping[str, Figure]) -> Iterator[str]:
    """Yields the lines of figures: name and value, below it the arithmetic."""
    width = max((len(name) for name in figures), default=0)
    for name, figure in figures.items():
        yield f"  {name.ljust(width)}  {shown(figure.value, figure.unit)}"
        yield from wrap(f"= {one_line(figure.formula)}", _WIDTH, initial_indent="      ", subsequent_indent="        ")


def _assumed(assumes: Sequence[str]) -> Iterator[str]:
    if not assumes:
        return
    yield "Assumed"
    for sentence in dict.fromkeys(assumes):
        yield from wrap(one_line(sentence), _WIDTH, initial_indent="  - ", subsequent_indent="    ")


def _page(lines: Iterator[str]) -> str:
    return "\n".join(lines) + "\n"


def memory_text(facts: ModelFacts, memory: Memory) -> str:
    """Returns the memory of one worker for a terminal, ending in a newline."""
    figures = {
        "parameters": facts.parameters,
        "active parameters": facts.active_parameters,
        "weights": memory.weights,
        "weights on a GPU": memory.weights_per_gpu,
        "KV of one token": memory.kv_per_token,
        "KV of one token on a GPU": memory.kv_per_token_per_gpu,
        "reserve": memory.reserve,
        "tokens that fit": memory.tokens,
        "requests that fit": memory.requests,
    }
    return _page(_with_assumptions(f"{one_line(facts.name)}: {facts.attention}", figures))


def transfer_text(transfer: Transfer) -> str:
    """Returns what a load's KV needs of the links for a terminal, ending in a newline."""
    figures = {
        "KV of one prompt": transfer.prompt,
        "needed in all": transfer.needed,
        "needed by a prefill worker": transfer.needed_per_prefill,
        "given to a prefill worker": transfer.given_per_prefill,
        "needed by a decode worker": transfer.needed_per_decode,
        "given to a decode worker": transfer.given_per_decode,
        "needed of each NIC": transfer.needed_per_nic,
        "transfer of one prompt": transfer.time,
        "use of the busier links": transfer.use,
        "most that they carry": transfer.most,
    }
    return _page(_with_assumptions(transfer.verdict, figures))


def _with_assumptions(head: str, figures: Mapping[str, Figure]) -> Iterator[str]:
    yield head
    yield ""
    yield from figures_text(figures)
    assumes = [sentence for figure in figures.values() for sentence in figure.assumes]
    if assumes:
        yield ""
        yield from _assumed(assumes)


def suggestion_text(suggestion: Suggestion) -> str:
    """Returns ranked splits, the best one's arithmetic and all that is assumed, ending in a newline."""
    return _page(_suggestion(suggestion))


def _suggestion(suggestion: Suggestion) -> Iterator[str]:
    load = suggestion.load
    wanted = "as many requests as can be" if load.rate is None else f"{amount(load.rate)} requests/s"
    goals = [
        f"{goal:g} ms {what}"
        for goal, what in ((load.ttft_ms, "to the first token"), (load.itl_ms, "between tokens"))
        if goal is not None
    ]
    within = f", within {' and '.join(goals)}" if goals else ""
    yield (
        f"{one_line(suggestion.model)} on {suggestion.fleet.gpus} GPUs: {wanted} of {amount(load.prompt)} + "
        f"{amount(load.output)} tokens{within}"
    )
    yield ""
    rows = [_row(str(rank), split) for rank, split in enumerate(suggestion.splits, 1)]
    rows.append(_row("-", suggestion.unified))
    columns = ("rank", "split", "tp", "GPUs", "requests/s", "can serve", "first token", "between", "batch", "bound")
    yield from table(columns, rows)
    yield ""
    best = suggestion.splits[0] if suggestion.splits else suggestion.unified
    for sentence in (best.verdict, suggestion.balance, suggestion.comparison):
        yield from wrap(sentence, _WIDTH)
    if len(suggestion.splits) > 1:
        yield ""
        yield "Why this order"
        for rank, split in enumerate(suggestion.splits[1:], 2):
            text = f"{rank}. {split.name} is {split.ranked}."
            yield from wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="     ")
    yield ""
    yield f"How {best.name} comes out"
    figures = _of(best)
    yield from figures_text(figures)
    yield ""
    assumes = [sentence for figure in figures.values() for sentence in figure.assumes]
    yield from _assumed([*best.assumes, *assumes])


def _of(split: Split) -> dict[str, Figure]:
    found = {"can serve": split.capacity, "serves": split.rate}
    if split.ttft is not None:
        found["time to the first token"] = split.ttft
    if split.itl is not None:
        found["time between tokens"] = split.itl
    return found | dict(split.figures)


def _row(rank: str, split: Split) -> tuple[str, ...]:
    sizes = f"{split.decode_tp}" if split.unified else f"{split.prefill_tp} / {split.decode_tp}"
    return (
        rank,
        split.name,
        sizes,
        str(split.gpus),
        _rate(split.rate),
        _rate(split.capacity),
        f"{split.ttft.value:.4g} ms" if split.ttft is not None else "queue grows",
        f"{split.itl.value:.4g} ms" if split.itl is not None else "-",
        str(split.batch),
        split.bound.value if split.meets else f"{split.bound.value}, too little",
    )


def _rate(figure: Figure) -> str:
    return f"{figure.value:.4g}"
