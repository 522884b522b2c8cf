"""Many clients at once, and what goes wrong with some of them; afterwards no page is in use."""

from __future__ import annotations

import concurrent.futures
import http.client
import itertools
import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
from pd_http import post

ARGUMENTS = ["--max-total-tokens", "4096", "--max-running-requests", "16"]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def pair(make_cluster, tmp_path_factory):
    with make_cluster(tmp_path_factory.mktemp("pair"), ARGUMENTS, prefill=1, decode=1) as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_stays_behind(pair):
    yield
    pair.wait_idle()


def stream(url: str, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the events of a stream; the last line must be [DONE]."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=120)
    connection.request("POST", path, json.dumps(body | {"stream": True}), {"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    assert response.status == 200, text
    lines = [line.removeprefix("data: ") for line in text.split("\n") if line]
    assert lines[-1] == "[DONE]", text
    return [json.loads(line) for line in lines[:-1]]


def test_32_concurrent_streams_finish_correctly(pair) -> None:
    """Each says what it says when it runs alone: sampled with a seed, so batches of any size give the same text."""

    def ask(index: int) -> str:
        body = {
            "messages": [{"role": "user", "content": f"Count from {index} to {index + 3}."}],
            "temperature": 0.8,
            "seed": index,
            "max_tokens": 12 + index % 5,
        }
        events = stream(pair.url, "/v1/chat/completions", body)
        assert events[0]["choices"][0]["delta"]["role"] == "assistant"
        assert events[-1]["choices"][0]["finish_reason"] in ("stop", "length")
        assert len({event["id"] for event in events}) == 1
        return "".join(event["choices"][0]["delta"].get("content") or "" for event in events)

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        together = list(pool.map(ask, range(32)))
    assert all(together)
    assert pair.metric("decode-0", "sglang:num_transfer_failed_reqs_total") == 0


def test_a_stream_is_cumulative_and_counts_every_token_once(pair) -> None:
    body = {"text": "The capital of France is", "sampling_params": {"temperature": 0, "max_new_tokens": 9}}
    events = stream(pair.url, "/generate", body)
    counts = [event["meta_info"]["completion_tokens"] for event in events]
    assert counts == sorted(set(counts)) and counts[0] == 1 and counts[-1] <= 9
    for before, after in itertools.pairwise(events):
        assert after["text"].startswith(before["text"])
    assert events[-1]["meta_info"]["finish_reason"]["type"] in ("stop", "length")


@pytest.mark.parametrize("output", [1, 2])
def test_the_first_token_may_be_the_last(pair, output: int) -> None:
    body = {"text": "Hello", "sampling_params": {"temperature": 0, "max_new_tokens": output, "ignore_eos": True}}
    events = stream(pair.url, "/generate", body)
    assert events[-1]["meta_info"]["completion_tokens"] == output
    assert events[-1]["meta_info"]["finish_reason"]["type"] == "length"


def test_clients_that_leave_free_their_pages(pair) -> None:
    parts = urlsplit(pair.url)
    for size in (5, 900):
        for reads in (0, 1, 3):
            body = json.dumps({
                "input_ids": list(range(100, 100 + size)),
                "sampling_params": {"max_new_tokens": 400, "ignore_eos": True},
                "stream": True,
            })  # fmt: skip
            with socket.create_connection((parts.hostname, parts.port), timeout=60) as connection:
                head = f"POST /generate HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
                connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
                seen = b""
                while seen.count(b"data: ") < reads:
                    seen += connection.recv(65536)
    pair.wait_idle()


def test_stop_strings_and_penalised_limits_work_through_the_pair(pair) -> None:
    body = {
        "prompt": "1, 2, 3, 4,",
        "temperature": 0,
        "max_tokens": 40,
        "stop": [" 8"],
    }
    events = stream(pair.url, "/v1/completions", body)
    text = "".join(event["choices"][0]["text"] for event in events)
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    assert " 8" not in text and " 7" in text


def test_log_probabilities_do_not_change_the_tokens_and_cross_the_pair(pair) -> None:
    """Prefill scores the prompt and the first token, decode the others; a request alone scores all as a prompt."""
    body = {"text": "The capital of France is", "sampling_params": {"temperature": 0, "max_new_tokens": 6}}
    status, plain = post(pair.url + "/generate", body)
    asking = {"return_logprob": True, "logprob_start_len": 0, "top_logprobs_num": 2}
    scored_status, scored = post(pair.url + "/generate", body | asking)
    assert (status, scored_status) == (200, 200), (plain, scored)
    assert scored["output_ids"] == plain["output_ids"]
    meta = scored["meta_info"]
    own = meta["output_token_logprobs"]
    assert [token for _, token, _ in own] == scored["output_ids"]
    assert [top[0][:2] for top in meta["output_top_logprobs"]] == [entry[:2] for entry in own]  # greedy
    prompt = [token for _, token, _ in meta["input_token_logprobs"]]
    assert len(prompt) == meta["prompt_tokens"]
    again = {"input_ids": prompt + scored["output_ids"], "sampling_params": {"max_new_tokens": 1}, **asking}
    status, whole = post(pair.url + "/generate", again)
    told = [value for value, _, _ in whole["meta_info"]["input_token_logprobs"]]
    assert told[0] is None
    expected = [value for value, _, _ in meta["input_token_logprobs"] + own]
    assert told[1:] == pytest.approx(expected[1:], abs=0.2)  # bfloat16, in pieces of other lengths


def test_answers_and_prompts_come_in_one_request(pair) -> None:
    """Each is what it is alone; greedy, since a draw near a border may fall to either side in another batch."""
    body = {"prompt": ["One, two, three,", "1, 2, 3, 4,"], "n": 2, "temperature": 0, "max_tokens": 5}
    status, answer = post(pair.url + "/v1/completions", body)
    assert status == 200, answer
    together = [choice["text"] for choice in answer["choices"]]
    for index, prompt in enumerate(body["prompt"]):
        alone = post(pair.url + "/v1/completions", body | {"prompt": prompt, "n": 1})[1]["choices"][0]["text"]
        assert together[2 * index : 2 * index + 2] == [alone] * 2
    assert answer["usage"]["completion_tokens"] == 20
    events = stream(pair.url, "/v1/completions", body)
    texts = dict.fromkeys(range(4), "")
    for event in events:
        texts[event["choices"][0]["index"]] += event["choices"][0]["text"]
    assert list(texts.values()) == together


BAD = [
    ({"text": "x", "sampling_params": {"max_new_tokens": 0}}, "max_new_tokens"),
    ({"text": "x", "sampling_params": {"max_new_tokens": 1_000_000}}, "max_new_tokens"),
    ({"text": "x", "sampling_params": {"temperature": "hot"}}, "temperature"),
    ({"text": "x", "sampling_params": {"frequency_penalty": 1.5}}, "frequency_penalty"),
    ({"text": "x", "return_hidden_states": True}, "return_hidden_states"),
    ({"text": "x", "frobnicate": 1}, "frobnicate"),
    ({"input_ids": [1] * 5000}, "input_ids"),
    ({"input_ids": [999_999]}, "input_ids"),
    ({"text": ""}, "text"),
    ({}, "text"),
]


@pytest.mark.parametrize(("body", "field"), BAD, ids=[field for _, field in BAD])
def test_bad_input_is_one_sentence_and_disturbs_nobody(pair, body: dict[str, Any], field: str) -> None:
    parts = urlsplit(pair.url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    connection.request("POST", "/generate", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    assert 400 <= response.status < 500
    assert field in answer["error"]["message"]
    assert "Traceback" not in json.dumps(answer) and "\n" not in answer["error"]["message"]


def test_a_body_that_is_no_json_is_one_sentence(pair) -> None:
    parts = urlsplit(pair.url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    connection.request("POST", "/generate", "{not json", {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status == 400
    assert "JSON" in json.loads(response.read())["error"]["message"]
    connection.close()
