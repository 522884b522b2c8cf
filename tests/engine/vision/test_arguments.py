"""Flags of encoders and images."""

from __future__ import annotations

import pytest
from pdpanel.engine.arguments import parse_server_arguments
from pdpanel.engine.errors import ConfigError

MODEL = ["--model-path", "x"]


def test_an_encoder_and_a_language_worker() -> None:
    encoder = parse_server_arguments([*MODEL, "--encoder-only", "--encoder-transfer-backend", "mooncake"])
    assert (encoder.encoder_only, encoder.encoder_transfer_backend) == (True, "mooncake")
    urls = ["http://a:30002", "http://[fd00::1]:30003/"]
    worker = parse_server_arguments(
        [*MODEL, "--language-only", "--encoder-urls", *urls, "--limit-mm-data-per-request", '{"image": 2}']
    )
    assert worker.encoder_urls == ("http://a:30002", "http://[fd00::1]:30003")
    assert worker.limit_mm_data_per_request == 2
    plain = parse_server_arguments(MODEL)
    assert (plain.encoder_urls, plain.language_only, plain.limit_mm_data_per_request) == ((), False, 16)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["--language-only"], "--language-only"),
        (["--encoder-only", "--language-only", "--encoder-urls", "http://a:1"], "--encoder-only"),
        (["--encoder-only", "--disaggregation-mode", "prefill"], "--disaggregation-mode"),
        (["--encoder-urls", "http://a:1"], "--encoder-urls"),
        (["--language-only", "--encoder-urls", "a:1"], "--encoder-urls"),
        (["--language-only", "--encoder-urls", "http://a"], "--encoder-urls"),
        (["--language-only", "--encoder-urls", "http://a:99999"], "--encoder-urls"),
        (["--language-only", "--encoder-urls", "http://a:1", "http://a:1/"], "--encoder-urls"),
        (["--encoder-transfer-backend", "zmq_to_tokenizer"], "--encoder-transfer-backend"),
        (["--limit-mm-data-per-request", "4"], "--limit-mm-data-per-request"),
        (["--limit-mm-data-per-request", '{"video": 1}'], "--limit-mm-data-per-request"),
        (["--limit-mm-data-per-request", '{"image": 0}'], "--limit-mm-data-per-request"),
        (["--limit-mm-data-per-request", "{"], "--limit-mm-data-per-request"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(arguments: list[str], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_server_arguments([*MODEL, *arguments])
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["--encoder-only", "--encoder-urls", "http://a:1"], "leave it out"),
        (["--encoder-urls", "http://a:1"], "give --language-only"),
        (["--language-only", "--encoder-urls", "http://a:1,http://b:1"], "with spaces between them"),
    ],
)
def test_a_refusal_says_what_helps(arguments: list[str], remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_server_arguments([*MODEL, *arguments])
    assert caught.value.remedy.startswith(remedy) or caught.value.remedy.endswith(remedy)
