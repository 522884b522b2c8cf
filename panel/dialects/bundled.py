"""The bundled engine's commands: SGLang's flags with another module name.

Pure functions from a Placement to ProcessSpecs. Workers wait for the metadata server alone, and the router for nobody:
all are spawned at once, since the router's own `/readiness` waits for its workers.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator

from ...engine.errors import ConfigError
from ...nic_probe.checks.check import Rule
from ...nic_probe.finding import Evidence, Finding, Severity
from ..launch import PlannedFile, Preparation, ProcessSpec, Readiness, Role
from .bundled_parallel import check_parallel, encoder_side, machines_of, meeting_side, parallel_side, ranks_of
from .dialect import Dialect, Draft, PortDefaults
from .placement import Placed, PlacedRouter, Placement, flag, flags, url
from .servers import server_processes
from .sglang_arguments import group_arguments, size_arguments
from .sglang_limits import check_limits, limit_env
from .sglang_worker import gpu_env
from .smoke_request import generate_request

__all__ = ["DIALECT", "RULES", "build", "router_process"]

_READY_TIMEOUT_S = 600.0
# Of a GPU's memory for weights and KV of all its workers; activations, graphs and CUDA itself need the rest, for each.
_GPU_SHARE_PERCENT = 86
_PREFILL_NICENESS = 10
_MODES = {Role.PREFILL: "prefill", Role.DECODE: "decode", Role.UNIFIED: "null"}
_PAIR = (Role.PREFILL, Role.DECODE)
_CLOCK = Rule(
    "bundled-several-machines",
    "Workers of the bundled engine on machines with clocks of their own",
    "Decode grants pages for a time, which is told in seconds of the kernel's monotonic clock. Containers and network "
    "namespaces of one machine share that clock; machines do not, so that requests fail, or pages of a dead worker are "
    "used again too early.",
    ("docs/architecture.md",),
)
RULES = (_CLOCK,)
_FILE = "mooncake.json"
_PROMPT = "The capital of France is"
_MODULE = "pdpanel.engine.launch_server"


def build(placement: Placement) -> Draft:
    """Returns the commands; decode starts first, since prefill asks for its pages, and encoders before both.

    Raises:
        ConfigError: the engine would refuse what the deployment asks for.
    """
    order = {Role.ENCODER: 0, Role.DECODE: 1, Role.UNIFIED: 1, Role.PREFILL: 2}
    check_limits(placement.deployment.limits)
    check_parallel(placement)
    _check_transport(placement)
    servers = server_processes(placement)
    waits = tuple(server.name for server in servers)
    workers = sorted(placement.workers, key=lambda placed: order[placed.role])
    processes = [_worker(placement, placed, waits) for placed in workers]
    router, asked = placement.router, placement.deployment.smoke_test
    if router is not None:
        processes.append(router_process(placement, router))
    return Draft(
        processes=(*servers, *processes),
        files=_files(placement),
        env={"SGLANG_USE_MODELSCOPE": "true"} if placement.deployment.modelscope else {},
        prepare=_preparation(placement),
        requests=(generate_request(router, asked, _PROMPT),) if router else (),
        findings=tuple(_notes(placement)),
    )


def _check_transport(placement: Placement) -> None:
    nodes = machines_of(placement, *_PAIR)
    if placement.deployment.transport == "shm" and placement.several_nodes and len(nodes) > 1:
        problem = f"reaches workers of one host alone, and these are on {len(nodes)}"
        raise ConfigError("transport", "shm", problem, "write transport: mooncake or tcp")


def _notes(placement: Placement) -> Iterator[Finding]:
    nodes = sorted(machines_of(placement, *_PAIR))
    if placement.several_nodes and len(nodes) > 1:
        evidence = (Evidence("the deployment's hosts", ", ".join(nodes[:8])),)
        reason = "Prefill and decode workers on different machines do not agree on when a grant of pages ends."
        remedy = "Keep prefill and decode of the bundled engine on one machine; use SGLang or vLLM for several."
        yield _CLOCK.finding(Severity.WARNING, "hosts", evidence, reason, remedy)


def _worker(placement: Placement, placed: Placed, waits: tuple[str, ...]) -> ProcessSpec:
    deployment = placement.deployment
    argv = [placement.python, "-m", _MODULE, *flag("model-path", deployment.model)]
    if deployment.served_model_name:
        argv += flag("served-model-name", deployment.served_model_name)
    if placed.role in _MODES:
        argv += flag("disaggregation-mode", _MODES[placed.role])
    argv += [*flag("host", placed.address), *flag("port", placed.port)]
    ports = {"http": placed.port}
    if placed.bootstrap_port is not None:
        argv += flag("disaggregation-bootstrap-port", placed.bootstrap_port)
    if placed.role in _PAIR:
        argv += flag("disaggregation-transfer-backend", deployment.transport)
    if placed.nics:
        argv += flag("disaggregation-ib-device", placed.nics)
    if placed.rank == 0:
        ports |= {} if placed.bootstrap_port is None else {"bootstrap": placed.bootstrap_port}
        ports |= {"dist": int(placed.dist_init.rpartition(":")[2])} if placed.dist_init else {}
    argv += [*encoder_side(placement, placed), *_shared_cores(placement, placed)]
    argv += [*group_arguments(placed), *meeting_side(placement, placed, _timeout(placement))]
    argv += [*parallel_side(placed), *_memory_share(placement, placed)]
    argv += [*size_arguments(placed.settings), *flags(placed.settings.flags)]
    return ProcessSpec(
        name=placed.name,
        role=placed.role,
        node=placed.node or placement.local_name,
        argv=tuple(argv),
        env={**_env(placement), **gpu_env(placement, placed), **_transfer_env(placement, placed)},
        cwd="",
        ports=ports,
        ready=Readiness(url(placed.address, placed.port, "/health"), _timeout(placement)),
        log=f"{placed.name}.log",
        gpus=tuple(str(gpu) for gpu in placed.gpus),
        after=waits,
        # The first node of a worker speaks for all of its ranks.
        metrics_url="" if placed.rank else url(placed.address, placed.port, "/metrics"),
        info_url="" if placed.rank else url(placed.address, placed.port, "/server_info"),
        rank=placed.rank,
    )


def _shared_cores(placement: Placement, placed: Placed) -> list[str]:
    """Lets prefill beside decode compute with all cores that decode leaves: no answer's token waits for a prompt.

    The decode workers of a node share all its cores, which are theirs whenever no prompt is computed, and leave more of
    them while prompts pile up. Threads are those of a rank.
    """
    others = {Role.PREFILL: Role.DECODE, Role.DECODE: Role.PREFILL}
    # All nodes of a worker have the same arguments.
    if placed.role not in others or placed.gpus or placement.cores < 2 or placed.settings.nodes > 1:
        return []
    if not any(other.node == placed.node for other in placement.of_role(others[placed.role])):
        return []
    own = placed.settings.flags
    if placed.role is Role.DECODE:
        alike = sum(ranks_of(other) for other in placement.of_role(Role.DECODE) if other.node == placed.node)
        return [
            *(flag("threads", max(1, placement.cores // alike)) if "threads" not in own else ()),
            *(["--yield-to-prefill"] if "yield-to-prefill" not in own else ()),
        ]
    return [
        *(flag("threads", max(1, placement.cores // ranks_of(placed))) if "threads" not in own else ()),
        *(flag("niceness", _PREFILL_NICENESS) if "niceness" not in own else ()),
    ]


def _memory_share(placement: Placement, placed: Placed) -> tuple[str, ...]:
    """Returns what a rank may take of a GPU that other ranks of the plan compute on, too: equal parts."""
    settings = placed.settings
    if settings.mem_fraction is not None or "mem-fraction-static" in settings.flags:
        return ()
    own = set(placed.gpus)
    sharing = [one for one in placement.workers if one.node == placed.node and not own.isdisjoint(one.gpus)]
    sharers = sum(math.ceil(ranks_of(one) / len(one.gpus)) for one in sharing)
    return flag("mem-fraction-static", math.floor(_GPU_SHARE_PERCENT / sharers) / 100) if sharers > 1 else ()


def router_process(placement: Placement, placed: PlacedRouter) -> ProcessSpec:
    """Returns the bundled router's process; it serves SGLang's workers, too."""
    deployment = placement.deployment
    argv = [placement.python, "-m", "pdpanel.engine.launch_router", *flag("host", placed.listen)]
    argv += [*flag("port", placed.port), *flag("policy", deployment.router.policy or "round_robin")]
    unified = placement.first_ranks(Role.UNIFIED)
    if unified:
        argv += ["--worker-urls", *(url(worker.address, worker.port) for worker in unified)]
    else:
        argv.append("--pd-disaggregation")
        for worker in placement.first_ranks(Role.PREFILL):
            argv += ["--prefill", url(worker.address, worker.port), str(worker.bootstrap_port)]
        for worker in placement.first_ranks(Role.DECODE):
            argv += ["--decode", url(worker.address, worker.port)]
    argv += flags(deployment.router.flags)
    return ProcessSpec(
        name="router",
        role=Role.ROUTER,
        node=placed.node or placement.local_name,
        argv=tuple(argv),
        env=_env(placement),
        cwd="",
        ports={"http": placed.port},
        ready=Readiness(url(placed.address, placed.port, "/readiness"), _timeout(placement)),
        log="router.log",
    )


def _preparation(placement: Placement) -> Preparation | None:
    """The step that fetches and converts the model; only a run has a folder to do that in."""
    ids, model = placement.ids, placement.deployment.model
    if ids is None:
        return None
    return Preparation(
        argv=(placement.python, "-m", "pdpanel.engine.model.prepare", model),
        env={**_env(placement), **placement.deployment.env, "PDPANEL_RUN_ID": ids.run_id, "PDPANEL_PROCESS": "model"},
        cwd=ids.run_dir,
        marker=hashlib.sha256(f"{ids.cache_dir}\0{model}".encode()).hexdigest()[:24],
        cache_dir=ids.cache_dir,
    )


def _env(placement: Placement) -> dict[str, str]:
    env = {"PYTHONUNBUFFERED": "1"}
    if placement.threads:
        env["OMP_NUM_THREADS"] = str(placement.threads)
    if placement.ids is not None:
        env["PDPANEL_CACHE_DIR"] = placement.ids.cache_dir
    return env


def _transfer_env(placement: Placement, placed: Placed) -> dict[str, str]:
    """The band in which Mooncake's engine listens, on all addresses; its metadata server; limits and timeouts."""
    if placed.role not in _PAIR and not _moves_by_mooncake(placement, placed):
        return {}
    env = limit_env(placement.deployment.limits, placed.role)
    if (band := placement.rpc_ports.get(placed.node)) is not None:
        env |= {"MC_MIN_RPC_PORT": str(band[0]), "MC_MAX_RPC_PORT": str(band[1])}
    return env | ({"MOONCAKE_CONFIG_PATH": f"./{_FILE}"} if placement.deployment.metadata else {})


def _moves_by_mooncake(placement: Placement, placed: Placed) -> bool:
    """Whether a Transfer Engine carries a worker's images or its experts' tokens."""
    settings, deployment = placed.settings, placement.deployment
    if deployment.encoder.count and placed.role in {Role.ENCODER, Role.UNIFIED}:
        own = deployment.settings("encoder").encoder_transfer
        return (settings.encoder_transfer or own) == "mooncake" or settings.moe_a2a == "mooncake"
    return settings.moe_a2a == "mooncake"


def _files(placement: Placement) -> tuple[PlannedFile, ...]:
    """One mooncake.json for each node, with the keys of SGLang's first Mooncake document."""
    deployment = placement.deployment
    if deployment.metadata is None:
        return ()
    nodes = {placed.node: placed.address for placed in placement.workers if placed.role in _PAIR}
    protocol = "rdma" if deployment.transport == "mooncake" else "tcp"
    files: list[PlannedFile] = []
    for node, address in nodes.items():
        fields = {
            "local_hostname": address,
            "metadata_server": deployment.metadata.server,
            "protocol": protocol,
            "device_name": "",
        }
        files.append(PlannedFile(_FILE, json.dumps(fields, indent=2) + "\n", node))
    return tuple(files)


def _timeout(placement: Placement) -> float:
    return placement.deployment.limits.ready_timeout_s or _READY_TIMEOUT_S


DIALECT = Dialect(
    name="bundled",
    title="Bundled engine",
    engine="bundled",
    about="pdpanel's own engine: it runs on a laptop without a GPU, with SGLang's flags and routes.",
    fields=frozenset(
        {
            *("unified.count", "unified.hosts", "unified.port", "prefill.bootstrap_port", "nics", "workers.nics"),
            *("metadata.server", "metadata.start", "metadata.node", "modelscope"),
            *("limits.bootstrap_timeout_s", "limits.waiting_timeout_s"),
            *(f"workers.{name}" for name in ("context_length", "page_size", "chunked_prefill_size", "kv_cache_dtype")),
            *("workers.mem_fraction", "workers.max_running_requests"),
            *(f"workers.{name}" for name in ("tp", "dp", "dp_attention", "attn_dp", "ep", "moe_a2a", "elastic_ep")),
            *(f"{role}.{name}" for role in ("prefill", "decode", "unified") for name in ("nodes", "dist_port")),
            *(f"encoder.{name}" for name in ("count", "hosts", "port", "flags", "env", "run")),
            *(f"{role}.encoder_transfer" for role in ("encoder", "prefill", "unified")),
        }
    ),
    transports=("mooncake", "mooncake_tcp", "nixl", "shm", "tcp"),
    routers=("bundled",),
    ports=PortDefaults(http=dict.fromkeys((Role.PREFILL, Role.DECODE, Role.UNIFIED, Role.ENCODER), 30000)),
    gpu_selection="none",
    build=build,
    shares_gpus=True,
)
