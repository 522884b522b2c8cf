from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from pdpanel.engine.errors import ConflictError, PeerError
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.launch import LaunchPlan
from pdpanel.panel.plan import RunIds, plan
from pdpanel.panel.proof.host_counters import Count
from pdpanel.panel.proof.proof import PROOF_FILE, decode_proof, encode_proof, read_proof
from pdpanel.panel.proof.prove import Clock, Measures, asked_of, prove
from pdpanel.panel.proof.traffic import Answered, Requests
from pdpanel.panel.proof.verdict import Asked, Counter, Way

MB = 1e6


def launch(transport: str = "mooncake_tcp", **more: object) -> LaunchPlan:
    fields: dict[str, object] = {"model": "m", "transport": transport}
    deployment = parse_deployment(fields | (more or {"prefill": {"count": 1}, "decode": {"count": 1}}))
    return plan(deployment, HostFacts("n", 2, "py"), RunIds("r", "/r", "/c"))


class World:
    """A host on which time passes by resting, traffic goes on, and each request moves 10 MB over some links."""

    def __init__(self, carries: Mapping[str, float], usual_per_s: float = 0.0, source: str = "/metrics of p") -> None:
        self.t = 100.0
        self.source = source
        self.moved = 0.0
        self.usual = usual_per_s
        self.carries = carries
        self.names = {"lo": Counter.LOOPBACK, "eth0": Counter.NETDEV, "mlx5_0:1": Counter.RDMA}
        self.asked = 0
        self.lost: set[str] = set()

    def measures(self) -> Measures:
        return Measures(self, self, self, Clock(lambda: self.t, self.rest, lambda: 1.7e9))  # type: ignore[arg-type]

    def rest(self, seconds: float) -> None:
        self.t += seconds

    def ask(self) -> Answered:
        self.asked += 1
        self.moved += 10 * MB
        self.t += 1.0
        return Answered(500)

    def read(self) -> Mapping[str, Count]:
        def total(name: str) -> tuple[float, float] | None:
            if name in self.lost:
                return None
            count = 1e9 + self.moved * self.carries.get(name, 0.0) + self.usual * self.t
            return (count, count)

        return {f"{kind}/{name}": Count(kind, name, "files", total(name)) for name, kind in self.names.items()}


class Engine:
    def __init__(self, world: World, *, tells: bool = True) -> None:
        self.source = "/metrics of prefill-0"
        self._world = world
        self._tells = tells

    def read(self) -> float | None:
        return self._world.moved if self._tells else None


def proved(world: World, made: LaunchPlan, *, tells: bool = True) -> tuple[Way, str]:
    measures = replace(world.measures(), engine=Engine(world, tells=tells))
    said: list[tuple[str, float]] = []
    proof = prove("r", made, lambda text, share: said.append((text, share)), measures)
    assert all(0 <= share <= 1 for _, share in said) and said[-1] == (proof.verdict.sentence, 1.0)
    assert decode_proof(encode_proof(proof)) == proof
    return proof.verdict.way, proof.verdict.sentence


def test_the_link_that_rose_with_the_kv_carries_it() -> None:
    assert proved(World({"lo": 1.02}), launch())[0] is Way.LOOPBACK
    assert proved(World({"mlx5_0:1": 1.02}), launch())[0] is Way.RDMA
    assert proved(World({"eth0": 1.05}, usual_per_s=2 * MB), launch())[0] is Way.TCP
    assert proved(World({}), launch("shm"))[0] is Way.SHARED_MEMORY


def test_what_travels_anyway_is_no_proof() -> None:
    way, sentence = proved(World({}, usual_per_s=100 * MB), launch())
    assert way is Way.UNKNOWN and "other traffic" in sentence


def test_what_hides_the_kv_once_is_looked_at_again() -> None:
    """The first turn falls into a burst of other traffic that ends with it."""

    class Bursting(World):
        def ask(self) -> Answered:
            if self.asked == 3:
                self.usual = 0.0
            return super().ask()

    world = Bursting({"lo": 1.0}, usual_per_s=60 * MB)
    assert proved(world, launch())[0] is Way.LOOPBACK
    assert world.asked == 9


def test_an_engine_that_says_nothing() -> None:
    way, sentence = proved(World({"lo": 1.0}), launch(), tells=False)
    assert way is Way.UNKNOWN and "the engine does not say" in sentence


def test_evidence_has_before_after_and_background() -> None:
    world = World({"lo": 1.0}, usual_per_s=1 * MB)
    proof = prove("r", launch(), lambda text, share: None, replace(world.measures(), engine=Engine(world)))
    first = proof.evidence[0]
    assert first.name == "lo" and first.moved == pytest.approx((30 * MB, 30 * MB))
    assert first.background == pytest.approx((4 * MB, 4 * MB))
    assert (proof.expected_bytes, proof.requests, proof.prompt_tokens) == (pytest.approx(30 * MB), 3, 1500)
    assert (proof.seconds, proof.baseline_s) == (4.0, 2.0)


def test_the_load_of_others_is_evidence_too() -> None:
    class Busy(World):
        def rest(self, seconds: float) -> None:
            super().rest(seconds)
            self.moved += 40 * MB * seconds

        def ask(self) -> Answered:
            # The load takes the time of the test request, as in a deployment that is full.
            self.moved -= 10 * MB
            answered = super().ask()
            self.moved += 40 * MB
            return answered

    world = Busy({"lo": 1.02})
    proof = prove("r", launch(), lambda text, share: None, replace(world.measures(), engine=Engine(world)))
    assert (proof.verdict.way, world.asked) == (Way.LOOPBACK, 3)
    assert (proof.expected_bytes, proof.own_bytes) == (pytest.approx(160 * MB), pytest.approx(160 * MB))
    assert proof.evidence[0].moved == pytest.approx((163.2 * MB, 163.2 * MB))


def test_a_run_without_transfer_is_refused_before_anything_is_asked() -> None:
    world = World({})
    with pytest.raises(ConflictError, match="moves no KV"):
        prove("r", launch("tcp", unified={"count": 1}), lambda text, share: None, world.measures())
    assert world.asked == 0


def test_what_a_plan_asks_for() -> None:
    assert asked_of(launch("shm")) is Asked.SHARED_MEMORY
    assert asked_of(launch("tcp")) is asked_of(launch("mooncake_tcp")) is Asked.TCP
    made = launch("mooncake")
    assert asked_of(made) is Asked.ANY
    assert (
        asked_of(replace(made, processes=tuple(replace(one, nics=("mlx5_0",)) for one in made.processes))) is Asked.RDMA
    )


def test_a_router_that_is_gone_is_said() -> None:
    made = replace(launch(), router_url="http://127.0.0.1:9")
    world = World({})
    measures = Measures(world, Engine(world), Requests(made), world.measures().clock)  # type: ignore[arg-type]
    with pytest.raises(PeerError, match="names no model"):
        prove("r", made, lambda text, share: None, measures)


def test_a_damaged_file_is_no_proof(tmp_path: Path) -> None:
    assert read_proof(tmp_path) is None
    (tmp_path / PROOF_FILE).write_text('{"verdict": 3}')
    assert read_proof(tmp_path) is None
