"""Jobs: run at once and again, in threads; a failure is logged, a stop is a stop."""

import asyncio
import logging
import threading
import time

import pytest
from livepin_server.jobs.runner import Job, run_forever


def run_until(job, enough):
    """Run a job until the event is set; return once it has been stopped."""

    async def main():
        task = asyncio.create_task(run_forever(job))
        async with asyncio.timeout(30):
            while not enough.is_set():
                await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def counting(times, act=lambda number: None):
    enough, calls = threading.Event(), []

    def run():
        calls.append(threading.current_thread())
        if len(calls) >= times:
            enough.set()
        act(len(calls))

    return run, enough, calls


def test_a_job_runs_at_once_and_not_on_the_loop():
    run, enough, calls = counting(1)
    run_until(Job(name="once", seconds=3600, run=run), enough)
    assert len(calls) == 1
    assert calls[0] is not threading.main_thread()


def test_a_job_waits_for_its_first_time():
    started = time.monotonic()
    run, enough, calls = counting(1)
    run_until(Job(name="later", seconds=3600, run=run, first=0.2), enough)
    assert (len(calls), time.monotonic() - started >= 0.2) == (1, True)


def test_a_job_runs_again_on_its_interval():
    run, enough, calls = counting(5)
    run_until(Job(name="often", seconds=0, run=run), enough)
    assert len(calls) >= 5


def test_a_job_that_fails_is_logged_by_name_and_tried_again(caplog):
    def act(number):
        if number < 3:
            raise RuntimeError(f"failure {number}")

    run, enough, calls = counting(3, act)
    with caplog.at_level(logging.ERROR, "livepin.jobs"):
        run_until(Job(name="re-sign", seconds=0, run=run), enough)
    assert len(calls) >= 3
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["the job re-sign failed"] * 2
    assert "failure 1" in caplog.text
    assert "failure 2" in caplog.text


def test_a_job_stops_between_its_runs_and_runs_no_more():
    run, enough, calls = counting(1)

    async def main():
        task = asyncio.create_task(run_forever(Job(name="later", seconds=3600, run=run)))
        async with asyncio.timeout(30):
            while not enough.is_set():
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert len(calls) == 1


def test_a_job_that_is_slow_does_not_hold_up_the_loop():
    begun, go_on = threading.Event(), threading.Event()

    def run():
        begun.set()
        go_on.wait(30)

    async def main():
        task = asyncio.create_task(run_forever(Job(name="slow", seconds=3600, run=run)))
        async with asyncio.timeout(30):
            while not begun.is_set():
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task  # at once: the thread is left to end
        assert not go_on.is_set()
        go_on.set()

    asyncio.run(main())
