"""Arguments in the words of a version: what is renamed, merged, left out, refused, and what stays as it is."""

from __future__ import annotations

import json
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.finding import Finding, Severity
from pdpanel.panel.flags.table import Kind, load_table
from pdpanel.panel.flags.translate import translate
from pdpanel.panel.flags.version import version_of

# version, what was written, what the version takes.
SGLANG = [
    ("0.5.23", "--tp 8 --dp 2 --pp 2", "--tp-size 8 --dp-size 2 --pp-size 2"),
    ("0.4.5", "--tp=8", "--tp-size=8"),
    ("", "--tp 8", "--tp-size 8"),
    ("0.5.23", "--tp_size 8", "--tp-size 8"),
    ("0.5.23", "--stream-output", "--incremental-streaming-output"),
    ("", "--stream-output", "--incremental-streaming-output"),
    ("0.5.9", "--incremental-streaming-output", "--stream-output"),
    ("0.5.9", "--stream-output", "--stream-output"),
    ("0.5.23", "--cuda-graph-bs 1 2 4 8 --port 1", "--cuda-graph-bs-decode 1 2 4 8 --port 1"),
    ("0.5.9", "--cuda-graph-bs-decode 1 2 4", "--cuda-graph-bs 1 2 4"),
    ("0.5.23", "--cuda-graph-max-bs=64", "--cuda-graph-max-bs-decode=64"),
    ("0.5.23", "--enable-deepep-moe", "--moe-a2a-backend deepep"),
    ("0.4.5", "--moe-a2a-backend deepep", "--enable-deepep-moe"),
    ("0.5.12", "--disaggregation-decode-tp 4 --port 1", "--port 1"),
    ("0.5.9", "--disaggregation-decode-tp 4", "--disaggregation-decode-tp 4"),
    ("0.5.23", "--disaggregation-transport mooncake", "--disaggregation-transfer-backend mooncake"),
    ("0.5.23", "--dp-size 8 --enable-dp-attention", "--attn-dp-size 8"),
    ("0.5.22", "--enable-dp-attention --x-y 1 --data-parallel-size=8", "--x-y 1 --attn-dp-size=8"),
    ("0.5.21", "--dp-size 8 --enable-dp-attention", "--dp-size 8 --enable-dp-attention"),
    ("", "--dp-size 8 --enable-dp-attention", "--dp-size 8 --enable-dp-attention"),
    ("0.5.21", "--attn-dp-size 8", "--dp-size 8 --enable-dp-attention"),
    ("0.5.21", "--attention-data-parallel-size 8", "--dp-size 8 --enable-dp-attention"),
    ("0.5.21", "--attn-dp-size 8 --dp-size 1", "--dp-size 8 --enable-dp-attention"),
    ("0.5.21", "--attn-dp-size 1", ""),
    (
        "0.5.23",
        "--disable-cuda-graph",
        "--cuda-graph-backend-decode disabled --cuda-graph-backend-prefill disabled",
    ),
    ("", "--disable-cuda-graph", "--disable-cuda-graph"),
    ("0.5.12", "--cuda-graph-backend-prefill=disabled --cuda-graph-backend-decode disabled", "--disable-cuda-graph"),
    ("0.5.23", "--nsa-prefill flashmla_sparse", "--dsa-prefill-backend flashmla_sparse"),
    ("0.5.23", "--nsa-prefill-cp-mode in-seq-split", "--cp-strategy zigzag"),
    ("0.5.23", "--stream-output --incremental-streaming-output", "--incremental-streaming-output"),
    ("0.5.23", "--load-form auto", "--load-format auto"),
    ("0.5.23", "--config c -- --stream-output", "--config c -- --stream-output"),
    ("v0.5.15.post1-rocm720", "--cuda-graph-bs-decode 1", "--cuda-graph-bs-decode 1"),
    (
        "0.5.23",
        "python3 -m sglang.launch_server --model-path m --trust-remote-code --prefill-round-robin-balance",
        "python3 -m sglang.launch_server --model-path m --trust-remote-code",
    ),
]
VLLM = [
    ("0.33.0", "vllm serve m -tp 8", "vllm serve m --tensor-parallel-size 8"),
    ("0.8.4", "--tensor_parallel_size=8 --max_model_len 9", "--tensor-parallel-size=8 --max-model-len 9"),
    ("0.33.0", "--enforce-eager m --swap-space 4", "--enforce-eager m"),
    ("0.32.0", "--compilation-config.mode 3 -O3", "--compilation-config.mode 3 -O3"),
    ("0.32.0", "--disable-log-requests", "--no-enable-log-requests"),
]
# version, what was written, and words of the finding.
REFUSED = [
    ("0.4.5", "--disaggregation-ib-device mlx5_0", "flag-refused", "MOONCAKE_CONFIG_PATH"),
    ("0.5.21", "--attn-dp-size 8 --dp-size 2", "flag-refused", "0.5.22"),
    ("0.5.23", "--torchao-config int4", "flag-refused", "0.5.18"),
    ("0.5.2", "--cuda-graph-backend-decode disabled", "flag-refused", "0.5.14"),
    ("0.4.5", "--moe-a2a-backend mooncake", "flag-refused", "0.4.10"),
    ("0.5.23", "--cuda-graph-b 1", "flag-unknown", "--cuda-graph-bs-decode"),
    ("0.5.23", "--tensor-paralel-size 2", "flag-unknown", "--tensor-parallel-size"),
]


@pytest.mark.parametrize(("version", "written", "wanted"), SGLANG)
def test_sglang(version: str, written: str, wanted: str) -> None:
    made = translate("sglang", version, shlex.split(written))
    assert shlex.join(made.arguments) == wanted
    assert all(finding.severity is not Severity.ERROR for finding in made.findings if "x-y" not in finding.subject)


@pytest.mark.parametrize(("version", "written", "wanted"), VLLM)
def test_vllm(version: str, written: str, wanted: str) -> None:
    assert shlex.join(translate("vllm", version, shlex.split(written)).arguments) == wanted


@pytest.mark.parametrize(("version", "written", "rule", "word"), REFUSED)
def test_a_refused_option_stays_and_is_an_error(version: str, written: str, rule: str, word: str) -> None:
    made = translate("sglang", version, shlex.split(written))
    assert shlex.join(made.arguments) == written
    (finding,) = made.findings
    assert (finding.id, finding.severity) == (rule, Severity.ERROR)
    assert word in finding.remedy
    assert finding.reason


def test_a_version_beyond_those_that_were_read_only_warns() -> None:
    for version in ("", "9.9.9"):
        (finding,) = translate("sglang", version, ["--brand-new-option"]).findings
        assert finding.severity is Severity.WARNING
    (finding,) = translate("sglang", "9.9.9", ["--torchao-config", "x"]).findings
    assert finding.severity is Severity.ERROR


@pytest.mark.parametrize(
    ("version", "written", "word"),
    [
        ("0.5.23", "--attention-backend cutlass_mla", "gone in 0.5.20"),
        ("0.5.9", "--disaggregation-transfer-backend=mooncake_tcp", "since 0.5.13"),
        ("0.5.23", "--nsa-decode-backend flasmla", "in none"),
    ],
)
def test_a_value_that_a_version_does_not_take_is_an_error(version: str, written: str, word: str) -> None:
    finding = next(one for one in translate("sglang", version, written.split()).findings if one.severity == "error")
    assert finding.id == "flag-value-refused"
    assert word in finding.evidence[1].value
    assert finding.remedy.startswith("Use ")


def test_a_value_of_a_version_that_takes_it_or_computes_its_values_is_fine() -> None:
    for version, written in (
        ("0.5.19", "--attention-backend cutlass_mla"),
        ("0.5.13", "--disaggregation-transfer-backend mooncake_tcp"),
        ("0.5.23", "--tool-call-parser a-plug-in-of-mine"),
    ):
        assert translate("sglang", version, written.split()).findings == ()
    (finding,) = translate("sglang", "", ["--attention-backend", "cutlass_mla"]).findings
    assert finding.severity is Severity.WARNING


def test_a_change_is_said_with_what_it_rests_on() -> None:
    (finding,) = translate("sglang", "0.5.23", ["--cuda-graph-bs", "1", "2"]).findings
    assert (finding.id, finding.severity, finding.subject) == ("flag-translated", Severity.INFO, "--cuda-graph-bs")
    assert finding.corrected == "--cuda-graph-bs-decode 1 2"
    assert "gone in 0.5.20" in finding.evidence[1].value
    (dropped,) = translate("sglang", "0.5.23", ["--disaggregation-decode-dp", "2"]).findings
    assert dropped.id == "flag-dropped"
    assert "bootstrap server" in dropped.reason


def test_other_engines_are_left_alone() -> None:
    words = ["--stream-output", "--tp", "8"]
    assert translate("bundled", "0.5.23", words).arguments == tuple(words)


def _kv(version: str, config: object) -> list[Finding]:
    text = config if isinstance(config, str) else json.dumps(config)
    made = translate("vllm", version, ["--kv-transfer-config", text])
    assert made.arguments == ("--kv-transfer-config", text)
    return list(made.findings)


V0 = (
    '{"kv_connector":"MooncakeConnector","kv_role":"kv_producer","kv_rank":0,"kv_parallel_size":2,"kv_buffer_size":2e9}'
)


def test_the_kv_configuration_of_v0_is_refused_today_and_taken_by_its_own_version() -> None:
    for version in ("", "0.33.0", "0.32.0"):
        (finding,) = _kv(version, V0)
        assert finding.severity is Severity.ERROR
        assert json.loads(finding.corrected or "") == {"kv_connector": "MooncakeConnector", "kv_role": "kv_producer"}
        assert "kv_rank, kv_parallel_size, kv_buffer_size" in finding.reason
    for version in ("0.8.4", "0.8.5", "0.31.0"):
        assert _kv(version, V0) == []


def test_a_kv_configuration_inside_another_is_judged_too() -> None:
    inner = {"kv_connector": "MooncakeConnector", "kv_role": "kv_both", "kv_ip": "10.0.0.1"}
    outer = {
        "kv_connector": "MultiConnector",
        "kv_role": "kv_both",
        "kv_connector_extra_config": {"connectors": [inner], "kv_rank": 1},
    }
    (finding,) = _kv("0.33.0", outer)
    corrected = json.loads(finding.corrected or "")
    kept = {key: value for key, value in inner.items() if key != "kv_ip"}
    assert corrected["kv_connector_extra_config"]["connectors"] == [kept]
    assert corrected["kv_connector_extra_config"]["kv_rank"] == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "config.json"])
def test_what_is_no_configuration_is_the_engines_to_refuse(text: str) -> None:
    assert _kv("0.33.0", text) == []


_TABLE = load_table("sglang")
assert _TABLE is not None
_NAMES = st.sampled_from(sorted(_TABLE.options))
_VERSIONS = st.sampled_from(_TABLE.versions)


@st.composite
def _arguments(draw: st.DrawFn) -> list[str]:
    words: list[str] = []
    assert _TABLE is not None
    for name in draw(st.lists(_NAMES, max_size=8, unique=True)):
        words.append(name)
        if _TABLE.options[name].kind is not Kind.SWITCH:
            words.append(draw(st.sampled_from(["1", "deepep", "disabled", "x"])))
    return words


@given(_arguments(), _VERSIONS)
def test_what_is_not_refused_exists_and_a_second_translation_changes_nothing(words: list[str], version: str) -> None:
    assert _TABLE is not None
    made = translate("sglang", version, words)
    errors = [finding for finding in made.findings if finding.severity is Severity.ERROR]
    refused = {finding.subject for finding in errors if finding.id != "flag-value-refused"}
    names = {word for word in made.arguments if word.startswith("--")}
    assert {name for name in names if not _TABLE.has(name, version_of(version))} == refused
    again = translate("sglang", version, made.arguments)
    assert again.arguments == made.arguments
    assert {finding.severity for finding in again.findings} <= {Severity.ERROR}


@given(_arguments(), _VERSIONS)
def test_an_option_that_exists_and_is_not_deprecated_is_kept(words: list[str], version: str) -> None:
    assert _TABLE is not None
    numbers = version_of(version)
    lasting = {
        word
        for word in words
        if word.startswith("--")
        and _TABLE.has(word, numbers)
        and not _TABLE.options[word].is_deprecated(numbers)
        and (_TABLE.options[word].alias_of or word) != "--dp-size"
    }
    assert lasting <= set(translate("sglang", version, words).arguments)
