"""Judges KV transfer configurations, as JSON texts, by vLLM's own class: a list of them a line, one line of errors."""

from __future__ import annotations

import json
import sys

from pydantic import TypeAdapter, ValidationError
from vllm.config.kv_transfer import KVTransferConfig  # pyright: ignore[reportMissingImports]

CONFIG = TypeAdapter(KVTransferConfig)


def error_of(text: str) -> str:
    """Returns what the class says against this text; empty when it takes it."""
    try:
        CONFIG.validate_json(text)
    except ValidationError as error:
        return " ".join(str(error).split())
    return ""


for line in sys.stdin:
    print(json.dumps({"errors": [error_of(text) for text in json.loads(line)]}), flush=True)
