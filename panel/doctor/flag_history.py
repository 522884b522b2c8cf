"""Which options SGLang had when: data, and the reading of a version. Called by `agreement_flags`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .worker import WorkerArguments

__all__ = ["CHANGES", "DEPRECATED", "Change", "version_of"]


@dataclass(frozen=True, slots=True)
class Change:
    """An option that came or went: the versions of SGLang in which it exists are `since` <= v < `until`."""

    flag: str
    until: tuple[int, ...] = ()
    since: tuple[int, ...] = ()
    instead: str = ""


CHANGES: tuple[Change, ...] = (
    Change("stream-output", until=(0, 5, 20), instead="--incremental-streaming-output"),
    Change("cuda-graph-bs", until=(0, 5, 20), instead="--cuda-graph-bs-decode and --cuda-graph-bs-prefill"),
    Change("cuda-graph-max-bs", until=(0, 5, 20), instead="--cuda-graph-max-bs-decode and --cuda-graph-max-bs-prefill"),
    Change("prefill-round-robin-balance", until=(0, 5, 20), instead="--load-balance-method"),
    Change("enable-deepep-moe", until=(0, 5, 9), instead="--moe-a2a-backend deepep"),
    Change("disaggregation-decode-tp", until=(0, 5, 12), instead="nothing: decode asks the bootstrap server"),
    Change("disaggregation-decode-dp", until=(0, 5, 12), instead="nothing: decode asks the bootstrap server"),
    Change("disaggregation-prefill-pp", until=(0, 5, 12), instead="nothing: decode asks the bootstrap server"),
    Change("disaggregation-transport", until=(0,), instead="--disaggregation-transfer-backend"),
    Change("attn-dp-size", since=(0, 5, 22), instead="--dp-size N --enable-dp-attention"),
    Change("attention-data-parallel-size", since=(0, 5, 22), instead="--dp-size N --enable-dp-attention"),
    Change("disaggregation-bootstrap-port", since=(0, 4, 5), instead="MOONCAKE_CONFIG_PATH"),
)
DEPRECATED = {
    "disable-cuda-graph": "--cuda-graph-backend-decode=disabled --cuda-graph-backend-prefill=disabled",
    "enable-dp-attention": "--attn-dp-size N in place of --dp-size N --enable-dp-attention (0.5.22 and newer)",
}


def version_of(worker: WorkerArguments) -> tuple[int, ...]:
    """Returns the numbers of a version such as 0.5.9.post1; empty when it is not known."""
    match = re.match(r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?", worker.version)
    return tuple(int(part or 0) for part in match.groups()) if match else ()
