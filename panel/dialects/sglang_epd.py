"""Encoder, prefill, decode (EPD): the options that split a multimodal model's encoder off.

Pure. An encoder is a worker of its own; prefill (or a unified worker) then serves the language model alone and asks
the encoders. Called by `sglang_worker` and `sglang_notes`.
"""

from __future__ import annotations

import re

from ..launch import Role
from .placement import Placed, Placement, flag, url

__all__ = ["encoder_arguments", "language_arguments", "unfit_model"]

_REGISTRY_PORT = 8997
_LANGUAGE_ROLES = (Role.PREFILL, Role.UNIFIED)
# Names of families that are known not to be on SGLang's list of architectures.
_UNFIT = re.compile(r"(?<![a-z])(llava|intern[-_]?vl)", re.IGNORECASE)


def encoder_arguments(placed: Placed) -> tuple[str, ...]:
    """Returns what makes a server an encoder."""
    return ("--encoder-only", *_transfer(placed.settings.encoder_transfer))


def language_arguments(placement: Placement, placed: Placed) -> tuple[str, ...]:
    """Returns what makes a server do without its own encoder; nothing for a role or deployment without encoders."""
    if not placement.deployment.encoder.count or placed.role not in _LANGUAGE_ROLES:
        return ()
    encoders = placement.first_ranks(Role.ENCODER)
    transfer = placed.settings.encoder_transfer or placement.deployment.settings("encoder").encoder_transfer
    arguments = [*_transfer(transfer), "--language-only"]
    arguments += ["--encoder-urls", *(url(encoder.address, encoder.port) for encoder in encoders)]
    beside = [
        worker
        for worker in placement.workers
        if worker.role in _LANGUAGE_ROLES and worker.rank == 0 and worker.node == placed.node
    ]
    place = beside.index(placed) if placed in beside else 0
    if place:
        # Each such server has a registry of encoders, and the port is the same for all unless told. Downwards, since
        # the ports above are prefill's bootstrap servers.
        arguments += flag("encoder-bootstrap-port", _REGISTRY_PORT - place)
    return tuple(arguments)


def _transfer(backend: str | None) -> tuple[str, ...]:
    return () if backend is None else flag("encoder-transfer-backend", backend)


def unfit_model(model: str) -> str:
    """Returns the family in a model's name that SGLang cannot split; empty when none is known."""
    match = _UNFIT.search(model)
    return match[1] if match else ""
