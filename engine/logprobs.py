"""Log probabilities of tokens: which prompt positions are scored, and the numbers of a row of logits.

As in SGLang (layers/sampler.py without SGLANG_RETURN_ORIGINAL_LOGPROB, layers/logits_processor.py): an output token is
scored under the distribution after temperature and before top_k, top_p and min_p, a greedily chosen one and a prompt's
token under the model's own; a logit of -inf counts as the lowest float. The step loop calls it for the rows that ask,
and for those alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .request import LogprobParams, SamplingParams, TokenLogprobs
from .schedule import Span

__all__ = ["prompt_rows", "score", "score_blocks", "scored_temperature"]

_ROWS = 32  # of logits at a time: a whole chunk's over a large vocabulary would take hundreds of megabytes
_LOWEST = torch.finfo(torch.float32).min


def scored_temperature(params: SamplingParams) -> float:
    """Returns what the logits of an output token are divided by before they are scored."""
    return 1.0 if params.greedy else params.temperature


def score(
    logits: Tensor, ids: Sequence[int], wanted: LogprobParams, temperature: float = 1.0
) -> tuple[TokenLogprobs, ...]:
    """Returns what is `wanted` of each row.

    Args:
        logits: [rows, vocab] float32; left as they are.
        ids: the token of each row.
    """
    rows = torch.log_softmax(logits / temperature, dim=-1).nan_to_num(nan=_LOWEST, neginf=_LOWEST)
    own = rows.gather(1, torch.tensor(ids, device=rows.device).unsqueeze(1)).squeeze(1).tolist()
    best: list[tuple[tuple[float, int], ...]] = [()] * len(ids)
    if wanted.top:
        values, places = rows.topk(min(wanted.top, rows.shape[1]), dim=-1)
        best = [tuple(zip(v, p, strict=True)) for v, p in zip(values.tolist(), places.tolist(), strict=True)]
    named: list[tuple[tuple[float, int], ...]] = [()] * len(ids)
    if wanted.token_ids:
        columns = rows[:, list(wanted.token_ids)].tolist()
        named = [tuple(zip(values, wanted.token_ids, strict=True)) for values in columns]
    return tuple(TokenLogprobs(*one) for one in zip(own, best, named, strict=True))


def score_blocks(
    states: Tensor, ids: Sequence[int], wanted: LogprobParams, logits_of: Callable[[Tensor], Tensor]
) -> list[TokenLogprobs]:
    """Returns the scores of prompt tokens, a few rows of logits at a time.

    Args:
        states: [rows, hidden], the model's states before its last layer.
        ids: the token that follows each row.
        logits_of: the last layer.
    """
    found: list[TokenLogprobs] = []
    for start in range(0, len(ids), _ROWS):
        block = slice(start, start + _ROWS)
        found += score(logits_of(states[block]), ids[block], wanted)
    return found


def prompt_rows(span: Span) -> range:
    """Returns the positions of `span` whose following token is a prompt token that is to be scored.

    The first token asked for has no score, as SGLang's has none, and one that was scored before its sequence lost its
    slot is not scored again.
    """
    sequence = span.sequence
    wanted = sequence.request.logprobs
    if wanted is None or len(sequence.tokens) > sequence.prefill_tokens:
        return range(0)
    return range(max(span.start, wanted.start), min(span.stop, sequence.prompt_tokens - 1))
