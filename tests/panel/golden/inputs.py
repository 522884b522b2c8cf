"""A golden case's inputs as the fields of a Deployment: one general mapping for both engines, by the inputs' names.

The cases describe commands as documents print them: for an engine that is not watched, with Mooncake's own RPC ports,
and with a router that is open to all. An input may be of all workers (tp), of one role (prefill_tp), or a map by role
or by host; what a Deployment cannot say is a ValueError, and an input that is not known here a KeyError.
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
        ValueError: an input that differs by host where a role has one value.
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


_SIZES: Mapping[str, tuple[str, ...]] = {
    "tp": ("tp",),
    "pp": ("pp",),
    "dp": ("dp",),
    "attn_dp": ("attn_dp",),
    "ep": ("ep",),
    "moe_a2a": ("a2a", "moe_a2a"),
    "mem_fraction": ("mem_fraction_static", "mem_fraction", "gpu_memory_utilization"),
    "context_length": ("context_length", "max_model_len"),
    "chunked_prefill_size": ("chunked_prefill_size",),
    "max_running_requests": ("max_running_requests", "max_num_seqs"),
    "page_size": ("page_size", "block_size"),
    "kv_cache_dtype": ("kv_cache_dtype",),
    "trust_remote_code": ("trust_remote_code",),
}
"""What may be set of all workers or of a role, by the field's name: the inputs that say it."""

_PAIR = ("prefill", "decode")


def _sized(inputs: Mapping[str, Any]) -> Parts:
    """Sizes of all workers or of one role: `tp`, `prefill_tp`, or `tp` as a map by role."""
    for field, names in _SIZES.items():
        for name in names:
            value = inputs.get(name)
            if isinstance(value, Mapping):
                for role, one in value.items():
                    yield (name,), lambda fields, role=role, field=field, one=one: _into(fields, role, {field: one})
            else:
                part = _some(**{field: value})
                yield (name,), lambda fields, part=part: _into(fields, "workers", part)
            for role in (*_PAIR, "encoder"):
                own = _some(**{field: inputs.get(f"{role}_{name}")})
                yield (f"{role}_{name}",), lambda fields, role=role, own=own: _into(fields, role, own)


def _one(inputs: Mapping[str, Any], name: str, hosts: Iterable[str] = ()) -> Any:
    """Returns an input that is one value, or the same for each host."""
    value = inputs.get(name)
    if not isinstance(value, Mapping):
        return value
    values = {repr(value[host]): value[host] for host in hosts or value if host in value}
    if len(values) > 1:
        raise ValueError(f"{name} differs by host, and a role has one: {dict(value)}")
    return next(iter(values.values()), None)


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
    yield ("metadata_backend", "metadata_host"), lambda fields: _put_some(fields, "metadata", _legacy_metadata(inputs))
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
        groups = inputs.get(f"{role}_groups")
        if groups:
            spec |= {"nodes": len(groups[0]), "hosts": [host for group in groups for host in group]}
        counted = len(groups) if groups else 1 if group or not hosts else len(hosts)
        spec["count"] = inputs.get(f"{role}_count", inputs.get(f"num_{role}", counted))
        base = inputs.get(f"{role}_base_gpu_id")
        if isinstance(base, Mapping) and len(set(base.values())) > 1:
            # What differs by host is what the plan counts by itself; the case's commands say whether it does.
            base = None
        spec |= _some(base_gpu_id=_one({"base": base}, "base"))
        names = (f"{role}_group", f"{role}_groups", f"{role}_hosts", f"{role}_base_gpu_id", "dist_port")
        names = (*names, f"{role}_count", f"num_{role}")
        yield names, lambda fields, role=role, spec=spec: _into(fields, role, spec)
    if "prefill_group" in inputs or "prefill_groups" in inputs:
        # The documents' commands for groups of nodes are for DeepSeek, and all have it.
        trusted = {"trust_remote_code": inputs.get("trust_remote_code", True)}
        yield (), lambda fields: _into(fields, "workers", trusted)
    if _splits_encoders(inputs):
        ports, hosts = inputs.get("encoder_ports", []), inputs.get("encoder_hosts")
        count = inputs.get("encoder_count", inputs.get("num_encoders", max(len(ports), len(hosts or ()))))
        encoders = _some(count=count, hosts=hosts, encoder_transfer=inputs.get("encoder_backend"))
        encoders |= _some(port=min(ports) if ports else inputs.get("encoder_port"))
        names = ("encoder_ports", "encoder_port", "encoder_hosts", "encoder_count", "num_encoders", "encoder_backend")
        yield names, lambda fields: _into(fields, "encoder", encoders)
        if not any(f"{role}_base_gpu_id" in inputs for role in (*_PAIR, "encoder")):
            yield (), lambda fields: fields.update(gpu_selection="none")
        base = _some(base_gpu_id=inputs.get("encoder_base_gpu_id"))
        yield ("encoder_base_gpu_id",), lambda fields: _into(fields, "encoder", base)


def _splits_encoders(inputs: Mapping[str, Any]) -> bool:
    return any(name in inputs for name in ("encoder_ports", "encoder_hosts", "encoder_count", "num_encoders"))


def _sizes(inputs: Mapping[str, Any]) -> Parts:
    """Sizes are of all workers, but in EPD of prefill, the only role whose command the document gives them."""
    experts = inputs.get("ep_backend")
    others = _some(dp_attention=inputs.get("dp_attention") or None, elastic_ep=experts, moe_a2a=experts)
    yield ("dp_attention", "ep_backend"), lambda fields: _into(fields, "workers", others)
    yield from _sized(inputs)
    if _splits_encoders(inputs):
        yield (), lambda fields: _into(fields, "prefill", fields.pop("workers", {}))


def _ports(inputs: Mapping[str, Any]) -> Parts:
    # Of several workers' ports the first is said; the others follow it.
    first = next(iter(inputs.get("bootstrap_ports", ())), None)
    bootstrap = inputs.get("bootstrap_port", inputs.get("metadata_port", first))
    prefill = _some(port=_one(inputs, "prefill_port"), bootstrap_port=bootstrap)
    names = ("prefill_port", "bootstrap_port", "bootstrap_ports", "metadata_port")
    yield names, lambda fields: _into(fields, "prefill", prefill) if prefill else None
    decode = _some(port=_one(inputs, "decode_port"))
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
    router |= _some(node=inputs.get("router_node"), metrics_port=inputs.get("prometheus_port"))
    router["host"] = inputs.get("router_host", "0.0.0.0")
    router["flags"] = {
        name.replace("_", "-"): inputs[name] for name in ("prefill_policy", "decode_policy") if name in inputs
    }
    names = ("router", "router_host", "router_port", "router_node", "prometheus_port", "policy", "prefill_policy")
    yield (*names, "decode_policy"), lambda fields: fields.update(router=router)
    asked = _some(prompt=inputs.get("prompt"), temperature=inputs.get("temperature"))
    yield ("prompt", "temperature"), lambda fields: _put_some(fields, "smoke_test", asked)


def _legacy_metadata(inputs: Mapping[str, Any]) -> Fields:
    host = inputs.get("metadata_host", inputs.get("prefill_hosts", [""])[0])
    form = inputs.get("metadata_backend")
    return {"server": _address(form, host, _http(host, inputs.get("metadata_port", 8998)))} if form else {}


def _address(form: str, host: str, http: str) -> str:
    return {
        "http": http,
        "etcd_bare": f"{_shown(host)}:2379",
        "etcd": f"etcd://{_shown(host)}:2379",
        "etcd_multi": f"etcd://{_shown(host)}:2379,{_next(host)}:2379" if form == "etcd_multi" else "",
        "redis": f"redis://{_shown(host)}:6379",
    }[form]


def _http(host: str, port: int) -> str:
    return f"http://{_shown(host)}:{port}/metadata"


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _next(host: str) -> str:
    return _shown(str(ipaddress.ip_address(host) + 1))


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
        visible = given.get("cuda_visible_devices")
        gpus = visible.get(role) if isinstance(visible, Mapping) else given.get(f"{role}_cuda_visible_devices")
        if gpus is not None:
            spec["gpus"] = [int(gpu) for gpu in gpus.split(",")] if isinstance(gpus, str) else gpus
        names = ("host", "service_port", "url_port", "bootstrap_port", "cuda_visible_devices")
        names = ("cuda_visible_devices", *(f"{role}_{name}" for name in names))
        yield names, lambda fields, role=role, spec=spec: _into(fields, role, spec)
    yield from _sized(given)
    transport = "mooncake_tcp" if given.get("protocol") == "tcp" else given.get("backend", "mooncake")
    # Workers that share a host are given their GPUs; else a host's are all its worker's.
    shared = given.get("prefill_host") is not None and given.get("prefill_host") == given.get("decode_host")
    chosen = any("cuda_visible_devices" in name for name in inputs)
    selection = None if shared or chosen else "none"
    yield (
        ("protocol", "backend", "ib_devices"),
        lambda fields: fields.update(
            transport=transport, gpu_selection=selection, **_some(nics=given.get("ib_devices"))
        ),
    )
    size = inputs.get("kv_buffer_size", 2e9)
    # The documents' size is the dialect's own; another one is a setting of the connector.
    own = {} if size == 2e9 else {"flags": {"kv-buffer-size": size}}
    yield ("kv_buffer_size",), lambda fields: _into(fields, "workers", own)
    yield ("modelscope",), lambda fields: fields.update(_some(modelscope=given.get("modelscope")))
    listen = given.get("proxy_host", "0.0.0.0" if old else None)
    router = _some(kind="ascend-proxy" if "ascend" in dialect else "proxy", host=listen, port=given.get("proxy_port"))
    yield ("proxy_port", "proxy_host"), lambda fields: fields.update(router=router)
    if "metadata" in inputs:
        yield ("metadata", "metadata_host"), lambda fields: fields.update(metadata=_v0_metadata(given))
    if store:
        names = ("master", "mode", "global_segment_size", "local_buffer_size")
        part = _some(
            master=inputs["master"],
            mode=inputs.get("mode"),
            segment_size=_text(inputs.get("global_segment_size")),
            buffer_size=_text(inputs.get("local_buffer_size")),
        )
        yield names, lambda fields: fields.update(store=part)


def _v0_metadata(inputs: Mapping[str, Any]) -> Fields:
    """A host for the server asks for the document's first form: it is started, and written without a scheme."""
    form, host = inputs["metadata"], inputs.get("metadata_host")
    if host is None:
        first = inputs["prefill_host"]
        return {"server": _address(form, first, _http(first, 8080))}
    port = {"etcd": 2379, "redis": 6379, "http": 8080}[form]
    return {"server": f"{host}:{port}", "backend": form, "start": True, "node": host}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _some(**values: Any) -> Fields:
    return {name: value for name, value in values.items() if value is not None}


def _put_some(fields: Fields, name: str, part: Fields) -> None:
    if part:
        fields[name] = part


def _into(fields: Fields, name: str, part: Fields) -> None:
    fields.setdefault(name, {}).update(part)
