"""How long prompts and answers are: one length, a range, or a normal distribution, as a person writes it.

Pure. `1024` is one length, `512-1024` any of that range, `1024~256` normal with that mean and standard deviation, cut
at 1 and at four deviations. Called by `spec` and `plan`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

from ...engine.errors import ConfigError

__all__ = ["MOST_TOKENS", "Lengths", "parse_lengths"]

MOST_TOKENS = 1_000_000
_FORM = re.compile(r"(\d{1,9})(?:\s*([-~])\s*(\d{1,9}))?", re.ASCII)
_DEVIATIONS = 4


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths in tokens, from `low` to `high`; with a `deviation` they are normal around the middle."""

    low: int
    high: int
    deviation: int = 0

    @property
    def middle(self) -> int:
        """The mean of what is drawn, rounded down."""
        return (self.low + self.high) // 2

    def draw(self, random: Random) -> int:
        """Returns one length; the same state of `random` gives the same one."""
        if not self.deviation:
            return random.randint(self.low, self.high)
        drawn = random.gauss((self.low + self.high) / 2, self.deviation)
        return max(1, min(self.high, max(self.low, round(drawn))))


def parse_lengths(field: str, text: str) -> Lengths:
    """Returns what a text such as `1024`, `512-1024` or `1024~256` says.

    Args:
        field: what the person calls it, for errors.
        text: as the person wrote it.

    Raises:
        ConfigError: it says something else, or a length below 1 or above a million.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        remedy = "write 1024, a range 512-1024, or a mean and deviation 1024~256"
        raise ConfigError(field, text, "is no length in tokens", remedy)
    one, sign, two = int(match[1]), match[2], int(match[3] or 0)
    if sign == "~":
        reach = min(one - 1, _DEVIATIONS * two)
        lengths = Lengths(one - reach, one + reach, two)
    else:
        lengths = Lengths(one, two if sign else one)
    if lengths.low > lengths.high:
        raise ConfigError(field, text, "begins above its end", f"write {two}-{one}")
    if one < 1 or lengths.low < 1 or lengths.high > MOST_TOKENS:
        raise ConfigError(field, text, f"is not between 1 and {MOST_TOKENS} tokens", "choose lengths in that range")
    return lengths
