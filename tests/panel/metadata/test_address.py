from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.metadata.address import (
    AddressError,
    Endpoint,
    MetadataServer,
    Scheme,
    parse_endpoint,
    parse_metadata_server,
)

A, B = Endpoint("192.168.0.137", 2379), Endpoint("192.168.0.138", 2379)


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("P2PHANDSHAKE", MetadataServer(Scheme.P2P)),
        ("192.168.0.137:2379", MetadataServer(Scheme.ETCD, (A,), bare=True)),
        ("192.168.0.137:2379,192.168.0.138:2379", MetadataServer(Scheme.ETCD, (A, B), bare=True)),
        ("etcd://192.168.0.137:2379", MetadataServer(Scheme.ETCD, (A,))),
        ("etcd://192.168.0.137:2379,192.168.0.138:2379", MetadataServer(Scheme.ETCD, (A, B))),
        ("etcd://[fd00::1]:2379", MetadataServer(Scheme.ETCD, (Endpoint("fd00::1", 2379),))),
        ("redis://192.168.0.137:6379", MetadataServer(Scheme.REDIS, (Endpoint("192.168.0.137", 6379),))),
        (
            "http://192.168.0.137:8998/metadata",
            MetadataServer(Scheme.HTTP, (Endpoint("192.168.0.137", 8998),), "/metadata"),
        ),
        (
            "https://meta.example.org:443/a/b",
            MetadataServer(Scheme.HTTPS, (Endpoint("meta.example.org", 443),), "/a/b"),
        ),
        ("node_1.cluster.:2379", MetadataServer(Scheme.ETCD, (Endpoint("node_1.cluster.", 2379),), bare=True)),
    ],
)
def test_mooncakes_forms_are_read_and_written_back(text: str, server: MetadataServer) -> None:
    assert parse_metadata_server(text) == server
    assert str(server) == text


def test_a_bare_address_has_a_scheme_in_its_url() -> None:
    assert parse_metadata_server("10.0.0.1:2379").url == "etcd://10.0.0.1:2379"
    assert parse_metadata_server("P2PHANDSHAKE").url == "P2PHANDSHAKE"


def test_semicolons_are_what_the_wheel_takes_for_commas() -> None:
    assert str(parse_metadata_server("etcd://10.0.0.1:2379;10.0.0.2:2379")) == "etcd://10.0.0.1:2379,10.0.0.2:2379"


def test_a_configs_backend_is_the_kind_of_a_bare_address() -> None:
    assert parse_metadata_server("10.0.0.1:6379", backend=Scheme.REDIS).url == "redis://10.0.0.1:6379"
    http = parse_metadata_server("10.0.0.1:8080/metadata", backend=Scheme.HTTP)
    assert (http.url, str(http)) == ("http://10.0.0.1:8080/metadata", "10.0.0.1:8080/metadata")


# What Mooncake does with each of these was tried with the wheel 0.3.13, or read in its source.
@pytest.mark.parametrize(
    ("text", "problem", "corrected"),
    [
        ("", "is empty", None),
        ("   ", "is empty", None),
        (" etcd://10.0.0.1:2379", "contains spaces", "etcd://10.0.0.1:2379"),
        ("etcd://10.0.0.1:2379, 10.0.0.2:2379", "contains spaces", "etcd://10.0.0.1:2379,10.0.0.2:2379"),
        ("10.0.0.1:2379\n", "contains spaces", "10.0.0.1:2379"),
        ("etcd://10.0.0.1\x1b[31m:2379", "characters", None),
        ("etcd://bücher.example:2379", "characters", None),
        ("p2phandshake", "as written", "P2PHANDSHAKE"),
        ("ETCD://10.0.0.1:2379", "lower case", "etcd://10.0.0.1:2379"),
        ("etc://10.0.0.1:2379", "no kind of metadata server", "etcd://10.0.0.1:2379"),
        ("zookeeper://10.0.0.1:2181", "no kind of metadata server", None),
        ("://10.0.0.1:2181", "no kind of metadata server", None),
        ("P2PHANDSHAKE://10.0.0.1:1", "no kind of metadata server", None),
        ("rediss://10.0.0.1:6379", "no kind of metadata server", "redis://10.0.0.1:6379"),
        ("etcd://10.0.0.1", "lacks a port", "etcd://10.0.0.1:2379"),
        ("10.0.0.1", "lacks a port", "10.0.0.1:2379"),
        ("etcd://10.0.0.1:", "lacks a port", "etcd://10.0.0.1:2379"),
        ("etcd://10.0.0.1:2379,10.0.0.2", "lacks a port", "etcd://10.0.0.1:2379,10.0.0.2:2379"),
        ("redis://10.0.0.1", "lacks a port", "redis://10.0.0.1:6379"),
        ("http://10.0.0.1/metadata", "lacks a port", "http://10.0.0.1:8080/metadata"),
        ("http://10.0.0.1", "lacks a port", "http://10.0.0.1:8080/metadata"),
        ("http://10.0.0.1:8998", "lacks the path", "http://10.0.0.1:8998/metadata"),
        ("http://10.0.0.1:8998/", "lacks the path", "http://10.0.0.1:8998/metadata"),
        ("http://10.0.0.1:8998/metadata/", "ends in a slash", "http://10.0.0.1:8998/metadata"),
        ("http://10.0.0.1:8998/metadata?key=", "query", "http://10.0.0.1:8998/metadata"),
        ("http://10.0.0.1:8998/%2e", "path", None),
        ("http://10.0.0.1:8998,10.0.0.2:8998/metadata", "several servers", None),
        ("etcd://10.0.0.1:2379/", "after the port", "etcd://10.0.0.1:2379"),
        ("redis://10.0.0.1:6379/0", "MC_REDIS_DB_INDEX", "redis://10.0.0.1:6379"),
        ("redis://10.0.0.1:6379,10.0.0.2:6379", "several servers", None),
        ("10.0.0.1:8998/metadata", "no scheme", "http://10.0.0.1:8998/metadata"),
        ("etcd://http://10.0.0.1:2379", "second scheme", "etcd://10.0.0.1:2379"),
        ("etcd://10.0.0.1:2379,etcd://10.0.0.2:2379", "second scheme", "etcd://10.0.0.1:2379,10.0.0.2:2379"),
        ("etcd://10.0.0.1:2379,", "empty endpoint", "etcd://10.0.0.1:2379"),
        ("etcd://10.0.0.1:2379,10.0.0.1:2379", "twice", None),
        ("etcd://", "lacks a host", None),
        ("etcd://:2379", "lacks a host", None),
        ("etcd://fd00::1:2379", "without brackets", None),
        ("etcd://1:2:3:4:5:6:7:8:2379", "without brackets", "etcd://[1:2:3:4:5:6:7:8]:2379"),
        ("etcd://a:b:2379", "more than one colon", None),
        ("etcd://[fd00::1]", "lacks a port", "etcd://[fd00::1]:2379"),
        ("etcd://[fd00::1:2379", "bracket", None),
        ("etcd://[fd00::1]2379", "bracket", None),
        ("etcd://[10.0.0.1]:2379", "no IPv6 address", None),
        ("etcd://[fe80::1%eth0]:2379", "zone", None),
        ("etcd://10.0.0.1:0", "for a port", None),
        ("etcd://10.0.0.1:65536", "for a port", None),
        ("etcd://10.0.0.1:02379", "for a port", None),
        ("etcd://10.0.0.1:" + "9" * 999, "for a port", None),
        ("etcd://10.0.0.256:2379", "no IPv4 address", None),
        ("etcd://10.0.0:2379", "no IPv4 address", None),
        ("etcd://-x:2379", "no name", None),
        ("etcd://a..b:2379", "no name", None),
        ("etcd://0.0.0.0:2379", "listens on", None),
        ("etcd://[::]:2379", "listens on", None),
        ("etcd://224.0.0.1:2379", "many hosts", None),
        ("x" * 5000, "longer than", None),
    ],
)
def test_what_mooncake_misreads_is_refused(text: str, problem: str, corrected: str | None) -> None:
    with pytest.raises(AddressError, match=r"^metadata_server = ") as caught:
        parse_metadata_server(text)
    assert problem in caught.value.problem
    assert caught.value.remedy
    assert caught.value.corrected == corrected
    if corrected is not None:
        assert parse_metadata_server(corrected)


@pytest.mark.parametrize("text", ["ETCD://10.0.0.1:2379", "zookeeper://10.0.0.1:2181"])
def test_a_kind_that_aborts_the_process_is_told_apart(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_metadata_server(text)
    assert caught.value.unknown_scheme


def test_a_number_in_a_config_is_no_address() -> None:
    with pytest.raises(AddressError, match="is not text"):
        parse_metadata_server(2379)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["redis://user:secret@10.0.0.1:6379", "user:secret@10.0.0.1:2379"])
def test_a_password_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(AddressError, match="password") as caught:
        parse_metadata_server(text)
    assert "secret" not in str(caught.value)


def test_the_error_names_the_field_that_was_read() -> None:
    with pytest.raises(AddressError, match=r"^prefill_url = "):
        parse_endpoint("10.0.0.1:x", field="prefill_url")
    assert parse_endpoint("[::1]:80", field="prefill_url") == Endpoint("::1", 80)


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("etcd://127.0.0.1:2379", True),
        ("etcd://localhost:2379,[::1]:2379", True),
        ("etcd://127.0.0.1:2379,10.0.0.1:2379", False),
        ("http://10.0.0.1:80/metadata", False),
        ("P2PHANDSHAKE", False),
    ],
)
def test_loopback_is_what_only_one_host_reaches(text: str, loopback: bool) -> None:
    assert parse_metadata_server(text).loopback is loopback


HOSTS = st.one_of(
    st.ip_addresses().filter(lambda ip: not ip.is_unspecified and not ip.is_multicast).map(str),
    st.from_regex(r"[a-z]([a-z0-9-]{0,9}[a-z0-9])?(\.[a-z]([a-z0-9-]{0,5}[a-z0-9])?){0,2}", fullmatch=True),
).filter(lambda host: host != "255.255.255.255" and "%" not in host)
ENDPOINTS = st.builds(Endpoint, HOSTS, st.integers(1, 65535))
SERVERS = st.one_of(
    st.builds(
        MetadataServer,
        st.just(Scheme.ETCD),
        st.lists(ENDPOINTS, min_size=1, max_size=4, unique=True).map(tuple),
        st.just(""),
        st.booleans(),
    ),
    st.builds(MetadataServer, st.just(Scheme.HTTP), st.tuples(ENDPOINTS), st.just("/metadata")),
    st.builds(MetadataServer, st.just(Scheme.REDIS), st.tuples(ENDPOINTS)),
)


@given(SERVERS)
def test_every_server_is_read_back_from_its_text(server: MetadataServer) -> None:
    assert parse_metadata_server(str(server)) == server


@given(st.one_of(st.text(), st.text("etcdhp:/[]0127.,;%@? "), st.text("etcd12:[].").map("etcd://".__add__)))
def test_any_text_is_a_server_or_an_address_error(text: str) -> None:
    try:
        server = parse_metadata_server(text)
    except AddressError as error:
        if error.corrected is not None:
            # Mending one thing may uncover the next, but never makes worse text.
            assert error.corrected.isprintable()
        return
    assert parse_metadata_server(str(server)) == server
