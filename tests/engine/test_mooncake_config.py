from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.config import read_environment
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.mooncake_config import P2P, MooncakeConfig, read_mooncake_config

SEED = {
    "local_hostname": "192.168.0.137",
    "metadata_server": "etcd://192.168.0.137:2379",
    "protocol": "rdma",
    "device_name": "erdma_0,erdma_1",
}


def read(folder: Path, text: object) -> MooncakeConfig:
    path = folder / "mooncake.json"
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return read_mooncake_config({"MOONCAKE_CONFIG_PATH": str(path)})


def test_without_the_variable_metadata_goes_from_peer_to_peer() -> None:
    assert read_mooncake_config({}) == MooncakeConfig("", P2P, "", "")
    assert read_environment({}).mooncake.metadata_server == P2P


def test_the_four_keys_of_the_first_document_are_read(tmp_path: Path) -> None:
    assert read(tmp_path, SEED) == MooncakeConfig(*SEED.values())


@pytest.mark.parametrize(
    ("server", "meant"),
    [
        ("192.168.0.137:2379", "etcd://192.168.0.137:2379"),
        ("etcd://a:2379,b:2379", "etcd://a:2379,b:2379"),
        ("http://10.0.0.1:8080/metadata", "http://10.0.0.1:8080/metadata"),
        ("P2PHANDSHAKE", P2P),
        ("", P2P),
    ],
)
def test_every_form_of_a_metadata_server_that_mooncake_takes(tmp_path: Path, server: str, meant: str) -> None:
    assert read(tmp_path, {**SEED, "metadata_server": server}).metadata_server == meant


def test_tcp_has_no_devices(tmp_path: Path) -> None:
    assert read(tmp_path, {**SEED, "protocol": "tcp"}).device_name == ""


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ({**SEED, "metadata_server": "redis://:secret@10.0.0.1:6379"}, "built without Redis"),
        ({**SEED, "metadata_server": "zookeeper"}, "is not a metadata server"),
        ({**SEED, "device_name": "mlx5_0, mlx5_1"}, "without spaces"),
        ({**SEED, "protocol": "ib"}, "write rdma or tcp"),
        ({**SEED, "local_hostname": 5}, "write it in quotes"),
        ({"local_hostnam": "x"}, "did you mean local_hostname?"),
        ("[1]", "not one JSON object"),
        ("{", "is not JSON"),
        ("[" * 200_000, "MOONCAKE_CONFIG_PATH"),
    ],
)
def test_a_bad_file_is_one_sentence_before_mooncake_is_touched(tmp_path: Path, text: object, word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert word in str(caught.value) and "secret" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="MOONCAKE_CONFIG_PATH"):
        read_mooncake_config({"MOONCAKE_CONFIG_PATH": str(tmp_path / "none.json")})


@given(st.text(max_size=60))
def test_no_server_text_raises_anything_else(tmp_path_factory: pytest.TempPathFactory, server: str) -> None:
    folder = tmp_path_factory.mktemp("m")
    try:
        read(folder, {"metadata_server": server})
    except ConfigError as error:
        assert "\n" not in str(error)
