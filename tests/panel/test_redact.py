from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.redact import REDACTED, Redactor, is_secret_name, redact, redact_mapping

WORD = st.text(string.ascii_letters + string.digits + "_.+/=-", min_size=8, max_size=40).map(lambda text: f"Zq{text}9")
ANY = st.text(st.characters(exclude_categories=("C", "Z")), min_size=6, max_size=30).map(lambda text: f"Zq{text}9")

PLACES = (
    "--api-key {}",
    "--admin-api-key={} --port 1",
    "  --hf-token \\\n  {}",
    "- --api-key\n- {}\n- --port",
    "HF_TOKEN={} next",
    "export WANDB_API_KEY='{}'",
    "line\\nhuggingface_token={}",
    "http://127.0.0.1:7860/?token={}",
    "api_key='{}', port=1",
    '{{"password": "{}", "b": 1}}',
    '{{\\"api_key\\": \\"{}\\"}}',
    '["--api-key","{}","--port"]',
    "Authorization: Bearer {}",
    "curl -H 'authorization: Bearer {}' http://h/",
    "(b'authorization', b'Bearer {}')",
    "\\nbearer {}",
    "Set-Cookie: pdpanel={}; HttpOnly",
    "dbPassword: {}",
    "--auth me:{}",
    '"script": "--api-key \\\\\\n  {}"',
    "DB_PASSWORD=ab\\{}",
)


@given(st.sampled_from(PLACES), WORD, st.text(max_size=20), st.text(max_size=20))
def test_what_follows_the_name_of_a_secret_is_gone(place: str, secret: str, before: str, after: str) -> None:
    text = f"{before}\n{place.format(secret)}\n{after}"
    assert secret in text
    assert secret not in redact(text)


@given(ANY)
def test_no_value_of_a_secret_variable_is_left(secret: str) -> None:
    found = redact_mapping({"HF_TOKEN": secret, "DB_PASSWORD": secret, "MC_KEY": secret, "PATH": "/bin"})
    assert found == {"HF_TOKEN": REDACTED, "DB_PASSWORD": REDACTED, "MC_KEY": REDACTED, "PATH": "/bin"}


@given(st.dictionaries(st.sampled_from(["api_key", "HF_TOKEN", "client_secret"]), ANY, min_size=1))
def test_json_stays_json(fields: dict[str, str]) -> None:
    """Values with quotes and backslashes in them too."""
    assert json.loads(redact(json.dumps(fields))) == dict.fromkeys(fields, REDACTED)


@given(st.text(string.ascii_letters + string.digits, min_size=20, max_size=40), st.sampled_from(["", " ", "\\n", "x="]))
def test_tokens_are_known_by_their_shape(body: str, before: str) -> None:
    assert body not in redact(f"{before}hf_{body} and {before}sk-{body}")


@given(WORD, st.sampled_from(["http", "redis", "postgresql+asyncpg"]))
def test_urls_lose_their_user_and_password(secret: str, scheme: str) -> None:
    secret = secret.replace("/", "@")
    text = redact(f"connect to {scheme}://me:{secret}@host:1/path?x=1")
    assert text == f"connect to {scheme}://{REDACTED}@host:1/path?x=1"


@given(st.text(max_size=60), st.sampled_from(PLACES), WORD)
def test_a_second_time_changes_nothing(text: str, place: str, secret: str) -> None:
    redactor = Redactor("/home/me", "me")
    once = redactor.apply(f"{text} {place.format(secret)} /home/me/x").text
    assert redactor.apply(once).text == once


@pytest.mark.parametrize(
    "text",
    [
        "#new-token: 512, #cached-token: 0, token usage: 0.05, gen throughput (token/s): 33.1",
        "eos_token='</s>', max_new_tokens=32, num_input_tokens: 7",
        '{"key": "proc/prefill-0/running", "title": "Running"}',
        "KeyError: 'layers.0'",
        "ServerArgs(api_key=None, admin_api_key=None, port=30000)",
        "tokenizer_path='/models/x', tokenizer: fast",
        "git clone https://example.org/a@b.git",
        "HF_TOKEN_PATH=/run/token --api-key-file /etc/key",
        "the token bucket is full; the key is missing",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("HF_TOKEN", True),
        ("OPENAI_API_KEY_2", True),
        ("AWS_ACCESS_KEY_ID", True),
        ("apiKey", True),
        ("--admin-api-key", True),
        ("X-Api-Key", True),
        ("TOKENIZERS_PARALLELISM", False),
        ("KEYBOARD", False),
        ("max_tokens", False),
        ("SSH_AUTH_SOCK", False),
        ("", False),
    ],
)
def test_names_of_secrets(name: str, secret: bool) -> None:
    assert is_secret_name(name) is secret


def test_a_private_key_is_gone_even_when_it_is_cut() -> None:
    text = "a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n"
    assert redact(text) == f"a\n{REDACTED}"
    assert redact(text + "-----END RSA PRIVATE KEY-----\nb") == f"a\n{REDACTED}\nb"


def test_home_and_name_are_taken_out_and_counted() -> None:
    found = Redactor("/srv/homes/anna", "anna").apply(
        "/srv/homes/anna/x /srv/homes/annabel/x /home/bob/y user=anna savanna HF_TOKEN=abc"
    )
    assert found.text == f"~/x /srv/homes/annabel/x ~/y user=user savanna HF_TOKEN={REDACTED}"
    assert found.counts == {"secret": 1, "home": 2, "user": 1}
    assert Redactor("/", "root").apply("/ root").counts == {}


def test_a_long_line_takes_no_long_time() -> None:
    """Whatever is in it: each pattern looks at a place a bounded number of times."""
    for piece in ("a", "token", "a:", "-", "api_key ", '"', "\\", "hf_", "x://", "eyJ", "Bearer ", "authorization"):
        redact(piece * (200_000 // len(piece)))
