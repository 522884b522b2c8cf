from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.attach.answers import Identity, identity_of, listed_workers
from pdpanel.panel.launch import Role

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["workers", "urls", "url", "prefill", "role", "data", "vllm_config", "server_args", "version"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ({"urls": ["http://a:1", "http://b:1"]}, [("http://a:1", None), ("http://b:1", None)]),
        ({"workers": [{"url": "http://a:1", "worker_type": "regular"}]}, [("http://a:1", Role.UNIFIED)]),
        ({"workers": [{"url": "http://a:1", "role": "decode"}]}, [("http://a:1", Role.DECODE)]),
        ([{"url": "http://a:1", "worker_type": "prefill"}], [("http://a:1", Role.PREFILL)]),
        ({"prefill": [{"url": "http://a:1"}], "decode": []}, [("http://a:1", Role.PREFILL)]),
        ({"prefill": [{"model_path": "x"}]}, []),
        ("<html>", []),
    ],
)
def test_workers_that_a_router_names(answer: Any, found: list[tuple[str, Role | None]]) -> None:
    assert [(worker.url, worker.role) for worker in listed_workers(answer)] == found


@pytest.mark.parametrize(
    ("info", "identity"),
    [
        (
            {"disaggregation_mode": "prefill", "model_path": "/m", "version": "0.5.9"},
            Identity(Role.PREFILL, "sglang", "0.5.9", "/m"),
        ),
        (
            {
                "disaggregation_mode": "decode",
                "served_model_name": "m",
                "pages": {},
                "startup": {},
                "disaggregation_transfer_backend": "tcp",
            },
            Identity(Role.DECODE, "bundled", "", "m", "tcp"),
        ),
        ({"disaggregation_mode": "null", "model_path": "m"}, Identity(Role.UNIFIED, "sglang", "", "m")),
        ({"vllm_config": "KVTransferConfig(kv_role='kv_producer')"}, Identity(Role.PREFILL, "vllm")),
        ({"vllm_config": {"kv_transfer_config": {"kv_role": "kv_consumer"}}}, Identity(Role.DECODE, "vllm")),
        ({"vllm_config": {"kv_transfer_config": None}}, Identity(Role.UNIFIED, "vllm")),
        ({}, Identity()),
    ],
)
def test_what_a_worker_says_it_is(info: Any, identity: Identity) -> None:
    assert identity_of(info) == identity


def test_vllm_by_its_models_and_version() -> None:
    models = {"data": [{"id": "m", "owned_by": "vllm"}]}
    assert identity_of(None, models, {"version": "0.33.0"}) == Identity(None, "vllm", "0.33.0", "m")


def test_hostile_names_are_one_plain_line() -> None:
    identity = identity_of({"model_path": "\x1b[31ma\n\u202eb" + "x" * 5000, "disaggregation_mode": "null"})
    assert identity.model.startswith("a b")
    assert len(identity.model) <= 300


@given(JSON, JSON, JSON)
def test_no_answer_breaks_it(info: Any, models: Any, version: Any) -> None:
    identity_of(info, models, version)
    assert all(isinstance(worker.url, str) for worker in listed_workers(info))
