"""Exporting on every publish: soon, again after a failure, told, and in nobody's way."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager

import pytest
from livepin_server.bus.memory import Announcement, OverridesChanged
from livepin_server.errors import ExportError, NotFoundError
from livepin_server.exports.static.folder import FolderTarget
from livepin_server.jobs.exporting import Exporting
from livepin_server.services.overrides.model import NewOverride
from livepin_server.telemetry.metrics import Metrics

MAIN = "v1/acme/config/main"


def eventually(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


class Target:
    """A folder that may be out of order, and whose writes may be held up."""

    def __init__(self, folder):
        self.folder, self.name = FolderTarget(folder), "the folder"
        self.trouble, self.tries = None, 0
        self.free = threading.Event()
        self.free.set()

    @contextmanager
    def working(self):
        self.tries += 1
        self.free.wait(30)
        if self.trouble is not None:
            raise self.trouble
        with self.folder.working():
            yield

    def read(self, path, *, limit):
        return self.folder.read(path, limit=limit)

    def write(self, file, *, over):
        self.folder.write(file, over=over)

    def remove(self, path):
        self.folder.remove(path)


class Export:
    """A running export of the data folder to a folder."""

    def __init__(self, opened, folder):
        folder.mkdir()
        self.opened, self.place, self.metrics = opened, folder, Metrics()
        self.target = Target(folder)
        self.exporting = Exporting(
            opened.published, self.target, self.metrics, clock=opened.clock, pause=0.01
        )
        for kind in (Announcement, OverridesChanged):
            opened.bus.subscribe(self.exporting.announced, kind)

    @property
    def in_step(self):
        labels = {"target": "the folder"}
        return self.metrics.registry.get_sample_value("livepin_export_in_step", labels)

    @property
    def texts(self):
        return [each.text for each in self.exporting.notes()]

    def has(self, version):
        raw = self.opened.services.published.version("acme", "main", version)[1]
        path = self.place / MAIN
        return path.exists() and path.read_bytes() == raw


@pytest.fixture
def export(opened, tmp_path):
    found = Export(opened, tmp_path / "www")
    yield found
    found.target.free.set()
    found.exporting.stop()


def test_it_catches_up_at_the_start_and_follows_each_publish(export, add_domain):
    assert export.in_step == 0
    export.exporting.start()
    eventually(lambda: export.has(1))
    add_domain()
    eventually(lambda: export.has(2))
    eventually(lambda: export.in_step == 1)
    assert export.texts == []


def test_a_publish_never_waits_for_it_and_of_many_the_newest_counts(export, add_domain):
    export.exporting.start()
    eventually(lambda: export.in_step == 1)
    export.target.free.clear()
    before = export.target.tries
    for number in range(5):
        add_domain(f"{number}.example.com")  # it would hang here
    assert export.has(1)
    export.target.free.set()
    eventually(lambda: export.has(6))
    assert export.target.tries - before <= 3


def test_a_failure_is_told_once_tried_again_and_told_when_it_is_over(export, caplog, add_domain):
    export.target.trouble = ExportError("the disk is full")
    with caplog.at_level(logging.INFO):
        export.exporting.start()
        eventually(lambda: export.target.tries >= 4)
        assert export.texts == ["the export to the folder is behind: the disk is full"]
        assert export.in_step == 0
        export.target.trouble = None
        eventually(lambda: export.has(1))
        eventually(lambda: export.in_step == 1)
    assert export.texts == []
    messages = [each.getMessage() for each in caplog.records]
    assert messages.count("cannot export, and will try again: the disk is full") == 1
    assert messages.count("exports are in step again") == 1


def test_pauses_grow_and_a_success_ends_that(export, add_domain):
    export.target.trouble = ExportError("no")
    export.exporting.start()
    started = time.monotonic()
    eventually(lambda: export.target.tries >= 6)
    assert time.monotonic() - started > 0.01 * (1 + 2 + 4 + 8)
    export.target.trouble = None
    eventually(lambda: export.has(1))


def test_a_fault_of_ours_is_in_the_log_and_not_in_the_status(export, caplog):
    export.target.trouble = ZeroDivisionError("secret detail")
    export.exporting.start()
    eventually(lambda: export.texts)
    assert export.texts == [
        "the export to the folder is behind: an unexpected fault; the server's log has it"
    ]
    assert "ZeroDivisionError" in caplog.text


def test_what_was_announced_while_nothing_was_heard_is_exported_when_it_is_again(
    export, add_domain, opened
):
    export.exporting.start()
    eventually(lambda: export.in_step == 1)
    opened.bus._subscribers.clear()
    add_domain()
    export.exporting.in_step(False)
    assert export.has(1)
    export.exporting.in_step(True)
    eventually(lambda: export.has(2))


def test_what_is_strange_or_newer_there_is_logged(export, add_domain, caplog):
    path = export.place / MAIN
    path.parent.mkdir(parents=True)
    path.write_bytes(b"of somebody else")
    with caplog.at_level(logging.INFO):
        export.exporting.start()
        eventually(lambda: export.in_step == 1)
        (record,) = [each for each in caplog.records if each.levelno == logging.WARNING]
        assert (record.paths, record.account) == ([MAIN], "acme")


def test_a_newer_config_there_stays(export, opened, add_domain, caplog):
    add_domain()
    newer = opened.services.published.version("acme", "main")[1]
    old = opened.published.documents("acme")
    import msgspec

    first = opened.services.published.version("acme", "main", 1)
    config = msgspec.structs.replace(old.configs["main"], version=1, raw=first[1])
    stale = msgspec.structs.replace(old, configs={"main": config})
    path = export.place / MAIN
    path.parent.mkdir(parents=True)
    path.write_bytes(newer)

    class Behind:
        def accounts(self):
            return ["acme", "gone"]

        def documents(self, account):
            if account == "gone":
                raise NotFoundError("it is being made")
            return stale

        def overrides(self, account):
            return {}

    behind = Exporting(Behind(), export.target, Metrics(), clock=opened.clock, pause=0.01)
    with caplog.at_level(logging.INFO):
        behind.start()
        eventually(lambda: "what is there is newer" in caplog.text)
    behind.stop()
    assert path.read_bytes() == newer


def test_an_override_is_there_until_it_is_over(export, opened, add_domain, intent, clock, caplog):
    services, thumbprint = opened.services, "t" * 43
    place = export.place / "v1/acme/override" / thumbprint
    add_domain()

    def create(lives):
        domains = ["api.example.com"]
        new = NewOverride(installation=thumbprint, domains=domains, mode="off", lives=lives)
        services.overrides.create("acme", new, intent, tested=False)
        return services.published.overrides("acme")[thumbprint].raw

    export.exporting.start()
    eventually(lambda: export.in_step == 1)
    for _ in range(2):  # the second in the place of the first, which is none of others
        raw = create(60)
        eventually(lambda raw=raw: place.exists() and place.read_bytes() == raw)
    clock.advance(minutes=1)
    services.overrides.tell_expired()
    eventually(lambda: not place.exists())
    assert not [each for each in caplog.records if each.levelno == logging.WARNING]
    # It is not looked for again, unless there is one anew.
    place.write_bytes(b"x")
    add_domain("other.example.com")
    version = services.published.newest("acme", "main")
    eventually(lambda: export.has(version))
    eventually(lambda: export.in_step == 1)
    assert place.read_bytes() == b"x"
    raw = create(120)
    eventually(lambda: place.read_bytes() == raw)


def test_an_override_that_cannot_be_removed_is_in_nobodys_way(
    export, opened, add_domain, intent, clock, caplog, monkeypatch
):
    add_domain()
    new = NewOverride(installation="t" * 43, domains=["api.example.com"], mode="off", lives=60)
    opened.services.overrides.create("acme", new, intent, tested=False)
    place = export.place / "v1/acme/override" / new.installation
    export.exporting.start()
    eventually(place.exists)

    def refuse(path):
        raise ExportError("it answers 403")

    monkeypatch.setattr(export.target, "remove", refuse)
    clock.advance(minutes=1)
    add_domain("other.example.com")
    eventually(lambda: "could not be removed" in caplog.text)
    eventually(lambda: export.has(4))
    assert export.texts == []


def test_a_stop_does_not_wait_for_a_target_that_hangs_for_ever(export, monkeypatch):
    monkeypatch.setattr("livepin_server.jobs.exporting._LEAVE", 0.05)
    export.exporting.start()
    eventually(lambda: export.in_step == 1)
    export.target.free.clear()
    export.exporting.announced(
        Announcement(account="acme", stream="main", root_version=1, version=1)
    )
    eventually(lambda: export.target.tries == 2)
    started = time.monotonic()
    export.exporting.stop()
    assert time.monotonic() - started < 10


def test_a_stop_ends_a_pause(export):
    export.target.trouble = ExportError("no")
    exporting = Exporting(
        export.opened.published, export.target, Metrics(), clock=export.opened.clock, pause=3600
    )
    exporting.start()
    eventually(lambda: export.target.tries == 1)
    exporting.stop()
    assert not exporting._thread.is_alive()


def test_the_status_and_the_metrics_of_a_server_say_that_a_target_is_behind(start_server, tmp_path):
    place = tmp_path / "later"
    server = start_server(export=str(place))
    key = server.key("viewer")

    def warnings():
        found = server.send("GET", "/v1/status", to="management", key=key).json()["warnings"]
        return [each for each in found if "export" in each]

    line = f'livepin_export_in_step{{target="{place}"}}'
    eventually(warnings)
    assert warnings() == [f"the export to {place} is behind: {place} is not a folder"]
    assert f"{line} 0.0" in server.send("GET", "/metrics", to="management", key=key).text
    place.mkdir()
    eventually(lambda: (place / MAIN).exists())
    eventually(lambda: not warnings())
    assert f"{line} 1.0" in server.send("GET", "/metrics", to="management", key=key).text
