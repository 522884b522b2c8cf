"""How the parts of a layer become one where a model is spread over several ranks; alone, nothing has to be done.

`llama` calls a `Join` around the attention and behind the feed-forward part of each layer and knows nothing of ranks.
`engine.parallel` has the one of several ranks, made anew for each pass.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

__all__ = ["ALONE", "Alone", "Join"]


class Join(Protocol):
    """What lies between the parts of a layer, in one pass."""

    def own(self, states: Tensor) -> Tensor:
        """Returns the rows of [tokens, hidden] whose attention is computed here, in their order."""
        ...

    def attention(self, part: Tensor) -> Tensor:
        """Returns the attention's result of all tokens, [tokens, hidden].

        Args:
            part: what the heads here add to the rows of `own`; may be overwritten.
        """
        ...

    def feed_forward(self, part: Tensor) -> Tensor:
        """Returns the feed-forward part's result of all tokens, [tokens, hidden].

        Args:
            part: what the columns, or experts, here add to it; may be overwritten.
        """
        ...


class Alone:
    """The whole model is here."""

    def own(self, states: Tensor) -> Tensor:
        """Returns all rows."""
        return states

    def attention(self, part: Tensor) -> Tensor:
        """Returns `part`, which is all."""
        return part

    def feed_forward(self, part: Tensor) -> Tensor:
        """Returns `part`, which is all."""
        return part


ALONE = Alone()
