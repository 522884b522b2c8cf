"""A golden case's inputs as the fields of a Deployment: one general mapping for both engines, by the inputs' names.

The cases describe commands as documents print them: for an engine that is not watched, with Mooncake's own RPC ports,
and with a router that is open to all. An input that is not known here is an error.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = ["deployment_of"]

Fields = dict[str, Any]

# What the vLLM V0 document has where a case says nothing of hosts and devices.
_V0_DOCUMENT: Mapping[str, Any] = {
    "prefill_host": "192.168.0.137",
    "decode_host": "192.168.0.139",
    "prefill_url_port": 13003,
    "decode_url_port": 13003,
    "protocol": "rdma",
    "ib_devices": ["erdma_0"],
}
# What the document of vLLM's store connector has: service ports, and bootstrap ports beside the master's.
_V1_STORE_DOCUMENT: Mapping[str, Any] = {"prefill_service_port": 8100, "decode_service_port": 8200}
_V1_STORE_BOOTSTRAP = (50052, 50053)


def deployment_of(inputs: Mapping[str, Any]) -> Fields:
    """Returns the fields of the Deployment that the inputs of a golden case describe.

    Raises:
        KeyError: an input that this mapping does not know.
    """
    fields: Fields = {"observe": False, "rpc_ports": None, "engine": inputs["engine"], "model": inputs["model"]}
    known = {"engine", "model", "dialect"}
    parts = (_sglang if inputs["engine"] == "sglang" else _vllm)(inputs)
    for names, add in parts:
        known |= set(names)
        add(fields)
    if unknown := set(inputs) - known:
        raise KeyError(f"no field for the inputs {sorted(unknown)}")
    return fields


Parts = Iterable[tuple[tuple[str, ...], Callable[[Fields], None]]]


def _sglang(inputs: Mapping[str, Any]) -> Parts:
    legacy = "legacy" in inputs.get("dialect", "")
    pair = not ("master" in inputs and "prefill_port" not in inputs)
    yield (
        ("sglang_version",),
        lambda fields: fields.update(
            dialect="sglang-legacy" if legacy else "sglang", engine_version=inputs.get("sglang_version", "")
        ),
    )
    yield from _places(inputs, pair)
    yield from _sizes(inputs)
    yield from _ports(inputs)
    yield from _transport(inputs)
    yield from _router(inputs)
    yield ("metadata_backend",), lambda fields: _put_some(fields, "metadata", _legacy_metadata(inputs))
    yield ("master",), lambda fields: _put_some(fields, "store", _some(master=inputs.get("master")))
    yield (
        ("modelscope", "nvlink"),
        lambda fields: fields.update(_some(modelscope=inputs.get("modelscope"), nvlink=inputs.get("nvlink"))),
    )


def _places(inputs: Mapping[str, Any], pair: bool) -> Parts:
    """Who runs where. A case of a document that says neither hosts nor GPUs leaves the GPUs to whoever starts it."""
    if not pair:
        yield (), lambda fields: fields.update(unified={"count": 1}, gpu_selection="none")
        return
    for role in ("prefill", "decode"):
        group, hosts = inputs.get(f"{role}_group"), inputs.get(f"{role}_hosts")
        spec = _some(nodes=len(group) if group else None, hosts=group or hosts, dist_port=inputs.get("dist_port"))
        spec["count"] = 1 if group or not hosts else len(hosts)
        base = inputs.get(f"{role}_base_gpu_id")
        if isinstance(base, int):
            spec["base_gpu_id"] = base
        # A map of hosts is what the plan counts by itself; the case's commands say whether it does.
        names = (f"{role}_group", f"{role}_hosts", f"{role}_base_gpu_id", "dist_port")
        yield names, lambda fields, role=role, spec=spec: _into(fields, role, spec)
    if "prefill_group" in inputs:
        # The documents' commands for groups of nodes are for DeepSeek, and all have it.
        yield (), lambda fields: _into(fields, "workers", {"trust_remote_code": True})
    if "encoder_ports" in inputs:
        ports = inputs["encoder_ports"]
        encoders = {"count": len(ports), "port": ports[0], "encoder_transfer": inputs.get("encoder_backend")}
        yield ("encoder_ports", "encoder_backend"), lambda fields: _into(fields, "encoder", encoders)
        yield (), lambda fields: fields.update(gpu_selection="none")


def _sizes(inputs: Mapping[str, Any]) -> Parts:
    """Sizes are of all workers, but in EPD of prefill, the only role whose command the document gives them."""
    where = "prefill" if "encoder_ports" in inputs else "workers"
    experts = inputs.get("ep_backend")
    sizes = _some(
        tp=inputs.get("tp"),
        pp=inputs.get("pp"),
        dp=inputs.get("dp"),
        dp_attention=inputs.get("dp_attention") or None,
        attn_dp=inputs.get("attn_dp"),
        moe_a2a=inputs.get("a2a", experts),
        elastic_ep=experts,
        mem_fraction=inputs.get("mem_fraction_static"),
        chunked_prefill_size=inputs.get("chunked_prefill_size"),
    )
    names = ("tp", "pp", "dp", "dp_attention", "attn_dp", "a2a", "ep_backend", "mem_fraction_static")
    yield (*names, "chunked_prefill_size"), lambda fields: _into(fields, where, sizes)
    for role in ("prefill", "decode"):
        name = f"{role}_max_running_requests"
        running = _some(max_running_requests=inputs.get(name))
        yield (name,), lambda fields, role=role, running=running: _into(fields, role, running)


def _ports(inputs: Mapping[str, Any]) -> Parts:
    bootstrap = inputs.get("bootstrap_port", inputs.get("metadata_port"))
    prefill = _some(port=inputs.get("prefill_port"), bootstrap_port=bootstrap)
    names = ("prefill_port", "bootstrap_port", "metadata_port")
    yield names, lambda fields: _into(fields, "prefill", prefill) if prefill else None
    decode = _some(port=inputs.get("decode_port"))
    yield ("decode_port",), lambda fields: _into(fields, "decode", decode) if decode else None


def _transport(inputs: Mapping[str, Any]) -> Parts:
    backend = "mooncake_tcp" if inputs.get("protocol") == "tcp" else inputs.get("backend", "mooncake")
    nics = inputs.get("ib_devices")
    if isinstance(nics, Mapping):
        nics = {gpu: names.split(",") for gpu, names in nics.items()}
    yield (
        ("backend", "protocol", "ib_devices"),
        lambda fields: fields.update(transport=backend, **_some(nics=nics)),
    )
    ascend = _some(store_url=inputs.get("mf_store_url"), via_mooncake=inputs.get("ascend_via_mooncake"))
    # In a container or not: the plan's commands are the same, the deployment's `run` says it.
    yield ("mf_store_url", "ascend_via_mooncake", "container"), lambda fields: _put_some(fields, "ascend", ascend)
    nixl = _some(backend=inputs.get("nixl_backend"))
    yield ("nixl_backend",), lambda fields: _put_some(fields, "nixl", nixl)
    for role, npu in inputs.get("npu_phy_id", {}).items():
        yield ("npu_phy_id",), lambda fields, role=role, npu=npu: _into(fields, role, {"npu_phy_id": npu})
    limits = {
        name: inputs.get(given)
        for given, name in (
            ("thread_pool", "thread_pool"),
            ("queue_size", "queue_size"),
            ("bootstrap_timeout", "bootstrap_timeout_s"),
            ("waiting_timeout", "waiting_timeout_s"),
            ("heartbeat_interval", "heartbeat_interval_s"),
            ("heartbeat_max_failure", "heartbeat_max_failure"),
        )
    }
    names = ("thread_pool", "queue_size", "bootstrap_timeout", "waiting_timeout")
    yield (
        (*names, "heartbeat_interval", "heartbeat_max_failure"),
        lambda fields: _put_some(fields, "limits", _some(**limits)),
    )


def _router(inputs: Mapping[str, Any]) -> Parts:
    kind = inputs.get("router")
    router = _some(kind=kind, port=inputs.get("router_port"), policy=inputs.get("policy"))
    router["host"] = inputs.get("router_host", "0.0.0.0")
    yield ("router", "router_host", "router_port", "policy"), lambda fields: fields.update(router=router)


def _legacy_metadata(inputs: Mapping[str, Any]) -> Fields:
    host = inputs.get("prefill_hosts", [""])[0]
    form = inputs.get("metadata_backend")
    return {"server": _address(form, host, f"http://{host}:{inputs.get('metadata_port')}/metadata")} if form else {}


def _address(form: str, host: str, http: str) -> str:
    return {
        "http": http,
        "etcd_bare": f"{host}:2379",
        "etcd": f"etcd://{host}:2379",
        "etcd_multi": f"etcd://{host}:2379,{_next(host)}:2379",
        "redis": f"redis://{host}:6379",
    }[form]


def _next(host: str) -> str:
    return str(ipaddress.ip_address(host) + 1)


def _vllm(inputs: Mapping[str, Any]) -> Parts:
    dialect = inputs.get("dialect", "")
    old = "-v0-" in dialect
    store = "master" in inputs
    given = {**(_V0_DOCUMENT if old else _V1_STORE_DOCUMENT if store else {}), **inputs}
    yield (
        ("vllm_version",),
        lambda fields: fields.update(
            dialect="vllm-v0" if old else "vllm-ascend" if "ascend" in dialect else "vllm",
            engine_version=inputs.get("vllm_version", ""),
        ),
    )
    for role, bootstrap in zip(("prefill", "decode"), _V1_STORE_BOOTSTRAP, strict=True):
        host = given.get(f"{role}_host")
        spec = _some(
            count=1,
            hosts=[host] if host else None,
            port=given.get(f"{role}_service_port"),
            kv_port=given.get(f"{role}_url_port"),
            bootstrap_port=bootstrap if store else given.get(f"{role}_bootstrap_port"),
        )
        names = tuple(f"{role}_{name}" for name in ("host", "service_port", "url_port", "bootstrap_port"))
        yield names, lambda fields, role=role, spec=spec: _into(fields, role, spec)
    sizes = _some(
        tp=given.get("tp"),
        context_length=given.get("max_model_len"),
        mem_fraction=given.get("gpu_memory_utilization"),
    )
    yield ("tp", "max_model_len", "gpu_memory_utilization"), lambda fields: _into(fields, "workers", sizes)
    transport = "mooncake_tcp" if given.get("protocol") == "tcp" else given.get("backend", "mooncake")
    # Workers that share a host are given their GPUs; else a host's are all its worker's.
    shared = given.get("prefill_host") is not None and given.get("prefill_host") == given.get("decode_host")
    selection = None if shared else "none"
    yield (
        ("protocol", "backend", "ib_devices"),
        lambda fields: fields.update(
            transport=transport, gpu_selection=selection, **_some(nics=given.get("ib_devices"))
        ),
    )
    if "kv_buffer_size" in inputs:
        # The documents' size is the dialect's own; another one is a setting of the connector.
        assert inputs["kv_buffer_size"] == 2e9
        yield ("kv_buffer_size",), lambda fields: None
    yield ("modelscope",), lambda fields: fields.update(_some(modelscope=given.get("modelscope")))
    router = _some(kind="proxy", host="0.0.0.0" if old else None, port=given.get("proxy_port"))
    yield ("proxy_port",), lambda fields: fields.update(router=router)
    if "metadata" in inputs:
        yield ("metadata", "metadata_host"), lambda fields: fields.update(metadata=_v0_metadata(given))
    if store:
        names = ("master", "mode", "global_segment_size", "local_buffer_size")
        part = _some(
            master=inputs["master"],
            mode=inputs.get("mode"),
            segment_size=inputs.get("global_segment_size"),
            buffer_size=inputs.get("local_buffer_size"),
        )
        yield names, lambda fields: fields.update(store=part)


def _v0_metadata(inputs: Mapping[str, Any]) -> Fields:
    """A host for the server asks for the document's first form: it is started, and written without a scheme."""
    form, host = inputs["metadata"], inputs.get("metadata_host")
    if host is None:
        first = inputs["prefill_host"]
        return {"server": _address(form, first, f"http://{first}:8080/metadata")}
    port = {"etcd": 2379, "redis": 6379, "http": 8080}[form]
    return {"server": f"{host}:{port}", "backend": form, "start": True, "node": host}


def _some(**values: Any) -> Fields:
    return {name: value for name, value in values.items() if value is not None}


def _put_some(fields: Fields, name: str, part: Fields) -> None:
    if part:
        fields[name] = part


def _into(fields: Fields, name: str, part: Fields) -> None:
    fields.setdefault(name, {}).update(part)
