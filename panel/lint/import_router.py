"""From the command of a router or a proxy, and of servers beside workers, to the fields of a deployment. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..doctor.command import WrittenCommand, options_of
from ..doctor.worker import Engine, WorkerRole, is_secret
from .draft import DeploymentDraft
from .import_options import flag_value

__all__ = ["read_router", "read_servers"]

_KINDS: Mapping[str, str] = {
    "pdpanel.engine.launch_router": "bundled",
    "sglang_router.launch_router": "sglang-router",
    "sglang-router": "sglang-router",
    "smg launch": "smg",
    "amg launch": "smg",
    "sglang.srt.disaggregation.mini_lb": "mini_lb",
    "sglang.srt.disaggregation.launch_lb": "mini_lb",
    "vllm-router": "vllm-router",
    "load_balance_proxy_server_example.py": "ascend-proxy",
}
_FIELDS: Mapping[str, str] = {"host": "host", "policy": "policy"}
_PORTS: Mapping[str, str] = {"port": "port", "prometheus-port": "metrics_port"}
# What the plan writes from roles and transport.
_PLANNED = frozenset(
    {
        *("prefill", "decode", "worker-urls", "pd-disaggregation", "mini-lb", "vllm-pd-disaggregation"),
        *("prefiller-hosts", "prefiller-ports", "decoder-hosts", "decoder-ports", "kv-connector"),
        *("vllm-discovery-address", "intra-node-data-parallel-size", "prefill-bootstrap-ports", "rust-lb"),
    }
)


def read_router(draft: DeploymentDraft, routers: Sequence[WrittenCommand]) -> Iterator[tuple[str, str, str]]:
    """Takes the router into the draft, and yields (source, what, why) of what cannot be kept.

    Without a router the draft says so.
    """
    if not routers:
        draft.set("router.kind", "none")
        return
    for further in routers[1:]:
        yield further.worker.source, further.worker.program, "a deployment has one router"
    written = routers[0]
    worker = written.worker
    options, _ = options_of(written.command.words[written.first :])
    names = {option.name for option in options}
    kind = "mini_lb" if "mini-lb" in names else _KINDS.get(worker.program, "proxy")
    draft.set("router.kind", kind)
    for option in options:
        value = option.values[0] if option.values else ""
        if option.name in _PLANNED:
            continue
        if option.name in _FIELDS and value:
            draft.set(f"router.{_FIELDS[option.name]}", value)
        elif option.name in _PORTS and value.isdecimal():
            draft.set(f"router.{_PORTS[option.name]}", int(value))
        elif is_secret(option.name):
            yield worker.source, f"--{option.name}", "a secret, which no deployment file should hold"
        else:
            draft.set(f"router.flags.{option.name}", flag_value(Engine.OTHER, option.name, option.values))


def read_servers(draft: DeploymentDraft, servers: Sequence[WrittenCommand]) -> None:
    """Takes a metadata server and a store's master into the draft."""
    for written in servers:
        worker = written.worker
        if worker.role is WorkerRole.STORE:
            if draft.get("store") is not None or "store.start" in draft.known:
                draft.set("store.start", True)
                flags = {
                    option.name.replace("-", "_"): option.values[0] if option.values else True
                    for option in options_of(written.command.words[written.first :])[0]
                    if option.name not in {"port", "rpc-port"}
                }
                for name, value in flags.items():
                    draft.set(f"store.flags.{name.replace('_', '-')}", _value(value))
        elif draft.get("metadata") is not None:
            draft.set("metadata.start", True)
            if worker.node:
                draft.set("metadata.node", worker.node)


def _value(value: object) -> object:
    if value in {"true", "false"}:
        return value == "true"
    return flag_value(Engine.OTHER, "", (value,)) if isinstance(value, str) else value
