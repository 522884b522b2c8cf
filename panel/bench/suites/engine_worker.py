"""The process of a contender: reads commands, calls the program, writes what it answers. Run with `python -m`.

The number of threads is set before anything that computes is imported. What libraries print goes to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any, Protocol

from ....engine.errors import PdpanelError
from .engine_contender import Setup

__all__ = ["PROGRAMS", "Program"]

PROGRAMS = {
    "pdpanel": ".engine_ours:Ours",
    "transformers": ".engine_transformers:Direct",
    "transformers-continuous": ".engine_transformers:Continuous",
    "ik-llama": ".engine_llama_cpp:IkLlama",
    "xllamacpp": ".engine_llama_cpp:XLlama",
    "memory": ".engine_memory:Memory",
    "quality": ".engine_quality:Quality",
    "profile": ".engine_profile:Profile",
}
"""Module and class of each program; only its own process imports it."""


class Program(Protocol):
    """What can be asked of a contender that generates."""

    def about(self) -> dict[str, Any]:
        """Returns what a reader must know, such as the format of the weights."""
        ...

    def prefill(self, prompt: int) -> float:
        """Returns the seconds from the ids of a prompt of so many tokens to its first token."""
        ...

    def decode(self, batch: int, context: int, steps: int) -> float:
        """Returns the seconds of a step that gives each of `batch` sequences a token, a mean over `steps` of them.

        The sequences have `context` tokens before the warm-up; nothing before the first timed step counts.
        """
        ...


def _program(setup: Setup) -> Any:
    module, _, name = PROGRAMS[setup.program].partition(":")
    make: Callable[[Setup], Any] = getattr(importlib.import_module(module, __package__), name)
    return make(setup)


def main() -> None:
    """Answers until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    setup = Setup(**json.loads(sys.stdin.readline()))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(setup.threads)
    try:
        program = _program(setup)
        say({"value": program.about()})
    except ImportError as error:
        say({"error": f"{error.name or error} is not installed"})
        return
    except PdpanelError as error:
        say({"error": str(error)})
        return
    for line in sys.stdin:
        command = json.loads(line)
        say({"value": getattr(program, command.pop("do"))(**command)})
    # Nothing is left to write, and threads of libraries are not waited for.
    os._exit(0)


if __name__ == "__main__":
    main()
