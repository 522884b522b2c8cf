from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from pdpanel.panel.web.differences import link_changes, plain_run, run_changes
from pdpanel.panel.web.port import HostTraffic, LinkTraffic, ProcessView, RunView

PROCESSES = tuple(ProcessView(f"decode-{place}", "decode", "ready", cpu_percent=10.0) for place in range(32))
RUN = RunView("one", "ready", "pd", "m", "tcp", "http://x", 5.0, PROCESSES)


def plain(*views: RunView) -> dict[str, dict[str, Any]]:
    return {view.id: plain_run(view) for view in views}


def applied(before: dict[str, dict[str, Any]], changes: dict[str, list[Any]]) -> dict[str, dict[str, Any]]:
    """Does with the changes what the page does."""
    runs = copy.deepcopy(before)
    for run in changes["runs"]:
        runs[run["id"]] = run
    for patch in changes["patches"]:
        runs[patch["id"]].update(patch["set"])
        for place, fields in patch["processes"]:
            runs[patch["id"]]["processes"][place].update(fields)
    for run_id in changes["gone"]:
        del runs[run_id]
    return runs


def test_figures_of_processes_travel_alone() -> None:
    busy = replace(RUN, processes=tuple(replace(one, cpu_percent=33.333333) for one in PROCESSES))
    changes = run_changes(plain(RUN), plain(busy))
    assert changes["runs"] == changes["gone"] == []
    (patch,) = changes["patches"]
    assert patch == {"id": "one", "set": {}, "processes": [[place, {"cpu_percent": 33.3}] for place in range(32)]}
    assert applied(plain(RUN), changes) == plain(busy)


def test_change_beyond_the_digits_is_none() -> None:
    still = replace(RUN, processes=tuple(replace(one, cpu_percent=10.00001) for one in PROCESSES))
    assert run_changes(plain(RUN), plain(still)) == {"runs": [], "patches": [], "gone": []}


def test_state_of_the_run_and_of_one_process() -> None:
    first, *others = PROCESSES
    after = replace(RUN, state="degraded", processes=(replace(first, state="crashed", pid=None), *others))
    changes = run_changes(plain(RUN), plain(after))
    assert changes["patches"] == [{"id": "one", "set": {"state": "degraded"}, "processes": [[0, {"state": "crashed"}]]}]
    assert applied(plain(RUN), changes) == plain(after)


def test_other_processes_and_other_runs_travel_whole() -> None:
    fewer = replace(RUN, processes=PROCESSES[:3])
    new = replace(RUN, id="two")
    changes = run_changes(plain(RUN), plain(fewer, new))
    assert [run["id"] for run in changes["runs"]] == ["one", "two"]
    assert changes["patches"] == []
    assert run_changes(plain(RUN, new), plain(RUN))["gone"] == ["two"]
    assert applied(plain(RUN), changes) == plain(fewer, new)


def test_links_tell_numbers_alone_while_their_words_are_the_same() -> None:
    def at(sent: float, reason: str = "") -> HostTraffic:
        return HostTraffic(1.0, 2.0, {"a:1": LinkTraffic(sent, 2.0, "counters", reason)})

    links, changed, gone = link_changes({}, at(1.0))
    assert (links, changed, gone) == ({"a:1": [1.0, 2.0, "counters", ""]}, links, [])
    assert link_changes(links, at(123456.0))[1] == {"a:1": [123500.0, 2.0]}
    assert link_changes(links, at(1.0, "down"))[1] == {"a:1": [1.0, 2.0, "counters", "down"]}
    assert link_changes(links, HostTraffic(1.0, 2.0, {}))[2] == ["a:1"]
