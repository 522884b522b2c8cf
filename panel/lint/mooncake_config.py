"""Rules on a Mooncake config: its keys, addresses, devices and sizes, by the integration that reads it.

Pure. Returns findings and the object as it would be right. Called by `lint` for a file of its own, and for one inside
a script.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from ...nic_probe.checks.check import Rule
from ...nic_probe.finding import Evidence, Finding, Severity
from ..metadata.address import AddressError, Scheme, parse_metadata_server
from .mooncake_keys import COMMON_KEYS, KEYS, PROTOCOLS, ConfigDialect, mooncake_dialects

__all__ = ["RULES", "check_mooncake_config"]

_KEYS = Rule(
    "mooncake-config-key",
    "A key of a Mooncake config that nobody reads, or one that is missing",
    "Each integration reads keys of its own and passes over others without a word, so a typing error leaves the "
    "default in place.",
    ("Mooncake documentation: integrations",),
)
_DEVICES = Rule(
    "mooncake-device-name",
    "device_name and protocol do not fit together",
    "device_name is a list with commas and no spaces. With rdma the older integrations need it; with tcp it has no "
    "meaning.",
    ("Mooncake documentation: SGLang and vLLM integration",),
)
_METADATA = Rule(
    "mooncake-metadata-server",
    "metadata_server is none that Mooncake can use",
    "Mooncake takes what stands before :// for the kind of server and nothing for etcd; over HTTP its servers answer "
    "on /metadata. metadata_backend is for an address without a scheme, and goes away.",
    ("Mooncake documentation: transfer engine",),
)
_URLS = Rule(
    "mooncake-url-ports",
    "The ports of prefill_url and decode_url are too close",
    "The connector of vLLM V0 takes ports behind each of the two. On one host they must differ by at least 50; where "
    "both are the same text Mooncake adds 100 to decode's.",
    ("Mooncake documentation: vLLM V0 integration",),
)
_LOCAL = Rule(
    "mooncake-local-hostname",
    "local_hostname is a name that no other host can use",
    "Peers connect to what local_hostname says. localhost and 127.0.0.1 are the peer's own host.",
    ("Mooncake documentation: transfer engine",),
)
_SIZE = Rule(
    "mooncake-segment-size",
    "Sizes of the store do not fit its mode",
    "An embedded store lends memory of the workers, so global_segment_size is above 0; with a standalone store the "
    "workers lend none, so it is 0. The transfer buffer is never 0.",
    ("vLLM source: MooncakeStoreConnector",),
)
_PROTOCOL = Rule(
    "mooncake-protocol",
    "A protocol that Mooncake does not know",
    "Mooncake takes TCP, or ends, where it does not know the name.",
    ("Mooncake source: transfer_engine_impl.cpp",),
)
RULES = (_KEYS, _DEVICES, _METADATA, _URLS, _LOCAL, _SIZE, _PROTOCOL)

_NEEDED: Mapping[ConfigDialect, tuple[str, ...]] = {
    ConfigDialect.SGLANG_PD: ("local_hostname", "metadata_server"),
    ConfigDialect.VLLM_V0: ("prefill_url", "decode_url", "metadata_server"),
    ConfigDialect.VLLM_STORE: ("metadata_server", "master_server_address"),
    ConfigDialect.MOONCAKE: ("local_hostname", "metadata_server", "master_server_address"),
}
_MOST_ROUNDS = 4
_APART = 50
_ADDED = 100
_SIZE_TEXT = re.compile(r"\s*(\d{1,20}(?:\.\d{1,6})?)\s*([kmgt]?i?b?)\s*", re.IGNORECASE)


@dataclass(slots=True)
class _Config:
    """A config while it is judged; `right` grows towards the corrected one."""

    source: str
    values: Mapping[str, Any]
    dialects: tuple[ConfigDialect, ...]
    right: dict[str, Any]
    found: list[Finding] = field(default_factory=list)

    def text(self, key: str) -> str:
        value = self.right.get(key, "")
        return value if isinstance(value, str) else ""

    def remark(
        self, rule: Rule, severity: Severity, key: str, reason: str, remedy: str, corrected: str | None = None
    ) -> None:
        shown = f"{key} = {self.values[key]!r}"[:200] if key in self.values else f"{key} is not set"
        self.found.append(rule.finding(severity, key, (Evidence(self.source, shown),), reason, remedy, corrected))


def check_mooncake_config(
    values: Mapping[str, Any], source: str, *, several_nodes: bool = False
) -> tuple[tuple[Finding, ...], dict[str, Any]]:
    """Returns what is wrong with a config, and the config as it would be right.

    Args:
        values: the JSON object.
        source: the file, for findings.
        several_nodes: True when it is known that its workers run on more than one host.
    """
    first = config = _judged({str(key): value for key, value in values.items()}, source)
    for _ in range(_MOST_ROUNDS):
        # A correction may bring the next one to light, such as the port that an address lacks.
        before, config = config, _judged(config.right, source)
        if config.right == before.right:
            break
    _local_hostname(first, several_nodes)
    return tuple(first.found), config.right


def _judged(values: Mapping[str, Any], source: str) -> _Config:
    config = _Config(source, values, mooncake_dialects(values), dict(values))
    for judge in _JUDGES:
        judge(config)
    return config


def _keys(config: _Config) -> None:
    known = {key for dialect in config.dialects for key in KEYS[dialect]} or COMMON_KEYS
    whose = " or ".join(config.dialects) or "any integration"
    for key in list(config.right):
        if key in known or key.startswith(("_", "#", "//")):
            continue
        near = get_close_matches(key.lower(), sorted(known), n=1, cutoff=0.75)
        taken = bool(near) and near[0] in config.right
        if near and not taken:
            config.remark(_KEYS, Severity.ERROR, key, f"Nobody reads {key}.", f"Write {near[0]}.", near[0])
            config.right = {near[0] if name == key else name: value for name, value in config.right.items()}
        else:
            severity = Severity.WARNING
            remedy = f"Remove it; {whose} reads {', '.join(sorted(known))}."
            config.remark(_KEYS, severity, key, f"{whose} does not read {key}.", remedy)
    # By its keys it may belong to another integration once they are spelt right.
    config.dialects = mooncake_dialects(config.right) or config.dialects
    only = config.dialects[0] if len(config.dialects) == 1 else None
    for key in _NEEDED.get(only, ()) if only else ():
        if config.right.get(key) in (None, ""):
            reason = f"{whose} needs {key}."
            config.remark(_KEYS, Severity.ERROR, key, reason, f"Add {key}.")
    if config.dialects == (ConfigDialect.HICACHE,):
        masters = ("master_server_address", "client_server_address")
        if not any(config.right.get(key) for key in masters):
            reason = "HiCache needs the address of a master or of a client server."
            config.remark(_KEYS, Severity.ERROR, masters[0], reason, "Add master_server_address HOST:50051.")


def _protocol(config: _Config) -> None:
    value = config.right.get("protocol")
    if value is None or value in PROTOCOLS:
        return
    near = get_close_matches(str(value).strip().lower(), sorted(PROTOCOLS), n=1, cutoff=0.6)
    remedy = f"Write {near[0]}." if near else f"Write one of {', '.join(sorted(PROTOCOLS))}."
    reason = f"Mooncake has no protocol {str(value)[:40]!r}."
    config.remark(_PROTOCOL, Severity.ERROR, "protocol", reason, remedy, near[0] if near else None)
    if near:
        config.right["protocol"] = near[0]


def _devices(config: _Config) -> None:
    value = config.right.get("device_name")
    protocol = config.right.get("protocol", "rdma")
    if isinstance(value, list):
        corrected = ",".join(str(one).strip() for one in value)
        config.remark(
            _DEVICES, Severity.ERROR, "device_name", "A list is no text.", "Write the names with commas.", corrected
        )
        config.right["device_name"] = value = corrected
    if value is not None and not isinstance(value, str):
        config.remark(_DEVICES, Severity.ERROR, "device_name", "It is no text.", "Write names such as mlx5_0,mlx5_1.")
        return
    if value and protocol == "tcp":
        reason = "With tcp there is no RDMA device to name."
        config.remark(_DEVICES, Severity.WARNING, "device_name", reason, "Leave device_name empty.", "")
        config.right["device_name"] = ""
        return
    if value:
        names = [name for part in value.split(",") for name in part.split()]
        corrected = ",".join(dict.fromkeys(names))
        if corrected != value:
            spaces = any(char.isspace() for char in value)
            reason = (
                "Mooncake takes a space for a part of the name, and finds no such device."
                if spaces
                else "The list has empty or repeated names."
            )
            severity = Severity.ERROR if spaces else Severity.WARNING
            config.remark(_DEVICES, severity, "device_name", reason, f"Write {corrected}.", corrected)
            config.right["device_name"] = corrected
    strict = set(config.dialects) <= {ConfigDialect.SGLANG_PD, ConfigDialect.VLLM_V0, ConfigDialect.VLLM_V0_STORE}
    if not value and protocol == "rdma" and strict and config.dialects:
        reason = f"With rdma {' or '.join(config.dialects)} needs the names of the RDMA devices."
        remedy = "Name them with commas and no spaces (`pdpanel probe` lists them), or set protocol to tcp."
        config.remark(_DEVICES, Severity.ERROR, "device_name", reason, remedy)


def _metadata(config: _Config) -> None:
    server, backend = config.right.get("metadata_server"), config.right.get("metadata_backend")
    if server is None:
        return
    kinds = {"etcd": Scheme.ETCD, "redis": Scheme.REDIS, "http": Scheme.HTTP}
    if backend is not None and backend not in kinds:
        near = get_close_matches(str(backend).lower(), kinds, n=1)
        reason = f"Mooncake knows no metadata_backend {str(backend)[:40]!r}."
        remedy = f"Write {near[0] if near else 'etcd, redis or http'}."
        config.remark(_METADATA, Severity.ERROR, "metadata_backend", reason, remedy, near[0] if near else None)
        if near:
            config.right["metadata_backend"] = backend = near[0]
    try:
        kind = kinds.get(backend, Scheme.ETCD) if isinstance(backend, str) else Scheme.ETCD
        parsed = parse_metadata_server(server, backend=kind)
    except AddressError as error:
        remedy = error.remedy[:1].upper() + error.remedy[1:] + "."
        reason = f"metadata_server {error.problem}."
        config.remark(_METADATA, Severity.ERROR, "metadata_server", reason, remedy, error.corrected)
        if error.corrected is not None:
            config.right["metadata_server"] = error.corrected
        return
    if backend is None or parsed.bare:
        return
    reason = "metadata_backend is for an address without a scheme, and metadata_server has one."
    severity = Severity.WARNING
    if parsed.scheme is not kinds.get(str(backend)):
        severity = Severity.ERROR
        reason = f"metadata_backend says {backend}, and metadata_server is of {parsed.scheme.value}."
    config.remark(_METADATA, severity, "metadata_backend", reason, "Remove metadata_backend.")
    config.right.pop("metadata_backend", None)


def _urls(config: _Config) -> None:
    if config.dialects != (ConfigDialect.VLLM_V0,):
        return
    prefill, decode = (_endpoint(config, key) for key in ("prefill_url", "decode_url"))
    if prefill is None or decode is None or prefill[0] != decode[0]:
        return
    (host, first), (_, second) = prefill, decode
    if first == second:
        effective = second + _ADDED
        reason = f"Both URLs are {host}:{first}; Mooncake adds {_ADDED}, so decode takes {effective}."
        remedy = f"Write {host}:{effective}, so that the file says what happens."
        config.remark(_URLS, Severity.INFO, "decode_url", reason, remedy, f"{host}:{effective}")
    elif abs(first - second) < _APART:
        right = first + _ADDED if first + _ADDED < 65536 else first - _ADDED
        reason = f"{first} and {second} on one host are {abs(first - second)} apart, and each side takes ports behind."
        remedy = f"Keep at least {_APART} between them, such as {host}:{right}."
        config.remark(_URLS, Severity.ERROR, "decode_url", reason, remedy, f"{host}:{right}")
        config.right["decode_url"] = f"{host}:{right}"


def _endpoint(config: _Config, key: str) -> tuple[str, int] | None:
    value = config.text(key)
    if not value:
        return None
    bare = re.sub(r"\A[a-z]+://", "", value).rstrip("/")
    host, _, port = bare.rpartition(":")
    if not host or not re.fullmatch(r"[1-9]\d{0,4}", port) or int(port) > 65535:
        config.remark(_URLS, Severity.ERROR, key, f"{key} is no HOST:PORT.", "Write one such as 10.0.0.1:13003.")
        return None
    if bare != value:
        reason = f"{key} has a scheme or a path, and Mooncake reads HOST:PORT."
        config.remark(_URLS, Severity.ERROR, key, reason, f"Write {bare}.", bare)
        config.right[key] = bare
    return host.strip("[]"), int(port)


def _sizes(config: _Config) -> None:
    if "local_buffer_size" in config.right and _bytes(config.right["local_buffer_size"]) in {0, None}:
        reason = "The transfer buffer has no size that can be used."
        config.remark(_SIZE, Severity.ERROR, "local_buffer_size", reason, "Write one such as 4GB.")
    if "global_segment_size" not in config.right:
        if config.right.get("mode") == "standalone-store":
            reason = "With a standalone store the workers lend no memory, and the default is 4 GiB."
            config.remark(_SIZE, Severity.ERROR, "global_segment_size", reason, "Set it to 0.", "0")
            config.right["global_segment_size"] = 0
        return
    size = _bytes(config.right["global_segment_size"])
    if size is None:
        config.remark(_SIZE, Severity.ERROR, "global_segment_size", "It is no size.", "Write one such as 80GB.")
        return
    mode = config.right.get("mode")
    if mode == "standalone-store" and size:
        reason = "With a standalone store the workers lend no memory."
        config.remark(_SIZE, Severity.ERROR, "global_segment_size", reason, "Set it to 0.", "0")
        config.right["global_segment_size"] = 0
    elif mode == "embedded" and not size:
        reason = "An embedded store has the memory of its workers alone, and this lends none."
        remedy = "Set it to what each worker lends, such as 4GB, or mode to standalone-store."
        config.remark(_SIZE, Severity.ERROR, "global_segment_size", reason, remedy)
    elif mode is not None and mode not in {"embedded", "standalone-store"}:
        near = get_close_matches(str(mode).replace("_", "-"), ("embedded", "standalone-store"), n=1, cutoff=0.5)
        remedy = f"Write {near[0] if near else 'embedded or standalone-store'}."
        config.remark(
            _SIZE, Severity.ERROR, "mode", f"There is no mode {str(mode)[:40]!r}.", remedy, near[0] if near else None
        )
        if near:
            config.right["mode"] = near[0]


def _bytes(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if 0 <= value < 1e30 else None
    match = _SIZE_TEXT.fullmatch(value) if isinstance(value, str) else None
    return float(match.group(1)) if match else None


def _local_hostname(config: _Config, several_nodes: bool) -> None:
    name = config.text("local_hostname")
    if not name or not _is_loopback(name):
        return
    others = [
        key
        for key in ("metadata_server", "master_server_address")
        for host in _hosts(config.text(key))
        if not _is_loopback(host)
    ]
    if not several_nodes and not others:
        return
    reason = f"Other hosts take {name} for themselves."
    if others and not several_nodes:
        reason = f"{others[0]} is on another host, whose peers take {name} for themselves."
    config.remark(_LOCAL, Severity.ERROR, "local_hostname", reason, "Write this host's address on the common network.")


def _hosts(text: str) -> Iterator[str]:
    if not text or text == "P2PHANDSHAKE":
        return
    for part in text.partition("://")[2].split(",") if "://" in text else text.split(","):
        host = part.partition("/")[0].rpartition(":")[0].strip("[]")
        if host and host not in {"0.0.0.0", "::"}:
            yield host


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


_JUDGES: tuple[Callable[[_Config], None], ...] = (_keys, _protocol, _devices, _metadata, _urls, _sizes)
