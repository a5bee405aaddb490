"""Sixty-four publishers at once, also while PostgreSQL is frozen, stopped and started under them.

No number is given twice, nothing acknowledged is lost, who loses is told in words, nobody waits for
ever. Two stops in each run of the tests, fifty in `make torture`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest
from killing import ACCOUNT, BASE, attached, working
from livepin_server.storage.database import MOST_WAITING
from publishing import Publishing, random_pin

PUBLISHERS = 64
ONE_TOO_MANY = f"the server is busy: {MOST_WAITING} changes are waiting already"
TOO_LATE = "the server is busy: the changes before took over 30 seconds"


@pytest.mark.parametrize(("database", "count"), [("data_folder", 1), ("postgres_folder", 2)])
def test_publishers_at_once_share_no_number_and_lose_nothing(start_nodes, request, database, count):
    operation = Publishing(1, publishers=PUBLISHERS // count)
    nodes = start_nodes(operation, request.getfixturevalue(database), count)
    with contextlib.ExitStack() as stack:
        for each in nodes:
            stack.enter_context(each.followed())
            stack.enter_context(operation.at_work(each))
        while sum(each.count for each in nodes) < PUBLISHERS:
            nodes[0].wait_for_more()
    for each in nodes:
        assert each.failures == []
        assert "Traceback" not in each.child.log
        each.ledger.check(each)


def signal_all(postgres, number):
    """Send a signal to each process of a PostgreSQL."""
    first = postgres.process.pid
    children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    for each in (first, *map(int, children)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, number)


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_a_database_frozen_and_stopped_under_them_keeps_what_it_acknowledged(
    own_postgres, own_folder, start_nodes, torture
):
    chance = torture.chance
    short = torture.kills < 10
    publishers = 8 if short else PUBLISHERS // 2
    operation = Publishing(chance.randrange(10**9), publishers=publishers, patient=True)
    nodes = start_nodes(operation, own_folder, 2)
    longest = 0.3 if short else 7.0  # seconds; after five, who waits is refused
    for number in range(torture.kills):
        with contextlib.ExitStack() as stack:
            for each in nodes:
                stack.enter_context(each.followed())
                stack.enter_context(operation.at_work(each))
            for each in nodes:
                each.wait_for_more()
            time.sleep(chance.uniform(0, 0.1))  # the moment is what is tried
            if number % 2:
                own_postgres.stop_at_once()
                time.sleep(chance.uniform(0, longest))
                own_postgres.start()
            else:
                signal_all(own_postgres, signal.SIGSTOP)
                time.sleep(chance.uniform(0, longest))
                signal_all(own_postgres, signal.SIGCONT)
            for each in nodes:
                each.wait_for_more()
        for each in nodes:
            each.ledger.check(each)
    torture.count("stops", torture.kills)
    torture.count("publications", max(nodes[0].ledger.documents))


def test_only_so_many_wait_the_others_are_told_at_once_and_reading_goes_on(
    start_nodes, data_folder, strace
):
    more = 8
    (node,) = start_nodes(Publishing(1), data_folder)
    answers, told = [], threading.Condition()

    def publish(number):
        body = {"pattern": f"*.new-{number}.example", "pins": [random_pin(random.Random(1))]}
        answer = publishing.post(f"{BASE}/domains", json=body)
        with told:
            answers.append(answer)
            told.notify_all()

    def details():
        return [each.json()["detail"] for each in answers if each.status_code == 503]

    publishers = [functools.partial(publish, n) for n in range(MOST_WAITING + more)]
    # A disk that takes a minute for the first of them, or until strace ends.
    slow = attached(strace("fdatasync:delay_enter=60000000:when=1"), node.child.pid)
    with node.management() as publishing, contextlib.ExitStack() as stack:
        stack.enter_context(slow)
        with working(*publishers, stop=stack.pop_all().close):
            with told:
                assert told.wait_for(lambda: details().count(ONE_TOO_MANY) == more, 60), answers
            with node.management() as http:
                assert http.get("/v1/status").status_code == 200
                assert http.get(f"{BASE}/domains").status_code == 200
            assert node.child.get("/readyz", "management").status_code == 200
            assert node.child.get(f"/v1/{ACCOUNT}/config/main").status_code == 200
    for each in answers:
        if each.status_code == 503:
            assert each.headers["retry-after"] == "5"
            assert each.json()["hint"] == "nothing was changed; try again in a moment"
    assert set(details()) <= {ONE_TOO_MANY, TOO_LATE}
    assert sorted({each.status_code for each in answers}) == [201, 503]
    with node.management() as http:
        kept = {each["pattern"] for each in http.get(f"{BASE}/domains").json()}
    new = [each for each in kept if each.startswith("*.new-")]
    assert len(new) == len(answers) - len(details())
    node.ledger.check(node)
