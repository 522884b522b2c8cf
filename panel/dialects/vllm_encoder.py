"""Encoders beside vLLM's unified workers (1E + 1PD): ECMooncakeConnector, its proxy, and a request that reaches it.

Pure. vLLM's static proxy knows Mooncake's encoder cache for workers that prefill and decode; with separate ones it has
to be told by requests while it runs, which no plan can do.
"""

from __future__ import annotations

import json

from ...engine.errors import ConfigError
from ..deployment import Deployment
from ..launch import Request, Role
from .placement import Placed, PlacedRouter, Placement, flag, flags, url
from .smoke_request import asked_host
from .vllm_arguments import model_name
from .vllm_version import require

__all__ = [
    "EC_PORT",
    "PROXY",
    "chat_request",
    "check_encoders",
    "encoder_arguments",
    "encoder_ports",
    "has_encoders",
    "proxy_arguments",
]

EC_PORT = 14579
PROXY = "examples/disaggregated/disaggregated_encoder/disagg_epd_proxy.py"
_MAX_TOKENS = 7


def has_encoders(deployment: Deployment) -> bool:
    """Returns True when encoders are asked for."""
    return deployment.encoder.count > 0


def check_encoders(placement: Placement) -> None:
    """Raises ConfigError when vLLM cannot have encoders in this way."""
    deployment = placement.deployment
    if not has_encoders(deployment):
        return
    require(deployment, "ECMooncakeConnector", "set encoder.count to 0")
    count = deployment.encoder.count
    if not deployment.unified.count:
        problem = "goes with unified workers, since vLLM's proxy cannot be started for encoders, prefill and decode"
        remedy = "set unified.count in place of prefill and decode, or encoder.count to 0"
        raise ConfigError("encoder.count", count, problem, remedy)
    if deployment.transport not in {"mooncake", "mooncake_tcp"}:
        problem = "carries no encoder output"
        raise ConfigError("transport", deployment.transport, problem, "write mooncake or mooncake_tcp")
    if deployment.store is not None:
        raise ConfigError("store", deployment.store.master, "is not for deployments with encoders", "leave it out")
    settings = deployment.settings("encoder")
    for name, size in (("tp", settings.tp), ("pp", settings.pp), ("dp", settings.dp)):
        if (size or 1) > 1:
            raise ConfigError(f"encoder.{name}", size, "is more than an encoder can have", f"set encoder.{name} to 1")
    _check_ports(placement)


def _check_ports(placement: Placement) -> None:
    """Raises ConfigError where workers of one node would take each other's ports: each rank has one."""
    taken: dict[str, int] = {}
    for worker in sorted(placement.first_ranks(Role.UNIFIED), key=_ec_port):
        port = _ec_port(worker)
        if port < taken.get(worker.node, 0):
            problem = f"has {worker.name}'s port {port} among those of another worker's ranks"
            remedy = "name a host for each worker in unified.hosts"
            raise ConfigError("unified.count", placement.deployment.unified.count, problem, remedy)
        taken[worker.node] = port + (worker.settings.tp or 1) * (worker.settings.dp or 1)


def encoder_arguments(placement: Placement, placed: Placed) -> tuple[str, ...]:
    """Returns the options of an encoder, or of a worker that takes encoders' output; nothing without encoders."""
    deployment = placement.deployment
    if not has_encoders(deployment):
        return ()
    encoder = placed.role is Role.ENCODER
    config: dict[str, object] = {
        "ec_connector": "ECMooncakeConnector",
        "ec_role": "ec_producer" if encoder else "ec_consumer",
    }
    if not encoder:
        config |= {"ec_ip": placed.address, "ec_port": _ec_port(placed)}
    protocol = "tcp" if deployment.transport == "mooncake_tcp" else "rdma"
    config["ec_connector_extra_config"] = {"mooncake_protocol": protocol}
    text = json.dumps(config, separators=(",", ":"))
    embeds = () if encoder else ("--enable-mm-embeds",)
    return (
        *embeds,
        "--enable-request-id-headers",
        "--no-enable-prefix-caching",
        *flag("ec-transfer-config", text),
    )


def encoder_ports(placement: Placement, placed: Placed) -> dict[str, int]:
    """Returns where a worker takes encoders' output."""
    takes = has_encoders(placement.deployment) and placed.role is Role.UNIFIED and not placed.rank
    return {"ec": _ec_port(placed)} if takes else {}


def proxy_arguments(placement: Placement, router: PlacedRouter) -> list[str]:
    """Returns the command of vLLM's proxy for encoders."""
    argv = ["python3", PROXY, *flag("host", router.listen), *flag("port", router.port)]
    workers = placement.first_ranks(Role.UNIFIED)
    argv += flag("encode-servers-urls", _urls(placement.first_ranks(Role.ENCODER)))
    argv += [*flag("prefill-servers-urls", "disable"), *flag("decode-servers-urls", _urls(workers))]
    addresses = (url(worker.address, _ec_port(worker)).replace("http://", "tcp://") for worker in workers)
    argv += flag("ec-consumer-zmq-addrs", ",".join(addresses))
    return [*argv, *flags(placement.deployment.router.flags)]


def chat_request(deployment: Deployment, router: PlacedRouter, prompt: str) -> Request:
    """Returns the `curl` that asks the proxy, which answers /v1/chat/completions alone."""
    spec = deployment.smoke_test
    body: dict[str, object] = {
        "model": model_name(deployment),
        "messages": [{"role": "user", "content": prompt if spec.prompt is None else spec.prompt}],
        "max_tokens": _MAX_TOKENS if spec.max_tokens is None else spec.max_tokens,
    }
    if spec.temperature is not None:
        body["temperature"] = spec.temperature
    target = url(asked_host(router.listen, "localhost"), router.port, "/v1/chat/completions")
    json_header = ("-H", "Content-Type: application/json")
    return Request(("curl", "-s", target, *json_header, "-d", json.dumps(body)), router.node)


def _urls(workers: tuple[Placed, ...]) -> str:
    return ",".join(url(worker.address, worker.port) for worker in workers)


def _ec_port(placed: Placed) -> int:
    assert placed.kv_port is not None, "the port defaults have one for unified workers"
    return placed.kv_port
