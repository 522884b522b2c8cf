"""What deserves words about a deployment of SGLang that starts: translated spellings, needs, settings said in vain.

Pure: findings, each once, on the field that causes it.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...nic_probe.finding import Evidence, Finding, Severity
from ..deployment import Deployment
from ..deployment_parts import RoleSpec
from ..flags.translate import translate
from ..launch import Role
from . import sglang_rules as rules
from .placement import Placement, flags
from .sglang_epd import unfit_model
from .sglang_limits import DEFAULT_QUEUES
from .sglang_version import has_mooncake_tcp, version
from .sglang_worker import worker_arguments

__all__ = ["notes"]

_ROLES = (Role.PREFILL, Role.DECODE, Role.UNIFIED, Role.ENCODER)
_PAIR = (Role.PREFILL, Role.DECODE)
_FIRST_VERSION = (0, 4, 5, 2)
# No host has more: 8 GPUs are usual, 16 NPUs an Atlas A3.
_MOST_GPUS = 16
_BOTH_SIDES = ("disaggregation-decode-allocation-policy", "disaggregation-enable-kv-checksum")


def notes(placement: Placement) -> tuple[Finding, ...]:
    """Returns the findings, each subject once for a rule."""
    deployment = placement.deployment
    found = [*_versions(deployment), *_transport(deployment), *_model(deployment), *_pair_flags(deployment)]
    found += [*_ascend_store(placement), *_router_flags(placement)]
    for role in _ROLES:
        settings = deployment.settings(role.value)
        if settings.count:
            found += _parallel(deployment, settings, role)
            found += worker_arguments(placement, placement.first_ranks(role)[0]).findings
    once = {(finding.id, finding.subject, finding.reason): finding for finding in found}
    return tuple(once.values())


def _field(deployment: Deployment, role: Role, name: str) -> str:
    """Returns the field as the deployment has it: the role's own, or that of all workers."""
    own = getattr(getattr(deployment, role.value), name, None)
    return f"{role.value}.{name}" if own is not None else f"workers.{name}"


def _versions(deployment: Deployment) -> Iterator[Finding]:
    numbers = version(deployment)
    if numbers and numbers < _FIRST_VERSION:
        legacy = "Write dialect: sglang-legacy, or a newer version."
        yield rules.VERSION.finding(
            Severity.ERROR,
            "engine_version",
            (Evidence("engine_version", deployment.engine_version),),
            "This version does not have the options of these commands.",
            legacy,
        )


def _parallel(deployment: Deployment, settings: RoleSpec, role: Role) -> Iterator[Finding]:
    yield from _gpus(deployment, settings, role)
    if settings.elastic_ep == "mooncake":
        yield rules.ELASTIC_EP.finding(
            Severity.INFO,
            _field(deployment, role, "elastic_ep"),
            (Evidence("elastic_ep", "mooncake"),),
            "It needs mooncake-transfer-engine 0.3.11 or newer on every host.",
            "Check with `pip show mooncake-transfer-engine`.",
        )
    if settings.moe_a2a == "mooncake" and settings.ep not in (None, settings.tp or 1):
        tp = settings.tp or 1
        yield rules.EXPERT_PARALLEL.finding(
            Severity.WARNING,
            _field(deployment, role, "ep"),
            (Evidence("moe_a2a", "mooncake"), Evidence("ep", str(settings.ep)), Evidence("tp", str(tp))),
            f"SGLang takes ep {tp}, the size of tp.",
            f"Write {tp}, or leave it out.",
            str(tp),
        )


def _gpus(deployment: Deployment, settings: RoleSpec, role: Role) -> Iterator[Finding]:
    """Looks at one copy of the model; copies by dp without DP attention are judged where commands are."""
    tp, pp, nodes = settings.tp or 1, settings.pp or 1, settings.nodes
    if tp * pp // nodes <= _MOST_GPUS:
        return
    yield rules.GPUS.finding(
        Severity.ERROR,
        _field(deployment, role, "tp"),
        (Evidence(role.value, f"tp {tp} * pp {pp} = {tp * pp} GPUs on {nodes} {'node' if nodes == 1 else 'nodes'}"),),
        f"A worker of {role.value} takes {tp * pp // nodes} GPUs on each of its nodes.",
        f"Give the worker more nodes, such as {-(-tp * pp // 8)} of 8 GPUs: {role.value}.nodes.",
    )


def _transport(deployment: Deployment) -> Iterator[Finding]:
    numbers, transport = version(deployment), deployment.transport
    if not deployment.prefill.count:
        return
    if transport == "mooncake_tcp" and not has_mooncake_tcp(numbers):
        yield rules.FORCED_TCP.finding(
            Severity.INFO,
            "transport",
            (Evidence("engine_version", deployment.engine_version),),
            "This version has no backend mooncake_tcp, so it gets MC_FORCE_TCP=1 and no list of NICs.",
            "",
            "MC_FORCE_TCP=1",
        )
    for field, choice in _nics(deployment):
        why = {
            "mooncake_tcp": "KV travels over TCP, so the NICs are not named.",
            "ascend": "The transport ascend finds its devices by itself, so the NICs are not named.",
        }.get(transport)
        if transport == "nixl" and (deployment.nixl.backend or "UCX") != "UCX":
            why = f"NIXL reads the list for UCX alone, and its plug-in is {deployment.nixl.backend}."
        if why:
            yield rules.IGNORED.finding(
                Severity.INFO, field, (Evidence("nics", choice), Evidence("transport", transport)), why, "Leave it out."
            )
    limits = deployment.limits
    if limits.thread_pool is None and (limits.queue_size or 0) > DEFAULT_QUEUES:
        yield rules.QUEUES.finding(
            Severity.WARNING,
            "limits.queue_size",
            (Evidence("limits.queue_size", str(limits.queue_size)),),
            "Without a number, a host with few CPUs starts 4 threads, and prefill ends when there are more queues.",
            f"Write limits.thread_pool: {limits.queue_size} or more.",
        )
    floor = {"heartbeat_interval_s": 2.0, "heartbeat_max_failure": 1}
    for name, least in floor.items():
        value = getattr(limits, name)
        if value is not None and value < least:
            yield rules.IGNORED.finding(
                Severity.INFO,
                f"limits.{name}",
                (Evidence(f"limits.{name}", str(value)),),
                f"SGLang takes {least:g} for anything less.",
                f"Write {least:g} or more.",
                f"{least:g}",
            )


def _ascend_store(placement: Placement) -> Iterator[Finding]:
    text, first = placement.deployment.ascend.store_url, placement.first_ranks(Role.PREFILL)
    if text is None or not first or not first[0].node:
        return
    host = text.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    if host not in (first[0].address, first[0].node):
        yield rules.ASCEND_STORE.finding(
            Severity.WARNING,
            "ascend.store_url",
            (Evidence("ascend.store_url", text), Evidence(first[0].name, f"on {first[0].address}")),
            f"{first[0].name} opens the store, and it runs on {first[0].address}.",
            f"Write an address of {first[0].node}, unless {host} is one.",
        )


def _router_flags(placement: Placement) -> tuple[Finding, ...]:
    """Returns what sglang-router does not know of a person's flags for it."""
    router = placement.router
    if router is None or router.kind not in ("sglang-router", "mini_lb"):
        return ()
    return translate("sglang-router", "", flags(placement.deployment.router.flags)).findings


def _nics(deployment: Deployment) -> Iterator[tuple[str, str]]:
    """Yields the fields in which NICs are named, with what is written there."""
    parts = (("nics", deployment.nics), ("workers.nics", deployment.workers.nics))
    roles = ((f"{role.value}.nics", getattr(deployment, role.value).nics) for role in _PAIR)
    for field, choice in (*parts, *roles):
        if choice is not None and choice not in ("auto", "affinity"):
            yield field, ", ".join(choice)


def _model(deployment: Deployment) -> Iterator[Finding]:
    family = unfit_model(deployment.model) if deployment.encoder.count else ""
    if family:
        yield rules.ENCODER_MODEL.finding(
            Severity.WARNING,
            "model",
            (Evidence("model", deployment.model),),
            f"Models of {family} are not on SGLang's list for encoder disaggregation.",
            "Use a model such as Qwen/Qwen3-VL-8B-Instruct, or leave the encoders out.",
        )


def _pair_flags(deployment: Deployment) -> Iterator[Finding]:
    if not deployment.prefill.count:
        return
    sides = {role: deployment.settings(role.value).flags for role in _PAIR}
    for name in _BOTH_SIDES:
        values = {role: given.get(name) for role, given in sides.items()}
        if values[Role.PREFILL] != values[Role.DECODE]:
            yield rules.PAIR_FLAGS.finding(
                Severity.ERROR,
                f"flags.{name}",
                [Evidence(role.value, "not set" if value is None else str(value)) for role, value in values.items()],
                f"--{name} has to be the same on prefill and decode.",
                f"Write it once, in workers.flags.{name}.",
            )
    for role, given in sides.items():
        if "max-queued-requests" in given:
            yield rules.IGNORED.finding(
                Severity.INFO,
                f"{role.value}.flags.max-queued-requests",
                (Evidence(role.value, f"max-queued-requests {given['max-queued-requests']}"),),
                "SGLang does not read it in a pair of prefill and decode.",
                "Leave it out.",
            )
