"""Health, selection and readiness of the table of workers."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.router.config import HealthConfig, PolicyName, Role, WorkerAddress, parse_worker_url
from pdpanel.engine.router.policies import pick
from pdpanel.engine.router.workers import Health, NoWorkerError, Worker, WorkerTable


def addresses(prefill: int, decode: int) -> list[WorkerAddress]:
    roles = [Role.PREFILL] * prefill + [Role.DECODE] * decode
    return [parse_worker_url("--url", f"http://h:{number}", role) for number, role in enumerate(roles, 1)]


def table(prefill: int = 1, decode: int = 1, *, well: bool = True) -> WorkerTable:
    config = HealthConfig(failure_threshold=3, success_threshold=2)
    made = WorkerTable(addresses(prefill, decode), config, random.Random(3))
    if well:
        for worker in made.workers:
            made.poll_answered(worker)
    return made


@given(st.integers(1, 8), st.integers(1, 100))
def test_round_robin_is_fair(workers: int, picks: int) -> None:
    made = table(workers, 1)
    counts = Counter(made.choose(Role.PREFILL, PolicyName.ROUND_ROBIN).url for _ in range(picks))
    assert picks // workers <= min(counts.values() if len(counts) == workers else [0])
    assert max(counts.values()) <= -(-picks // workers)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=8), st.randoms(use_true_random=False))
def test_power_of_two_never_takes_the_more_loaded_of_its_two(loads: list[int], rng: random.Random) -> None:
    class Watched(random.Random):
        drawn: list[int]

        def sample(self, population, k, *, counts=None):  # type: ignore[no-untyped-def]
            self.drawn = super().sample(population, k, counts=counts)
            return self.drawn

    watched = Watched(rng.random())
    workers = [Worker(address, active=load) for address, load in zip(addresses(len(loads), 0), loads, strict=True)]
    picked = pick(PolicyName.POWER_OF_TWO, workers, watched)
    assert len(set(watched.drawn)) == 2
    assert picked.active == min(workers[i].active for i in watched.drawn)


@pytest.mark.parametrize("policy", PolicyName)
def test_every_policy_can_serve_with_one_worker_and_reaches_all_of_several(policy: PolicyName) -> None:
    assert table().choose(Role.DECODE, policy).url == "http://h:2"
    made = table(4, 1)
    assert len({made.choose(Role.PREFILL, policy).url for _ in range(200)}) == 4


def test_a_worker_is_starting_until_its_first_good_answer() -> None:
    made = table(well=False)
    worker = made.workers[0]
    made.poll_failed(worker, "refused")
    assert worker.health is Health.STARTING
    made.poll_answered(worker)
    assert worker.is_healthy and worker.reason == ""


def test_failed_polls_make_a_worker_suspected_then_unhealthy_and_two_good_ones_bring_it_back() -> None:
    made = table()
    worker = made.workers[0]
    seen = []
    for _ in range(3):
        made.poll_failed(worker, "no answer")
        seen.append(worker.health)
    assert seen == [Health.SUSPECTED, Health.SUSPECTED, Health.UNHEALTHY]
    made.poll_answered(worker)
    assert worker.health is Health.UNHEALTHY
    made.poll_answered(worker)
    assert worker.is_healthy


def test_a_failed_request_makes_a_worker_the_last_choice_until_it_answers() -> None:
    made = table(2, 1)
    first, second = made.of_role(Role.PREFILL)
    made.request_failed(first, "broken")
    assert first.health is Health.SUSPECTED and first.failures == 1
    chosen = {made.choose(Role.PREFILL, PolicyName.RANDOM).url for _ in range(50)}
    assert chosen == {second.url}
    made.request_failed(second, "broken")
    assert {made.choose(Role.PREFILL, PolicyName.RANDOM).url for _ in range(50)} == {first.url, second.url}
    made.poll_answered(first)
    assert first.is_healthy


def test_a_retry_avoids_the_worker_that_failed_if_there_is_another() -> None:
    made = table(2, 1)
    urls = [worker.url for worker in made.of_role(Role.PREFILL)]
    assert {made.choose(Role.PREFILL, PolicyName.RANDOM, urls[:1]).url for _ in range(20)} == {urls[1]}
    assert made.choose(Role.PREFILL, PolicyName.RANDOM, urls).url in urls


def test_no_worker_names_the_role_the_urls_and_the_reason() -> None:
    made = table(well=False)
    made.poll_failed(made.workers[1], "Connection refused")
    with pytest.raises(NoWorkerError, match=r"No decode worker .*http://h:2 is starting \(Connection refused\)"):
        made.choose(Role.DECODE, PolicyName.RANDOM)


def test_first_readiness_waits_for_all_workers_and_later_ones_for_one_of_each_role() -> None:
    made = table(2, 1, well=False)
    for worker in (made.workers[0], made.workers[2]):
        made.poll_answered(worker)
    assert "http://h:2" in made.unready_reason()
    made.poll_answered(made.workers[1])
    assert made.unready_reason() == ""
    for _ in range(3):
        made.poll_failed(made.workers[1], "gone")
    assert made.unready_reason() == ""
    for _ in range(3):
        made.poll_failed(made.workers[0], "gone")
    assert "no healthy prefill worker" in made.unready_reason()


def test_a_worker_whose_time_to_start_is_over_no_longer_holds_back_readiness() -> None:
    made = table(2, 1, well=False)
    for worker in (made.workers[0], made.workers[2]):
        made.poll_answered(worker)
    made.poll_failed(made.workers[1], "refused", startup_over=True)
    assert made.unready_reason() == ""
    made.poll_answered(made.workers[1])
    assert made.workers[1].is_healthy
