"""What was published is read: the newest, one version, all of them, and what an app embeds."""

import tracemalloc

import pytest
from livepin.documents import Config
from livepin.documents.config import TYP
from livepin.jose import parse_compact
from livepin_server.errors import NotFoundError
from livepin_server.storage.schema import configs
from sqlalchemy import update


def test_the_history_is_the_newest_first_and_limited(published, publish):
    for _ in range(4):
        publish()
    assert [each.version for each in published.history("acme", "main")] == [5, 4, 3, 2, 1]
    assert [each.version for each in published.history("acme", "main", limit=2)] == [5, 4]


def test_one_version_is_found_by_its_number(published, publish):
    publish()
    found, raw = published.version("acme", "main", 1)
    assert found.version == 1
    assert Config.parse(parse_compact(raw, typ=TYP).payload).version == 1
    with pytest.raises(NotFoundError, match="no config version 9 in acme/main") as caught:
        published.version("acme", "main", 9)
    assert caught.value.hint == "livepin config log shows which there are"


def test_a_stream_without_a_config_has_no_version_and_no_document(published, add_stream):
    add_stream("canary")
    with pytest.raises(NotFoundError):
        published.version("acme", "canary")
    assert set(published.documents("acme").configs) == {"main"}


def test_the_documents_are_the_newest_configs_and_all_roots(services, published, publish, beta):
    beta.add_root()
    publish("beta")
    found = published.documents("beta")
    assert set(found.roots) == {1, 2}
    assert list(found.configs) == ["main"]
    config = found.configs["main"]
    assert (config.root_version, config.version) == (2, 2)
    assert config.raw == published.version("beta", "main")[1]


def test_the_history_of_large_configs_does_not_fill_the_memory(services, published, publish):
    large = {"document": bytes(1024 * 1024)}
    for _ in range(20):
        publish()
    services.database.write(lambda each: each.execute(update(configs).values(**large)))
    tracemalloc.start()
    try:
        assert len(published.history("acme", "main")) == 21
        assert tracemalloc.get_traced_memory()[1] < 2 * 1024 * 1024
    finally:
        tracemalloc.stop()
