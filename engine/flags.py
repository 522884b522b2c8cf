"""What the command lines of worker and router share: a parser and types whose errors name flag, value and remedy."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from .errors import ConfigError
from .http.guard import split_authority

__all__ = ["FlagParser", "choice", "host_names", "real", "refuse_unknown", "whole"]


class FlagParser(argparse.ArgumentParser):
    """argparse with errors as ConfigError; give it `allow_abbrev=False`, since a prefix is another engine's flag."""

    def error(self, message: str) -> NoReturn:
        """Raises ConfigError instead of printing and leaving."""
        flag, _, problem = message.removeprefix("argument ").partition(": ")
        if not problem:
            flag, problem = "command line", message
        raise ConfigError(flag.split("/")[0], "", problem, "see --help for the flags")


def refuse_unknown(unknown: Sequence[str], program: str) -> None:
    """Raises ConfigError for the first flag that `parse_known_args` left over; nothing is ignored."""
    if unknown:
        flag, _, value = unknown[0].partition("=")
        shown = value or (unknown[1] if len(unknown) > 1 and not unknown[1].startswith("-") else "")
        raise ConfigError(flag, shown, f"the bundled {program} does not implement this flag", "leave it out")


def whole(flag: str, low: int, high: int | None = None) -> Callable[[str], int]:
    """Returns a converter to whole numbers from `low` to `high`."""
    allowed = f"give a whole number from {low} to {high}" if high else f"give a whole number of {low} or more"

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ConfigError(flag, text, "not a whole number", allowed) from None
        if value < low or (high is not None and value > high):
            raise ConfigError(flag, value, "out of range", allowed)
        return value

    return convert


def real(flag: str, low: float, *, above: bool = False, high: float = math.inf) -> Callable[[str], float]:
    """Returns a converter to finite numbers from `low` (above it alone with `above`) to `high`."""
    allowed = f"give a number {'above' if above else 'of at least'} {low:g}"
    allowed += f" and up to {high:g}" if high < math.inf else ""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ConfigError(flag, text, "not a number", allowed) from None
        if not math.isfinite(value) or value < low or value > high or (above and value == low):
            raise ConfigError(flag, text, "out of range", allowed)
        return value

    return convert


def choice(flag: str, choices: Sequence[str], aliases: Mapping[str, str] | None = None) -> Callable[[str], str]:
    """Returns a converter that takes one of `choices`, or another spelling of one."""

    def convert(text: str) -> str:
        value = (aliases or {}).get(text, text)
        if value not in choices:
            raise ConfigError(flag, text, "not served by the bundled engine", f"use one of {', '.join(choices)}")
        return value

    return convert


def host_names(flag: str) -> Callable[[str], tuple[str, ...]]:
    """Returns a converter to host names, each perhaps with a port, that stand between commas."""

    def convert(text: str) -> tuple[str, ...]:
        names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
        for name in names:
            if split_authority(name) is None:
                raise ConfigError(flag, name, "not a host name", "give names such as llm.example.org or gpu1:30000")
        return names

    return convert
