"""Rules on what prefill and decode have to agree on for a KV page to mean the same on both sides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...nic_probe.checks.check import Check, Rule
from ...nic_probe.finding import Evidence, Finding, Severity
from .group import Group, attention_tp, is_mla, said, seen
from .worker import Engine, WorkerArguments, WorkerRole

__all__ = ["CHECKS"]

_PAGE_SIZE = Rule(
    "pd-page-size",
    "Prefill and decode have different page sizes",
    "A KV page has to hold the same number of tokens on both sides. Where it does not, requests hang and only the "
    "prefill side shows an error, or newer versions refuse.",
    ("sgl-project/sglang#14439", "sgl-project/sglang#14474"),
)
_TP = Rule(
    "pd-tensor-parallel",
    "Prefill and decode cut heads over different numbers of GPUs",
    "Without MLA every page is then sent in pieces of heads: slow, and under load it crashed. NIXL cannot do it at "
    "all when prefill has more ranks than decode, and models with sliding windows fail.",
    ("sgl-project/sglang#15674", "sgl-project/sglang#15665", "llm-d/llm-d#2433", "llm-d/llm-d#2187"),
)
_KV_DTYPE = Rule(
    "pd-kv-dtype",
    "Prefill and decode have different types of KV cache",
    "Bytes of one type read as another are garbage: answers become nonsense without an error.",
    ("sgl-project/sglang#19398", "sgl-project/sglang#36371"),
)
_STATE_DTYPE = Rule(
    "pd-state-dtype",
    "Prefill and decode have different types of recurrent state",
    "Models with Mamba or linear attention carry a state beside the KV cache; a different type or size of it is "
    "garbage without an error.",
    ("sgl-project/sglang#19398", "sgl-project/sglang#36371"),
)
_MODEL = Rule(
    "pd-model",
    "Prefill and decode serve different models",
    "Another model, revision or quantisation makes other KV: the halves refuse each other or answer nonsense. "
    "Another served name lets the router find no worker for it.",
    ("SGLang source: disaggregation/common/conn.py",),
)
_CONTEXT = Rule(
    "pd-context-length",
    "Decode takes shorter requests than prefill",
    "A prompt that prefill accepts and decode refuses fails only after its KV was computed.",
    ("SGLang source: disaggregation/common/conn.py",),
)
_BACKEND = Rule(
    "pd-transfer-backend",
    "Prefill and decode use different transports",
    "Each transport has its own handshake, so the two cannot talk to each other.",
    ("SGLang documentation: PD disaggregation",),
)
_MODE = Rule(
    "pd-mode",
    "A role is missing, or both halves have the same one",
    "Without --disaggregation-mode a SGLang server does both halves itself; two prefill workers wait for a decode "
    "worker for ever.",
    ("SGLang documentation: PD disaggregation", "sgl-project/sglang#6215"),
)
_BOTH_SIDES = Rule(
    "pd-both-sides",
    "An option that both halves need is set on one alone",
    "KV checksums, the decode allocation policy and the custom memory pool change what the two exchange.",
    ("SGLang documentation: PD disaggregation", "SGLang documentation: environment variables"),
)
_VERSIONS = Rule(
    "pd-versions",
    "Processes have different versions of the engine",
    "The protocol between the halves changes between versions and is checked by few of them.",
    ("Mooncake documentation: troubleshooting",),
)

_NARROW = ("fp8", "fp4", "int8", "int4", "nvfp4", "mxfp")


def _sides(workers: Sequence[WorkerArguments], name: str) -> tuple[dict[str, WorkerArguments], WorkerArguments | None]:
    """Returns the first worker of each stated value, and one that leaves the value to its engine."""
    values: dict[str, WorkerArguments] = {}
    silent: WorkerArguments | None = None
    for worker in workers:
        value = said(worker, name)
        if value:
            values.setdefault(value, worker)
        else:
            silent = silent or worker
    return values, silent


def _differs(
    group: Group,
    rule: Rule,
    name: str,
    severity: Severity,
    reason: str,
    remedy: str,
    silent_severity: Severity | None = Severity.WARNING,
) -> list[Finding]:
    """Finds an argument that is not the same on all workers of a pair."""
    values, silent = _sides(group.pair, name)
    if len(values) > 1:
        return [rule.finding(severity, name, [seen(worker, name) for worker in values.values()], reason, remedy)]
    if values and silent is not None and silent_severity is not None and not silent.resolved:
        (value, worker), *_ = values.items()
        if value in {"auto", "none"}:
            return []
        reason = f"{worker.name} sets {name}, and {silent.name} leaves it to its engine, which may choose another."
        return [rule.finding(silent_severity, name, (seen(worker, name), seen(silent, name)), reason, remedy, value)]
    return []


def page_size(group: Group) -> list[Finding]:
    """Finds different page sizes (vLLM: block sizes)."""
    reason = "A KV page holds another number of tokens on prefill than on decode, so requests hang or are refused."
    remedy = "Give both the same --page-size (vLLM: --block-size)."
    return _differs(group, _PAGE_SIZE, "page_size", Severity.ERROR, reason, remedy)


def _unlike(workers: Iterable[WorkerArguments]) -> list[WorkerArguments]:
    """Returns the first of each kind of worker that `tensor_parallel` tells apart."""
    kinds: dict[tuple[int, str, str], WorkerArguments] = {}
    for worker in workers:
        key = (attention_tp(worker), worker.get("model_path"), said(worker, "disaggregation_transfer_backend"))
        kinds.setdefault(key, worker)
    return list(kinds.values())


def tensor_parallel(group: Group) -> list[Finding]:
    """Finds different tensor parallel sizes where they matter."""
    prefills, decodes = _unlike(group.of_role(WorkerRole.PREFILL)), _unlike(group.of_role(WorkerRole.DECODE))
    for prefill in prefills:
        for decode in decodes:
            left, right = attention_tp(prefill), attention_tp(decode)
            # The bundled engine gathers the heads that a rank needs and sends them in one piece, in any numbers.
            own = prefill.engine is decode.engine is Engine.BUNDLED
            if left == right or own or is_mla((prefill, decode)):
                continue
            evidence = (seen(prefill, "tp_size"), seen(decode, "tp_size"))
            nixl = "nixl" in said(prefill, "disaggregation_transfer_backend").lower()
            if nixl and left > right:
                reason = f"NIXL cannot send the KV of {left} prefill ranks to {right} decode ranks."
                severity = Severity.ERROR
            elif max(left, right) % min(left, right):
                reason = f"{left} and {right} ranks do not divide each other, so heads cannot be cut."
                severity = Severity.ERROR
            else:
                reason = f"{left} ranks send to {right}: each page travels in pieces of heads, slow under load."
                severity = Severity.WARNING
            remedy = "Give both the same --tp-size (and --attn-dp-size)."
            return [_TP.finding(severity, f"{prefill.name} and {decode.name}", evidence, reason, remedy)]
    return []


def kv_dtype(group: Group) -> list[Finding]:
    """Finds different types of KV cache."""
    reason = "The KV cache of prefill is read as another type by decode, so answers become garbage without an error."
    remedy = "Give both the same --kv-cache-dtype (and --dtype)."
    values = _sides(group.pair, "kv_cache_dtype")[0]
    # "auto" is the type of the weights, which an explicit 16-bit type may well be.
    may_agree = "auto" in values and not any(value.startswith(_NARROW) for value in values)
    severity = Severity.WARNING if may_agree else Severity.ERROR
    found = _differs(group, _KV_DTYPE, "kv_cache_dtype", severity, reason, remedy)
    if found or values.keys() != {"auto"}:
        return found
    # An automatic KV type follows the type of the weights.
    return _differs(group, _KV_DTYPE, "dtype", Severity.ERROR, reason, remedy)


def state_dtype(group: Group) -> list[Finding]:
    """Finds different types of recurrent state."""
    reason = "The recurrent state of prefill is read as another type or size by decode, so answers become garbage."
    remedy = "Give both the same --mamba-ssm-dtype (vLLM: --mamba-ssm-cache-dtype) and state options."
    for name in ("mamba_ssm_dtype", "mamba_conv_dtype", "mamba_track_interval", "linear_attn_state_dtype"):
        if found := _differs(group, _STATE_DTYPE, name, Severity.ERROR, reason, remedy):
            return found
    return []


def model(group: Group) -> list[Finding]:
    """Finds different models, revisions, quantisations and served names."""
    found: list[Finding] = []
    paths = {_model_name(path): worker for worker in group.pair if (path := worker.get("model_path"))}
    if len(paths) > 1:
        evidence = [seen(worker, "model_path") for worker in paths.values()]
        reason = "Prefill and decode load different models, so the KV of one means nothing to the other."
        found.append(_MODEL.finding(Severity.ERROR, "model_path", evidence, reason, "Give both the same model."))
    for name, severity, reason in (
        ("revision", Severity.ERROR, "Prefill and decode load different revisions of the model."),
        ("quantization", Severity.WARNING, "Prefill and decode load the weights in different quantisations."),
        ("served_model_name", Severity.WARNING, "Clients see the model under different names."),
    ):
        if group.pair and group.pair[0].engine is Engine.BUNDLED and name == "served_model_name":
            continue
        found += _differs(
            group, _MODEL, name, severity, reason, f"Give both the same --{name.replace('_', '-')}.", None
        )
    return found


def _model_name(path: str) -> str:
    """Returns what two paths to one model have in common: hosts keep models in different folders."""
    local = path.startswith(("/", ".", "~", "$"))
    name = path.rstrip("/").rpartition("/")[2] if local else path.rpartition("/")[2]
    return name.lower()


def context_length(group: Group) -> list[Finding]:
    """Finds a decode worker that takes shorter requests than a prefill worker."""
    limits = [(decode, decode.number("context_length", 0)) for decode in group.of_role(WorkerRole.DECODE)]
    for prefill in group.of_role(WorkerRole.PREFILL):
        left = prefill.number("context_length", 0)
        shorter = next(((decode, limit) for decode, limit in limits if 0 < limit < left), None) if left else None
        if shorter is not None:
            decode, right = shorter
            evidence = (seen(prefill, "context_length"), seen(decode, "context_length"))
            reason = f"Requests of more than {right} tokens pass prefill and fail on decode."
            remedy = "Give decode a --context-length of at least prefill's."
            return [_CONTEXT.finding(Severity.ERROR, decode.name, evidence, reason, remedy, str(left))]
    return []


def transfer_backend(group: Group) -> list[Finding]:
    """Finds different transports, asked for or in use."""
    reason = "The two halves use different transports and cannot exchange KV."
    remedy = "Give both the same --disaggregation-transfer-backend (vLLM: kv_connector)."
    found = _differs(group, _BACKEND, "disaggregation_transfer_backend", Severity.ERROR, reason, remedy, None)
    return found or _differs(group, _BACKEND, "transport_used", Severity.ERROR, reason, remedy, None)


def mode(group: Group) -> list[Finding]:
    """Finds roles that are missing or the same on both sides."""
    instances = [worker for worker in group.servers if worker.number("node_rank", 0) == 0]
    roles = {worker.role for worker in instances}
    routed = {target.role for target in group.targets}
    evidence = [Evidence(worker.source, f"{worker.name}: {worker.role.value}") for worker in instances]
    if WorkerRole.UNKNOWN in roles or not instances:
        return []
    is_vllm = any(worker.engine is Engine.VLLM for worker in instances)
    option = "kv_role" if is_vllm else "--disaggregation-mode"
    remedy = "Start prefill with --disaggregation-mode prefill and decode with --disaggregation-mode decode."
    if is_vllm:
        remedy = "Give prefill the kv_role kv_producer and decode kv_consumer."
    if WorkerRole.UNIFIED in roles and roles & {WorkerRole.PREFILL, WorkerRole.DECODE}:
        if {WorkerRole.PREFILL, WorkerRole.DECODE} <= roles and WorkerRole.UNIFIED in routed:
            return []
        reason = f"A worker has no {option}, so it serves alone beside the other half."
    elif roles == {WorkerRole.UNIFIED} and routed & {WorkerRole.PREFILL, WorkerRole.DECODE}:
        reason = f"The router expects prefill and decode, and no worker has a {option}."
    elif len(instances) > 1 and len(roles) == 1 and roles & {WorkerRole.PREFILL, WorkerRole.DECODE}:
        (role,) = roles
        other = "decode" if role is WorkerRole.PREFILL else "prefill"
        if group.several_nodes and not group.of_role(WorkerRole.ROUTER):
            return []
        if not group.of_role(WorkerRole.ROUTER):
            # Each host may have a script, or a log, of its own.
            reason = f"All workers are {role.value} workers; a {other} worker has to be started elsewhere."
            return [_MODE.finding(Severity.WARNING, option, evidence, reason, remedy)]
        reason = f"All workers are {role.value} workers, and no {other} worker is there."
    else:
        return []
    return [_MODE.finding(Severity.ERROR, option, evidence, reason, remedy)]


def both_sides(group: Group) -> list[Finding]:
    """Finds options that only one half has."""
    found: list[Finding] = []
    for name in (
        "disaggregation_enable_kv_checksum",
        "disaggregation_decode_allocation_policy",
        "enable_unified_memory",
    ):
        values = {worker.get(name, "unset"): worker for worker in group.pair}
        if len(values) > 1:
            evidence = [seen(worker, name) for worker in values.values()]
            reason = f"{name} is not the same on prefill and decode, and both have to know of it."
            remedy = f"Set --{name.replace('_', '-')} on both or on neither."
            found.append(_BOTH_SIDES.finding(Severity.WARNING, name, evidence, reason, remedy))
    for variable in ("SGLANG_MOONCAKE_CUSTOM_MEM_POOL", "MC_FORCE_MNNVL", "SGLANG_DISAGG_STAGING_BUFFER"):
        states = {variable in worker.env: worker for worker in group.pair}
        if len(states) > 1:
            evidence = [
                Evidence(worker.source, f"{worker.name}: {variable} {'set' if is_set else 'not set'}")
                for is_set, worker in states.items()
            ]
            reason = f"{variable} is set for one half alone."
            found.append(_BOTH_SIDES.finding(Severity.WARNING, variable, evidence, reason, "Set it for both."))
    return found


def versions(group: Group) -> list[Finding]:
    """Finds different versions of one engine or of Mooncake."""
    found: list[Finding] = []
    for engine in (Engine.SGLANG, Engine.VLLM, Engine.BUNDLED):
        known = {worker.version: worker for worker in group.servers if worker.engine is engine and worker.version}
        if len(known) > 1:
            evidence = [Evidence(worker.source, f"{worker.name}: {version}") for version, worker in known.items()]
            reason = f"The workers run different versions of {engine.value}."
            found.append(
                _VERSIONS.finding(Severity.WARNING, engine.value, evidence, reason, "Install one version everywhere.")
            )
    engines = {worker.engine: worker for worker in group.pair}
    if len(engines) > 1:
        evidence = [Evidence(worker.source, f"{worker.name}: {engine.value}") for engine, worker in engines.items()]
        reason = "Prefill and decode are different programs, whose KV and handshakes do not fit."
        found.append(_VERSIONS.finding(Severity.ERROR, "engine", evidence, reason, "Use one engine for both halves."))
    return found


CHECKS: tuple[Check[Group], ...] = (
    Check(_MODE, mode),
    Check(_MODEL, model),
    Check(_PAGE_SIZE, page_size),
    Check(_TP, tensor_parallel),
    Check(_KV_DTYPE, kv_dtype),
    Check(_STATE_DTYPE, state_dtype),
    Check(_CONTEXT, context_length),
    Check(_BACKEND, transfer_backend),
    Check(_BOTH_SIDES, both_sides),
    Check(_VERSIONS, versions),
)
