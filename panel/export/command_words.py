"""Commands as words of a shell, for people to read: one option and its values a line. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from .nodes import Node

__all__ = ["after_env", "option_lines", "request_script"]


def after_env(argv: Sequence[str]) -> tuple[str, ...]:
    """Returns what to write behind `env NAME=VALUE...` so that `argv` runs.

    `env` takes a program with `=` in its name for one more variable, so another program starts such a one.
    """
    return ("/usr/bin/nice", "-n", "0", "--", *argv) if "=" in argv[0] else tuple(argv)


def option_lines(argv: Sequence[str]) -> Iterator[str]:
    """Yields a command's words, quoted, with each option and its values on a line of its own."""
    line: list[str] = []
    for word in argv:
        if word.startswith("--") and line:
            yield shlex.join(line)
            line = []
        line.append(word)
    if line:
        yield shlex.join(line)


def request_script(node: Node) -> str:
    """Returns a script that asks the deployment for an answer from `node`."""
    commands = "\n".join(" \\\n  ".join(option_lines(request.argv)) for request in node.requests)
    head = "#!/usr/bin/env bash\n# Asks the deployment for an answer.\n# shellcheck disable=SC1003,SC2016\n"
    return f"{head}set -euo pipefail\n\n{commands}\n"
