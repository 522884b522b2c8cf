"""How a simulated process of the page tests starts: stage by stage, or into a crash that the doctor explains.

A model whose name holds `crash` ends its last decode worker in the middle of the weights, one with `ranks` has several
in it. Values alone; called by `simulated_source`.
"""

from __future__ import annotations

from typing import Any

from pdpanel.panel.web.port import DeployForm, ProcessView

__all__ = ["HOSTILE", "crash", "crashes", "processes_of", "stage_at"]

HOSTILE = '<img src=x onerror="window.hacked=1">'
_STAGES = ("starting", "importing", "loading weights", "warming up", "registered")


def stage_at(share: float) -> tuple[str, float | None]:
    """Returns what a process does, and how much of it is done, when `share` of its start has passed."""
    place = min(len(_STAGES) - 1, int(share * len(_STAGES)))
    if _STAGES[place] != "loading weights":
        return _STAGES[place], None
    done = min(0.99, max(0.0, share * len(_STAGES) - place))
    return f"loading weights {done:.0%}".replace("%", " %"), round(done, 2)


def crashes(model: str, name: str) -> bool:
    """Returns True for the process that this model lets crash."""
    return "crash" in model and name == "decode-0"


def crash(model: str) -> dict[str, Any]:
    """Returns what changes in the process that crashes."""
    said = HOSTILE if "hostile" in model else "CUDA out of memory. Tried to allocate 2.50 GiB"
    finding = {
        "id": "log-out-of-memory",
        "severity": "error",
        "subject": f"decode-0 {HOSTILE}" if "hostile" in model else "decode-0",
        "evidence": ({"source": "logs/decode-0.log:112", "value": said},),
        "reason": "The weights and the KV pool together take more memory than the device has.",
        "remedy": "Lower `mem_fraction_static`, or choose a smaller model.",
        "corrected": None,
    }
    return {
        "state": "crashed",
        "stage": "",
        "progress": None,
        "pid": None,
        "started_s": None,
        "cpu_percent": None,
        "rss_bytes": None,
        "exit_code": -9,
        "message": f"Killed by SIGKILL: {said}.",
        "findings": (finding,),
    }


def processes_of(form: DeployForm, number: int, port: int) -> tuple[ProcessView, ...]:
    """Returns the processes that a form asks for, none of them started."""
    roles = {"unified": form.unified} if form.mode == "unified" else {"prefill": form.prefill, "decode": form.decode}
    names = [(f"{role}-{index}", role) for role, count in roles.items() for index in range(count)]
    names.append(("router", "router"))
    return tuple(
        ProcessView(
            name=name,
            role=role,
            state="pending",
            pid=number * 100 + place,
            port=port if role == "router" else 30000 + number * 20 + place,
            can_profile=role != "router",
            ranks=2 if "ranks" in form.model and name == "decode-0" else 1,
        )
        for place, (name, role) in enumerate(names)
    )
