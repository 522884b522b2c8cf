"""What is made of Mooncake's return codes, with an engine that answers as told; the real one is in tests/contracts."""

from __future__ import annotations

import time

import pytest
from pdpanel.engine.transfer import flight, mooncake
from pdpanel.engine.transfer.api import EndpointInfo, Segment, TicketState, TransferSettings
from pdpanel.engine.transfer.mooncake import apply_environment, mooncake_environment
from pdpanel.engine.transfer.ticket import WriteTicket
from pdpanel.engine.transfer.write_pool import WritePool

PEER = EndpointInfo("mooncake", "127.0.0.1:1", 4096, 64)
WRITE = (Segment(0, 0, 8),)


class ScriptedEngine:
    """Answers with `job`, then with the statuses in turn (the last one for ever); asking about no job is fatal."""

    def __init__(self, job: int, *statuses: int, probe: int = 0) -> None:
        self.job = job
        self.statuses = list(statuses)
        self.probe = probe
        self.probes = 0

    def send_probe(self, session: str) -> int:
        self.probes += 1
        return self.probe

    def transfer_submit_write(self, session: str, source: int, target: int, length: int) -> int:
        return self.job

    def transfer_check_status(self, job: int) -> int:
        assert 0 < job < 2**63, "the real engine would end the process"
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]


def write(engine: ScriptedEngine, timeout_s: float = 5.0) -> tuple[WriteTicket, mooncake._MooncakeLink]:
    pool = WritePool("test", queues=1, threads=1)
    link = mooncake._MooncakeLink(engine, (4096, 64), PEER, TransferSettings(timeout_s=timeout_s), pool)
    ticket = link.write(WRITE)
    assert ticket.wait(20)
    return ticket, link


@pytest.mark.parametrize("job", [0, -1, 2**64 - 1])
def test_a_write_that_was_not_accepted_is_not_asked_about(job: int) -> None:
    ticket, link = write(ScriptedEngine(job, 1))
    assert ticket.state is TicketState.FAILED and "could not be started" in ticket.error
    assert "it answers a probe" in ticket.error
    link.close()
    assert link.is_still(time.monotonic())


@pytest.mark.parametrize(("status", "said"), [(-1, "failed with code -1"), (-2, "timed out")])
def test_a_failure_is_told_with_what_a_probe_says_and_is_not_quiet(status: int, said: str) -> None:
    engine = ScriptedEngine(7, 0, 0, status)
    ticket, link = write(engine)
    assert ticket.state is TicketState.FAILED and not ticket.quiesced
    assert said in ticket.error and "it answers a probe" in ticket.error
    assert engine.probes == 2, "one before the first write to a peer, one after the failure"
    link.close()


def test_a_peer_that_answers_no_probe_is_not_written_to() -> None:
    ticket, link = write(ScriptedEngine(7, 1, probe=-102))
    assert ticket.state is TicketState.FAILED and ticket.quiesced
    assert "cannot be reached" in ticket.error and "-102" in ticket.error
    link.close()


def test_a_write_that_is_given_up_keeps_the_engine_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flight, "_GRACE_S", 0.0)
    engine = ScriptedEngine(7, 0)
    ticket, link = write(engine, timeout_s=0.05)
    assert ticket.state is TicketState.FAILED and "timed out" in ticket.error and not ticket.quiesced
    link.close()
    assert not link.is_still(time.monotonic()), "its memory must not be taken from under it"
    engine.statuses = [-1]
    assert link.is_still(time.monotonic() + 5)


def test_the_environment_carries_the_timeout_and_leaves_the_users_values() -> None:
    values = mooncake_environment(TransferSettings(timeout_s=7.4), force_tcp=True)
    limits = ("MC_TRANSFER_TIMEOUT", "MC_TCP_PROGRESS_TIMEOUT_SEC", "MC_TCP_STATUS_TIMEOUT_SEC")
    assert {values[name] for name in limits} == {"7"}
    assert values["MC_FORCE_TCP"] == "1" and values["MC_TCP_ENABLE_CONNECTION_POOL"] == "true"
    assert mooncake_environment(TransferSettings(timeout_s=1), force_tcp=False)["MC_TRANSFER_TIMEOUT"] == "5"
    assert "MC_FORCE_TCP" not in mooncake_environment(TransferSettings(), force_tcp=False)
    environ = {"MC_LOG_LEVEL": "INFO"}
    apply_environment(values, environ)
    assert environ == {**values, "MC_LOG_LEVEL": "INFO"}
