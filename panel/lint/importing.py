"""Turns commands that somebody has into a Deployment, and says what it cannot express.

Pure: texts go in, a Deployment and findings come out, and no text raises. What was read is checked by rendering it
again: an option that the deployment's commands have not is put into flags, and what still differs is a finding, so
nothing is lost without a word. Called by `pdpanel import` and by the Plan tab.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ...engine.errors import CapacityError, ConfigError
from ...nic_probe.finding import Evidence, Finding, Severity
from ..deployment import Deployment, parse_deployment_text
from ..dialects.dialect import Dialect
from ..dialects.registry import DIALECTS
from ..doctor.agreement import sorted_findings
from ..doctor.command import WrittenCommand
from ..doctor.group import make_group, split_deployments
from ..doctor.worker import Engine, WorkerRole
from ..flags.version import version_of
from .commands import read_commands
from .configs import config_fields
from .draft import DeploymentDraft
from .import_compare import Difference
from .import_connector import connector_names, read_connector
from .import_env import read_common_env, read_role_env
from .import_roles import ROLES, RoleReading, read_role
from .import_router import read_router, read_servers
from .import_settle import settle
from .json_text import embedded_objects
from .kind import Kind, recognise
from .manifests import manifest_commands
from .mooncake_keys import mooncake_dialects
from .rules import DEPLOYMENT, LOST, NOTHING, TOO_LARGE

__all__ = ["Imported", "import_text", "import_texts"]

_MOST_COMMANDS = 1024
_MOST_WORDS = 1000
_MOST_SHOWN = 64
_ENGINES = {Engine.SGLANG: "sglang", Engine.VLLM: "vllm", Engine.BUNDLED: "bundled"}
_CONFIG_PATHS = frozenset({"MOONCAKE_CONFIG_PATH", "SGLANG_HICACHE_MOONCAKE_CONFIG_PATH", "LMCACHE_CONFIG_FILE"})
_VERSION = re.compile(r"v?[0-9]{1,4}(?:\.[0-9]{1,4}){1,3}[a-z0-9.+-]{0,40}\Z")


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of a text.

    Attributes:
        deployment: None when the text starts no worker.
        findings: what a deployment cannot say, the gravest first.
    """

    deployment: Deployment | None
    findings: tuple[Finding, ...]


def import_text(text: str, name: str = "imported") -> Imported:
    """Returns the Deployment that launch commands describe.

    Args:
        text: commands, a script, a compose file, a manifest, or a deployment, which comes back as it is.
        name: of the deployment; what no deployment may be called is made so.
    """
    return import_texts([("input", text)], name)


def import_texts(texts: Sequence[tuple[str, str]], name: str = "imported") -> Imported:
    """Returns the Deployment that several files describe together.

    Args:
        texts: (source, text) of each: scripts, and the Mooncake configs beside them.
        name: as in `import_text`.
    """
    commands: list[WrittenCommand] = []
    configs: list[dict[str, object]] = []
    for source, text in texts:
        pasted = recognise(text)
        if pasted.kind is Kind.DEPLOYMENT:
            return _as_it_is(pasted.text, source)
        if pasted.kind is Kind.MOONCAKE:
            configs.append(dict(pasted.value))
        elif pasted.kind in {Kind.COMPOSE, Kind.MANIFEST}:
            commands += manifest_commands(pasted, source)
        elif pasted.kind in {Kind.SHELL, Kind.SLURM}:
            commands += read_commands(text, source, "", _MOST_COMMANDS)
            configs += [value for _, _, value in embedded_objects(text) if mooncake_dialects(value)]
    return _imported(commands[:_MOST_COMMANDS], configs, name, texts[0][0] if texts else "input")


def _as_it_is(text: str, source: str) -> Imported:
    try:
        return Imported(parse_deployment_text(text, source), ())
    except ConfigError as error:
        return Imported(None, (_refused(error, source),))


def _imported(
    commands: Sequence[WrittenCommand], configs: Sequence[dict[str, object]], name: str, source: str
) -> Imported:
    large = [one for one in commands if len(one.command.words) > _MOST_WORDS]
    if large:
        evidence = (Evidence(large[0].worker.source, f"{len(large[0].command.words)} words"),)
        reason = f"A command of more than {_MOST_WORDS} words is none that starts a worker."
        remedy = "Look for a line that goes on where it should end, or paste less."
        return Imported(None, (TOO_LARGE.finding(Severity.ERROR, source, evidence, reason, remedy),))
    mine, findings = _one_deployment(commands)
    workers = [one for one in mine if one.worker.serves or one.worker.role is WorkerRole.ENCODER]
    if not workers:
        evidence = (Evidence(source, "no command that starts a worker"),)
        reason = "Nothing here starts a prefill, decode or unified worker."
        return Imported(
            None,
            (NOTHING.finding(Severity.ERROR, source, evidence, reason, "Paste the commands that start the workers."),),
        )
    engine = _engine(workers)
    others = [one for one in workers if one.worker.engine is not engine]
    findings += [
        _lost(one.worker.source, one.worker.program, "a deployment has one engine", Severity.WARNING) for one in others
    ]
    workers = [one for one in workers if one.worker.engine is engine]
    beside = [one for one in mine if one.worker.role in {WorkerRole.METADATA, WorkerRole.STORE}]
    routers = [one for one in mine if one.worker.role is WorkerRole.ROUTER]
    draft = DeploymentDraft(_dialect(engine, workers, routers))
    _basics(draft, engine, mine, name)
    readings, said = _read_roles(draft, workers, routers)
    findings += said
    for config in configs:
        _read_config(draft, config)
    if not configs and draft.get("dialect") == "vllm-v0":
        _metadata_of(draft, beside)
    findings += [_lost(*one) for one in read_router(draft, routers)]
    read_servers(draft, beside)
    kept = [*(one for reading in readings for one in reading.workers), *routers[:1], *beside]
    settled = settle(draft, kept, configs)
    findings += [_refused(error, source) for error in settled.refused]
    findings += [_lost(source, what, why) for what, why in settled.dropped]
    findings += [finding for difference in settled.differences for finding in _differs(difference)]
    findings += [
        _lost("the config", f"{key} = {value!r}", "its file comes out otherwise") for key, value in settled.configs
    ]
    return Imported(settled.deployment, sorted_findings(findings[:_MOST_SHOWN]))


def _one_deployment(commands: Sequence[WrittenCommand]) -> tuple[list[WrittenCommand], list[Finding]]:
    """Returns the commands of the first deployment, with what only a router says of its workers."""
    groups = split_deployments([one.worker for one in commands])
    if not groups:
        return [], []
    first = {worker.source for worker in groups[0]}
    findings = [
        _lost(group[0].source, f"{len(group)} commands", "of another deployment; import them alone", Severity.WARNING)
        for group in groups[1:]
    ]
    completed = {worker.source: worker for worker in make_group(groups[0]).processes}
    mine = [replace(one, worker=completed[one.worker.source]) for one in commands if one.worker.source in first]
    return mine, findings


def _engine(workers: Sequence[WrittenCommand]) -> Engine:
    engines = [one.worker.engine for one in workers]
    return max(dict.fromkeys(engines), key=engines.count)


def _dialect(engine: Engine, workers: Sequence[WrittenCommand], routers: Sequence[WrittenCommand]) -> Dialect:
    names = ["bundled"]
    if engine is Engine.SGLANG:
        reads_file = any("MOONCAKE_CONFIG_PATH" in one.worker.env for one in workers)
        old = any("srt.disaggregation" in one.worker.program for one in routers)
        pairs = all(one.worker.role in {WorkerRole.PREFILL, WorkerRole.DECODE} for one in workers)
        names = ["sglang-legacy", "sglang"] if pairs and (reads_file or old) else ["sglang"]
    elif engine is Engine.VLLM:
        v0 = any(one.worker.get("kv_rank") or one.worker.get("kv_parallel_size") for one in workers)
        connectors = {one.worker.get("kv_connector") for one in workers}
        ascend = any("ASCEND_RT_VISIBLE_DEVICES" in one.worker.env for one in workers)
        ascend = ascend or any(one.startswith(("MooncakeConnectorV1", "MooncakeLayerwise")) for one in connectors)
        names = ["vllm-v0", "vllm"] if v0 else ["vllm-ascend", "vllm"] if ascend else ["vllm"]
    return next((DIALECTS[name] for name in names if name in DIALECTS), DIALECTS["bundled"])


def _basics(draft: DeploymentDraft, engine: Engine, commands: Sequence[WrittenCommand], name: str) -> None:
    plain = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")[:40]
    draft.set("name", plain or "imported")
    draft.set("engine", _ENGINES.get(engine, "bundled"))
    versions = [one.worker.version for one in commands if one.worker.engine is engine and one.worker.version]
    version = next((one for one in versions if _VERSION.match(one) and version_of(one)), "")
    if version:
        draft.set("engine_version", version)
    dialect = next((known.name for known in DIALECTS.values() if draft.is_of(known)), "")
    if dialect != draft.get("engine"):
        draft.set("dialect", dialect)
    draft.set("observe", False)
    draft.set("rpc_ports", None)


def _read_roles(
    draft: DeploymentDraft, workers: Sequence[WrittenCommand], routers: Sequence[WrittenCommand]
) -> tuple[list[RoleReading], list[Finding]]:
    targets = make_group([one.worker for one in (*workers, *routers)]).targets
    by_role: dict[str, list[WrittenCommand]] = {}
    for one in workers:
        by_role.setdefault(ROLES[one.worker.role], []).append(one)
    order = ("prefill", "decode", "unified", "encoder")
    readings = [read_role(draft, role, by_role[role], targets) for role in order if role in by_role]
    findings = [_lost(*one) for reading in readings for one in reading.lost]
    for half, other in (("prefill", "decode"), ("decode", "prefill")):
        if half in by_role and other not in by_role and "unified" not in by_role:
            draft.set(f"{other}.count", 1)
    for field in ("model", "served_model_name"):
        values = list(dict.fromkeys(value for reading in readings if (value := getattr(reading, field))))
        if values:
            draft.set(field, values[0])
    backends = [reading.backend for reading in readings if reading.backend]
    if backends:
        draft.set("transport", backends[0])
    for reading in readings:
        for config in reading.kv_configs[:1]:
            read_connector(draft, reading.name, config)
    if any("LMCache" in name for reading in readings for name in connector_names(reading.kv_configs)):
        draft.set("store.kind", "lmcache")
    _read_nics(draft, readings)
    _read_env(draft, readings, routers)
    for prefill in (target for target in targets if target.role is WorkerRole.PREFILL and target.bootstrap_port):
        if draft.get("prefill.bootstrap_port") is None and "prefill.bootstrap_port" in draft.known:
            draft.set("prefill.bootstrap_port", int(prefill.bootstrap_port))
    return readings, findings


def _read_nics(draft: DeploymentDraft, readings: Sequence[RoleReading]) -> None:
    choices = [reading.nics for reading in readings if reading.name != "encoder"]
    if choices and all(one == choices[0] for one in choices) and choices[0] is not None:
        draft.set("nics", choices[0])
        return
    for reading in readings:
        if reading.nics is not None and f"{reading.name}.nics" in draft.known:
            draft.set(f"{reading.name}.nics", reading.nics)


def _read_env(draft: DeploymentDraft, readings: Sequence[RoleReading], routers: Sequence[WrittenCommand]) -> None:
    envs = {reading.name: [dict(one.worker.env) for one in reading.workers] for reading in readings}
    every = [env for role in envs.values() for env in role]
    names = {name for name in every[0] if all(env.get(name) == every[0][name] for env in every)}
    shared = {name: every[0][name] for name in every[0] if name in names}
    # Dialects that write the file name it, too.
    rest = {name: value for name, value in read_common_env(draft, shared).items() if name not in _CONFIG_PATHS}
    everywhere = [dict(one.worker.env) for one in routers[:1]]
    for name, value in rest.items():
        if value != "***" and everywhere and all(env.get(name) == value for env in everywhere):
            draft.set(f"env.{name}", value)
    common = draft.get("env") or {}
    for role, each in envs.items():
        kept = [{name: value for name, value in env.items() if name not in common} for env in each]
        kept = [{name: value for name, value in env.items() if name not in names or name in rest} for env in kept]
        for name, value in read_role_env(draft, role, kept).items():
            if value != "***" and name not in _CONFIG_PATHS:
                draft.set(f"{role}.env.{name}", value)
    for env in everywhere:
        for name, value in env.items():
            if name not in common and name not in shared and value != "***":
                draft.set(f"router.env.{name}", value)


def _read_config(draft: DeploymentDraft, config: dict[str, object]) -> None:
    fields = config_fields(config)
    for role, (host, port) in fields.pop("kv_places", {}).items():
        if f"{role}.kv_port" in draft.known:
            draft.set(f"{role}.kv_port", port)
        if draft.get(f"{role}.hosts") is None and not host.startswith("127.") and host != "localhost":
            draft.set(f"{role}.hosts", [host])
    for field, value in fields.items():
        if isinstance(value, dict):
            for name, inner in value.items():
                if f"{field}.{name}" in draft.known:
                    draft.set(f"{field}.{name}", inner)
        elif field in draft.known:
            draft.set(field, value)


def _metadata_of(draft: DeploymentDraft, beside: Sequence[WrittenCommand]) -> None:
    """Names the etcd that is started, where the config that says it was not given."""
    for one in beside:
        if one.worker.program == "etcd":
            draft.set("metadata.server", f"{one.worker.node or '127.0.0.1'}:2379")


def _lost(source: str, what: str, why: str, severity: Severity = Severity.WARNING) -> Finding:
    shown = what[:200]
    reason = f"{shown} is not in the deployment: {why}."
    return LOST.finding(severity, shown, (Evidence(source, shown),), reason, "Add it by hand if it is needed.")


def _refused(error: ConfigError | CapacityError, source: str) -> Finding:
    if isinstance(error, CapacityError):
        return DEPLOYMENT.finding(Severity.ERROR, "ports", (Evidence(source, str(error)),), "No plan can be made.", "")
    evidence = (Evidence(source, f"{error.field} = {error.value!r}"[:200]),)
    remedy = error.remedy[:1].upper() + error.remedy[1:] + "."
    reason = f"{error.field} {error.problem}."
    return DEPLOYMENT.finding(Severity.ERROR, error.field, evidence, reason, remedy)


def _differs(difference: Difference) -> Iterable[Finding]:
    source = difference.written.worker.source if difference.written else "the deployment"
    if difference.written is None:
        shown = f"a process {difference.name}"
        reason = f"The deployment has {shown}, and the text does not."
        yield LOST.finding(Severity.INFO, difference.name, (Evidence(source, shown),), reason, "Look whether it fits.")
        return
    for name, values in difference.missing:
        yield _lost(source, _written(name, values), f"the commands of {difference.name} come out without it")
    if difference.added:
        shown = ", ".join(_written(name, values) for name, values in difference.added)[:300]
        evidence = (Evidence(source, difference.name), Evidence("the deployment", shown))
        reason = f"The deployment's command for {difference.name} says more: {shown}."
        remedy = "Look whether it fits."
        yield LOST.finding(Severity.INFO, difference.name, evidence, reason, remedy)


def _written(name: str, values: Sequence[str]) -> str:
    text = " ".join(values)
    if name in {"", "program"}:
        return text
    return f"{name}{text}" if name.endswith("=") else f"--{name} {text}".strip()
