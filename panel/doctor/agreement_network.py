"""Rules on how the processes of a deployment reach each other: addresses, proxies, the router's own options."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from ...nic_probe.checks.check import Check, Rule
from ...nic_probe.finding import Evidence, Finding, Severity
from .group import Group, said, seen
from .worker import Engine, WorkerArguments, WorkerRole

__all__ = ["CHECKS"]

_LOOPBACK = Rule(
    "host-loopback",
    "A worker listens on loopback although others run elsewhere",
    "SGLang listens on 127.0.0.1 unless --host says otherwise. Its bootstrap server and transfer address follow "
    "--host, so no process of another host reaches it.",
    ("SGLang documentation: PD disaggregation", "kvcache-ai/Mooncake#225"),
)
_ADVERTISED = Rule(
    "address-ambiguous",
    "A worker may announce the wrong one of several addresses",
    "A worker that listens on all addresses has to announce one. On a host with several interfaces it may be that of "
    "Docker's bridge or of a management network, which peers do not reach.",
    ("vllm-project/vllm#42090", "kvcache-ai/Mooncake#1371", "kvcache-ai/Mooncake#256"),
)
_PROXY = Rule(
    "proxy-env",
    "A proxy is set without exceptions for the workers",
    "Health checks, bootstrap and transfers between workers are HTTP. With http_proxy set they go to the proxy, "
    "unless no_proxy names the hosts.",
    ("sgl-project/sglang#28503", "sgl-project/sglang#9814", "Mooncake documentation: troubleshooting"),
)
_POLICY = Rule(
    "router-options",
    "A router's option that it refuses or reads otherwise",
    "--decode takes one URL and does not split at commas; --policy knows a few names, and `bucket` is for prefill "
    "alone; without --pd-disaggregation prefill and decode are not told apart.",
    ("SGLang release wheels 0.4.5 to 0.5.23", "sglang-router 0.3.2: --help"),
)

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_ANNOUNCES = ("VLLM_HOST_IP", "SGLANG_HOST_IP", "HOST_IP", "MC_TCP_BIND_ADDRESS")
_POLICIES: Mapping[Engine, frozenset[str]] = {
    Engine.SGLANG: frozenset({"random", "round_robin", "cache_aware", "power_of_two", "manual", "bucket"}),
    Engine.BUNDLED: frozenset({"random", "round_robin", "power_of_two", "cache_aware"}),
}


def host_loopback(group: Group) -> list[Finding]:
    """Finds workers on loopback in a deployment of several hosts."""
    if not group.several_nodes:
        return []
    found = _etcd_loopback(group)
    given = {worker.get("host") for worker in group.servers}
    if len(given) > 1 and all(_is_loopback(host) for host in given):
        return found  # Different loopback addresses are nodes that one host plays.
    for worker in group.servers:
        host = said(worker, "host")
        # A worker whose --host names its node is no concern; one that says nothing listens on loopback.
        if worker.get("host", "x").startswith("$") or not _is_loopback(host):
            continue
        reason = f"{worker.name} listens on {host}, which no other host reaches."
        remedy = "Set --host to an address of the common network, or to 0.0.0.0."
        found.append(_LOOPBACK.finding(Severity.ERROR, worker.name, (seen(worker, "host"),), reason, remedy))
    return found


def _etcd_loopback(group: Group) -> list[Finding]:
    found: list[Finding] = []
    for server in group.of_role(WorkerRole.METADATA):
        urls = server.get("listen_client_urls", "http://localhost:2379" if server.program == "etcd" else "")
        named = [urlsplit(url).hostname or "" for url in urls.split(",") if "://" in url]
        if not named or not all(_is_loopback(host) for host in named):
            continue
        reason = f"{server.name} (etcd) listens on {urls}, which no other host reaches."
        remedy = "etcd --listen-client-urls http://0.0.0.0:2379 --advertise-client-urls http://ADDRESS:2379"
        found.append(
            _LOOPBACK.finding(Severity.WARNING, server.name, (seen(server, "listen_client_urls"),), reason, remedy)
        )
    return found


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host == "::1" or host.startswith("127.")


def address_ambiguous(group: Group) -> list[Finding]:
    """Finds workers that have to choose which of this host's addresses to announce."""
    if group.host is None:
        return []
    elsewhere = any(process.node and not group.here(process) for process in group.processes)
    if not elsewhere and not group.several_nodes:
        return []
    addresses = {
        netdev.name: [text for text in netdev.addresses.otherwise(()) if _is_candidate(text)]
        for netdev in group.host.netdevs
        if not netdev.loopback
    }
    candidates = {name: texts for name, texts in addresses.items() if texts}
    if len(candidates) < 2:
        return []
    found: list[Finding] = []
    for worker in group.servers:
        listens_on_all = said(worker, "host") in {"0.0.0.0", "::"}
        if not listens_on_all or not group.here(worker) or any(name in worker.env for name in _ANNOUNCES):
            continue
        evidence = [seen(worker, "host")]
        evidence += [Evidence(name, ", ".join(texts)) for name, texts in sorted(candidates.items())][:8]
        reason = f"{worker.name} listens on all addresses and announces one of {len(candidates)} interfaces."
        variable = "VLLM_HOST_IP" if worker.engine is Engine.VLLM else "--host"
        remedy = f"Set {variable} to the address on the network of the workers."
        found.append(_ADVERTISED.finding(Severity.WARNING, worker.name, evidence, reason, remedy))
    return found


def _is_candidate(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text.partition("/")[0].partition("%")[0])
    except ValueError:
        return False
    return address.version == 4 and not address.is_loopback and not address.is_link_local


def proxy_env(group: Group) -> list[Finding]:
    """Finds proxies that would get the requests between workers."""
    found: list[Finding] = []
    peers = {target.host for target in group.targets} | {worker.node for worker in group.processes}
    peers = {peer for peer in peers if peer and "$" not in peer} or {"127.0.0.1"}
    for worker in group.processes:
        environ = {**_host_environ(group, worker), **worker.env}
        proxy = next(((name, environ[name]) for name in _PROXIES if environ.get(name)), None)
        if proxy is None:
            continue
        exceptions = environ.get("no_proxy") or environ.get("NO_PROXY", "")
        caught = sorted(peer for peer in peers if not _is_excepted(peer, exceptions))
        if not caught:
            continue
        evidence = (Evidence(worker.source, f"{proxy[0]} is set"), Evidence(worker.source, f"no_proxy={exceptions}"))
        reason = f"Requests to {', '.join(caught[:4])} go to the proxy, which does not know the workers."
        corrected = ",".join(dict.fromkeys([*filter(None, exceptions.split(",")), "127.0.0.1", "localhost", *caught]))
        remedy = f"Unset {proxy[0]} for the workers, or set no_proxy={corrected}."
        found.append(_PROXY.finding(Severity.WARNING, worker.name, evidence, reason, remedy, corrected))
    return found


def _host_environ(group: Group, worker: WorkerArguments) -> Mapping[str, str]:
    if group.host is None or not group.here(worker):
        return {}
    return group.host.state.environ.otherwise({})


def _is_excepted(peer: str, exceptions: str) -> bool:
    for text in exceptions.split(","):
        one = text.strip().lstrip(".")
        if one == "*" or (one and (peer == one or peer.endswith("." + one))):
            return True
        try:
            if "/" in one and ipaddress.ip_address(peer) in ipaddress.ip_network(one, strict=False):
                return True
        except ValueError:
            continue
    return False


def router_options(group: Group) -> list[Finding]:
    """Finds options that routers refuse or read otherwise than meant."""
    found: list[Finding] = []
    for router in group.of_role(WorkerRole.ROUTER):
        is_mini_lb = "mini_lb" in router.program or "launch_lb" in router.program
        if not is_mini_lb and router.engine is not Engine.VLLM:
            for option in ("prefill", "decode"):
                joined = [flag for flag in router.all_of(option) if "," in flag.value]
                for flag in joined:
                    behind = "".join(f" {value}" for value in flag.values[1:])
                    corrected = " ".join(f"--{option} {url}{behind}" for url in flag.value.split(",") if url)
                    evidence = (Evidence(router.source, f"--{option} {flag.value}{behind}"),)
                    reason = f"The router takes {flag.value} for one URL."
                    found.append(
                        _POLICY.finding(Severity.ERROR, router.name, evidence, reason, f"Write {corrected}.", corrected)
                    )
        known = _POLICIES.get(router.engine)
        for option in ("policy", "prefill_policy", "decode_policy"):
            policy = router.get(option)
            only_prefill = policy == "bucket" and option != "prefill_policy"
            if known and policy and (policy not in known or only_prefill) and "$" not in policy:
                names = ", ".join(sorted(known - ({"bucket"} if option != "prefill_policy" else set())))
                reason = f"The router has no policy {policy} here."
                found.append(
                    _POLICY.finding(
                        Severity.ERROR, router.name, (seen(router, option),), reason, f"Use one of {names}."
                    )
                )
        names_halves = any(True for option in ("prefill", "decode") for _ in router.all_of(option))
        needs_switch = router.engine in {Engine.SGLANG, Engine.BUNDLED} and not is_mini_lb
        if names_halves and needs_switch and not router.partial and not router.is_on("pd_disaggregation"):
            evidence = (Evidence(router.source, f"{router.name}: no --pd-disaggregation"),)
            reason = "Without --pd-disaggregation the router does not tell prefill and decode apart."
            remedy = "Add --pd-disaggregation."
            found.append(_POLICY.finding(Severity.ERROR, router.name, evidence, reason, remedy))
    return found


CHECKS: tuple[Check[Group], ...] = (
    Check(_LOOPBACK, host_loopback),
    Check(_ADVERTISED, address_ambiguous),
    Check(_PROXY, proxy_env),
    Check(_POLICY, router_options),
)
