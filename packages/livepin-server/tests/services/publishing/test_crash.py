"""Killed in the middle of publishing: nothing acknowledged is lost, no number is used twice."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading

import pytest
from livepin.trust import TrustedState
from livepin_server.services.audit.entry import decode
from livepin_server.services.audit.seals import head_of
from livepin_server.storage.schema import accounts, audit, configs
from sqlalchemy import select

# Forks a process for each round, which spares twelve starts of Python.
PUBLISHING = """
import hashlib, os, pathlib, sys
from livepin.testing import FakeClock
from livepin_server import folder, lock
from livepin_server.services.model import Intent

def say(text):
    os.write(1, f"{text}\\n".encode())  # in one piece, whatever kills us

def publish(data, label):
    with lock.holding(data), folder.opened(data, {}, clock=FakeClock()) as opened:
        publisher = opened.services.publisher
        say(os.getpid())
        number = 0
        while True:
            number += 1
            change = f"{label} {number}"
            found = publisher.republish("acme", "main", Intent(author=label), [change])
            _, raw = opened.services.published.version("acme", "main", found.version)
            say(f"{found.version} {hashlib.sha256(raw).hexdigest()} {change}")

for label in sys.stdin:
    pid = os.fork()
    if pid == 0:
        publish(pathlib.Path(sys.argv[1]), label.strip())
    _, status = os.waitpid(pid, 0)
    say(f"ended {os.waitstatus_to_exitcode(status)}")
"""
ROUNDS = 12


def publish_until_killed(process, label, count, pause):
    """Return what a process acknowledged before SIGKILL, `pause` seconds after line `count`."""
    process.stdin.write(f"{label}\n")
    process.stdin.flush()
    pid = int(process.stdout.readline())
    killer = threading.Timer(pause, os.kill, (pid, signal.SIGKILL))
    lines = []
    for line in process.stdout:
        if line.startswith("ended"):
            assert line == f"ended {-signal.SIGKILL}\n"
            break
        lines.append(line.split(" ", 2))
        if len(lines) == count:
            killer.start()
    killer.join()
    return lines


def test_a_dozen_kills_lose_nothing_and_repeat_nothing(data_folder, open_folder, intent):
    moments = random.Random(20261123)
    acknowledged = {}
    with open_folder(data_folder) as opened:
        start = TrustedState.from_bootstrap(opened.services.published.bootstrap("acme", "main"))
    command = [sys.executable, "-c", PUBLISHING, str(data_folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        for number in range(ROUNDS):
            count, pause = moments.randint(1, 4), moments.uniform(0, 0.01)
            label = f"round {number}"
            for version, digest, change in publish_until_killed(process, label, count, pause):
                assert int(version) not in acknowledged, "two versions with one number"
                acknowledged[int(version)] = digest, change.strip()
        process.stdin.close()
    assert process.returncode == 0
    assert len(acknowledged) >= ROUNDS

    with open_folder(data_folder) as opened, opened.services.database.reading() as connection:
        if opened.services.database.path is not None:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        columns = select(configs.c.version, configs.c.document, configs.c.changed)
        kept = connection.execute(columns).all()
        counter = connection.scalar(select(accounts.c.last_version))
        entries = connection.execute(
            select(audit).where(audit.c.account == "acme").order_by(audit.c.number)
        ).all()
    found = {version: (document, changed) for version, document, changed in kept}
    # Nothing that was acknowledged is gone or other than it was.
    for version, (digest, change) in acknowledged.items():
        document, changed = found[version]
        assert hashlib.sha256(document).hexdigest() == digest
        assert change in changed
    # At most one in each round was committed and could not be acknowledged any more.
    assert len(found) - 1 - len(acknowledged) <= ROUNDS
    # No number is missing, and the counter is at the newest.
    assert sorted(found) == list(range(1, counter + 1))
    # Each version has exactly one entry, and carries its digest.
    assert [each.number for each in entries] == list(range(1, len(entries) + 1))
    heads = {decode(each.entry).config: each.digest for each in entries}
    published = [decode(each.entry).config for each in entries]
    assert [each for each in published if each is not None] == list(range(1, counter + 1))
    for version, (document, _) in found.items():
        assert head_of(document) == heads[version]
    # And clients that know any of it follow to the next.
    with open_folder(data_folder) as opened:
        state = start.advance_config(found[counter][0])
        published = opened.services.published
        next_one = opened.services.publisher.republish("acme", "main", intent)
        assert next_one.version == counter + 1
        assert state.advance_config(published.version("acme", "main")[1]).order == (1, counter + 1)


@pytest.mark.parametrize("moment", ["before", "inside"])
def test_a_kill_at_a_chosen_moment_leaves_the_version_of_before(
    data_folder, open_folder, intent, moment
):
    # The change itself kills the process: rows and counter are written, the commit is not.
    script = f"""
import os, pathlib, sys
from livepin.testing import FakeClock
from livepin_server import folder
from livepin_server.services.model import Intent
from livepin_server.storage.schema import accounts
from sqlalchemy import update
def change(connection, now):
    if {moment == "inside"}:
        connection.execute(update(accounts).values(last_version=99, delivery="nonsense"))
    os.kill(os.getpid(), 9)
with folder.opened(pathlib.Path(sys.argv[1]), {{}}, clock=FakeClock()) as opened:
    opened.services.publisher.republish("acme", "main", Intent(author="x"), claim=change)
"""
    done = subprocess.run([sys.executable, "-c", script, str(data_folder)], check=False)
    assert done.returncode == -signal.SIGKILL
    with open_folder(data_folder) as opened:
        services = opened.services
        assert [each.version for each in services.published.history("acme", "main")] == [1]
        assert services.publisher.republish("acme", "main", intent).version == 2
