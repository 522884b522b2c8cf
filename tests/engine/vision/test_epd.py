"""Encoders, prefill, decode and unified workers as processes: answers are transformers', whatever dies or is sent."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster
from pd_http import free_port, get, post
from tiny_llava import IMAGE, TinyLlava, data_url, picture, png

EXACT = ["--dtype", "float32", "--kv-cache-dtype", "float32", "--chunked-prefill-size", "32", "--device", "cpu"]
KV = ["--disaggregation-transfer-backend", "shm"]
ENCODER = ["--encoder-only", "--encoder-transfer-backend", "mooncake", *KV, "--device", "cpu"]
PROMPT = [1, 50, 60, 319, 70, 319, 80, 90]  # 319 is the image token
PICTURES = [picture(1), picture(2, 30, 50)]
OUTPUT = 10


class Deployment(Cluster):
    """Two encoders; a router with prefill and decode; a unified worker that encodes; one of two ranks that asks."""

    def launch(self, model: Path) -> None:
        path = ["--model-path", str(model)]
        for name in ("encoder-0", "encoder-1"):
            self.spawn(name, "launch_server", [*path, *ENCODER], free_port())
        urls = [self.processes[name].url for name in ("encoder-0", "encoder-1")]
        asks = [*path, *EXACT, *KV, "--language-only", "--encoder-urls", *urls]
        bootstrap = free_port()
        prefill = [*asks, "--disaggregation-mode", "prefill", "--disaggregation-bootstrap-port", str(bootstrap)]
        prefill = self.spawn("prefill", "launch_server", prefill, free_port())
        # So small that answers take the slots of others away.
        tight = ["--max-total-tokens", "256", "--num-reserved-decode-tokens", "0", "--max-running-requests", "6"]
        arguments = [*asks, "--disaggregation-mode", "decode", *tight, "--encoder-transfer-backend", "mooncake"]
        decode = self.spawn("decode", "launch_server", arguments, free_port())
        self.spawn(
            "unified", "launch_server", [*path, *EXACT, "--limit-mm-data-per-request", '{"image": 2}'], free_port()
        )
        self.spawn("ranked", "launch_server", [*asks, "--tp-size", "2"], free_port())
        for process in self.processes.values():
            process.wait_ready("/health")
        router = ["--pd-disaggregation", "--prefill", prefill.url, str(bootstrap), "--decode", decode.url]
        self.spawn("router", "launch_router", router, free_port()).wait_ready("/readiness")

    def restart(self, name: str) -> None:
        """Starts an ended process again, as it was."""
        old = self.processes[name]
        arguments = [str(one) for one in old.popen.args][3:-2]  # type: ignore[union-attr]
        self.spawn(name, "launch_server", arguments, int(old.url.rsplit(":", 1)[1])).wait_ready("/health")

    def ask(self, name: str, images: list[Any], prompt: list[int] = PROMPT, count: int = OUTPUT) -> list[int]:
        status, answer = post(self.processes[name].url + "/generate", body(images, prompt, count))
        assert status == 200, answer
        return answer["output_ids"]


def body(images: list[Any], prompt: list[int] = PROMPT, count: int = OUTPUT) -> dict[str, Any]:
    sampling = {"temperature": 0, "max_new_tokens": count, "ignore_eos": True}
    return {"input_ids": prompt, "image_data": [data_url(png(one)) for one in images], "sampling_params": sampling}


@pytest.fixture(scope="module")
def deployment(llava: TinyLlava, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("epd")
    environ = {"PDPANEL_CACHE_DIR": str(folder / "cache"), "SGLANG_VLM_CACHE_SIZE_MB": "1"}
    made = Deployment(folder, environ)
    try:
        made.launch(llava.folder)
        yield made
    finally:
        made.stop()


@pytest.mark.parametrize("name", ["router", "unified", "ranked"])
def test_two_images_in_one_prompt_are_transformers(deployment: Deployment, llava: TinyLlava, name: str) -> None:
    expected = llava.greedy(PROMPT, PICTURES, OUTPUT)
    assert deployment.ask(name, PICTURES) == expected
    assert deployment.ask(name, PICTURES) == expected  # by the prefix cache, and embeddings that are at hand
    assert deployment.ask(name, PICTURES[::-1]) == llava.greedy(PROMPT, PICTURES[::-1], OUTPUT) != expected


def test_a_chat_with_images(deployment: Deployment, llava: TinyLlava) -> None:
    parts = [{"type": "text", "text": "a "}, image_part(png(PICTURES[0])), {"type": "text", "text": "b"}]
    wanted = {"messages": [{"role": "user", "content": parts}], "temperature": 0, "max_tokens": 6, "ignore_eos": True}
    answers = []
    for name in ("router", "unified"):
        status, answer = post(deployment.processes[name].url + "/v1/chat/completions", wanted)
        assert status == 200, answer
        assert answer["usage"]["prompt_tokens"] == 3 + 16
        answers.append(answer["choices"][0]["message"]["content"])
    prompt = f"a {IMAGE}b"
    sampling = {"temperature": 0, "max_new_tokens": 6, "ignore_eos": True}
    plain = {"text": prompt, "image_data": data_url(png(PICTURES[0])), "sampling_params": sampling}
    status, answer = post(deployment.processes["unified"].url + "/generate", plain)
    assert status == 200, answer
    assert answers == [answer["text"]] * 2


def test_nothing_is_lost_when_an_encoder_is_killed(deployment: Deployment, llava: TinyLlava) -> None:
    pictures = [picture(100 + index) for index in range(24)]
    prompt = [1, 50, 319, 60]
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(deployment.ask, "router", [one], prompt, 4) for one in pictures]
        asked[3].result()
        deployment.processes["encoder-0"].popen.send_signal(signal.SIGKILL)
        found = [one.result() for one in asked]
    deployment.processes["encoder-0"].popen.wait()
    assert found == [llava.greedy(prompt, [one], 4) for one in pictures]
    states = get(deployment.processes["prefill"].url + "/server_info")["encoders"]
    assert [one["alive"] for one in states] == [False, True]
    deployment.restart("encoder-0")
    deadline = time.monotonic() + 20
    while not all(one["alive"] for one in get(deployment.processes["prefill"].url + "/server_info")["encoders"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_answers_that_lose_their_slot_are_computed_again_with_their_images(
    deployment: Deployment, llava: TinyLlava
) -> None:
    before = deployment.metric("decode", "sglang:mm_encoder_images_total")
    pictures = [picture(200 + index) for index in range(4)]
    prompts = [[1, 50 + index, 319, 60] for index in range(4)]
    count = 80
    deadline = time.monotonic() + 60
    while deployment.metric("decode", "sglang:mm_encoder_images_total") == before:  # until one lost its slot
        assert time.monotonic() < deadline
        with ThreadPoolExecutor(4) as pool:
            asked = [
                pool.submit(deployment.ask, "router", [one], prompt, count)
                for one, prompt in zip(pictures, prompts, strict=True)
            ]
            found = [one.result() for one in asked]
        assert found == [llava.greedy(prompt, [one], count) for one, prompt in zip(pictures, prompts, strict=True)]


def test_metrics(deployment: Deployment) -> None:
    deployment.ask("router", [picture(random.randrange(1 << 30)), picture(300)])
    deployment.ask("router", [picture(300), picture(300)])
    encoders = [name for name in deployment.processes if name.startswith("encoder")]
    assert sum(deployment.metric(name, "sglang:encoder_images_total") for name in encoders) > 0
    assert sum(deployment.metric(name, "sglang:encoder_sent_bytes_total") for name in encoders) > 0
    assert deployment.metric("prefill", "sglang:mm_images_total") >= 4
    assert deployment.metric("prefill", "sglang:mm_cached_images_total") >= 2
    assert deployment.metric("prefill", "sglang:mm_encoder_images_total") > 0


def image_part(data: bytes, kind: str = "image/png") -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_url(data, kind)}}


GOOD = png(PICTURES[0])
BROKEN = png(picture(5, 300, 300))[:-500]


@pytest.mark.parametrize("name", ["router", "unified"])
@pytest.mark.parametrize(
    ("image", "says"),
    [
        (data_url(b"no image"), "not an image"),
        (data_url(b"text", "text/plain"), "the data URL holds text/plain"),
        ("data:image/png;base64,***", "not base64"),
        ("data:image/png,x", "not base64"),
        (data_url(BROKEN), "broken"),
        ("http://127.0.0.1/x.png", "not fetched"),
    ],
)
def test_a_bad_image_is_refused_by_its_field(deployment: Deployment, name: str, image: str, says: str) -> None:
    part = {"type": "image_url", "image_url": {"url": image}}
    chat = {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, part]}], "max_tokens": 2}
    status, answer = post(deployment.processes[name].url + "/v1/chat/completions", chat)
    assert status == 400, answer
    message = answer["error"]["message"]
    assert says in message
    assert message.startswith("messages[0].content[1].image_url.url = "), message


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"image_data": [data_url(GOOD)] * 3, "input_ids": [319] * 3}, "image_data[2] = "),
        ({"input_ids": [1, 319]}, "2 images"),
        ({"input_ids": [1, 2]}, "2 images"),
        ({"image_data": [1, 2]}, "image_data[0] = 1"),
        ({"image_data": {"url": "x"}}, "image_data = "),
        ({"return_logprob": True, "logprob_start_len": 0}, "logprob_start_len = 0"),
    ],
)
def test_images_that_do_not_fit_the_prompt_are_refused(
    deployment: Deployment, changes: dict[str, Any], says: str
) -> None:
    status, answer = post(deployment.processes["unified"].url + "/generate", {**body(PICTURES), **changes})
    assert status == 400, answer
    assert says in answer["error"]["message"]


def test_a_batch_has_images_for_each_prompt(deployment: Deployment, llava: TinyLlava) -> None:
    asked = body([], [[1, 319, 60], [1, 70, 80]], 5)  # type: ignore[arg-type]
    asked["image_data"] = [data_url(GOOD), None]
    status, answers = post(deployment.processes["unified"].url + "/generate", asked)
    assert status == 200, answers
    assert [one["output_ids"] for one in answers] == [
        llava.greedy([1, 319, 60], PICTURES[:1], 5),
        llava.greedy([1, 70, 80], [], 5),
    ]


def test_an_encoder_is_no_text_worker(deployment: Deployment) -> None:
    url = deployment.processes["encoder-1"].url
    info = get(url + "/server_info")
    assert (info["encoder_only"], info["role"], info["transfers"]) == (
        True,
        "encoder",
        ["zmq_to_scheduler", "mooncake"],
    )
    assert post(url + "/generate", {"text": "a"})[0] == 404
    status, answer = post(url + "/encode", {"images": [], "model_sha": "x", "transfer": {}})
    assert status == 409
    assert "another model" in answer["error"]["message"]
