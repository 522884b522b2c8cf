"""What the findings on options stand for."""

from __future__ import annotations

from ...nic_probe.checks.check import Rule

__all__ = ["DROPPED", "KV_KEY", "NOT_IN_ENGINE", "REFUSED", "RULES", "TRANSLATED", "UNKNOWN", "VALUE"]

_READ = ("SGLang release wheels 0.4.5 to 0.5.23", "vLLM release wheels 0.8.5 to 0.32.0", "sglang-router 0.3.2")

TRANSLATED = Rule(
    "flag-translated",
    "An option in the words of the engine's version",
    "Engines rename options. What was written has a successor, or a predecessor, that means the same in the version "
    "that the deployment names; the command has that one.",
    _READ,
)
DROPPED = Rule(
    "flag-dropped",
    "An option that is left out because it means nothing any more",
    "Some options told an engine what it finds out by itself today. The version that the deployment names does not "
    "have the option and needs nothing in its place.",
    _READ,
)
REFUSED = Rule(
    "flag-refused",
    "An option that the engine's version does not have",
    "argparse ends the server at once on an option that it does not know. Other releases have this one, and nothing "
    "in this version means the same.",
    _READ,
)
UNKNOWN = Rule(
    "flag-unknown",
    "An option that no release has, or a short form of several",
    "argparse ends the server at once on an option that it does not know, and on a shortened one that fits several. "
    "A plug-in or a build of one's own may add options; then the engine itself is what to ask.",
    _READ,
)
KV_KEY = Rule(
    "kv-transfer-key-refused",
    "A key that the KV transfer configuration of this vLLM does not have",
    "vLLM's configuration classes refuse unknown keys. kv_rank, kv_parallel_size, kv_buffer_size and kv_ip were read "
    "by V0, ignored by V1, and are gone in 0.32.",
    _READ,
)

VALUE = Rule(
    "flag-value-refused",
    "A value that an option does not take in the engine's version",
    "Options with a fixed list of values get new ones and lose old ones from release to release. argparse ends the "
    "server at once on a value that is not in the list.",
    _READ,
)
NOT_IN_ENGINE = Rule(
    "flag-not-in-engine",
    "A generated option that the engine at hand does not know",
    "The options of an engine are read from its source, without running it. A process of the deployment is given one "
    "that is not among them, so the engine would end at once.",
)

RULES: tuple[Rule, ...] = (TRANSLATED, DROPPED, REFUSED, UNKNOWN, VALUE, KV_KEY, NOT_IN_ENGINE)
