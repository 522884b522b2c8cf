"""What is to be said about plans for vLLM: what listens where, what a plan leaves to the person, what a version lacks.

Pure. Called by the dialects of vLLM.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...nic_probe.checks.check import Rule
from ...nic_probe.finding import Evidence, Finding, Severity
from ..deployment import Deployment
from .placement import Placement
from .vllm_arguments import prints_host
from .vllm_version import version

__all__ = [
    "RULES",
    "listening_findings",
    "program_findings",
    "store_findings",
    "v0_findings",
]

_LISTENS = Rule(
    "vllm-listens-everywhere",
    "vLLM listens on all addresses unless it is told one",
    "vllm serve without --host binds 0.0.0.0, and answers without a key to everybody who reaches the host. Its "
    "documents leave the option out, and so does a plan in which the deployment's host is not written.",
    ("vLLM's document of MooncakeConnector", "vLLM 0.32: api_server binds all addresses without --host"),
)
_LOOPBACK = Rule(
    "vllm-proxy-loopback",
    "vLLM's example proxies listen on loopback unless they are told an address",
    "Their --host has the default 127.0.0.1 or localhost, so clients on other hosts do not reach them.",
    ("vLLM: examples/disaggregated/mooncake_connector/mooncake_connector_proxy.py",),
)
_SOURCE = Rule(
    "vllm-proxy-source",
    "The proxy is a file of vLLM's source, not of its package",
    "vLLM's example proxies lie in its repository below examples/ and tests/, and have moved from release to release. "
    "A node with the package alone does not have them.",
    ("vLLM's documentation 0.15, 0.21 and 0.32: MooncakeConnector",),
)
_CLIENT = Rule(
    "store-client-needed",
    "A standalone store needs a mooncake_client that owns the memory",
    "In mode standalone-store the workers lend nothing; memory and SSD space are those of mooncake_client processes "
    "that somebody starts. Without one the store holds nothing.",
    ("vLLM's document of MooncakeStoreConnector",),
)
_ENGINE = Rule(
    "vllm-v0-engine",
    "The V0 connector's JSON is refused by the V1 engine",
    "kv_rank, kv_parallel_size and kv_buffer_size belong to the V0 engine, which 0.8.5 no longer starts by default and "
    "0.11 no longer has. Today's KVTransferConfig forbids unknown keys.",
    ("Mooncake's vLLM V0 document", "vLLM's packages 0.8.5 to 0.32 compared"),
)
_BUILD = Rule(
    "vllm-v0-mooncake-build",
    "vLLM up to 0.8.4 needs a Mooncake built from source",
    "These versions import mooncake_vllm_adaptor. Mooncake's first wheels had it up to 0.3.3.post2; newer ones do not.",
    ("Mooncake's vLLM V0 document",),
)
RULES = (_LISTENS, _LOOPBACK, _SOURCE, _CLIENT, _ENGINE, _BUILD)

_MOVED = (0, 32)
_LAST_V0 = (0, 8, 4)


def listening_findings(placement: Placement) -> Iterator[Finding]:
    """Says that workers without named hosts listen on all addresses."""
    deployment = placement.deployment
    open_workers = [each for each in placement.workers if not each.node and not prints_host(deployment, each)]
    if open_workers:
        yield _LISTENS.finding(
            Severity.WARNING,
            "host",
            (Evidence("vllm serve", f"port {', '.join(str(each.port) for each in open_workers)} without --host"),),
            "Everybody who reaches this host can use the model.",
            "Write host: localhost in the deployment, or close the ports to others.",
        )


def program_findings(placement: Placement, path: str) -> Iterator[Finding]:
    """Says where an example proxy comes from, and that it is reached from its own host alone."""
    deployment, router = placement.deployment, placement.router
    numbers = version(deployment)
    moved = bool(numbers) and numbers < _MOVED
    yield _SOURCE.finding(
        Severity.WARNING if moved else Severity.INFO,
        "router",
        (Evidence("router", path),),
        "It is started from the folder that holds vLLM's source."
        + (f" In vLLM {deployment.engine_version} it may lie elsewhere." if moved else ""),
        "Set router.run.cwd to a checkout of the same version, or router.kind: vllm-router.",
    )
    told = deployment.router.host is not None or deployment.encoder.count > 0
    if router is not None and router.node and not told:
        yield _LOOPBACK.finding(
            Severity.INFO,
            "router.host",
            (Evidence("router", f"no --host, so it listens on 127.0.0.1 of {router.node}"),),
            "Clients on other hosts do not reach it.",
            "Set router.host: 0.0.0.0 or to an address of that host.",
        )


def store_findings(deployment: Deployment) -> Iterator[Finding]:
    """Says that a standalone store has a process that the plan does not start."""
    store = deployment.store
    if store is not None and store.kind == "connector" and store.mode == "standalone-store":
        yield _CLIENT.finding(
            Severity.WARNING,
            "store.mode",
            (Evidence("store.mode", store.mode),),
            f"The plan starts no mooncake_client for the master {store.master}.",
            "Start one on each host that lends memory, and set MOONCAKE_PREFERRED_SEGMENT in the workers' env.",
        )


def v0_findings(deployment: Deployment) -> Iterator[Finding]:
    """Says what the version makes of the V0 demo; without one, what the demo's own version needs."""
    numbers = version(deployment)
    shown = deployment.engine_version or "0.6.4.post1, the document's"
    if numbers > _LAST_V0:
        yield _ENGINE.finding(
            Severity.ERROR,
            "engine_version",
            (Evidence("engine_version", shown), Evidence("--kv-transfer-config", "kv_rank, kv_parallel_size")),
            f"vLLM {shown} runs the V1 engine, which refuses these keys.",
            "Set dialect: vllm, whose MooncakeConnector needs no mooncake.json.",
            "vllm",
        )
    else:
        yield _BUILD.finding(
            Severity.INFO,
            "engine_version",
            (Evidence("engine_version", shown),),
            "Today's wheels of Mooncake have no mooncake_vllm_adaptor.",
            "Build Mooncake from source, or install mooncake-transfer-engine 0.3.3.post2.",
        )
