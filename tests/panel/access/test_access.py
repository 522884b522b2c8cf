"""Passwords, users, sessions, failed attempts, certificates, and what may listen where."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.access.attempts import Attempts, address_key
from pdpanel.panel.access.door import access_of, read_door, read_token_file
from pdpanel.panel.access.password import hash_password, parse_hash
from pdpanel.panel.access.sessions import Sessions
from pdpanel.panel.access.tls import check_tls
from pdpanel.panel.access.users import read_users

HASH = hash_password("correct horse", n=2).text()
NEEDS_OPENSSL = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")


def test_hash_is_one_shell_word_and_comes_back() -> None:
    made = hash_password("correct horse")
    assert parse_hash("ann", made.text()) == made
    assert made.matches("correct horse")
    assert not made.matches("correct horsE")
    assert set(made.text()) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def test_two_hashes_of_one_password_differ() -> None:
    assert hash_password("correct horse", n=2) != hash_password("correct horse", n=2)


@settings(max_examples=30, deadline=None)
@given(st.text(min_size=8, max_size=40), st.text(max_size=40))
def test_only_the_password_matches(password: str, other: str) -> None:
    made = hash_password(password, n=2)
    assert made.matches(password)
    assert made.matches(other) is (other == password)


@pytest.mark.parametrize("password", ["", "short", "x" * 1025])
def test_password_of_no_use_is_refused(password: str) -> None:
    with pytest.raises(ConfigError) as caught:
        hash_password(password)
    assert password == "" or password not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        "ann:secret-password",
        "ann:",
        f"ann:{HASH}x",
        f"an n:{HASH}",
        f":{HASH}",
        "secret-password",
        "ann:scrypt.3.8.3.a.b",
    ]
    + [f"ann:{HASH.replace('scrypt.2.8.3', cost)}" for cost in ("scrypt.3.8.3", "scrypt.1048576.8.3", "scrypt.2.8.99")],
    # The salt is another one in each process of a parallel run, where names of tests must be the same.
    ids=map(str, range(10)),
)
def test_value_that_is_no_user_is_one_sentence_without_the_secret(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_users([value])
    assert caught.value.field == "--auth"
    assert "secret" not in str(caught.value)
    assert HASH[-20:] not in str(caught.value)


def test_users_come_from_options_and_files(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text(f"# people\nbob:{HASH}\n\ncarl@example:{HASH}\n")
    path.chmod(0o600)
    users = read_users([f"ann:{HASH}", str(path)])
    assert sorted(users.hashes) == ["ann", "bob", "carl@example"]
    assert users.check("bob", "correct horse")
    assert not users.check("bob", "wrong horse")
    assert not users.check("eve", "correct horse")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_users([str(path)])


def test_user_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="a second time"):
        read_users([f"ann:{HASH}"] * 2)


def test_waiting_grows_and_is_forgotten() -> None:
    attempts = Attempts(free=2, first_wait_s=2.0, longest_wait_s=60.0)
    waits = []
    for _ in range(9):
        attempts.failed("a", 0.0)
        waits.append(attempts.wait_s("a", 0.0))
    assert waits == [0, 0, 2, 4, 8, 16, 32, 60, 60]
    assert attempts.wait_s("b", 0.0) == 0
    assert attempts.wait_s("a", 60.0) == 0
    attempts.failed("a", 200.0)
    assert attempts.wait_s("a", 200.0) == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 200), max_size=300))
def test_memory_of_attempts_is_bounded(keys: list[int]) -> None:
    attempts = Attempts(most=20)
    for number, key in enumerate(keys):
        attempts.failed(str(key), float(number))
        assert len(attempts) <= 20


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
    ],
)
def test_addresses_that_one_host_owns_count_as_one(one: str, other: str, same: bool) -> None:
    assert (address_key(one) == address_key(other)) is same


def test_sessions_are_bounded_for_all_and_for_one_user() -> None:
    sessions = Sessions(most=6, most_of_user=3)
    first = sessions.begin("ann", 0.0)
    ids = [sessions.begin("ann", 0.0) for _ in range(3)]
    assert sessions.user_of(first, 0.0) is None
    assert [sessions.user_of(each, 0.0) for each in ids] == ["ann"] * 3
    for number in range(10):
        sessions.begin(f"user{number}", 0.0)
    assert len(sessions) == 6
    sessions.end("unknown")


MakeCertificate = Callable[..., tuple[Path, Path]]


@pytest.fixture(scope="module")
def make_certificate(tmp_path_factory: pytest.TempPathFactory) -> MakeCertificate:
    folder = tmp_path_factory.mktemp("tls")

    def make(name: str, *options: str, days: str = "2") -> tuple[Path, Path]:
        cert, key = folder / f"{name}.pem", folder / f"{name}.key"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"]
        command += ["-keyout", str(key), "-out", str(cert), "-subj", f"/CN={name}", "-days", days, *options]
        subprocess.run(command, check=True, capture_output=True)
        key.chmod(0o600)
        return cert, key

    return make


def _valid_in(folder: Path, key: Path, begin: str, end: str) -> Path:
    """Returns a certificate for `key` that is valid from `begin` to `end`."""
    home = folder / begin
    home.mkdir()
    (home / "index.txt").touch()
    (home / "openssl.cnf").write_text(
        f"[ca]\ndefault_ca=x\n[x]\ndir={home}\nnew_certs_dir={home}\ndatabase={home}/index.txt\nrand_serial=yes\n"
        "default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n[req]\ndistinguished_name=dn\n[dn]\n"
    )
    request, cert = home / "request.pem", home / "cert.pem"
    config = ["-config", str(home / "openssl.cnf")]
    new = ["openssl", "req", "-new", *config, "-key", str(key), "-subj", "/CN=timed", "-out", str(request)]
    sign = ["openssl", "ca", "-batch", "-selfsign", "-notext", *config, "-keyfile", str(key), "-in", str(request)]
    for command in (new, [*sign, "-startdate", begin, "-enddate", end, "-out", str(cert)]):
        subprocess.run(command, check=True, capture_output=True)
    return cert


@NEEDS_OPENSSL
def test_fitting_pair_tells_its_names(make_certificate: MakeCertificate) -> None:
    cert, key = make_certificate("good", "-addext", "subjectAltName=DNS:Panel.example,DNS:*.example,IP:10.0.0.5")
    found = check_tls(cert, key)
    assert found is not None and found.names == ("panel.example", "10.0.0.5")
    assert check_tls(None, None) is None


@NEEDS_OPENSSL
def test_each_wrong_pair_is_one_sentence(make_certificate: MakeCertificate, tmp_path: Path) -> None:
    cert, key = make_certificate("one")
    other, other_key = make_certificate("other")
    old, old_key = _valid_in(tmp_path, key, "20200101000000Z", "20200201000000Z"), key
    early, early_key = _valid_in(tmp_path, key, "29000101000000Z", "29010101000000Z"), key
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    text.chmod(0o600)
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "pkcs8", "-topk8", "-in", str(key), "-out", str(locked), "-passout", "pass:x"],
        check=True,
        capture_output=True,
    )
    locked.chmod(0o600)
    cases: list[tuple[Path | None, Path | None, str, str]] = [
        (cert, None, "--tls-key", "give both files"),
        (None, key, "--tls-cert", "give both files"),
        (tmp_path / "none", key, "--tls-cert", "cannot be read: No such file"),
        (cert, tmp_path, "--tls-key", "cannot be read: Is a directory"),
        (cert, other_key, "--tls-key", "does not belong to the certificate"),
        (old, old_key, "--tls-cert", "is expired"),
        (early, early_key, "--tls-cert", "is not valid yet"),
        (text, key, "--tls-cert", "does not make a certificate"),
        (cert, text, "--tls-cert", "does not make a certificate"),
        (cert, locked, "--tls-key", "wants a passphrase"),
    ]
    for given_cert, given_key, field, words in cases:
        with pytest.raises(ConfigError) as caught:
            check_tls(given_cert, given_key)
        assert (caught.value.field, words in str(caught.value)) == (field, True), str(caught.value)
    other_key.chmod(0o644)
    with pytest.raises(ConfigError, match="can be used by other users"):
        check_tls(other, other_key)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "panel.example"])
def test_beyond_loopback_needs_users_and_tls(host: str) -> None:
    with pytest.raises(ConfigError, match="without a password"):
        read_door(host)
    with pytest.raises(ConfigError, match="unencrypted"):
        read_door(host, auth=[f"ann:{HASH}"])
    with pytest.raises(ConfigError, match="without a password"):
        read_door(host, behind_proxy=True, allowed_hosts=["panel.example"])
    with pytest.raises(ConfigError, match="by which name"):
        read_door(host, auth=[f"ann:{HASH}"], behind_proxy=True)
    door = read_door(host, auth=[f"ann:{HASH}"], behind_proxy=True, allowed_hosts=["panel.example"])
    assert door.secure


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_loopback_needs_nothing(host: str) -> None:
    access = access_of(read_door(host), host, 7860, "t")
    assert access.hosts == {"127.0.0.1:7860", "localhost:7860", "[::1]:7860"}
    assert access.proxies == ()


@pytest.mark.parametrize(
    "options",
    [
        {"allowed_hosts": ["*.example"]},
        {"allowed_hosts": ["http://panel.example"]},
        {"allowed_hosts": ["panel.example:99999"]},
        {"allowed_hosts": [""]},
        {"origins": ["panel.example"]},
        {"origins": ["https://panel.example/path"]},
        {"origins": ["https://*"]},
        {"origins": ["https://a@b"]},
        {"origins": ["null"]},
        {"root_path": "x"},
        {"root_path": "/a/../b"},
        {"root_path": "//evil.test"},
        {"root_path": '/"><script>'},
        {"behind_proxy": True, "allowed_hosts": ["a"], "proxies": ["nowhere"]},
        {"proxies": ["10.0.0.1"]},
    ],
)
def test_inexact_option_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        read_door("127.0.0.1", **options)  # type: ignore[arg-type]


def test_names_of_a_proxy_are_exact() -> None:
    door = read_door("127.0.0.1", allowed_hosts=["Hub.example:8888"], origins=["https://lab.example/"], root_path="/x/")
    access = access_of(door, "127.0.0.1", 7860, "t")
    assert access.hosts >= {"hub.example:8888", "lab.example", "127.0.0.1:7860"}
    assert access.origins >= {"http://hub.example:8888", "https://lab.example"}
    assert access.root_path == "/x"
    proxied = access_of(
        read_door("127.0.0.1", behind_proxy=True, allowed_hosts=["hub.example"]), "127.0.0.1", 7860, "t"
    )
    assert (proxied.hosts, proxied.origins) == ({"hub.example"}, {"https://hub.example"})
    assert proxied.trusts("127.0.0.1") and not proxied.trusts("10.0.0.1")


def test_token_file_is_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("0123456789abcdef0123\n")
    path.chmod(0o600)
    assert read_token_file(path) == "0123456789abcdef0123"
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_token_file(path)
    path.write_text("short")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="holds no token"):
        read_token_file(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token_file(tmp_path / "none")
