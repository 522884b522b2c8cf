"""Where the ranks of a worker find each other: a store of torch's that rank 0 opens, and what is said there.

On one node the store listens on 127.0.0.1, at a port that rank 0 hands to the ranks that it starts; on several at
`--dist-init-addr`. Each rank says who it is and what it was started with; rank 0 answers all of them: where to connect
for orders, or why the worker does not start. The process groups are made in the same store. Like SGLang's, it takes
whoever reaches its port, so that --dist-init-addr belongs into a network that one trusts.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta

import msgspec
from torch._C._distributed_c10d import Store, TCPStore

from ..config import ServerConfig
from ..errors import ConfigError, PdpanelError
from .agreement import MeetingPlace, Member, compare, missing

__all__ = ["Welcome", "join", "meet", "open_store"]

_LOOK_S = 0.02
_READ_S = 2.0
# Rank 0 says who is missing when its time is over; the others wait a little longer to hear it.
_LONGER_S = 10.0
_ANSWER = "answer"


class Welcome(msgspec.Struct, frozen=True):
    """Rank 0's answer to the ranks that came.

    Attributes:
        host, port: where orders come from.
        secret: opens that connection.
        refusal: field, value, problem and remedy of the error that ends all ranks; empty when there is none.
    """

    host: str = ""
    port: int = 0
    secret: str = ""
    refusal: tuple[str, ...] = ()


def open_store(bound: socket.socket, place: MeetingPlace, timeout_s: float) -> Store:
    """Opens the store at a bound socket, which belongs to it from now on; on rank 0."""
    return TCPStore(
        place.host,
        place.port,
        is_master=True,
        wait_for_workers=False,
        timeout=timedelta(seconds=timeout_s),
        master_listen_fd=bound.detach(),  # torch listens on all addresses otherwise
    )


def meet(
    store: Store,
    config: ServerConfig,
    first: Member,
    welcome: Welcome,
    failure: Callable[[], str] = lambda: "",
) -> dict[int, Member]:
    """Waits until all other ranks have come and fit, and welcomes them; on rank 0. Returns them by rank.

    Args:
        failure: returns why waiting is in vain, such as a child that has ended; empty while it is not.

    Raises:
        ConfigError: a rank was started with other arguments, or did not come; all that came are told.
    """
    members: dict[int, Member] = {}
    began = time.monotonic()
    seen = 0
    problem = None
    while problem is None and len(members) < config.tp_size - 1:
        if store.check([key := f"member/{seen + 1}"]):
            seen += 1
            member = msgspec.json.decode(store.get(key), type=Member)
            problem = compare(first, members.values(), member)
            members[member.rank] = member
        elif reason := failure():
            raise PdpanelError(reason)
        elif (waited := time.monotonic() - began) > config.dist_timeout:
            problem = missing(config, members.values(), waited)
        else:
            time.sleep(_LOOK_S)
    if problem is None:
        store.set(_ANSWER, _text(welcome))
        return members
    parts = (problem.field, str(problem.value), problem.problem, problem.remedy)
    store.set(_ANSWER, _text(Welcome(refusal=parts)))
    deadline = time.monotonic() + _READ_S
    while store.add("read", 0) < seen and time.monotonic() < deadline:  # the store ends with this process
        time.sleep(_LOOK_S)
    raise problem


def join(place: MeetingPlace, config: ServerConfig, member: Member) -> tuple[Store, Welcome]:
    """Introduces a rank to rank 0 and returns its answer.

    Raises:
        ConfigError: rank 0 is not there, or refuses the worker.
    """
    store = _connect(place, config)
    try:
        store.set(f"member/{store.add('members', 1)}", _text(member))
        deadline = time.monotonic() + config.dist_timeout + _LONGER_S
        while not store.check([_ANSWER]):
            if time.monotonic() > deadline:
                raise _unanswered(config, f"rank 0 does not answer within {config.dist_timeout:g} s")
            time.sleep(_LOOK_S)
        welcome = msgspec.json.decode(store.get(_ANSWER), type=Welcome)
        store.add("read", 1)
    except RuntimeError:  # torch's errors of stores, which end with the process
        raise _unanswered(config, "rank 0 has ended") from None
    if welcome.refusal:
        field, value, problem, remedy = welcome.refusal
        raise ConfigError(field, value, problem, remedy)
    return store, welcome


def _text(value: Member | Welcome) -> str:
    return msgspec.json.encode(value).decode()


def _connect(place: MeetingPlace, config: ServerConfig) -> Store:
    """Returns the store once rank 0 has opened it."""
    deadline = time.monotonic() + config.dist_timeout
    who = "nobody answers"
    while True:
        left = deadline - time.monotonic()
        if _answers(place, min(1.0, max(left, _LOOK_S))):  # torch alone would log each try with a traceback
            if (store := _opened(place, max(left, 1.0))) is not None:
                return store
            who = "something else than rank 0 answers"
        if deadline - time.monotonic() <= 0:
            problem = f"{who} at {place.host}:{place.port} within {config.dist_timeout:g} s"
            raise _unanswered(config, problem)
        time.sleep(0.1)


def _opened(place: MeetingPlace, timeout_s: float) -> Store | None:
    """Returns the store; None when rank 0 ended at this moment, or what listens there is something else.

    torch waits for the other side's first word without its timeout, so that a thread of its own does.
    """
    found: list[Store] = []

    def connect() -> None:
        limit = timedelta(seconds=timeout_s)
        with contextlib.suppress(RuntimeError):
            found.append(TCPStore(place.host, place.port, is_master=False, wait_for_workers=False, timeout=limit))

    thread = threading.Thread(target=connect, name="meeting", daemon=True)
    thread.start()
    thread.join(timeout_s)
    return found[0] if found else None


def _answers(place: MeetingPlace, timeout_s: float) -> bool:
    try:
        with closing(socket.create_connection((place.host, place.port), timeout=timeout_s)):
            return True
    except OSError:
        return False


def _unanswered(config: ServerConfig, problem: str) -> ConfigError:
    if config.nnodes == 1:
        return ConfigError("--tp-size", config.tp_size, problem, "look into the log of the worker")
    return ConfigError(
        "--dist-init-addr", config.dist_init_addr, problem, "start --node-rank 0 there, or look at its log"
    )
