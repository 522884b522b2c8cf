"""One prefill and one decode core under everything that pair_machine does to them."""

from __future__ import annotations

from hypothesis import settings
from pair_machine import Pair

TestPair = Pair.TestCase
TestPair.settings = settings(max_examples=120, stateful_step_count=50, deadline=None)
