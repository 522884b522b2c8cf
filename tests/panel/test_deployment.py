from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment import (
    Deployment,
    dump_deployment,
    load_deployment,
    parse_deployment,
    parse_deployment_text,
)
from pdpanel.panel.deployment_rules import plain_text


def _is_plain(text: str) -> bool:
    return not any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in text)


texts = st.text(max_size=40).filter(_is_plain)
flag_names = st.from_regex(r"[a-z0-9]{1,8}(-[a-z0-9]{1,8}){0,2}", fullmatch=True).map(lambda name: f"x-{name}")
flag_values = st.one_of(
    texts,
    st.booleans(),
    st.integers(min_value=-(2**63), max_value=2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)
flags = st.dictionaries(flag_names, flag_values, max_size=4)
env_names = st.from_regex(r"[A-Z_][A-Z0-9_]{0,12}", fullmatch=True).map(lambda name: f"X{name}")


@st.composite
def deployments(draw: st.DrawFn) -> Deployment:
    counts = draw(
        st.one_of(
            st.tuples(st.integers(1, 64), st.integers(1, 64), st.just(0)),
            st.tuples(st.just(0), st.just(0), st.integers(1, 64)),
        )
    )
    roles = {
        role: {"count": count, "flags": draw(flags)}
        for role, count in zip(("prefill", "decode", "unified"), counts, strict=True)
    }
    return parse_deployment(
        {
            "name": draw(st.from_regex(r"[a-z0-9-]{1,40}", fullmatch=True)),
            "model": draw(texts.filter(lambda text: bool(text.strip()) and not text.startswith("-"))),
            "served_model_name": draw(texts),
            **roles,
            "transport": draw(st.sampled_from(["mooncake", "mooncake_tcp", "tcp"])),
            "host": draw(st.sampled_from(["127.0.0.1", "::1", "node-1.example"])),
            "router": {"port": draw(st.none() | st.integers(1, 65535)), "flags": draw(flags)},
            "env": draw(st.dictionaries(env_names, texts, max_size=3)),
        }
    )


@given(deployments())
def test_a_deployment_survives_its_yaml(deployment: Deployment) -> None:
    again = parse_deployment_text(dump_deployment(deployment))
    assert again == deployment
    # 1, 1.0 and True are equal for Python but not the same flag.
    for role in ("prefill", "decode", "unified", "router"):
        before, after = getattr(deployment, role).flags, getattr(again, role).flags
        assert {name: type(value) for name, value in before.items()} == {
            name: type(value) for name, value in after.items()
        }


def test_a_file_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_text("model: m\nprefill: {count: 2}\ndecode: {count: 1, flags: {page-size: 32}}\n")
    deployment = load_deployment(path)
    assert (deployment.prefill.count, deployment.decode.flags) == (2, {"page-size": 32})
    assert deployment.transport == "mooncake"


WRONG = [
    ({}, "model", "add it"),
    ({"model": ""}, "model", "name a model"),
    ({"model": "a\x1b[31m"}, "model", "one line of plain text"),
    ({"model": "--port"}, "model", "write ./ in front"),
    ({"model": "m"}, "prefill.count", "set prefill.count and decode.count to 1"),
    ({"model": "m", "prefill": {"count": 1}}, "decode.count", "set decode.count to 1"),
    ({"model": "m", "decode": {"count": 1}}, "prefill.count", "set prefill.count to 1"),
    (
        {"model": "m", "unified": {"count": 1}, "prefill": {"count": 1}, "decode": {"count": 1}},
        "unified.count",
        "unified.count to 0",
    ),
    ({"model": "m", "unified": {"count": 4097}}, "unified.count", "from 0 to 4096"),
    ({"model": "m", "unified": {"count": -1}}, "unified.count", "from 0 to 4096"),
    ({"model": "m", "unified": {"count": "two"}}, "unified.count", "whole number"),
    ({"model": "m", "unified": {"count": True}}, "unified.count", "whole number"),
    ({"model": "m", "unified": 2}, "unified", "mapping of fields"),
    ({"model": "m", "router": {"port": 0}}, "router.port", "from 1 to 65535"),
    ({"model": "m", "router": {"port": 65536}}, "router.port", "from 1 to 65535"),
    ({"model": "m", "transport": "rdma"}, "transport", "'mooncake', 'mooncake_tcp', 'nixl'"),
    ({"model": "m", "engine": "trt"}, "engine", "'bundled'"),
    ({"model": "m", "version": 2}, "version", "write 1"),
    ({"model": "m", "name": "My Run"}, "name", "a-z, 0-9 and -"),
    ({"model": "m", "name": "../up"}, "name", "a-z, 0-9 and -"),
    ({"model": "m", "name": False}, "name", "in quotes"),
    ({"model": "m", "host": "0.0.0.0"}, "host", "write 127.0.0.1"),
    ({"model": "m", "host": "a b"}, "host", "write 127.0.0.1"),
    ({"model": "m", "modle": 1}, "modle", "use one of version, name"),
    ({"model": "m", "prefill": {"cuont": 1}}, "prefill.cuont", "count"),
    ({"model": "m", "prefill": {"flags": {"port": 1}}}, "prefill.flags.port", "picks free ports"),
    ({"model": "m", "prefill": {"flags": {"--page_size": 1}}}, "prefill.flags.--page_size", "page-size"),
    ({"model": "m", "prefill": {"flags": {"x": {"y": 1}}}}, "prefill.flags.x", "text, a number"),
    ({"model": "m", "prefill": {"flags": {"x": [[1]]}}}, "prefill.flags.x", "text, a number"),
    ({"model": "m", "prefill": {"flags": {"x": [1, "a\n"]}}}, "prefill.flags.x", "plain text"),
    ({"model": "m", "prefill": {"flags": {"x": float("inf")}}}, "prefill.flags.x", "write a number"),
    ({"model": "m", "prefill": {"flags": {"x": 2**70}}}, "prefill.flags.x", "64 bits"),
    ({"model": "m", "prefill": {"flags": {"x": 10**5000}}}, "prefill.flags.x", "64 bits"),
    ({"model": "m", "env": {"PDPANEL_RUN_ID": "x"}}, "env.PDPANEL_RUN_ID", "leave it out"),
    ({"model": "m", "env": {"A=B": "x"}}, "env.A=B", "letters, digits"),
    ({"model": "m", "env": {"A": "x\0y"}}, "env.A", "plain text"),
    ({"model": "m", "env": []}, "env", "mapping"),
]


@pytest.mark.parametrize(("fields", "field", "fix"), WRONG)
def test_a_mistake_becomes_one_sentence_with_field_value_and_fix(
    fields: dict[str, object], field: str, fix: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_deployment(fields)
    assert caught.value.field == field
    assert fix in caught.value.remedy
    sentence = str(caught.value)
    assert "\n" not in sentence and len(sentence) < 500 and sentence.endswith(".")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a",
        "a: [",
        "\t",
        "model: a\nmodel: b",
        "model: !!python/object/apply:os.system [id]",
        "d: 2024-99-99",
        "? [a]\n: b",
        "a: &x [*x]",
        "x: " + "[" * 5000,
        "n: " + "9" * 5000,
        "\x00",
    ],
)
def test_what_is_no_deployment_file_becomes_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "d.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_deployment(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_bomb_of_aliases_is_not_written_out() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(ConfigError) as caught:
        parse_deployment_text("\n".join([*lines, "model: m", "prefill: *a11"]))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("kind", ["missing", "folder", "binary", "huge"])
def test_a_file_that_cannot_be_read_becomes_one_sentence(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "d.yaml"
    if kind == "folder":
        path.mkdir()
    elif kind == "binary":
        path.write_bytes(b"\xff\xfe\x00")
    elif kind == "huge":
        path.write_bytes(b"#" * (1 << 21))
    with pytest.raises(ConfigError, match=r"d\.yaml"):
        load_deployment(path)


@given(st.text())
def test_no_control_character_passes(text: str) -> None:
    if _is_plain(text):
        assert plain_text(text) == text
    else:
        with pytest.raises(ValueError, match="control characters"):
            plain_text(text)
