"""Which writes of a faulty transport go wrong, and how: drawn with a seed, or from a list. Pure; tests alone use it.

`PDPANEL_FAULTY_TRANSPORT` is this in JSON, such as `{"seed": 7, "drop": 0.05, "late": 0.02}`.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Annotated

import msgspec
from msgspec import Meta

from ..errors import ConfigError

__all__ = ["Fault", "FaultPlan", "read_fault_plan"]

_VARIABLE = "PDPANEL_FAULTY_TRANSPORT"
Share = Annotated[float, Meta(ge=0, le=1)]


class Fault(Enum):
    """What becomes of one write.

    NONE: nothing is wrong with it.
    DELAY: it begins later.
    DROP: nothing is written, and nothing is heard of it until it times out.
    FAIL: it fails at once; nothing is written, and nothing will be.
    BREAK: it fails with the first half written, and nothing is under way any more.
    VANISH: it fails with the first half written, and nobody knows whether more is under way.
    DUPLICATE: all is written twice.
    LATE: it fails, and is written afterwards, within the hard timeout.
    """

    NONE = "none"
    DELAY = "delay"
    DROP = "drop"
    FAIL = "fail"
    BREAK = "break"
    VANISH = "vanish"
    DUPLICATE = "duplicate"
    LATE = "late"


class FaultPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"break_": "break"}):
    """Faults and how often they come; a write has one at most.

    Attributes:
        seed: of the draw.
        delay_s: how much later a delayed or late write begins at most.
        script: faults of the first writes, in order; the draw goes on behind them.
    """

    seed: int = 0
    delay_s: Annotated[float, Meta(ge=0)] = 0.2
    delay: Share = 0.0
    drop: Share = 0.0
    fail: Share = 0.0
    break_: Share = 0.0
    vanish: Share = 0.0
    duplicate: Share = 0.0
    late: Share = 0.0
    script: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        if sum(self._shares.values()) > 1:
            raise ValueError("the probabilities add up to more than 1")

    @property
    def _shares(self) -> dict[Fault, float]:
        names = {Fault.BREAK: "break_"}
        return {fault: getattr(self, names.get(fault, fault.value)) for fault in Fault if fault is not Fault.NONE}

    def draw(self) -> Iterator[tuple[Fault, float]]:
        """Yields, for each write in turn, its fault and by how many seconds it is late if it is."""
        source = random.Random(self.seed)
        shares = self._shares
        faults, weights = [Fault.NONE, *shares], [1 - sum(shares.values()), *shares.values()]
        drawn: Iterable[Fault] = (source.choices(faults, weights)[0] for _ in itertools.repeat(None))
        for fault in itertools.chain(self.script, drawn):
            yield fault, source.uniform(0, self.delay_s)


def read_fault_plan(text: str) -> FaultPlan | None:
    """Returns the plan that the variable holds; None for an empty one.

    Raises:
        ConfigError: it is not such a plan.
    """
    if not text.strip():
        return None
    try:
        return msgspec.json.decode(text, type=FaultPlan)
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigError(_VARIABLE, text, str(error), 'give JSON such as {"seed": 7, "drop": 0.05}') from None
