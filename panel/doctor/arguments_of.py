"""The arguments of workers from a LaunchPlan, and from what a running one answers to /server_info. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..launch import LaunchPlan, Role
from .command import flat_kv_config, node_of, parse_command, role_of
from .log_arguments import arguments_in
from .programs import canonical
from .worker import Engine, WorkerArguments, WorkerRole, as_text, is_secret

__all__ = ["arguments_of_plan", "arguments_of_server_info"]

_ROLES = {Role.PREFILL: WorkerRole.PREFILL, Role.DECODE: WorkerRole.DECODE, Role.UNIFIED: WorkerRole.UNIFIED}


def arguments_of_plan(plan: LaunchPlan) -> tuple[WorkerArguments, ...]:
    """Returns what the commands of a plan ask for, one for each process."""
    found: list[WorkerArguments] = []
    for spec in plan.processes:
        worker = parse_command(spec.argv, spec.name, f"plan: {spec.name}", spec.env)
        if worker is None:
            role = _ROLES.get(spec.role, WorkerRole.ROUTER)
            worker = WorkerArguments(spec.name, f"plan: {spec.name}", Engine.OTHER, role, {})
        found.append(
            WorkerArguments(
                name=spec.name,
                source=worker.source,
                engine=worker.engine,
                role=worker.role,
                values=worker.values,
                program=worker.program,
                flags=worker.flags,
                env={**worker.env, **spec.env},
                node=spec.node,
                version=plan.engine_version if worker.serves else worker.version,
                gpus_apart=not spec.gpus and worker.engine is not Engine.BUNDLED,
            )
        )
    return tuple(found)


def arguments_of_server_info(info: Mapping[str, Any], name: str, source: str = "/server_info") -> WorkerArguments:
    """Returns what a running worker says of itself.

    Args:
        info: the JSON object of GET /server_info: SGLang's and the bundled engine's flat arguments, or vLLM's
            with its configuration under `vllm_config`.
        name: what findings call the worker.
        source: the URL that was asked.
    """
    config = info.get("vllm_config")
    if config is not None:
        values = arguments_in(config) if isinstance(config, str) else _flat(Engine.VLLM, config)
        engine = Engine.VLLM
    else:
        bundled = "pages" in info and "startup" in info
        engine = Engine.BUNDLED if bundled else Engine.SGLANG
        nested = info.get("server_args")
        values = _flat(engine, nested if isinstance(nested, Mapping) else info)
    version = as_text(info.get("version")) or ""
    return WorkerArguments(
        name=name,
        source=source,
        engine=engine,
        role=role_of(engine, values),
        values=values,
        node=node_of(values),
        version="" if version == "unknown" else version,
        resolved=True,
    )


def _flat(engine: Engine, mapping: Any) -> dict[str, str]:
    if not isinstance(mapping, Mapping):
        return {}
    pairs = ((str(key), value) for key, value in mapping.items() if not isinstance(value, Mapping | list))
    values = {canonical(engine, key): text for key, value in pairs if (text := as_text(value)) is not None}
    values |= flat_kv_config(mapping.get("kv_transfer_config")) if engine is Engine.VLLM else {}
    return {key: value for key, value in values.items() if not is_secret(key)}
