"""Servers that stand beside a deployment: etcd, Mooncake's metadata server and master, redis. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from ...engine.errors import ConfigError
from ...nic_probe import Evidence, Finding, Severity
from ...nic_probe.checks.check import Rule
from .recipe import Command, Kind, Parameter, Recipe, Rendered, TextRule
from .settings import Settings, url_host
from .slurm_nodes import NODE, expand_nodes

__all__ = ["RECIPES", "RULES"]

_OPEN = Rule(
    "server-open",
    "A metadata server takes orders from everybody who can reach it",
    "etcd as the documents start it, redis without a password and Mooncake's own servers ask for no credentials. Who "
    "can connect can read and change where KV caches are sent.",
    ("Mooncake's vLLM V0 document", "etcd's and redis' manuals"),
)
_ADVERTISED = Rule(
    "etcd-advertises-localhost",
    "etcd tells its clients to come to localhost",
    "Mooncake connects to the address that it was given, so the document's line works. Clients that ask etcd for its "
    "members' addresses, etcdctl's endpoint checks among them, are sent to their own host.",
    ("Mooncake's vLLM V0 document",),
)
_QUORUM = Rule(
    "etcd-even-members",
    "An even number of etcd members",
    "A cluster works as long as more than half of its members do: four bear the loss of one, as three do.",
    ("etcd's FAQ",),
)
_REDIS = Rule(
    "redis-not-in-wheel",
    "Mooncake's wheels know no redis",
    "Redis is a build option of Mooncake that is off by default. A wheel that is given a redis:// address aborts its "
    "process: Unable to find metadata storage plugin redis.",
    ("measured with Mooncake 0.3.13",),
)
_RPC_PORT = Rule(
    "master-port-renamed",
    "mooncake_master --port is now --rpc_port",
    "The old spelling still works and is announced to go.",
    ("Mooncake 3b5a594",),
)
RULES = (_OPEN, _ADVERTISED, _QUORUM, _REDIS, _RPC_PORT)

_TOKEN = TextRule(re.compile(r"[A-Za-z0-9_.-]{1,80}"), "is not a token", "use letters, digits, dots, dashes and _")
_NODE = TextRule(NODE, "is not the name of a host", "write node1,node2,node3 or node[1-3]")


def _is_open(listen: str) -> bool:
    try:
        return ipaddress.ip_address(listen).is_unspecified
    except ValueError:
        return False


def _is_loopback(listen: str) -> bool:
    try:
        return ipaddress.ip_address(listen).is_loopback
    except ValueError:
        return listen == "localhost"


def _open_findings(listen: str, what: str) -> Iterator[Finding]:
    if _is_open(listen):
        yield _OPEN.finding(
            Severity.WARNING,
            what,
            (Evidence(what, f"listens on {listen}, all addresses of the host"),),
            "Everybody who reaches this host can read and change it.",
            "Set listen to 127.0.0.1 when all is on one host, or to the address of a network of your own.",
        )


def _etcd(settings: Settings) -> Rendered:
    listen, port = settings.text("listen"), settings.count("port")
    data = ("--data-dir", settings.text("data_dir")) if settings.has("data_dir") else ()
    findings = list(_open_findings(listen, "etcd"))
    nodes = expand_nodes("nodes", settings.items("nodes"))
    own = f"http://{url_host(listen)}:{port}"
    if not nodes:
        for name in ("peer_port", "token"):
            if name in settings.given:
                raise ConfigError(name, settings.shown(name), "is for a cluster", "leave it out or name nodes")
        advertised = settings.text("advertise")
        argv = ("etcd", "--listen-client-urls", own, "--advertise-client-urls", f"http://{url_host(advertised)}:{port}")
        if advertised == "localhost" and not _is_loopback(listen):
            findings.append(_advertised_finding(own, port))
        return Rendered((Command("metadata", argv + data),), findings=tuple(findings))
    if "advertise" in settings.given:
        raise ConfigError("advertise", settings.text("advertise"), "is told by nodes", "leave one of the two out")
    peer_port = settings.count("peer_port")
    if peer_port == port:
        raise ConfigError("peer_port", peer_port, "is the clients' port, too", "choose another")
    peers = {node: f"http://{node}:{peer_port}" for node in nodes}
    cluster = ",".join(f"etcd-{index}={url}" for index, url in enumerate(peers.values()))
    commands = []
    for index, (node, peer) in enumerate(peers.items()):
        argv = ["etcd", "--name", f"etcd-{index}", "--listen-client-urls", own]
        argv += ["--advertise-client-urls", f"http://{node}:{port}"]
        argv += ["--listen-peer-urls", f"http://{url_host(listen)}:{peer_port}", "--initial-advertise-peer-urls", peer]
        argv += ["--initial-cluster", cluster, "--initial-cluster-token", settings.text("token")]
        commands.append(Command("metadata", (*argv, "--initial-cluster-state", "new", *data), node=node))
    if len(nodes) % 2 == 0:
        findings.append(
            _QUORUM.finding(
                Severity.INFO,
                "nodes",
                (Evidence("nodes", f"{len(nodes)} members"),),
                "It bears the loss of no more members than one member less would.",
                "Name an odd number of nodes.",
            )
        )
    return Rendered(tuple(commands), findings=tuple(findings))


def _advertised_finding(own: str, port: int) -> Finding:
    return _ADVERTISED.finding(
        Severity.INFO,
        "advertise",
        (Evidence("etcd", f"listens on {own}, advertises http://localhost:{port}"),),
        "Clients on other hosts that follow what etcd advertises are sent to themselves.",
        "Set advertise to this host's address.",
    )


def _metadata_server(settings: Settings) -> Rendered:
    listen = settings.text("listen")
    argv = ["mooncake_http_metadata_server", "--host", listen, "--port", settings.shown("port")]
    if settings.has("log_level"):
        argv += ["--log-level", settings.text("log_level")]
    findings = tuple(_open_findings(listen, "mooncake_http_metadata_server"))
    return Rendered((Command("metadata", tuple(argv)),), findings=findings)


def _master(settings: Settings) -> Rendered:
    argv = ["mooncake_master"]
    findings: list[Finding] = []
    port_flag = settings.text("port_flag")
    if settings.has("rpc_port"):
        argv.append(f"--{port_flag}={settings.shown('rpc_port')}")
        if port_flag == "port":
            findings.append(
                _RPC_PORT.finding(
                    Severity.INFO,
                    "port_flag",
                    (Evidence("mooncake_master", argv[-1]),),
                    "This spelling is deprecated.",
                    "Set port_flag=rpc_port.",
                    f"--rpc_port={settings.shown('rpc_port')}",
                )
            )
    if settings.flag("http_metadata"):
        listen = settings.text("http_metadata_host") if settings.has("http_metadata_host") else None
        argv.append("--enable_http_metadata_server=true")
        argv += [f"--http_metadata_server_host={listen}"] if listen else []
        argv.append(f"--http_metadata_server_port={settings.shown('http_metadata_port')}")
        findings += _open_findings(listen or "0.0.0.0", "http_metadata_host")
    else:
        for name in ("http_metadata_host", "http_metadata_port"):
            if name in settings.given:
                raise ConfigError(name, settings.shown(name), "has no server to belong to", "set http_metadata=1")
    flags = {
        "metrics_port": "metrics_port",
        "kv_lease_ms": "default_kv_lease_ttl",
        "eviction_high_watermark_ratio": "eviction_high_watermark_ratio",
        "eviction_ratio": "eviction_ratio",
        "root_fs_dir": "root_fs_dir",
    }
    argv += [f"--{flag}={settings.shown(name)}" for name, flag in flags.items() if settings.has(name)]
    for name in ("eviction_high_watermark_ratio", "eviction_ratio"):
        if settings.has(name) and settings.number(name) > 1:
            raise ConfigError(name, settings.shown(name), "is more than the whole", "write a share from 0 to 1")
    return Rendered((Command("master", tuple(argv)),), findings=tuple(findings))


def _redis(settings: Settings) -> Rendered:
    listen = settings.text("listen")
    argv = ["redis-server", "--bind", listen, "--port", settings.shown("port")]
    # Protected and without a password, redis lets only its own host in.
    argv += ["--protected-mode", "yes" if _is_loopback(listen) else "no"]
    if settings.has("data_dir"):
        argv += ["--dir", settings.text("data_dir")]
    address = "HOST" if _is_open(listen) else url_host(listen)
    finding = _REDIS.finding(
        Severity.WARNING,
        "redis",
        (Evidence("Mooncake's wheels", "Unable to find metadata storage plugin redis with conn string"),),
        f"Every process that is given redis://{address}:{settings.shown('port')} aborts, unless its Mooncake was built "
        "with redis.",
        "Use the recipe etcd or metadata-server, or build Mooncake with -DUSE_REDIS=ON.",
    )
    return Rendered((Command("metadata", tuple(argv)),), findings=(*_open_findings(listen, "redis"), finding))


_ANYWHERE = "the address to listen on; 127.0.0.1 when all is on one host"

RECIPES = (
    Recipe(
        "etcd",
        "Start etcd as metadata server",
        "One server, or with nodes one member on each of them. Stop any other etcd on the host first. Mooncake is "
        "given etcd://HOST:2379, or several with commas.",
        (
            Parameter("listen", Kind.ADDRESS, "0.0.0.0", _ANYWHERE),
            Parameter("advertise", Kind.HOST, "localhost", "the name that clients are told"),
            Parameter("port", Kind.PORT, "2379", "for clients"),
            Parameter("nodes", Kind.LIST, None, "the members' hosts, for a cluster", rule=_NODE),
            Parameter("peer_port", Kind.PORT, "2380", "among the members"),
            Parameter("token", Kind.TEXT, "etcd-cluster-1", "what tells clusters apart", rule=_TOKEN),
            Parameter("data_dir", Kind.PATH, None, "where it keeps its data; without it, below the current folder"),
        ),
        "Mooncake's vLLM V0 document; etcd's clustering guide; ROCm/MAD's etcd starter",
        _etcd,
    ),
    Recipe(
        "metadata-server",
        "Start Mooncake's HTTP metadata server",
        "Comes with Mooncake's wheels. Mooncake is given http://HOST:8080/metadata.",
        (
            Parameter("listen", Kind.ADDRESS, "0.0.0.0", _ANYWHERE),
            Parameter("port", Kind.PORT, "8080", "its port"),
            Parameter(
                "log_level", Kind.CHOICE, None, "without it: INFO", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
            ),
        ),
        "Mooncake's own --help; run with 0.3.13",
        _metadata_server,
    ),
    Recipe(
        "mooncake-master",
        "Start the master of Mooncake Store",
        "For SGLang's HiCache, vLLM's store connector and LMCache. It can serve metadata over HTTP, too.",
        (
            Parameter("rpc_port", Kind.PORT, None, "without it 50051"),
            Parameter("port_flag", Kind.CHOICE, "rpc_port", "port for old versions", ("rpc_port", "port")),
            Parameter("metrics_port", Kind.PORT, None, "without it 9003"),
            Parameter("http_metadata", Kind.FLAG, "0", "1 starts the HTTP metadata server in it"),
            Parameter("http_metadata_host", Kind.ADDRESS, None, "without it 0.0.0.0"),
            Parameter("http_metadata_port", Kind.PORT, "8080", "its port"),
            Parameter("kv_lease_ms", Kind.COUNT, None, "how long what was read is kept; without it 10000"),
            Parameter("eviction_high_watermark_ratio", Kind.NUMBER, None, "without it 0.90"),
            Parameter("eviction_ratio", Kind.NUMBER, None, "without it 0.05"),
            Parameter("root_fs_dir", Kind.PATH, None, "a folder for what leaves memory"),
        ),
        "Mooncake 3b5a594: mooncake_master's flags",
        _master,
    ),
    Recipe(
        "redis",
        "Start redis as metadata server",
        "For a Mooncake that was built with redis, which the wheels are not.",
        (
            Parameter("listen", Kind.ADDRESS, "127.0.0.1", _ANYWHERE),
            Parameter("port", Kind.PORT, "6379", "its port"),
            Parameter("data_dir", Kind.PATH, None, "where it keeps its data"),
        ),
        "Mooncake's SGLang and vLLM documents; redis' manual",
        _redis,
    ),
)
