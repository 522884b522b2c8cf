"""Experts on several ranks: how a token meets the experts that are not where it is.

With `none`, every rank has all tokens and lets its own experts add to them. With the others the tokens are shared out:
each rank routes a part of them, sends each row to the ranks of its experts, once to each, and gets it back with what
those made of it. Either way the sum over all ranks, which `sharded` makes anyway, is the layer's result on every rank.
`rows` has the way that the rows take; `placement` says which rank has which expert.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
import torch
from torch import Tensor

from ..errors import ConfigError
from ..model.expert_shape import ExpertShape
from ..model.experts import ExpertLayer, ExpertWeights, OwnExperts, Routes, compute_experts, route
from ..transfer.api import Endpoint, EndpointInfo
from .collective import PATIENCE_S, Collective
from .layout import part_of
from .placement import Placement, owners
from .rows import CollectiveRows, RowExchange
from .transfer_rows import TransferRows

__all__ = ["BACKENDS", "AllTokens", "ExpertExchange", "RoutedTokens", "open_exchange"]

BACKENDS = ("none", "gloo", "mooncake")
"""Of `--moe-a2a-backend`."""

_MOST_TOKENS = 1024


class ExpertExchange(ExpertLayer, Protocol):
    """One rank's end of what brings tokens to experts; all ranks call it with the same tokens."""

    @property
    def kind(self) -> str:
        """The backend's name."""
        ...

    def close(self) -> None:
        """Gives memory and links up; a call that waits for another rank ends with a RankError."""
        ...


class AllTokens(OwnExperts):
    """Backend `none`."""

    kind = "none"

    def close(self) -> None:
        """Has nothing to give up."""


class RoutedTokens:
    """Backends `gloo` and `mooncake`.

    Args:
        rows: the way to the other ranks.
        placement: the rank of each expert.
    """

    def __init__(self, kind: str, shape: ExpertShape, rows: RowExchange, placement: Placement) -> None:
        self.kind = kind
        self._shape = shape
        self._rows = rows
        self._owners = torch.tensor(owners(placement))

    def __call__(self, h: Tensor, weights: ExpertWeights) -> Tensor:
        """Returns the result of the rows that this rank has routed, zeros in the others.

        Raises:
            RankError: a rank is gone or does not answer.
        """
        result, size = torch.zeros_like(h), self._rows.size
        step = len(h) if self._rows.most_bytes is None else size * (self._rows.most_bytes // self._row_bytes(h))
        assert step or not len(h), "an exchange holds a row at least"
        for start in range(0, len(h), max(step, 1)):
            own = part_of(min(step, len(h) - start), size, self._rows.rank)
            mine = slice(start + own.start, start + own.stop)
            result[mine] = self._carried(h[mine], weights)
        return result

    def close(self) -> None:
        """Gives the way to the other ranks up."""
        self._rows.close()

    def _carried(self, h: Tensor, weights: ExpertWeights) -> Tensor:
        """Returns the complete result of these rows; the other ranks do the same with others."""
        routes = route(h, weights.router, self._shape)
        targets = self._owners.to(h.device)[routes.ids]
        picks = [(targets == rank).any(dim=1).nonzero().flatten() for rank in range(self._rows.size)]
        boxes = self._rows.outboxes([len(pick) * self._row_bytes(h) for pick in picks])
        for pick, box in zip(picks, boxes, strict=True):
            ids, shares, states = self._fields(box, h)
            ids.copy_(routes.ids[pick])
            shares.copy_(routes.shares[pick])
            states.copy_(h[pick])
        arrived = [self._fields(box, h) for box in self._rows.exchange()]
        ids, shares, states = (torch.cat(field).to(h.device) for field in zip(*arrived, strict=True))
        made = compute_experts(states, Routes(ids.long(), shares), weights)
        counts = [len(states) for _, _, states in arrived]
        boxes = self._rows.outboxes([count * h.shape[1] * h.itemsize for count in counts])
        for part, box in zip(made.split(counts), boxes, strict=True):
            _states(box, h).copy_(part)
        result = torch.zeros_like(h)
        answers = self._rows.exchange([len(pick) * h.shape[1] * h.itemsize for pick in picks])
        for pick, box in zip(picks, answers, strict=True):
            result.index_add_(0, pick, _states(box, h).to(h.device))
        return result

    def _row_bytes(self, h: Tensor) -> int:
        """Returns the bytes of a row on its way there: its states, and of each of its experts number and share."""
        return h.shape[1] * h.itemsize + self._shape.per_token * 8

    def _fields(self, box: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the parts of rows like those of `h` on their way: numbers and shares of experts, states."""
        count = len(box) // self._row_bytes(h)
        width = count * self._shape.per_token
        ids, shares = box[: 4 * width].view(torch.int32), box[4 * width : 8 * width].view(torch.float32)
        sizes = (count, self._shape.per_token)
        return ids.view(sizes), shares.view(sizes), _states(box[8 * width :], h)


def _states(box: Tensor, h: Tensor) -> Tensor:
    """Returns bytes as rows like those of `h`."""
    return box.view(h.dtype).view(len(box) // (h.shape[1] * h.itemsize), h.shape[1])


def open_exchange(
    backend: str,
    shape: ExpertShape,
    collective: Collective,
    placement: Placement,
    *,
    row_width: int = 0,
    endpoint: Endpoint | None = None,
    timeout_s: float = PATIENCE_S,
    device: torch.device | None = None,
) -> ExpertExchange:
    """Returns this rank's end; all ranks call it at once.

    Args:
        backend: one of `BACKENDS`.
        collective: of all ranks.
        placement: the rank of each expert, numbered as the collective has them.
        row_width: for `mooncake`, bytes of the states of one token.
        endpoint: for `mooncake`, one of a transport with nothing registered yet; belongs to the exchange then.
        timeout_s: for `mooncake`, that it waits for another rank.
        device: whose memory the collective carries; None is the host's.

    Raises:
        ConfigError: there is no such backend.
        RankError: the ranks do not fit each other, or one is gone.
        TransferError: the transport refuses the memory.
    """
    if backend not in BACKENDS:
        remedy = f"use {', '.join(BACKENDS)}"
        raise ConfigError("--moe-a2a-backend", backend, "the bundled engine has no such backend", remedy)
    if backend == "none" or collective.size == 1:
        return AllTokens(shape)
    if backend == "gloo":
        return RoutedTokens(backend, shape, CollectiveRows(collective, device), placement)
    assert endpoint is not None and row_width, "rows travel through an endpoint"
    most_rows = len(part_of(_MOST_TOKENS, collective.size, 0))
    most_bytes = most_rows * (row_width + 8 * shape.per_token)
    rows = TransferRows(endpoint, collective.rank, collective.size, most_bytes=most_bytes, timeout_s=timeout_s)
    rows.connect(_told_to_all(rows.describe(), CollectiveRows(collective, device)))
    return RoutedTokens(backend, shape, rows, placement)


def _told_to_all(info: EndpointInfo, rows: CollectiveRows) -> Sequence[EndpointInfo]:
    """Returns what each rank says of its endpoint, by rank."""
    said = msgspec.json.encode(info)
    text = torch.frombuffer(bytearray(said.ljust(-(-len(said) // 4) * 4)), dtype=torch.uint8)
    for box in rows.outboxes([len(text)] * rows.size):
        box.copy_(text)
    return [msgspec.json.decode(bytes(box.tolist()), type=EndpointInfo) for box in rows.exchange()]
