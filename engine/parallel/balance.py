"""Which attention group a request goes to.

Pure; `groups` asks for each new request. The names are SGLang's `--load-balance-method`. In a prefill-decode pair both
halves take the room modulo their groups by default, so that they agree without talking.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from ..errors import ConfigError

__all__ = ["Balancer", "LoadBalance", "resolved"]


class LoadBalance(Enum):
    """`--load-balance-method`."""

    AUTO = "auto"
    ROUND_ROBIN = "round_robin"
    TOTAL_TOKENS = "total_tokens"
    FOLLOW_BOOTSTRAP_ROOM = "follow_bootstrap_room"


def resolved(method: LoadBalance, *, has_rooms: bool) -> LoadBalance:
    """Returns the method that `auto` stands for, as in SGLang, or the one that was asked for.

    Args:
        has_rooms: whether requests have rooms, as on a half of a pair.

    Raises:
        ConfigError: rooms are to be followed where there are none.
    """
    if method is LoadBalance.AUTO:
        return LoadBalance.FOLLOW_BOOTSTRAP_ROOM if has_rooms else LoadBalance.ROUND_ROBIN
    if method is LoadBalance.FOLLOW_BOOTSTRAP_ROOM and not has_rooms:
        problem = "requests of a unified worker have no room"
        raise ConfigError("--load-balance-method", method.value, problem, "use round_robin or total_tokens")
    return method


class Balancer:
    """Chooses groups by one method.

    Args:
        method: not `auto`.
    """

    def __init__(self, method: LoadBalance) -> None:
        assert method is not LoadBalance.AUTO, "see `resolved`"
        self.method = method
        self._next = 0

    def choose(self, room: int, tokens: Sequence[int]) -> int:
        """Returns the group of a new request.

        Args:
            room: 0 without one.
            tokens: of the waiting and running requests of each group; of groups that have equally few, turns are taken.
        """
        count = len(tokens)
        if self.method is LoadBalance.FOLLOW_BOOTSTRAP_ROOM:
            return room % count
        turns = [(self._next + step) % count for step in range(count)]
        chosen = turns[0] if self.method is LoadBalance.ROUND_ROBIN else min(turns, key=lambda group: tokens[group])
        self._next = (chosen + 1) % count
        return chosen
