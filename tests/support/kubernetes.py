"""What Kubernetes makes of a manifest: its schemas, those of LeaderWorkerSet, and the expansion of variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jsonschema
import kubernetes_validate

VERSIONS = ("1.28", "1.36")
_STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
_TEMPLATE = {
    "type": "object",
    "required": ["spec"],
    "additionalProperties": False,
    "properties": {
        "metadata": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"labels": _STRINGS, "annotations": _STRINGS},
        },
        "spec": {"type": "object"},
    },
}
# The fields of leaderworkerset.x-k8s.io/v1 by its API reference; pod templates are checked as pods.
LEADER_WORKER_SET = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "leaderworkerset.x-k8s.io/v1"},
        "kind": {"const": "LeaderWorkerSet"},
        "metadata": {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {"name": {"type": "string"}, "labels": _STRINGS},
        },
        "spec": {
            "type": "object",
            "required": ["leaderWorkerTemplate"],
            "additionalProperties": False,
            "properties": {
                "replicas": {"type": "integer", "minimum": 0},
                "startupPolicy": {"enum": ["LeaderCreated", "LeaderReady"]},
                "leaderWorkerTemplate": {
                    "type": "object",
                    "required": ["workerTemplate"],
                    "additionalProperties": False,
                    "properties": {
                        "size": {"type": "integer", "minimum": 1},
                        "restartPolicy": {"enum": ["RecreateGroupOnPodRestart", "RecreateGroupAfterStart", "None"]},
                        "leaderTemplate": _TEMPLATE,
                        "workerTemplate": _TEMPLATE,
                    },
                },
            },
        },
    },
}
DNS_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


def check(document: dict[str, Any]) -> None:
    """Fails unless `document` is one that the API server would take."""
    assert DNS_LABEL.fullmatch(document["metadata"]["name"]), document["metadata"]["name"]
    if document["kind"] == "LeaderWorkerSet":
        jsonschema.validate(document, LEADER_WORKER_SET)
        templates = document["spec"]["leaderWorkerTemplate"]
        for name in ("leaderTemplate", "workerTemplate"):
            pod = {"apiVersion": "v1", "kind": "Pod", **templates[name]}
            check(pod | {"metadata": {"name": "pod", **templates[name]["metadata"]}})
        return
    for version in VERSIONS:
        kubernetes_validate.validate(document, version, strict=True)


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Returns `text` as the kubelet passes it on: $(NAME) is a variable, $$ is $, and an unknown name stays."""

    def one(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", one, text)
