from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pdpanel.engine.errors import NotFoundError, PeerError
from pdpanel.panel.launch import LaunchPlan
from pdpanel.panel.proof.proof import PROOF_FILE, Proof
from pdpanel.panel.proof.verdict import Asked, Counter, Difference, Verdict, Way
from pdpanel.panel.runs import Runs
from pdpanel.panel.web.app import build_api
from pdpanel.panel.web.proof_port import ProofView
from pdpanel.panel.web.proof_source import RunProofs
from simulated_source import SimulatedSource
from starlette.testclient import TestClient


class OneRun:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def plan(self, run_id: str) -> Any:
        if run_id != "run-1":
            raise NotFoundError("run", run_id, "is not a run of this user", "name one")
        return SimpleNamespace()

    def log_path(self, run_id: str, name: str) -> Path:
        self.plan(run_id)
        return self._folder / "runner.log"


def proof_of(run_id: str) -> Proof:
    evidence = (Difference(Counter.LOOPBACK, "lo", "files", (1.0, 2.0), (4.0, 8.0)),)
    verdict = Verdict(Way.LOOPBACK, "This deployment's KV travels over TCP on lo.", True, ("lo",))
    return Proof(run_id, 1.0, verdict, Asked.TCP, (), 3.0, "/metrics of p", 3, 9, 1.0, 2.0, evidence)


def ended(proofs: RunProofs) -> ProofView:
    deadline = time.monotonic() + 20
    while (view := proofs.last("run-1")).state == "running":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return view


def made(folder: Path, make: Callable[[str, LaunchPlan, Callable[[str, float], None]], Proof]) -> RunProofs:
    return RunProofs(cast(Runs, OneRun(folder)), make)


def test_a_proof_is_kept_with_its_run(tmp_path: Path) -> None:
    proofs = made(tmp_path, lambda run_id, plan, tell: proof_of(run_id))
    assert proofs.last("run-1") == ProofView("none")
    assert proofs.begin("run-1").state == "running"
    view = ended(proofs)
    assert view.state == "done" and view.proof is not None
    assert cast(Any, view.proof)["evidence"][0]["moved"] == (3.0, 6.0)
    assert (tmp_path / PROOF_FILE).stat().st_mode & 0o077 == 0
    assert made(tmp_path, lambda run_id, plan, tell: proof_of(run_id)).last("run-1").state == "done"


def test_a_failure_is_one_sentence_and_the_last_proof_stays(tmp_path: Path) -> None:
    def fails(run_id: str, plan: LaunchPlan, tell: Callable[[str, float], None]) -> Proof:
        raise PeerError("The router did not answer.")

    ended_well = made(tmp_path, lambda run_id, plan, tell: proof_of(run_id))
    ended_well.begin("run-1")
    ended(ended_well)
    proofs = made(tmp_path, fails)
    proofs.begin("run-1")
    view = ended(proofs)
    assert (view.state, view.text) == ("failed", "The router did not answer.")
    assert view.proof is not None


def test_an_unknown_run_is_refused(tmp_path: Path) -> None:
    proofs = made(tmp_path, lambda run_id, plan, tell: proof_of(run_id))
    for ask in (proofs.begin, proofs.last):
        with pytest.raises(NotFoundError):
            ask("../../etc")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(build_api(SimulatedSource(tmp_path, ready_after_s=0.0))) as client:
        yield client


def test_the_routes_begin_and_tell(client: TestClient) -> None:
    assert client.get("/api/runs/r/proof").json()["state"] == "none"
    begun = client.post("/api/runs/r/proof", json={})
    assert (begun.status_code, begun.json()["state"]) == (202, "running")
    answers = [client.get("/api/runs/r/proof").json() for _ in range(2)]
    assert [answer["state"] for answer in answers] == ["running", "done"]
    assert answers[1]["proof"]["verdict"]["as_asked"] is False
    assert client.post("/api/runs/r/proof", json={"command": "rm"}).status_code in {400, 422}
