"""Which target a text names, and what never stands in it."""

from __future__ import annotations

import sys

import pytest
from livepin.errors import ConfigurationError
from livepin_server.exports.static import target


@pytest.mark.parametrize(
    "text",
    ["s3://bucket", "s3://bucket/a/b", "gs://bucket/a", "s3://bucket/", "s3/folder", "/x"],
)
def test_these_are_targets(text):
    assert target(text, {}).name == text.rstrip("/")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ftp://host/x", "s3, gs or az, found one of 'ftp'"),
        ("https://host/x", "found one of 'https'"),
        ("s3://key:secret@bucket/x", "and nothing else"),
        ("s3://key@bucket", "and nothing else"),
        ("az://box/x?sig=secret", "and nothing else"),
        ("gs://bucket/x#y", "and nothing else"),
        ("s3://bucket:80/x", "and nothing else"),
        ("s3://", "found no bucket"),
        ("s3:///x", "found no bucket"),
        ("s3://buck et/x", "found no bucket"),
        ("s3://b\u00fccket/x", "found no bucket"),
    ],
)
def test_these_are_none_and_no_secret_of_theirs_is_repeated(text, reason):
    with pytest.raises(ConfigurationError, match=reason) as caught:
        target(text, {})
    assert "secret" not in f"{caught.value} {caught.value.hint}"


def test_a_store_that_cannot_be_set_up_is_named(monkeypatch):
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match=r"cannot use az://box/x: .*Account") as caught:
        target("az://box/x", {})
    assert "AZURE_..." in caught.value.hint


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.delitem(sys.modules, "livepin_server.exports.static.store", raising=False)
    with pytest.raises(ConfigurationError, match="is not installed") as caught:
        target("s3://bucket", {})
    assert caught.value.hint == "install livepin-server[objectstore]"
