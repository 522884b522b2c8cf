"""Plans made by hand, for tests of exports: of any shape, also those that no dialect would write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pdpanel.panel.deployment import Deployment, parse_deployment
from pdpanel.panel.launch import LaunchPlan, PlannedFile, ProcessSpec, Readiness, Request, Role

NASTY: tuple[str, ...] = (
    "",
    " ",
    "'",
    '"',
    'it\'s "quoted"',
    "$(touch /tmp/pdpanel-was-here)",
    "`touch /tmp/pdpanel-was-here`",
    "${HOME}",
    "$HOME $$ $1 %h %% %n",
    "-rf",
    "--",
    "a=b",
    "a;b && c | d > e < f &",
    "*?[a-z]{1,2}~",
    "#comment",
    "!history!",
    "back\\slash\\n\\",
    "tab\there",
    "line\nbreak\n",
    "\r\x01\x1b[31m\x7f",
    "Größe, 模型, 🚀, \u202etxt.exe",
    "\u00a0\u2028",
    ")esac;",
    "'; exit 1; '",
    "EOF",
    "{{ jinja }} {% raw %}",
)
"""Words that a shell, env, systemd or YAML would like to take for something else."""


def process(
    name: str,
    argv: Sequence[str] = ("python3", "-m", "engine"),
    *,
    role: Role = Role.PREFILL,
    node: str = "",
    env: Mapping[str, str] | None = None,
    cwd: str = "",
    ports: Mapping[str, int] | None = None,
    url: str = "",
    after: tuple[str, ...] = (),
    timeout_s: float = 120.0,
    grace_s: float = 5.0,
) -> ProcessSpec:
    """Returns a process; without a URL it is ready once it runs."""
    return ProcessSpec(
        name=name,
        role=role,
        node=node,
        argv=tuple(argv),
        env=dict(env or {}),
        cwd=cwd,
        ports=dict(ports or {}),
        ready=Readiness(url, timeout_s),
        log=f"{name}.log",
        after=after,
        grace_s=grace_s,
    )


def plan_of(
    *processes: ProcessSpec,
    files: tuple[PlannedFile, ...] = (),
    requests: tuple[Request, ...] = (),
    addresses: Mapping[str, str] | None = None,
    router_url: str = "",
    dialect: str = "bundled",
    model: str = "a-model",
    transport: str = "mooncake",
    engine_version: str = "",
) -> LaunchPlan:
    return LaunchPlan(
        run_name="pd",
        model=model,
        transport=transport,
        host="127.0.0.1",
        router_url=router_url,
        processes=processes,
        files=files,
        dialect=dialect,
        engine_version=engine_version,
        addresses=dict(addresses or {}),
        requests=requests,
    )


def deployment(**fields: object) -> Deployment:
    return parse_deployment({"model": "a-model", "prefill": {"count": 1}, "decode": {"count": 1}, **fields})


def two_nodes(dialect: str = "sglang") -> LaunchPlan:
    """Prefill, router and etcd on a, decode of two ranks on b and c."""
    addresses = {"a": "10.7.0.1", "b": "10.7.0.2", "c": "fd00::3"}
    band = {"MC_MIN_RPC_PORT": "15000", "MC_MAX_RPC_PORT": "15031"}
    etcd = process(
        "etcd",
        ("etcd", "--listen-client-urls", "http://0.0.0.0:2379"),
        role=Role.METADATA,
        node="a",
        ports={"client": 2379, "peer": 2380},
        url="http://127.0.0.1:2379/health",
    )
    worker = ("python3", "-m", "sglang.launch_server", "--model-path", "a-model")
    prefill = process(
        "prefill-0",
        worker,
        node="a",
        env=band,
        ports={"http": 30000, "bootstrap": 8998},
        url="http://10.7.0.1:30000/health",
        after=("etcd",),
    )
    decode = [
        process(
            name,
            (*worker, "--node-rank", str(rank)),
            role=Role.DECODE,
            node=node,
            env=band,
            ports={"http": 30000} | ({"dist": 5000} if rank == 0 else {}),
            url=url,
            after=("etcd", "prefill-0"),
        )
        for rank, (name, node, url) in enumerate(
            (("decode-0", "b", "http://10.7.0.2:30000/health"), ("decode-0-rank1", "c", ""))
        )
    ]
    router = process(
        "router",
        ("python3", "-m", "sglang_router.launch_router"),
        role=Role.ROUTER,
        node="a",
        ports={"http": 8000},
        url="http://10.7.0.1:8000/readiness",
        after=("prefill-0", "decode-0", "decode-0-rank1"),
    )
    return plan_of(
        etcd,
        prefill,
        *decode,
        router,
        addresses=addresses,
        router_url="http://10.7.0.1:8000",
        dialect=dialect,
        files=(PlannedFile("mooncake.json", '{\n  "protocol": "rdma"\n}\n', shared=True),),
    )
