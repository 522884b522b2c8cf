"""The parts of a Deployment: workers, router, hosts, servers and how they are run.

Values with the rules of their own fields. Knows nothing of how parts hang together (`panel.deployment`), of dialects
or of ports that are free. Most fields are optional: None leaves it to the engine, or to the plan where that says so.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from . import deployment_rules as rules

__all__ = [
    "MAX_COUNT",
    "AscendSpec",
    "Env",
    "Flag",
    "Flags",
    "HostSpec",
    "LimitsSpec",
    "MetadataSpec",
    "NicChoice",
    "NixlSpec",
    "Part",
    "Port",
    "RoleSpec",
    "RouterSpec",
    "RunSpec",
    "SlurmSpec",
    "SmokeTestSpec",
    "StoreSpec",
    "Text",
    "WorkerSpec",
]

MAX_COUNT = 4096
_MOST_ENTRIES = 1000

Text = Annotated[str, AfterValidator(rules.plain_text)]
Program = Annotated[Text, AfterValidator(rules.program)]
Port = Annotated[int, BeforeValidator(rules.no_boolean), Field(ge=1, le=65535)]
Count = Annotated[int, BeforeValidator(rules.no_boolean), Field(ge=0, le=MAX_COUNT)]
Positive = Annotated[int, BeforeValidator(rules.no_boolean), Field(ge=1, le=1 << 31)]
Size = Annotated[int, BeforeValidator(rules.no_boolean), Field(ge=1, le=MAX_COUNT)]
Seconds = Annotated[float, BeforeValidator(rules.no_boolean), Field(gt=0, le=1e6, allow_inf_nan=False)]
Fraction = Annotated[float, BeforeValidator(rules.no_boolean), Field(gt=0, le=1, allow_inf_nan=False)]
_Scalar = str | int | float | bool
_SCALAR_SCHEMA = {"type": ["string", "number", "boolean"]}
# A list is an option with several values, such as --cuda-graph-bs-decode 1 2 4.
Flag = Annotated[
    _Scalar | list[_Scalar],
    PlainValidator(rules.flag_value),
    WithJsonSchema({"anyOf": [_SCALAR_SCHEMA, {"type": "array", "items": _SCALAR_SCHEMA}]}),
]
Flags = Annotated[dict[Annotated[str, AfterValidator(rules.flag_name)], Flag], Field(max_length=_MOST_ENTRIES)]
Env = Annotated[dict[Annotated[str, AfterValidator(rules.env_name)], Text], Field(max_length=_MOST_ENTRIES)]
HostName = Annotated[str, AfterValidator(rules.host_pattern)]
Address = Annotated[str, AfterValidator(rules.reachable_host)]
Listen = Annotated[str, AfterValidator(rules.listening_host)]
Nic = Annotated[str, AfterValidator(rules.nic_name)]
# "auto" leaves it to the engine; "affinity" lets the plan name the nearest NICs of each GPU; a list is shared by all
# GPUs; a map gives NICs by the GPU's index as the worker sees it.
NicChoice = Literal["auto", "affinity"] | list[Nic] | dict[Annotated[str, AfterValidator(rules.gpu_index)], list[Nic]]


class Part(BaseModel):
    """Common to all parts: frozen, and unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RunSpec(Part):
    """How a process is run: by a Python interpreter, or in a container.

    Attributes:
        python: the interpreter; None takes the dialect's own word for it.
        venv: the folder of a virtual environment, whose programs are used.
        image: an image; then the command runs in a container of it.
        runtime: what runs containers.
        args: further arguments of `docker run`, before the image.
        cwd: where the process is started.
    """

    python: Program | None = None
    venv: Program | None = None
    image: Program | None = None
    runtime: Literal["docker", "podman"] = "docker"
    args: list[Text] = Field(default_factory=list)
    cwd: Program | None = None


class WorkerSpec(Part):
    """What is set of workers, for all of them (`workers`) or for those of one role, which goes first.

    Attributes:
        tp: tensor parallel size.
        pp: pipeline parallel size.
        dp: data parallel size; with `dp_attention` the ranks share the GPUs of tp.
        dp_attention: True spreads attention over `dp` ranks within tp (SGLang's older spelling).
        attn_dp: attention ranks within tp (SGLang 0.5.22 and newer); instead of dp and dp_attention.
        ep: expert parallel size.
        moe_a2a: how tokens travel to experts, such as deepep or mooncake.
        elastic_ep: the elastic expert backend, such as mooncake.
        mem_fraction: share of GPU memory for weights and KV.
        context_length: most tokens of a request.
        page_size: tokens of a KV page.
        chunked_prefill_size: tokens of a prefill step; -1 is without chunks.
        max_running_requests: most requests in a batch.
        kv_cache_dtype: dtype of the KV cache.
        trust_remote_code: True runs code that the model brings.
        nics: see `Deployment.nics`.
        flags: flags of the engine without dashes; True gives the bare flag, False leaves it out, and a list gives it
            several values.
        env: variables of these workers.
        run: how they are run.
    """

    tp: Size | None = None
    pp: Size | None = None
    dp: Size | None = None
    dp_attention: bool | None = None
    attn_dp: Size | None = None
    ep: Size | None = None
    moe_a2a: Text | None = None
    elastic_ep: Text | None = None
    mem_fraction: Fraction | None = None
    context_length: Positive | None = None
    page_size: Positive | None = None
    chunked_prefill_size: Annotated[int, BeforeValidator(rules.no_boolean), Field(ge=-1, le=1 << 31)] | None = None
    max_running_requests: Positive | None = None
    kv_cache_dtype: Text | None = None
    trust_remote_code: bool | None = None
    nics: NicChoice | None = None
    flags: Flags = Field(default_factory=dict)
    env: Env = Field(default_factory=dict)
    run: RunSpec | None = None


class RoleSpec(WorkerSpec):
    """How many workers a role has, where they run and what is set of them.

    Attributes:
        count: workers of this role.
        nodes: nodes that one worker spans (SGLang's --nnodes).
        hosts: where they run, in order: worker i takes `nodes` of them; fewer hosts than that are used in turn,
            and one that is named twice takes two. None is this host. `node[1-8]` stands for eight.
        port: where the first of them listens; further ones on the same node take the next free ports.
        bootstrap_port: the first prefill worker's bootstrap server; as for port.
        dist_port: port of a worker's first node for starting a group of nodes.
        base_gpu_id: first GPU of the first worker on a node; None lets the plan count.
        gpus: GPU indices of a node that this role may use; None is all that are left.
        npu_phy_id: physical id of the NPU, as containers need it.
        encoder_transfer: how an encoder's output travels (EPD), such as mooncake.
        kv_port: the port of a vLLM connector that has one (side channel, kv_port, prefill_url).
    """

    count: Count = 0
    nodes: Size = 1
    hosts: list[HostName] | None = None
    port: Port | None = None
    bootstrap_port: Port | None = None
    dist_port: Port | None = None
    base_gpu_id: Count | None = None
    gpus: list[Count] | None = None
    npu_phy_id: Count | None = None
    encoder_transfer: Text | None = None
    kv_port: Port | None = None


class RouterSpec(Part):
    """The router: the address that clients talk to.

    Attributes:
        kind: which program; None takes the dialect's own.
        host: where it listens; None is the deployment's own address, or all addresses when it names hosts.
        port: None lets the plan take the first free port from 8000.
        node: the host that it runs on; None is that of the first prefill worker.
        policy: None leaves it to the router.
        metrics_port: where its own metrics are; None leaves it to the router.
    """

    kind: (
        Literal["bundled", "sglang-router", "smg", "mini_lb", "vllm-router", "proxy", "ascend-proxy", "none"] | None
    ) = None
    host: Listen | None = None
    port: Port | None = None
    node: HostName | None = None
    policy: Text | None = None
    metrics_port: Port | None = None
    flags: Flags = Field(default_factory=dict)
    env: Env = Field(default_factory=dict)
    run: RunSpec | None = None


class HostSpec(Part):
    """A host that the deployment names.

    Attributes:
        address: where the others reach it; None is its name.
        gpus: how many it has; None is not known.
        gpu: the GPU's name, such as H100-SXM5-80GB.
        gpu_memory_gib: memory of one GPU.
        nics: RDMA devices that it has, by name.
        nic_gbps: line rate of each.
        dump: a dump of the host (`pdpanel probe --dump`), beside the deployment file; it says all the above.
        run: how processes are run there, over what roles say.
        env: variables of the processes there.
    """

    address: Address | None = None
    gpus: Count | None = None
    gpu: Text | None = None
    gpu_memory_gib: Annotated[float, BeforeValidator(rules.no_boolean), Field(gt=0, le=1e6)] | None = None
    nics: list[Nic] | None = None
    nic_gbps: Annotated[float, BeforeValidator(rules.no_boolean), Field(gt=0, le=1e6)] | None = None
    dump: Text | None = None
    run: RunSpec | None = None
    env: Env = Field(default_factory=dict)


class MetadataSpec(Part):
    """Mooncake's metadata server, where the dialect has one.

    In a file the text of `server` may stand for the whole part.

    Attributes:
        server: P2PHANDSHAKE, http://HOST:PORT/metadata, etcd://HOST:PORT (also a list), HOST:PORT (etcd) or
            redis://HOST:PORT.
        backend: written as metadata_backend beside a server without a scheme.
        start: True starts it with the deployment.
        node: the host that it runs on, with start; None is the host in `server`.
    """

    server: Text
    backend: Literal["etcd", "redis", "http"] | None = None
    start: bool = False
    node: HostName | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"server": value} if isinstance(value, str) else value


class StoreSpec(Part):
    """A Mooncake Store: SGLang's HiCache, or vLLM's store connector.

    Attributes:
        master: HOST:PORT of mooncake_master.
        start: True starts the master with the deployment.
        kind: which integration of vLLM uses it; SGLang has one, HiCache.
        mode: who lends the memory: the workers, or a store of its own.
        segment_size: memory that each worker lends, such as 80GB or 4gb; None is the integration's own.
        buffer_size: transfer buffer of each worker.
        metadata: the store's metadata server; None is the integration's own.
        offload: True moves to SSD what does not fit.
        flags: further flags of mooncake_master.
    """

    master: Text = "127.0.0.1:50051"
    start: bool = True
    kind: Literal["connector", "lmcache"] = "connector"
    mode: Literal["embedded", "standalone-store"] = "embedded"
    segment_size: Text | None = None
    buffer_size: Text | None = None
    metadata: Text | None = None
    offload: bool = False
    flags: Flags = Field(default_factory=dict)


class LimitsSpec(Part):
    """Limits and timeouts of the KV transfer; None leaves it to the engine.

    Attributes:
        thread_pool: threads that send KV, of a prefill worker.
        queue_size: queues that they serve; 1 is first come, first served.
        bootstrap_timeout_s: how long prefill waits for decode.
        waiting_timeout_s: how long decode waits for KV.
        heartbeat_interval_s: how often decode asks whether prefill is there.
        heartbeat_max_failure: how many times it may fail to answer.
        ready_timeout_s: how long a process may take to become ready.
    """

    thread_pool: Size | None = None
    queue_size: Size | None = None
    bootstrap_timeout_s: Seconds | None = None
    waiting_timeout_s: Seconds | None = None
    heartbeat_interval_s: Seconds | None = None
    heartbeat_max_failure: Size | None = None
    ready_timeout_s: Seconds | None = None


class NixlSpec(Part):
    """NIXL's plug-in, such as UCX or LIBFABRIC, and its parameters."""

    backend: Text | None = None
    params: dict[Text, Text] = Field(default_factory=dict)


class AscendSpec(Part):
    """What the transports of Ascend NPUs need.

    Attributes:
        store_url: tcp://HOST:PORT of the config store (ASCEND_MF_STORE_URL); prefill's first rank makes it.
        via_mooncake: True carries KV by Mooncake's Ascend transport instead.
        protocol: sdma or device_rdma; None leaves it to the engine.
        interface: the network interface of HCCL, gloo and TP.
    """

    store_url: Text | None = None
    via_mooncake: bool = False
    protocol: Text | None = None
    interface: Text | None = None


class SlurmSpec(Part):
    """What a Slurm job of ROCm's MAD scripts takes, and what exports for Slurm ask for.

    Attributes:
        nodes: the node list; None takes the hosts that roles name, and an empty list leaves the choice to Slurm.
        partition: where the job is queued; None is the cluster's own.
        account: who pays; None is the person's own.
        time: the limit, such as 24:00:00.
        gres: resources of a node, such as gpu:8.
        layout: MAD's: a node of its own for the proxy (the first version), or the router beside prefill 0 (today's).
        run_mori: MAD's RUN_MORI: True carries KV by MoRI instead of Mooncake.
        dp_mode: MAD's DP_MODE: True starts one group per role with data parallel flags.
        cx7: MAD's USE_CX7_NICS.
        log_path: shared folder of logs.
    """

    nodes: list[HostName] | None = None
    partition: Text | None = None
    account: Text | None = None
    time: Text | None = None
    gres: Text | None = None
    layout: Literal["dedicated-proxy", "colocated-router"] = "colocated-router"
    run_mori: bool = False
    dp_mode: bool = False
    cx7: bool = True
    log_path: Text | None = None


class SmokeTestSpec(Part):
    """The request that shows that an answer comes; None is the dialect's own.

    Attributes:
        prompt: what is asked.
        temperature: 0 is greedy.
        max_tokens: how long the answer may be.
    """

    prompt: str | None = None
    temperature: Annotated[float, BeforeValidator(rules.no_boolean), Field(ge=0, le=100)] | None = None
    max_tokens: Positive | None = None
