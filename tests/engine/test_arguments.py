"""Flags are SGLang's; what is not implemented is refused by name."""

import pytest
from pdpanel.engine.arguments import parse_server_arguments
from pdpanel.engine.config import Mode
from pdpanel.engine.errors import ConfigError


def test_a_full_command_line_becomes_a_configuration() -> None:
    config = parse_server_arguments(
        "--model-path m --served-model-name s --disaggregation-mode decode --port 30001 --host 127.0.0.1 "
        "--disaggregation-bootstrap-port 8999 --disaggregation-transfer-backend tcp --max-running-requests 4 "
        "--max-total-tokens 1024 --chunked-prefill-size 64 --page-size 32 --mem-fraction-static 0.5 "
        "--context-length 512 --dtype fp32 --kv-cache-dtype bf16 --random-seed 7 --tp-size 1 --enable-metrics".split()
    )
    assert config.disaggregation_mode is Mode.DECODE
    assert (config.model_path, config.served_model_name, config.port) == ("m", "s", 30001)
    assert (config.dtype, config.kv_cache_dtype, config.context_length) == ("float32", "bfloat16", 512)
    assert (config.max_total_tokens, config.chunked_prefill_size, config.page_size) == (1024, 64, 32)


def test_the_pool_of_a_cpu_worker_has_8192_tokens_by_default() -> None:
    assert parse_server_arguments(["--model-path", "m"]).max_total_tokens == 8192


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        ("--speculative-algorithm EAGLE", "--speculative-algorithm", "EAGLE"),
        ("--enable-dp-attention", "--enable-dp-attention", ""),
        ("--pp-size 2", "--pp-size", "2"),
        ("--pp-size=2", "--pp-size", "2"),
        ("--quantization=fp8", "--quantization", "fp8"),
        ("--port 0", "--port", "0"),
        ("--port 99999", "--port", "99999"),
        ("--port http", "--port", "http"),
        ("--dtype int3", "--dtype", "int3"),
        ("--disaggregation-transfer-backend ascend", "--disaggregation-transfer-backend", "ascend"),
        ("--disaggregation-mode both", "--disaggregation-mode", "both"),
        ("--mem-fraction-static 2", "--mem-fraction-static", "2"),
        ("--page-size 0", "--page-size", "0"),
        ("--chunked-prefill-size 100", "--chunked-prefill-size", "100"),
        ("--max-total-tokens 16 --page-size 32 --chunked-prefill-size 32", "--max-total-tokens", "16"),
        ("--enable-mixed-chunk --page-size 1 --chunked-prefill-size 33", "--chunked-prefill-size", "33"),
        ("--disaggregation-boot 1", "--disaggregation-boot", "1"),
    ],
)
def test_a_flag_that_cannot_be_honoured_is_refused_by_name(arguments: str, field: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_server_arguments(["--model-path", "m", *arguments.split()])
    assert caught.value.field == field
    assert str(caught.value.value) == value
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_the_prefix_cache_can_be_switched_off() -> None:
    assert not parse_server_arguments(["--model-path", "m"]).disable_radix_cache
    assert parse_server_arguments(["--model-path", "m", "--disable-radix-cache"]).disable_radix_cache


def test_steps_can_mix_prompts_and_decoding() -> None:
    assert not parse_server_arguments(["--model-path", "m"]).enable_mixed_chunk
    mixed = ["--enable-mixed-chunk", "--page-size", "2", "--chunked-prefill-size", "34", "--max-running-requests", "32"]
    assert parse_server_arguments(["--model-path", "m", *mixed]).enable_mixed_chunk


def test_a_missing_model_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match="--model-path"):
        parse_server_arguments([])


def test_names_that_the_worker_may_be_addressed_by() -> None:
    given = ["--model-path", "m", "--allowed-hosts", "LLM.example.org, gpu1:30000"]
    assert parse_server_arguments(given).allowed_hosts == ("llm.example.org", "gpu1:30000")
    assert parse_server_arguments(["--model-path", "m"]).allowed_hosts == ()
    with pytest.raises(ConfigError, match="not a host name"):
        parse_server_arguments(["--model-path", "m", "--allowed-hosts", "http://x/"])
