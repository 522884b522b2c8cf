"""The same comparison on cases of the project's own, which need nothing beside the checkout."""

from __future__ import annotations

import pytest
from pdpanel.nic_probe.finding import Severity
from pdpanel.panel.deployment import dump_deployment, parse_deployment, parse_deployment_text
from pdpanel.panel.doctor.deployment import check_plan
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.plan import plan
from pdpanel.panel.render import render

from .comparison import assert_same, sorted_argv
from .inputs import deployment_of
from .own_cases import OWN_CASES, case_of


@pytest.mark.parametrize("name", OWN_CASES)
def test_an_own_case_is_reproduced(name: str) -> None:
    case = case_of(name)
    deployment = parse_deployment(deployment_of(case["inputs"]))
    assert_same(render(plan(deployment, elsewhere(), None)), case)
    # Its file says the same.
    assert parse_deployment_text(dump_deployment(deployment)) == deployment


def test_a_router_may_do_without_the_variables_of_workers() -> None:
    case = case_of("tcp-of-an-older-version")
    for command in case["commands"]:
        command["env"] = {}
    case["env"] = {"MC_FORCE_TCP": "1"}
    assert_same(render(plan(parse_deployment(deployment_of(case["inputs"])), elsewhere(), None)), case)


def test_experts_without_dp_attention_ask_for_a_copy_per_rank() -> None:
    inputs = {"engine": "sglang", "model": "org/moe", "tp": 4, "dp": 8, "ep_backend": "mooncake"}
    made = plan(parse_deployment(deployment_of(inputs)), elsewhere(), None)
    argv = made.processes[0].argv
    assert "--enable-dp-attention" not in argv and argv[argv.index("--dp-size") + 1] == "8"
    errors = [finding.reason for finding in check_plan(made) if finding.severity is Severity.ERROR]
    assert errors and all("32 GPUs" in reason for reason in errors)


def test_the_order_of_options_is_no_difference_and_their_words_are() -> None:
    assert sorted_argv(["python", "-m", "x", "--b", "1", "--a"]) == sorted_argv(
        ["python3", "-m", "x", "--a", "--b", "1"]
    )
    assert sorted_argv(["p", "--a", "1", "--b", "2"]) != sorted_argv(["p", "--a", "2", "--b", "1"])
    assert sorted_argv(["p", "--u", "1", "2"]) != sorted_argv(["p", "--u", "1,2"])
    assert sorted_argv(["python3", "x"]) != sorted_argv(["python", "y"])


@pytest.mark.parametrize("change", ["argv", "env", "own env", "router env", "node", "files", "fewer"])
def test_a_difference_is_seen(change: str) -> None:
    case = case_of("single-node-with-policy")
    got = render(plan(parse_deployment(deployment_of(case["inputs"])), elsewhere(), None))
    if change == "argv":
        case["commands"][0]["argv"][-1] = "8"
    elif change == "env":
        case["env"] = {}
    elif change == "own env":
        case["commands"][1]["env"] = {"A": "1"}
    elif change == "router env":
        case["commands"][2]["env"] = {"A": "1"}
    elif change == "fewer":
        case["commands"].append(case["commands"][0])
    elif change == "node":
        case["commands"][1]["node"] = "10.1.0.2"
    else:
        case["files"] = {"a:b.json": {}}
    with pytest.raises(AssertionError):
        assert_same(got, case)


def test_an_input_by_host_or_role_is_said_or_refused() -> None:
    pair = {"engine": "sglang", "model": "org/m", "prefill_hosts": ["a"], "decode_hosts": ["b", "c"]}
    fields = deployment_of(
        {**pair, "tp": {"prefill": 4, "decode": 2}, "decode_port": {"b": 1, "c": 1}, "decode_base_gpu_id": {"b": 2}}
    )
    assert (fields["prefill"]["tp"], fields["decode"]["tp"]) == (4, 2)
    assert (fields["decode"]["port"], fields["decode"]["base_gpu_id"]) == (1, 2)
    with pytest.raises(ValueError, match="decode_port differs by host"):
        deployment_of({**pair, "decode_port": {"b": 1, "c": 2}})
