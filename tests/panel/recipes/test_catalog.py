from __future__ import annotations

import re
from dataclasses import asdict

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.doctor.rules import ALL_RULES
from pdpanel.panel.recipes.catalog import RECIPES, RULES, find_recipe
from pdpanel.panel.recipes.recipe import Kind, Recipe

from .rendering import render

# What a recipe needs to come to something.
NEEDED = {
    "mad-submit": ("nodes=a,b,c,d,e,f", "model_name=Qwen3-32B"),
    "mad-post-run": ("log_path=/l", "job_id=1", "benchmark_log=b"),
    "link-bench": ("target=n1",),
    "link-bench-perftest": ("target=n1",),
}
TODAY = "layout=colocated-router"
CLUSTER = "nodes=x,y"
P2P = "rpc_port=7"
STORE = ("initiator=n2", "metadata_server=etcd://a:2379")

# For each parameter another value, and what has to be set for it to mean something.
OTHER: dict[str, dict[str, tuple[str, ...]]] = {
    "install": {
        "targets": ("nixl",),
        "accelerator": ("cuda13",),
        "installer": ("pip3",),
        "ucx_path": ("/u", "targets=nixl-src"),
    },
    "mad-docker-build": {
        "image": ("i",),
        "dockerfile": ("d",),
        "layout": ("colocated-router",),
        "base_image": ("b",),
        "install_mori": ("0", TODAY),
        "gpu_arch": ("gfx950",),
    },
    "mad-submit": {
        "xP": ("2",),
        "yD": ("3",),
        "nodes": ("x,y,z",),
        "model_name": ("DeepSeek-V2",),
        "image": ("i",),
        "layout": ("colocated-router",),
        "submit": ("salloc",),
        "log_path": ("/p",),
        "run_mori": ("1", TODAY),
        "dp_mode": ("1", TODAY),
        "use_cx7_nics": ("0", TODAY),
        "model_dir": ("/m", TODAY),
        "skip_benchmark": ("1", TODAY),
    },
    "mad-post-run": {
        "log_path": ("/p",),
        "job_id": ("2",),
        "benchmark_log": ("c",),
        "layout": ("colocated-router",),
        "router_node": ("n1",),
    },
    "smoke-test": {
        "api": ("completions", "model=m"),
        "host": ("n1",),
        "port": ("9",),
        "prompt": ("p",),
        "temperature": ("0",),
        "max_tokens": ("1",),
        "model": ("o", "api=completions"),
        "node": ("n1",),
    },
    "link-bench": {
        "target": ("n9", P2P),
        "rpc_port": ("8",),
        "initiator": ("n3", P2P),
        "metadata_server": ("http://a:8080/metadata", "initiator=n2"),
        "protocol": ("tcp", P2P),
        "device_name": ("mlx5_0", P2P),
        "backend": ("tent", P2P),
        "buffer_size": ("1", P2P),
        "use_vram": ("0", P2P),
        "gpu_id": ("-1", P2P),
        "operation": ("write", P2P),
        "block_size": ("1", P2P),
        "batch_size": ("1", P2P),
        "threads": ("1", P2P),
        "duration": ("1", P2P),
        "report_unit": ("Gb", P2P),
    },
    "link-bench-perftest": {
        "target": ("n9",),
        "operation": ("read",),
        "device": ("mlx5_0",),
        "ib_port": ("2",),
        "gid_index": ("3",),
        "port": ("9",),
        "size": ("1",),
        "queue_pairs": ("4",),
        "duration": ("5",),
        "cuda": ("0",),
    },
    "topology-dump": {"device_name": ("a",), "backend": ("te",), "custom_topo_json": ("/f",)},
    "etcd": {
        "listen": ("127.0.0.1",),
        "advertise": ("n1",),
        "port": ("9",),
        "nodes": ("a",),
        "peer_port": ("9", CLUSTER),
        "token": ("t", CLUSTER),
        "data_dir": ("/d",),
    },
    "metadata-server": {"listen": ("127.0.0.1",), "port": ("9",), "log_level": ("DEBUG",)},
    "mooncake-master": {
        "rpc_port": ("9",),
        "port_flag": ("port", "rpc_port=9"),
        "metrics_port": ("9",),
        "http_metadata": ("1",),
        "http_metadata_host": ("::1", "http_metadata=1"),
        "http_metadata_port": ("9", "http_metadata=1"),
        "kv_lease_ms": ("1",),
        "eviction_high_watermark_ratio": ("0.5",),
        "eviction_ratio": ("0.5",),
        "root_fs_dir": ("/d",),
    },
    "redis": {"listen": ("0.0.0.0",), "port": ("9",), "data_dir": ("/d",)},
}


def test_the_table_above_has_every_parameter() -> None:
    known = {recipe.name: {parameter.name for parameter in recipe.parameters} for recipe in RECIPES}
    assert {name: set(parameters) for name, parameters in OTHER.items()} == known


@pytest.mark.parametrize(("name", "parameter"), [(name, key) for name, table in OTHER.items() for key in table])
def test_every_parameter_is_used(name: str, parameter: str) -> None:
    value, *context = OTHER[name][parameter]
    needed = [text for text in NEEDED.get(name, ()) if text.partition("=")[0] != parameter]
    replaced = [text for text in NEEDED.get(name, ()) if text.partition("=")[0] == parameter]
    if name == "smoke-test" and parameter == "model":
        replaced = ["model=m"]
    if name == "smoke-test" and parameter == "api":
        context, before = [], render(name, *needed)
        after = render(name, *needed, "model=m", f"api={value}")
    else:
        before = render(name, *needed, *replaced, *context)
        after = render(name, *needed, *context, f"{parameter}={value}")
    assert (before.commands, before.env) != (after.commands, after.env)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_recipe_describes_itself(recipe: Recipe) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", recipe.name)
    assert recipe.title and recipe.summary.endswith(".") and recipe.source
    for parameter in recipe.parameters:
        assert parameter.help, parameter.name
        assert (parameter.kind is Kind.CHOICE) == bool(parameter.choices), parameter.name
        assert not (parameter.required and parameter.default is not None), parameter.name


def test_names_are_unique() -> None:
    names = [recipe.name for recipe in RECIPES]
    assert len(set(names)) == len(names)
    others = [rule.id for rule in ALL_RULES if rule not in RULES]
    ids = [rule.id for rule in RULES]
    assert len(set(ids)) == len(ids)
    assert not set(ids) & set(others)


def test_rendering_is_deterministic() -> None:
    texts = NEEDED["mad-submit"]
    assert asdict(render("mad-submit", *texts)) == asdict(render("mad-submit", *texts))


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="perhaps mad-submit"):
        find_recipe("MAD-submitt")
    with pytest.raises(ConfigError, match="write one of install, "):
        find_recipe("$(id)")
