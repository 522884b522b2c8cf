from __future__ import annotations

import json
from typing import Any

import pytest
from metadata_servers import RealEtcd, RealHttp, Rough
from pd_http import free_port
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.cli_metadata import metadata


def run(capsys: pytest.CaptureFixture[str], url: str, *remove: str, **options: Any) -> tuple[int, str]:
    status = metadata(url, as_json=False, remove=remove, **options)
    return status, capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], url: str, *remove: str, **options: Any) -> tuple[int, dict[str, Any]]:
    status = metadata(url, as_json=True, remove=remove, **options)
    return status, json.loads(capsys.readouterr().out)


def test_segments_are_a_table_with_what_is_wrong_below(
    etcd: RealEtcd, rough: Rough, capsys: pytest.CaptureFixture[str]
) -> None:
    etcd.register("alive:1", rough(lambda connection: None).port)
    etcd.register("gone:1", free_port())
    status, text = run(capsys, etcd.url)
    assert status == 0
    assert f"\n  127.0.0.1:{etcd.port} answers, version 3." in text
    rows = {line.split()[0]: line for line in text.splitlines() if line.startswith("  ") and ":1 " in line}
    assert "rdma" in rows["alive:1"] and "mlx5_0" in rows["alive:1"] and "1.049 MB" in rows["alive:1"]
    assert " alive " in rows["alive:1"] and " gone " in rows["gone:1"]
    assert f"fix: pdpanel metadata {etcd.url} --remove gone:1" in text


def test_json_has_everything(etcd: RealEtcd, capsys: pytest.CaptureFixture[str]) -> None:
    etcd.register("gone:1", free_port())
    status, answer = document(capsys, etcd.url)
    assert status == 0 and answer["answers"] is True
    (segment,) = answer["segments"]
    assert segment["buffers"] == [{"name": "cuda:0", "address": 4096, "length": 1 << 20}]
    assert (segment["name"], segment["state"], segment["bytes"]) == ("gone:1", "gone", 1 << 20)
    assert segment["keys"] == ["mooncake/ram/gone:1", "mooncake/rpc_meta/gone:1"]
    assert [finding["id"] for finding in answer["findings"]] == ["metadata-stale-segment"]
    assert answer["counts"]["warning"] == 1


def test_a_dry_run_says_what_would_go_and_removes_nothing(etcd: RealEtcd, capsys: pytest.CaptureFixture[str]) -> None:
    etcd.register("gone:1", free_port())
    status, text = run(capsys, etcd.url, "gone:1", dry_run=True)
    assert status == 0
    assert "would remove mooncake/ram/gone:1" in text and "would remove mooncake/rpc_meta/gone:1" in text
    assert len(etcd.keys()) == 2


def test_what_is_removed_is_said_and_gone(etcd: RealEtcd, capsys: pytest.CaptureFixture[str]) -> None:
    etcd.register("gone:1", free_port())
    etcd.register("stays:1", free_port())
    status, text = run(capsys, etcd.url, "gone:1")
    assert status == 0
    assert "removed mooncake/ram/gone:1" in text and "removed mooncake/rpc_meta/gone:1" in text
    assert "metadata-segment-missing" not in text
    assert etcd.keys() == ["mooncake/ram/stays:1", "mooncake/rpc_meta/stays:1"]


def test_the_http_server_is_told_what_to_look_for(http_server: RealHttp, capsys: pytest.CaptureFixture[str]) -> None:
    http_server.register("gone:1", free_port())
    status, text = run(capsys, http_server.url)
    assert status == 0 and "--segment" in text
    status, answer = document(capsys, http_server.url, segments=["gone:1", "none:1"])
    assert status == 0
    assert [one["name"] for one in answer["segments"]] == ["gone:1"] and answer["missing"] == ["none:1"]
    status, answer = document(capsys, http_server.url, "gone:1")
    assert status == 0 and answer["segments"] == []
    assert [one["kept"] for one in answer["removals"]] == ["", ""]


def test_hostile_names_and_texts_are_shown_harmless(etcd: RealEtcd, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("\x1b[2J\x1b]0;owned\x07evil", "two\nlines", "\udcff", "$(reboot)", "x" * 4000):
        etcd.register(name, free_port(), protocol="\x1b[31mtcp", timestamp="\x9b31m\r\n")
    etcd.put("mooncake/ram/garbage\x1b[5m", b"\x1b[31m\xff")
    status, text = run(capsys, etcd.url)
    assert status == 0
    text.encode()
    assert not [char for char in text if not char.isprintable() and char != "\n"]
    assert "--remove '$(reboot)'" in text
    status, answer = document(capsys, etcd.url)
    assert "two\nlines" in [one["name"] for one in answer["segments"]]
    assert "\udcff" in [one["name"] for one in answer["segments"]]


def test_a_name_of_any_bytes_can_be_removed(etcd: RealEtcd, capsys: pytest.CaptureFixture[str]) -> None:
    etcd.register("\udcff\x1b\n", free_port())
    status, text = run(capsys, etcd.url, "\udcff\x1b\n")
    text.encode()
    assert (status, etcd.keys()) == (0, [])


def test_no_server_is_an_error_and_nothing_was_removed(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"etcd://127.0.0.1:{free_port()}"
    assert run(capsys, url)[0] == 1
    status, answer = document(capsys, url, "a:1")
    assert status == 1 and answer["segments"] is None and answer["removals"] == []


def test_a_list_that_is_refused_removes_nothing_and_says_so(
    etcd: RealEtcd, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pdpanel.nic_probe.reading import Reading
    from pdpanel.panel.metadata import etcd as etcd_module

    monkeypatch.setattr(etcd_module, "list_etcd", lambda endpoint: Reading.unreadable("etcd", "refuses"))
    status, text = run(capsys, etcd.url, "a:1")
    assert status == 1 and "metadata-not-listed" in text


@pytest.mark.parametrize("url", ["zookeeper://10.0.0.1:1", "etcd://10.0.0.1", ""])
def test_an_address_that_is_none_is_unusable_input(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^URL = "):
        metadata(url, as_json=False, remove=())


def test_a_segment_that_cannot_be_removed_is_unusable_input(etcd: RealEtcd) -> None:
    with pytest.raises(ConfigError, match=r"^--remove = 'a:1'"):
        metadata(etcd.url, as_json=False, remove=["a:1"])
    with pytest.raises(ConfigError, match="no server"):
        metadata("P2PHANDSHAKE", as_json=False, remove=["a:1"])


def test_no_server_is_needed_for_p2phandshake(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(capsys, "P2PHANDSHAKE")
    assert status == 0 and "the engines ask each other" in text


def test_redis_is_there_and_of_no_use(rough: Rough, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint = rough(lambda connection: connection.sendall(b"+PONG\r\n"))
    status, text = run(capsys, f"redis://{endpoint}")
    assert "USE_REDIS" in text and f"{endpoint} answers" in text
    assert status in {0, 1}  # A warning without an installed Mooncake, an error with one.
