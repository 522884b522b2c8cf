"""Asks pyverbs about RDMA devices, in a process of its own, and prints the answer as JSON.

pyverbs keeps the interpreter's lock while libibverbs waits for a driver, so that no thread beside it could give up
waiting; a process can be left. Runs without the package: standard library and pyverbs alone. Started by `verbs`
with one argument of JSON: {"path": [folders of modules], "devices": {name: number of ports}}.

The answer: {"error": ""} and for each device a line {"device": name, "error": "", "ports": {"1": {"active_mtu": n,
"gid_tbl_len": n}}}, each printed at once so that a device that hangs hides none before it.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

__all__ = ["main"]


def main(argument: str) -> None:
    """Answers the question in `argument` on stdout."""
    question = json.loads(argument)
    sys.path[:] = question["path"]
    try:
        # Whatever is wrong with an optional library, a line of text says so: no RDMA in the kernel is its own error.
        library = importlib.import_module("pyverbs.device")
        listed = {_text(device.name) for device in library.get_device_list()}
    except Exception as error:
        _say({"error": _sentence(error)})
        return
    _say({"error": ""})
    for name, ports in question["devices"].items():
        _say({"device": name, **_device(library.Context, name, ports, name in listed)})


def _device(context_of: Any, name: str, ports: int, listed: bool) -> dict[str, Any]:
    if not listed:
        return {"listed": False, "error": "", "ports": {}}
    answers: dict[str, Any] = {}
    try:
        context = context_of(name=name)
        try:
            for number in range(1, ports + 1):
                port = context.query_port(number)
                answers[str(number)] = {"active_mtu": int(port.active_mtu), "gid_tbl_len": int(port.gid_tbl_len)}
        finally:
            context.close()
    except Exception as error:
        return {"listed": True, "error": _sentence(error), "ports": answers}
    return {"listed": True, "error": "", "ports": answers}


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _sentence(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
