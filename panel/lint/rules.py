"""The rules that lint and import have beside the doctor's."""

from __future__ import annotations

from ...nic_probe.checks.check import Rule
from . import mooncake_config

__all__ = ["BROKEN", "DEPLOYMENT", "LOST", "NOTHING", "RULES", "TOO_LARGE"]

NOTHING = Rule(
    "lint-nothing",
    "A text without anything that can be judged",
    "It holds no launch command of SGLang, vLLM or pdpanel, no options of one, and no configuration that is known.",
)
BROKEN = Rule(
    "lint-json",
    "A text that is nearly JSON",
    "A comma too many, single quotes or missing quotes: a program that reads the file ends with an error.",
    ("RFC 8259",),
)
TOO_LARGE = Rule(
    "lint-too-large",
    "A text of which only the beginning was read",
    "Launch commands and configurations are small; of more than 256 KiB the rest is left unread.",
)
DEPLOYMENT = Rule(
    "lint-deployment",
    "A deployment file that cannot be used",
    "A field has a value that no deployment has, or its plan cannot be made.",
    ("docs/architecture.md",),
)
LOST = Rule(
    "import-not-expressed",
    "Something that a deployment does not say",
    "A deployment has fields for what people usually set. What has none goes into flags and variables; what fits "
    "neither is named, so that nothing is lost without a word.",
    ("docs/architecture.md",),
)
RULES = (NOTHING, BROKEN, TOO_LARGE, DEPLOYMENT, LOST, *mooncake_config.RULES)
