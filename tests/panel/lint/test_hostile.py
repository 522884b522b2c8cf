"""Text from anywhere: no text raises, none is slow by its shape, and a correction corrects nothing further."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pdpanel.panel.lint.importing import import_text
from pdpanel.panel.lint.kind import MOST_CHARACTERS
from pdpanel.panel.lint.lint import lint_text

SEEDS = (
    "MC_FORCE_MNNVL=0 python -m sglang.launch_server --model-path m --disaggregation-mode prefill --tp 8 --dp 8 "
    '--disaggregation-ib-device \'{"0":"mlx5_0"}\' > log 2>&1 &\n'
    'vllm serve m --kv-transfer-config \'{"kv_connector":"MooncakeConnector","kv_role":"kv_producer","kv_rank":0}\'\n',
    "ssh a 'export MC_FORCE_TCP=0; bash -c \"python -m sglang_router.launch_router --decode http://a:1,http://b:1\"'\n",
    "services:\n  a:\n    image: lmsysorg/sglang:v0.5.9\n    command: [python3, -m, sglang.launch_server, --tp, '2']\n"
    "    environment:\n      - MC_FORCE_MNNVL=0\n  b: {command: 'vllm serve m --kv-transfer-config {a:b}'}\n",
    "version: 1\nengine: sglang\nmodel: m\nprefill: {count: 1}\ndecode: {count: 1}\n",
    '{"local_hostname": "a", "metadata_server": "b:1", "protocol": "rdma", "device_name": "x y"}',
    '{"mode": "embedded", "global_segment_size": 0, "metadata_server": 1, "master_server_address": []}',
    'cat > m.json <<EOF\n{\n"prefill_url": "a:1", "decode_url": "a:2", "metadata_server": "redis://a"}\nEOF\n',
)
PIECES = (
    *('"', "'", "{", "}", "\\", "\n", "$", "$(", "`", " --", "=", ",", "\0", "\x80", "[", "]", "-", "&", "*a", "&a "),
    *("<<: ", "|", "9" * 400, "-1", "é", "null", "#", "\t", "<<EOF", "\u2028", "\x1b[2J", "--nnodes 99999999"),
)
SHAPES = {
    "words": "a " * MOST_CHARACTERS,
    "braces": "{" * MOST_CHARACTERS,
    "brackets": "a: " + "[" * MOST_CHARACTERS,
    "quotes": "a '\n" * (MOST_CHARACTERS // 4),
    "substitutions": "$(" * (MOST_CHARACTERS // 2),
    "objects": '{"metadata_server": "x"}\n' * (MOST_CHARACTERS // 24),
    "open objects": "{\n" * (MOST_CHARACTERS // 2),
    "here-documents": "cat <<A\n" * (MOST_CHARACTERS // 8),
    "merges": "a: &a {b: 1}\n" + "".join(f"c{i}: &c{i}\n  <<: [*a, *a]\n" for i in range(60)),
    "indents": "".join(" " * depth + "a:\n" for depth in range(300)),
    "one list": "--decode " + ",".join(f"http://h{number}:1" for number in range(9000)),
    "many commands": "python -m sglang.launch_server --model-path m --disaggregation-mode prefill\n" * 300,
    "options": "python -m sglang.launch_server " + "--a-b c " * 20000,
}


def judge(text: str) -> None:
    report = lint_text(text)
    assert report.kind
    import_text(text)
    if report.corrected is not None:
        again = lint_text(report.corrected)
        # What came to light by a correction was corrected as well.
        assert again.kind != report.kind or again.corrected in {None, report.corrected}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(SEEDS), st.integers(0, 2**32))
def test_damaged_texts_are_no_error(text: str, seed: int) -> None:
    rng = random.Random(seed)
    chars = list(text)
    for _ in range(rng.randrange(1, 9)):
        at = rng.randrange(len(chars) + 1)
        if rng.random() < 0.4:
            del chars[at : at + rng.randrange(1, 12)]
        else:
            chars[at:at] = rng.choice(PIECES)
    judge("".join(chars))


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_no_error(text: str) -> None:
    judge(text)


@pytest.mark.parametrize("shape", SHAPES)
def test_texts_of_any_shape_come_to_an_end(shape: str) -> None:
    assert lint_text(SHAPES[shape]).kind
