"""A server is lost; an old backup is put back. Apps have seen more than that backup knows.

Nobody attacks here on purpose, but to an app it is a rollback all the same: the numbers that the
restored server would give out next are those of configs that the app holds already. With a real
app, real delivery, and both databases.
"""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

import livepin
import msgspec
import pytest
from livepin.errors import RollbackError
from livepin.testing import FakeClock
from livepin_server.backups import making, mark, restoring
from livepin_server.backups.restoring import RestorePlan
from livepin_server.custody import age
from livepin_server.custody.age import Opening, Seal
from livepin_server.services.changes import SetDelivery
from livepin_server.services.delivery_settings import DeliveryChange
from livepin_server.services.model import How, Intent, NewDomain

INTENT = Intent(author="bob")
NOW = FakeClock()()
LATER = NOW + dt.timedelta(days=30)


@pytest.fixture(params=["data_folder", "postgres_folder"])
def data(request) -> Path:
    """A data folder on each database in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def back_up(tmp_path):
    recipient = age.new_identity(tmp_path / "identity", now=NOW)
    opening = Opening(identities=age.read_identities(tmp_path / "identity"))

    def make(data):
        making.make(data, {}, tmp_path / "b.age", Seal(recipients=(recipient,)), now=NOW)

    def restore():
        plan = RestorePlan(
            file=tmp_path / "b.age", data=tmp_path / "restored", opening=opening,
            database="sqlite", offline=True,
        )  # fmt: skip
        restoring.restore(plan, {}, clock=lambda: LATER)
        return tmp_path / "restored"

    make.restore = restore
    return make


def publish(server, name, new_pin):
    """Publish, and wait until it is delivered, which takes a moment."""
    new = NewDomain(pattern=f"{name}.example.com", pins=[new_pin(1)])
    publication = server.services.domains.add("acme", new, INTENT)
    tag = f'"{publication.root_version}.{publication.version}"'
    deadline = time.monotonic() + 30
    while server.send("GET", "/v1/acme/config/main").headers["etag"] != tag:
        assert time.monotonic() < deadline, "it is not delivered"
        time.sleep(0.01)
    return publication


def follow(server, bootstrap, store):
    """Return an app of this server, and its bootstrap."""
    url = f"https://localhost:{server.ports['delivery']}"
    moved = SetDelivery(wanted=DeliveryChange(urls=[url]))
    agreed = msgspec.structs.replace(INTENT, how=How(confirmed=True))
    server.services.publisher.publish("acme", [moved], agreed)
    start = bootstrap or server.services.published.bootstrap("acme", "main")
    app = livepin.Client(start, store=store, push=False, reports=False)
    return app, start


def test_an_app_that_holds_more_than_the_backup_takes_what_the_restored_server_publishes(
    data, run_server, back_up, tmp_path, new_pin
):
    with_port = {"LIVEPIN_DELIVERY_PORT": str(free_port())}
    lost = run_server(data, **with_port)
    app, bootstrap = follow(lost, None, tmp_path / "state")
    back_up(data)
    for number in range(5):
        publish(lost, f"lost-{number}", new_pin)
    app.refresh()
    held = app.status().version
    assert held == 7
    app.close()
    lost.stop()  # and its disk is gone
    folder = back_up.restore()
    with opened(folder) as found:
        mark.go_on(found)  # as its first start does
    restored = run_server(folder, **with_port)
    assert app_version(bootstrap, tmp_path / "state") > held
    publication = publish(restored, "new", new_pin)
    app = livepin.Client(bootstrap, store=tmp_path / "state", push=False, reports=False)
    app.refresh()
    assert app.status().version == publication.version
    assert app.domain("new.example.com") is not None
    app.close()


def test_without_that_it_would_refuse_every_config_until_the_numbers_are_higher(
    data, run_server, back_up, tmp_path, new_pin, monkeypatch
):
    """The defence taken out: what this test sees is what the one above prevents."""
    with_port = {"LIVEPIN_DELIVERY_PORT": str(free_port())}
    lost = run_server(data, **with_port)
    app, bootstrap = follow(lost, None, tmp_path / "state")
    back_up(data)
    for number in range(5):
        publish(lost, f"lost-{number}", new_pin)
    app.refresh()
    app.close()
    lost.stop()
    monkeypatch.setattr("livepin_server.backups.accounts.Numbers.floor", lambda _, last: last)
    restored = run_server(back_up.restore(), **with_port)
    publish(restored, "new", new_pin)
    with livepin.Client(bootstrap, store=tmp_path / "state", push=False, reports=False) as app:
        with pytest.raises(RollbackError):
            app.refresh()
        assert app.domain("new.example.com") is None


def free_port():
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def app_version(bootstrap, store):
    with livepin.Client(bootstrap, store=store, push=False, reports=False) as app:
        app.refresh()
        return app.status().version


def opened(folder):
    from livepin_server import folder as folders

    return folders.opened(folder, {}, clock=lambda: LATER)
