"""vLLM 0.6.4.post1's demo of prefill and decode: the V0 engine, mooncake.json, a metadata server, proxy_server.py.

Pure functions from a Placement to ProcessSpecs and files. One prefill and one decode worker, as the connector has no
more; everything as Mooncake's document of that version has it.
"""

from __future__ import annotations

import json
import re

from ...engine.errors import ConfigError
from ..deployment import Deployment
from ..launch import PlannedFile, ProcessSpec, Request, Role
from ..metadata.address import MetadataServer, Scheme, parse_metadata_server
from .dialect import Dialect, Draft, PortDefaults
from .placement import Placed, Placement, flag
from .proxy_program import proxy_file, proxy_process
from .servers import server_processes
from .smoke_request import completions_request
from .vllm_arguments import (
    address_arguments,
    extra_arguments,
    model_name,
    parallel_arguments,
    size_arguments,
    worker_env,
)
from .vllm_connector import device_names
from .vllm_findings import listening_findings, v0_findings
from .vllm_process import process_of
from .vllm_routers import check_proxy

__all__ = ["DIALECT", "build"]

_CONFIG = "mooncake.json"
_MODULE = "vllm.entrypoints.openai.api_server"
_PROMPT = "San Francisco is a"
_MAX_TOKENS = 1000
_DISTANCE = 50
_BUFFER_FLAG = "kv-buffer-size"
_BUFFER = "2e9"
_RANKS = {Role.PREFILL: ("kv_producer", 0), Role.DECODE: ("kv_consumer", 1)}


def build(placement: Placement) -> Draft:
    """Returns the metadata server, prefill, decode and the proxy, in the document's order.

    Raises:
        ConfigError: there are more workers than one of each role, or mooncake.json cannot be written.
    """
    deployment, router = placement.deployment, placement.router
    for role in ("prefill", "decode"):
        count = deployment.settings(role).count
        if count > 1:
            problem = "is more than the one that the V0 connector has (kv_parallel_size is 2)"
            raise ConfigError(f"{role}.count", count, problem, f"set {role}.count to 1, or dialect: vllm")
    (prefill,), (decode,) = placement.of_role(Role.PREFILL), placement.of_role(Role.DECODE)
    servers = server_processes(placement)
    after = tuple(server.name for server in servers)
    config = json.dumps(_config(deployment, prefill, decode), indent=2) + "\n"
    processes = [*servers, *(_worker(placement, placed, after) for placed in (prefill, decode))]
    files = [PlannedFile(_CONFIG, config, shared=True)]
    requests: tuple[Request, ...] = ()
    if router is not None:
        check_proxy(deployment)
        processes.append(proxy_process(placement, router))
        files.append(proxy_file(placement, router))
        requests = (completions_request(router, deployment.smoke_test, model_name(deployment), _PROMPT, _MAX_TOKENS),)
    findings = (*listening_findings(placement), *v0_findings(deployment))
    return Draft(tuple(processes), tuple(files), requests=requests, findings=findings)


def _worker(placement: Placement, placed: Placed, after: tuple[str, ...]) -> ProcessSpec:
    deployment = placement.deployment
    argv = ["python3", "-m", _MODULE, *flag("model", deployment.model), *address_arguments(deployment, placed)]
    argv += [*parallel_arguments(placed), *size_arguments(placed)]
    argv += flag("kv-transfer-config", _kv_config(placed))
    argv += extra_arguments(placed, argv, frozenset({_BUFFER_FLAG}))
    env = {"MOONCAKE_CONFIG_PATH": f"./{_CONFIG}", **worker_env(placement, placed)}
    return process_of(placement, placed, argv, env, {"kv": _kv_port(placed)}, after)


def _kv_config(placed: Placed) -> str:
    """Returns the connector's JSON; the buffer's size stays the number that was written, such as 2e9."""
    role, rank = _RANKS[placed.role]
    head = {"kv_connector": "MooncakeConnector", "kv_role": role, "kv_rank": rank, "kv_parallel_size": 2}
    text = json.dumps(head, separators=(",", ":"))
    return f'{text[:-1]},"kv_buffer_size":{_buffer(placed)}}}'


def _buffer(placed: Placed) -> str:
    value = placed.settings.flags.get(_BUFFER_FLAG, _BUFFER)
    text = _short(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
    if not re.fullmatch(r"[1-9][0-9]{0,17}(\.[0-9]{1,9})?([eE]\+?[0-9]{1,2})?", text):
        field = f"{placed.role.value}.flags.{_BUFFER_FLAG}"
        raise ConfigError(field, value, "is not a number of bytes", "write one such as 2e9")
    return text


def _short(value: int | float) -> str:
    """Returns a number as people write it: 2e9 for 2000000000, and all digits where that is not longer."""
    whole = str(int(value)) if value == int(value) else repr(value)
    digits = whole.rstrip("0")
    zeros = len(whole) - len(digits)
    return f"{digits}e{zeros}" if whole.isdecimal() and zeros > 2 else whole


def _config(deployment: Deployment, prefill: Placed, decode: Placed) -> dict[str, str]:
    """Returns mooncake.json, which is the same for both workers."""
    first, second = _kv_port(prefill), _kv_port(decode)
    if prefill.address == decode.address and abs(first - second) < _DISTANCE:
        problem = f"is {abs(first - second)} from prefill's {first}, and one host needs {_DISTANCE} between them"
        raise ConfigError("decode.kv_port", second, problem, f"write {first + 100}")
    server = _metadata(deployment)
    config = {"prefill_url": _kv_url(prefill), "decode_url": _kv_url(decode), "metadata_server": str(server)}
    if server.bare:
        config["metadata_backend"] = server.scheme.value
    rdma = deployment.transport == "mooncake"
    return {**config, "protocol": "rdma" if rdma else "tcp", "device_name": _devices(prefill, decode) if rdma else ""}


def _kv_port(placed: Placed) -> int:
    assert placed.kv_port is not None, "the port defaults have one"
    return placed.kv_port


def _kv_url(placed: Placed) -> str:
    if ":" in placed.address:
        problem = "is an IPv6 address, which the V0 connector cannot split from its port"
        raise ConfigError(f"{placed.role.value}.hosts", placed.address, problem, "write a name or an IPv4 address")
    return f"{placed.address}:{_kv_port(placed)}"


def _metadata(deployment: Deployment) -> MetadataServer:
    spec = deployment.metadata
    if spec is None:
        problem = "is missing, and the V0 connector finds its peer by a metadata server alone"
        raise ConfigError("metadata.server", "", problem, "write HOST:2379, and metadata.start: true to start etcd")
    backend = Scheme(spec.backend) if spec.backend else Scheme.ETCD
    server = parse_metadata_server(spec.server, field="metadata.server", backend=backend)
    if server.scheme is Scheme.P2P:
        problem = "is not known to the V0 connector"
        raise ConfigError("metadata.server", spec.server, problem, "write an address such as etcd://HOST:2379")
    if spec.backend is not None and not server.bare and spec.backend != server.scheme.value:
        problem = f"is not what {spec.server} says"
        raise ConfigError("metadata.backend", spec.backend, problem, "leave it out")
    return server


def _devices(prefill: Placed, decode: Placed) -> str:
    """Returns the NICs that both workers use, since they read one file."""
    mine, theirs = device_names(prefill), device_names(decode)
    if mine != theirs:
        problem = "differ between prefill and decode, which share mooncake.json"
        raise ConfigError("nics", f"{mine or 'auto'} and {theirs or 'auto'}", problem, "write one list for both")
    if not mine:
        remedy = "write a list such as [mlx5_0], or transport: mooncake_tcp"
        raise ConfigError("nics", "auto", "names no device, which mooncake.json needs for RDMA", remedy)
    return mine


_ROLE_FIELDS = ("kv_port", "gpus", "base_gpu_id")
_WORKER_FIELDS = ("tp", "mem_fraction", "context_length", "page_size", "max_running_requests", "kv_cache_dtype")

DIALECT = Dialect(
    name="vllm-v0",
    title="vLLM V0 demo",
    engine="vllm",
    about="The demo of vLLM 0.6.4.post1 with mooncake.json and etcd; for what runs already, not for new deployments.",
    fields=frozenset(
        {
            *(f"{role}.{name}" for role in ("prefill", "decode") for name in _ROLE_FIELDS),
            *(f"workers.{name}" for name in (*_WORKER_FIELDS, "trust_remote_code", "nics")),
            *("nics", "metadata", "modelscope"),
        }
    ),
    transports=("mooncake", "mooncake_tcp"),
    routers=("proxy", "none"),
    ports=PortDefaults(
        http={Role.PREFILL: 8100, Role.DECODE: 8200},
        bootstrap=None,
        kv={Role.PREFILL: 13003, Role.DECODE: 13103},
        router=8000,
    ),
    gpu_selection="visible-devices",
    build=build,
    version="0.6.4.post1",
)
