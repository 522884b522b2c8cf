"""Proofs of transport for page tests: each is under way for two questions, and then says what the test wants."""

from __future__ import annotations

from pdpanel.panel.proof.proof import Proof
from pdpanel.panel.proof.verdict import Asked, Counter, Difference, Verdict, Way
from pdpanel.panel.web.proof_port import ProofView
from pdpanel.panel.web.proof_source import plain_proof

__all__ = ["SimulatedProofs"]


class SimulatedProofs:
    """The `Proofs` of a simulated source."""

    def __init__(self) -> None:
        self._asked: dict[str, int] = {}

    def begin(self, run_id: str) -> ProofView:
        """Begins; the second question after that is answered."""
        self._asked[run_id] = 0
        return ProofView("running", "watching the counters without test requests", 0.1)

    def last(self, run_id: str) -> ProofView:
        """Returns the proof once it was asked for twice."""
        if run_id not in self._asked:
            return ProofView("none")
        self._asked[run_id] += 1
        if self._asked[run_id] < 2:
            return ProofView("running", "test request 2 of 3", 0.5)
        sentence = "This deployment's KV travels over TCP on eth0, although RDMA was asked for."
        evidence = (
            Difference(Counter.NETDEV, "eth0", "/sys/class/net/eth0", (1e9, 2e9), (1.03e9, 2.001e9), (1e5, 1e5)),
            Difference(Counter.RDMA, "mlx5_0:1", "/sys/class/infiniband/mlx5_0", (5e9, 5e9), (5e9, 5e9)),
            Difference(Counter.RDMA, "<b>mlx5_1</b>:1", "", None, None, reason="its driver does not answer"),
        )
        proof = Proof(
            run_id,
            1.7e9,
            Verdict(Way.TCP, sentence, False, ("eth0",)),
            Asked.RDMA,
            ("mlx5_0",),
            29e6,
            "/metrics of prefill-0",
            3,
            1500,
            4.0,
            2.0,
            evidence,
        )
        return ProofView("done", sentence, 1.0, plain_proof(proof))
