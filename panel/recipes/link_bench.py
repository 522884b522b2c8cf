"""What a link gives without an engine: Mooncake's benchmark, perftest, and Mooncake's view of the topology. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...engine.errors import ConfigError
from ...nic_probe import Evidence, Finding, Severity
from ...nic_probe.checks.check import Rule
from .recipe import Command, Kind, Parameter, Recipe, Rendered, TextRule
from .settings import Settings, url_host

__all__ = ["RECIPES", "RULES"]

_BENCH = "transfer_engine_bench"
_P2P = "P2PHANDSHAKE"
_SOURCES = ("Mooncake 3b5a594: transfer_engine_bench.cpp",)

_PORT = Rule(
    "bench-target-port",
    "The initiator needs the port that the target chose",
    "Without a metadata server the target listens on a port of its own choice and prints it: Transfer Engine RPC using "
    "P2P handshake, listening on <name>:<port>. The name before it is not used.",
    _SOURCES,
)
_MEMORY = Rule(
    "bench-memory",
    "GPU memory is an option of Mooncake's GPU builds alone",
    "transfer_engine_bench of mooncake-transfer-engine-non-cuda ends with: unknown command line flag 'use_vram'. The "
    "GPU builds use GPU memory unless told otherwise, and do not start on a host without CUDA.",
    ("measured with Mooncake 0.3.13",),
)
RULES = (_PORT, _MEMORY)

_DEVICE = TextRule(
    re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"),
    "is not the name of a device",
    "write names such as mlx5_0,mlx5_1 with commas and no spaces",
)
_SERVER = r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9][A-Za-z0-9._-]{0,252})(?::[0-9]{1,5})?"
_METADATA = TextRule(
    re.compile(
        rf"P2PHANDSHAKE|https?://{_SERVER}(?:/[A-Za-z0-9._/-]{{0,100}})?"
        rf"|(?:etcd://)?{_SERVER}(?:,{_SERVER}){{0,8}}|redis://{_SERVER}"
    ),
    "is not a metadata server",
    "write P2PHANDSHAKE, http://HOST:8080/metadata, etcd://HOST:2379 or redis://HOST:6379",
)
_GPU = TextRule(re.compile(r"-1|[0-9]{1,3}"), "is not a GPU's number", "write 0 or more, or -1 for all")
_PROTOCOLS = ("rdma", "tcp", "efa", "barex", "nvlink", "nvlink_intra", "hip", "musa", "sunrise_link")
_UNITS = ("GB", "GiB", "Gb", "MB", "MiB", "Mb", "KB", "KiB", "Kb")

_BOTH_SIDES = ("protocol", "backend", "buffer_size", "use_vram", "gpu_id")
_INITIATOR_ONLY = ("operation", "block_size", "batch_size", "threads", "duration", "report_unit")


def _gflags(settings: Settings, names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        if settings.has(name):
            yield f"--{name}={settings.shown(name)}"


def _bench(settings: Settings) -> Rendered:
    metadata, target = settings.text("metadata_server"), settings.text("target")
    devices = settings.items("device_name")
    if devices and settings.has("protocol") and settings.text("protocol") == "tcp":
        raise ConfigError("device_name", settings.shown("device_name"), "means nothing over tcp", "leave it out")
    direct = metadata == _P2P
    if not direct:
        if settings.has("rpc_port"):
            problem = "is not used with a metadata server, which knows the target by its name"
            raise ConfigError("rpc_port", settings.count("rpc_port"), problem, "leave it out")
        if not settings.has("initiator"):
            raise ConfigError("initiator", "", "is missing; a metadata server needs both names", "name that host")
    chosen = (f"--device_name={','.join(devices)}",) if devices else ("--auto_discovery",)
    common = (*chosen, f"--metadata_server={metadata}")
    both = tuple(_gflags(settings, _BOTH_SIDES))
    own_name = (f"--local_server_name={target}",) if not direct else ()
    commands = [Command("target", (_BENCH, "--mode=target", *common, *own_name, *both))]
    findings: list[Finding] = []
    if direct and not settings.has("rpc_port"):
        findings.append(
            _PORT.finding(
                Severity.INFO,
                "rpc_port",
                (Evidence(_BENCH, "Transfer Engine RPC using P2P handshake, listening on <name>:<port>"),),
                "The initiator's command needs the port that the target prints when it starts.",
                "Start the target, then add --set rpc_port=PORT.",
            )
        )
    else:
        segment = f"{url_host(target)}:{settings.count('rpc_port')}" if direct else target
        asks = ["--mode=initiator", *common, f"--segment_id={segment}"]
        if settings.has("initiator"):
            asks.append(f"--local_server_name={settings.text('initiator')}")
        commands.append(Command("initiator", (_BENCH, *asks, *both, *_gflags(settings, _INITIATOR_ONLY))))
    commands.append(Command("probe", ("transfer_engine_topology_dump",)))
    if settings.has("use_vram") or settings.has("gpu_id"):
        findings.append(
            _MEMORY.finding(
                Severity.INFO,
                "use_vram" if settings.has("use_vram") else "gpu_id",
                (Evidence(_BENCH, "mooncake-transfer-engine-non-cuda knows neither --use_vram nor --gpu_id"),),
                "With the build without CUDA this ends the benchmark at once.",
                "Leave it out there; that build always uses host memory.",
            )
        )
    return Rendered(tuple(commands), findings=tuple(findings))


def _dump(settings: Settings) -> Rendered:
    argv = ["transfer_engine_topology_dump"]
    if settings.has("device_name"):
        argv.append(f"--device-name={settings.shown('device_name')}")
    if settings.has("backend"):
        argv.append(f"--backend={settings.text('backend')}")
    if settings.has("custom_topo_json"):
        argv.append(f"--custom-topo-json={settings.text('custom_topo_json')}")
    return Rendered((Command("probe", tuple(argv)),))


def _perftest(settings: Settings) -> Rendered:
    argv = [f"ib_{settings.text('operation')}_bw", "-F", "--report_gbits"]
    options = {
        "device": "--ib-dev",
        "ib_port": "--ib-port",
        "gid_index": "--gid-index",
        "port": "--port",
        "size": "--size",
        "queue_pairs": "--qp",
        "duration": "--duration",
        "cuda": "--use_cuda",
    }
    argv += [f"{option}={settings.shown(name)}" for name, option in options.items() if settings.has(name)]
    target = settings.text("target")
    initiator = Command("initiator", (*argv, target), targets=(target,))
    return Rendered((Command("target", tuple(argv), node=target), initiator))


_BENCH_PARAMETERS = (
    Parameter("target", Kind.HOST, None, "the host that is read from or written to", required=True),
    Parameter("rpc_port", Kind.PORT, None, "the port that the target printed; without a metadata server"),
    Parameter("initiator", Kind.HOST, None, "the other host's name, for a metadata server"),
    Parameter("metadata_server", Kind.TEXT, _P2P, "P2PHANDSHAKE for none, or its address", rule=_METADATA),
    Parameter("protocol", Kind.CHOICE, None, "without it: rdma", _PROTOCOLS),
    Parameter("device_name", Kind.LIST, None, "NICs; without it each side finds its own", rule=_DEVICE),
    Parameter("backend", Kind.CHOICE, None, "without it: classic", ("classic", "tent")),
    Parameter("buffer_size", Kind.COUNT, None, "bytes of memory on each side; without it 1 GiB"),
    Parameter("use_vram", Kind.FLAG, None, "0 for host memory; GPU builds alone"),
    Parameter("gpu_id", Kind.TEXT, None, "the GPU, -1 for all; GPU builds alone", rule=_GPU),
    Parameter("operation", Kind.CHOICE, None, "without it: read", ("read", "write")),
    Parameter("block_size", Kind.COUNT, None, "bytes of one request; without it 65536"),
    Parameter("batch_size", Kind.COUNT, None, "requests that are submitted together; without it 128"),
    Parameter("threads", Kind.COUNT, None, "without it 12"),
    Parameter("duration", Kind.COUNT, None, "seconds; without it 10"),
    Parameter("report_unit", Kind.CHOICE, None, "without it: GB", _UNITS),
)

RECIPES = (
    Recipe(
        "link-bench",
        "Measure the link between two hosts with Mooncake",
        "Start the target, note the port that it prints, start the initiator. The result is the line Test completed: "
        "duration <s>, batch count <n>, throughput <v> GB/s.",
        _BENCH_PARAMETERS,
        "Mooncake 3b5a594: transfer_engine_bench.cpp; run over tcp with 0.3.13",
        _bench,
    ),
    Recipe(
        "link-bench-perftest",
        "Measure the link between two hosts with perftest",
        "The RDMA NICs alone, without Mooncake: ib_write_bw and ib_read_bw, in Gbit/s. Start the target first.",
        (
            Parameter("target", Kind.HOST, None, "the host that the initiator connects to", required=True),
            Parameter("operation", Kind.CHOICE, "write", "what the initiator does", ("write", "read", "send")),
            Parameter("device", Kind.TEXT, None, "the NIC; without it the first", rule=_DEVICE),
            Parameter("ib_port", Kind.COUNT, None, "the NIC's port; without it the first"),
            Parameter(
                "gid_index",
                Kind.TEXT,
                None,
                "the GID, which RoCE needs; pdpanel probe shows them",
                rule=TextRule(re.compile(r"[0-9]{1,3}"), "is not a GID's index", "write a number from 0 up"),
            ),
            Parameter("port", Kind.PORT, None, "TCP port of the handshake; without it 18515"),
            Parameter("size", Kind.COUNT, None, "bytes of one message; without it 65536"),
            Parameter("queue_pairs", Kind.COUNT, None, "without it 1"),
            Parameter("duration", Kind.COUNT, None, "seconds; without it 5000 messages"),
            Parameter("cuda", Kind.TEXT, None, "GPU memory of this GPU; perftest built with CUDA alone", rule=_GPU),
        ),
        "perftest's manual: ib_write_bw(1)",
        _perftest,
    ),
    Recipe(
        "topology-dump",
        "Show which NICs Mooncake prefers for which GPU",
        "Prints Local topology [te/discover]: and JSON; on failure error: failed to dump topology, with exit code 1.",
        (
            Parameter("device_name", Kind.LIST, None, "these NICs alone", rule=_DEVICE),
            Parameter("backend", Kind.CHOICE, None, "without it: auto", ("auto", "te", "tent")),
            Parameter("custom_topo_json", Kind.PATH, None, "a file such as pdpanel topology --mooncake writes"),
        ),
        "Mooncake's own --help; run with 0.3.13",
        _dump,
    ),
)
