"""What goes wrong between two processes, for every transport: dead, stopped and restarted peers."""

from __future__ import annotations

import os
import signal
import socket
import zlib

import msgspec
import pytest
from pdpanel.engine.transfer.api import Endpoint, EndpointInfo, Segment, TicketState
from transports import ONE_SIDED, SIZE, Memory, Target, settings_of, settle

MUCH = [Segment(0, 0, SIZE)] * 100  # far more than a transport writes while a process is killed


@pytest.mark.parametrize("backend", ["tcp", "mooncake_tcp"], indirect=True)
def test_a_peer_that_was_never_there_fails_the_write(endpoint: Endpoint, backend: str) -> None:
    """This Mooncake answers with job 0, and asking for its status ends the process with a segmentation fault."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    nobody = EndpointInfo(endpoint.kind, f"127.0.0.1:{port}", 4096, SIZE, "0" * 32)
    ticket = settle(endpoint.connect(nobody).write([Segment(0, 0, 4096)]), TicketState.FAILED)
    assert f"127.0.0.1:{port}" in ticket.error and ticket.quiesced, "not a byte left this process"


def test_a_killed_peer_fails_its_writes_and_a_new_one_is_written_to(
    endpoint: Endpoint, backend: str, victim: Target, memory: Memory
) -> None:
    """A peer's death fails writes by the link there was and by a new one, and disturbs no other peer."""
    link = endpoint.connect(victim.info)
    settle(link.write([Segment(0, 0, 4096)]), TicketState.DONE)
    victim.kill()
    for gone in (link, endpoint.connect(victim.info)):
        ticket = settle(gone.write([Segment(0, 0, SIZE)]), TicketState.FAILED)
        assert victim.info.session in ticket.error or "ended" in ticket.error or "not run" in ticket.error
    again = Target(backend)
    try:
        assert again.info.session != victim.info.session
        settle(endpoint.connect(again.info).write([Segment(0, 0, SIZE)]), TicketState.DONE)
        assert again.checksum() == zlib.crc32(memory.bytes.data)
    finally:
        again.kill()


def test_a_peer_killed_in_the_middle_fails_the_write_under_way_and_those_behind_it(
    endpoint: Endpoint, backend: str, victim: Target
) -> None:
    """What was on its way is not quiet, but where the writer's own copy is all there is."""
    link = endpoint.connect(victim.info)
    settle(link.write([Segment(0, 0, 4096)]), TicketState.DONE)
    if backend not in ONE_SIDED:
        os.kill(victim.process.pid, signal.SIGSTOP)  # so that the write is under way for certain
    under_way = link.write(MUCH)
    behind = link.write([Segment(0, 0, 4096)])
    assert under_way.state is TicketState.PENDING
    victim.kill()
    assert settle(under_way, TicketState.FAILED).quiesced is (backend in ONE_SIDED)
    settle(behind, TicketState.FAILED)


def test_a_peer_that_stands_still_fails_the_write_within_its_limit(
    endpoint: Endpoint, backend: str, victim: Target
) -> None:
    """No write outlasts its limit, and afterwards the link works, or a new one does."""
    link = endpoint.connect(victim.info)
    settle(link.write([Segment(0, 0, 4096)]), TicketState.DONE)
    with victim.stopped():
        ticket = link.write([Segment(0, 0, SIZE)])
        assert ticket.wait(settings_of(backend).hard_timeout_s)
        if backend in ONE_SIDED:
            assert ticket.state is TicketState.DONE, ticket.error
        else:
            assert ticket.state is TicketState.FAILED and not ticket.quiesced, "it may land when the peer wakes"
    settle(endpoint.connect(victim.info).write([Segment(0, 0, SIZE)]), TicketState.DONE)


def test_a_peer_that_answers_nothing_keeps_no_other_peer_waiting(
    endpoint: Endpoint, backend: str, target: Target, victim: Target, memory: Memory
) -> None:
    """Mooncake's first write to such a peer holds a lock for a minute that every write of the process needs."""
    with victim.stopped():
        stuck = endpoint.connect(victim.info).write([Segment(0, 0, SIZE)])
        settle(endpoint.connect(target.info).write([Segment(0, 0, SIZE)]), TicketState.DONE)
        assert target.checksum() == zlib.crc32(memory.bytes.data)
        if backend in ONE_SIDED:
            settle(stuck, TicketState.DONE)
        else:
            settle(stuck, TicketState.FAILED)


def test_closing_the_link_ends_the_wait_for_a_peer_that_stands_still(
    endpoint: Endpoint, backend: str, victim: Target
) -> None:
    """The thread is free for others at once; what was under way is not quiet."""
    link = endpoint.connect(victim.info)
    settle(link.write([Segment(0, 0, 4096)]), TicketState.DONE)
    with victim.stopped():
        ticket = link.write(MUCH)
        assert not ticket.wait(0.05)
        link.close()
        assert ticket.state is TicketState.FAILED
        assert ticket.quiesced is (backend in ONE_SIDED)


@pytest.mark.parametrize("backend", ["tcp", "shm", "faulty"], indirect=True)
def test_a_description_of_another_process_reaches_nobody(endpoint: Endpoint, target: Target, victim: Target) -> None:
    """Who has the address of a process but the secret of another, as after a restart, writes nothing.

    Mooncake has no secret, and a restarted process has other ports; NIXL's secret is the address.
    """
    mixed = msgspec.structs.replace(target.info, secret=victim.info.secret)
    ticket = settle(endpoint.connect(mixed).write([Segment(0, 0, 4096)]), TicketState.FAILED)
    assert ticket.error
    assert target.checksum() == zlib.crc32(bytes(SIZE)) == victim.checksum()
