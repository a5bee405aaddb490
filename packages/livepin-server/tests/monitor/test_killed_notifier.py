"""A notifier killed with -9 between telling and noting: told again, with the same key, never lost.

Two kills in each run of the tests, fifty in `make torture`.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from datetime import datetime, timezone

import pytest
from livepin.testing import RecordingServer, make_chain
from livepin_server.services.monitoring.channel_kinds import NewChannel, Webhook
from livepin_server.services.monitoring.channels import Channels
from livepin_server.services.monitoring.outbox import Outbox, put
from notices import notice

CHAIN = make_chain("localhost")
PATIENCE = 60.0
pytestmark = pytest.mark.no_cover

# Tells until it is killed. Its clock is ahead by so many hours: the leases of before have ended.
NOTIFIER = """
import asyncio, pathlib, sys
from datetime import datetime, timedelta, timezone
from livepin_server import folder
from livepin_server.monitor.notifiers.calling import Calling
from livepin_server.monitor.notifiers.webhook import WebhookNotifier
from livepin_server.monitor.notifying import Notifying
from livepin_server.services.monitoring.channels import Channels
from livepin_server.services.monitoring.outbox import Outbox

clock = lambda: datetime.now(timezone.utc) + timedelta(hours=int(sys.argv[2]))
with folder.opened(pathlib.Path(sys.argv[1]), {}, clock=clock) as opened:
    services = opened.services
    channels = Channels(services.database, services.private_keys._custody, clock=clock)
    webhook = WebhookNotifier(Calling(clock=clock), clock=clock)
    asyncio.run(Notifying(
        Outbox(services.database, clock=clock), channels, {"webhook": webhook}, clock=clock,
        every=0.05,
    ).run())
"""


class Receivers:
    """A receiver that counts what it took by key; `hold` has it keep an answer back."""

    def __init__(self):
        self.taken = {}
        self.changed = threading.Condition()
        self.before_answer = None
        self.server = RecordingServer(CHAIN, post=self._post)

    def twice(self):
        """Return how many were told more than once."""
        return sum(count > 1 for count in self.taken.values())

    def _post(self, path, headers, body):
        with self.changed:
            key = path, headers["webhook-id"]
            self.taken[key] = self.taken.get(key, 0) + 1
            self.changed.notify_all()
            hook = self.before_answer
        if hook is not None:
            hook()
        return 200, {}, b""


def clock():
    return datetime.now(timezone.utc)


@contextlib.contextmanager
def notifying(data, hours):
    """Run a notifier, and kill it at the end if nobody has."""
    with subprocess.Popen([sys.executable, "-c", NOTIFIER, str(data), str(hours)]) as process:
        try:
            yield process
        finally:
            process.kill()


def add_channels(opened, port, intent):
    services = opened.services
    channels = Channels(services.database, services.private_keys._custody, clock=clock)
    for name in ("a", "b"):
        url = f"https://localhost:{port}/{name}"
        hook = Webhook(url=url, ca=CHAIN.authority.pem, allow_private=True)
        channels.add("acme", NewChannel(name=name, settings=hook), intent)


def post(opened, incident):
    said = notice(incident=incident)
    opened.services.database.write(lambda each: put(each, said, clock()))


@pytest.mark.torture
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("place", ["data_folder", "postgres_folder"])
def test_every_notice_is_told_whenever_its_notifier_is_killed(
    place, request, torture, open_folder, intent
):
    data = request.getfixturevalue(place)
    receivers = Receivers()
    expected = 0
    with contextlib.closing(receivers.server):
        with open_folder(data) as opened:
            add_channels(opened, receivers.server.port, intent)
        for kill in range(torture.kills):
            with open_folder(data) as opened:
                for number in range(3):
                    post(opened, 10 * kill + number)
            expected += 6
            left = threading.Semaphore(torture.chance.randrange(5))
            with notifying(data, kill) as process:

                def die(process=process, left=left):
                    # It was told, and cannot have noted that: its answer is not sent yet.
                    if not left.acquire(blocking=False):
                        process.kill()
                        process.wait(PATIENCE)

                receivers.before_answer = die
                assert process.wait(PATIENCE) == -signal.SIGKILL
                receivers.before_answer = None
        with notifying(data, torture.kills), receivers.changed:
            assert receivers.changed.wait_for(
                lambda: len(receivers.taken) >= expected and receivers.twice(), PATIENCE
            )
    assert len(receivers.taken) == expected  # the same keys: nothing more, nothing less
    torture.count("kills", torture.kills)
    torture.count("notices", expected)
    torture.count("told twice", receivers.twice())
    with open_folder(data) as opened:
        assert Outbox(opened.services.database, clock=clock).dead("acme") == []
