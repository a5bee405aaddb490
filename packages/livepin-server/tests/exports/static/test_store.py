"""Object stores: errors in words, without a credential, and every write on its condition."""

from __future__ import annotations

import os
import secrets

import livepin
import pytest
from livepin_server.errors import ExportError
from livepin_server.exports.static import export, target
from livepin_server.exports.static.documents import config_file
from livepin_server.exports.static.store import _reason
from livepin_server.exports.static.target import ChangedError
from livepin_server.services.changes import SetDelivery
from livepin_server.services.delivery_settings import DeliveryChange

FILE = config_file("acme", "main", b"first")


@pytest.fixture(params=["s3", "az"])
def bucket(request, stores, reach):
    """A prefix of a test's own in each store in turn."""
    store = stores(request.param)
    reach(store)
    return target(f"{store.scheme}://bucket/{secrets.token_hex(6)}", os.environ)


def test_a_write_needs_what_was_read_to_be_there_still(bucket):
    assert bucket.read(FILE.path, limit=10) is None
    bucket.write(FILE, over=None)
    with pytest.raises(ChangedError):
        bucket.write(FILE, over=None)
    held = bucket.read(FILE.path, limit=10)
    bucket.write(config_file("acme", "main", b"second"), over=held)
    with pytest.raises(ChangedError):
        bucket.write(config_file("acme", "main", b"third"), over=held)
    assert bucket.read(FILE.path, limit=10).body == b"second"


def test_what_is_removed_is_gone_and_what_is_not_there_is_no_matter(bucket):
    bucket.write(FILE, over=None)
    for _ in range(2):
        bucket.remove(FILE.path)
        assert bucket.read(FILE.path, limit=10) is None
    bucket.write(FILE, over=None)


def test_what_is_too_large_is_not_read(bucket):
    bucket.write(config_file("acme", "main", b"x" * 1000), over=None)
    held = bucket.read(FILE.path, limit=10)
    assert held.body == bytes(11)
    bucket.write(FILE, over=held)


@pytest.mark.parametrize(("kind", "text"), [("s3", "s3://nobody"), ("az", "az://nobody")])
def test_a_bucket_that_is_not_there_is_named(stores, reach, documents, kind, text):
    reach(stores(kind))
    with pytest.raises(
        ExportError, match=f"cannot write {text}/x: it answers 404 Not Found"
    ) as caught:
        export(documents(), target(f"{text}/x", os.environ))
    assert caught.value.hint == "is there a bucket of that name?"


def test_credentials_that_are_wrong_are_told_without_them(stores, reach, monkeypatch, documents):
    store = stores("az")
    reach(store)
    wrong = "d3Jvbmcga2V5IHRoYXQgaXMgc2VjcmV0"
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", wrong)
    with pytest.raises(ExportError) as caught:
        export(documents(), target("az://bucket/wrong", os.environ))
    assert "credentials in the environment" in caught.value.hint
    assert wrong not in f"{caught.value} {caught.value.hint}"


def test_a_store_that_does_not_answer_is_named_and_no_signature_shown(monkeypatch, documents):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "acme")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sv=2021&sig=TOPSECRET")
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:1/acme")
    monkeypatch.setenv("AZURE_ALLOW_HTTP", "true")
    with pytest.raises(ExportError, match="cannot read az://box/x: it does not answer") as caught:
        export(documents(), target("az://box/x", os.environ))
    assert "TOPSECRET" not in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ExportError, match="cannot write az://box/x: it does not answer"):
        target("az://box/x", os.environ).remove("y")


def test_without_leave_nothing_goes_out_in_clear(stores, reach, monkeypatch, documents):
    reach(stores("s3"))
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(ExportError, match="cannot read s3://bucket/clear"):
        export(documents(), target("s3://bucket/clear", os.environ))


def test_a_store_that_cannot_write_on_a_condition_is_refused(stores, reach, monkeypatch, documents):
    reach(stores("s3"))
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
    with pytest.raises(ExportError, match="an older document might win") as caught:
        export(documents(), target("s3://bucket/unconditional", os.environ))
    assert "If-Match" in caught.value.hint


def test_the_query_of_a_url_is_never_shown():
    text = _reason(ValueError("at https://x.example/y?sig=abc%2F is none\nDebug source: sig=abc"))
    assert text == "at https://x.example/y?... is none"


@pytest.mark.parametrize("kind", ["s3", "az"])
def test_an_app_whose_delivery_is_dead_takes_its_config_from_the_bucket(
    stores, reach, kind, services, documents, intent, add_domain
):
    store = stores(kind)
    reach(store)
    prefix = secrets.token_hex(6)
    dead = DeliveryChange(urls=["https://127.0.0.1:1"], recovery_urls=[f"{store.base}/{prefix}"])
    services.publisher.publish("acme", [SetDelivery(wanted=dead)], intent)
    bootstrap = services.published.bootstrap("acme", "main")
    add_domain("api.example.com")
    export(documents(), target(f"{store.scheme}://bucket/{prefix}", os.environ))
    with livepin.Client(bootstrap, push=False, reports=False) as app:
        app.refresh()
        assert app.domain("api.example.com") is not None
