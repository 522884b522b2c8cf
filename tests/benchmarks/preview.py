"""How long the panel works on one change of the Plan tab's form: text, plan and answer, as JSON.

`python tests/benchmarks/preview.py [ROUNDS]`. Each round changes one field of a deployment of one host, of one of
64 nodes that are written out, and of one of 512. The aim is 200 ms. The last line is JSON with medians and the slowest.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import msgspec

LIMIT_MS = 200.0


def deployments() -> dict[str, str]:
    """Returns the texts by name."""
    from pdpanel.panel.web.plan_starts import default_text

    return {"one host": default_text(), "64 nodes": many(64), "512 nodes": many(512)}


def many(nodes: int) -> str:
    """Returns a deployment of as many hosts, half for prefill, each with a line of its own."""
    half = nodes // 2
    hosts = "".join(f"  node{i:03}: {{address: 10.0.{i // 250}.{i % 250 + 1}, gpus: 8}}\n" for i in range(1, nodes + 1))
    return (
        "version: 1\nname: many\nengine: sglang\nengine_version: '0.5.23'\nmodel: deepseek-ai/DeepSeek-V3\n"
        "workers: {tp: 8}\n"
        f"prefill: {{count: {half}, hosts: ['node[001-{half:03}]']}}\n"
        f"decode: {{count: {nodes - half}, hosts: ['node[{half + 1:03}-{nodes:03}]']}}\nhosts:\n{hosts}"
    )


def main() -> None:
    """Prints one line for each deployment, and the result as JSON."""
    from pdpanel.panel.web.plan_form import form_fields
    from pdpanel.panel.web.plan_preview import Edit, preview

    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    fields = {field.path: field for field in form_fields()}
    result: dict[str, object] = {"suite": "preview", "unit": "ms", "limit": LIMIT_MS}
    for name, text in deployments().items():
        times: list[float] = []
        size = 0
        for number in range(rounds + 1):
            edit = Edit("limits.ready_timeout_s", str(100 + number))
            began = time.perf_counter()
            answer = preview(text, [edit], fields)
            size = len(msgspec.json.encode(answer))
            times.append((time.perf_counter() - began) * 1000)
            assert answer["error"] is None, answer["error"]
        # The first round imports what is imported once.
        median, slowest = statistics.median(times[1:]), max(times[1:])
        print(f"{name}: median {median:.1f} ms, slowest {slowest:.1f} ms, {size / 1000:.0f} kB")
        result[name] = {"median": round(median, 1), "max": round(slowest, 1), "bytes": size}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
