"""SGLang's native route, curl, Prometheus and SGLang's benchmark client behind each router."""

from __future__ import annotations

import http.client
import json
import re
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from client_fleet import FRONTS, MODEL, SHORTCOMINGS, Fleet, Front
from load_clients import sglang_bench
from pd_http import get, post
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.timeout(240)

ROOT = Path(__file__).resolve().parents[2]
SEEDS = ROOT.parent / "shared" / "seeds"
PROMPT = [504, 3575, 282, 4649, 314]  # "The capital of France is"
GREEDY = {"temperature": 0, "max_new_tokens": 5, "ignore_eos": True}


def events(url: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the events of a stream as they come; `[DONE]` must end it."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
    try:
        connection.request(
            "POST", place.path, json.dumps(body | {"stream": True}), {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        assert response.status == 200, response.read()
        last = ""
        for raw in response:
            if line := raw.decode().strip():
                last = line.removeprefix("data: ")
                if last != "[DONE]":
                    yield json.loads(last)
        assert last == "[DONE]"
    finally:
        connection.close()


def test_generate_streams_the_whole_text_each_time(front: Front, clients_fleet: Fleet) -> None:
    body = {"input_ids": PROMPT, "sampling_params": GREEDY, "rid": f"of-{front.name}"}
    status, yardstick = post(clients_fleet.worker("unified-0") + "/generate", body)
    assert status == 200
    _, whole = post(front.url + "/generate", body)
    assert (whole["text"], whole["output_ids"]) == (yardstick["text"], yardstick["output_ids"])
    told = list(events(front.url + "/generate", body))
    assert [event["meta_info"]["completion_tokens"] for event in told] == [1, 2, 3, 4, 5]
    assert all(later["text"].startswith(sooner["text"]) for sooner, later in pairwise(told))
    assert (told[-1]["text"], told[-1]["output_ids"]) == (whole["text"], whole["output_ids"])
    assert {event["meta_info"]["id"] for event in told} == {f"of-{front.name}"}
    assert [event["meta_info"]["finish_reason"] for event in told[:-1]] == [None] * 4
    assert told[-1]["meta_info"]["finish_reason"] == {"type": "length", "length": 5}
    _, text = post(front.url + "/generate", {"text": "The capital of France is", "sampling_params": GREEDY})
    assert text["output_ids"] == whole["output_ids"]
    with front.expecting("unknown field of /generate"):
        status, refusal = post(front.url + "/generate", body | {"nonsense": 1})
        assert (status, "nonsense" in json.dumps(refusal)) == (400, True), f"status {status}"


def test_generate_takes_a_batch_of_ids(front: Front) -> None:
    body = {"input_ids": [PROMPT, [34, 28, 216, 35, 28]], "sampling_params": GREEDY | {"max_new_tokens": 3}}
    status, answers = post(front.url + "/generate", body)
    assert status == 200, answers
    alone = [post(front.url + "/generate", body | {"input_ids": ids})[1] for ids in body["input_ids"]]
    assert [answer["output_ids"] for answer in answers] == [answer["output_ids"] for answer in alone]
    last: dict[int, list[int]] = {}
    for event in events(front.url + "/generate", body):
        last[event["index"]] = event["output_ids"]
    assert last == {index: answer["output_ids"] for index, answer in enumerate(alone)}


def test_an_abort_ends_the_stream(front: Front, clients_fleet: Fleet) -> None:
    rid = f"abort-{front.name}"
    body = {"input_ids": PROMPT, "sampling_params": GREEDY | {"max_new_tokens": 2000}, "rid": rid}
    stream = events(front.url + "/generate", body)
    next(stream)
    with front.expecting("abort"):
        status, _ = post_text(front.url + "/abort_request", {"rid": rid})
        assert status == 200, f"status {status}"
    if (front.name, "abort") in SHORTCOMINGS:
        assert post_text(clients_fleet.worker("decode-0") + "/abort_request", {"rid": rid})[0] == 200
    told = list(stream)
    reason = told[-1]["meta_info"]["finish_reason"] if "meta_info" in told[-1] else {"type": told[-1]["error"]["type"]}
    assert reason["type"].startswith("abort")
    assert len(told) < 1999


def post_text(url: str, body: dict[str, Any]) -> tuple[int, str]:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
    connection.request("POST", place.path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    said = response.read().decode()
    connection.close()
    return response.status, said


@pytest.mark.parametrize("streaming", [False, True])
def test_prefill_ends_its_answer_before_decode_is_half_way(clients_fleet: Fleet, streaming: bool) -> None:
    """Routers that read the whole answer of prefill before they relay decode's depend on it for the first token."""
    port = clients_fleet.cluster.processes["prefill-0"].bootstrap
    body = {"input_ids": PROMPT, "sampling_params": GREEDY | {"max_new_tokens": 24}, "stream": streaming}
    body |= {"bootstrap_host": "127.0.0.1", "bootstrap_port": port, "bootstrap_room": 4_242 + streaming}
    ended = threading.Event()

    def prefill() -> None:
        post_text(clients_fleet.worker("prefill-0") + "/generate", body)
        ended.set()

    thread = threading.Thread(target=prefill)
    thread.start()
    seen = [ended.is_set() for _ in events(clients_fleet.worker("decode-0") + "/generate", body)]
    thread.join(60)
    assert len(seen) == 24
    assert seen[12], "prefill held its answer while decode generated"
    clients_fleet.cluster.wait_idle()


def test_the_first_token_comes_while_decode_still_generates(front: Front, clients_fleet: Fleet) -> None:
    stream = events(front.url + "/generate", {"input_ids": PROMPT, "sampling_params": GREEDY | {"max_new_tokens": 24}})
    next(stream)
    (state,) = get(clients_fleet.worker("decode-0") + "/server_info")["internal_states"]
    busy = state["num_running_reqs"] + state["num_decode_transfer_queue_reqs"] + state["num_decode_prealloc_queue_reqs"]
    assert busy == 1
    assert len(list(stream)) == 23


def test_what_routers_tell_of_the_model_and_the_load(front: Front, clients_fleet: Fleet) -> None:
    assert get(front.url + "/readiness")["status"] == "ready"
    assert get(front.url + "/v1/models")["data"][0]["id"] == MODEL
    assert len(get(front.url + "/workers")["workers"]) == 2
    assert post_text(front.url + "/flush_cache", {})[0] == 200
    assert len(get(front.url + "/get_loads").get("workers") or get(front.url + "/get_loads")["loads"]) == 2
    with front.expecting("model info"):
        assert get(front.url + "/get_model_info")["served_model_name"] == MODEL


@pytest.mark.parametrize("name", FRONTS[1:])
def test_a_foreign_router_tokenizes_with_the_directory_that_the_workers_name(clients_fleet: Fleet, name: str) -> None:
    front, directory = (
        clients_fleet.fronts[name],
        get(clients_fleet.worker("prefill-0") + "/model_info")["tokenizer_path"],
    )
    with front.expecting("tokenizer of the workers"):
        assert tokens_of(front, 5) == PROMPT
    if (name, "tokenizer of the workers") in SHORTCOMINGS:
        assert post(front.url + "/v1/tokenizers", {"name": MODEL, "source": directory})[0] == 202
        assert tokens_of(front, 20) == PROMPT


def tokens_of(front: Front, patience_s: float) -> list[int]:
    """Returns what a router makes of the prompt; it loads its tokenizer while it serves already."""
    deadline = time.monotonic() + patience_s
    while True:
        status, said = post(front.url + "/v1/tokenize", {"model": MODEL, "prompt": "The capital of France is"})
        if status == 200:
            return said["tokens"]
        assert time.monotonic() < deadline, said
        time.sleep(0.05)


NAMES = {
    "prefill-0": {"sglang:num_prefill_bootstrap_queue_reqs", "sglang:num_prefill_inflight_queue_reqs"},
    "decode-0": {"sglang:num_decode_prealloc_queue_reqs", "sglang:num_decode_transfer_queue_reqs"},
    "unified-0": {"sglang:gen_throughput", "sglang:time_to_first_token_seconds", "sglang:inter_token_latency_seconds"},
}
EVERYWHERE = {"sglang:num_running_reqs", "sglang:num_queue_reqs", "sglang:token_usage", "sglang:prompt_tokens"}


def scraped(url: str) -> tuple[set[str], dict[str, float]]:
    """Returns the families of a /metrics page and its samples; the page must be as a scraper wants it."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
    connection.request("GET", place.path, headers={"Accept": "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    assert response.status == 200
    assert (response.getheader("Content-Type") or "").startswith("text/plain; version=0.0.4") or "smg_" in text
    described = {kind: re.findall(rf"^# {kind} (\S+) ", text, re.MULTILINE) for kind in ("HELP", "TYPE")}
    assert len(set(described["TYPE"])) == len(described["TYPE"]), "a family is described twice"
    names: set[str] = set()
    samples: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        names.add(family.name)
        assert family.type != "unknown", f"{family.name} has no TYPE"
        for sample in family.samples:
            series = f"{sample.name}{sorted(sample.labels.items())}"
            assert series not in samples, f"{series} is there twice"
            samples[series] = sample.value
    if promtool := shutil.which("promtool"):
        judged = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
        assert "error while linting" not in judged.stderr, judged.stderr
    return names, samples


def test_prometheus_scrapes_workers_and_routers(front: Front, clients_fleet: Fleet) -> None:
    before = {name: scraped(clients_fleet.worker(name) + "/metrics")[1] for name in NAMES}
    post(front.url + "/generate", {"input_ids": PROMPT, "sampling_params": GREEDY})
    for name, special in NAMES.items():
        families, samples = scraped(clients_fleet.worker(name) + "/metrics")
        assert families >= special | EVERYWHERE
        assert set(before[name]) <= set(samples), "series do not vanish"
        risen = {series.split("[")[0] for series in samples if samples[series] > before[name].get(series, 0)}
        counted = {"prefill-0": "sglang:prompt_tokens_total", "decode-0": "sglang:generation_tokens_total"}.get(name)
        assert counted is None or counted in risen
    assert scraped(front.metrics_url)[0]


# As the documents print it: with Content-Type or without spaces, over one line or several.
PRINTED = (
    """curl -X POST http://127.0.0.1:8000/generate -H "Content-Type: application/json" -d '{
  "text": "Tell me a tale ",
  "sampling_params": {
    "temperature": 0
  }
}'""",
    """curl -X POST http://127.0.0.1:30000/generate \\
       -H "Content-Type: application/json" \\
       -d '{ "text": "Once upon a time ", "sampling_params": { "temperature": 0.3 } }'""",
    """curl -s http://localhost:8000/v1/completions -H "Content-Type: application/json" -d '{
  "model": "Org/Some-7B-Instruct",
  "prompt": "Paris is a",
  "max_tokens": 1000
}'""",
)


def words_of(command: str) -> list[str]:
    """Returns what a shell makes of a command; shlex alone keeps the line breaks that are escaped."""
    return shlex.split(command.replace("\\\n", " "))


def printed_commands(text: str) -> list[str]:
    """Returns the curl commands of a document: from a line that begins with curl to where its quotes are closed."""
    found, lines = [], text.splitlines()
    for start, line in enumerate(lines):
        if line.strip().startswith("curl "):
            for end in range(start, len(lines)):
                command = "\n".join(lines[start : end + 1])
                try:
                    words_of(command)
                except ValueError:
                    continue
                if not command.rstrip().endswith("\\"):
                    found.append(command.strip())
                    break
    return found


def commands() -> list[str]:
    """Returns those of the documents, or those of the same shape where the documents are not at hand."""
    own = [command for text in PRINTED for command in printed_commands(text)]
    assert own == list(PRINTED)
    texts = [path.read_text() for path in sorted(SEEDS.glob("*.txt"))] if SEEDS.is_dir() else []
    found = dict.fromkeys(command for text in texts for command in printed_commands(text))
    return [command for command in found if "/generate" in command or "/v1/" in command] or own


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
@pytest.mark.parametrize("command", commands())
def test_curl_as_documents_print_it(front: Front, command: str) -> None:
    """Only the address, the model's name and the length of the answer are ours."""
    words = [re.sub(r"^https?://[\w.]+:\d+", front.url, word) for word in words_of(command)]
    place = words.index("-d") + 1
    body = json.loads(words[place])
    if "model" in body:
        body |= {"model": MODEL, "max_tokens": 4}
    else:
        body["sampling_params"]["max_new_tokens"] = 4
    words[place] = json.dumps(body, indent=2)
    done = subprocess.run([*words, "--fail-with-body"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert answer["text"] if "text" in answer else answer["choices"][0]["text"]


def test_sglangs_benchmark_client_in_short(clients_fleet: Fleet, tmp_path: Path) -> None:
    lengths = (
        "--random-input-len",
        "16",
        "--random-output-len",
        "4",
        "--random-range-ratio",
        "1.0",
        "--num-prompts",
        "4",
    )
    url = clients_fleet.fronts["bundled"].url
    said = sglang_bench(url, tmp_path, "sglang", "--dataset-name", "random-ids", "--tokenize-prompt", *lengths)
    assert (said.completed, said.output_tokens) == (4, 16)
    assert said.ttft_s > 0
    assert said.itl_s > 0


def test_the_document_has_every_shortcoming() -> None:
    document = (ROOT / "docs" / "clients.md").read_text()
    for (name, _), shortcoming in SHORTCOMINGS.items():
        assert re.search(rf"\|[^|\n]*\b{re.escape(name)}\b[^|\n]*\| {re.escape(shortcoming.sentence)} \|", document), (
            shortcoming
        )
