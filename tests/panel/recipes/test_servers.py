from __future__ import annotations

import pytest
from pdpanel.engine.errors import ConfigError

from .rendering import argvs, ids, render


def test_etcd_as_the_document_starts_it() -> None:
    rendered = render("etcd")
    (argv,) = argvs(rendered)
    assert argv == [
        *("etcd", "--listen-client-urls", "http://0.0.0.0:2379"),
        *("--advertise-client-urls", "http://localhost:2379"),
    ]
    assert ids(rendered) == {"server-open", "etcd-advertises-localhost"}


def test_etcd_for_one_host_and_for_a_network() -> None:
    assert ids(render("etcd", "listen=127.0.0.1")) == set()
    rendered = render("etcd", "listen=::", "advertise=fd00::1", "port=1", "data_dir=/d")
    assert argvs(rendered)[0][2:] == [
        "http://[::]:1",
        "--advertise-client-urls",
        "http://[fd00::1]:1",
        "--data-dir",
        "/d",
    ]
    assert ids(rendered) == {"server-open"}


def test_a_cluster_of_etcd() -> None:
    rendered = render("etcd", "nodes=n[1-3]", "token=t", "peer_port=5")
    assert [command.node for command in rendered.commands] == ["n1", "n2", "n3"]
    cluster = "etcd-0=http://n1:5,etcd-1=http://n2:5,etcd-2=http://n3:5"
    for index, argv in enumerate(argvs(rendered)):
        options = dict(zip(argv[1::2], argv[2::2], strict=True))
        assert options["--name"] == f"etcd-{index}"
        assert options["--initial-cluster"] == cluster
        assert options["--initial-cluster-token"] == "t"
        assert options["--advertise-client-urls"] == f"http://n{index + 1}:2379"
        assert options["--initial-advertise-peer-urls"] == f"http://n{index + 1}:5"
    assert "etcd-even-members" in ids(render("etcd", "nodes=a,b"))
    assert "etcd-even-members" not in ids(rendered)


@pytest.mark.parametrize(
    ("texts", "field"),
    [
        (["listen=node1"], "listen"),
        (["nodes=a,a"], "nodes"),
        (["nodes=a", "advertise=b"], "advertise"),
        (["nodes=a", "peer_port=2379"], "peer_port"),
        (["peer_port=9"], "peer_port"),
        (["token=x"], "token"),
        (["data_dir=-x"], "data_dir"),
    ],
)
def test_bad_input_for_etcd(texts: list[str], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        render("etcd", *texts)
    assert caught.value.field == field


def test_the_metadata_server_of_mooncake() -> None:
    rendered = render("metadata-server", "listen=127.0.0.1", "port=9", "log_level=DEBUG")
    program = "mooncake_http_metadata_server"
    assert argvs(rendered) == [[program, "--host", "127.0.0.1", "--port", "9", "--log-level", "DEBUG"]]
    assert ids(rendered) == set()
    assert ids(render("metadata-server")) == {"server-open"}


def test_the_master() -> None:
    assert argvs(render("mooncake-master")) == [["mooncake_master"]]
    texts = ["http_metadata=1", "eviction_high_watermark_ratio=0.95"]
    assert argvs(render("mooncake-master", *texts))[0][1:] == [
        "--enable_http_metadata_server=true",
        "--http_metadata_server_port=8080",
        "--eviction_high_watermark_ratio=0.95",
    ]
    assert ids(render("mooncake-master", *texts)) == {"server-open"}
    assert ids(render("mooncake-master", *texts, "http_metadata_host=10.0.0.1")) == set()
    old = render("mooncake-master", "rpc_port=5", "port_flag=port")
    assert (argvs(old)[0][1:], ids(old)) == (["--port=5"], {"master-port-renamed"})


@pytest.mark.parametrize(
    "text", ["http_metadata_port=1", "http_metadata_host=::1", "eviction_ratio=1.5", "eviction_high_watermark_ratio=2"]
)
def test_bad_input_for_the_master(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        render("mooncake-master", text)
    assert caught.value.field == text.partition("=")[0]


@pytest.mark.parametrize(
    ("listen", "protected"),
    [("127.0.0.1", "yes"), ("localhost", "yes"), ("::1", "yes"), ("0.0.0.0", "no"), ("10.0.0.1", "no")],
)
def test_redis_lets_other_hosts_in_where_it_has_to(listen: str, protected: str) -> None:
    rendered = render("redis", f"listen={listen}")
    assert argvs(rendered)[0][-1] == protected
    assert ("server-open" in ids(rendered)) is (listen == "0.0.0.0")
    assert "redis-not-in-wheel" in ids(rendered)
