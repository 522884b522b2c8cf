"""Judges KV transfer configurations, as JSON texts, by vLLM's own class: a JSON list in, one list of errors out."""

from __future__ import annotations

import json
import sys

from pydantic import TypeAdapter, ValidationError
from vllm.config.kv_transfer import KVTransferConfig  # pyright: ignore[reportMissingImports]


def main() -> None:
    config = TypeAdapter(KVTransferConfig)
    errors: list[str] = []
    for text in json.load(sys.stdin):
        try:
            config.validate_json(text)
            errors.append("")
        except ValidationError as error:
            errors.append(" ".join(str(error).split()))
    json.dump({"errors": errors}, sys.stdout)


main()
