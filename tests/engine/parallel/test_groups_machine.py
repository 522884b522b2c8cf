"""The machine of pair_machine with several attention groups on either side: its invariants hold there, too.

Peers are lost and restarted and either side sleeps as without groups; what is said of a room, of a write or of the
whole peer has to reach the groups at once (`pair_heed`).
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule
from pair_machine import Pair
from pdpanel.engine.cores import DecodeSide, PrefillSide
from pdpanel.engine.parallel.balance import Balancer, LoadBalance
from pdpanel.engine.parallel.groups import DecodeGroups, PrefillGroups

METHODS = st.sampled_from([method for method in LoadBalance if method is not LoadBalance.AUTO])


class PairOfGroups(Pair):
    """Both halves have groups, of numbers and methods of their own: neither knows the other's."""

    @initialize(radix=st.booleans(), sides=st.tuples(*[st.tuples(st.integers(1, 3), METHODS)] * 2))
    def start(self, radix: bool, sides: tuple[tuple[int, LoadBalance], ...] = ()) -> None:
        self.sides = sides
        self.begin_world(radix)

    def make_prefill(self) -> PrefillSide:
        groups, method = self.sides[0]
        return PrefillGroups((self.prefill_core() for _ in range(groups)), Balancer(method))

    def make_decode(self) -> DecodeSide:
        groups, method = self.sides[1]
        return DecodeGroups((self.decode_core() for _ in range(groups)), Balancer(method))

    @rule(prompts=st.lists(st.integers(1, 40), min_size=2, max_size=5), output=st.integers(2, 12),
          rounds=st.integers(1, 8), transport=st.sampled_from(["begins", "works", "works"]))  # fmt: skip
    def many_come(self, prompts: list[int], output: int, rounds: int, transport: str) -> None:
        """So that what goes wrong next goes wrong for several."""
        for number, prompt in enumerate(prompts):
            self.submit(prompt, output, number % 2, 0, None, bool(number % 3), False)
        self.all_goes_well(rounds, transport)


TestPairOfGroups = PairOfGroups.TestCase
TestPairOfGroups.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
