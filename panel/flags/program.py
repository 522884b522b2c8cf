"""Which engine a command starts, and with which arguments. Pure; called by whoever judges a plan's commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

__all__ = ["program_of"]

_MODULES: Mapping[str, str] = {
    "sglang.launch_server": "sglang",
    "sglang_router.launch_router": "sglang-router",
    "vllm.entrypoints.openai.api_server": "vllm",
    "vllm.entrypoints.cli.main": "vllm",
}
# A program with the subcommand that starts a server; empty for none.
_PROGRAMS: Mapping[str, tuple[str, str]] = {
    "sglang": ("sglang", "serve"),
    "sglang-router": ("sglang-router", ""),
    "smg": ("sglang-router", "launch"),
    "amg": ("sglang-router", "launch"),
    "vllm": ("vllm", "serve"),
}


def program_of(argv: Sequence[str]) -> tuple[str, tuple[str, ...]] | None:
    """Returns the engine that a command starts and the words after its program; None for another program.

    What stands before it, such as docker run or numactl, is passed over.
    """
    for place, word in enumerate(argv):
        if place and argv[place - 1] == "-m" and word in _MODULES:
            rest = argv[place + 1 :]
            return _MODULES[word], tuple(rest[1:] if rest[:1] == ["serve"] else rest)
        name = PurePosixPath(word).name
        if name in _PROGRAMS:
            engine, subcommand = _PROGRAMS[name]
            if not subcommand:
                return engine, tuple(argv[place + 1 :])
            if argv[place + 1 : place + 2] and argv[place + 1] == subcommand:
                return engine, tuple(argv[place + 2 :])
    return None
