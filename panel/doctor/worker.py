"""The arguments of one process of a deployment, whatever they were read from: a log, a command line, /server_info.

A value. Names are SGLang's with underscores (`tp_size`, `page_size`), also where vLLM says it otherwise; values are
text. Made by `command` and `arguments_of`, compared by `agreement`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["Engine", "Flag", "WorkerArguments", "WorkerRole", "as_text", "is_secret"]

_SECRET_WORDS = ("api-key", "token", "password", "secret", "credential")
_NO_SECRETS = ("tokens", "tokenizer", "tokenize", "token-", "-token-threshold")


class Engine(StrEnum):
    """Which program it is."""

    SGLANG = "SGLang"
    VLLM = "vLLM"
    BUNDLED = "the bundled engine"
    OTHER = "another program"


class WorkerRole(StrEnum):
    """What the process does; unknown until the router or the arguments say it."""

    PREFILL = "prefill"
    DECODE = "decode"
    UNIFIED = "unified"
    ENCODER = "encoder"
    ROUTER = "router"
    METADATA = "metadata"
    STORE = "store"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Flag:
    """One option as it was written; `name` without dashes, with `-` for `_`."""

    name: str
    values: tuple[str, ...] = ()

    @property
    def value(self) -> str:
        """Its first value, empty for a switch."""
        return self.values[0] if self.values else ""


@dataclass(frozen=True, slots=True)
class WorkerArguments:
    """One process.

    Attributes:
        name: what findings call it, such as prefill-0 or line 12.
        source: where it was read, such as prefill.log:12.
        program: the module or program, such as sglang.launch_server; empty when it was not a command.
        values: arguments by name, as text; what is absent was not said.
        flags: a command's options in order, as written.
        env: variables that are set for it.
        node: the host that it runs on; empty when that is not known.
        version: the engine's; empty when it is not known.
        partial: True for a piece of a command: what is absent may be said elsewhere.
        gpus_apart: True when whoever starts it gives it GPUs of its own, so that its options do not tell which.
        resolved: True when `values` are what the engine settled on, False when they are what a command asks for.
    """

    name: str
    source: str
    engine: Engine
    role: WorkerRole
    values: Mapping[str, str]
    program: str = ""
    flags: tuple[Flag, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    node: str = ""
    version: str = ""
    gpus_apart: bool = False
    resolved: bool = False
    partial: bool = False

    @property
    def serves(self) -> bool:
        """True for a process that computes."""
        return self.role in {WorkerRole.PREFILL, WorkerRole.DECODE, WorkerRole.UNIFIED, WorkerRole.UNKNOWN}

    def get(self, name: str, default: str = "") -> str:
        """Returns an argument, or `default` when it was not said."""
        return self.values.get(name, default)

    def number(self, name: str, default: int) -> int:
        """Returns an argument as a whole number, or `default` when it is none."""
        try:
            return int(self.values.get(name, ""))
        except ValueError:
            return default

    def is_on(self, name: str) -> bool:
        """Returns True for a switch that is set."""
        return self.values.get(name, "false").lower() not in {"false", "0", "none", ""}

    def all_of(self, name: str) -> Iterator[Flag]:
        """Yields every option of this name, in order."""
        return (flag for flag in self.flags if flag.name == name)


def is_secret(name: str) -> bool:
    """Returns True for an option or variable whose value nobody should see."""
    plain = name.lower().replace("_", "-")
    return any(word in plain for word in _SECRET_WORDS) and not any(word in plain for word in _NO_SECRETS)


def as_text(value: Any) -> str | None:
    """Returns an argument's value as text; None for one that is not set."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ",".join(text for item in value if (text := as_text(item)) is not None)
    return str(value)
