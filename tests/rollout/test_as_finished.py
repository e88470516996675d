"""Many requests under way, results as they come, and nothing that waits for ever."""

import asyncio
import threading
import time

import pytest

from nemo_prorl.errors import RolloutError
from nemo_prorl.rollout.as_finished import as_finished

LONG = 60.0


def run(jobs, work, *, at_once=8, silent_seconds=LONG, **more):
    told = {"who": "the engine", "longer_by": "rollout.some_minutes"}
    return as_finished(jobs, work, at_once=at_once, silent_seconds=silent_seconds, **told, **more)


def test_what_is_finished_first_comes_first():
    async def work(job):
        await asyncio.sleep(0.02 * job)
        return job

    assert list(run([3, 1, 2], work)) == [1, 2, 3]


def test_no_more_are_under_way_than_may_be():
    now, most = 0, 0

    async def work(job):
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1
        return job

    assert sorted(run(range(40), work, at_once=3)) == list(range(40))
    assert most == 3


def test_work_goes_on_while_the_consumer_is_busy():
    done = threading.Event()

    async def work(job):
        if job == 2:
            done.set()
        return job

    results = run([1, 2], work, at_once=1)
    next(results)
    assert done.wait(LONG)
    assert list(results) == [2]


def test_an_error_of_one_ends_all_and_is_raised_here():
    cancelled = []

    async def work(job):
        if job == 0:
            raise RolloutError("broken")
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            cancelled.append(job)
            raise

    with pytest.raises(RolloutError, match="broken"):
        list(run([1, 0], work))
    assert cancelled == [1]


def test_closing_cancels_what_is_under_way_and_leaves_no_thread():
    cancelled, both_began = [], threading.Barrier(2)

    async def work(job):
        if job == 0:
            return job
        try:
            if job == 2:
                both_began.wait(LONG)
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            cancelled.append(job)
            raise

    results = run([0, 1, 2], work)
    next(results)
    both_began.wait(LONG)
    results.close()
    assert sorted(cancelled) == [1, 2]
    assert not any(thread.name == "rollout" for thread in threading.enumerate())


def test_silence_is_an_error_and_not_a_wait():
    async def work(job):
        await asyncio.sleep(LONG)

    before = time.monotonic()
    with pytest.raises(
        RolloutError, match=r"the engine has finished no completion for 0\.1 s.* raise rollout\.some_min"
    ):
        list(run([1], work, silent_seconds=0.1))
    assert time.monotonic() - before < LONG


def test_what_is_around_is_open_in_the_same_loop_and_closed_after_an_error():
    seen = []

    class Around:
        async def __aenter__(self):
            seen.append(("open", asyncio.get_running_loop()))

        async def __aexit__(self, *error):
            seen.append(("closed", asyncio.get_running_loop()))

    async def work(job):
        assert asyncio.get_running_loop() is seen[0][1]
        raise RolloutError("broken")

    with pytest.raises(RolloutError):
        list(run([1], work, around=Around()))
    assert [what for what, _ in seen] == ["open", "closed"] and seen[0][1] is seen[1][1]


def test_without_jobs_there_is_nothing():
    async def work(job):
        return job

    assert list(run([], work)) == []
