"""A disk that fails or is full under publishers: they are told, and nothing that was said is lost.

Two failures in each run of the tests, fifty in `make torture`.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
from pathlib import Path

import pytest
from killing import ACCOUNT, attached
from publishing import Publishing

FULL = "the database cannot grow: the disk is full"
BROKEN = "the database cannot be written: input/output error"
PUBLICATIONS = 40  # after which the write or sync that is to fail has long been made


def readiness(node, port="management"):
    """Return status and words of /readyz."""
    answer = node.child.get("/readyz", port)
    return answer.status_code, answer.text if answer.status_code == 200 else answer.json()["detail"]


def warnings(node):
    """Return what `livepin status` warns of."""
    with node.management() as http:
        return http.get("/v1/status").json()["warnings"]


def meeting(node):
    """Return what tells whether the next fault was met.

    One that happens once may have met a checkpoint, which costs nobody anything.
    """
    refused, published = len(node.refusals), node.count
    return lambda: len(node.refusals) > refused or node.count > published + PUBLICATIONS


def kill_and_check(node):
    """What holds after a kill holds here too."""
    node.child.end(signal.SIGKILL)
    node.start()
    assert node.child.serves(), node.child.log
    node.ledger.check(node)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("fdatasync:error=EIO", BROKEN),
        ("pwrite64:error=EIO", BROKEN),
        ("pwrite64:error=ENOSPC", FULL),
    ],
)
def test_while_the_disk_fails_publishing_is_refused_and_operators_see_it(
    start_nodes, data_folder, strace, fault, words
):
    operation = Publishing(1, patient=True)
    (node,) = start_nodes(operation, data_folder)
    assert readiness(node) == (200, "ok\n")
    with operation.at_work(node), node.followed():
        node.wait_for_more()
        with attached(strace(fault), node.child.pid):
            assert node.wait_for_refusal() == words
            assert readiness(node) == (503, words)
            assert readiness(node, "delivery") == (200, "ok\n")  # apps are served
            assert f"the last change was refused: {words}" in warnings(node)
            node.wait_for_refusal()
        node.wait_for_more()
    assert readiness(node) == (200, "ok\n")
    assert not [each for each in warnings(node) if "refused" in each]
    assert f"a change was refused: {words}" in node.child.log
    assert "Traceback" not in node.child.log
    node.ledger.check(node)
    kill_and_check(node)


def test_it_is_ready_again_before_anybody_has_published(start_nodes, data_folder, strace, until):
    operation = Publishing(1, patient=True)
    (node,) = start_nodes(operation, data_folder)
    with attached(strace("fdatasync:error=EIO"), node.child.pid):
        with operation.at_work(node):
            node.wait_for_refusal()
        assert readiness(node) == (503, BROKEN)
    assert readiness(node) == (200, "ok\n")
    node.ledger.check(node)


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_writes_and_syncs_that_fail_by_chance_lose_nothing_that_was_acknowledged(
    start_nodes, data_folder, strace, torture
):
    operation, chance = Publishing(torture.chance.randrange(10**9), patient=True), torture.chance
    (node,) = start_nodes(operation, data_folder)
    for _ in range(torture.kills):
        call, most = chance.choice([("fdatasync", 6), ("pwrite64", 120)])
        error, when = chance.choice(["EIO", "ENOSPC"]), chance.randint(1, most)
        again = chance.choice(["", "+", f"+{chance.randint(1, 9)}"])
        met = meeting(node)
        with operation.at_work(node), node.followed():
            with attached(strace(f"{call}:error={error}:when={when}{again}"), node.child.pid):
                node.wait_until(met)
            node.wait_for_more()
        node.ledger.check(node)
        kill_and_check(node)
    torture.count("failures", len(node.refusals))
    torture.count("publications", max(node.ledger.documents))


def test_a_disk_that_fails_at_the_start_is_an_error_in_words(data_folder, start_child, strace):
    child = start_child(data_folder, under=strace("fsync:error=EIO", data_folder))
    assert child.process.wait(60) == 4
    assert child.log.splitlines() == [
        "error: the database cannot be written: Input/output error",
        "hint:  check the disk",
    ]


def fill(disk, left):
    """Leave so many bytes on a disk, at most; return what fills it."""
    filling = disk / "filling"
    with filling.open("wb", buffering=0) as file:
        for piece in (bytes(1024 * 1024), bytes(4096)):
            with contextlib.suppress(OSError):
                while file.write(piece) == len(piece):
                    pass
        file.truncate(file.tell() - left)
    return filling


def test_a_full_disk_refuses_until_there_is_room(start_nodes, data_folder, small_disk):
    disk = small_disk("4m")
    data = disk / "data"
    shutil.copytree(data_folder, data)
    operation = Publishing(1, patient=True)
    (node,) = start_nodes(operation, data)
    with operation.at_work(node), node.followed():
        node.wait_for_more()
        filling = fill(disk, 100_000)
        assert node.wait_for_refusal() == FULL
        assert readiness(node, "delivery") == (200, "ok\n")
        filling.unlink()
        node.wait_for_more()
    node.ledger.check(node)
    node.child.end(signal.SIGKILL)
    filling = fill(disk, 0)
    node.start()
    assert node.child.get(f"/v1/{ACCOUNT}/config/main").status_code == 200
    assert node.child.end() == 0
    filling.unlink()
    node.start()
    assert node.child.serves(), node.child.log
    node.ledger.check(node)


# -- PostgreSQL ----------------------------------------------------------------------------------


def processes(postgres):
    """Return the processes of a PostgreSQL but the first, which starts them."""
    first = postgres.process.pid
    return Path(f"/proc/{first}/task/{first}/children").read_text().split()


def test_a_full_disk_of_postgresql_refuses_until_there_is_room(
    start_postgres, start_nodes, small_disk, make_folder
):
    disk = small_disk("100m")
    disk.chmod(0o755)
    postgres = start_postgres("min_wal_size=2MB", "max_wal_size=4MB", place=disk)
    operation = Publishing(1, patient=True)
    (node,) = start_nodes(operation, make_folder(postgres.url()))
    with operation.at_work(node), node.followed():
        node.wait_for_more()
        filling = fill(disk, 0)
        assert node.wait_for_refusal().startswith("the database ")
        assert readiness(node, "delivery") == (200, "ok\n")
        filling.unlink()
        if postgres.process.poll() is not None:  # it could not write its log, and ended
            postgres.start()
        node.wait_for_more()
    node.ledger.check(node)
    kill_and_check(node)
    assert node.child.end() == 0
    postgres.remove()


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_syncs_of_postgresql_that_fail_lose_nothing_that_was_acknowledged(
    own_postgres, own_folder, start_nodes, strace, torture
):
    """PostgreSQL ends itself then, and goes on from its log."""
    operation = Publishing(torture.chance.randrange(10**9), patient=True)
    (node,) = start_nodes(operation, own_folder)
    for _ in range(torture.kills):
        faults = strace(f"fdatasync:error=EIO:when={torture.chance.randint(1, 4)}")
        for each in processes(own_postgres):
            faults += ["-p", each]
        with operation.at_work(node), node.followed():
            node.wait_for_more()
            with attached(faults, own_postgres.process.pid):
                assert node.wait_for_refusal().startswith("the database ")
            if own_postgres.process.poll() is not None:
                own_postgres.start()
            node.wait_for_more()
        node.ledger.check(node)
    torture.count("failures", torture.kills)
    torture.count("publications", max(node.ledger.documents))
