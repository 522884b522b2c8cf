"""Real pairs whose KV finds its way through a metadata server: their own bootstrap server, and etcd in its forms."""

from __future__ import annotations

import concurrent.futures
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster
from metadata_servers import LOCAL, RealHttp, Started, wait_for
from pd_http import free_port, get, post
from pdpanel.panel.metadata.server_commands import etcd_command

ARGUMENTS = ["--max-total-tokens", "512", "--log-level", "warning"]
PROMPT = list(range(100, 140))  # three pages

pytestmark = pytest.mark.timeout(200)


def config(folder: Path, name: str, server: str) -> dict[str, str]:
    """Writes the file that MOONCAKE_CONFIG_PATH names; returns the variable."""
    path = folder / f"{name}.json"
    keys = {"local_hostname": LOCAL, "metadata_server": server, "protocol": "tcp", "device_name": ""}
    path.write_text(json.dumps(keys))
    return {"MOONCAKE_CONFIG_PATH": str(path)}


def transport(made: Cluster, name: str) -> str:
    return get(made.processes[name].url + "/server_info")["transfer"]["backend"]


@pytest.fixture(scope="module")
def expected(pair: Cluster) -> list[int]:
    """What a pair says to PROMPT whose KV travels over plain sockets."""
    return pair.generate(PROMPT, temperature=0, max_new_tokens=4)


@pytest.fixture
def made(make_cluster, tmp_path: Path) -> Iterator[Cluster]:
    started = Cluster(tmp_path)
    try:
        yield started
    finally:
        started.stop()


def said(made: Cluster, decode: str = "decode") -> list[int]:
    made.wait_idle()
    status, answer = ask_through(made, decode)
    assert status == 200, answer
    return answer["output_ids"]


def test_prefill_registers_with_its_own_bootstrap_server_and_decode_finds_it_there(
    made: Cluster, tmp_path: Path, expected: list[int]
) -> None:
    port = free_port()
    url = f"http://{LOCAL}:{port}/metadata"
    made.environ = config(tmp_path, "own", url)
    made.worker("prefill", "prefill", ARGUMENTS, port).wait_ready("/health")
    made.worker("decode", "decode", ARGUMENTS).wait_ready("/health")
    assert {transport(made, name) for name in ("prefill", "decode")} == {"mooncake"}
    assert said(made) == expected

    # The server forgets everything with its process; decode, which goes on, registers again by itself.
    made.processes.pop("prefill").stop()
    prefill = made.worker("prefill", "prefill", ARGUMENTS, port)
    assert prefill.popen.poll() is None
    prefill.wait_ready("/health")
    assert said(made) == expected
    assert "registered_again" in made.processes["decode"].log.read_text()
    stranger = RealHttp(url)
    assert stranger.ask("GET", "mooncake/ram/nobody")[0] == 404


def test_etcd_as_an_address_alone_and_as_a_list_whose_first_member_is_dead(
    made: Cluster, tmp_path: Path, expected: list[int]
) -> None:
    """Two ways to write one server; then it goes away: what is linked goes on, a new peer is told why it waits."""
    started = Started(tmp_path)
    port, dead, peer_port = free_port(), free_port(), free_port()
    try:
        started.server(etcd_command(client_port=port, peer_port=peer_port))
        made.environ = config(tmp_path, "bare", f"{LOCAL}:{port}")
        prefill = made.worker("prefill", "prefill", ARGUMENTS, free_port())
        made.environ = config(tmp_path, "list", f"etcd://{LOCAL}:{dead},{LOCAL}:{port}")
        decode = made.worker("decode", "decode", ARGUMENTS)
        prefill.wait_ready("/health")
        decode.wait_ready("/health")
        assert {transport(made, name) for name in ("prefill", "decode")} == {"mooncake"}
        assert said(made) == expected

        made.environ = config(tmp_path, "one", f"etcd://{LOCAL}:{port}")
        made.worker("second", "decode", ARGUMENTS).wait_ready("/health")
        started.processes[0].kill()
        started.processes[0].wait(10)
        assert said(made) == expected, "the link was there already"
        status, answer = ask_through(made, "second")
        assert status >= 500 and f"{LOCAL}:{port}" in answer["error"]["message"], answer
        assert "metadata server" in answer["error"]["message"]

        started.servers(etcd_command(client_port=port, peer_port=peer_port))  # in a new folder: it knows nobody
        answers: list[list[int]] = []

        def works_again() -> bool:
            status, answer = ask_through(made, "second")
            answers.append(answer.get("output_ids", []))
            return status == 200

        wait_for(works_again)
        assert answers[-1] == expected
    finally:
        started.close()


def ask_through(made: Cluster, decode: str) -> tuple[int, Any]:
    """Sends both halves of one request, as a router does; returns decode's answer."""
    body = {"input_ids": PROMPT, "sampling_params": {"temperature": 0, "max_new_tokens": 4}, "bootstrap_host": LOCAL}
    body |= {"bootstrap_port": made.processes["prefill"].bootstrap, "bootstrap_room": free_port()}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(post, made.processes["prefill"].url + "/generate", body)
        second = post(made.processes[decode].url + "/generate", body)
        first.result()
    return second


def test_redis_is_refused_before_mooncake_is_touched(tmp_path: Path) -> None:
    """Its wheel would abort the process."""
    script = """
import sys
from pdpanel.engine.launch_server import main
code = main(sys.argv[1:])
print("mooncake" in sys.modules, "mooncake.engine" in sys.modules)
sys.exit(code)
"""
    arguments = ["--model-path", "smollm2-135m-instruct", "--disaggregation-mode", "decode", "--port", str(free_port())]
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=os.environ | config(tmp_path, "redis", "redis://:secret@10.0.0.1:6379"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2 and ended.stdout == "False False\n"
    assert "built without Redis" in ended.stderr and "etcd://HOST:2379" in ended.stderr
    assert "secret" not in ended.stderr and "Traceback" not in ended.stderr
