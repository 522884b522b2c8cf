from __future__ import annotations

import pytest

from .sglang_plans import made, option, process, refused


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("sglang-router", ("python3", "-m", "sglang_router.launch_router", "--pd-disaggregation")),
        ("mini_lb", ("python3", "-m", "sglang_router.launch_router", "--pd-disaggregation", "--mini-lb")),
        ("smg", ("smg", "launch", "--pd-disaggregation")),
    ],
)
def test_each_kind_has_its_program(kind: str, head: tuple[str, ...]) -> None:
    argv = process(made(router={"kind": kind}), "router").argv
    assert argv[: len(head)] == head
    assert option(argv, "prefill") == ["http://127.0.0.1:30000"]
    assert option(argv, "decode") == ["http://127.0.0.1:30001"]
    assert option(argv, "host") == ["127.0.0.1"] and option(argv, "port") == ["8000"]


def test_the_bundled_router_serves_sglang() -> None:
    router = process(made(router={"kind": "bundled", "policy": "round_robin"}), "router")
    assert router.argv[1:3] == ("-m", "pdpanel.engine.launch_router")
    assert option(router.argv, "prefill") == ["http://127.0.0.1:30000", "8998"]


def test_no_router_is_none() -> None:
    plan = made(router={"kind": "none"})
    assert plan.process("router") is None and plan.router_url == ""


def test_metrics_stay_where_the_router_is() -> None:
    plan = made(router={"metrics_port": 29100})
    router = process(plan, "router")
    assert option(router.argv, "prometheus-port") == ["29100"]
    assert option(router.argv, "prometheus-host") == ["127.0.0.1"]
    assert router.metrics_url == "http://127.0.0.1:29100/metrics"
    opened = process(made(router={"host": "0.0.0.0"}), "router")
    assert option(opened.argv, "prometheus-host") is None and option(opened.argv, "prometheus-port") is None
    assert opened.metrics_url == "http://127.0.0.1:29000/metrics"
    assert process(made(router={"kind": "mini_lb"}), "router").metrics_url == ""
    named = process(made(router={"host": "localhost"}), "router")
    assert option(named.argv, "prometheus-host") == ["127.0.0.1"]
    elsewhere = process(made(router={"host": "gateway"}), "router")
    assert option(elsewhere.argv, "prometheus-host") is None


def test_policies_and_flags() -> None:
    argv = process(made(router={"policy": "power_of_two", "flags": {"dp-aware": True, "queue-size": 5}}), "router").argv
    assert option(argv, "policy") == ["power_of_two"]
    assert argv[-3:] == ("--dp-aware", "--queue-size", "5")
    assert option(process(made(), "router").argv, "policy") is None
    refused("router.policy", "policy", router={"policy": "psychic"})
    refused("router.policy", "mini_lb", router={"kind": "mini_lb", "policy": "round_robin"})
    refused("router.kind", "serves pairs", unified={"count": 1}, router={"kind": "mini_lb"})
    refused("router.kind", "does not speak", router={"kind": "vllm-router"})


def test_bootstrap_ports_stand_behind_urls_when_they_are_not_plain() -> None:
    assert option(process(made(prefill={"bootstrap_port": 8998}), "router").argv, "prefill") == [
        "http://127.0.0.1:30000",
        "8998",
    ]
    several = process(made(prefill={"count": 2, "hosts": ["a", "b"]}, decode={"hosts": ["c"]}), "router").argv
    assert [several[i + 1 : i + 3] for i, word in enumerate(several) if word == "--prefill"] == [
        ("http://a:30000", "8998"),
        ("http://b:30000", "8998"),
    ]


def test_one_decode_option_for_each_worker() -> None:
    argv = process(made(decode={"count": 3}), "router").argv
    assert argv.count("--decode") == 3
    assert not any("," in word for word in argv)
