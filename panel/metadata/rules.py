"""What can be wrong with a metadata server, by id, with the explanation that a person may ask for. Pure data."""

from __future__ import annotations

from ...nic_probe.checks.check import Rule

__all__ = ["RULES"]

ADDRESS = Rule(
    "metadata-address",
    "Whether the address of the metadata server is one",
    "Mooncake checks an address hardly at all. A missing port, a slash behind it, a space or an IPv6 address without "
    "brackets costs it five seconds in which it tries, and then initialize returns -1.",
    ("Mooncake: transfer_metadata_plugin.cpp", "tried with the non-CUDA wheel 0.3.13"),
)
UNKNOWN_SCHEME = Rule(
    "metadata-unknown-scheme",
    "Whether Mooncake knows the kind of metadata server",
    "Mooncake takes what stands before :// for the kind of server, in lower case and without a space before it. At one "
    "that it does not know it aborts the whole process (SIGABRT, `Unable to find metadata storage plugin`); no Python "
    "exception tells.",
    ("Mooncake: transfer_metadata_plugin.cpp", "kvcache-ai/Mooncake#375", "kvcache-ai/Mooncake#476"),
)
UNSUPPORTED = Rule(
    "metadata-unsupported-by-build",
    "Whether the installed Mooncake can use this kind of metadata server",
    "etcd and redis are options of Mooncake's build. No published wheel has redis; etcd is in the wheels since 0.3.3, "
    "but not in the CUDA wheels for ARM. A build that lacks a kind aborts the process (SIGABRT) when it is given such "
    "an address.",
    ("Mooncake: release workflows", "kvcache-ai/Mooncake#386", "kvcache-ai/Mooncake#440"),
)
UNREACHABLE = Rule(
    "metadata-unreachable",
    "Whether the metadata server answers",
    "Each Mooncake engine registers with the metadata server when it starts and asks it for its peers. Without it "
    "initialize returns -1. etcd keeps the entries when it is restarted, Mooncake's HTTP servers forget them.",
    ("Mooncake: troubleshooting",),
)
FOREIGN = Rule(
    "metadata-wrong-service",
    "Whether what answers is a metadata server of the kind that its address says",
    "Something else may have taken the port, or the port or the path is that of another service. Mooncake then fails "
    "as if there were no server.",
)
UNHEALTHY = Rule(
    "metadata-unhealthy",
    "Whether the metadata server can serve",
    "An etcd without a leader, or with its space used up, answers and takes no writes, so that no engine can register. "
    "A redis that wants a password needs MC_REDIS_PASSWORD.",
    ("etcd: operations guide",),
)
LOOPBACK = Rule(
    "metadata-loopback",
    "Whether workers on other hosts can reach the metadata server",
    "etcd listens on 127.0.0.1 unless told otherwise, and an address such as 127.0.0.1 means another host for each "
    "worker. Where all workers run on one host, loopback is right: nobody else can then write to the server.",
    ("Mooncake: troubleshooting",),
)
STALE = Rule(
    "metadata-stale-segment",
    "Whether the engines of registered segments are there",
    "An engine removes its entries when it ends, but not when it is killed. Its peers then still find it and fail at "
    "their first transfer. Mooncake's HTTP servers moreover refuse an engine of the same name until the entry is gone "
    "(`Duplicate rpc_meta key not allowed`, initialize returns -1); etcd lets it overwrite the entry.",
    ("Mooncake: http_metadata_server.py", "tried with the non-CUDA wheel 0.3.13"),
)
SEGMENT_LOOPBACK = Rule(
    "metadata-segment-loopback",
    "Whether engines registered addresses that others can reach",
    "With etcd or HTTP metadata an engine registers the address that its peers shall use. If that is a loopback "
    "address, a peer on another host connects to itself. MC_TCP_BIND_ADDRESS sets the registered address.",
    ("Mooncake: transfer_metadata.cpp",),
)
UNREADABLE = Rule(
    "metadata-unreadable-entry",
    "Whether the entries below mooncake/ are Mooncake's",
    "An entry that is no JSON object, or that describes no segment, was written by something else, or by a Mooncake "
    "of another kind. An engine that asks for it fails.",
)
NOT_LISTED = Rule(
    "metadata-not-listed",
    "Whether the registered segments can be listed",
    "etcd may refuse to list its keys to whoever has no account, or have more than are read in a few seconds. "
    "Mooncake's HTTP servers cannot list at all; they can be asked for segments by name.",
    ("Mooncake: http_metadata_server.py",),
)
MISSING = Rule(
    "metadata-segment-missing",
    "Whether the segments that were asked for are registered",
    "With etcd or HTTP metadata an engine is registered under the local_hostname that it was given, as it stands "
    "there. Peers that look for it under another text do not find it.",
)

RULES: tuple[Rule, ...] = (
    ADDRESS,
    UNKNOWN_SCHEME,
    UNSUPPORTED,
    UNREACHABLE,
    FOREIGN,
    UNHEALTHY,
    LOOPBACK,
    STALE,
    SEGMENT_LOOPBACK,
    UNREADABLE,
    NOT_LISTED,
    MISSING,
)
