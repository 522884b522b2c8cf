"""Checks of the environment that workers inherit: Mooncake's switches, names of NICs, proxies."""

from __future__ import annotations

from ..finding import Evidence, Finding, Severity
from ..nics.device import RdmaDevice
from .check import Check, Rule
from .evidence import listed, variable
from .view import HostView

__all__ = ["CHECKS", "PRESENCE_TESTED"]

PRESENCE_TESTED = (
    *("MC_FORCE_TCP", "MC_FORCE_MNNVL", "MC_INTRANODE_NVLINK", "MC_FORCE_HCA", "MC_CUSTOM_TOPO_JSON"),
    *("MC_USE_IPV6", "MC_ENABLE_DEST_DEVICE_AFFINITY", "MC_USE_TENT", "MC_USE_TEV1", "MC_LEGACY_RPC_PORT_BINDING"),
)
"""Variables that Mooncake tests for being there, whatever their value."""

_OFF = ("0", "false", "off", "no", "")
_MTUS = ("512", "1024", "2048", "4096")
_PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")

_PRESENCE = Rule(
    "variable-off-is-on",
    "Mooncake's switches that are set to 0 or false",
    "Mooncake looks whether these variables are there and not what they say: MC_FORCE_MNNVL=0 still turns it on. To "
    "turn one off, unset it. MC_FORCE_TCP=0 thus sends KV over TCP although RDMA is there.",
    ("Mooncake 3b5a594: environment variables",),
)
_FORCED_TCP = Rule(
    "tcp-forced",
    "MC_FORCE_TCP on a host with RDMA",
    "With MC_FORCE_TCP Mooncake looks for no NIC, and KV travels over TCP at a fraction of the speed. Nothing in the "
    "logs calls that a fault.",
    ("sgl-project/sglang#7118", "kvcache-ai/Mooncake#602", "kvcache-ai/Mooncake#702"),
)
_NO_SUCH_NIC = Rule(
    "nic-not-here",
    "Names of NICs in variables (MC_TE_FILTERS, NCCL_IB_HCA, UCX_NET_DEVICES, MOONCAKE_DEVICE)",
    "Names of NICs differ from host to host (mlx5_0, rocep24s0, erdma_0). A filter that names none leaves Mooncake "
    "without a NIC, and it takes TCP without an error.",
    ("sgl-project/sglang#4572", "Mooncake documentation: No matched device found"),
)
_PORT_SETTINGS = Rule(
    "rdma-setting",
    "MC_IB_PORT and MC_MTU against the NICs",
    "Mooncake uses one port number for all NICs, and refuses a device on which that port is not ACTIVE (Device X port "
    "not active). It ignores an MTU that RDMA does not know.",
    ("Mooncake 3b5a594: config.cpp",),
)
_DEAD_CONFIG = Rule(
    "mooncake-config-ignored",
    "MOONCAKE_CONFIG_PATH with an SGLang that does not read it",
    "SGLang has not read mooncake.json for PD since 0.4.5.post2: it hands over metadata peer to peer and takes NICs "
    "from --disaggregation-ib-device. Settings in that file, such as tcp or a NIC, have no effect.",
    ("sgl-project/sglang#5460", "sgl-project/sglang#5729"),
)
_PROXY = Rule(
    "proxy-set",
    "Proxy variables that catch the traffic between workers",
    "Engines, routers and the bootstrap server talk HTTP to each other, and their clients obey http_proxy. The "
    "health check of a worker on 127.0.0.1 then goes to the proxy, which answers 403 or 502, and the worker never "
    "becomes ready.",
    ("sgl-project/sglang#28503", "sgl-project/sglang#9814", "Mooncake documentation: troubleshooting"),
)


def variable_off_is_on(view: HostView) -> list[Finding]:
    """Finds switches that are on though they read off."""
    findings: list[Finding] = []
    for name in PRESENCE_TESTED:
        value = view.environ.get(name)
        if value is None or value.strip().lower() not in _OFF:
            continue
        tcp = name == "MC_FORCE_TCP" and bool(view.active_nics)
        findings.append(
            _PRESENCE.finding(
                Severity.ERROR if tcp else Severity.WARNING,
                name,
                [variable(name, value)],
                f"{name}={value} turns it on all the same, since Mooncake looks only whether the variable is there"
                + (", and KV travels over TCP although this host has RDMA." if tcp else "."),
                f"unset {name}",
            )
        )
    return findings


def tcp_forced(view: HostView) -> list[Finding]:
    """Finds TCP that was asked for on a host with RDMA."""
    value = view.environ.get("MC_FORCE_TCP", "")
    if value.strip().lower() in _OFF or not view.active_nics:
        return []
    return [
        _FORCED_TCP.finding(
            Severity.WARNING,
            "MC_FORCE_TCP",
            [variable("MC_FORCE_TCP", value), Evidence("RDMA", f"ACTIVE: {_names(view.active_nics)}")],
            "KV travels over TCP although this host has RDMA NICs.",
            "unset MC_FORCE_TCP, unless it is meant.",
        )
    ]


def nic_not_here(view: HostView) -> list[Finding]:
    """Finds names of NICs that this host does not have."""
    have = {nic.name for nic in view.host.rdma.otherwise(())}
    if not have:
        return []  # Without any NIC, rdma-none says what follows.
    findings: list[Finding] = []
    for name in ("MC_TE_FILTERS", "MOONCAKE_DEVICE", "NCCL_IB_HCA", "UCX_NET_DEVICES"):
        wanted = _wanted(name, view.environ.get(name, ""))
        # UCX takes interfaces beside NICs.
        others = {netdev.name for netdev in view.host.netdevs} if name == "UCX_NET_DEVICES" else set()
        unknown = [one for one in wanted if not _present(name, one, have | others)]
        if not unknown:
            continue
        nothing = len(unknown) == len(wanted)
        corrected = ",".join(nic.name for nic in view.chosen_nics) or None
        findings.append(
            _NO_SUCH_NIC.finding(
                Severity.ERROR if nothing and name == "MC_TE_FILTERS" and view.active_nics else Severity.WARNING,
                name,
                [variable(name, view.environ[name]), Evidence("/sys/class/infiniband", listed(sorted(have)))],
                f"{name} names {listed(unknown)}, which this host does not have"
                + (", so no NIC is left and KV travels over TCP." if nothing else "."),
                f"export {name}={corrected}" if corrected else f"unset {name}",
                corrected,
            )
        )
    return findings


def rdma_setting(view: HostView) -> list[Finding]:
    """Judges the port and the MTU that Mooncake is told."""
    findings: list[Finding] = []
    port = view.environ.get("MC_IB_PORT", "").strip()
    if port.isascii() and port.isdecimal() and len(port) < 4 and int(port) and view.chosen_nics:
        without = [
            nic for nic in view.chosen_nics if not any(one.active and one.number == int(port) for one in nic.ports)
        ]
        if without:
            findings.append(
                _PORT_SETTINGS.finding(
                    Severity.ERROR,
                    "MC_IB_PORT",
                    [variable("MC_IB_PORT", port), *(Evidence(nic.name, _ports(nic)) for nic in without)],
                    f"Port {port} of {_names(without)} is not ACTIVE, and Mooncake refuses the device.",
                    "unset MC_IB_PORT, or name the port that is ACTIVE.",
                )
            )
    mtu = view.environ.get("MC_MTU", "").strip()
    if mtu and mtu not in _MTUS:
        findings.append(
            _PORT_SETTINGS.finding(
                Severity.WARNING,
                "MC_MTU",
                [variable("MC_MTU", mtu)],
                f"{mtu} is no MTU of RDMA, and Mooncake ignores it.",
                f"export MC_MTU=4096 (one of {', '.join(_MTUS)}), or unset MC_MTU",
                "4096",
            )
        )
    return findings


def mooncake_config_ignored(view: HostView) -> list[Finding]:
    """Reports a configuration file that SGLang does not read."""
    path = view.environ.get("MOONCAKE_CONFIG_PATH")
    packages = view.state.software.packages.otherwise({})
    sglang = packages.get("sglang", "")
    if not path or sglang == "0.4.5.post1" or ("vllm" in packages and not sglang):
        return []
    return [
        _DEAD_CONFIG.finding(
            Severity.WARNING if sglang and "vllm" not in packages else Severity.INFO,
            "MOONCAKE_CONFIG_PATH",
            [variable("MOONCAKE_CONFIG_PATH", path)],
            "SGLang ignores this file for PD, so its protocol and devices have no effect (sgl-project/sglang#5460).",
            "unset MOONCAKE_CONFIG_PATH, and name NICs by --disaggregation-ib-device; the stores of vLLM and Mooncake "
            "still read it.",
        )
    ]


def proxy_set(view: HostView) -> list[Finding]:
    """Judges proxies by whether the addresses of workers are left out of them."""
    proxies = [name for name in _PROXIES if view.environ.get(name, "").strip()]
    if not proxies:
        return []
    excluded = next((view.environ[name] for name in ("no_proxy", "NO_PROXY") if view.environ.get(name, "").strip()), "")
    entries = {entry.strip().lower() for entry in excluded.split(",")}
    own = [
        address
        for netdev in view.host.netdevs
        for address in netdev.addresses.otherwise(())
        if not netdev.loopback and ":" not in address
    ]
    loopback = "*" in entries or {"127.0.0.1", "localhost"} <= entries
    if loopback and ("*" in entries or all(_excludes(entries, address) for address in own)):
        return []
    wanted = [entry for entry in ("localhost", "127.0.0.1", "::1", *own) if not _excludes(entries, entry)]
    corrected = ",".join([*(entry.strip() for entry in excluded.split(",") if entry.strip()), *wanted])
    only_http = all("http_proxy" not in name.lower() and "all_proxy" not in name.lower() for name in proxies)
    return [
        _PROXY.finding(
            Severity.INFO if loopback or only_http else Severity.WARNING,
            ", ".join(proxies),
            [
                *(variable(name, view.environ[name]) for name in proxies),
                variable("no_proxy", excluded) if excluded else Evidence("environment", "no_proxy is not set"),
            ],
            "Requests to the addresses of this host go to the proxy, when workers name each other by them."
            if loopback
            else "Health checks and the bootstrap of workers on this host go to the proxy and fail "
            "(sgl-project/sglang#28503).",
            f"export no_proxy={corrected} NO_PROXY={corrected}, with the addresses of the other hosts added; or unset "
            f"{' '.join(proxies)}",
            corrected,
        )
    ]


def _wanted(name: str, value: str) -> list[str]:
    """Returns the names of NICs that a variable asks for; an exclusion asks for none."""
    text = value.strip()
    if name == "NCCL_IB_HCA":
        text = "" if text.startswith("^") else text.lstrip("=")
    found = [part.strip().partition(":")[0] for part in text.split(",") if part.strip()]
    return [part for part in found if part != "all"] if name == "UCX_NET_DEVICES" else found


def _present(name: str, wanted: str, have: set[str]) -> bool:
    if name == "NCCL_IB_HCA":
        return any(one.startswith(wanted) for one in have)
    return wanted in have


def _excludes(entries: set[str], address: str) -> bool:
    """True when a no_proxy list leaves `address` out, by itself or by what its end is; networks count as given."""
    if "*" in entries or address.lower() in entries:
        return True
    parts = address.split(".")
    prefixes = {".".join(parts[:count]) for count in range(1, len(parts))}
    return any(entry.partition("/")[0].rstrip(".0*") in prefixes for entry in entries if entry[:1].isdecimal())


def _names(nics: tuple[RdmaDevice, ...] | list[RdmaDevice]) -> str:
    return listed(nic.name for nic in nics)


def _ports(nic: RdmaDevice) -> str:
    return ", ".join(f"port {port.number} {port.state}" for port in nic.ports) or "no port"


CHECKS: tuple[Check[HostView], ...] = (
    Check(_PRESENCE, variable_off_is_on),
    Check(_FORCED_TCP, tcp_forced),
    Check(_NO_SUCH_NIC, nic_not_here),
    Check(_PORT_SETTINGS, rdma_setting),
    Check(_DEAD_CONFIG, mooncake_config_ignored),
    Check(_PROXY, proxy_set),
)
