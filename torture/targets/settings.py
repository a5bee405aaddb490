"""What an operator writes: `livepin.toml`, and the text of an API key."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from datetime import datetime, timezone
from functools import cache

from livepin.errors import ConfigurationError
from livepin_server.errors import ForbiddenError
from livepin_server.services.api_keys import ApiKeys
from livepin_server.services.model import Intent, Role
from livepin_server.settings import parse, render
from livepin_server.storage.database import Database
from livepin_server.storage.schema import metadata

from .target import Target


def _settings(data: bytes) -> None:
    text = data.decode(errors="replace")
    try:
        found = parse(text, {})
    except ConfigurationError:
        return
    assert parse(render(found), {}) == found


def _files() -> Iterator[bytes]:
    yield b'delivery_urls = ["https://pins.example.com:8443"]\ndelivery_port = 443\n'
    yield (
        b'# one of each\ndelivery_urls = ["https://a.example"]\nrecovery_urls = []\n'
        b'delivery_host = "::1"\nlog_level = "debug"\nrequests_per_second = 2.5\n'
        b'database = "sqlite:////srv/a.db"\nmax_streams = 0x10\n'
    )
    yield b'[delivery_urls]\na.b = [{c = 1979-05-27T07:32:00Z}, """x"""]\n'


@cache
def _keys() -> tuple[ApiKeys, str]:
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    database = Database(f"sqlite:///{folder}/keys.db")
    database.write(metadata.create_all)
    keys = ApiKeys(database, clock=lambda: datetime.now(timezone.utc))
    return keys, keys.create("one", Role.ADMIN, None, Intent(author="torture"))[1]


def _api_key(data: bytes) -> None:
    keys, text = _keys()
    # What is between brackets is put in place of the one key that there is.
    found = data.decode("latin-1").replace("[key]", text)
    try:
        keys.verify(found)
    except ForbiddenError:
        return
    assert found == text


TARGETS = {
    "settings": Target(run=_settings, seeds=_files, longest=4096),
    "api_key": Target(
        run=_api_key, seeds=lambda: [b"[key]", b"lpk_0123456789ab_" + b"A" * 43], longest=128
    ),
}
