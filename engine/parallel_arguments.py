"""The flags that spread a worker over ranks and nodes, with SGLang's names, and which of them go together.

Used by `arguments` alone. What depends on the model, such as heads and experts, is checked by `parallel.layout` once
the model is known.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from .config import Mode, ServerConfig
from .errors import ConfigError
from .flags import FlagParser, choice, real, whole
from .http.guard import split_authority
from .parallel.balance import LoadBalance, resolved

__all__ = ["add_parallel_arguments", "check_parallel"]

ALL_TO_ALL_BACKENDS = ("none", "gloo", "mooncake")
LOAD_BALANCE_METHODS = tuple(method.value for method in LoadBalance)
_MOST_RANKS = 1024


def add_parallel_arguments(parser: FlagParser) -> None:
    """Adds the flags; their values go into the `ServerConfig` fields of the same names."""
    add = parser.add_argument
    default = ServerConfig(model_path="")

    def number(flag: str, help_text: str, low: int, *names: str) -> None:
        value = getattr(default, flag[2:].replace("-", "_"))
        kind = whole(flag, low, _MOST_RANKS)
        add(flag, *names, type=kind, default=value, metavar="N", help=f"{help_text} [{value}]")

    number("--tp-size", "ranks that compute one model together", 1, "--tp", "--tensor-parallel-size")
    number("--nnodes", "nodes over which the ranks are spread", 1)
    number("--node-rank", "which of them this is, from 0; node 0 serves the API", 0)
    add(
        "--dist-init-addr",
        "--nccl-init-addr",
        type=_address("--dist-init-addr"),
        default="",
        metavar="HOST:PORT",
        help="where the ranks of several nodes meet: an address of node 0",
    )
    add(
        "--dist-timeout",
        type=real("--dist-timeout", 0, above=True),
        default=default.dist_timeout,
        metavar="S",
        help=f"for ranks to meet and for a step of all of them [{default.dist_timeout:g}]",
    )
    number("--dp-size", "attention groups, with --enable-dp-attention", 1, "--dp", "--data-parallel-size")
    add("--enable-dp-attention", action="store_true", help="each of --dp-size groups of ranks has requests of its own")
    text = "attention groups, each with requests and KV of its own"
    number("--attn-dp-size", text, 1, "--attention-data-parallel-size")
    number("--ep-size", "ranks that share out the experts: 1 or --tp-size", 1, "--ep", "--expert-parallel-size")
    for flag, what in (
        ("--moe-a2a-backend", "takes tokens to the ranks of their experts; none gives all ranks all tokens"),
        ("--elastic-ep-backend", "has the other ranks go on when one dies"),
    ):
        names = ", ".join(ALL_TO_ALL_BACKENDS)
        kind = choice(flag, ALL_TO_ALL_BACKENDS)
        add(flag, type=kind, default="none", metavar="NAME", help=f"{names}: what {what} [none]")
    flag = "--load-balance-method"
    add(
        flag,
        type=choice(flag, LOAD_BALANCE_METHODS),
        default="auto",
        metavar="NAME",
        help=f"which attention group gets a request: {', '.join(LOAD_BALANCE_METHODS)}; auto is follow_bootstrap_room "
        "on the halves of a pair, else round_robin [auto]",
    )


def _address(flag: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if not text:
            return text  # argparse converts defaults, too
        split = split_authority(text)
        if split is None or split[1] is None:
            remedy = "give host:port, such as 10.0.0.1:5000 or [fd00::1]:5000"
            raise ConfigError(flag, text, "not a host and a port", remedy)
        return text

    return convert


def check_parallel(values: argparse.Namespace) -> Mapping[str, Any]:
    """Returns the fields of `ServerConfig` that follow from the flags.

    Raises:
        ConfigError: they do not fit each other; says which values do.
    """
    tp, nodes = values.tp_size, values.nnodes
    _check_nodes(values)
    groups = _attention_groups(values)
    if tp % groups:
        flag = "--attn-dp-size" if values.attn_dp_size > 1 else "--dp-size"
        problem = f"does not divide --tp-size {tp}, which counts the ranks of all groups"
        raise ConfigError(flag, groups, problem, f"use one of {_divisors(tp)}, or --tp-size {groups}")
    if tp % nodes:
        remedy = f"use a multiple of {nodes}, such as {-(-tp // nodes) * nodes}, or --nnodes {_divisors(tp)}"
        raise ConfigError("--tp-size", tp, f"does not divide by --nnodes {nodes}", remedy)
    if tp > 1 and values.encoder_only:
        raise ConfigError("--tp-size", tp, "an encoder has one rank", "use 1, and start several encoders")
    if tp > 1 and values.quantization not in ("auto", "none"):
        problem = f"packed weights are computed by one rank alone, and --tp-size is {tp}"
        raise ConfigError("--quantization", values.quantization, problem, "use none, or --tp-size 1")
    resolved(LoadBalance(values.load_balance_method), has_rooms=values.disaggregation_mode != Mode.UNIFIED.value)
    ep = _expert_ranks(values)
    _check_elastic(values, groups)
    return {"attn_dp_size": groups, "ep_size": ep}


def _check_nodes(values: argparse.Namespace) -> None:
    nodes = values.nnodes
    if values.node_rank >= nodes:
        remedy = f"use 0 to {nodes - 1}" if nodes > 1 else f"use 0, or --nnodes {values.node_rank + 1} or more"
        raise ConfigError("--node-rank", values.node_rank, f"not below --nnodes {nodes}", remedy)
    if nodes > 1 and not values.dist_init_addr:
        problem = f"the {nodes} nodes have no address to meet at"
        raise ConfigError("--dist-init-addr", "", problem, "give an address of node 0 and a free port on all nodes")


def _attention_groups(values: argparse.Namespace) -> int:
    """Returns the number of attention groups, which has two spellings."""
    given, old = values.attn_dp_size, values.dp_size
    if values.enable_dp_attention and old == 1 and given == 1:
        remedy = "add --dp-size with the number of groups, or use --attn-dp-size"
        raise ConfigError("--enable-dp-attention", "", "it does not say how many attention groups there are", remedy)
    if old == 1:
        return given
    if not values.enable_dp_attention:
        problem = "whole copies of a worker are not served in one process"
        remedy = f"add --enable-dp-attention, or start {old} workers behind a router"
        raise ConfigError("--dp-size", old, problem, remedy)
    if given not in (1, old):
        problem = f"--dp-size {old} with --enable-dp-attention says another number"
        raise ConfigError("--attn-dp-size", given, problem, "leave one of them out")
    return old


def _expert_ranks(values: argparse.Namespace) -> int:
    """Returns the ranks that share out the experts; as in SGLang, a backend that moves tokens asks for all of them."""
    tp, ep, moves = values.tp_size, values.ep_size, values.moe_a2a_backend
    if moves != "none" and tp == 1:
        problem = "there is one rank, and no other to take tokens to"
        raise ConfigError("--moe-a2a-backend", moves, problem, "use --tp-size 2 or more, or none")
    if moves != "none" and ep == 1:
        ep = tp
    if ep not in (1, tp):
        remedy = f"use 1, or raise --tp-size to {ep}" if tp == 1 else f"use 1 or {tp}"
        raise ConfigError("--ep-size", ep, f"is neither 1 nor --tp-size {tp}", remedy)
    if values.elastic_ep_backend != "none" and ep == 1:
        remedy = "add --ep-size with the value of --tp-size, 2 or more"
        raise ConfigError("--elastic-ep-backend", values.elastic_ep_backend, "the experts are not shared out", remedy)
    return ep


def _check_elastic(values: argparse.Namespace, groups: int) -> None:
    """Refuses what those that are left could not go on with."""
    if values.elastic_ep_backend == "none":
        return
    for given, what, remedy in (
        (groups > 1, "worker with several attention groups", "leave --dp-size and --attn-dp-size out"),
        (values.nnodes > 1, "worker of several nodes", "use --nnodes 1"),
    ):
        if given:
            problem = f"a {what} ends when one of its ranks does, and its runner starts it again"
            raise ConfigError("--elastic-ep-backend", values.elastic_ep_backend, problem, f"{remedy}, or use none")


def _divisors(number: int) -> str:
    return ", ".join(str(n) for n in range(1, number + 1) if number % n == 0)
